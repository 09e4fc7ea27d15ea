//! Network plans on the kernel: virtual Ethernet pairs in namespaces of their own.
//!
//! Where this is not possible (no root, no `ip`) each test says so and ends.

mod namespace;

use std::time::Duration;

use agent::node::netconfig::{
    Bond, BondMode, Bridge, Cidr, DhcpOptions, Interface, Kind, Mac, NetworkPlan, Route, RouteKind, Rule, Select, Vlan,
};
use namespace::{Machine, available, ip, try_ip};

const SOON: Duration = Duration::from_secs(20);
const A: &str = "02:00:00:00:00:0a";
const B: &str = "02:00:00:00:00:0b";

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn by_mac(id: &str, mac: &str) -> Interface {
    Interface {
        id: id.into(),
        select: Select { mac: Some(mac.parse::<Mac>().unwrap()), ..Select::default() },
        ..Interface::default()
    }
}

fn static_plan(interfaces: Vec<Interface>) -> NetworkPlan {
    NetworkPlan { interfaces, ..NetworkPlan::default() }
}

/// What the kernel says, word by word, so that spaces do not matter.
fn has(text: &str, words: &str) -> bool {
    text.lines().any(|line| {
        format!("{} ", line.split_whitespace().collect::<Vec<_>>().join(" ")).contains(&format!("{words} "))
    })
}

/// Not those that the kernel makes for addresses, when it is done with checking them.
fn routes_of_the_plan() -> String {
    let text = ip("route show table all");
    text.lines().filter(|line| line.contains("proto static")).fold(String::new(), |all, line| all + line + "\n")
}

#[test]
fn static_addresses_routes_rules_and_name_servers() {
    if !available() {
        return;
    }
    let machine = Machine::new();
    machine.wire("eth0", A, "a");
    let mut network = machine.network();
    let route = |to: &str, via: &str| Route::new(cidr(to), Some(via.parse().unwrap()));
    let mut lan = by_mac("lan", A);
    lan.addresses = vec![cidr("10.1.0.2/24"), cidr("10.1.0.3/24"), cidr("fd00:1::2/64")];
    lan.mtu = Some(1400);
    lan.accept_ra = Some(false);
    lan.routes = vec![
        route("0.0.0.0/0", "10.1.0.1").metric(Some(50)),
        route("::/0", "fd00:1::1"),
        Route { table: Some(1000), from: Some("10.1.0.3".parse().unwrap()), ..route("192.168.0.0/16", "10.1.0.1") },
        Route { on_link: true, mtu: Some(1300), ..route("172.16.0.0/12", "10.9.9.9") },
        Route { kind: RouteKind::Blackhole, ..Route::new(cidr("10.66.0.0/16"), None) },
        // The kernel refuses this one: nobody knows the way to the gateway. The others are not touched by that.
        route("10.77.0.0/16", "10.200.0.1"),
    ];
    let rule =
        Rule { from: Some(cidr("10.1.0.3/32")), to: None, table: 1000, priority: Some(99), mark: None, tos: None };
    lan.rules = vec![rule];
    lan.dns.servers = vec!["10.1.0.53".parse().unwrap()];
    let mut plan = static_plan(vec![lan]);
    plan.dns.search = vec!["steppe.example".into()];
    machine.apply(&mut network, plan.clone());

    let addresses = ip("addr show dev eth0");
    for words in ["inet 10.1.0.2/24", "inet 10.1.0.3/24", "inet6 fd00:1::2/64", "mtu 1400"] {
        assert!(has(&addresses, words), "{words}: {addresses}");
    }
    let routes = routes_of_the_plan();
    for words in [
        "default via 10.1.0.1 dev eth0 proto static metric 50",
        "192.168.0.0/16 via 10.1.0.1 dev eth0 table 1000 proto static src 10.1.0.3",
        "172.16.0.0/12 via 10.9.9.9 dev eth0 proto static onlink mtu 1300",
        "blackhole 10.66.0.0/16 proto static",
        "default via fd00:1::1 dev eth0 proto static",
    ] {
        assert!(has(&routes, words), "{words}: {routes}");
    }
    assert!(has(&ip("rule"), "99: from 10.1.0.3 lookup 1000"));
    let view = machine.shared.view();
    let primary = view.primary().unwrap();
    assert_eq!((primary.address.to_string().as_str(), primary.interface.as_str()), ("10.1.0.2", "eth0"));
    assert_eq!(primary.gateway, Some("10.1.0.1".parse().unwrap()));
    assert_eq!(view.notes.len(), 1, "{:?}", view.notes);
    assert!(view.notes[0].starts_with("failed to add the route to 10.77.0.0/16 on eth0: "), "{:?}", view.notes);
    let resolv = machine.resolv_conf();
    assert!(resolv.contains("nameserver 10.1.0.53\n") && resolv.contains("search steppe.example\n"), "{resolv}");
    let accept_ra = std::fs::read_to_string("/proc/sys/net/ipv6/conf/eth0/accept_ra").unwrap();
    assert_eq!(accept_ra.trim(), "0");

    // The same again changes nothing; less takes away what is not wanted any more.
    machine.apply(&mut network, plan.clone());
    assert_eq!(routes_of_the_plan(), routes);
    let lan = &mut plan.interfaces[0];
    lan.addresses.retain(|cidr| cidr.to_string() != "10.1.0.2/24");
    lan.routes.truncate(1);
    lan.rules.clear();
    machine.apply(&mut network, plan);
    let routes = ip("route show table all");
    assert!(
        has(&routes, "default via 10.1.0.1") && !routes.contains("table 1000") && !routes.contains("10.66"),
        "{routes}"
    );
    assert!(has(&ip("addr show dev eth0"), "inet 10.1.0.3/24"), "the kernel takes the second with the first");
    assert!(!ip("rule").contains("1000") && machine.shared.view().notes.is_empty());
}

#[test]
fn two_interfaces_change_names_and_keep_their_wires() {
    if !available() {
        return;
    }
    let machine = Machine::new();
    machine.wire("eth0", A, "a");
    machine.wire("eth1", B, "b");
    machine.wire("eth2", "02:00:00:00:00:0c", "c");
    let mut network = machine.network();
    assert!(network.run_until(SOON, |shared| shared.view().links.len() == 3));
    let mut first = by_mac("first", A);
    (first.rename, first.addresses) = (Some("eth1".into()), vec![cidr("10.1.0.2/24")]);
    let mut second = by_mac("second", B);
    (second.rename, second.addresses) = (Some("eth0".into()), vec![cidr("10.2.0.2/24")]);
    let plan = static_plan(vec![first, second]);
    machine.apply(&mut network, plan.clone());
    for (name, mac, address) in [("eth1", A, "10.1.0.2/24"), ("eth0", B, "10.2.0.2/24")] {
        let link = ip(&format!("addr show dev {name}"));
        assert!(link.contains(mac) && has(&link, &format!("inet {address}")) && link.contains("UP,LOWER_UP"), "{link}");
    }
    assert!(machine.shared.view().notes.is_empty(), "{:?}", machine.shared.view().notes);
    // A node that was started again finds them as they are.
    drop(network);
    let mut network = machine.network();
    machine.apply(&mut network, plan);
    assert!(ip("addr show dev eth1").contains(A));
}

#[test]
fn an_absent_interface_holds_nothing_up_and_is_configured_when_it_comes() {
    if !available() {
        return;
    }
    let machine = Machine::new();
    machine.wire("eth0", A, "a");
    let mut network = machine.network();
    let mut late = by_mac("late", B);
    (late.addresses, late.rename) = (vec![cidr("10.2.0.2/24")], Some("lan1".into()));
    let mut first = by_mac("first", A);
    first.addresses = vec![cidr("10.1.0.2/24")];
    machine.apply(&mut network, static_plan(vec![late, first]));
    let view = machine.shared.view();
    assert_eq!(view.addresses().map(|ip| ip.to_string()).collect::<Vec<_>>(), ["10.1.0.2"]);
    assert_eq!(view.awaited, ["the interface late"]);
    machine.wire("eth1", B, "b");
    let settled = network.run_until(SOON, |shared| shared.view().is_settled());
    assert!(settled, "{:?}", machine.shared.view());
    assert!(has(&ip("addr show dev lan1"), "inet 10.2.0.2/24"));
}

#[test]
fn a_bridge_has_the_address_and_its_ports_have_none() {
    if !available() {
        return;
    }
    let machine = Machine::new();
    machine.wire("eth0", A, "a");
    machine.wire("eth1", B, "b");
    let mut network = machine.network();
    let bridge = Bridge {
        ports: vec!["one".into(), "two".into()],
        stp: Some(false),
        forward_delay: Some(4),
        path_cost: vec![("two".into(), 77)],
        ..Bridge::default()
    };
    let mut br0 = Interface { id: "br0".into(), kind: Kind::Bridge(bridge), ..Interface::default() };
    br0.addresses = vec![cidr("10.3.0.2/24")];
    br0.mac = Some("02:00:00:00:00:99".parse().unwrap());
    machine.apply(&mut network, static_plan(vec![by_mac("one", A), by_mac("two", B), br0]));
    assert!(network.run_until(SOON, |shared| shared.view().is_settled()), "{:?}", machine.shared.view());
    let shown = ip("-d addr show dev br0");
    for words in ["inet 10.3.0.2/24", "link/ether 02:00:00:00:00:99", "forward_delay 400", "stp_state 0"] {
        assert!(has(&shown, words), "{words}: {shown}");
    }
    let (one, two) = (ip("-d link show dev eth0"), ip("-d link show dev eth1"));
    assert!(has(&two, "cost 77") && one.contains("master br0"), "{one}{two}");
    assert!(machine.shared.view().notes.is_empty(), "{:?}", machine.shared.view().notes);
}

/// Needs the drivers of bonds and VLANs, which a kernel made for containers may lack.
#[test]
fn a_vlan_on_a_bond_of_two() {
    if !available() {
        return;
    }
    let machine = Machine::new();
    for kind in ["bond", "vlan"] {
        let with = if kind == "vlan" { "link probe0 name probe1 type vlan id 1" } else { "name probe0 type bond" };
        if !try_ip(&format!("link add {with}")).status.success() {
            eprintln!("skipped: this kernel makes no {kind}");
            return;
        }
    }
    ip("link del probe0");
    machine.wire("eth0", A, "a");
    machine.wire("eth1", B, "b");
    let mut network = machine.network();
    // It works already, as a machine's interfaces do before its plan is known.
    assert!(network.run_until(SOON, |shared| shared.view().links.iter().filter(|(_, carrier)| *carrier).count() == 2));
    let mut one = by_mac("one", A);
    one.dhcp4 = Some(DhcpOptions::default());
    let bond = Bond {
        members: vec!["one".into(), "two".into()],
        mode: BondMode::ActiveBackup,
        miimon: Some(50),
        primary: Some("two".into()),
        ..Bond::default()
    };
    let bond0 = Interface { id: "bond0".into(), kind: Kind::Bond(bond), mtu: Some(1600), ..Interface::default() };
    let vlan = Vlan { tag: 5, link: "bond0".into() };
    let mut lan = Interface { id: "lan5".into(), kind: Kind::Vlan(vlan), mtu: Some(1550), ..Interface::default() };
    lan.addresses = vec![cidr("10.5.0.2/24")];
    lan.routes = vec![Route::default_via("10.5.0.1".parse().unwrap())];
    // The VLAN stands before what it is made on.
    let plan = static_plan(vec![lan, one, by_mac("two", B), bond0]);
    machine.apply(&mut network, plan.clone());
    let settled = network.run_until(SOON, |shared| shared.view().is_settled() && shared.view().primary().is_some());
    assert!(settled, "{:?}\n{}", machine.shared.view(), ip("-d addr"));
    let view = machine.shared.view();
    assert_eq!((view.notes.len(), view.primary().unwrap().interface.as_str()), (0, "lan5"), "{:?}", view.notes);
    let (bond, vlan) = (ip("-d link show dev bond0"), ip("-d addr show dev lan5"));
    for words in ["mode active-backup", "miimon 50", "primary eth1", "mtu 1600"] {
        assert!(has(&bond, words), "{words}: {bond}");
    }
    assert!(has(&vlan, "vlan protocol 802.1Q id 5") && has(&vlan, "mtu 1550") && vlan.contains("lan5@bond0"), "{vlan}");
    for member in ["eth0", "eth1"] {
        let link = ip(&format!("addr show dev {member}"));
        assert!(link.contains("master bond0") && !link.contains("inet "), "{link}");
    }
    // Once more, by a node that was started again: nothing is touched.
    drop(network);
    let before = ip("-d link");
    let mut network = machine.network();
    machine.apply(&mut network, plan);
    assert_eq!(ip("-d link").lines().count(), before.lines().count());
    assert!(machine.shared.view().notes.is_empty(), "{:?}", machine.shared.view().notes);

    // LACP has its own settings, and its members have no partner here.
    let lacp = Bond {
        members: vec!["three".into()],
        mode: BondMode::Lacp,
        lacp_fast: Some(true),
        transmit_hash_policy: Some(1),
        ..Bond::default()
    };
    machine.wire("eth2", "02:00:00:00:00:0c", "c");
    let bond1 = Interface { id: "bond1".into(), kind: Kind::Bond(lacp), ..Interface::default() };
    machine.apply(&mut network, static_plan(vec![by_mac("three", "02:00:00:00:00:0c"), bond1]));
    let bond = ip("-d link show dev bond1");
    for words in ["mode 802.3ad", "lacp_rate fast", "xmit_hash_policy layer3+4", "miimon 100"] {
        assert!(has(&bond, words), "{words}: {bond}");
    }
}
