//! The network of an EC2 instance, from `network/interfaces/macs/<mac>/`.
//!
//! Each interface does DHCP, the first by (network card, device number) with the lowest metric; further addresses are
//! static; interfaces after the first answer from their own address by a routing table of their own.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use crate::node::netconfig::{Cidr, DhcpOptions, Interface, Mac, NetworkPlan, Route, Rule};

/// The routing tables of interfaces after the first are behind this one.
const TABLE: u32 = 100;

/// The plan of an object of interfaces by their hardware addresses.
pub(super) fn plan(nics: &Value) -> NetworkPlan {
    let number = |nic: &Value, name: &str| nic.get(name).and_then(Value::as_str).and_then(|n| n.parse::<u32>().ok());
    let mut list: Vec<(u32, u32, Mac, &Value)> = nics
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(mac, nic)| {
            // One without a number comes last.
            let order = number(nic, "device-number").unwrap_or(u32::MAX);
            Some((number(nic, "network-card").unwrap_or(0), order, mac.parse().ok()?, nic))
        })
        .collect();
    list.sort_by_key(|(card, order, mac, _)| (*card, *order, *mac));
    NetworkPlan::of((0_u32..).zip(list).map(|(n, (_, _, mac, nic))| interface(n, mac, nic)).collect::<Vec<_>>())
}

fn interface(n: u32, mac: Mac, nic: &Value) -> Interface {
    let lines = |name: &str| nic.get(name).and_then(Value::as_str).unwrap_or("").lines().map(str::trim);
    let addresses = |name: &str| lines(name).filter_map(|line| line.parse().ok()).collect::<Vec<IpAddr>>();
    let subnets = |name: &str| lines(name).filter_map(|line| line.parse().ok()).collect::<Vec<Cidr>>();
    let (v4, v6) = (addresses("local-ipv4s"), addresses("ipv6s"));
    let mut nets = subnets("subnet-ipv4-cidr-block");
    nets.extend(subnets("subnet-ipv6-cidr-blocks"));
    let covers = |address: IpAddr| nets.iter().find(|net| net.contains(address));
    let metric = Some((n + 1).saturating_mul(100));
    let mut interface = Interface::on(mac).dhcp4(metric);
    if !v6.is_empty() {
        interface = interface.dhcp6(metric);
    }
    if n > 0 {
        // The name server of the first is that of all.
        interface.dhcp4 = Some(DhcpOptions { use_dns: false, ..interface.dhcp4.unwrap_or_default() });
    }
    // The first address of each kind comes by DHCP.
    for address in v4.iter().chain(v6.iter()).filter(|a| Some(*a) != v4.first() && Some(*a) != v6.first()) {
        let usual = if address.is_ipv4() { 24 } else { 128 };
        let prefix = covers(*address).map_or(usual, |net| net.prefix);
        interface = interface.address(Cidr { address: *address, prefix });
    }
    if n > 0 {
        let table = TABLE + n;
        for net in nets.iter().filter(|net| v4.iter().any(|address| net.contains(*address))) {
            let IpAddr::V4(base) = net.network().address else { continue };
            // Amazon's router has the first address of every subnet.
            let router = IpAddr::V4(Ipv4Addr::from(u32::from(base).saturating_add(1)));
            let everywhere = Route { table: Some(table), on_link: true, ..Route::default_via(router) };
            interface.routes.push(everywhere);
            interface.routes.push(Route { table: Some(table), ..Route::new(net.network(), None) });
        }
        let rule = |address: &IpAddr| Rule {
            from: Some(Cidr::host(*address)),
            to: None,
            table,
            priority: None,
            mark: None,
            tos: None,
        };
        interface.rules = if interface.routes.is_empty() { Vec::new() } else { v4.iter().map(rule).collect() };
    }
    interface
}
