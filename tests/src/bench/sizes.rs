//! Sizes of the images, by part and by format.

use std::{fs, path::Path};

use agent::facts::Role;
use anyhow::Context as _;
use builder::{
    build::{self, Format, Request},
    compress::Compression,
    inspect,
    manifest::{Kind, Manifest},
    progress::Progress,
};

use super::{builds, table::Row};

/// The formats, by what a manifest calls them.
const FORMATS: [(&str, &[Kind]); 14] = [
    ("raw, allocated", &[Kind::Raw]),
    ("raw, zstd", &[Kind::RawZstd]),
    ("raw, gzip", &[Kind::RawGzip]),
    ("raw, xz", &[Kind::RawXz]),
    ("qcow2", &[Kind::Qcow2]),
    ("qcow2, clusters by zstd", &[Kind::Qcow2Zstd]),
    ("VMDK", &[Kind::Vmdk]),
    ("VHD, allocated", &[Kind::Vhd]),
    ("OVA", &[Kind::Ova]),
    ("archive for Google", &[Kind::Gce]),
    ("ISO", &[Kind::Iso]),
    ("netboot pair", &[Kind::Kernel, Kind::NetbootInitrd]),
    ("update", &[Kind::Update]),
    ("unified kernel image", &[Kind::Uki]),
];

/// Builds both images in every format, with the cache in `scratch`, and gives what they have for what: the parts as shares of
/// what a disk has once, the formats as multiples of it.
///
/// # Errors
/// When a build fails.
pub fn rows(scratch: &Path) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for role in [Role::Server, Role::Client] {
        let manifest = every_format(scratch, role)?;
        let image = inspect::Image::read(&manifest.path(Kind::Raw).context("no raw disk")?)?;
        let once = image.parts.iter().filter(|part| part.name != inspect::parts::COPY).map(|part| part.bytes).sum();
        let mut row = |what: String, bytes: u64| rows.push(Row::new(what, megabytes(bytes), megabytes(once), "MB"));
        for part in &image.parts {
            row(format!("{role} image, part: {}", part.name), part.bytes);
        }
        row(format!("{role} image, all parts but Nomad and its libraries"), manifest.parts.without_nomad());
        for (format, kinds) in FORMATS {
            row(format!("{role} image, {format}"), size(&manifest, kinds)?);
        }
    }
    Ok(rows)
}

fn every_format(scratch: &Path, role: Role) -> anyhow::Result<Manifest> {
    let request = Request {
        output: scratch.join("sizes"),
        formats: Format::ALL.to_vec(),
        compressions: Compression::ALL.to_vec(),
        ..builds::request(scratch, builds::cache(scratch)?, role)?
    };
    let built = build::build(&request, &Progress::silent())?;
    Ok(Manifest::read(&built.manifest)?)
}

/// Bytes of some files of a build, of those that are a disk as it is without its holes.
fn size(manifest: &Manifest, kinds: &[Kind]) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;

    let sizes = kinds.iter().map(|kind| {
        let path = manifest.path(*kind).with_context(|| format!("the build made no {kind:?}"))?;
        let data = fs::metadata(&path).with_context(|| format!("failed to look at {}", path.display()))?;
        // A block here has 512 bytes whatever the file system's have.
        let holes = matches!(kind, Kind::Raw | Kind::Vhd);
        Ok(if holes { data.len().min(data.blocks() * 512) } else { data.len() })
    });
    sizes.sum()
}

#[allow(clippy::cast_precision_loss, reason = "a table shows two places")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
