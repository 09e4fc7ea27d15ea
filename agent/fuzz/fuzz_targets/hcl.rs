//! Nomad's configuration, in HCL and JSON, and what is concluded from it.
#![no_main]

use agent::{facts::Role, node::nomad::check::check};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let report = check(&[("/etc/nomad.d/a.hcl".to_owned(), bytes.to_vec())], &agent::node::userdata::Launch::default(), Role::Server);
    for finding in &report.findings {
        let _ = finding.to_string();
    }
});
