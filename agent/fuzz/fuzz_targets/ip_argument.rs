//! `ip=` and `network-config=` of the command line, and patterns of names.
#![no_main]

use agent::{
    cmdline::Cmdline,
    node::netconfig::{fits, plan},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for key in ["ip", "network-config", "ip=eth0:dhcp ip"] {
        let _ = plan(&Cmdline::parse(&format!("{key}={text}")), None);
    }
    if let Some((pattern, name)) = text.split_once('\n') {
        let _ = fits(pattern, name);
    }
});
