//! What is said of an image: for people, and as JSON.

use std::fmt::Write as _;

use agent::facts::{ImageFacts, NomadSource};
use serde_json::{Value, json};

use super::{Image, Subject, against, map, shown::shown};
use crate::{manifest::Manifest, progress::bytes};

/// Everything as JSON.
#[must_use]
pub fn json(subject: &Subject) -> Value {
    let differences = match (&subject.image, &subject.manifest) {
        (Some(image), Some(manifest)) => Some(against::differences(image, manifest)),
        _ => None,
    };
    let packages = subject.manifest.as_ref().map(|manifest| &manifest.packages);
    let artefacts = subject.manifest.as_ref().map(|manifest| &manifest.artefacts);
    json!({ "image": subject.image, "packages": packages, "artefacts": artefacts, "differences": differences })
}

/// Everything that a person wants to know at first, in at most `width` columns where that is possible.
#[must_use]
pub fn people(subject: &Subject, width: usize) -> String {
    let mut out = String::new();
    if let Some(image) = &subject.image {
        disk(&mut out, image, width);
    }
    if let Some(manifest) = &subject.manifest {
        packages(&mut out, manifest);
        match &subject.image {
            Some(image) => verdict(&mut out, &against::differences(image, manifest)),
            None => line(&mut out, "disk", "none beside the manifest"),
        }
    } else {
        line(&mut out, "packages", "only a manifest has them, and there is none beside the image");
    }
    out
}

/// A line. What it says may be the image's own words.
fn line(out: &mut String, key: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{key:<11}{}", shown(value));
}

fn disk(out: &mut String, image: &Image, width: usize) {
    let packing = image.packing.map(|packing| format!(", compressed with {packing}")).unwrap_or_default();
    let what = if image.id.is_some() { format!(", a disk of {}", bytes(image.size)) } else { String::new() };
    let path = shown(&image.path.display().to_string());
    let _ = writeln!(out, "{path}: {}{packing} of {}{what}\n", image.format, bytes(image.file_size));
    if !image.partitions.is_empty() {
        out.push_str(&map::terminal(image, width.saturating_sub(2).clamp(20, 100)));
        out.push('\n');
    }
    for partition in &image.partitions {
        let percent = u128::from(partition.used) * 100 / u128::from(partition.size.max(1));
        let id = partition.id.map(|id| id.to_string()).unwrap_or_default();
        let text = format!(
            "  {} {:<17}{:<10}{:>10} of {:>9}, {percent:>3} %  {id}",
            partition.number,
            shown(&partition.name),
            partition.content,
            bytes(partition.used),
            bytes(partition.size),
        );
        let _ = writeln!(out, "{}", text.trim_end());
    }
    if !image.partitions.is_empty() {
        out.push('\n');
    }
    if let Some(update) = &image.update {
        line(
            out,
            "update",
            &format!("{} {} for {}, {}", update.role, update.version, update.profile, update.architecture),
        );
        line(out, "signature", update.signature.text());
    }
    if let Some(facts) = &image.facts {
        let own = facts.image_version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
        let ImageFacts { name, role, profile, version, .. } = facts;
        line(out, "image", &format!("{name}{own}, role {role}, profile {profile}, Steppe {version}"));
        line(out, "kernel", &facts.kernel);
        let from = match facts.nomad.source {
            NomadSource::Path => "as named to the builder",
            NomadSource::Release => "the official release",
            NomadSource::StandIn => "THE STAND-IN, NOT NOMAD",
        };
        line(out, "nomad", &format!("{}, {from}, sha256 {}", facts.nomad.version, facts.nomad.sha256));
    }
    for file in &image.boot {
        let parts = file.uki.as_ref().map(|uki| {
            let parts: Vec<_> =
                uki.sections.iter().map(|section| format!("{} {}", section.name, bytes(section.size))).collect();
            let signed = if uki.signed { "signed for Secure Boot" } else { "not signed" };
            format!(", {signed}: {}", parts.join(", "))
        });
        let release = file.version.as_ref().map(|version| format!(", kernel {version}"));
        let more = parts.or(release).unwrap_or_default();
        line(out, "boot", &format!("{} {}{more}", file.path, bytes(file.size)));
    }
    if let Some(cmdline) = image.cmdline() {
        line(out, "cmdline", cmdline);
    }
    for (index, part) in image.parts.iter().enumerate() {
        line(out, if index == 0 { "sizes" } else { "" }, &format!("{:>9}  {}", bytes(part.bytes), part.name));
    }
    if image.files.is_empty() {
        line(out, "root", "none in this file");
    } else {
        let unpacked: u64 = image.files.iter().map(|file| file.size).sum();
        line(out, "root", &format!("{} files, {} unpacked", image.files.len(), bytes(unpacked)));
    }
    match &image.verity {
        Some(verity) if verity.wrong.is_empty() => {
            line(out, "verity", &format!("root hash {}, every block checked", verity.root_hash));
        }
        Some(_) => line(out, "verity", "DAMAGED"),
        None if image.in_memory => line(out, "verity", "none: the root comes with the initramfs and stays in memory"),
        None => line(out, "verity", "no hash tree"),
    }
    for wrong in &image.wrong {
        line(out, "WRONG", wrong);
    }
}

fn packages(out: &mut String, manifest: &Manifest) {
    for (index, package) in manifest.packages.iter().enumerate() {
        let key = if index == 0 { "packages" } else { "" };
        line(out, key, &format!("{} {}, {}", package.name, package.version, bytes(package.size)));
    }
}

fn verdict(out: &mut String, differences: &[String]) {
    if differences.is_empty() {
        line(out, "manifest", "says the same");
    }
    for (index, difference) in differences.iter().enumerate() {
        line(out, if index == 0 { "manifest" } else { "" }, difference);
    }
}
