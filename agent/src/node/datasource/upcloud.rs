//! UpCloud: one document with everything.
//!
//! `GET http://169.254.169.254/metadata/v1.json`, no headers.

use serde_json::Value;

use super::{Datasource, Endpoint, Look, Method, Outcome, document, fetch, first};
use crate::node::{
    netconfig::{Cidr, DhcpOptions, Interface, NetworkConfig, NetworkPlan},
    seed::{Metadata, Seed},
};

/// The datasource.
#[derive(Debug, Clone)]
pub struct UpCloud {
    endpoints: Vec<Endpoint>,
}

impl Default for UpCloud {
    fn default() -> Self {
        Self { endpoints: vec![Endpoint::USUAL] }
    }
}

impl Datasource for UpCloud {
    fn name(&self) -> &'static str {
        "upcloud"
    }

    fn look(&self, look: &Look<'_>) -> Outcome {
        let uuid = look.platform.dmi.get("system-uuid");
        fetch::look(look, &self.endpoints, &|services| {
            let (service, body) = first(services, Method::Get, "/metadata/v1.json", &[])?;
            Ok((service, seed(&body, uuid)?))
        })
    }
}

/// Makes a seed of `v1.json`. `uuid` is the machine's UUID, which is the server's.
///
/// # Errors
/// When the document is not JSON.
pub fn seed(body: &[u8], uuid: Option<&str>) -> Result<Seed, String> {
    let mut document = document::json(body, "v1.json")?;
    let user_data = document::take(&mut document, "user_data");
    let vendor_data = document::take(&mut document, "vendor_data");
    let text = |pointer: &str| document::text(&document, pointer);
    let address = |kind: &str| {
        let interfaces = document::list(&document, "/network/interfaces").iter();
        let of_kind = interfaces.filter(|entry| document::text(entry, "/type").as_deref() == Some(kind));
        let addresses = of_kind.flat_map(|entry| document::list(entry, "/ip_addresses"));
        addresses.filter_map(|entry| document::address(entry, "/address")).find(std::net::IpAddr::is_ipv4)
    };
    let private = address("private").or_else(|| address("utility"));
    let metadata = Metadata {
        instance_id: text("/instance_id").or_else(|| uuid.map(str::to_ascii_lowercase)),
        local_hostname: text("/hostname"),
        public_keys: document::keys(document.get("public_keys")),
        availability_zone: text("/region"),
        region: text("/region"),
        private_ipv4: private.map(|address| address.to_string()),
        public_ipv4: address("public").map(|address| address.to_string()),
        ..Metadata::default()
    };
    Ok(Seed {
        platform: "upcloud".into(),
        source: String::new(),
        network: network(&document),
        metadata: Metadata { document, ..metadata },
        user_data,
        vendor_data: Some(vendor_data).filter(|data| !data.is_empty()).into_iter().collect(),
    })
}

/// DHCP where the document says so (for IPv6 that means router advertisements), static addresses otherwise.
fn network(document: &Value) -> Option<NetworkConfig> {
    let mut plan = NetworkPlan::default();
    plan.dns.servers = document::addresses(document, "/network/dns");
    let is_public = |entry: &Value| document::text(entry, "/type").as_deref() == Some("public");
    let entries = document::list(document, "/network/interfaces");
    let has_public = entries.iter().any(is_public);
    for entry in entries {
        let Some(mac) = document::mac(entry, "/mac") else { continue };
        let mut nic = Interface::on(mac);
        for address in document::list(entry, "/ip_addresses") {
            let is_v6 = document::text(address, "/family").as_deref() == Some("IPv6");
            if document::flag(address, "/dhcp") {
                if is_v6 {
                    nic.accept_ra = Some(true);
                    nic.dhcp6 = Some(DhcpOptions { stateless: true, ..DhcpOptions::default() });
                } else {
                    nic = nic.dhcp4(None);
                }
                continue;
            }
            let Some(ip) = document::address(address, "/address") else { continue };
            let network = document::text(address, "/network").unwrap_or_default();
            let mask = network.split_once('/').and_then(|(_, mask)| Cidr::with_mask(ip, mask).ok());
            nic = nic.address(mask.unwrap_or_else(|| Cidr::host(ip)));
            // A private network's gateway does not lead out, unless nothing else does.
            if (is_public(entry) || !has_public)
                && let Some(gateway) = document::address(address, "/gateway")
            {
                nic = nic.gateway(gateway);
            }
            for server in document::addresses(address, "/dns") {
                if !plan.dns.servers.contains(&server) && !nic.dns.servers.contains(&server) {
                    nic.dns.servers.push(server);
                }
            }
        }
        plan.interfaces.push(nic);
    }
    document::network(plan)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::datasource::{Detection, Platform};
    use crate::node::{
        datasource::testbed::{golden, look, machine},
        testing::{Cloud, faults::survives},
    };

    const DOCUMENT: &[u8] = include_bytes!("fixtures/upcloud.json");

    #[test]
    fn a_server() {
        insta::assert_snapshot!("upcloud", golden(&seed(DOCUMENT, None).unwrap()));
    }

    #[test]
    fn the_uuid_stands_in_for_the_instance_id() {
        let seed = seed(b"{}", Some("00F2A4C1-7B9D")).unwrap();
        assert_eq!((seed.metadata.instance_id.as_deref(), seed.network), (Some("00f2a4c1-7b9d"), None));
    }

    fn cloud() -> Cloud {
        Cloud::default().secret("secret").get("/metadata/v1.json", DOCUMENT)
    }

    #[test]
    fn a_service_that_fails_is_survived() {
        survives(&cloud(), |endpoint, timing| {
            look(&UpCloud { endpoints: vec![endpoint] }, &Platform::default(), timing)
        });
    }

    #[test]
    fn the_firmware_names_it() {
        let of = |vendor| UpCloud::default().detect(&machine(&[("sys_vendor", vendor)], ""));
        assert_eq!((of("UpCloud"), of("UpCloud Ltd")), (Detection::Named, Detection::Absent));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            let _ = seed(&bytes, None);
        }

        #[test]
        fn any_change_of_a_value_is_read(at in 0..DOCUMENT.len(), byte: u8) {
            let mut document = DOCUMENT.to_vec();
            document[at] = byte;
            let _ = seed(&document, None);
        }
    }
}
