//! A raw disk in a file, possibly sparse.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _, path::Path};

use rustix::{fs::SeekFrom, io::Errno};

use super::Source;

/// A raw disk in a file, possibly sparse.
#[derive(Debug)]
pub(super) struct RawFile {
    file: File,
    size: u64,
    /// The stretch of data at or behind the last offset that was asked for.
    data: Range<u64>,
}

impl RawFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self { size: file.metadata()?.len(), file, data: 0..0 })
    }

    /// The stretch of data that ends behind `offset`. A file system that does not know calls everything data.
    fn next_data(&self, offset: u64) -> io::Result<Range<u64>> {
        match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) => Ok(start..rustix::fs::seek(&self.file, SeekFrom::Hole(start))?),
            Err(Errno::NXIO) => Ok(u64::MAX..u64::MAX),
            Err(e) => Err(e.into()),
        }
    }
}

impl Source for RawFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<bool> {
        if offset >= self.data.end {
            self.data = self.next_data(offset)?;
        }
        if offset + buffer.len() as u64 <= self.data.start {
            return Ok(false);
        }
        self.file.read_exact_at(buffer, offset)?;
        Ok(true)
    }
}
