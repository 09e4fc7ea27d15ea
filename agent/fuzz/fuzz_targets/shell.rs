//! Shell text of `runcmd`, and unit files.
#![no_main]

use agent::node::userdata::{commands::Recogniser, environment};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Recogniser::default().script(text);
        let _ = environment(text);
    }
});
