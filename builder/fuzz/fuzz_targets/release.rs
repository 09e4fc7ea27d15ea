//! A release of Nomad: the archive, the key, the signature.
#![no_main]

use builder::fuzzing;
use builder_fuzz::{Memory, halves};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fuzzing::archive(Memory::new(bytes).path());
    fuzzing::program(bytes);
    fuzzing::key(bytes, b"");
    if let Some((key, signature)) = halves(bytes) {
        fuzzing::key(key, signature);
    }
});
