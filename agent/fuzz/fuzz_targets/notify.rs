//! Datagrams to init.
#![no_main]

use agent::notify::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for message in parse(bytes) {
        assert_eq!(parse(message.line().as_bytes()).len(), usize::from(!message.line().is_empty()));
    }
});
