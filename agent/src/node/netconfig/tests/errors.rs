//! What is wrong, and what is left then.

use super::*;

/// What is said, and the ids of the interfaces that are left.
fn left(text: &str) -> (Vec<String>, Vec<String>) {
    let (mode, said) = read(text);
    let ids = match mode {
        NetworkMode::Plan(plan) => plan.interfaces.into_iter().map(|interface| interface.id).collect(),
        _ => Vec::new(),
    };
    (said, ids)
}

#[test]
fn a_typo_in_the_only_link_is_heard() {
    assert_eq!(
        left("version: 2\nethernets:\n  eth0:\n    adresses: [10.0.0.2/24]\n").0,
        [
            "ignored: network-config:1:1: nothing in it gives an interface an address",
            "refused: network-config:4:5: ethernets.eth0.adresses: unknown key; did you mean addresses?",
        ]
    );
    assert_eq!(
        left("version: 2\nethernets:\n  eth0:\n    addresses: [10.0.0.2/24]\n    gateway4: 10.0.0.256\n").0,
        ["refused: network-config:5:15: ethernets.eth0.gateway4: \"10.0.0.256\" is not an IP address"]
    );
    assert_eq!(
        left("version: 1\nconfig:\n- {type: physical, name: eth0, mac_address: 52:54, subnets: [{type: dhcp}]}\n"),
        (
            vec![
                "refused: network-config:3:3: config[0]: this interface is left out".into(),
                "refused: network-config:3:45: config[0].mac_address: \"52:54\" is not a hardware address like \
                 52:54:00:12:34:56"
                    .into(),
            ],
            vec![]
        )
    );
}

#[test]
fn a_typo_beside_the_way_in_costs_its_part_only() {
    let text = "version: 2
ethernets:
  eth0: {dhcp4: true}
  eth1: {addresses: [10.0.0.2], mtu: 9}
vlans:
  far: {id: 4095, link: eth0}
  much-too-long-a-name: {id: 7, link: eth0}
  lost: {id: 7, link: eth7}
";
    let (said, ids) = left(text);
    assert_eq!(
        said,
        [
            "ignored: network-config:4:22: ethernets.eth1.addresses[0]: \"10.0.0.2\" needs the length of its network's \
             prefix, as in 10.0.0.2/24",
            "ignored: network-config:4:38: ethernets.eth1.mtu: must be a number from 68 to 65535, not \"9\"",
            "ignored: network-config:6:3: vlans.far: this interface is left out",
            "ignored: network-config:6:8: vlans.far: a VLAN needs an id from 0 to 4094 and a link",
            "ignored: network-config:6:13: vlans.far.id: must be a number from 0 to 4094, not \"4095\"",
            "ignored: network-config:7:3: vlans.much-too-long-a-name: \"much-too-long-a-name\" is not a name of an \
             interface, which has 1 to 15 letters, digits and the like: this interface is left out",
            "ignored: network-config:8:3: vlans.lost: there is no interface \"eth7\": this interface is left out",
        ]
    );
    assert_eq!(ids, ["eth0", "eth1"]);
}

#[test]
fn what_this_program_cannot_do_is_refused_whatever_else_works() {
    for (section, key) in [
        ("wifis: {w: {}}", "wifis"),
        ("modems: {m: {}}", "modems"),
        ("tunnels: {t: {mode: gre}}", "tunnels"),
        ("vrfs: {v: {table: 1}}", "vrfs"),
        ("openvswitch: {ports: []}", "openvswitch"),
    ] {
        let (said, ids) = left(&format!("version: 2\nethernets: {{eth0: {{dhcp4: true}}}}\n{section}\n"));
        assert!(said[0].starts_with(&format!("refused: network-config:3:1: {key}: ")), "{said:?}");
        assert_eq!(ids, ["eth0"]);
    }
    let (said, _) = left("version: 2\nethernets: {eth0: {dhcp4: true, auth: {key-management: 802.1x}}}");
    assert_eq!(said, ["refused: network-config:2:33: ethernets.eth0.auth: this program cannot do it"]);
    let (said, ids) = left("auto eth0\niface eth0 inet dhcp\n  post-up /usr/local/bin/firewall\n  down echo\n");
    assert_eq!(
        said,
        [
            "refused: network-config:3:3: iface eth0 inet.post-up: nothing runs scripts here: say it with address, gateway \
             or routes of version 2",
            "ignored: network-config:4:3: iface eth0 inet.down: interfaces stay up until the machine is switched off",
        ]
    );
    assert_eq!(ids, ["eth0"]);
}

#[test]
fn loops_and_what_stands_on_them_are_left_out() {
    let (said, ids) = left(
        "version: 2
ethernets: {eth0: {dhcp4: true}}
bridges: {br0: {interfaces: [v1]}, br1: {interfaces: [br1]}, br2: {interfaces: [gone], dhcp4: true}}
vlans: {v1: {id: 1, link: br0}, v2: {id: 2, link: v1}, v3: {id: 3, link: br2}}
",
    );
    assert_eq!(ids, ["eth0", "br2", "v3"]);
    let about = |what: &str| said.iter().filter(|line| line.contains(what)).count();
    assert_eq!((about("on such a loop"), about("there is no interface \"gone\"")), (4, 1), "{said:#?}");
    assert!(said.iter().all(|line| line.starts_with("ignored")), "{said:#?}");
}

#[test]
fn names_addresses_and_tags_are_given_once() {
    let (said, ids) = left(
        "version: 2
ethernets:
  eth0: {dhcp4: true}
  a: {match: {macaddress: 52:54:00:00:00:01}, set-name: eth0}
  b: {match: {macaddress: 52:54:00:00:00:02}, addresses: [10.0.0.2/24]}
  c: {match: {macaddress: 52:54:00:00:00:02}}
  eth3: {addresses: [10.0.0.2/16]}
bonds: {eth0: {interfaces: [eth3]}, bond0: {interfaces: [eth3]}, bond1: {interfaces: [eth3]}, bond2: {interfaces: []}}
vlans: {v1: {id: 1, link: b}, v2: {id: 1, link: b}, v3: {id: 3, link: v2}}
",
    );
    assert_eq!(ids, ["eth0", "b", "eth3", "bond0", "v1"], "{said:#?}");
    for why in [
        "ethernets.a: another interface is called eth0",
        "ethernets.c: another interface has the hardware address 52:54:00:00:00:02",
        "ethernets.eth3: the address 10.0.0.2 is another interface's, too",
        "bonds.eth0: \"eth0\" stands twice",
        "bonds.bond1: eth3 is a member of bond0 already",
        "bonds.bond1: a bond needs members",
        "bonds.bond2: a bond needs members",
        "vlans.v2: another interface is tag 1 on b",
        "vlans.v3: there is no interface \"v2\"",
    ] {
        assert!(said.iter().any(|line| line.contains(why)), "{why}\n{said:#?}");
    }
}

#[test]
fn members_get_no_addresses_of_their_own() {
    let (mode, said) =
        read("version: 2\nethernets: {eth0: {dhcp4: true}}\nbonds: {bond0: {interfaces: [eth0], dhcp4: true}}");
    let plan = unwrap(mode);
    assert_eq!(plan.interfaces[0].dhcp4, None);
    assert!(plan.interfaces[1].dhcp4.is_some());
    assert_eq!(
        said,
        ["ignored: network-config:2:13: ethernets.eth0: it is a member of bond0, so it gets no addresses of its own"]
    );
}

#[test]
fn cloud_inits_guesses_are_said() {
    let (mode, said) = read(
        "version: 1\nconfig:\n- type: physical\n  name: eth0\n  subnets:\n  - type: static\n    address: 10.0.0.2\n    gateway: 10.1.0.1\n",
    );
    let interface = &unwrap(mode).interfaces[0];
    assert_eq!(interface.addresses[0].prefix, 24);
    assert!(interface.routes[0].on_link);
    assert_eq!(
        said,
        [
            "ignored: network-config:3:3: config[0]: the gateway 10.1.0.1 is in no network of this interface: it is looked \
             for on the link",
            "ignored: network-config:7:5: config[0].subnets[0].address: no netmask is given: /24 is taken, as cloud-init \
             does",
        ]
    );
}

#[test]
fn documents_that_are_none() {
    for (text, message) in [
        (
            "version: 3",
            "refused: network-config:1:10: version: must be 1 or 2, the versions of cloud-init's network configuration",
        ),
        (
            "[1]",
            "refused: network-config:1:1: must be a map with a version, or the text of /etc/network/interfaces, not a list",
        ),
        ("a: [", "refused: network-config:2:1: not YAML"),
        (
            "version: 2\nethernets: {a: {}, a: {dhcp4: true}}",
            "ignored: network-config:2:20: a: stands twice in one map; the last one counts",
        ),
        (
            "version: 1\nconfig: [{type: physical}]",
            "refused: network-config:2:10: config[0]: an interface needs a name: it is left out",
        ),
        (
            "version: 1\nconfig: [{name: eth0}]",
            "refused: network-config:2:10: config[0]: an item needs a type, such as physical: this item is left out",
        ),
    ] {
        let (said, _) = left(text);
        assert!(said.iter().any(|line| line.starts_with(message)), "{text}: {said:#?}");
    }
}
