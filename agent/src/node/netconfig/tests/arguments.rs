//! The kernel's command line, and what counts before what.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use proptest::prelude::*;

use super::*;
use crate::node::userdata::Verdict;

fn line(text: &str) -> (NetworkMode, Vec<String>) {
    let (mode, findings) = plan(&Cmdline::parse(text), Some(&NetworkConfig::Text("version: 7".into())));
    let said = findings.iter().filter(|f| f.verdict != Verdict::Applied).map(ToString::to_string);
    (mode, said.collect())
}

fn interfaces(text: &str) -> Vec<Interface> {
    let (mode, said) = line(text);
    assert_eq!(said, [""; 0], "{text}");
    unwrap(mode).interfaces
}

#[test]
fn the_kernels_forms() {
    let gateway: std::net::IpAddr = "10.0.0.1".parse().unwrap();
    let expected = Interface::called("eth1").address("10.0.0.2/24".parse().unwrap()).gateway(gateway);
    assert_eq!(interfaces("quiet ip=10.0.0.2::10.0.0.1:255.255.255.0::eth1:off"), std::slice::from_ref(&expected));
    assert_eq!(interfaces("ip=10.0.0.2::10.0.0.1:24::eth1"), std::slice::from_ref(&expected));
    let dns = expected.servers(["1.1.1.1".parse().unwrap(), "9.9.9.9".parse().unwrap()]);
    assert_eq!(interfaces("ip=10.0.0.2::10.0.0.1:255.255.255.0::eth1:none:1.1.1.1:9.9.9.9"), [dns]);
    assert_eq!(interfaces("ip=:::::eth1:dhcp"), [Interface::called("eth1").dhcp4(None)]);
    for text in ["ip=dhcp", "ip=on", "ip=:::::", "ip=any"] {
        assert_eq!(line(text), (NetworkMode::Fallback, Vec::new()), "{text}");
    }
    let (mode, said) = line("ip=10.0.0.2:::255.255.255.0:box:");
    assert_eq!(unwrap(mode).interfaces[0].id, "eth0");
    assert_eq!(
        said,
        [
            "ignored: kernel command line:1:29: ip: the machine's name comes from its metadata",
            "ignored: kernel command line:1:33: ip: no device is named: eth0 is taken",
        ]
    );
}

#[test]
fn dracuts_forms() {
    let six =
        Interface::called("eth0").address("2001:db8::2/64".parse().unwrap()).gateway("2001:db8::1".parse().unwrap());
    assert_eq!(interfaces("ip=[2001:db8::2]::[2001:db8::1]:64::eth0:none"), std::slice::from_ref(&six));
    let both = interfaces(
        "ip=eth0:dhcp ip=[2001:db8::2]::[2001:db8::1]:64::eth0:none ip=eth1:auto6 nameserver=[2001:db8::53]",
    );
    assert_eq!(both.len(), 2);
    assert_eq!((both[0].dhcp4.is_some(), &both[0].addresses), (true, &six.addresses));
    assert_eq!(both[1].accept_ra, Some(true));
    let mtu = &interfaces("ip=eth0:dhcp:1400:52:54:00:12:34:56")[0];
    assert_eq!((mtu.mtu, mtu.mac), (Some(1400), Some(Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]))));
    let mtu = &interfaces("ip=10.0.0.2:::24::eth0:none:1400:52:54:00:12:34:56")[0];
    assert_eq!((mtu.mtu, mtu.mac), (Some(1400), Some(Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]))));
}

#[test]
fn what_is_wrong_has_a_place_in_the_argument() {
    assert_eq!(
        line("ip=10.0.0.2::10.0.0.300:255.255.255.0::eth0:none").1,
        ["refused: kernel command line:1:14: ip: \"10.0.0.300\" is not the address of a gateway"]
    );
    let (mode, said) = line("ip=eth0:dhcp ip=eth1:bootp");
    assert_eq!(unwrap(mode).interfaces.len(), 1);
    assert_eq!(
        said,
        [
            "ignored: kernel command line:1:9: ip: \"bootp\" is none of dhcp, on, any, none, off, dhcp6, auto6, either6, link6: \
          it is left out"
        ]
    );
}

#[test]
fn the_command_line_counts_before_the_datasource() {
    let yaml = "version: 2\nethernets: {eth5: {dhcp4: true}}\n";
    let packed = {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(yaml.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    for bytes in [yaml.as_bytes(), packed.as_slice()] {
        let text = format!("ip=dhcp network-config={}", BASE64_STANDARD.encode(bytes));
        assert_eq!(interfaces(&text), [Interface::called("eth5").dhcp4(None)]);
    }
    assert_eq!(line("ip=eth0:dhcp network-config=disabled"), (NetworkMode::Disabled, Vec::new()));
    let (mode, said) = line("network-config=%%%");
    assert_eq!(mode, NetworkMode::Fallback);
    assert!(
        said[0].starts_with("refused: kernel command line:1:1: network-config: must be disabled, or a"),
        "{said:?}"
    );
    for text in ["", "ip=off", "ip=none", "ip="] {
        assert!(line(text).1[0].contains("version"), "the datasource's word counts: {text}");
    }
    assert_eq!(plan(&Cmdline::default(), None), (NetworkMode::Fallback, Vec::new()));
}

/// What holds for every plan, whatever it was made of.
fn holds(mode: &NetworkMode) {
    let NetworkMode::Plan(plan) = mode else { return };
    let ids: Vec<&str> = plan.interfaces.iter().map(|interface| interface.id.as_str()).collect();
    for (n, interface) in plan.interfaces.iter().enumerate() {
        assert!(!ids[..n].contains(&ids[n]), "{ids:?}");
        assert!(interface.name().is_none_or(super::super::draft::is_name), "{interface:?}");
        assert!(interface.below().iter().all(|below| ids.contains(below)), "{interface:?}");
        assert!(interface.mtu.is_none_or(|mtu| (68..=65_535).contains(&mtu)));
    }
    let json = serde_json::to_string(plan).unwrap();
    assert_eq!(serde_json::from_str::<NetworkPlan>(&json).unwrap(), **plan);
}

const WORDS: &str = "(version: [12]\n|config:\n|- |  |type: (physical|bond|bridge|vlan|route|nameserver|static|dhcp4)\n|\
     name: [ab]\n|ethernets:\n|bonds:\n|bridges:\n|vlans:\n|a:\n|b:\n|dhcp4: true\n|interfaces: \\[a, b\\]\n|\
     bond_interfaces: \\[a, b\\]\n|link: [ab]\n|id: 5\n|vlan_link: [ab]\n|vlan_id: 3\n|address(es)?: \\[?10.0.0.2/24\\]?\n|\
     subnets:\n|routes:\n|to: default\n|via: 10.0.0.1\n|gateway4?: 10.0.0.1\n|mtu: 1500\n|\
     auto [ab]\n|iface [ab] inet6? (static|dhcp|auto)\n|netmask 24\n|bond-slaves [ab]\n|match: \\{name: 'e*'\\}\n){0,40}";

proptest! {
    #[test]
    fn any_text_is_judged(text: String) {
        holds(&read(&text).0);
        holds(&of(&NetworkConfig::OpenStack(text)).0);
    }

    #[test]
    fn text_of_the_formats_own_words_is_judged(text in WORDS) {
        holds(&read(&text).0);
    }

    #[test]
    fn flow_maps_are_judged(
        keys in proptest::collection::vec(("[a-d]", "[a-d]", 0_u16..5000, 0_u8..4), 0..8)
    ) {
        let item = |(name, below, tag, kind): &(String, String, u16, u8)| match kind {
            0 => format!("{{type: physical, name: {name}, subnets: [{{type: dhcp}}]}}"),
            1 => format!("{{type: vlan, name: {name}, vlan_link: {below}, vlan_id: {tag}}}"),
            2 => format!("{{type: bond, name: {name}, bond_interfaces: [{below}, {name}]}}"),
            _ => format!("{{type: bridge, name: {name}, bridge_interfaces: [{below}]}}"),
        };
        let items: Vec<String> = keys.iter().map(item).collect();
        holds(&read(&format!("version: 1\nconfig: [{}]", items.join(", "))).0);
    }

    #[test]
    fn any_argument_is_judged(text in "[0-9a-z:./\\[\\]]{0,60}") {
        holds(&line(&format!("ip={text} ip=eth0:{text} network-config")).0);
        holds(&line(&format!("ip={text} ip=10.0.0.2::{text}")).0);
    }
}
