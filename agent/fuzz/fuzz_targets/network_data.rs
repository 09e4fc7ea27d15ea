//! OpenStack's network_data.json.
#![no_main]

use agent::{
    cmdline::Cmdline,
    node::netconfig::{NetworkConfig, plan},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = plan(&Cmdline::default(), Some(&NetworkConfig::OpenStack(text.to_owned())));
});
