//! The EFI system partition as a power cut, or somebody else, left it.
#![no_main]

use std::io::Cursor;

use agent::{slots::Slot, update::fat};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = fat::records::parse(bytes);
    // The boot sector of a volume with clusters of one sector, a table of one and its copy, and the root directory first.
    let mut volume = vec![0; 512];
    volume[11..17].copy_from_slice(&[0, 2, 1, 2, 0, 2]);
    (volume[36], volume[44], volume[48]) = (1, 2, 1);
    volume.extend(bytes.iter().take(64 << 10));
    volume.resize(volume.len().next_multiple_of(512).max(8 * 512), 0);
    let sectors = u32::try_from(volume.len() / 512).unwrap();
    volume[32..36].copy_from_slice(&sectors.to_le_bytes());
    volume[510..512].copy_from_slice(&[0x55, 0xaa]);
    let before = volume.clone();
    let size = volume.len() as u64;
    // Refused without a change, or letters are written in place.
    if let Ok(plan) = fat::fall_back::plan(&mut Cursor::new(&mut volume), size, Slot::A) {
        let mut changed = volume.clone();
        plan.write(&mut Cursor::new(&mut changed)).unwrap();
        assert!(changed.iter().zip(&volume).all(|(after, before)| after == before || matches!(after, b'0' | b'b')));
    }
    let check = |volume: &mut Vec<u8>| fat::check(&mut Cursor::new(volume), size, Slot::B).is_ok();
    if check(&mut volume) {
        let once = volume.clone();
        assert!(check(&mut volume) && volume == once);
    } else {
        assert!(volume == before);
    }
});
