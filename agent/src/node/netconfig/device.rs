//! The keys that all interfaces of version 2 have in common.

use super::{
    Cidr, DhcpOptions, Interface, Route, RouteKind, Rule, address::short, draft::Draft, field::Field, notes::Notes,
};

/// What has no effect here, or none that anybody would miss.
const IGNORED: [&str; 16] = [
    "critical",
    "dhcp-identifier",
    "emit-lldp",
    "generic-receive-offload",
    "generic-segmentation-offload",
    "ignore-carrier",
    "ipv6-address-generation",
    "ipv6-address-token",
    "ipv6-privacy",
    "large-receive-offload",
    "optional-addresses",
    "receive-checksum-offload",
    "renderer",
    "tcp-segmentation-offload",
    "transmit-checksum-offload",
    "wakeonlan",
];
/// What would change the machine, and is not done here.
const REFUSED: [&str; 7] = [
    "auth",
    "openvswitch",
    "networkmanager",
    "virtual-function-count",
    "embedded-switch-mode",
    "infiniband-mode",
    "neigh-suppress",
];
const KNOWN: [&str; 20] = [
    "accept-ra",
    "addresses",
    "dhcp4",
    "dhcp4-overrides",
    "dhcp6",
    "dhcp6-overrides",
    "gateway4",
    "gateway6",
    "id",
    "interfaces",
    "link",
    "link-local",
    "macaddress",
    "match",
    "mtu",
    "nameservers",
    "optional",
    "parameters",
    "routes",
    "set-name",
];

/// One key of an interface.
pub(super) fn device(key: &str, value: &Field<'_>, draft: &mut Draft, notes: &mut Notes) {
    let interface = &mut draft.interface;
    match key {
        "dhcp4" => set(&mut interface.dhcp4, value.flag(notes)),
        "dhcp6" => set(&mut interface.dhcp6, value.flag(notes)),
        "dhcp4-overrides" | "dhcp6-overrides" => overrides(key == "dhcp4-overrides", value, interface, notes),
        "addresses" => {
            for item in value.items() {
                address(&item, draft, notes);
            }
        }
        "gateway4" | "gateway6" => {
            if let Some(via) = value.address(notes) {
                if via.is_ipv4() == (key == "gateway4") {
                    draft.add_route(Route::default_via(via));
                } else {
                    value.flaw(notes, "is of the other family");
                }
            }
        }
        "nameservers" => {
            for (key, value) in value.entries(notes) {
                match key {
                    "addresses" => value.servers(notes, &mut interface.dns.servers),
                    "search" => value.domains(notes, &mut interface.dns.search),
                    _ => value.unknown(notes, key, &["addresses", "search"]),
                }
            }
        }
        "routes" => {
            for item in value.items() {
                if let Some(route) = route(&item, notes) {
                    draft.add_route(route);
                }
            }
        }
        "routing-policy" => {
            let rules = value.items();
            interface.rules.extend(rules.iter().filter_map(|item| rule(item, notes)));
        }
        "mtu" => interface.mtu = value.mtu(notes),
        "ipv6-mtu" => value.ignored(notes, "the interface's mtu holds for both families"),
        "macaddress" => match value.node.text() {
            Some("permanent" | "random" | "stable" | "preserve" | "preserve-active") => {
                value.ignored(notes, "the hardware's own address is kept");
            }
            _ => interface.mac = value.mac(notes),
        },
        "optional" => interface.optional = value.flag(notes).unwrap_or(false),
        "accept-ra" => interface.accept_ra = value.flag(notes),
        "link-local" => {
            let families = value.words(notes);
            interface.ipv6_link_local = Some(families.iter().any(|(_, family)| *family == "ipv6"));
            if families.iter().any(|(_, family)| *family == "ipv4") {
                value.ignored(notes, "IPv4 link-local addresses are not made here");
            }
        }
        "activation-mode" => match value.text(notes) {
            Some("manual" | "off") => interface.down = true,
            _ => value.flaw(notes, "must be manual or off"),
        },
        "ra-overrides" | "accept-ra-overrides" => {
            value.ignored(notes, "everything in router advertisements is used, as the kernel does");
        }
        _ if IGNORED.contains(&key) => value.ignored(notes, "it has no effect here"),
        _ if REFUSED.contains(&key) => notes.refused(value.at, &value.path, "this program cannot do it"),
        _ => value.unknown(notes, key, &KNOWN),
    }
}

/// Switches DHCP on, with what its overrides may have said before, or off.
fn set(dhcp: &mut Option<DhcpOptions>, flag: Option<bool>) {
    if flag == Some(true) {
        dhcp.get_or_insert_default();
    }
}

/// An address, or a map of one address to its label and lifetime.
fn address(item: &Field<'_>, draft: &mut Draft, notes: &mut Notes) {
    if item.node.mapping().is_none() {
        if let Some(cidr) = item.text(notes).and_then(|text| prefixed(text, item, notes)) {
            draft.add_address(cidr, item.node.at, &item.path, notes);
        }
        return;
    }
    for (text, options) in item.entries(notes) {
        let Some(cidr) = prefixed(text, item, notes) else { continue };
        draft.add_address(cidr, item.node.at, &item.path, notes);
        for (key, value) in options.entries(notes) {
            match key {
                "label" => value.ignored(notes, "a label is a name for people"),
                "lifetime" if value.node.text() == Some("forever") => {}
                "lifetime" => value.ignored(notes, "the address is used like any other"),
                _ => value.unknown(notes, key, &["label", "lifetime"]),
            }
        }
    }
}

fn prefixed(text: &str, field: &Field<'_>, notes: &mut Notes) -> Option<Cidr> {
    if !text.contains('/') {
        field.flaw(notes, format!("{:?} needs the length of its network's prefix, as in 10.0.0.2/24", short(text)));
        return None;
    }
    text.parse().map_err(|error: super::CidrError| field.flaw(notes, error.to_string())).ok()
}

fn overrides(v4: bool, field: &Field<'_>, interface: &mut Interface, notes: &mut Notes) {
    let sibling = if v4 { &mut interface.dhcp4 } else { &mut interface.dhcp6 };
    let mut options = sibling.unwrap_or_default();
    for (key, value) in field.entries(notes) {
        let flag = |into: &mut bool, notes: &mut Notes| *into = value.flag(notes).unwrap_or(*into);
        match key {
            "route-metric" => options.metric = value.number(notes, 0, u32::MAX),
            "use-dns" => flag(&mut options.use_dns, notes),
            "use-domains" if value.node.text() == Some("route") => options.use_domain = true,
            "use-domains" => flag(&mut options.use_domain, notes),
            "use-routes" => flag(&mut options.use_routes, notes),
            "use-mtu" => flag(&mut options.use_mtu, notes),
            "use-ntp" => flag(&mut options.use_ntp, notes),
            "use-hostname" => flag(&mut options.use_hostname, notes),
            "send-hostname" | "hostname" => value.ignored(notes, "DHCP servers are not told a name"),
            _ => value.unknown(notes, key, &["route-metric", "use-dns", "use-domains", "use-routes", "use-mtu"]),
        }
    }
    *sibling = Some(options);
}

/// One of `routes`. `None` when it is left out, which is said.
fn route(field: &Field<'_>, notes: &mut Notes) -> Option<Route> {
    let via = field.get("via").map(|value| value.address(notes));
    // A gateway that cannot be read was said to be wrong.
    let via = if let Some(via) = via { Some(via?) } else { None };
    let Some(to) = field.get("to") else {
        field.flaw(notes, "a route needs to: this route is left out");
        return None;
    };
    let mut route = match to.text(notes)? {
        "default" => {
            let from = field.get("from").and_then(|value| value.node.text()?.parse().ok());
            Route::new(Cidr::everything(via.or(from).unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into())), via)
        }
        _ => Route::new(to.cidr(notes)?, via),
    };
    for (key, value) in field.entries(notes) {
        match key {
            "to" | "via" => {}
            "metric" => route.metric = value.number(notes, 0, u32::MAX),
            "on-link" => route.on_link = value.flag(notes).unwrap_or(false),
            "table" => route.table = table(&value, notes),
            "mtu" => route.mtu = value.mtu(notes),
            "from" => route.from = value.address(notes),
            // The kernel's own choice: link without a gateway, global with one.
            "scope" => {
                value.choice(notes, &["global", "link", "host"]);
            }
            "type" => match value.choice(notes, &["unicast", "blackhole", "unreachable", "prohibit"]) {
                Some(1) => route.kind = RouteKind::Blackhole,
                Some(2) => route.kind = RouteKind::Unreachable,
                Some(3) => route.kind = RouteKind::Prohibit,
                Some(_) => {}
                None => return None,
            },
            "advertised-mss" | "congestion-window" | "advertised-receive-window" => {
                value.ignored(notes, "the kernel's default is kept");
            }
            _ => {
                value.unknown(notes, key, &["to", "via", "metric", "on-link", "table", "mtu", "from", "type", "scope"]);
            }
        }
    }
    let v4 = route.to.address.is_ipv4();
    if via.is_some_and(|via| via.is_ipv4() != v4) || route.from.is_some_and(|from| from.is_ipv4() != v4) {
        field.flaw(notes, "its addresses are of different families: this route is left out");
        return None;
    }
    Some(route)
}

/// The number of a routing table, or one of the kernel's three names.
fn table(value: &Field<'_>, notes: &mut Notes) -> Option<u32> {
    match value.node.text() {
        Some("main") => Some(254),
        Some("default") => Some(253),
        Some("local") => Some(255),
        _ => value.number(notes, 1, u32::MAX),
    }
}

/// One of `routing-policy`. `None` when it is left out, which is said.
fn rule(field: &Field<'_>, notes: &mut Notes) -> Option<Rule> {
    let mut rule = Rule { from: None, to: None, table: 0, priority: None, mark: None, tos: None };
    let mut complete = true;
    for (key, value) in field.entries(notes) {
        match key {
            "from" | "to" => {
                let network = value.cidr(notes).map(Cidr::network);
                complete &= network.is_some();
                if key == "from" {
                    rule.from = network;
                } else {
                    rule.to = network;
                }
            }
            "table" => rule.table = table(&value, notes).unwrap_or(0),
            "priority" => rule.priority = value.number(notes, 0, u32::MAX),
            "mark" => {
                rule.mark = value.number(notes, 0, u32::MAX);
                complete &= rule.mark.is_some();
            }
            "type-of-service" => {
                rule.tos = value.number(notes, 0, 255).and_then(|tos| u8::try_from(tos).ok());
                complete &= rule.tos.is_some();
            }
            _ => value.unknown(notes, key, &["from", "to", "table", "priority", "mark", "type-of-service"]),
        }
    }
    let mixed = rule.from.zip(rule.to).is_some_and(|(from, to)| from.address.is_ipv4() != to.address.is_ipv4());
    if rule.table == 0 || mixed || !complete || rule.from.is_none() && rule.to.is_none() {
        field.flaw(notes, "a rule needs a table, and from or to of one family: this rule is left out");
        return None;
    }
    Some(rule)
}
