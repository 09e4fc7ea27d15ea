//! Scaleway.
//!
//! `GET` of `/conf?format=json`, and of `/user_data/cloud-init` and `/vendor_data/cloud-init` from a source port below
//! 1024, which shows that root asks. 404 says that there is none of it. At `169.254.42.42`, and at `fd00:42::42`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use super::{Datasource, Endpoint, Look, Method, Nic, Outcome, document, fetch, first};
use crate::node::{
    netconfig::{Cidr, Interface, NetworkConfig, NetworkPlan, Route},
    seed::{Metadata, Seed},
};

/// The metadata service, and the way there on the link once the machine has its own routes.
const SERVICE: Ipv4Addr = Ipv4Addr::new(169, 254, 42, 42);
const SERVICE_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42);
const SERVICE_VIA: Ipv4Addr = Ipv4Addr::new(62, 210, 0, 1);

/// The datasource.
#[derive(Debug, Clone)]
pub struct Scaleway {
    endpoints: Vec<Endpoint>,
}

impl Default for Scaleway {
    fn default() -> Self {
        Self { endpoints: vec![Endpoint::v6(SERVICE_V6).from_low_port(), Endpoint::v4(SERVICE).from_low_port()] }
    }
}

impl Datasource for Scaleway {
    fn name(&self) -> &'static str {
        "scaleway"
    }

    fn look(&self, look: &Look<'_>) -> Outcome {
        fetch::look(look, &self.endpoints, &|services| {
            let (service, conf) = first(services, Method::Get, "/conf?format=json", &[])?;
            let find = |path| service.find(path, &[]).map(Option::unwrap_or_default);
            let (user_data, vendor_data) = (find("/user_data/cloud-init")?, find("/vendor_data/cloud-init")?);
            let leased: Vec<Ipv4Addr> = look.view.leases.iter().map(|(_, lease)| lease.address).collect();
            let seed = seed(&conf, user_data, vendor_data, first_interface(look), &leased)?;
            Ok((service, seed))
        })
    }
}

/// The interface that the metadata speaks of without naming it: the one with the lease, else the first.
fn first_interface(look: &Look<'_>) -> Interface {
    let leased = look.view.primary().map(|primary| primary.interface.as_str());
    let nic = look.nics.iter().find(|nic| Some(nic.name.as_str()) == leased).or_else(|| look.nics.first());
    match nic {
        Some(Nic { mac: Some(mac), .. }) => Interface::on(*mac),
        other => Interface::called(other.map_or("eth0", |nic| &nic.name)),
    }
}

/// Metric of what DHCP says on private networks, so that the public way out stays the preferred one.
const PRIVATE_METRIC: u32 = 2048;

/// A public key among the tags.
const KEY_TAG: &str = "AUTHORIZED_KEY=";

/// Makes a seed of the answers. `first` is the interface that was asked through; `leased`: its addresses by DHCP.
///
/// # Errors
/// When the document is not JSON or has no id.
pub fn seed(
    conf: &[u8],
    user_data: Vec<u8>,
    vendor_data: Vec<u8>,
    first: Interface,
    leased: &[Ipv4Addr],
) -> Result<Seed, String> {
    let document = document::json(conf, "conf")?;
    let text = |pointer: &str| document::text(&document, pointer);
    let zone = text("/zone").or_else(|| text("/location/zone_id"));
    let mut public_keys: Vec<String> = document::list(&document, "/ssh_public_keys")
        .iter()
        .filter_map(|entry| document::text(entry, "/key"))
        .collect();
    let tags = document::list(&document, "/tags").iter().filter_map(Value::as_str);
    public_keys.extend(tags.filter_map(|tag| Some(tag.strip_prefix(KEY_TAG)?.replace('_', " "))));
    let metadata = Metadata {
        instance_id: Some(text("/id").ok_or("conf has no id")?),
        local_hostname: text("/hostname"),
        public_keys,
        region: zone.as_deref().map(|zone| zone.rsplit_once('-').map_or(zone, |(region, _)| region).to_owned()),
        availability_zone: zone,
        private_ipv4: text("/private_ip"),
        public_ipv4: text("/public_ip/address").filter(|address| address.parse::<Ipv4Addr>().is_ok()),
        ..Metadata::default()
    };
    Ok(Seed {
        platform: "scaleway".into(),
        source: String::new(),
        network: network(&document, first, leased),
        metadata: Metadata { document, ..metadata },
        user_data,
        vendor_data: Some(vendor_data).filter(|data| !data.trim_ascii().is_empty()).into_iter().collect(),
    })
}

/// DHCP for the address that DHCP gives, the others static; DHCP on private networks. Nothing when there is no public
/// address: then DHCP on every interface is all there is to do.
fn network(document: &Value, mut first: Interface, leased: &[Ipv4Addr]) -> Option<NetworkConfig> {
    let entries = document::list(document, "/public_ips");
    let is_leased = |entry: &Value| matches!(document::address(entry, "/address"), Some(IpAddr::V4(address)) if leased.contains(&address));
    let is_v4 = |entry: &Value| matches!(document::address(entry, "/address"), Some(IpAddr::V4(_)));
    // Without a lease to compare with, the first one is it.
    let by_dhcp = entries.iter().position(is_leased).or_else(|| entries.iter().position(is_v4));
    for (index, entry) in entries.iter().enumerate() {
        if Some(index) == by_dhcp {
            let service = Route::new(Cidr::host(SERVICE.into()), Some(SERVICE_VIA.into()));
            first = first.dhcp4(None).route(Route { on_link: true, ..service });
            continue;
        }
        let Some(cidr) = document::masked(entry, "/address", "/netmask") else { continue };
        first = first.address(cidr);
        if let Some(gateway) = document::address(entry, "/gateway").filter(IpAddr::is_ipv6) {
            first = first.gateway(gateway);
        }
    }
    if first.dhcp4.is_none() && first.addresses.is_empty() {
        return None;
    }
    let mut plan = NetworkPlan::of([first]);
    for mac in document::list(document, "/private_nics").iter().filter_map(|entry| document::mac(entry, "/mac_address"))
    {
        plan.interfaces.push(Interface { optional: true, ..Interface::on(mac).dhcp4(Some(PRIVATE_METRIC)) });
    }
    document::network(plan)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::node::datasource::{Detection, Platform};
    use crate::node::{
        datasource::testbed::{golden, look, machine},
        testing::{Cloud, faults::survives},
    };

    const CONF: &[u8] = include_bytes!("fixtures/scaleway.json");

    fn first() -> Interface {
        Interface::on("de:00:00:20:00:01".parse().unwrap())
    }

    #[test]
    fn an_instance() {
        let (user, vendor) = (b"#cloud-config\n# secret\n".to_vec(), b"#cloud-config\n".to_vec());
        let leased = ["203.0.113.91".parse().unwrap()];
        insta::assert_snapshot!("scaleway", golden(&seed(CONF, user, vendor, first(), &leased).unwrap()));
    }

    #[test]
    fn without_a_lease_the_first_address_comes_by_dhcp() {
        let Some(NetworkConfig::Plan(plan)) = seed(CONF, vec![], vec![], first(), &[]).unwrap().network else {
            panic!()
        };
        let addresses: Vec<String> = plan.interfaces[0].addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["203.0.113.91/32", "2001:db8:710:8c2a::1/64"]);
    }

    #[test]
    fn without_a_public_address_everything_is_dhcp() {
        let document = json!({"public_ips": [], "private_nics": [{"mac_address": "02:00:00:1a:2b:3c"}]});
        assert_eq!(network(&document, first(), &[]), None);
    }

    #[test]
    fn an_instance_with_ipv6_only_has_no_dhcp() {
        let entry = json!({"address": "2001:db8::1", "netmask": "64", "gateway": "fe80::1", "family": "inet6"});
        let Some(NetworkConfig::Plan(plan)) = network(&json!({"public_ips": [entry]}), first(), &[]) else { panic!() };
        assert_eq!((plan.interfaces[0].dhcp4, plan.interfaces[0].routes.len()), (None, 1));
    }

    fn cloud() -> Cloud {
        Cloud::default()
            .secret("secret")
            .low_port()
            .get("/conf?format=json", CONF)
            .get("/user_data/cloud-init", "#cloud-config\n# secret\n")
            .absent_ok()
            .get("/vendor_data/cloud-init", "#cloud-config\n")
            .absent_ok()
    }

    #[test]
    fn a_service_that_fails_is_survived() {
        survives(&cloud(), |endpoint, timing| {
            let endpoints = vec![endpoint.from_low_port()];
            look(&Scaleway { endpoints }, &Platform::default(), timing)
        });
    }

    #[test]
    fn the_firmware_or_the_command_line_names_it() {
        let of = |vendor, line| Scaleway::default().detect(&machine(&[("sys_vendor", vendor)], line));
        assert_eq!((of("Scaleway", ""), of("QEMU", "scaleway quiet")), (Detection::Named, Detection::Named));
        assert_eq!(of("QEMU", "quiet"), Detection::Absent);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            let _ = seed(&bytes, vec![], vec![], first(), &[]);
        }

        #[test]
        fn any_change_of_a_value_is_read(at in 0..CONF.len(), byte: u8) {
            let mut document = CONF.to_vec();
            document[at] = byte;
            let _ = seed(&document, vec![], vec![], first(), &[]);
        }
    }
}
