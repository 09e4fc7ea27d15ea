//! An image held against the manifest that came with it.

use std::collections::BTreeMap;

use agent::slots;

use super::{Image, files::Found, table};
use crate::{
    content::Digest,
    manifest::{Artefact, Kind, Manifest},
};

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
    let cmdline = cmdline(image, manifest);
    if let Some(arguments) = &image.arguments {
        same("command line", arguments, cmdline);
    }
    for file in &image.boot {
        if let Some(uki) = &file.uki {
            same(&format!("command line of {}", file.path), &uki.cmdline, cmdline);
            same(&format!("kernel of {}", file.path), &uki.uname, &manifest.kernel);
        }
        if let Some(version) = &file.version {
            same(&format!("release of {}", file.path), version, &manifest.kernel);
        }
    }
    if let Some(root_hash) = image.root_hash {
        same("root hash", &root_hash.hex(), &manifest.root_hash.hex());
    }
    said.extend(whole(image, manifest));
    said.extend(partitions(image, manifest));
    said.extend(boot(image, manifest));
    said.extend(loaded(image, manifest));
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

/// The command line that belongs to the image: a root that is in memory is not looked for by its hash.
fn cmdline<'m>(image: &Image, manifest: &'m Manifest) -> &'m str {
    let words = manifest.cmdline.split_once(' ').filter(|(first, _)| first.starts_with("roothash="));
    if image.in_memory { words.map_or("", |(_, words)| words) } else { &manifest.cmdline }
}

/// The file as a whole. Nothing else in a manifest speaks of boot loaders, of their configuration, and of what lies in no partition;
/// so a disk that has run since, or was written in another format, is not known to be good. An update may have been signed.
fn whole(image: &Image, manifest: &Manifest) -> Option<String> {
    if image.format == "squashfs" {
        // No build leaves one; its root hash is that of all its bytes.
        return None;
    }
    let name = image.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let kinds = kinds(image);
    let list = |fits: &dyn Fn(&Artefact) -> bool| manifest.artefacts.iter().filter(|one| fits(one)).collect::<Vec<_>>();
    let mut wanted = list(&|artefact| artefact.file == name);
    if wanted.is_empty() {
        wanted = list(&|artefact| kinds.contains(&artefact.kind));
    }
    let Some(first) = wanted.first() else {
        let format = image.format;
        return Some(format!("file: the manifest has no digest of a {format} like this: look at a file that it names"));
    };
    let unsigned = image.update.as_ref().and_then(|update| update.unsigned);
    let same = |one: &&Artefact| {
        image.sha256 == Some(one.sha256) && image.file_size == one.size || unsigned == Some(one.sha256)
    };
    let of_image = image.sha256.map(|sha256| sha256.hex()).unwrap_or_default();
    (!wanted.iter().any(same)).then(|| {
        format!(
            "file: the image has {} bytes, sha256 {of_image}, the manifest {} bytes, sha256 {}: it was changed since it was built, \
             or a machine ran from it",
            image.file_size, first.size, first.sha256
        )
    })
}

/// What the file of an image can be in a manifest.
fn kinds(image: &Image) -> &'static [Kind] {
    match (image.format, image.packing) {
        ("raw", None) => &[Kind::Raw],
        ("raw", Some("zstd")) => &[Kind::RawZstd],
        ("raw", Some("gzip")) => &[Kind::RawGzip],
        ("raw", Some("xz")) => &[Kind::RawXz],
        ("qcow2", None) => &[Kind::Qcow2, Kind::Qcow2Zstd],
        ("vmdk", None) => &[Kind::Vmdk],
        ("vhd", None) => &[Kind::Vhd],
        ("ova", None) => &[Kind::Ova],
        ("gce", None) => &[Kind::Gce],
        ("iso", None) => &[Kind::Iso],
        ("update", None) => &[Kind::Update],
        ("ipxe", None) => &[Kind::Ipxe],
        ("initramfs", None) => &[Kind::Initrd, Kind::NetbootInitrd],
        ("uki", None) => &[Kind::Uki],
        ("kernel", None) => &[Kind::Kernel],
        _ => &[],
    }
}

/// The partitions of a disk.
fn partitions(image: &Image, manifest: &Manifest) -> Vec<String> {
    if image.id.is_none() {
        return Vec::new();
    }
    let mut said = Vec::new();
    for found in &image.partitions {
        let Some(listed) = manifest.partitions.iter().find(|listed| listed.number == found.number) else {
            said.push(format!("partition {} {} is not in the manifest", found.number, found.name));
            continue;
        };
        let of_manifest = (&listed.name, &table::word(listed.kind), Some(listed.id), listed.start, listed.size);
        if (&found.name, &found.kind, found.id, found.start, found.size) != of_manifest {
            said.push(format!("partition {} {} is not the one of the manifest", found.number, found.name));
        }
    }
    let there = |number: u32| image.partitions.iter().any(|found| found.number == number);
    let missing = manifest.partitions.iter().filter(|listed| !there(listed.number));
    said.extend(missing.map(|listed| format!("partition {} {} is missing", listed.number, listed.name)));
    said
}

/// What boots, by the digests of the files that the build left beside the image. Whatever else the boot partition has is a part of
/// [`whole`] alone.
fn boot(image: &Image, manifest: &Manifest) -> Vec<String> {
    let mut said = Vec::new();
    let mut held = |what: &str, sha256: Digest, kind: Kind| {
        if let Some(artefact) = manifest.artefact(kind)
            && artefact.sha256 != sha256
        {
            said.push(format!("{what} is not {}", artefact.file));
        }
    };
    for file in &image.boot {
        // Firmware does not care for small and large letters either.
        let path = file.path.to_ascii_lowercase();
        if let Some(uki) = &file.uki {
            for section in &uki.sections {
                match section.name.as_str() {
                    ".linux" => held(&format!(".linux of {}", file.path), section.sha256, Kind::Kernel),
                    ".initrd" if !image.in_memory => {
                        held(&format!(".initrd of {}", file.path), section.sha256, Kind::Initrd);
                    }
                    _ => {}
                }
            }
        }
        let in_entries = path.starts_with(&format!("{}/", slots::ENTRIES).to_ascii_lowercase());
        let name = path.rsplit('/').next().unwrap_or_default();
        if in_entries || file.uki.is_some() && !image.in_memory {
            held(&file.path, file.sha256, Kind::Uki);
        } else if name == "initrd" {
            held(&file.path, file.sha256, Kind::Initrd);
        } else if file.version.is_some() || matches!(name, "vmlinuz" | "kernel") {
            held(&file.path, file.sha256, Kind::Kernel);
        }
    }
    if let Some(uki) = manifest.artefact(Kind::Uki)
        && image.id.is_some()
        && !image.boot.iter().any(|file| file.sha256 == uki.sha256)
    {
        said.push(format!("{}: not on the boot partition", uki.file));
    }
    said
}

/// The initramfs of what is no disk. On an ISO there are zeros behind it, so only its part in front of the root is known.
fn loaded(image: &Image, manifest: &Manifest) -> Option<String> {
    let found = image.loaded?;
    let parts =
        [(Kind::NetbootInitrd, found.whole, image.format == "ipxe"), (Kind::Initrd, found.own, image.in_memory)];
    parts.into_iter().filter(|(.., known)| *known).find_map(|(kind, sha256, _)| {
        let artefact = manifest.artefact(kind).filter(|artefact| artefact.sha256 != sha256)?;
        Some(format!("the initramfs is not {}", artefact.file))
    })
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
