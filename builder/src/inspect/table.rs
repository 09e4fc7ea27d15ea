//! The partition table of a disk.

use std::io;

use gptman::GPT;
use serde::Serialize;
use uuid::Uuid;

use super::volume::Volume;

/// A partition, as the table has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

/// Types of partitions that an image or a node makes (Discoverable Partitions Specification).
const KINDS: [(u128, &str); 5] = [
    (0xc12a_7328_f81f_11d2_ba4b_00a0_c93e_c93b, "esp"),
    (0x4f68_bce3_e8cd_4db1_96e7_fbca_f984_b709, "root-x86-64"),
    (0x2c73_57ed_ebd2_46d9_aec1_23d4_37ec_2bf5, "root-x86-64-verity"),
    (0x0fc6_3daf_8483_4772_8e79_3d69_d847_7de4, "linux"),
    (0x4d21_b016_b534_45c2_a9fb_5c16_e091_fd2d, "var"),
];

/// The identifier of the disk, and its partitions in their order on it.
///
/// # Errors
/// When there is no table, or it is damaged.
pub fn read(volume: &mut Volume) -> io::Result<(Uuid, Vec<Partition>)> {
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let gpt = GPT::find_from(volume).map_err(|error| wrong(format!("no partition table (GPT): {error}")))?;
    let mut partitions = Vec::new();
    for (number, entry) in gpt.iter().filter(|(_, entry)| entry.is_used()) {
        let sectors = entry.ending_lba.checked_sub(entry.starting_lba).and_then(|last| last.checked_add(1));
        let place =
            entry.starting_lba.checked_mul(gpt.sector_size).zip(sectors.and_then(|n| n.checked_mul(gpt.sector_size)));
        let (start, size) = place
            .filter(|(start, size)| start.checked_add(*size).is_some_and(|end| end <= volume.size))
            .ok_or_else(|| wrong(format!("partition {number} is not on the disk")))?;
        let kind = Uuid::from_bytes_le(entry.partition_type_guid);
        let word = KINDS.iter().find(|(known, _)| Uuid::from_u128(*known) == kind);
        partitions.push(Partition {
            number,
            name: entry.partition_name.as_str().to_owned(),
            kind: word.map_or_else(|| kind.to_string(), |(_, word)| (*word).to_owned()),
            id: Some(Uuid::from_bytes_le(entry.unique_partition_guid)),
            start,
            size,
            content: "",
            used: 0,
        });
    }
    partitions.sort_by_key(|partition| partition.start);
    Ok((Uuid::from_bytes_le(gpt.header.disk_guid), partitions))
}
