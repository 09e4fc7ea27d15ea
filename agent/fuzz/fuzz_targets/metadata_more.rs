//! The metadata of the smaller clouds: the first byte names the provider, a NUL separates its answers.
#![no_main]

use agent::node::{
    datasource::{akamai, digitalocean, fw_cfg, hetzner, oracle, scaleway, upcloud, vmware, vultr},
    netconfig::Interface,
    seed::Seed,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((provider, rest)) = bytes.split_first() else { return };
    let parts: Vec<&[u8]> = rest.splitn(4, |byte| *byte == 0).collect();
    let part = |n: usize| parts.get(n).copied();
    let first = part(0).unwrap_or_default();
    let seed: Result<Seed, String> = match provider % 9 {
        0 => digitalocean::seed(first, None),
        1 => upcloud::seed(first, None),
        2 => vultr::seed(first),
        3 => hetzner::seed(first, part(1).unwrap_or_default(), part(2).unwrap_or_default().to_vec(), None),
        4 => oracle::seed(first, part(1)),
        5 => scaleway::seed(first, vec![], vec![], Interface::called("eth0"), &[]),
        6 if part(2).is_none() => vmware::environment(first, None).map(Option::unwrap_or_default),
        6 => vmware::seed(Some(first), part(1).map(<[u8]>::to_vec), part(2).map(<[u8]>::to_vec), None),
        7 => {
            let names = ["meta-data", "network-config", "user-data", "vendor-data"];
            fw_cfg::seed(names.into_iter().zip(&parts).map(|(name, part)| (name.to_owned(), part.to_vec())).collect())
        }
        _ => {
            let answers =
                akamai::Answers { instance: Some(first), network: part(1), keys: part(2), user_data: part(3) };
            let _ = akamai::allowed(std::str::from_utf8(first).ok());
            akamai::seed(answers, None)
        }
    };
    // What is found is kept for a boot without metadata, and has to come back.
    if let Ok(seed) = seed {
        let kept = serde_json::to_vec(&seed).unwrap();
        assert_eq!(serde_json::from_slice::<Seed>(&kept).unwrap(), seed);
    }
});
