//! Version 1 and version 2, and `/etc/network/interfaces`, that mean the same.

use super::*;

fn same(one: &str, two: &str) {
    let (one_mode, one_said) = read(one);
    let (two_mode, two_said) = read(two);
    assert_eq!((one_said, two_said), (Vec::new(), Vec::new()), "{one}");
    assert_eq!(one_mode, two_mode, "{one}");
    assert!(!unwrap(one_mode).interfaces.is_empty());
}

#[test]
fn dhcp_by_name_and_by_hardware_address() {
    same(
        "version: 1\nconfig: [{type: physical, name: eth0, subnets: [{type: dhcp}, {type: dhcp6}]}]",
        "network: {version: 2, ethernets: {eth0: {dhcp4: true, dhcp6: yes}}}",
    );
    same(
        "network: {version: 1, config: [{type: physical, name: eth0, mac_address: 52:54:00:12:34:56, mtu: 1450, \
         subnets: [{type: dhcp4, metric: 200}]}]}",
        "version: 2\nethernets: {eth0: {match: {macaddress: '52:54:00:12:34:56'}, set-name: eth0, mtu: 1450, dhcp4: on, \
         dhcp4-overrides: {route-metric: 200}}}",
    );
    same(
        "version: 1\nconfig: [{type: physical, name: eth0, subnets: [{type: ipv6_slaac}]}]",
        "version: 2\nethernets: {eth0: {accept-ra: true}}",
    );
}

#[test]
fn static_addresses_with_routes_and_name_servers() {
    same(
        "version: 1
config:
- type: physical
  name: eth0
  subnets:
  - type: static
    address: 10.0.0.2/255.255.255.0
    gateway: 10.0.0.1
    dns_nameservers: 1.1.1.1 9.9.9.9
    dns_search: [example.org]
    routes:
    - {network: 192.168.0.0, netmask: 255.255.0.0, gateway: 10.0.0.9, metric: 3}
  - {type: static6, address: '2001:db8::2/64'}
- {type: route, destination: default, gateway: '2001:db8::1', metric: 5}
",
        "version: 2
ethernets:
  eth0:
    addresses: [10.0.0.2/24, '2001:db8::2/64']
    nameservers: {addresses: [1.1.1.1, 9.9.9.9], search: [example.org]}
    gateway4: 10.0.0.1
    routes:
    - {to: 192.168.0.0/16, via: 10.0.0.9, metric: 3}
    - {to: default, via: '2001:db8::1', metric: 5}
",
    );
    same(
        "version: 1\nconfig:\n- {type: physical, name: eth0, subnets: [{type: static, address: 10.0.0.2, netmask: 24, \
         dns-nameservers: [1.1.1.1]}]}\n- {type: physical, name: 'eth0:1', subnets: [{type: static, address: 10.0.0.3/24}]}",
        "version: 2\nethernets: {eth0: {addresses: [10.0.0.2/24, 10.0.0.3/24: {}], nameservers: {addresses: [1.1.1.1]}}}",
    );
    same(
        "version: 1\nconfig:\n- {type: physical, name: eth0, subnets: [{type: dhcp}]}\n- {type: nameserver, interface: \
         eth0, address: [10.0.0.53], search: lan}",
        "version: 2\nethernets: {eth0: {dhcp4: true, nameservers: {addresses: 10.0.0.53, search: [lan]}}}",
    );
}

#[test]
fn bonds_bridges_and_vlans() {
    same(
        "version: 1
config:
- {type: physical, name: eth0, mac_address: '52:54:00:00:00:01'}
- {type: physical, name: eth1, mac_address: '52:54:00:00:00:02'}
- type: bond
  name: bond0
  bond_interfaces: [eth0, eth1]
  mac_address: 52:54:00:00:00:01
  params: {bond-mode: 802.3ad, bond_miimon: 100, bond-lacp_rate: fast, bond-xmit-hash-policy: layer3+4}
- {type: vlan, name: bond0.100, vlan_link: bond0, vlan_id: 100, mtu: 1400, subnets: [{type: static, address: 10.1.0.2/24}]}
- {type: bridge, name: br0, bridge_interfaces: [bond0], params: {bridge_stp: 'off', bridge_fd: 4}, subnets: [{type: dhcp4}]}
",
        "version: 2
ethernets:
  eth0: {match: {macaddress: '52:54:00:00:00:01'}, set-name: eth0}
  eth1: {match: {macaddress: '52:54:00:00:00:02'}, set-name: eth1}
bonds:
  bond0:
    interfaces: [eth0, eth1]
    macaddress: 52:54:00:00:00:01
    parameters: {mode: 802.3ad, mii-monitor-interval: 100ms, lacp-rate: fast, transmit-hash-policy: layer3+4}
vlans:
  bond0.100: {id: 100, link: bond0, mtu: 1400, addresses: [10.1.0.2/24]}
bridges:
  br0: {interfaces: [bond0], parameters: {stp: false, forward-delay: 4s}, dhcp4: true}
",
    );
}

#[test]
fn the_file_of_ifupdown() {
    same(
        "# Proxmox
auto lo
iface lo inet loopback

auto eth0
iface eth0 inet static
        address 10.0.0.2
        netmask 255.255.255.0
        gateway 10.0.0.1
iface eth0 inet6 static
        address 2001:db8::2
        netmask 64
        gateway fe80::1
        dns_nameservers 10.0.0.53 \\
            1.1.1.1
        dns_search example.org

auto eth1
iface eth1 inet dhcp
",
        "version: 2
ethernets:
  eth0:
    addresses: [10.0.0.2/24, '2001:db8::2/64']
    gateway4: 10.0.0.1
    gateway6: fe80::1
    nameservers: {addresses: [10.0.0.53, 1.1.1.1], search: [example.org]}
  eth1: {dhcp4: true}
",
    );
    same(
        "auto bond0\niface bond0 inet manual\n bond-slaves eth0 eth1\n bond-mode active-backup\n bond-primary eth0\n \
         bond_miimon 100\nauto bond0.7\niface bond0.7 inet6 auto\n",
        "version: 2
ethernets:
  eth0: {}
  eth1:
bonds:
  bond0: {interfaces: [eth0, eth1], parameters: {mode: active-backup, primary: eth0, mii-monitor-interval: 100}}
vlans: {bond0.7: {id: 7, link: bond0, accept-ra: true}}
",
    );
    same(
        "allow-hotplug eth2\niface eth2 inet dhcp\n hwaddress ether 52:54:00:00:00:03\n",
        "version: 2\nethernets: {eth2: {match: {macaddress: 52:54:00:00:00:03}, set-name: eth2, dhcp4: true, optional: \
         true}}",
    );
}
