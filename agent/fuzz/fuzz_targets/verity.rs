//! Superblocks of dm-verity, and root hashes of the kernel command line.
#![no_main]

use agent::init::verity;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The fuzzer would not find the length by itself.
    let mut superblock = [0; verity::SUPERBLOCK];
    let length = bytes.len().min(verity::SUPERBLOCK);
    superblock[..length].copy_from_slice(&bytes[..length]);
    let _ = verity::parse(&superblock);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = verity::RootHash::parse(text);
    }
});
