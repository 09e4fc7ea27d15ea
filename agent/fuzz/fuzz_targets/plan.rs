//! User-data as a whole: formats, YAML, every key, Nomad's files.
#![no_main]

use agent::{
    facts::Role,
    node::{seed::Metadata, userdata::Plan},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let metadata = Metadata { local_hostname: std::str::from_utf8(bytes).ok().map(str::to_owned), ..Metadata::default() };
    let _ = Plan::from_user_data(bytes, &metadata, Role::Client);
    // Most inputs would end at the header.
    let mut config = b"#cloud-config\n".to_vec();
    config.extend_from_slice(bytes);
    let plan = Plan::from_user_data(&config, &metadata, Role::Server);
    for file in &plan.files {
        assert!(file.path.starts_with('/') && !file.path.contains(".."), "{}", file.path);
    }
});
