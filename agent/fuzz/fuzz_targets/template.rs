//! Templates, with metadata to fill them in: variables, lists and maps that an expression can reach.
#![no_main]

use agent::{
    facts::Role,
    node::{
        seed::{Metadata, Seed},
        userdata::Plan,
    },
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut template = b"## template: jinja\n#cloud-config\n".to_vec();
    template.extend_from_slice(bytes);
    let metadata = Metadata {
        instance_id: Some("i-1".into()),
        region: Some("here".into()),
        document: serde_json::json!({"meta": {"role": "server", "n": 3, "on": true}, "peers": ["a", "b"], "none": null}),
        ..Metadata::default()
    };
    let seed = Seed { platform: "openstack".into(), user_data: template, metadata, ..Seed::default() };
    let plan = Plan::from_seed(&seed, Role::Server, &mut |_| Err("not fetched here".into()));
    for finding in &plan.findings {
        assert!(finding.at.line > 0 && finding.at.column > 0, "{finding}");
    }
});
