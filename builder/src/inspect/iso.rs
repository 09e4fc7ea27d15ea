//! CDs and sticks: the FAT volume that UEFI starts from has everything that there is.

use std::io;

use super::{
    Image,
    boot::{self, Boot},
    table::Partition,
    volume::Volume,
};

/// The first volume descriptor (ECMA-119, 7.1), and the bytes of a sector.
const DESCRIPTOR: usize = 16 * SECTOR;
const SECTOR: usize = 2048;
/// The partition table of a PC, and the type of an EFI system partition in it.
const TABLE: usize = 446;
const EFI: u8 = 0xef;
const BLOCK: u64 = 512;

/// Whether a file that begins so is one.
pub(super) fn is(start: &[u8]) -> bool {
    start.get(DESCRIPTOR + 1..DESCRIPTOR + 6) == Some(b"CD001")
}

/// Reads a CD.
///
/// # Errors
/// When it has no partition for UEFI. What is wrong further in is noted.
pub(super) fn read(image: &mut Image, volume: &mut Volume, start: &[u8]) -> io::Result<()> {
    image.format = "iso";
    let half = |at: usize| start[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
    let sectors = start.get(DESCRIPTOR + 80..DESCRIPTOR + 84).and_then(|bytes| bytes.try_into().ok());
    let promised = u64::from(sectors.map_or(0, u32::from_le_bytes)) * SECTOR as u64;
    if promised > volume.size {
        image.wrong.push(format!("it is cut short: {} of {promised} bytes", volume.size));
    }
    let entry = (0..4u32).find(|number| start[TABLE + *number as usize * 16 + 4] == EFI);
    let no_volume = || io::Error::new(io::ErrorKind::InvalidData, "it is an ISO without a partition for UEFI");
    let number = entry.ok_or_else(no_volume)?;
    let at = TABLE + number as usize * 16;
    let (from, size) = (u64::from(half(at + 8)) * BLOCK, u64::from(half(at + 12)) * BLOCK);
    let mut partition = Partition {
        number: number + 1,
        name: "EFI".to_owned(),
        kind: "esp".to_owned(),
        id: None,
        start: from,
        size,
        content: "fat",
        used: 0,
    };
    let boot = volume.bytes(from, size).and_then(|bytes| boot::read(&bytes)).unwrap_or_else(|error| {
        image.wrong.push(format!("partition {}: {error}", number + 1));
        Boot::default()
    });
    (image.boot, partition.used) = (boot.files, boot.used);
    image.partitions.push(partition);
    image.take_system(&boot.initrd.unwrap_or_default());
    Ok(())
}
