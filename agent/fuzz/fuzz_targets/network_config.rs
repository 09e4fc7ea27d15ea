//! Network configuration as text: the first byte says of which format, most inputs would end at the version.
#![no_main]

use agent::{
    cmdline::Cmdline,
    node::netconfig::{NetworkConfig, NetworkMode, plan},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (header, body) = match text.as_bytes().first() {
        Some(b'1') => ("version: 1\n", &text[1..]),
        Some(b'2') => ("version: 2\n", &text[1..]),
        Some(b'e') => ("auto eth0\n", &text[1..]),
        _ => ("", text),
    };
    let config = NetworkConfig::Text(format!("{header}{body}"));
    let (mode, _) = plan(&Cmdline::default(), Some(&config));
    if let NetworkMode::Plan(made) = mode {
        // What was checked once holds: checking it again takes nothing away.
        let (again, _) = plan(&Cmdline::default(), Some(&NetworkConfig::Plan(made.clone())));
        assert_eq!(again, NetworkMode::Plan(made));
    }
});
