//! The network of an Azure machine, from `network.interface[]`.

use std::net::IpAddr;

use serde_json::Value;

use super::super::document;
use crate::node::netconfig::{Cidr, DhcpOptions, Interface, NetworkPlan, Select};

/// The driver of the interfaces. The fast path of one (a virtual function of Mellanox or MANA) has the same hardware
/// address and another driver, and is not to be configured.
const DRIVER: &str = "hv_netvsc";
/// Prefix of an address whose subnet is not given.
const ALONE: u8 = 128;

/// DHCP on every interface, in the order of the document; further addresses are static. The name servers of the first
/// are those of all.
#[must_use]
pub fn network(instance: &Value) -> NetworkPlan {
    let list = document::list(instance, "/network/interface");
    NetworkPlan::of((0_u32..).zip(list).filter_map(|(n, nic)| interface(n, nic)).collect::<Vec<_>>())
}

fn interface(n: u32, nic: &Value) -> Option<Interface> {
    let mac = document::mac(nic, "/macAddress")?;
    let metric = Some((n + 1).saturating_mul(100));
    let mut interface = Interface::on(mac).dhcp4(metric);
    interface.select = Select { drivers: vec![DRIVER.into()], ..interface.select };
    if n > 0 {
        interface.dhcp4 = Some(DhcpOptions { use_dns: false, ..interface.dhcp4.unwrap_or_default() });
    }
    let addresses = |family: &str| -> Vec<IpAddr> {
        let list = document::list(nic, &format!("/{family}/ipAddress"));
        list.iter().filter_map(|item| document::address(item, "/privateIpAddress")).collect()
    };
    let prefix = |family: &str, usual: u8, most: u8| {
        let text = document::text(nic, &format!("/{family}/subnet/0/prefix"));
        text.and_then(|text| text.parse().ok()).filter(|prefix| *prefix <= most).unwrap_or(usual)
    };
    if !addresses("ipv6").is_empty() {
        interface = interface.dhcp6(metric);
    }
    let (v4, v6) = (prefix("ipv4", 24, 32), prefix("ipv6", ALONE, 128));
    // The first of each kind comes by DHCP.
    for (family, prefix) in [("ipv4", v4), ("ipv6", v6)] {
        for address in addresses(family).into_iter().skip(1).filter(|a| a.is_ipv4() == (family == "ipv4")) {
            interface = interface.address(Cidr { address, prefix });
        }
    }
    Some(interface)
}
