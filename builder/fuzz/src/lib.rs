//! What the fuzz targets share.

use std::{
    fs::File,
    io::Write as _,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use rustix::fs::{MemfdFlags, memfd_create};

/// A file in memory, for readers that take a path.
pub struct Memory {
    path: PathBuf,
    _file: File,
}

impl Memory {
    /// A file with these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        let mut file = File::from(memfd_create(c"fuzz", MemfdFlags::CLOEXEC).unwrap());
        file.write_all(bytes).unwrap();
        Self { path: PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())), _file: file }
    }

    /// Where it can be opened.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// `bytes` in two: what their first two bytes say, and the rest.
pub fn halves(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_le_bytes(*length).into())
}
