//! DigitalOcean: one document with everything; addresses are static, and there may be no DHCP at all.
//!
//! `GET http://169.254.169.254/metadata/v1.json`, no headers. Before the address is known the service is reached from
//! a random address of 169.254.0.0/16 on the first interface, which nobody else can use: the network behind it belongs
//! to one machine.

use serde_json::Value;

use super::{Datasource, Endpoint, Look, Method, Outcome, document, fetch, first};
use crate::node::{
    netconfig::{Interface, NetworkConfig, NetworkPlan},
    seed::{Metadata, Seed},
};

/// The datasource.
#[derive(Debug, Clone)]
pub struct DigitalOcean {
    endpoints: Vec<Endpoint>,
}

impl Default for DigitalOcean {
    fn default() -> Self {
        Self { endpoints: vec![Endpoint::USUAL] }
    }
}

impl Datasource for DigitalOcean {
    fn name(&self) -> &'static str {
        "digitalocean"
    }

    fn look(&self, look: &Look<'_>) -> Outcome {
        let serial = look.platform.dmi.get("system-serial-number");
        fetch::look(look, &self.endpoints, &|services| {
            let (service, body) = first(services, Method::Get, "/metadata/v1.json", &[])?;
            Ok((service, seed(&body, serial)?))
        })
    }
}

/// The names that DigitalOcean's documentation gives the interfaces, and what they are called here.
const KINDS: [(&str, &str); 2] = [("public", "eth0"), ("private", "eth1")];

/// Makes a seed of `v1.json`. `serial` is the machine's serial number, which is the droplet's number.
///
/// # Errors
/// When the document is not JSON.
pub fn seed(body: &[u8], serial: Option<&str>) -> Result<Seed, String> {
    let mut document = document::json(body, "v1.json")?;
    let user_data = document::take(&mut document, "user_data");
    let vendor_data = document::take(&mut document, "vendor_data");
    // A secret between the cloud and its agent.
    document::take(&mut document, "auth_key");
    let text = |pointer: &str| document::text(&document, pointer);
    let serial = || serial.map(str::to_owned);
    let metadata = Metadata {
        instance_id: text("/droplet_id").or_else(serial),
        local_hostname: text("/hostname").or_else(serial),
        public_keys: document::keys(document.get("public_keys")),
        availability_zone: text("/region"),
        region: text("/region"),
        private_ipv4: text("/interfaces/private/0/ipv4/ip_address"),
        public_ipv4: text("/interfaces/public/0/ipv4/ip_address"),
        ..Metadata::default()
    };
    Ok(Seed {
        platform: "digitalocean".into(),
        source: String::new(),
        network: network(&document),
        metadata: Metadata { document, ..metadata },
        user_data,
        vendor_data: Some(vendor_data).filter(|data| !data.is_empty()).into_iter().collect(),
    })
}

/// Static addresses. Only public interfaces have a gateway that leads out, unless there are none.
fn network(document: &Value) -> Option<NetworkConfig> {
    let mut plan = NetworkPlan::default();
    plan.dns.servers = document::addresses(document, "/dns/nameservers");
    let has_public = !document::list(document, "/interfaces/public").is_empty();
    for (kind, name) in KINDS {
        for (index, entry) in document::list(document, &format!("/interfaces/{kind}")).iter().enumerate() {
            let Some(mac) = document::mac(entry, "/mac") else { continue };
            let mut nic = Interface::on(mac);
            if index == 0 {
                nic = nic.named(name);
            }
            let networks = [("ipv4", "netmask"), ("ipv6", "cidr"), ("anchor_ipv4", "netmask"), ("anchor_ipv6", "cidr")];
            for (key, mask) in networks {
                let at = |field: &str| format!("/{key}/{field}");
                let Some(cidr) = document::masked(entry, &at("ip_address"), &at(mask)) else { continue };
                nic = nic.address(cidr);
                // The gateway of an anchor is for reserved addresses that traffic goes out from on purpose.
                if (kind == "public" || !has_public)
                    && !key.starts_with("anchor")
                    && let Some(gateway) = document::address(entry, &at("gateway"))
                {
                    nic = nic.gateway(gateway);
                }
            }
            plan.interfaces.push(nic);
        }
    }
    document::network(plan)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::datasource::Detection;
    use crate::node::{
        datasource::testbed::{golden, look, machine},
        testing::{Cloud, faults::survives},
    };

    const DOCUMENT: &[u8] = include_bytes!("fixtures/digitalocean.json");

    #[test]
    fn a_droplet() {
        insta::assert_snapshot!("digitalocean", golden(&seed(DOCUMENT, Some("409871234")).unwrap()));
    }

    #[test]
    fn the_serial_number_stands_in_for_what_is_absent() {
        let seed = seed(b"{}", Some("42")).unwrap();
        assert_eq!(seed.metadata.instance_id.as_deref(), Some("42"));
        assert_eq!(seed.metadata.local_hostname.as_deref(), Some("42"));
        assert_eq!((seed.network, seed.user_data, seed.vendor_data), (None, vec![], vec![]));
    }

    #[test]
    fn a_private_droplet_goes_out_by_its_private_gateway() {
        let mut document: Value = serde_json::from_slice(DOCUMENT).unwrap();
        document["interfaces"]["public"] = serde_json::json!([]);
        let Some(NetworkConfig::Plan(plan)) = network(&document) else { panic!() };
        assert_eq!(plan.interfaces.len(), 1);
        assert_eq!(plan.interfaces[0].routes[0].via, Some("10.114.0.1".parse().unwrap()));
    }

    fn cloud() -> Cloud {
        Cloud::default().secret("secret").get("/metadata/v1.json", DOCUMENT)
    }

    #[test]
    fn a_service_that_fails_is_survived() {
        survives(&cloud(), |endpoint, timing| {
            look(&DigitalOcean { endpoints: vec![endpoint] }, &machine(&[("product_serial", "409871234")], ""), timing)
        });
    }

    #[test]
    fn the_firmware_names_it() {
        let of = |vendor| DigitalOcean::default().detect(&machine(&[("sys_vendor", vendor)], ""));
        assert_eq!((of("DigitalOcean"), of("digitalocean")), (Detection::Named, Detection::Absent));
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
