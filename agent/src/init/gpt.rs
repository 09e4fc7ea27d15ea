//! GUID partition tables, read.
//!
//! Disks come from outside: everything is bounded and checked before it is believed. Format: UEFI specification 2.10,
//! section 5.3. Changes to a table are made by [`super::state::table`] on a table that this module has accepted.

use std::{fmt, io};

/// A GUID in the byte order of a partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// Parses `4f68bce3-e8cd-4db1-96e7-fbcaf984b709`, in either case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let shape =
            text.len() == 36 && text.bytes().enumerate().all(|(i, b)| (b == b'-') == matches!(i, 8 | 13 | 18 | 23));
        let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
        if shape { Self::from_digits(&digits) } else { None }
    }

    /// Parses the 32 digits of such a text, without what is between them.
    #[must_use]
    pub fn from_digits(digits: &[u8]) -> Option<Self> {
        if digits.len() != 32 {
            return None;
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let value = |digit: u8| char::from(digit).to_digit(16).and_then(|v| u8::try_from(v).ok());
            *byte = value(pair[0])? << 4 | value(pair[1])?;
        }
        // The first three groups are little-endian numbers.
        bytes[0..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        Some(Self(bytes))
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b = &self.0;
        write!(
            f,
            "{:02x}{:02x}{:02x}{:02x}-{:02x}{:02x}-{:02x}{:02x}-",
            b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6]
        )?;
        write!(f, "{:02x}{:02x}-", b[8], b[9])?;
        b[10..].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The header, as far as it is used here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// Sector of this header.
    pub own_lba: u64,
    /// Sector of the other header.
    pub other_lba: u64,
    /// First sector that a partition may use.
    pub first_usable: u64,
    /// Last sector that a partition may use.
    pub last_usable: u64,
    /// First sector of the entries.
    pub entries_lba: u64,
    /// Number of entries.
    pub entries: u32,
    /// CRC-32 of the entries.
    entries_crc: u32,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// What it is for.
    pub type_guid: Guid,
    /// Which one it is.
    pub guid: Guid,
    /// First sector.
    pub first: u64,
    /// Last sector, included.
    pub last: u64,
    /// Its name.
    pub name: String,
}

/// A whole table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Size of a sector in bytes.
    pub sector: u64,
    /// The header that was believed: the first one, or the backup when the first is damaged.
    pub header: Header,
    /// The partitions in use, by number.
    pub partitions: Vec<Partition>,
}

/// Why bytes are not a partition table.
#[derive(Debug, thiserror::Error)]
pub enum GptError {
    /// Not even the signature.
    #[error("no GUID partition table")]
    None,
    /// The header is damaged.
    #[error("the header's {0} is wrong")]
    Header(&'static str),
    /// The entries are damaged.
    #[error("the checksum of the partition entries is wrong")]
    EntriesChecksum,
    /// An entry makes no sense.
    #[error("partition {0} lies outside the disk or ends before it begins")]
    Range(u32),
    /// The disk cannot be read.
    #[error("failed to read the disk: {0}")]
    Read(#[from] io::Error),
}

/// Size of an entry. The specification allows more; nobody makes them.
pub const ENTRY: usize = 128;
/// Size of a header, as everybody makes it.
pub const HEADER: usize = 92;
/// More entries than anybody makes (the usual number is 128).
const MAX_ENTRIES: u32 = 1024;

/// CRC-32 as in Ethernet and zip.
fn crc32(bytes: impl Iterator<Item = u8>) -> u32 {
    !bytes
        .fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1))))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn guid_at(bytes: &[u8], at: usize) -> Guid {
    Guid(bytes.get(at..at + 16).and_then(|b| b.try_into().ok()).unwrap_or_default())
}

/// Reads a header from its sector, which lies at `lba`.
///
/// # Errors
/// When it is not a sound header.
pub fn parse_header(sector: &[u8], lba: u64) -> Result<Header, GptError> {
    if sector.get(..8) != Some(b"EFI PART") || sector.len() < 512 {
        return Err(GptError::None);
    }
    let size = usize::try_from(u32_at(sector, 12)).unwrap_or(0);
    if !(92..=512).contains(&size) {
        return Err(GptError::Header("size"));
    }
    let covered = sector[..size].iter().enumerate().map(|(i, b)| if (16..20).contains(&i) { 0 } else { *b });
    if crc32(covered) != u32_at(sector, 16) {
        return Err(GptError::Header("checksum"));
    }
    let header = Header {
        own_lba: u64_at(sector, 24),
        other_lba: u64_at(sector, 32),
        first_usable: u64_at(sector, 40),
        last_usable: u64_at(sector, 48),
        entries_lba: u64_at(sector, 72),
        entries: u32_at(sector, 80),
        entries_crc: u32_at(sector, 88),
    };
    if header.own_lba != lba {
        return Err(GptError::Header("own position"));
    }
    if u32_at(sector, 84) != 128 {
        return Err(GptError::Header("entry size"));
    }
    if header.entries > MAX_ENTRIES {
        return Err(GptError::Header("number of entries"));
    }
    if header.first_usable > header.last_usable || header.last_usable >= u64::MAX / 4096 {
        return Err(GptError::Header("usable range"));
    }
    if header.entries_lba >= u64::MAX / 4096 {
        return Err(GptError::Header("position of the entries"));
    }
    Ok(header)
}

/// Reads the partitions from the bytes of the entries.
///
/// # Errors
/// When the checksum is wrong or a partition lies outside of the usable range.
pub fn parse_entries(header: &Header, bytes: &[u8]) -> Result<Vec<Partition>, GptError> {
    if bytes.len() < entries_size(header) || crc32(bytes[..entries_size(header)].iter().copied()) != header.entries_crc
    {
        return Err(GptError::EntriesChecksum);
    }
    let mut partitions = Vec::new();
    for (number, entry) in (1..=header.entries).zip(bytes.chunks_exact(ENTRY)) {
        let Some(partition) = parse_entry(number, entry) else { continue };
        let Partition { first, last, .. } = partition;
        if first > last || first < header.first_usable || last > header.last_usable {
            return Err(GptError::Range(number));
        }
        partitions.push(partition);
    }
    Ok(partitions)
}

/// Reads the entry of partition `number` from its bytes, whatever its range; `None` when it is not in use.
#[must_use]
pub fn parse_entry(number: u32, bytes: &[u8]) -> Option<Partition> {
    let entry = bytes.get(..ENTRY).filter(|entry| guid_at(entry, 0) != Guid([0; 16]))?;
    let units = entry[56..].chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let name: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    Some(Partition {
        number,
        type_guid: guid_at(entry, 0),
        guid: guid_at(entry, 16),
        first: u64_at(entry, 32),
        last: u64_at(entry, 40),
        name: String::from_utf16_lossy(&name),
    })
}

/// Length of the entries in bytes.
#[must_use]
pub fn entries_size(header: &Header) -> usize {
    usize::try_from(header.entries).unwrap_or(0) * ENTRY
}

/// Reads the table of a disk: the first one, and when that is damaged the backup at the end.
///
/// # Errors
/// Why the first table is not sound, when the backup is not either.
pub fn read(disk: &mut (impl io::Read + io::Seek), sector: u64) -> Result<Table, GptError> {
    read_at(disk, sector, 1).or_else(|why| {
        // Without any sign of a table at the start, bytes at the end are leftovers, not a backup of it.
        if matches!(why, GptError::None | GptError::Read(_)) {
            return Err(why);
        }
        let end = disk.seek(io::SeekFrom::End(0))?;
        read_at(disk, sector, (end / sector).saturating_sub(1)).map_err(|_| why)
    })
}

fn read_at(disk: &mut (impl io::Read + io::Seek), sector: u64, lba: u64) -> Result<Table, GptError> {
    let mut bytes = vec![0; usize::try_from(sector).unwrap_or(512)];
    disk.seek(io::SeekFrom::Start(lba.saturating_mul(sector)))?;
    disk.read_exact(&mut bytes)?;
    let header = parse_header(&bytes, lba)?;
    let mut bytes = vec![0; entries_size(&header)];
    disk.seek(io::SeekFrom::Start(header.entries_lba.saturating_mul(sector)))?;
    disk.read_exact(&mut bytes)?;
    let partitions = parse_entries(&header, &bytes)?;
    Ok(Table { sector, header, partitions })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    const SECTORS: u64 = 4096;

    /// A disk of 2 MiB with one partition, made by the crate that the builder uses: another author's table.
    pub(crate) fn disk() -> Vec<u8> {
        let mut disk = Cursor::new(vec![0; usize::try_from(SECTORS * 512).unwrap()]);
        let mut gpt = gptman::GPT::new_from(&mut disk, 512, [7; 16]).unwrap();
        gpt[1] = gptman::GPTPartitionEntry {
            partition_type_guid: Guid::parse(crate::paths::STATE_TYPE_GUID).unwrap().0,
            unique_partition_guid: [9; 16],
            starting_lba: 2048,
            ending_lba: 3000,
            attribute_bits: 0,
            partition_name: "steppe-state".into(),
        };
        gpt.write_into(&mut disk).unwrap();
        disk.into_inner()
    }

    #[test]
    fn guids_have_the_mixed_order_of_the_specification() {
        let guid = Guid::parse("4F68BCE3-e8cd-4db1-96e7-fbcaf984b709").unwrap();
        assert_eq!(guid.0[..8], [0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d]);
        assert_eq!(guid.to_string(), "4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
        assert_eq!(Guid::parse("4f68bce3e8cd4db196e7fbcaf984b709"), None);
        assert_eq!(Guid::parse("4f68bce3-e8cd-4db1-96e7-fbcaf984b70g"), None);
    }

    #[test]
    fn another_authors_table_is_read() {
        let table = read(&mut Cursor::new(disk()), 512).unwrap();
        assert_eq!(table.header.other_lba, SECTORS - 1);
        let [partition] = &table.partitions[..] else { panic!("{:?}", table.partitions) };
        assert_eq!((partition.number, partition.first, partition.last), (1, 2048, 3000));
        assert_eq!(partition.name, "steppe-state");
        assert_eq!(partition.type_guid.to_string(), crate::paths::STATE_TYPE_GUID);
    }

    #[test]
    fn the_backup_serves_when_the_first_table_is_damaged() {
        let mut bytes = disk();
        bytes[1024] ^= 1;
        let table = read(&mut Cursor::new(bytes.clone()), 512).unwrap();
        assert_eq!(table.header.own_lba, SECTORS - 1);
        assert_eq!(table.partitions.len(), 1);
        let end = bytes.len();
        bytes[end - 500] ^= 1;
        assert!(matches!(read(&mut Cursor::new(bytes), 512), Err(GptError::EntriesChecksum)));
    }

    #[test]
    fn an_empty_disk_has_no_table() {
        assert!(matches!(read(&mut Cursor::new(vec![0; 8192]), 512), Err(GptError::None)));
        assert!(matches!(read(&mut Cursor::new(vec![0; 100]), 512), Err(GptError::Read(_))));
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 512), lba: u64) {
            bytes[..8].copy_from_slice(b"EFI PART");
            let _ = parse_header(&bytes, lba);
        }

        #[test]
        fn a_flipped_bit_is_noticed(at in 512_usize..1024 + 128, bit in 0_u8..8) {
            let mut bytes = disk();
            bytes[at] ^= 1 << bit;
            // Bytes behind the header's 92 are not covered by any checksum.
            let found = read_at(&mut Cursor::new(bytes), 512, 1);
            prop_assert_eq!(found.is_ok(), (512 + 92..1024).contains(&at));
        }

        #[test]
        fn guids_survive(bytes: [u8; 16]) {
            prop_assert_eq!(Guid::parse(&Guid(bytes).to_string()), Some(Guid(bytes)));
        }

        #[test]
        fn any_text_is_a_guid_or_not(text: String) {
            let _ = Guid::parse(&text);
        }
    }
}
