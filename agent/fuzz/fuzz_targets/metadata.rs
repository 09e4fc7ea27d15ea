//! The metadata of EC2, Google, OpenStack and Azure: the first byte names the provider, a NUL separates its answers.
#![no_main]

use agent::node::{
    datasource::{Platform, azure, ec2, gce, openstack},
    seed::Seed,
};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let Some((provider, rest)) = bytes.split_first() else { return };
    let parts: Vec<&[u8]> = rest.splitn(5, |byte| *byte == 0).collect();
    let part = |n: usize| parts.get(n).copied().unwrap_or_default();
    let json = |n: usize| serde_json::from_slice::<Value>(part(n)).unwrap_or_default();
    let seed: Result<Seed, String> = match provider % 4 {
        0 => {
            let values = json(0).as_object().cloned().unwrap_or_default();
            ec2::seed("aws", &ec2::Answers { values, identity: json(1), user_data: part(2).to_vec() })
        }
        1 => gce::seed(json(0), &json(1)),
        2 => {
            let _ = azure::Goal::parse(part(2));
            let ovf = azure::Ovf::parse(part(0)).ok();
            azure::seed(&Platform::default(), ovf.as_ref(), json(1), None)
        }
        _ => {
            let names = ["meta_data.json", "vendor_data.json", "network_data.json", "interfaces", "user_data"];
            let files = names.iter().zip(&parts).map(|(name, content)| ((*name).to_owned(), content.to_vec()));
            openstack::seed("openstack", files.collect())
        }
    };
    // What is found is kept for a boot without metadata, and has to come back.
    if let Ok(seed) = seed {
        let kept = serde_json::to_vec(&seed).unwrap();
        assert_eq!(serde_json::from_slice::<Seed>(&kept).unwrap(), seed);
    }
});
