//! Exoscale: a tree as EC2 had it first, without a token. Addresses come by DHCP.
//!
//! `GET` below `http://169.254.169.254/1.0/`: `meta-data/<name>`, a line each, and `user-data`. No headers. The server of
//! passwords on port 8080 is not asked: an image without logins has no use for one.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Datasource, Endpoint, Look, Method, Outcome, document, fetch, first};
use crate::node::seed::{Metadata, Seed};

/// The datasource.
#[derive(Debug, Clone)]
pub struct Exoscale {
    endpoints: Vec<Endpoint>,
}

impl Default for Exoscale {
    fn default() -> Self {
        Self { endpoints: vec![Endpoint::USUAL] }
    }
}

impl Datasource for Exoscale {
    fn name(&self) -> &'static str {
        "exoscale"
    }

    fn look(&self, look: &Look<'_>) -> Outcome {
        fetch::look(look, &self.endpoints, &|services| {
            let (service, id) = first(services, Method::Get, "/1.0/meta-data/instance-id", &[])?;
            let text =
                |name: &str, bytes| String::from_utf8(bytes).map_err(|_| format!("meta-data/{name} is not UTF-8 text"));
            let mut values = BTreeMap::from([("instance-id".to_owned(), text("instance-id", id)?)]);
            for name in NAMES {
                if let Some(value) = service.find(&format!("/1.0/meta-data/{name}"), &[])? {
                    values.insert(name.to_owned(), text(name, value)?);
                }
            }
            // As EC2 has it, the list may hold names of keys: `0=ops`.
            let listed = values.get("public-keys").map(|list| numbers(list)).unwrap_or_default();
            let mut keys = String::new();
            for number in listed {
                if let Some(key) = service.find(&format!("/1.0/meta-data/public-keys/{number}/openssh-key"), &[])? {
                    keys += text("public-keys", key)?.trim();
                    keys.push('\n');
                }
            }
            if !keys.is_empty() {
                values.insert("public-keys".to_owned(), keys);
            }
            let user_data = service.find("/1.0/user-data", &[])?.unwrap_or_default();
            Ok((service, seed(&values, user_data)?))
        })
    }
}

/// What is asked for beside the instance id; each may be absent.
const NAMES: [&str; 6] =
    ["local-hostname", "availability-zone", "local-ipv4", "public-ipv4", "instance-type", "public-keys"];

/// The numbers of a list of names: nothing when its lines are keys.
fn numbers(list: &str) -> Vec<u32> {
    list.lines().filter_map(|line| line.split_once('=')?.0.trim().parse().ok()).collect()
}

/// Makes a seed of the values of `meta-data`, by name.
///
/// # Errors
/// When there is no instance id.
pub fn seed(values: &BTreeMap<String, String>, user_data: Vec<u8>) -> Result<Seed, String> {
    let text =
        |name: &str| values.get(name).map(|value| value.trim()).filter(|value| !value.is_empty()).map(str::to_owned);
    let document: Value = values.iter().map(|(name, value)| (name.clone(), Value::from(value.trim()))).collect();
    let zone = text("availability-zone");
    let metadata = Metadata {
        instance_id: Some(text("instance-id").ok_or("meta-data has no instance-id")?),
        local_hostname: text("local-hostname"),
        public_keys: document::keys(document.get("public-keys")),
        region: zone.clone(),
        availability_zone: zone,
        private_ipv4: text("local-ipv4"),
        public_ipv4: text("public-ipv4"),
        ..Metadata::default()
    };
    Ok(Seed {
        platform: "exoscale".into(),
        source: String::new(),
        metadata: Metadata { document, ..metadata },
        user_data,
        vendor_data: Vec::new(),
        network: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::datasource::{Detection, Platform};
    use crate::node::{
        datasource::testbed::{golden, look, machine},
        testing::{
            Cloud,
            faults::{found, survives},
        },
    };

    #[test]
    fn an_instance() {
        let values = [
            ("instance-id", "b3d5c2aa-0000-4000-8000-00000000e001\n"),
            ("local-hostname", "server-vm-1"),
            ("availability-zone", "de-fra-1"),
            ("local-ipv4", "10.0.0.9"),
            ("public-ipv4", "203.0.113.60"),
            ("instance-type", "Medium"),
            ("public-keys", "ssh-ed25519 AAAAexo ops@example\n"),
        ];
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        insta::assert_snapshot!("exoscale", golden(&seed(&values, b"#cloud-config\n# secret\n".to_vec()).unwrap()));
    }

    #[test]
    fn keys_that_are_listed_by_name_are_asked_for() {
        let keys = "/1.0/meta-data/public-keys";
        let cloud = cloud().without(keys).get(keys, "0=ops\n1=backup\n");
        let cloud = cloud.get(&format!("{keys}/0/openssh-key"), "ssh-ed25519 AAAA0 ops\n");
        let cloud = cloud.get(&format!("{keys}/1/openssh-key"), "ssh-ed25519 AAAA1 backup\n");
        assert_eq!(found(&cloud, ask).metadata.public_keys, ["ssh-ed25519 AAAA0 ops", "ssh-ed25519 AAAA1 backup"]);
        assert!(numbers("ssh-rsa AAAA= x\n").is_empty() && numbers("ssh-rsa AAAA=\n0=a").len() == 1);
    }

    #[test]
    fn an_instance_has_an_id() {
        let values = [("instance-id".to_owned(), " \n".to_owned())].into();
        assert_eq!(seed(&values, Vec::new()).unwrap_err(), "meta-data has no instance-id");
    }

    fn cloud() -> Cloud {
        let names = NAMES.iter().filter(|name| **name != "public-keys");
        let cloud = Cloud::default().secret("secret").get("/1.0/meta-data/instance-id", "b3d5c2aa");
        names
            .fold(cloud, |cloud, name| cloud.get(&format!("/1.0/meta-data/{name}"), "value").absent_ok())
            .get("/1.0/meta-data/public-keys", "ssh-ed25519 AAAAexo ops@example")
            .absent_ok()
            .get("/1.0/user-data", "#cloud-config\n# secret\n")
            .absent_ok()
    }

    fn ask(endpoint: Endpoint, timing: crate::node::datasource::Timing) -> Outcome {
        look(&Exoscale { endpoints: vec![endpoint] }, &Platform::default(), timing)
    }

    #[test]
    fn a_service_that_fails_is_survived() {
        survives(&cloud(), ask);
    }

    #[test]
    fn the_service_is_read() {
        let seed = found(&cloud(), ask);
        assert_eq!(seed.user_data, b"#cloud-config\n# secret\n");
        assert_eq!(seed.metadata.public_keys, ["ssh-ed25519 AAAAexo ops@example"]);
        let product = machine(&[("product_name", "Exoscale Compute Platform")], "");
        assert_eq!(Exoscale::default().detect(&product), Detection::Named);
    }
}
