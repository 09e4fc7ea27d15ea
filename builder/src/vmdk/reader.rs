//! Reading VMDK images: sparse extents as VMware's "Virtual Disk Format 5.0" has them, compressed (stream-optimized, also as
//! the part of an OVA) or not, with their descriptor in the same file.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use flate2::{Decompress, FlushDecompress};

const SECTOR: u64 = 512;
/// In the header's flags.
const COMPRESSED: u32 = 1 << 16;
/// Sectors of the largest grain that is read: 1 MiB.
const MOST_GRAIN: u64 = 2048;
/// Entries of the largest directory that is read: 4 TiB of the usual grains.
const MOST_TABLES: u64 = 1 << 17;

/// An image that is read.
#[derive(Debug)]
pub struct Reader {
    file: File,
    /// First byte and bytes of the image in its file.
    start: u64,
    length: u64,
    size: u64,
    /// Bytes of a grain.
    grain: u64,
    /// Entries of a table.
    entries: u64,
    compressed: bool,
    directory: Vec<u32>,
    /// The table and the grain that were looked at last, by their numbers.
    table: Option<(u64, Vec<u32>)>,
    last: Option<(u64, Vec<u8>)>,
}

impl Reader {
    /// Whether a file that begins so is one.
    #[must_use]
    pub fn is(start: &[u8]) -> bool {
        start.starts_with(b"KDMV")
    }

    /// Reads the header and the directory of the image that has `length` bytes from `start` on.
    ///
    /// # Errors
    /// When the image is damaged or has something that this reader does not know.
    pub fn open(file: File, start: u64, length: u64) -> io::Result<Self> {
        let mut reader = Self {
            file,
            start,
            length,
            size: 0,
            grain: 0,
            entries: 0,
            compressed: false,
            directory: Vec::new(),
            table: None,
            last: None,
        };
        let mut header = reader.header(0)?;
        let word = |header: &[u8; 512], at: usize| header[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
        let half = |header: &[u8; 512], at: usize| header[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
        if word(&header, 56) == u64::MAX {
            // A stream says at its end where its directory is: a footer, and the marker of the end.
            header = reader.header(length.checked_sub(2 * SECTOR).ok_or_else(|| wrong("it is cut short"))?)?;
        }
        let (capacity, grain) = (word(&header, 12), word(&header, 20));
        let entries = u64::from(half(&header, 44));
        if !(1..=3).contains(&half(&header, 4)) {
            return Err(wrong("its version is none of 1 to 3"));
        }
        if !grain.is_power_of_two() || !(8..=MOST_GRAIN).contains(&grain) || !(1..=4096).contains(&entries) {
            return Err(wrong("its grains have a size that does not exist"));
        }
        reader.compressed = half(&header, 8) & COMPRESSED != 0;
        reader.size = capacity.checked_mul(SECTOR).ok_or_else(|| wrong("its disk has a size that does not exist"))?;
        (reader.grain, reader.entries) = (grain * SECTOR, entries);
        let tables = capacity.div_ceil(grain).div_ceil(entries);
        if tables > MOST_TABLES {
            return Err(wrong("its disk is larger than this reader knows"));
        }
        reader.directory = reader.words(word(&header, 56), tables)?;
        Ok(reader)
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
        while !buffer.is_empty() {
            let (number, inside) = (offset / self.grain, index(offset % self.grain));
            let length = (index(self.grain) - inside).min(buffer.len());
            let (part, rest) = buffer.split_at_mut(length);
            match self.place(number)? {
                None => part.fill(0),
                Some(at) if !self.compressed => self.exact(at, inside as u64, part)?,
                Some(at) => {
                    if self.last.as_ref().is_none_or(|(last, _)| *last != number) {
                        self.last = Some((number, self.unpack(at, number)?));
                    }
                    let grain = self.last.as_ref().map(|(_, grain)| &grain[..]).unwrap_or_default();
                    part.copy_from_slice(&grain[inside..inside + length]);
                }
            }
            offset = offset.saturating_add(length as u64);
            buffer = rest;
        }
        Ok(())
    }

    /// The sector of a grain, if it is stored.
    fn place(&mut self, number: u64) -> io::Result<Option<u64>> {
        let table = number / self.entries;
        let at = self.directory.get(index(table)).copied().unwrap_or(0);
        if at == 0 {
            return Ok(None);
        }
        if self.table.as_ref().is_none_or(|(last, _)| *last != table) {
            self.table = Some((table, self.words(at.into(), self.entries)?));
        }
        let words = self.table.as_ref().map(|(_, words)| &words[..]).unwrap_or_default();
        // 1 is a grain of zeros that somebody wrote.
        Ok(words.get(index(number % self.entries)).copied().filter(|at| *at > 1).map(u64::from))
    }

    /// "Grain Marker": the place on the disk in sectors, the length, and a stream of zlib's format.
    fn unpack(&self, at: u64, number: u64) -> io::Result<Vec<u8>> {
        let mut marker = [0; 12];
        self.exact(at, 0, &mut marker)?;
        let place = marker[..8].try_into().map_or(0, u64::from_le_bytes);
        let length = marker[8..].try_into().map_or(0, u32::from_le_bytes);
        if place.checked_mul(SECTOR) != number.checked_mul(self.grain) {
            return Err(wrong("a grain is not where its table says"));
        }
        // Bytes that do not compress grow by a little.
        if u64::from(length) > self.grain + self.grain / 8 + 64 {
            return Err(wrong("a grain is longer than it can be"));
        }
        let (packed, mut grain) = (self.bytes(at, 12, length.into())?, vec![0; index(self.grain)]);
        let mut stream = Decompress::new(true);
        stream.decompress(&packed, &mut grain, FlushDecompress::Finish).map_err(|_| wrong("a grain is damaged"))?;
        // The last grain of a disk may have less than the others.
        let end = number.saturating_mul(self.grain).saturating_add(stream.total_out());
        if stream.total_out() < self.grain && end < self.size {
            return Err(wrong("a grain is cut short"));
        }
        Ok(grain)
    }

    fn header(&self, at: u64) -> io::Result<[u8; 512]> {
        let mut header = [0; 512];
        self.exact(at / SECTOR, 0, &mut header)?;
        if Self::is(&header) { Ok(header) } else { Err(wrong("it has no VMDK header where one should be")) }
    }

    /// `count` numbers from `sector` on.
    fn words(&self, sector: u64, count: u64) -> io::Result<Vec<u32>> {
        let bytes = self.bytes(sector, 0, count * 4)?;
        Ok(bytes.chunks_exact(4).map(|word| word.try_into().map_or(0, u32::from_le_bytes)).collect())
    }

    /// `length` bytes from a sector of the image, and some bytes further, on: memory only for what is there.
    fn bytes(&self, sector: u64, further: u64, length: u64) -> io::Result<Vec<u8>> {
        self.place_of(sector, further, length)?;
        let mut bytes = vec![0; index(length)];
        self.exact(sector, further, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `buffer` from a sector of the image, and some bytes further, on.
    fn exact(&self, sector: u64, further: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, self.place_of(sector, further, buffer.len() as u64)?)
    }

    /// Where in the file these bytes of the image are.
    fn place_of(&self, sector: u64, further: u64, length: u64) -> io::Result<u64> {
        let at = sector.checked_mul(SECTOR).and_then(|at| at.checked_add(further));
        let end = at.and_then(|at| at.checked_add(length)).filter(|end| *end <= self.length);
        at.zip(end).and_then(|(at, _)| self.start.checked_add(at)).ok_or_else(|| wrong("it is cut short"))
    }
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The builder runs where a pointer has 64 bits, or the counts in question fit anyway.
fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::disk::Disk;

    fn image(disk: &Disk) -> Vec<u8> {
        let mut image = Vec::new();
        super::super::write(disk, &mut image).unwrap();
        image
    }

    fn open(bytes: &[u8], start: u64) -> io::Result<Reader> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; index(start)]).unwrap();
        file.write_all(bytes).unwrap();
        Reader::open(file, start, bytes.len() as u64)
    }

    fn disk() -> Disk {
        let noise = (0..200_000u32).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
        Disk { size: 70 << 20, extents: vec![(0, vec![1; 700]), (40 << 20, noise), ((70 << 20) - 512, vec![3; 512])] }
    }

    #[test]
    fn what_is_written_is_read() {
        let (disk, mut wanted) = (disk(), Vec::new());
        io::Read::read_to_end(&mut crate::runs::reader(&disk), &mut wanted).unwrap();
        for start in [0, 1536] {
            let mut reader = open(&image(&disk), start).unwrap();
            assert_eq!(reader.size(), disk.size);
            let mut all = vec![9; wanted.len()];
            reader.read_at(0, &mut all).unwrap();
            assert!(all == wanted);
            let mut part = vec![9; 100_000];
            reader.read_at((40 << 20) + 65_000, &mut part).unwrap();
            assert!(part == wanted[(40 << 20) + 65_000..][..100_000]);
        }
    }

    #[test]
    fn a_directory_is_not_believed_before_it_is_there() {
        let mut bytes = IMAGE.clone();
        let footer = bytes.len() - 1024;
        bytes[footer + 12..footer + 20].copy_from_slice(&(MOST_TABLES << 16).to_le_bytes());
        assert!(open(&bytes, 0).unwrap_err().to_string().contains("cut short"));
        bytes[footer + 12..footer + 20].copy_from_slice(&(MOST_TABLES << 17).to_le_bytes());
        assert!(open(&bytes, 0).unwrap_err().to_string().contains("larger than"));
    }

    static IMAGE: std::sync::LazyLock<Vec<u8>> =
        std::sync::LazyLock::new(|| image(&Disk { size: 1 << 20, extents: vec![(0, vec![5; 70_000])] }));

    proptest! {
        #[test]
        fn damage_never_panics(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            head in prop::option::of((4usize..72, any::<[u8; 8]>())),
            cut in 0usize..3000,
            offset: u64,
        ) {
            let mut bytes = IMAGE.clone();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Some((at, value)) = head {
                let footer = bytes.len() - 1024;
                bytes[footer + at..footer + at + 8].copy_from_slice(&value);
            }
            bytes.truncate(bytes.len() - cut.saturating_sub(1500));
            if let Ok(mut reader) = open(&bytes, 0) {
                let mut part = vec![0; 80_000];
                let _ = reader.read_at(offset % (1 << 20), &mut part);
                let _ = reader.read_at(offset, &mut part);
            }
        }
    }
}
