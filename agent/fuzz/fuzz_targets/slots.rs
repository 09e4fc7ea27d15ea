//! Names of boot entries, and the boot-once record of syslinux.
#![no_main]

use agent::slots::{boot_once, config, entry::Entry};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = boot_once::command(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = (config::default_of(text), config::serial(text));
        if let Some(entry) = Entry::parse(text) {
            assert_eq!(Entry::parse(&entry.to_string()), Some(entry));
        }
    }
});
