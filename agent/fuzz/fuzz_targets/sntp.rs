//! Answers of time servers.
#![no_main]

use agent::node::time::sntp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = sntp::parse(bytes, 0);
    if let Some(sent) = bytes.get(24..32).and_then(|b| b.try_into().ok()) {
        let _ = sntp::parse(bytes, u64::from_be_bytes(sent));
    }
});
