//! Reading qcow2 images, versions 2 and 3, as far as disks of our own and those of QEMU go: no backing file, no encryption,
//! no snapshots' contents, no external data. Format: QEMU's docs/interop/qcow2.txt.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use super::image::index;

/// Where in the file an entry points: bits 9 to 55.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// The cluster reads as zeros (version 3).
const ZERO: u64 = 1;
const COMPRESSED: u64 = 1 << 62;
/// Incompatible features that matter only to writers, or are read here: dirty, corrupt, compression type.
const FEATURES: u64 = 0b1011;

/// An image that is read.
#[derive(Debug)]
pub struct Reader {
    file: File,
    size: u64,
    bits: u32,
    zstd: bool,
    l1: Vec<u64>,
    /// The table that was looked at last, and where it is.
    l2: (u64, Vec<u64>),
}

impl Reader {
    /// Whether a file that begins so is one.
    #[must_use]
    pub fn is(start: &[u8]) -> bool {
        start.starts_with(b"QFI\xfb")
    }

    /// Reads the header and the first table.
    ///
    /// # Errors
    /// When the file is damaged or has something that this reader does not know.
    pub fn open(file: File) -> io::Result<Self> {
        let mut header = [0; 112];
        let length = read_at_most(&file, &mut header, 0)?;
        let word = |at: usize| header[at..at + 8].try_into().map_or(0, u64::from_be_bytes);
        let half = |at: usize| header[at..at + 4].try_into().map_or(0, u32::from_be_bytes);
        if length < 72 || !Self::is(&header) {
            return Err(wrong("it has no qcow2 header"));
        }
        let (version, bits, entries) = (half(4), half(20), half(36));
        if !(2..=3).contains(&version) {
            return Err(wrong("its version is neither 2 nor 3"));
        }
        if word(8) != 0 {
            return Err(wrong("it has a backing file"));
        }
        if half(32) != 0 {
            return Err(wrong("it is encrypted"));
        }
        let features = if version == 3 { word(72) } else { 0 };
        if features & !FEATURES != 0 {
            return Err(wrong("it has features that are not known"));
        }
        if !(9..=21).contains(&bits) {
            return Err(wrong("its clusters have a size that does not exist"));
        }
        // The limit of QEMU, so that no header asks for all of memory.
        if entries > 4 << 20 {
            return Err(wrong("its first table is too large"));
        }
        let zstd = features & 0b1000 != 0 && header[104] == 1;
        let l1 = table(&file, word(40), u64::from(entries))?;
        Ok(Self { file, size: word(24), bits, zstd, l1, l2: (0, Vec::new()) })
    }

    /// Bytes of the disk.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Fills `buffer` from `offset` on; what lies behind the disk's end reads as zeros.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn read_at(&mut self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        let cluster = 1u64 << self.bits;
        while !buffer.is_empty() {
            let inside = offset % cluster;
            let length = index(cluster - inside).min(buffer.len());
            let (part, rest) = buffer.split_at_mut(length);
            self.read_cluster(offset, inside, part)?;
            offset = offset.saturating_add(length as u64);
            buffer = rest;
        }
        Ok(())
    }

    fn read_cluster(&mut self, offset: u64, inside: u64, part: &mut [u8]) -> io::Result<()> {
        let entry = self.entry(offset)?;
        if entry & COMPRESSED != 0 {
            let cluster = self.unpack(entry)?;
            part.copy_from_slice(&cluster[index(inside)..index(inside) + part.len()]);
            return Ok(());
        }
        let at = entry & OFFSET;
        if at == 0 || entry & ZERO != 0 {
            part.fill(0);
            return Ok(());
        }
        // The last cluster of the file may be cut off: what is missing is zeros.
        let length = read_at_most(&self.file, part, at + inside)?;
        part[length..].fill(0);
        Ok(())
    }

    /// The entry for the cluster at `offset`, zero when there is none.
    fn entry(&mut self, offset: u64) -> io::Result<u64> {
        let per_table = 1u64 << (self.bits - 3);
        let number = offset >> self.bits;
        let at = self.l1.get(index(number / per_table)).copied().unwrap_or(0) & OFFSET;
        if at == 0 {
            return Ok(0);
        }
        if self.l2.0 != at {
            self.l2 = (at, table(&self.file, at, per_table)?);
        }
        Ok(self.l2.1.get(index(number % per_table)).copied().unwrap_or(0))
    }

    fn unpack(&self, entry: u64) -> io::Result<Vec<u8>> {
        let shift = 62 - (self.bits - 8);
        let at = entry & ((1 << shift) - 1);
        let sectors = ((entry & !(3 << 62)) >> shift) + 1;
        let stored = self.file.metadata()?.len().saturating_sub(at).min(sectors * 512 - at % 512);
        let mut packed = vec![0; index(stored)];
        let length = read_at_most(&self.file, &mut packed, at)?;
        packed.truncate(length);
        let mut out = vec![0; 1 << self.bits];
        if self.zstd {
            let mut decoder = zstd::stream::read::Decoder::new(packed.as_slice())?.single_frame();
            io::Read::read_exact(&mut decoder, &mut out)?;
        } else {
            let mut stream = flate2::Decompress::new(false);
            stream.decompress(&packed, &mut out, flate2::FlushDecompress::Finish).map_err(io::Error::other)?;
            if stream.total_out() != out.len() as u64 {
                return Err(wrong("a compressed cluster is cut short"));
            }
        }
        Ok(out)
    }
}

fn table(file: &File, at: u64, entries: u64) -> io::Result<Vec<u64>> {
    // The header says how large a table is: memory only for what the file has.
    let end = at.checked_add(entries * 8).filter(|end| file.metadata().is_ok_and(|data| *end <= data.len()));
    end.ok_or_else(|| wrong("it is cut short: one of its tables is not there"))?;
    let mut bytes = vec![0; index(entries) * 8];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_be_bytes)).collect())
}

/// Fills as much of `buffer` as the file has.
fn read_at_most(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], at.saturating_add(done as u64))? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::qcow2::{Compression, Options, write};

    fn image(disk: &[u8], compression: Compression, bits: u32) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let (raw, out) = (folder.path().join("raw"), folder.path().join("qcow2"));
        std::fs::write(&raw, disk).unwrap();
        write(&raw, &out, Options { compression, cluster_bits: bits }).unwrap();
        std::fs::read(out).unwrap()
    }

    fn open(bytes: &[u8]) -> io::Result<Reader> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Reader::open(file)
    }

    fn disk() -> Vec<u8> {
        let mut disk = vec![0; 300 << 10];
        for (at, byte) in disk.iter_mut().enumerate().skip(70_000).take(90_000) {
            *byte = u8::try_from(at / 7 % 251).unwrap();
        }
        disk
    }

    #[test]
    fn what_is_written_is_read() {
        for compression in [Compression::None, Compression::Zlib, Compression::Zstd] {
            for bits in [9, 12, 16] {
                let disk = disk();
                let mut reader = open(&image(&disk, compression, bits)).unwrap();
                assert_eq!(reader.size(), disk.len() as u64);
                let mut all = vec![1; disk.len()];
                reader.read_at(0, &mut all).unwrap();
                assert!(all == disk, "{compression:?} {bits}");
                let mut part = vec![1; 5000];
                reader.read_at(69_001, &mut part).unwrap();
                assert!(part == disk[69_001..74_001]);
            }
        }
    }

    #[test]
    fn a_table_is_not_believed_before_it_is_there() {
        let mut bytes = image(&disk(), Compression::None, 9);
        bytes[36..40].copy_from_slice(&(4u32 << 20).to_be_bytes());
        assert!(open(&bytes).unwrap_err().to_string().contains("cut short"));
        bytes[36..40].copy_from_slice(&1u32.to_be_bytes());
        bytes[40..48].copy_from_slice(&(u64::MAX - 4).to_be_bytes());
        assert!(open(&bytes).unwrap_err().to_string().contains("cut short"));
    }

    static PACKED: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| image(&disk(), Compression::Zlib, 9));

    proptest! {
        #[test]
        fn damage_never_panics(at in 0usize..4096, value: u8, length in 0usize..20_000, offset: u64) {
            let mut bytes = PACKED.clone();
            let at = at % bytes.len();
            bytes[at] = value;
            bytes.truncate(bytes.len().saturating_sub(length));
            if let Ok(mut reader) = open(&bytes) {
                let mut part = vec![0; 3000];
                let _ = reader.read_at(offset % (300 << 10), &mut part);
                let _ = reader.read_at(offset, &mut part);
            }
        }
    }
}
