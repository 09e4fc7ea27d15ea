//! Vultr: one document with everything.
//!
//! `GET http://169.254.169.254/v1.json` with `Metadata-Token: cloudinit`. What vendor-data says depends on the
//! `User-Agent`.

use serde_json::Value;

use super::{Datasource, Endpoint, Look, Method, Outcome, document, fetch, first};
use crate::node::{
    netconfig::{Interface, Mac, NetworkConfig, NetworkPlan, Route},
    seed::{Metadata, Seed},
};

/// The datasource.
#[derive(Debug, Clone)]
pub struct Vultr {
    endpoints: Vec<Endpoint>,
}

impl Default for Vultr {
    fn default() -> Self {
        Self { endpoints: vec![Endpoint::USUAL] }
    }
}

impl Datasource for Vultr {
    fn name(&self) -> &'static str {
        "vultr"
    }

    fn look(&self, look: &Look<'_>) -> Outcome {
        fetch::look(look, &self.endpoints, &|services| {
            let (service, body) = first(services, Method::Get, "/v1.json", &[("Metadata-Token", "cloudinit")])?;
            Ok((service, seed(&body)?))
        })
    }
}

/// Vultr's name servers, which the document does not name.
const NAME_SERVERS: [&str; 2] = ["108.61.10.10", "2001:19f0:300:1704::6"];

/// What a machine without a name is called there.
const NAMELESS: &str = "guest";

/// Makes a seed of `v1.json`.
///
/// # Errors
/// When the document is not JSON or has no instance id.
pub fn seed(body: &[u8]) -> Result<Seed, String> {
    let mut document = document::json(body, "v1.json")?;
    let user_data = document::take(&mut document, "user-data");
    let vendor_data = document::take(&mut document, "vendor-data");
    // A script may hold secrets, and is not run.
    document::take(&mut document, "startup-script");
    let text = |pointer: &str| document::text(&document, pointer);
    let address = |kind: &str| {
        let mut interfaces = document::list(&document, "/interfaces").iter();
        let entry = interfaces.find(|entry| document::text(entry, "/network-type").as_deref() == Some(kind))?;
        document::text(entry, "/ipv4/address")
    };
    let metadata = Metadata {
        instance_id: Some(text("/instance-v2-id").ok_or("v1.json has no instance-v2-id")?),
        local_hostname: Some(text("/hostname").unwrap_or_else(|| NAMELESS.into())),
        public_keys: document::keys(document.get("public-keys")),
        region: text("/region/countrycode").or_else(|| text("/region/regioncode")).map(|code| code.to_lowercase()),
        availability_zone: text("/region/regioncode").map(|code| code.to_lowercase()),
        private_ipv4: address("private"),
        public_ipv4: address("public"),
        ..Metadata::default()
    };
    let network = match document.get("cloud_interfaces") {
        // Version 1, as it is.
        Some(config) if config.is_object() => Some(NetworkConfig::Text(config.to_string())),
        _ => network(&document),
    };
    Ok(Seed {
        platform: "vultr".into(),
        source: String::new(),
        network,
        metadata: Metadata { document, ..metadata },
        user_data,
        vendor_data: Some(vendor_data).filter(|data| !data.is_empty()).into_iter().collect(),
    })
}

/// The first interface is public: DHCP and router advertisements. The others are static.
fn network(document: &Value) -> Option<NetworkConfig> {
    let mut plan = NetworkPlan::default();
    plan.dns.servers = NAME_SERVERS.iter().filter_map(|server| server.parse().ok()).collect();
    for (index, entry) in document::list(document, "/interfaces").iter().enumerate() {
        let Some(mac) = document::mac(entry, "/mac") else { continue };
        if index > 0 && document::flag(entry, "/unconfigured") {
            continue;
        }
        plan.interfaces.push(interface(entry, mac, index == 0));
    }
    document::network(plan)
}

fn interface(entry: &Value, mac: Mac, is_primary: bool) -> Interface {
    let mut nic = Interface::on(mac);
    nic.mtu = document::text(entry, "/mtu").and_then(|mtu| mtu.parse().ok());
    if is_primary {
        nic = nic.dhcp4(None);
        nic.accept_ra = Some(true);
    } else {
        nic.addresses.extend(document::masked(entry, "/ipv4/address", "/ipv4/netmask"));
    }
    if let Some(accept) = document::text(entry, "/accept-ra") {
        nic.accept_ra = Some(matches!(accept.as_str(), "1" | "2" | "true"));
    }
    let mut routes = routes(entry);
    for more in document::list(entry, "/ipv4/additional") {
        nic.addresses.extend(document::masked(more, "/address", "/netmask"));
        routes.extend(self::routes(more));
    }
    for more in document::list(entry, "/ipv6/additional") {
        nic.addresses.extend(document::masked(more, "/network", "/prefix"));
        routes.extend(self::routes(more));
    }
    routes.into_iter().fold(nic, Interface::route)
}

/// Routes as version 1 has them.
fn routes(entry: &Value) -> Vec<Route> {
    let one = |route: &Value| {
        let to = document::masked(route, "/network", "/netmask")
            .or_else(|| document::cidr(route, "/network").or_else(|| document::cidr(route, "/destination")));
        Some(Route::new(to?, document::address(route, "/gateway")))
    };
    document::list(entry, "/routes").iter().filter_map(one).collect()
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

    const DOCUMENT: &[u8] = include_bytes!("fixtures/vultr.json");

    #[test]
    fn an_instance() {
        insta::assert_snapshot!("vultr", golden(&seed(DOCUMENT).unwrap()));
    }

    #[test]
    fn a_configuration_that_is_given_is_taken() {
        let body = br#"{"instance-v2-id": "i", "hostname": "web", "cloud_interfaces": {"version": 1, "config": []},
            "interfaces": [{"mac": "56:00:04:00:00:01"}]}"#;
        let seed = seed(body).unwrap();
        assert_eq!(seed.network, Some(NetworkConfig::Text(r#"{"config":[],"version":1}"#.into())));
        assert_eq!(seed.metadata.local_hostname.as_deref(), Some("web"));
    }

    #[test]
    fn an_instance_has_an_id() {
        assert!(seed(b"{}").unwrap_err().contains("instance-v2-id"));
    }

    fn cloud() -> Cloud {
        Cloud::default().secret("secret").needs("Metadata-Token", "cloudinit", 401).get("/v1.json", DOCUMENT)
    }

    #[test]
    fn a_service_that_fails_is_survived() {
        survives(&cloud(), |endpoint, timing| look(&Vultr { endpoints: vec![endpoint] }, &Platform::default(), timing));
    }

    #[test]
    fn the_firmware_or_the_command_line_names_it() {
        let of = |vendor, line| Vultr::default().detect(&machine(&[("sys_vendor", vendor)], line));
        assert_eq!((of("Vultr", ""), of("Supermicro", "quiet vultr")), (Detection::Named, Detection::Named));
        assert_eq!(of("Supermicro", "root=/dev/vultr"), Detection::Absent);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            let _ = seed(&bytes);
        }

        #[test]
        fn any_change_of_a_value_is_read(at in 0..DOCUMENT.len(), byte: u8) {
            let mut document = DOCUMENT.to_vec();
            document[at] = byte;
            let _ = seed(&document);
        }
    }
}
