//! Copy-on-write disks over an image that stays as it is.

use crate::vm::config::DiskFormat;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why a disk could not be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum DiskError {
    #[error("failed to run qemu-img: {0} (it is in the package `qemu-utils`)")]
    Run(io::Error),
    #[error("qemu-img failed to make {}: {reason}", path.display())]
    Create { path: PathBuf, reason: String },
}

/// Makes a qcow2 image at `overlay` that holds what differs from `base`, which is never written.
/// `size` in bytes makes the disk larger than the base.
///
/// # Errors
/// When `qemu-img` is not installed or refuses.
pub fn create_overlay(overlay: &Path, base: &Path, format: DiskFormat, size: Option<u64>) -> Result<(), DiskError> {
    // A relative name would be looked up beside the overlay.
    let base = std::path::absolute(base)
        .map_err(|error| DiskError::Create { path: overlay.to_owned(), reason: error.to_string() })?;
    create(overlay, &["-F".into(), format.driver().into(), "-b".into(), base.into()], size)
}

/// Makes an empty qcow2 image of `size` bytes.
///
/// # Errors
/// As [`create_overlay`].
pub fn create_empty(path: &Path, size: u64) -> Result<(), DiskError> {
    create(path, &[], Some(size))
}

fn create(path: &Path, options: &[OsString], size: Option<u64>) -> Result<(), DiskError> {
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2"]).args(options).arg(path).args(size.map(|size| size.to_string()));
    let output = command.output().map_err(DiskError::Run)?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(DiskError::Create { path: path.to_owned(), reason })
}
