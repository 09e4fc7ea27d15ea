//! An image held against the manifest that came with it.

use std::collections::BTreeMap;

use super::{Image, files::Found};
use crate::manifest::{Kind, Manifest};

/// Where the image is not what the manifest says, a sentence each; empty when they agree.
#[must_use]
pub fn differences(image: &Image, manifest: &Manifest) -> Vec<String> {
    let mut said = Vec::new();
    let mut same = |what: &str, image: &str, manifest: &str| {
        if image != manifest {
            said.push(format!("{what}: the image has {image}, the manifest {manifest}"));
        }
    };
    if let Some(facts) = &image.facts {
        same("role", facts.role.as_str(), manifest.role.as_str());
        same("profile", &facts.profile, manifest.profile.as_str());
        same("name", &facts.name, &manifest.name);
        same("version of Steppe", &facts.version, &manifest.version);
        same("kernel", &facts.kernel, &manifest.kernel);
        same("Nomad", &facts.nomad.version, &manifest.nomad.version);
        same("digest of Nomad", &facts.nomad.sha256, &manifest.nomad.sha256);
    }
    // A root that is in memory is not looked for by its hash.
    let words = manifest.cmdline.split_once(' ').filter(|(first, _)| first.starts_with("roothash="));
    let cmdline = if image.in_memory { words.map_or("", |(_, words)| words) } else { &manifest.cmdline };
    for file in &image.boot {
        if let Some(uki) = &file.uki {
            same(&format!("command line of {}", file.path), &uki.cmdline, cmdline);
            same(&format!("kernel of {}", file.path), &uki.uname, &manifest.kernel);
        }
        if let Some(version) = &file.version {
            same(&format!("release of {}", file.path), version, &manifest.kernel);
        }
    }
    if let Some(arguments) = &image.arguments {
        same("command line", arguments, cmdline);
    }
    if let Some(uki) = manifest.artefact(Kind::Uki)
        && image.boot.iter().any(|file| file.uki.is_some())
        && !image.in_memory
        && !image.boot.iter().any(|file| file.sha256 == uki.sha256)
    {
        said.push(format!("{}: not on the boot partition", uki.file));
    }
    let list = |records: &[crate::tree::FileRecord]| records.iter().map(Found::from).collect::<Vec<_>>();
    // Not every file has both.
    for (place, files, listed) in
        [("root", &image.files, &manifest.files), ("initramfs", &image.initramfs, &manifest.initramfs)]
    {
        if !files.is_empty() {
            said.extend(compare(place, files, &list(listed)));
        }
    }
    said
}

/// Files that one side lacks, or that are others.
fn compare(place: &str, image: &[Found], manifest: &[Found]) -> Vec<String> {
    let by_path = |list: &[Found]| -> BTreeMap<String, Found> {
        list.iter().map(|file| (file.path.clone(), file.clone())).collect()
    };
    let (image, manifest) = (by_path(image), by_path(manifest));
    let mut said = Vec::new();
    for (path, found) in &image {
        match manifest.get(path) {
            None => said.push(format!("{place}: {path} is not in the manifest")),
            Some(listed) if listed != found => {
                said.push(format!("{place}: {path} is not the one of the manifest: {}", why(listed, found)));
            }
            Some(_) => {}
        }
    }
    said.extend(
        manifest.keys().filter(|path| !image.contains_key(*path)).map(|path| format!("{place}: {path} is missing")),
    );
    said
}

/// What differs from `old` to `new`.
pub(crate) fn why(old: &Found, new: &Found) -> String {
    let mut parts = Vec::new();
    if old.mode != new.mode {
        parts.push(format!("mode {} -> {}", old.mode, new.mode));
    }
    if old.target != new.target {
        let name = |found: &Found| found.target.clone().unwrap_or_else(|| "a file".to_owned());
        parts.push(format!("link to {} -> {}", name(old), name(new)));
    }
    if old.size != new.size {
        parts.push(format!("{} -> {} bytes", old.size, new.size));
    } else if old.sha256 != new.sha256 {
        parts.push("other bytes".to_owned());
    }
    parts.join(", ")
}
