//! The settings of bonds and bridges, in all the spellings: netplan's, the kernel's, and ifupdown's with `bond-` or
//! `bridge_` before them.

use std::net::IpAddr;

use super::{Bond, BondMode, Bridge, field::Field, notes::Notes};

const MODES: [(&str, BondMode); 7] = [
    ("balance-rr", BondMode::BalanceRr),
    ("active-backup", BondMode::ActiveBackup),
    ("balance-xor", BondMode::BalanceXor),
    ("broadcast", BondMode::Broadcast),
    ("802.3ad", BondMode::Lacp),
    ("balance-tlb", BondMode::BalanceTlb),
    ("balance-alb", BondMode::BalanceAlb),
];
const HASHES: [&str; 6] = ["layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"];
const VALIDATE: [&str; 7] = ["none", "active", "backup", "all", "filter", "filter_active", "filter_backup"];
/// What else the kernel knows of bonds; nobody who sets it expects a bond to fail without it.
const BOND_DEFAULTS: [&str; 11] = [
    "active-slave",
    "ad-actor-sys-prio",
    "ad-actor-system",
    "ad-user-port-key",
    "lacp-active",
    "missed-max",
    "num-unsol-na",
    "peer-notif-delay",
    "queue-id",
    "resend-igmp",
    "use-carrier",
];
const DEFAULT: &str = "the kernel's default is kept";

/// One setting of a bond; `name` is without `bond-` and has no underscores.
pub(super) fn bond(bond: &mut Bond, name: &str, field: &Field<'_>, notes: &mut Notes) {
    match name {
        "mode" => {
            let mode = field.choice(notes, &MODES.map(|(name, _)| name));
            bond.mode = mode.and_then(|n| MODES.get(usize::from(n))).map_or(bond.mode, |(_, mode)| *mode);
        }
        "miimon" | "mii-monitor-interval" => bond.miimon = field.span(notes, true),
        "updelay" | "up-delay" => bond.up_delay = field.span(notes, true),
        "downdelay" | "down-delay" => bond.down_delay = field.span(notes, true),
        "lacp-rate" => bond.lacp_fast = field.choice(notes, &["slow", "fast"]).map(|rate| rate == 1),
        "xmit-hash-policy" | "transmit-hash-policy" => bond.transmit_hash_policy = field.choice(notes, &HASHES),
        "ad-select" => bond.ad_select = field.choice(notes, &["stable", "bandwidth", "count"]),
        "min-links" => bond.min_links = field.number(notes, 0, i32::MAX.unsigned_abs()),
        "primary" => bond.primary = field.text(notes).map(str::to_owned),
        "primary-reselect" | "primary-reselect-policy" => {
            bond.primary_reselect = field.choice(notes, &["always", "better", "failure"]);
        }
        "fail-over-mac" | "fail-over-mac-policy" => {
            bond.fail_over_mac = field.choice(notes, &["none", "active", "follow"]);
        }
        "arp-interval" => bond.arp_interval = field.span(notes, true),
        "arp-ip-target" | "arp-ip-targets" => {
            let mut targets = Vec::new();
            field.servers(notes, &mut targets);
            bond.arp_targets = targets
                .iter()
                .filter_map(|target| match target {
                    IpAddr::V4(target) => Some(*target),
                    IpAddr::V6(_) => None,
                })
                .collect();
            if bond.arp_targets.len() != targets.len() || targets.len() > 16 {
                field.flaw(notes, "must be at most 16 IPv4 addresses");
                bond.arp_targets.truncate(16);
            }
        }
        "arp-validate" => bond.arp_validate = field.choice(notes, &VALIDATE).map(u32::from),
        "arp-all-targets" => bond.arp_all_targets = field.choice(notes, &["any", "all"]).map(|which| which == 1),
        "num-grat-arp" | "gratuitous-arp" | "gratuitious-arp" => {
            bond.gratuitous_arp = field.number(notes, 0, 255).and_then(|n| u8::try_from(n).ok());
        }
        "packets-per-slave" | "packets-per-member" => bond.packets_per_member = field.number(notes, 0, 65_535),
        "lp-interval" | "learn-packet-interval" => bond.learn_packet_interval = field.span(notes, false),
        "all-slaves-active" | "all-members-active" => bond.all_members_active = field.flag(notes),
        _ if BOND_DEFAULTS.contains(&name) || name == "tlb-dynamic-lb" => field.ignored(notes, DEFAULT),
        _ => field.unknown(
            notes,
            name,
            &["mode", "mii-monitor-interval", "lacp-rate", "transmit-hash-policy", "primary"],
        ),
    }
}

/// Takes out what the kernel does not accept in the bond's mode, and would fail for (`bond_options.c`).
pub(super) fn settle(bond: &mut Bond, at: &Field<'_>, notes: &mut Notes) {
    let mode = bond.mode;
    let mut leave_out = |name: &str, present: bool, fits: bool| {
        let out = present && !fits;
        if out {
            notes.ignored(at.at, &at.path, format!("{name} has no meaning in this mode of a bond"));
        }
        out
    };
    let balances = matches!(mode, BondMode::BalanceTlb | BondMode::BalanceAlb);
    let has_primary = balances || mode == BondMode::ActiveBackup;
    let probes = !balances && mode != BondMode::Lacp;
    if leave_out("lacp-rate", bond.lacp_fast.is_some(), mode == BondMode::Lacp) {
        bond.lacp_fast = None;
    }
    if leave_out("primary", bond.primary.is_some(), has_primary) {
        bond.primary = None;
    }
    if leave_out("packets-per-slave", bond.packets_per_member.is_some(), mode == BondMode::BalanceRr) {
        bond.packets_per_member = None;
    }
    if leave_out("arp-interval", bond.arp_interval.is_some_and(|n| n > 0), probes) {
        bond.arp_interval = None;
    }
    if leave_out("arp-validate", bond.arp_validate.is_some_and(|n| n > 0), probes) {
        bond.arp_validate = None;
    }
}

/// One setting of a bridge; `name` is without `bridge-` and has no underscores.
pub(super) fn bridge(bridge: &mut Bridge, name: &str, field: &Field<'_>, notes: &mut Notes) {
    match name {
        "stp" => bridge.stp = field.flag(notes),
        "fd" | "forward-delay" => bridge.forward_delay = field.span(notes, false),
        "hello" | "hello-time" => bridge.hello_time = field.span(notes, false),
        "maxage" | "max-age" => bridge.max_age = field.span(notes, false),
        "ageing" | "ageing-time" | "aging-time" => bridge.ageing_time = field.span(notes, false),
        "bridgeprio" | "priority" => {
            bridge.priority = field.number(notes, 0, 65_535).and_then(|n| u16::try_from(n).ok());
        }
        "pathcost" | "path-cost" => bridge.path_cost = by_port(field, notes, 1, 200_000_000),
        "portprio" | "port-priority" => {
            let list = by_port(field, notes, 0, 63).into_iter();
            bridge.port_priority = list.filter_map(|(port, n)| Some((port, u16::try_from(n).ok()?))).collect();
        }
        "ports" => {
            let ports = field.words(notes).into_iter().map(|(_, port)| port).filter(|port| *port != "none");
            bridge.ports.extend(ports.map(str::to_owned));
        }
        "gcint" | "maxwait" | "waitport" | "vlan-aware" | "hw" => field.ignored(notes, DEFAULT),
        _ => field.unknown(notes, name, &["stp", "forward-delay", "hello-time", "max-age", "ageing-time", "priority"]),
    }
}

/// Numbers of ports: a map, or texts `eth0 100`.
fn by_port(field: &Field<'_>, notes: &mut Notes, min: u32, max: u32) -> Vec<(String, u32)> {
    let mut list = Vec::new();
    if field.node.mapping().is_some() {
        for (port, value) in field.entries(notes) {
            list.extend(value.number(notes, min, max).map(|number| (port.to_owned(), number)));
        }
        return list;
    }
    for item in field.items() {
        let Some(text) = item.text(notes) else { continue };
        let words: Vec<&str> = text.split_whitespace().collect();
        for pair in words.chunks(2) {
            match pair {
                [port, number] => match number.parse().ok().filter(|number| (min..=max).contains(number)) {
                    Some(number) => list.push(((*port).to_owned(), number)),
                    None => item.flaw(notes, format!("must be a port and a number from {min} to {max}")),
                },
                _ => item.flaw(notes, format!("must be a port and a number from {min} to {max}")),
            }
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::userdata::yaml;

    fn bond_of(text: &str) -> (Bond, usize) {
        let root = yaml::load(text).unwrap().root.unwrap();
        let (mut made, mut notes) = (Bond::default(), Notes::default());
        let field = Field::root(&root);
        for (name, value) in field.entries(&mut notes) {
            let name = name.replace('_', "-");
            bond(&mut made, name.strip_prefix("bond-").unwrap_or(&name), &value, &mut notes);
        }
        settle(&mut made, &field, &mut notes);
        (made, notes.findings("f", true, Vec::new()).len())
    }

    #[test]
    fn both_spellings_make_the_same_bond() {
        let netplan =
            bond_of("{mode: 802.3ad, mii-monitor-interval: 100, lacp-rate: fast, transmit-hash-policy: layer3+4}");
        let kernel = bond_of("{bond-mode: 4, bond_miimon: '100', bond-lacp_rate: 1, bond-xmit_hash_policy: layer3+4}");
        assert_eq!(netplan, kernel);
        assert_eq!((netplan.0.mode, netplan.0.miimon, netplan.1), (BondMode::Lacp, Some(100), 0));
    }

    #[test]
    fn what_the_mode_does_not_know_is_taken_out_with_a_word() {
        let (bond, notes) = bond_of("{mode: balance-xor, lacp-rate: fast, primary: eth0, packets-per-slave: 3}");
        assert_eq!((bond.lacp_fast, bond.primary, bond.packets_per_member, notes), (None, None, None, 3));
        let (bond, notes) =
            bond_of("{mode: active-backup, primary: eth0, arp-interval: 100, arp-ip-targets: [10.0.0.1]}");
        assert_eq!(
            (bond.primary.as_deref(), bond.arp_interval, bond.arp_targets.len(), notes),
            (Some("eth0"), Some(100), 1, 0)
        );
    }

    #[test]
    fn costs_of_ports_as_a_map_and_as_texts() {
        let of = |text: &str| {
            let root = yaml::load(text).unwrap().root.unwrap();
            let (mut made, mut notes) = (Bridge::default(), Notes::default());
            for (name, value) in Field::root(&root).entries(&mut notes) {
                bridge(&mut made, name, &value, &mut notes);
            }
            (made, notes.findings("f", true, Vec::new()).len())
        };
        assert_eq!(of("path-cost: {eth0: 50, eth1: 75}"), of("pathcost: [eth0 50, eth1 75]"));
        assert_eq!(of("path-cost: {eth0: 50, eth1: 75}"), of("pathcost: eth0 50 eth1 75"));
        assert_eq!(of("path-cost: [eth0]").1, 1);
    }
}
