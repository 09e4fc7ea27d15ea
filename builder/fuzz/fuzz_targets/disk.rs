//! Disks and CDs with what is in them, and what is said of them: the bytes as they come, and with a partition table whose checksums are
//! right.
#![no_main]

use builder::inspect::{Image, Subject, map, text};
use builder_fuzz::Memory;
use libfuzzer_sys::fuzz_target;

const SECTOR: usize = 512;

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    if let Some(disk) = sealed(bytes) {
        read(&disk);
    }
});

fn read(bytes: &[u8]) {
    let file = Memory::new(bytes);
    let Ok(image) = Image::read(file.path()) else { return };
    let _ = (map::terminal(&image, 80), map::terminal(&image, 0), map::svg(&image));
    let subject = Subject { image: Some(image), manifest: None };
    let _ = (text::people(&subject, 80), text::json(&subject));
}

/// A disk whose table has up to four partitions, which the first bytes place, and whose checksums are right.
fn sealed(bytes: &[u8]) -> Option<Vec<u8>> {
    const ENTRIES: usize = 4;
    let (places, rest) = bytes.split_first_chunk::<{ 2 * ENTRIES }>()?;
    let mut disk = vec![0; 3 * SECTOR];
    disk.extend(rest);
    disk.resize(disk.len().next_multiple_of(SECTOR) + SECTOR, 0);
    let last = u64::try_from(disk.len() / SECTOR).ok()? - 2;
    for (number, place) in places.chunks_exact(2).enumerate() {
        let first = 3 + u64::from(place[0]);
        let end = first + u64::from(place[1]);
        if place[1] == 0 || end > last {
            continue;
        }
        let entry = &mut disk[2 * SECTOR + number * 128..][..128];
        entry[..32].fill(u8::try_from(number).ok()? + 1);
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&end.to_le_bytes());
        entry[56] = b'x';
    }
    let entries = crc32(&disk[2 * SECTOR..3 * SECTOR]);
    let header = &mut disk[SECTOR..2 * SECTOR];
    header[..8].copy_from_slice(b"EFI PART");
    for (at, value) in [(8, 0x10000), (12, 92), (80, ENTRIES as u32), (84, 128), (88, entries)] {
        header[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    for (at, value) in [(24, 1), (32, last + 1), (40, 3), (48, last), (72, 2)] {
        header[at..at + 8].copy_from_slice(&u64::to_le_bytes(value));
    }
    let crc = crc32(&header[..92]);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    Some(disk)
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}
