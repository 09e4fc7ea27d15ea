//! The disk in an image file, whatever the format of the file.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt as _,
    path::Path,
};

use crate::qcow2::Reader;

/// Bytes of a VHD's footer.
const FOOTER: u64 = 512;

/// A disk that can be read at any place.
#[derive(Debug)]
pub struct Volume {
    source: Source,
    /// `raw`, `qcow2` or `vhd`.
    pub format: &'static str,
    /// Bytes of the disk.
    pub size: u64,
    at: u64,
}

#[derive(Debug)]
enum Source {
    Plain(File),
    Qcow2(Box<Reader>),
}

impl Volume {
    /// Opens an image.
    ///
    /// # Errors
    /// When the file cannot be read, or has a format that this reader does not know.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut start = [0; 8];
        let known = usize::try_from(length).unwrap_or(8).min(8);
        file.read_exact_at(&mut start[..known], 0)?;
        if let Some(what) = foreign(&start) {
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
        if Reader::is(&start) {
            let reader = Reader::open(file)?;
            let size = reader.size();
            return Ok(Self { source: Source::Qcow2(Box::new(reader)), format: "qcow2", size, at: 0 });
        }
        let mut footer = [0; 8];
        if length > FOOTER {
            file.read_exact_at(&mut footer, length - FOOTER)?;
        }
        // A fixed VHD is a raw disk with a footer.
        let (format, size) = if &footer == b"conectix" { ("vhd", length - FOOTER) } else { ("raw", length) };
        Ok(Self { source: Source::Plain(file), format, size, at: 0 })
    }

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// When the disk ends before, or the file is damaged.
    pub fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.size) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the disk ends before"));
        }
        match &mut self.source {
            Source::Plain(file) => file.read_exact_at(buffer, offset),
            Source::Qcow2(reader) => reader.read_at(offset, buffer),
        }
    }

    /// `length` bytes from `offset` on; for what fits into memory.
    ///
    /// # Errors
    /// As [`Volume::read_at`]; and when there are more than 2 GiB.
    pub fn bytes(&mut self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        if length > 2 << 30 || offset.checked_add(length).is_none_or(|end| end > self.size) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{length} bytes at {offset} are not there"),
            ));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }
}

/// What a file is that has no disk this reader can read, and what to do with it.
fn foreign(start: &[u8]) -> Option<&'static str> {
    [
        (&b"KDMV"[..], "it is a VMDK: `qemu-img convert -O raw` makes a disk of it"),
        (b"\x1f\x8b", "it is compressed with gzip: unpack it first"),
        (b"\x28\xb5\x2f\xfd", "it is compressed with zstd: unpack it first"),
        (b"\xfd7zXZ", "it is compressed with xz: unpack it first"),
    ]
    .into_iter()
    .find(|(magic, _)| start.starts_with(magic))
    .map(|(_, what)| what)
}

impl Read for Volume {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let at = self.at;
        self.read_at(at, &mut buffer[..length])?;
        self.at += length as u64;
        Ok(length)
    }
}

impl Seek for Volume {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::other("seek before the disk"))?;
        Ok(self.at)
    }
}
