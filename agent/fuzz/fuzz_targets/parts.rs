//! Everything that user-data can be packed in, with vendor-data beside it and a server that answers with bytes from
//! outside too.
#![no_main]

use agent::{
    facts::Role,
    node::{
        seed::{Metadata, Seed},
        userdata::Plan,
    },
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (&[u8], &[u8], &[u8])| {
    let (user_data, vendor_data, fetched) = data;
    let seed = Seed {
        user_data: user_data.to_vec(),
        vendor_data: vec![vendor_data.to_vec(), fetched.to_vec()],
        metadata: Metadata { launch_index: Some(1), ..Metadata::default() },
        ..Seed::default()
    };
    let plan = Plan::from_seed(&seed, Role::Server, &mut |_| Ok(fetched.to_vec()));
    for finding in &plan.findings {
        assert!(finding.at.line > 0 && finding.at.column > 0, "{finding}");
    }
});
