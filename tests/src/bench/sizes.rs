//! Sizes of the images, by part and by format.

use std::{fs, os::unix::fs::MetadataExt as _};

use agent::facts::Role;
use anyhow::Context as _;
use builder::manifest::Kind;

use super::table::Row;
use crate::images::Image;

/// Compressed parts and files of the server and the client image, against the sum of kernel, initramfs and root.
///
/// # Errors
/// When there is no image.
pub fn rows() -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for role in [Role::Server, Role::Client] {
        let image = Image::find(role)?;
        let manifest = image.manifest();
        let parts = manifest.parts;
        let whole = parts.kernel + parts.initramfs + parts.root;
        let mut row = |what: String, bytes: u64| rows.push(Row::new(what, megabytes(bytes), megabytes(whole), "MB"));
        let rest = parts.root.saturating_sub(parts.nomad + parts.libraries);
        for (part, bytes) in [
            ("kernel", parts.kernel),
            ("initramfs", parts.initramfs),
            ("root: Nomad", parts.nomad),
            ("root: its libraries", parts.libraries),
            ("root: the rest", rest),
            ("without Nomad", parts.without_nomad()),
        ] {
            row(format!("{role} image, {part}"), bytes);
        }
        for (format, kinds) in [
            ("raw disk, allocated", &[Kind::Raw][..]),
            ("raw disk, zstd", &[Kind::RawZstd]),
            ("raw disk, gzip", &[Kind::RawGzip]),
            ("raw disk, xz", &[Kind::RawXz]),
            ("qcow2", &[Kind::Qcow2]),
            ("VMDK", &[Kind::Vmdk]),
            ("OVA", &[Kind::Ova]),
            ("archive for Google", &[Kind::Gce]),
            ("ISO", &[Kind::Iso]),
            ("unified kernel image", &[Kind::Uki]),
            ("netboot pair", &[Kind::Kernel, Kind::NetbootInitrd]),
        ] {
            // A format that was not built has no size.
            let paths: Option<Vec<_>> = kinds.iter().map(|kind| manifest.path(*kind)).collect();
            if let Some(paths) = paths {
                let sizes = paths.iter().map(|path| {
                    let data = fs::metadata(path).with_context(|| format!("failed to look at {}", path.display()))?;
                    // Most of a raw disk is holes; a block here has 512 bytes whatever the file system's have.
                    Ok(data.len().min(data.blocks() * 512))
                });
                row(format!("{role} image, {format}"), sizes.sum::<anyhow::Result<u64>>()?);
            }
        }
    }
    Ok(rows)
}

#[allow(clippy::cast_precision_loss, reason = "a table shows two places")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
