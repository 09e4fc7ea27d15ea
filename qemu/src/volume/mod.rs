//! The small volumes from which a machine learns what it is to be: cloud-init's NoCloud seeds, and those of clouds.

mod iso;
mod vfat;

pub use iso::{Content, Iso, iso9660};
pub use vfat::vfat;

use std::io;
use std::path::{Path, PathBuf};

/// The label by which NoCloud volumes are found.
pub const LABEL: &str = "cidata";

/// What a NoCloud volume holds. Files that are `None` are not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seed {
    /// `meta-data`: YAML with at least `instance-id`.
    pub meta_data: Option<Vec<u8>>,
    /// `user-data`: `#cloud-config`, for instance.
    pub user_data: Option<Vec<u8>>,
    /// `vendor-data`.
    pub vendor_data: Option<Vec<u8>>,
    /// `network-config`.
    pub network_config: Option<Vec<u8>>,
}

impl Seed {
    /// The files by name, in a fixed order.
    #[must_use]
    pub fn files(&self) -> Vec<(&'static str, &[u8])> {
        let files = [
            ("meta-data", &self.meta_data),
            ("user-data", &self.user_data),
            ("vendor-data", &self.vendor_data),
            ("network-config", &self.network_config),
        ];
        files.into_iter().filter_map(|(name, content)| Some((name, content.as_deref()?))).collect()
    }
}

/// How a volume is made and attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeFormat {
    /// A FAT volume on a virtio disk.
    Vfat,
    /// An ISO 9660 volume in a CD drive.
    Iso,
}

/// A volume of any files, as a cloud attaches it. Shows nothing of its files' contents.
#[derive(Clone, PartialEq, Eq)]
pub struct Volume {
    /// By which it is found.
    pub label: String,
    /// Paths and contents. A slash makes a directory.
    pub files: Vec<(String, Vec<u8>)>,
    /// What it is.
    pub format: VolumeFormat,
}

impl Volume {
    /// The image.
    ///
    /// # Errors
    /// When the format does not allow the label or a name.
    pub fn image(&self) -> io::Result<Vec<u8>> {
        let files: Vec<(&str, &[u8])> = self.files.iter().map(|(path, bytes)| (&**path, &**bytes)).collect();
        match self.format {
            VolumeFormat::Vfat => vfat(&self.label, &files),
            VolumeFormat::Iso => iso9660(&self.label, &files),
        }
    }
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let files: Vec<&String> = self.files.iter().map(|(path, _)| path).collect();
        f.debug_struct("Volume").field("label", &self.label).field("files", &files).finish_non_exhaustive()
    }
}

/// All directories of the files but the root, each behind the one that it is in.
fn directories<'a>(paths: impl Iterator<Item = &'a str>) -> std::collections::BTreeSet<&'a str> {
    paths.flat_map(|path| path.match_indices('/').map(move |(end, _)| &path[..end])).collect()
}

/// How a seed reaches its machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SeedMedium {
    /// A FAT volume on a virtio disk.
    #[default]
    Vfat,
    /// An ISO 9660 volume in a CD drive.
    Iso,
    /// HTTP, with the URL in the SMBIOS serial number.
    Http,
    /// Not at all.
    None,
}

/// Why a volume could not be made.
#[derive(Debug, thiserror::Error)]
#[error("failed to write the volume {}: {source}", path.display())]
pub struct VolumeError {
    /// Which.
    pub path: PathBuf,
    /// What went wrong.
    pub source: io::Error,
}

/// Writes an image to a file.
///
/// # Errors
/// What writing a file can give.
pub fn save(path: &Path, image: io::Result<Vec<u8>>) -> Result<(), VolumeError> {
    let written = image.and_then(|bytes| std::fs::write(path, bytes));
    written.map_err(|source| VolumeError { path: path.to_owned(), source })
}
