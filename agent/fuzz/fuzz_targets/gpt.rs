//! Partition tables: the bytes as they come, and with checksums that are right, without which nothing behind them is read.
#![no_main]

use std::io::Cursor;

use agent::init::gpt;
use libfuzzer_sys::fuzz_target;

/// Header and entries as the first table of a disk has them.
const SECTOR: usize = 512;

fuzz_target!(|bytes: &[u8]| {
    let _ = gpt::read(&mut Cursor::new(bytes), 512);
    if let Some(disk) = sealed(bytes)
        && let Ok(table) = gpt::read(&mut Cursor::new(&disk), 512)
    {
        assert!(table.partitions.iter().all(|partition| partition.first <= partition.last));
    }
});

/// A disk whose header is the first sector of `bytes`, whose entries follow, and whose signature and checksums are right.
fn sealed(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut disk = vec![0; SECTOR];
    disk.extend(bytes);
    let entries = disk.get(2 * SECTOR..)?;
    let number = u32::from_le_bytes(disk[SECTOR + 80..SECTOR + 84].try_into().ok()?) % 16;
    let length = usize::try_from(number).ok()? * 128;
    let entries_crc = crc32(entries.get(..length)?);
    let header = &mut disk[SECTOR..2 * SECTOR];
    for (at, value) in [(12, 92), (80, number), (84, 128), (88, entries_crc), (16, 0)] {
        header[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    header[..8].copy_from_slice(b"EFI PART");
    header[24..32].copy_from_slice(&1u64.to_le_bytes());
    header[72..80].copy_from_slice(&2u64.to_le_bytes());
    let crc = crc32(&header[..92]);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    Some(disk)
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    })
}
