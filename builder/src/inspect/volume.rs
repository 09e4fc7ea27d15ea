//! The disk in an image file, whatever the format of the file. This is the one place that knows them.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt as _,
    path::Path,
};

use super::unpack::{Limits, Packing, Unpacked, unpack};
use crate::{qcow2, vmdk};

/// Bytes of a VHD's footer, and of the blocks of archives.
const BLOCK: u64 = 512;
/// Members of an OVA that are looked at for its disk.
const MEMBERS: usize = 16;

/// A disk that can be read at any place.
#[derive(Debug)]
pub struct Volume {
    source: Source,
    /// `raw`, `qcow2`, `vmdk`, `vhd`, `ova` or `gce`. What is no disk at all is `raw`, too.
    pub format: &'static str,
    /// What the file is compressed with as a whole: `zstd`, `gzip` or `xz`.
    pub packing: Option<&'static str>,
    /// Bytes of the disk.
    pub size: u64,
    at: u64,
}

#[derive(Debug)]
enum Source {
    Plain(File),
    Qcow2(Box<qcow2::Reader>),
    Vmdk(Box<vmdk::Reader>),
}

impl Volume {
    /// Opens an image. One that is compressed as a whole is unpacked into a temporary file.
    ///
    /// # Errors
    /// When the file cannot be read, or has a format that this reader does not know.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let Some(packing) = Packing::of(&start(&file)?) else { return Self::plain(file) };
        match unpack(&mut file, packing, Limits::default())? {
            Unpacked::Initramfs => Self::new(file, "raw"),
            // Google's archives are always compressed, so that goes without saying.
            Unpacked::OfArchive(disk) => Self::new(disk, "gce"),
            Unpacked::File(file) => Ok(Self { packing: Some(packing.name()), ..Self::plain(file)? }),
        }
    }

    /// A file that is not compressed as a whole.
    fn plain(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let start = start(&file)?;
        if qcow2::Reader::is(&start) {
            let reader = qcow2::Reader::open(file)?;
            let size = reader.size();
            return Ok(Self { source: Source::Qcow2(Box::new(reader)), format: "qcow2", packing: None, size, at: 0 });
        }
        let in_archive = if start.len() as u64 == BLOCK { disk_of_ova(&file, &start)? } else { None };
        let vmdk = if vmdk::Reader::is(&start) { Some((0, length)) } else { in_archive };
        if let Some((at, length)) = vmdk {
            let reader = vmdk::Reader::open(file, at, length)?;
            let (size, format) = (reader.size(), if at == 0 { "vmdk" } else { "ova" });
            return Ok(Self { source: Source::Vmdk(Box::new(reader)), format, packing: None, size, at: 0 });
        }
        let mut footer = [0; 64];
        if length > BLOCK {
            file.read_exact_at(&mut footer, length - BLOCK)?;
        }
        // A fixed VHD is a raw disk with a footer; the other kinds have the same footer at their start as well.
        if !footer.starts_with(b"conectix") || footer[60..] != [0, 0, 0, 2] {
            if footer.starts_with(b"conectix") {
                let what = "it is a dynamic VHD: `qemu-img convert -f vpc -O raw` makes a disk of it";
                return Err(io::Error::new(io::ErrorKind::Unsupported, what));
            }
            return Self::new(file, "raw");
        }
        Ok(Self { size: length - BLOCK, ..Self::new(file, "vhd")? })
    }

    fn new(file: File, format: &'static str) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self { source: Source::Plain(file), format, packing: None, size, at: 0 })
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
            Source::Vmdk(reader) => reader.read_at(offset, buffer),
        }
    }

    /// `length` bytes from `offset` on; for what fits into memory.
    ///
    /// # Errors
    /// As [`Volume::read_at`]; and when there are more than 1 GiB.
    pub fn bytes(&mut self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        if length > 1 << 30 || offset.checked_add(length).is_none_or(|end| end > self.size) {
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

/// The first block of a file, or all that there is.
fn start(file: &File) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    let mut file = file;
    file.rewind()?;
    file.take(BLOCK).read_to_end(&mut start)?;
    Ok(start)
}

/// Where the disk of a package for VMware lies in its file: the archive begins with the envelope, and the disk is one of the
/// next members.
fn disk_of_ova(file: &File, start: &[u8]) -> io::Result<Option<(u64, u64)>> {
    let name = |header: &[u8]| {
        String::from_utf8_lossy(header[..100].split(|&b| b == 0).next().unwrap_or_default()).into_owned()
    };
    if !start[257..].starts_with(b"ustar") || !name(start).ends_with(".ovf") {
        return Ok(None);
    }
    let wrong = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    let (mut at, length) = (0u64, file.metadata()?.len());
    for _ in 0..MEMBERS {
        let mut header = [0; BLOCK as usize];
        file.read_exact_at(&mut header, at)?;
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        let digits = String::from_utf8_lossy(&header[124..136]).trim_matches([' ', '\0']).to_owned();
        let size = u64::from_str_radix(&digits, 8).map_err(|_| wrong("a member of the package has no size"))?;
        let data = at + BLOCK;
        let end =
            data.checked_add(size).filter(|end| *end <= length).ok_or_else(|| wrong("the package is cut short"))?;
        if name(&header).ends_with(".vmdk") {
            return Ok(Some((data, size)));
        }
        at = end.next_multiple_of(BLOCK);
    }
    Err(wrong("the package has no disk (.vmdk)"))
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
