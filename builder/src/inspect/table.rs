//! The partition table of a disk.

use std::io;

use agent::init::gpt;
use serde::Serialize;
use uuid::Uuid;

use super::volume::Volume;
use crate::architecture::Architecture;

/// A partition, as the table has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Its type, in a word where it is known.
    pub kind: String,
    /// Which one it is (`PARTUUID`), in a GPT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// What lies in it.
    pub content: &'static str,
    /// Of its bytes those that are in use.
    pub used: u64,
}

/// Types of partitions that an image or a node makes, besides those of an architecture (Discoverable Partitions Specification).
const KINDS: [(u128, &str); 3] = [
    (0xc12a_7328_f81f_11d2_ba4b_00a0_c93e_c93b, "esp"),
    (0x0fc6_3daf_8483_4772_8e79_3d69_d847_7de4, "linux"),
    (0x4d21_b016_b534_45c2_a9fb_5c16_e091_fd2d, "var"),
];

/// The word for a type of partition, or its number.
pub(super) fn word(kind: Uuid) -> String {
    let common = KINDS.iter().find_map(|(known, word)| (Uuid::from_u128(*known) == kind).then_some(*word));
    let word = common.or_else(|| Architecture::ALL.into_iter().find_map(|one| one.type_name(kind)));
    word.map_or_else(|| kind.to_string(), ToOwned::to_owned)
}

/// Where a header has the identifier of the disk (UEFI specification 2.10, table 5-5).
const DISK_ID: u64 = 56;
/// Sizes of sectors that disks have.
const SECTORS: [u64; 2] = [512, 4096];

/// The identifier of the disk, and its partitions in their order on it. Read as a node reads it, which bounds what a table may ask for.
///
/// # Errors
/// When there is no table, or it is damaged.
pub fn read(volume: &mut Volume) -> io::Result<(Uuid, Vec<Partition>)> {
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let table = SECTORS.iter().map(|sector| gpt::read(volume, *sector)).reduce(|first, second| {
        // The first says more of a table that is damaged, unless it saw none.
        if matches!(first, Err(gpt::GptError::None | gpt::GptError::Read(_))) && second.is_ok() {
            second
        } else {
            first
        }
    });
    let table = match table {
        Some(Ok(table)) => table,
        Some(Err(error)) => return Err(wrong(format!("no partition table (GPT): {error}"))),
        None => return Err(wrong("no partition table (GPT)".to_owned())),
    };
    let mut partitions = Vec::new();
    for entry in table.partitions {
        let number = entry.number;
        let sectors = entry.last.checked_sub(entry.first).and_then(|last| last.checked_add(1));
        let place = entry.first.checked_mul(table.sector).zip(sectors.and_then(|n| n.checked_mul(table.sector)));
        let (start, size) = place
            .filter(|(start, size)| start.checked_add(*size).is_some_and(|end| end <= volume.size))
            .ok_or_else(|| wrong(format!("partition {number} is not on the disk")))?;
        partitions.push(Partition {
            number,
            name: entry.name,
            kind: word(Uuid::from_bytes_le(entry.type_guid.0)),
            id: Some(Uuid::from_bytes_le(entry.guid.0)),
            start,
            size,
            content: "",
            used: 0,
        });
    }
    partitions.sort_by_key(|partition| partition.start);
    // Else a thousand partitions are one and the same, and what is read of them is a thousand times the disk.
    for pair in partitions.windows(2) {
        if pair[1].start < pair[0].start + pair[0].size {
            return Err(wrong(format!("partitions {} and {} overlap", pair[0].number, pair[1].number)));
        }
    }
    // A node has no use for the disk's own identifier.
    let id = volume.bytes(table.header.own_lba.saturating_mul(table.sector).saturating_add(DISK_ID), 16)?;
    Ok((id.try_into().map_or(Uuid::nil(), Uuid::from_bytes_le), partitions))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read_bytes(bytes: &[u8]) -> io::Result<(Uuid, Vec<Partition>)> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        read(&mut Volume::open(file.path())?)
    }

    fn disk(sector: u64) -> Vec<u8> {
        disk_of(sector, Uuid::from_u128(KINDS[0].0))
    }

    fn disk_of(sector: u64, kind: Uuid) -> Vec<u8> {
        let mut disk = io::Cursor::new(vec![0; 1 << 20]);
        let mut gpt = gptman::GPT::new_from(&mut disk, sector, [7; 16]).unwrap();
        let first = gpt.header.first_usable_lba;
        gpt[3] = gptman::GPTPartitionEntry {
            partition_type_guid: kind.to_bytes_le(),
            unique_partition_guid: [9; 16],
            starting_lba: first,
            ending_lba: first + 1,
            attribute_bits: 0,
            partition_name: "x".into(),
        };
        gpt.write_into(&mut disk).unwrap();
        disk.into_inner()
    }

    #[test]
    fn another_authors_tables_are_read() {
        for sector in SECTORS {
            let (id, partitions) = read_bytes(&disk(sector)).unwrap();
            assert_eq!(id, Uuid::from_bytes_le([7; 16]));
            let found: Vec<_> = partitions.iter().map(|part| (part.number, part.kind.as_str(), part.size)).collect();
            assert_eq!(found, [(3, "esp", 2 * sector)]);
        }
    }

    #[test]
    fn types_have_words_for_every_architecture() {
        let said = |kind| read_bytes(&disk_of(512, kind)).unwrap().1.remove(0).kind;
        let [x86, arm] = Architecture::ALL;
        assert_eq!([x86.root_type(), x86.verity_type()].map(said), ["root-x86-64", "root-x86-64-verity"]);
        assert_eq!([arm.root_type(), arm.verity_type()].map(said), ["root-arm64", "root-arm64-verity"]);
        let other = Uuid::from_u128(1);
        assert_eq!(said(other), other.to_string());
    }

    /// The disk with a change to its first table, and checksums that are right.
    fn changed(mut bytes: Vec<u8>, change: impl Fn(&mut [u8])) -> Vec<u8> {
        change(&mut bytes);
        let crc = |bytes: &[u8]| {
            let mut crc = flate2::Crc::new();
            crc.update(bytes);
            crc.sum().to_le_bytes()
        };
        let entries = crc(&bytes[1024..1024 + 128 * 128]);
        bytes[512 + 88..512 + 92].copy_from_slice(&entries);
        bytes[512 + 16..512 + 20].fill(0);
        let header = crc(&bytes[512..512 + 92]);
        bytes[512 + 16..512 + 20].copy_from_slice(&header);
        bytes
    }

    /// One volume under many numbers would be read as often.
    #[test]
    fn partitions_that_overlap_are_refused() {
        let and_at = |first: u64| {
            let bytes = changed(disk(512), |bytes| {
                let third = 1024 + 2 * 128;
                bytes.copy_within(third..third + 128, third + 128);
                bytes[third + 128 + 32..third + 128 + 48]
                    .copy_from_slice(&[first, first + 1].map(u64::to_le_bytes).concat());
            });
            read_bytes(&bytes)
        };
        let first = read_bytes(&disk(512)).unwrap().1[0].start / 512;
        let numbers = and_at(first + 2).unwrap().1.iter().map(|part| part.number).collect::<Vec<_>>();
        assert_eq!(numbers, [3, 4]);
        for at in [first, first + 1] {
            assert_eq!(and_at(at).unwrap_err().to_string(), "partitions 3 and 4 overlap");
        }
    }

    /// A table that names four billion entries would take half a terabyte of memory; its checksum is right.
    #[test]
    fn a_table_gets_no_memory_for_the_asking() {
        let mut bytes = disk(512);
        bytes[512 + 80..512 + 84].fill(0xff);
        bytes[512 + 16..512 + 20].fill(0);
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[512..512 + 92]);
        bytes[512 + 16..512 + 20].copy_from_slice(&crc.sum().to_le_bytes());
        // The backup is as it was; without it there is nothing to read.
        bytes.truncate(900 << 10);
        let said = read_bytes(&bytes).unwrap_err().to_string();
        assert!(said.contains("number of entries"), "{said}");
    }
}
