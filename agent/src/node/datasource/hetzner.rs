//! Hetzner Cloud: metadata as YAML, with the network configuration in version 1 inside it.
//!
//! `GET` of `metadata`, `metadata/private-networks` and `userdata` below `http://169.254.169.254/hetzner/v1/`, or below
//! the same path at `fe80::a9fe:a9fe` on the link, which machines without a public address need. No headers. The status
//! 204 says that there is no user-data. People give user-data in base64 too, because it cannot hold bytes otherwise.

use serde_json::{Value, json};

use super::{Datasource, Endpoint, Look, Method, Outcome, document, fetch, first};
use crate::node::{
    netconfig::NetworkConfig,
    seed::{Metadata, Seed},
};

/// The datasource.
#[derive(Debug, Clone)]
pub struct Hetzner {
    endpoints: Vec<Endpoint>,
}

impl Default for Hetzner {
    fn default() -> Self {
        Self { endpoints: vec![Endpoint::LINK_LOCAL, Endpoint::USUAL] }
    }
}

impl Datasource for Hetzner {
    fn name(&self) -> &'static str {
        "hetzner"
    }

    fn look(&self, look: &Look<'_>) -> Outcome {
        let serial = look.platform.dmi.get("system-serial-number");
        fetch::look(look, &self.endpoints, &|services| {
            let (service, metadata) = first(services, Method::Get, "/hetzner/v1/metadata", &[])?;
            let find = |path| service.find(path, &[]).map(Option::unwrap_or_default);
            let private_networks = find("/hetzner/v1/metadata/private-networks")?;
            let user_data = find("/hetzner/v1/userdata")?;
            let seed = seed(&metadata, &private_networks, user_data, serial)?;
            Ok((service, seed))
        })
    }
}

/// Makes a seed of the answers. `serial` is the machine's serial number.
///
/// # Errors
/// When an answer is not YAML, has no instance id, or has another than the machine's serial number: then somebody else
/// answered.
pub fn seed(
    metadata: &[u8],
    private_networks: &[u8],
    user_data: Vec<u8>,
    serial: Option<&str>,
) -> Result<Seed, String> {
    let mut document = document::yaml(metadata, "metadata")?;
    let private = document::yaml(private_networks, "metadata/private-networks")?;
    let vendor_data = document::take(&mut document, "vendor_data");
    let text = |pointer: &str| document::text(&document, pointer);
    let instance_id = text("/instance-id").ok_or("metadata has no instance-id")?;
    if let Some(serial) = serial.filter(|serial| *serial != instance_id) {
        return Err(format!("metadata is of instance {instance_id}, and this machine's serial number is {serial}"));
    }
    let metadata = Metadata {
        instance_id: Some(instance_id),
        local_hostname: text("/hostname"),
        public_keys: document::keys(document.get("public-keys")),
        availability_zone: text("/availability-zone"),
        region: text("/region"),
        private_ipv4: document::text(&private, "/0/ip").or_else(|| text("/local-ipv4")),
        public_ipv4: text("/public-ipv4"),
        ..Metadata::default()
    };
    let network = network(document.get("network-config"), &private);
    if let Some(map) = document.as_object_mut() {
        map.insert("private-networks".into(), private);
    }
    Ok(Seed {
        platform: "hetzner".into(),
        source: String::new(),
        metadata: Metadata { document, ..metadata },
        user_data: document::unbase64(user_data),
        vendor_data: Some(vendor_data).filter(|data| !data.is_empty()).into_iter().collect(),
        network,
    })
}

/// The configuration as it came, and DHCP on the interfaces of private networks.
fn network(config: Option<&Value>, private: &Value) -> Option<NetworkConfig> {
    let mut config = config.filter(|config| config.is_object())?.clone();
    let items = config.get_mut("config").and_then(Value::as_array_mut)?;
    for mac in document::list(private, "").iter().filter_map(|entry| document::mac(entry, "/mac_address")) {
        items.push(
            json!({"type": "physical", "mac_address": mac.to_string(), "subnets": [{"type": "dhcp", "ipv4": true}]}),
        );
    }
    Some(NetworkConfig::Text(config.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::datasource::{Detection, Platform};
    use crate::node::{
        datasource::testbed::{golden, look, machine},
        netconfig,
        testing::{
            Cloud,
            faults::{found, survives},
        },
    };

    const METADATA: &[u8] = include_bytes!("fixtures/hetzner.yaml");
    const PRIVATE: &[u8] = include_bytes!("fixtures/hetzner-private.yaml");

    #[test]
    fn a_server_with_a_private_network() {
        let user_data = b"#cloud-config\n# secret of the user\n".to_vec();
        insta::assert_snapshot!("hetzner", golden(&seed(METADATA, PRIVATE, user_data, Some("61234567")).unwrap()));
    }

    #[test]
    fn private_networks_keep_the_names_of_their_interfaces() {
        let seed = seed(METADATA, PRIVATE, Vec::new(), None).unwrap();
        let (mode, findings) = netconfig::plan(&crate::cmdline::Cmdline::default(), seed.network.as_ref());
        let netconfig::NetworkMode::Plan(plan) = mode else { panic!("{findings:?}") };
        let names: Vec<_> = plan.interfaces.iter().map(|nic| (nic.rename.as_deref(), nic.dhcp4.is_some())).collect();
        assert_eq!(names, [(Some("eth0"), true), (None, true)], "{findings:?}");
        assert!(
            findings.iter().all(|finding| finding.verdict == crate::node::userdata::Verdict::Applied),
            "{findings:?}"
        );
    }

    #[test]
    fn base64_is_undone() {
        let seed = seed(METADATA, b"", b"I2Nsb3VkLWNvbmZpZwo=".to_vec(), None).unwrap();
        assert_eq!(seed.user_data, b"#cloud-config\n");
    }

    #[test]
    fn metadata_of_another_machine_is_refused() {
        let error = seed(METADATA, b"", Vec::new(), Some("7")).unwrap_err();
        assert_eq!(error, "metadata is of instance 61234567, and this machine's serial number is 7");
        assert!(seed(b"hostname: a", b"", Vec::new(), Some("7")).unwrap_err().contains("no instance-id"));
    }

    #[test]
    fn without_a_configuration_there_is_none() {
        let seed = seed(b"instance-id: 7", PRIVATE, Vec::new(), Some("7")).unwrap();
        assert_eq!(seed.network, None);
    }

    fn cloud() -> Cloud {
        Cloud::default()
            .secret("secret")
            .get("/hetzner/v1/metadata", METADATA)
            .get("/hetzner/v1/metadata/private-networks", PRIVATE)
            .absent_ok()
            .get("/hetzner/v1/userdata", "#cloud-config\n# secret of the user\n")
            .absent_ok()
    }

    fn ours() -> Platform {
        machine(&[("sys_vendor", "Hetzner"), ("product_serial", "61234567")], "")
    }

    #[test]
    fn a_service_that_fails_is_survived() {
        survives(&cloud(), |endpoint, timing| look(&Hetzner { endpoints: vec![endpoint] }, &ours(), timing));
    }

    #[test]
    fn no_user_data_is_said_by_404_and_by_nothing() {
        let seed =
            |cloud| found(&cloud, |endpoint, timing| look(&Hetzner { endpoints: vec![endpoint] }, &ours(), timing));
        assert_eq!(seed(cloud().without("/hetzner/v1/userdata")).user_data, b"");
        let without = cloud().without("/hetzner/v1/userdata");
        // 204 has no body either.
        assert_eq!(seed(without.get("/hetzner/v1/userdata", "")).user_data, b"");
        assert_eq!(Hetzner::default().detect(&ours()), Detection::Named);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(metadata: Vec<u8>, private: Vec<u8>) {
            let _ = seed(&metadata, &private, Vec::new(), None);
        }

        #[test]
        fn any_change_of_a_value_is_read(at in 0..METADATA.len(), byte: u8) {
            let mut document = METADATA.to_vec();
            document[at] = byte;
            let _ = seed(&document, PRIVATE, Vec::new(), None);
        }
    }
}
