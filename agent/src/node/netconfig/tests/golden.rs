//! Plans in full.

use std::net::IpAddr;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

/// As `PVE/QemuServer/Cloudinit.pm` writes it.
#[test]
fn proxmox() {
    let plan = planned(
        "version: 1
config:
    - type: physical
      name: eth0
      mac_address: 'bc:24:11:0a:0b:0c'
      subnets:
      - type: static
        address: '192.0.2.10'
        netmask: '255.255.255.0'
        gateway: '192.0.2.1'
      - type: static6
        address: '2001:db8::10/64'
        gateway: '2001:db8::1'
    - type: nameserver
      address:
      - '192.0.2.53'
      search:
      - 'example.org'
",
    );
    let mut expected = NetworkPlan::of([Interface::on("bc:24:11:0a:0b:0c".parse().unwrap())
        .named("eth0")
        .address(cidr("192.0.2.10/24"))
        .gateway(ip("192.0.2.1"))
        .address(cidr("2001:db8::10/64"))
        .gateway(ip("2001:db8::1"))]);
    expected.dns = Dns { servers: vec![ip("192.0.2.53")], search: vec!["example.org".into()] };
    assert_eq!(plan, expected);
}

#[test]
fn netplan_in_full() {
    let (mode, said) = read(
        "network:
  version: 2
  renderer: networkd
  ethernets:
    uplinks:
      match: {name: 'en*', driver: [virtio_net, ixgbe*]}
      wakeonlan: true
      dhcp4: true
      dhcp4-overrides: {use-dns: false, use-routes: no, use-domains: route, route-metric: 50}
      dhcp-identifier: mac
      link-local: []
      optional: true
    storage:
      match: {macaddress: 52:54:00:12:34:56}
      macaddress: 02:00:00:00:00:09
      addresses:
      - 10.0.0.2/24
      - 10.0.0.3/24: {label: 'storage:1', lifetime: 0}
      routes:
      - {to: 10.9.0.0/16, via: 10.0.0.9, on-link: true, table: 7, mtu: 1400, from: 10.0.0.3, scope: link}
      - {to: 10.66.0.0/16, type: blackhole}
      routing-policy:
      - {from: 10.0.0.3, table: 7, priority: 100, mark: 0x10, type-of-service: 16}
",
    );
    let mut uplinks = Interface::called("en*");
    uplinks.id = "uplinks".into();
    uplinks.select.drivers = vec!["virtio_net".into(), "ixgbe*".into()];
    uplinks.dhcp4 = Some(DhcpOptions { metric: Some(50), use_dns: false, use_routes: false, ..DhcpOptions::default() });
    uplinks.ipv6_link_local = Some(false);
    uplinks.optional = true;
    let mut storage = Interface::on("52:54:00:12:34:56".parse().unwrap());
    storage.id = "storage".into();
    storage.mac = Some("02:00:00:00:00:09".parse().unwrap());
    storage.addresses = vec![cidr("10.0.0.2/24"), cidr("10.0.0.3/24")];
    storage.routes = vec![
        Route {
            on_link: true,
            table: Some(7),
            mtu: Some(1400),
            from: Some(ip("10.0.0.3")),
            ..Route::new(cidr("10.9.0.0/16"), Some(ip("10.0.0.9")))
        },
        Route { kind: RouteKind::Blackhole, ..Route::new(cidr("10.66.0.0/16"), None) },
    ];
    storage.rules = vec![Rule {
        from: Some(cidr("10.0.0.3/32")),
        to: None,
        table: 7,
        priority: Some(100),
        mark: Some(16),
        tos: Some(16),
    }];
    assert_eq!(unwrap(mode), NetworkPlan::of([uplinks, storage]));
    assert_eq!(
        said,
        [
            "ignored: network-config:3:3: renderer: interfaces are configured by the node itself",
            "ignored: network-config:7:7: ethernets.uplinks.wakeonlan: it has no effect here",
            "ignored: network-config:10:7: ethernets.uplinks.dhcp-identifier: it has no effect here",
            "ignored: network-config:18:23: ethernets.storage.addresses[1].10.0.0.3/24.label: a label is a name for people",
            "ignored: network-config:18:43: ethernets.storage.addresses[1].10.0.0.3/24.lifetime: the address is used like \
             any other",
        ]
    );
}

/// Bare metal: two cards in a bond, a tenant's network by a VLAN, one more port by itself.
const OPENSTACK: &str = r#"{
 "links": [
  {"id": "bond-link-9d4f", "type": "bond", "bond_links": ["phy-0", "phy-1"], "bond_mode": "802.3ad",
   "bond_miimon": 100, "bond_xmit_hash_policy": "layer3+4", "ethernet_mac_address": "52:54:00:00:00:01", "mtu": 9000},
  {"id": "phy-0", "type": "phy", "ethernet_mac_address": "52:54:00:00:00:01", "mtu": 9000},
  {"id": "phy-1", "type": "phy", "ethernet_mac_address": "52:54:00:00:00:02", "mtu": 9000},
  {"id": "tap77e6a9f4-20", "type": "ovs", "vif_id": "77e6", "ethernet_mac_address": "FA:16:3E:00:00:03", "mtu": null},
  {"id": "vlan-link-1", "type": "vlan", "vlan_link": "bond-link-9d4f", "vlan_id": 602,
   "vlan_mac_address": "52:54:00:00:06:02"},
  {"id": "vlan-link-2", "type": "vlan", "vlan_link": "tap77e6a9f4-20", "vlan_id": 603}
 ],
 "networks": [
  {"id": "n0", "type": "ipv4", "link": "vlan-link-1", "ip_address": "10.2.0.7", "netmask": "255.255.254.0",
   "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.2.0.1",
     "services": [{"type": "dns", "address": "10.2.0.2"}]}], "network_id": "a1"},
  {"id": "n1", "type": "ipv6", "link": "vlan-link-1", "ip_address": "2001:db8::7/64",
   "routes": [{"network": "::", "netmask": "::", "gateway": "2001:db8::1"}]},
  {"id": "n2", "type": "ipv4_dhcp", "link": "tap77e6a9f4-20"},
  {"id": "n3", "type": "ipv6_slaac", "link": "tap77e6a9f4-20"}
 ],
 "services": [{"type": "dns", "address": "1.1.1.1"}]
}"#;

#[test]
fn openstack_with_bonds_and_vlans() {
    let (mode, said) = of(&NetworkConfig::OpenStack(OPENSTACK.into()));
    assert_eq!(said, [""; 0]);
    let plan = unwrap(mode);
    let names: Vec<&str> = plan.interfaces.iter().map(|interface| interface.id.as_str()).collect();
    assert_eq!(names, ["phy-0", "phy-1", "tap77e6a9f4-20", "bond0", "bond0.602", "vlan603"]);
    let Kind::Bond(bond) = &plan.interfaces[3].kind else { panic!("{plan:?}") };
    assert_eq!((bond.members.as_slice(), bond.mode), (&["phy-0".to_owned(), "phy-1".to_owned()][..], BondMode::Lacp));
    assert_eq!((bond.miimon, bond.transmit_hash_policy), (Some(100), Some(1)));
    let vlan = &plan.interfaces[4];
    assert_eq!(vlan.kind, Kind::Vlan(Vlan { tag: 602, link: "bond0".into() }));
    assert_eq!(vlan.addresses, [cidr("10.2.0.7/23"), cidr("2001:db8::7/64")]);
    assert_eq!(vlan.routes, [Route::default_via(ip("10.2.0.1")), Route::default_via(ip("2001:db8::1"))]);
    assert_eq!((vlan.accept_ra, vlan.dns.servers.as_slice()), (Some(false), &[ip("10.2.0.2")][..]));
    assert_eq!(vlan.mac, Some("52:54:00:00:06:02".parse().unwrap()));
    let tap = &plan.interfaces[2];
    assert_eq!((tap.dhcp4.is_some(), tap.accept_ra, tap.rename.as_ref()), (true, Some(true), None));
    assert_eq!(tap.select.mac, Some("fa:16:3e:00:00:03".parse().unwrap()));
    assert_eq!(plan.dns.servers, [ip("1.1.1.1")]);
}

/// One port as most clouds have it, in one line, and a port that Nova says nothing of.
#[test]
fn openstack_in_one_line() {
    let text = r#"{"links": [{"id": "tap1", "vif_id": "1", "type": "bridge", "mtu": 1450, "ethernet_mac_address": "fa:16:3e:ed:9a:59"}], "networks": [{"id": "network0", "type": "ipv4_dhcp", "link": "tap1", "network_id": "da5b"}, {"id": "network1", "type": "ipv4_dhcp", "link": "tap2"}], "services": []}"#;
    let (mode, said) = of(&NetworkConfig::OpenStack(text.into()));
    assert_eq!(unwrap(mode).interfaces.len(), 1);
    assert_eq!(said, ["ignored: network_data.json:1:212: networks[1]: there is no link \"tap2\": it is left out"]);
}

#[test]
fn what_a_cloud_made_itself_is_kept() {
    let mut plan = NetworkPlan::of([Interface::on(Mac([2, 0, 0, 0, 0, 1]))
        .address(cidr("203.0.113.7/32"))
        .gateway(ip("172.31.1.1"))]);
    plan.dns.search.push("example.org".into());
    assert_eq!(of(&NetworkConfig::Plan(Box::new(plan.clone()))), (NetworkMode::Plan(Box::new(plan)), Vec::new()));
}

#[test]
fn nothing_and_disabled() {
    for text in ["", "\n# nothing\n", "{}", "network:", "network: {}", "version: 2", "version: 1\nconfig: []"] {
        let (mode, said) = read(text);
        assert_eq!(mode, NetworkMode::Fallback, "{text}");
        assert!(said.len() == 1 && said[0].starts_with("ignored: network-config:"), "{text}: {said:?}");
    }
    for text in ["network: {config: disabled}", "config: disabled", "{version: 1, config: disabled}"] {
        assert_eq!(read(text), (NetworkMode::Disabled, Vec::new()), "{text}");
    }
    let plan = planned("version: 1\nconfig: [{type: nameserver, address: 1.1.1.1}]");
    assert_eq!(plan.interfaces, [Interface::called("*").dhcp4(None)]);
    assert_eq!(plan.dns.servers, [ip("1.1.1.1")]);
}
