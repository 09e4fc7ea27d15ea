//! The first blocks of a disk, and what an NVMe disk says about itself.
#![no_main]

use std::io::Cursor;

use agent::node::{datasource::superblock, volumes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = volumes::volume_name(bytes);
    let _ = superblock::read(&mut Cursor::new(bytes));
    // An ISO image has its descriptor at 32 KiB, which the fuzzer would not find.
    let mut image = vec![0; 32768];
    image.extend_from_slice(bytes);
    let _ = superblock::read(&mut Cursor::new(image));
});
