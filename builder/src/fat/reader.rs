//! Reading a FAT volume, with 12, 16 or 32 bits for the number of a cluster (Microsoft, "FAT: General Overview of On-Disk Format"
//! 1.03). Everything that the volume says about itself is checked before it is used: damage is an error, whatever it is.

use std::{borrow::Cow, io};

/// Bytes of a record of a directory.
const RECORD: usize = 32;
/// The number of the first cluster.
const FIRST: u32 = 2;
/// Entries that are read, and directories inside each other.
const MOST_ENTRIES: usize = 4096;
const DEEPEST: usize = 16;
/// Attributes of a record: a directory, the volume's name, and a piece of a long name.
const DIRECTORY: u8 = 0x10;
const VOLUME_LABEL: u8 = 0x08;
const LONG: u8 = 0x0f;
/// Where the characters of a long name stand in its pieces.
const PLACES: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// A volume in memory.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    /// Bits of a place in the table.
    bits: u32,
    /// The first table.
    table: &'a [u8],
    /// The root directory, when it has a place of its own; else its first cluster.
    root: Result<&'a [u8], u32>,
    /// Where the first cluster is, and bytes of a cluster.
    data: usize,
    cluster: usize,
    /// The number of the last cluster.
    last: u32,
}

/// A file or a directory.
struct Record {
    name: String,
    directory: bool,
    first: u32,
    size: u32,
}

impl<'a> Reader<'a> {
    /// Reads the boot sector.
    ///
    /// # Errors
    /// When it is not one, or speaks of more than there is.
    pub fn new(bytes: &'a [u8]) -> io::Result<Self> {
        let sector = bytes.get(..512).filter(|sector| sector[510..] == [0x55, 0xaa]).ok_or_else(no_volume)?;
        let byte = |at: usize| usize::from(sector[at]);
        let half = |at: usize| usize::from(u16::from_le_bytes([sector[at], sector[at + 1]]));
        let word = |at: usize| u32::from_le_bytes([sector[at], sector[at + 1], sector[at + 2], sector[at + 3]]);
        let long = |at: usize| usize::try_from(word(at)).unwrap_or(usize::MAX);
        let (unit, per_cluster, reserved, tables) = (half(11), byte(13), half(14), byte(16));
        if !matches!(unit, 512 | 1024 | 2048 | 4096) || !per_cluster.is_power_of_two() || reserved == 0 || tables == 0 {
            return Err(no_volume());
        }
        let either = |short: usize, more: usize| if half(short) == 0 { long(more) } else { half(short) };
        let (total, length) = (either(19, 32), either(22, 36));
        let places = || {
            let table = reserved.checked_mul(unit)?;
            let length = length.checked_mul(unit)?;
            let root = length.checked_mul(tables)?.checked_add(table)?;
            let data = root.checked_add((half(17) * RECORD).next_multiple_of(unit))?;
            let end = total.checked_mul(unit).filter(|end| *end <= bytes.len() && *end >= data)?;
            Some((table, length, root, data, end))
        };
        let (table, length, root, data, end) = places().ok_or_else(|| wrong("its parts do not fit into it"))?;
        let cluster = unit * per_cluster;
        let count = u32::try_from((end - data) / cluster).map_err(|_| wrong("it has too many clusters"))?;
        let bits = match (half(22), count) {
            (0, _) => 32,
            (_, ..4085) => 12,
            _ => 16,
        };
        let last = count.checked_add(FIRST - 1).filter(|last| *last < 0x0fff_fff7);
        let last = last.ok_or_else(|| wrong("it has too many clusters"))?;
        if (u64::from(last) + 1) * u64::from(bits) > length as u64 * 8 {
            return Err(wrong("its table is too short for its clusters"));
        }
        let root = if bits == 32 { Err(word(44)) } else { Ok(&bytes[root..root + half(17) * RECORD]) };
        Ok(Self { bytes, bits, table: &bytes[table..table + length], root, data, cluster, last })
    }

    /// Bytes of the clusters that are in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        let used = (FIRST..=self.last).filter(|number| self.entry(*number) != 0).count();
        used as u64 * self.cluster as u64
    }

    /// Every file: its path, without a slash in front, and its bytes. In the order of the paths.
    ///
    /// # Errors
    /// When a directory or a file is damaged, or there is more of them than can be.
    pub fn files(&self) -> io::Result<Vec<(String, Vec<u8>)>> {
        // Files and directories together cannot have more bytes than the volume: a chain of clusters may be everybody's.
        let mut left = self.bytes.len();
        let mut found = Vec::new();
        let mut entries = 0;
        let root = match self.root {
            Ok(bytes) => Cow::Borrowed(bytes),
            Err(first) => Cow::Owned(self.chain(first, None, &mut left)?),
        };
        let mut folders = vec![(String::new(), root, 0)];
        while let Some((prefix, bytes, depth)) = folders.pop() {
            for record in records(&bytes, self.bits) {
                entries += 1;
                if entries > MOST_ENTRIES {
                    return Err(too_much());
                }
                let path = format!("{prefix}{}", record.name);
                let damaged = |error: io::Error| io::Error::new(error.kind(), format!("{path}: {error}"));
                if !record.directory {
                    let bytes = self.chain(record.first, Some(record.size), &mut left).map_err(damaged)?;
                    found.push((path, bytes));
                } else if depth < DEEPEST {
                    let bytes = self.chain(record.first, None, &mut left).map_err(damaged)?;
                    folders.push((format!("{path}/"), Cow::Owned(bytes), depth + 1));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// What the table says of a cluster.
    fn entry(&self, number: u32) -> u32 {
        let at = number as usize;
        let half = |at: usize| u32::from(self.table[at]) | u32::from(self.table[at + 1]) << 8;
        match self.bits {
            // Three bytes have two places.
            12 => half(at + at / 2) >> (at % 2 * 4) & 0xfff,
            16 => half(at * 2),
            _ => (half(at * 4) | half(at * 4 + 2) << 16) & 0x0fff_ffff,
        }
    }

    /// `size` bytes of a chain of clusters, or all of it.
    fn chain(&self, first: u32, size: Option<u32>, left: &mut usize) -> io::Result<Vec<u8>> {
        let wanted = size.map_or(usize::MAX, |size| usize::try_from(size).unwrap_or(usize::MAX));
        let mut bytes = Vec::new();
        let mut number = first;
        while bytes.len() < wanted {
            if !(FIRST..=self.last).contains(&number) {
                return Err(wrong("its chain of clusters is broken"));
            }
            *left = left.checked_sub(self.cluster).ok_or_else(too_much)?;
            let at = self.data + (number - FIRST) as usize * self.cluster;
            let length = self.cluster.min(wanted - bytes.len());
            bytes.extend_from_slice(self.bytes.get(at..at + length).ok_or_else(|| wrong("it is cut short"))?);
            number = self.entry(number);
            // From here on a value is the end of a chain.
            if size.is_none() && number >= (1 << self.bits.min(28)) - 8 {
                break;
            }
        }
        Ok(bytes)
    }
}

/// The files and directories of a directory, without itself and the one above.
fn records(bytes: &[u8], bits: u32) -> Vec<Record> {
    let mut found = Vec::new();
    let mut pieces: Vec<&[u8]> = Vec::new();
    for record in bytes.chunks_exact(RECORD) {
        match (record[0], record[11] & 0x3f) {
            (0, _) => break,
            // Deleted.
            (0xe5, _) => pieces.clear(),
            (_, LONG) => pieces.push(record),
            (first, attributes) => {
                let name = long_name(&pieces, record).unwrap_or_else(|| short_name(record));
                pieces.clear();
                if first == b'.' || attributes & VOLUME_LABEL != 0 {
                    continue;
                }
                found.push(Record {
                    name: name.replace('/', "\u{fffd}"),
                    directory: attributes & DIRECTORY != 0,
                    // The upper half is something else in volumes that do not need it.
                    first: u32::from_le_bytes([record[26], record[27], record[20], record[21]])
                        & (u32::MAX >> (32 - bits)),
                    size: u32::from_le_bytes([record[28], record[29], record[30], record[31]]),
                });
            }
        }
    }
    found
}

/// The name that the pieces make, when they belong to this record. The one with the name's end stands first.
fn long_name(pieces: &[&[u8]], record: &[u8]) -> Option<String> {
    let sum = record[..11].iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let begin = pieces.iter().rposition(|piece| piece[0] & 0x40 != 0)?;
    let pieces = &pieces[begin..];
    let sound = (1_u8..).zip(pieces.iter().rev()).all(|(number, piece)| piece[0] & 0x3f == number && piece[13] == sum);
    let units = pieces.iter().rev().flat_map(|piece| PLACES.map(|at| u16::from_le_bytes([piece[at], piece[at + 1]])));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    (sound && !units.is_empty() && pieces.len() <= 20).then(|| String::from_utf16_lossy(&units))
}

fn short_name(record: &[u8]) -> String {
    let text = |bytes: &[u8], small: bool| -> String {
        let letter = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '\u{fffd}' };
        let text: String = bytes.trim_ascii_end().iter().map(letter).collect();
        if small { text.to_ascii_lowercase() } else { text }
    };
    // Windows notes here that the letters are small.
    let (stem, extension) = (text(&record[..8], record[12] & 8 != 0), text(&record[8..11], record[12] & 16 != 0));
    if extension.is_empty() { stem } else { format!("{stem}.{extension}") }
}

fn no_volume() -> io::Error {
    wrong("it has no boot sector of a FAT volume")
}

fn too_much() -> io::Error {
    wrong("it has more files than fit on it")
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
    use proptest::prelude::*;

    use super::*;

    /// A volume by another author's writer.
    fn volume(kind: FatType, size: usize) -> Vec<u8> {
        let mut bytes = Cursor::new(vec![0; size]);
        let options = FormatVolumeOptions::new().fat_type(kind).bytes_per_cluster(512);
        fatfs::format_volume(&mut bytes, options).unwrap();
        let fs = FileSystem::new(&mut bytes, FsOptions::new()).unwrap();
        fs.root_dir().create_dir("a Directory").unwrap();
        for (path, content) in FILES {
            fs.root_dir().create_file(path).unwrap().write_all(content).unwrap();
        }
        fs.root_dir().create_file("gone with a long name").unwrap().write_all(&[1; 2000]).unwrap();
        fs.root_dir().remove("gone with a long name").unwrap();
        drop(fs);
        bytes.into_inner()
    }

    const FILES: [(&str, &[u8]); 4] = [
        ("KERNEL", &[7; 3000]),
        ("a Directory/Some longer name.conf", b"text"),
        ("a Directory/empty", b""),
        ("exact.bin", &[9; 1024]),
    ];

    fn files(bytes: &[u8]) -> io::Result<Vec<(String, Vec<u8>)>> {
        let reader = Reader::new(bytes)?;
        let _ = reader.used();
        reader.files()
    }

    #[test]
    fn another_authors_volumes_are_read() {
        for (kind, size) in [(FatType::Fat12, 48 << 10), (FatType::Fat16, 4 << 20), (FatType::Fat32, 36 << 20)] {
            let bytes = volume(kind, size);
            let wanted = FILES.map(|(path, content)| (path.to_owned(), content.to_vec())).to_vec();
            assert_eq!(files(&bytes).unwrap(), wanted, "{kind:?}");
            let other = FileSystem::new(Cursor::new(bytes.clone()), FsOptions::new()).unwrap().stats().unwrap();
            let used = (other.total_clusters() - other.free_clusters()) * other.cluster_size();
            assert_eq!(Reader::new(&bytes).unwrap().used(), u64::from(used), "{kind:?}");
        }
    }

    #[test]
    fn a_file_outside_the_volume_is_an_error() {
        let whole = volume(FatType::Fat12, 48 << 10);
        let at = whole.windows(11).position(|name| name == b"KERNEL     ").unwrap();
        for first in [[0, 0], [1, 0], [0xff, 0xff]] {
            let mut bytes = whole.clone();
            bytes[at + 26..at + 28].copy_from_slice(&first);
            let said = files(&bytes).unwrap_err().to_string();
            assert_eq!(said, "KERNEL: its chain of clusters is broken");
        }
        let mut bytes = whole;
        bytes[at + 28..at + 32].fill(0xff);
        assert!(files(&bytes).is_err());
    }

    static SMALL: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| volume(FatType::Fat12, 48 << 10));

    proptest! {
        #[test]
        fn damage_never_panics(
            changes in prop::collection::vec((0_usize..8000, any::<u8>()), 1..5),
            head in prop::option::of((11_usize..52, any::<[u8; 4]>())),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = SMALL.clone();
            for (at, value) in changes {
                bytes[at] = value;
            }
            if let Some((at, value)) = head {
                bytes[at..at + 4].copy_from_slice(&value);
            }
            for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
                if let Ok(found) = files(bytes) {
                    prop_assert!(found.iter().map(|(_, content)| content.len()).sum::<usize>() <= bytes.len());
                }
            }
        }
    }
}
