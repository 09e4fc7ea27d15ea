//! Seeds: the small volumes from which a machine learns what it is to be (cloud-init's NoCloud).

mod iso;
mod vfat;

pub use iso::iso9660;
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
