//! The readers of this module for fuzz targets.

use std::{io, path::Path};

use super::{archive, key::Key, program, sums};

pub(crate) fn texts(text: &str) {
    let _ = sums::find(text.as_bytes(), "u", "nomad_2.0.5_linux_amd64.zip");
    let _ = program::parse_version(text);
}

pub(crate) fn archive(path: &Path) {
    let _ = archive::extract(path, "a.zip", &mut io::sink());
    let _ = archive::why_incomplete(path);
}

pub(crate) fn program(head: &[u8]) {
    let _ = program::Kind::parse(head);
}

pub(crate) fn key(bytes: &[u8], signature: &[u8]) {
    let Ok(key) = Key::parse("k", bytes) else { return };
    let _ = key.expires();
    let _ = key.verify(b"text", signature, "u");
    if let Ok(text) = key.armored() {
        assert_eq!(Key::parse("k", text.as_bytes()).unwrap().fingerprint(), key.fingerprint());
    }
}
