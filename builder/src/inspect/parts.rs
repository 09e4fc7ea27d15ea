//! How many bytes of an image are for what.
//!
//! Counted is what is stored, compressed as it is. What is compressed in one piece is shared out: the initramfs by what its files
//! come to compressed alone, the ends of the root's files by their sizes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{boot::BootFile, files::Initramfs};
use crate::architecture::Architecture;

/// A part of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What it is.
    pub name: &'static str,
    /// Stored bytes.
    pub bytes: u64,
}

/// What the parts are taken from.
#[derive(Debug)]
pub(super) struct Stored<'a> {
    /// Files of the boot partition.
    pub(super) boot: &'a [BootFile],
    /// The initramfs.
    pub(super) initramfs: &'a Initramfs,
    /// Bytes of the root's files, by path, and of the root.
    pub(super) root: (&'a BTreeMap<String, u64>, u64),
    /// Bytes of the hash tree.
    pub(super) tree: u64,
}

/// What a disk has once more, so that it boots by a PC BIOS.
pub const COPY: &str = "second copy for BIOS";

const NAMES: [&str; 12] = [
    "kernel",
    "agent",
    "drivers",
    "nomad",
    "libraries",
    "tools",
    "certificates",
    "time zones",
    "rest of the root",
    "hash tree",
    "boot loaders",
    COPY,
];

/// What a file of the root is, by its place.
fn of_root(path: &str) -> &'static str {
    let begins = |with: &str| path.starts_with(with);
    match path {
        "/usr/bin/nomad" => "nomad",
        "/usr/share/zoneinfo.zip" => "time zones",
        _ if begins("/usr/lib/modules/") => "drivers",
        _ if Architecture::ALL.iter().any(|one| one.has_library(path)) => "libraries",
        _ if begins("/usr/sbin/") || begins("/usr/bin/") => "tools",
        _ if path.contains("/ssl/certs/") => "certificates",
        _ => "rest of the root",
    }
}

/// The parts that are there, in the order of a boot.
pub(super) fn of(stored: &Stored<'_>) -> Vec<Part> {
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    let mut add = |name: &'static str, bytes: u64| *sizes.entry(name).or_default() += bytes;
    let (mut kernel, mut initrd) = (None, None);
    for file in stored.boot {
        let Some(uki) = &file.uki else { continue };
        let section = |name: &str| uki.sections.iter().find(|section| section.name == name);
        (kernel, initrd) = (section(".linux"), section(".initrd"));
        let inside: u64 = [kernel, initrd].into_iter().flatten().map(|section| section.size).sum();
        add("kernel", kernel.map_or(0, |section| section.size));
        add("boot loaders", file.size.saturating_sub(inside));
    }
    for file in stored.boot.iter().filter(|file| file.uki.is_none()) {
        let copy = [kernel, initrd].into_iter().flatten().any(|section| section.sha256 == file.sha256);
        let name = match (copy, &file.version) {
            (true, _) => COPY,
            (_, Some(_)) => "kernel",
            _ => "boot loaders",
        };
        add(name, file.size);
    }
    let (weight, all) = stored.initramfs.weights;
    let own = share(stored.initramfs.packed, weight, all);
    add("agent", own);
    add("drivers", stored.initramfs.packed - own);
    let (files, root) = stored.root;
    for (path, bytes) in files {
        add(of_root(path), *bytes);
    }
    // Names, places and modes of the files.
    add("rest of the root", root.saturating_sub(files.values().sum()));
    add("hash tree", stored.tree);
    let part = |name: &&'static str| Some(Part { name, bytes: *sizes.get(name).filter(|bytes| **bytes > 0)? });
    NAMES.iter().filter_map(part).collect()
}

/// `bytes` times `part` over `whole`.
pub(super) fn share(bytes: u64, part: u64, whole: u64) -> u64 {
    let share = u128::from(bytes) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or(u64::MAX).min(bytes)
}
