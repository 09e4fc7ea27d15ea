//! IPv6 from a foreign router and server: advertisements, DHCPv6 and name servers, over pairs of virtual Ethernet
//! interfaces in network namespaces.
//!
//! Where this is not possible (no root, no `ip`, no `dnsmasq`) each test says so and ends.

mod namespace;

use std::time::Duration;

use agent::node::netconfig::{DhcpOptions, Interface, NetworkPlan};
use namespace::{Machine, dnsmasq, ip};

const SOON: Duration = Duration::from_secs(30);
const MAC: &str = "02:00:00:00:00:0a";

/// A machine with one wire, and a network outside.
fn machine() -> Machine {
    let machine = Machine::new();
    machine.wire("eth0", MAC, "a");
    ip(&format!("-n {} addr add fd00:1::1/64 dev a nodad", machine.outside));
    machine
}

fn resolves(machine: &Machine, server: &str) -> bool {
    machine.resolv_conf().contains(&format!("nameserver {server}\n"))
}

#[test]
fn an_ipv6_network_gives_the_address_that_the_node_speaks_from() {
    if !dnsmasq() {
        return;
    }
    let mut machine = machine();
    let range = "--dhcp-range=fd00:1::10,fd00:1::20,64,2m";
    machine.dnsmasq("a", &["--enable-ra", range, "--dhcp-option=option6:dns-server,[fd00:1::53]"]);
    let mut network = machine.network();
    let has_lease = |view: &agent::node::net::View| {
        view.addresses
            .iter()
            .any(|address| address.prefix == 128 && address.address.to_string().starts_with("fd00:1::"))
    };
    let done = network.run_until(SOON, |s| has_lease(&s.view()) && s.view().primary().is_some());
    assert!(done, "{:?}\n{}", machine.shared.view(), namespace::read(&machine.path("a.log")));
    let view = machine.shared.view();
    let primary = view.primary().unwrap();
    assert!(primary.metric.is_some() && primary.gateway.is_some_and(|ip| ip.to_string().starts_with("fe80:")));
    assert!(ip("-6 addr show dev eth0").contains("/128 scope global dynamic"), "{}", ip("-6 addr"));
    assert!(network.run_until(SOON, |_| resolves(&machine, "fd00:1::53")), "{}", machine.resolv_conf());
    assert_eq!(view.awaited, ["a DHCP lease on eth0"], "IPv4 may yet come");

    // A plan that wants IPv6 only keeps the lease, and no one waits for IPv4 any more.
    let solicits = machine.said("a", "DHCPSOLICIT");
    let eth0 = Interface { id: "eth0".into(), dhcp6: Some(DhcpOptions::default()), ..Interface::default() };
    machine.apply(&mut network, NetworkPlan { interfaces: vec![eth0], ..NetworkPlan::default() });
    let view = machine.shared.view();
    assert!(has_lease(&view) && view.is_settled(), "{view:?}");
    assert_eq!(machine.said("a", "DHCPSOLICIT"), solicits);

    // And one that wants none of it takes it away.
    let eth0 =
        Interface { id: "eth0".into(), addresses: vec!["fd00:1::7/64".parse().unwrap()], ..Interface::default() };
    machine.apply(&mut network, NetworkPlan { interfaces: vec![eth0], ..NetworkPlan::default() });
    assert!(!has_lease(&machine.shared.view()), "{}", ip("-6 addr"));
}

#[test]
fn a_router_without_server_names_the_name_servers() {
    if !dnsmasq() {
        return;
    }
    let mut machine = machine();
    machine.dnsmasq(
        "a",
        &["--enable-ra", "--dhcp-range=fd00:1::,ra-only", "--dhcp-option=option6:dns-server,[fd00:1::54]"],
    );
    let mut network = machine.network();
    let done = network.run_until(SOON, |s| s.view().primary().is_some() && resolves(&machine, "fd00:1::54"));
    assert!(done, "{:?}\n{}", machine.shared.view(), machine.resolv_conf());
    assert_eq!(machine.said("a", "DHCPSOLICIT") + machine.said("a", "DHCPINFORMATION-REQUEST"), 0, "nobody asked");
}

#[test]
fn a_server_that_gives_no_addresses_is_asked_for_the_rest() {
    if !dnsmasq() {
        return;
    }
    let mut machine = machine();
    let range = "--dhcp-range=fd00:1::,ra-stateless,slaac";
    machine.dnsmasq("a", &["--enable-ra", range, "--dhcp-option=option6:domain-search,six.example"]);
    let mut network = machine.network();
    let done = network.run_until(SOON, |_| machine.resolv_conf().contains("search six.example\n"));
    assert!(done, "{:?}\n{}", machine.shared.view(), namespace::read(&machine.path("a.log")));
    assert!(machine.said("a", "DHCPINFORMATION-REQUEST") > 0 && machine.said("a", "DHCPSOLICIT") == 0);
}
