//! Files with a disk in them: qcow2, VMDK, VHD, OVA, Google's archives, and disks that are compressed as a whole.
#![no_main]

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

use builder::inspect::volume::Volume;
use builder_fuzz::Memory;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    // Past the compressor's checksum.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    encoder.write_all(bytes).unwrap();
    read(&encoder.finish().unwrap());
});

fn read(bytes: &[u8]) {
    let file = Memory::new(bytes);
    let Ok(mut volume) = Volume::open(file.path()) else { return };
    let mut piece = vec![0; 70_000];
    for at in [0, 512, volume.size / 2, volume.size.saturating_sub(600), volume.size, u64::MAX - 10] {
        let length = usize::try_from(volume.size.saturating_sub(at)).unwrap_or(usize::MAX).min(piece.len());
        let _ = volume.read_at(at, &mut piece[..length]);
        assert!(
            volume.read_at(at.saturating_add(length as u64), &mut [0]).is_err() || at + (length as u64) < volume.size
        );
        let _ = Volume::bytes(&mut volume, at, 600);
    }
    let _ = volume.seek(SeekFrom::End(-10)).and_then(|_| volume.read(&mut piece));
}
