//! Partition tables.
#![no_main]

use std::io::Cursor;

use agent::init::gpt;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = gpt::parse_header(bytes, 1) {
        let _ = gpt::parse_entries(&header, bytes);
    }
    let _ = gpt::read(&mut Cursor::new(bytes), 512);
});
