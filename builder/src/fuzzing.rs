//! Readers that no other crate has a use for, for the fuzz targets of `builder/fuzz`. Compiled for these alone.

use std::path::Path;

use crate::{apt, architecture::Architecture, mirror, nomad};

/// Texts that apt prints and that configure it, and the texts of a release.
pub fn texts(text: &str) {
    let _ = apt::parse_show(text);
    let _ = apt::configuration(Path::new("/x"), text, Architecture::X86_64);
    let _ = mirror::one_line_uris(text);
    let _ = mirror::deb822_uris(text);
    nomad::fuzzing::texts(text);
}

/// The archive of a release.
pub fn archive(path: &Path) {
    nomad::fuzzing::archive(path);
}

/// The beginning of a program.
pub fn program(head: &[u8]) {
    nomad::fuzzing::program(head);
}

/// A public key, and a signature by it.
pub fn key(key: &[u8], signature: &[u8]) {
    nomad::fuzzing::key(key, signature);
}
