//! cloud-init's network configuration version 1 (`schema-network-config-v1.json`).

use super::{
    Dns, Interface, Kind, Mac, Select, Vlan,
    draft::{Draft, Drafts},
    field::Field,
    glob::is_pattern,
    notes::Notes,
    parameters, subnet,
};

const KEYS: [&str; 14] = [
    "name",
    "type",
    "mac-address",
    "mtu",
    "accept-ra",
    "subnets",
    "params",
    "bond-interfaces",
    "bridge-interfaces",
    "vlan-id",
    "vlan-link",
    "wakeonlan",
    "optional",
    "keep-configuration",
];

/// Reads the document, which has a list `config`.
pub(super) fn read(root: &Field<'_>, drafts: &mut Drafts, notes: &mut Notes) {
    for (key, value) in root.entries(notes) {
        match key {
            "version" => {}
            "config" if value.node.sequence().is_some() => {
                for item in value.items() {
                    self::item(&item, drafts, notes);
                    notes.interface = None;
                }
            }
            "config" => value.flaw(notes, format!("must be a list, not {}", value.node.describe())),
            _ => value.unknown(notes, key, &["version", "config"]),
        }
    }
}

fn item(item: &Field<'_>, drafts: &mut Drafts, notes: &mut Notes) {
    let Some(kind) = item.get("type") else {
        return item.flaw(notes, "an item needs a type, such as physical: this item is left out");
    };
    match kind.text(notes) {
        Some("nameserver") => nameserver(item, drafts, notes),
        Some("route") => {
            drafts.routes.extend(subnet::route(item, notes).map(|route| (item.at, item.path.clone(), route)));
        }
        Some("loopback") => link(item, "lo", Kind::Physical, drafts, notes),
        Some(text @ ("physical" | "infiniband" | "bond" | "bridge" | "vlan")) => {
            let made = match text {
                "bond" => Kind::Bond(super::Bond::default()),
                "bridge" => Kind::Bridge(super::Bridge::default()),
                "vlan" => Kind::Vlan(Vlan { tag: 0, link: String::new() }),
                _ => Kind::Physical,
            };
            match name(item, &made, notes) {
                Some(name) => link(item, &name, made, drafts, notes),
                None => item.flaw(notes, "an interface needs a name: it is left out"),
            }
        }
        Some(_) => {
            let why = "must be physical, bond, bridge, vlan, nameserver, route or loopback: this item is left out";
            kind.flaw(notes, why);
        }
        None => {}
    }
}

/// Its name; a VLAN without one is called after its link and tag, hardware without one after its address, which leaves it
/// the name that the kernel gave it (Hetzner's private networks).
fn name(item: &Field<'_>, kind: &Kind, notes: &mut Notes) -> Option<String> {
    let text = |keys: [&str; 2], notes: &mut Notes| {
        let value = keys.iter().find_map(|key| item.get(key))?;
        value.text(notes).map(str::to_owned)
    };
    let given = text(["name", "name"], notes).filter(|name| !name.is_empty());
    match kind {
        Kind::Vlan(_) if given.is_none() => {
            let link = text(["vlan_link", "vlan-link"], notes)?;
            Some(format!("{link}.{}", text(["vlan_id", "vlan-id"], notes)?))
        }
        Kind::Physical if given.is_none() => {
            text(["mac_address", "mac-address"], notes)?.parse::<Mac>().ok().map(|mac| mac.to_string())
        }
        _ => given,
    }
}

fn nameserver(item: &Field<'_>, drafts: &mut Drafts, notes: &mut Notes) {
    let mut dns = Dns::default();
    let mut interface = None;
    for (key, value) in item.entries(notes) {
        match key {
            "address" => value.servers(notes, &mut dns.servers),
            "search" => value.domains(notes, &mut dns.search),
            "interface" => interface = value.text(notes).map(str::to_owned),
            "type" | "name" | "id" => {}
            _ => value.unknown(notes, key, &["address", "search", "interface"]),
        }
    }
    match interface {
        Some(name) => drafts.dns_of.push((name, item.at, item.path.clone(), dns)),
        None => drafts.dns.merge(dns),
    }
}

/// An interface. `eth0:1` is another address of `eth0`.
fn link(item: &Field<'_>, name: &str, kind: Kind, drafts: &mut Drafts, notes: &mut Notes) {
    let base = match (&kind, name.split_once(':')) {
        (Kind::Physical, Some((base, _))) if name.parse::<Mac>().is_err() => base,
        _ => name,
    };
    notes.interface = Some(base.to_owned());
    if kind == Kind::Physical && is_pattern(base) {
        return item.flaw(notes, "version 1 has no patterns of names; version 2 has: this interface is left out");
    }
    let alias = base != name;
    let mut draft = Draft {
        interface: Interface { id: base.to_owned(), kind, ..Interface::default() },
        at: item.at,
        path: item.path.clone(),
    };
    let interface = &mut draft.interface;
    if !interface.is_virtual() {
        interface.select = Select { name: Some(base.to_owned()), ..Select::default() };
    }
    let mut complete = true;
    for (key, value) in item.entries(notes) {
        if !value.node.is_null() {
            complete &= self::key(&key.replace('_', "-"), &value, &mut draft, notes);
        }
    }
    if let Kind::Bond(bond) = &mut draft.interface.kind {
        parameters::settle(bond, item, notes);
    }
    if let Kind::Vlan(vlan) = &draft.interface.kind
        && vlan.link.is_empty()
    {
        item.flaw(notes, "a VLAN needs vlan_link and vlan_id");
        complete = false;
    }
    if !complete {
        return notes.flaw(item.at, &item.path, "this interface is left out");
    }
    let known = drafts.list.iter_mut().find(|known| alias && known.interface.id == base);
    match known {
        Some(known) => absorb(known, draft.interface),
        // The kernel's loopback works without help.
        None if base == "lo" && draft.interface.addresses.is_empty() => drafts.dns.merge(draft.interface.dns),
        None => drafts.list.push(draft),
    }
}

/// Adds an alias' addresses to the interface that it is an alias of.
pub(super) fn absorb(known: &mut Draft, alias: Interface) {
    let interface = &mut known.interface;
    for address in alias.addresses {
        if !interface.addresses.contains(&address) {
            interface.addresses.push(address);
        }
    }
    for route in alias.routes {
        known.add_route(route);
    }
    let interface = &mut known.interface;
    interface.dns.merge(alias.dns);
    interface.dhcp4 = interface.dhcp4.or(alias.dhcp4);
    interface.dhcp6 = interface.dhcp6.or(alias.dhcp6);
    interface.accept_ra = interface.accept_ra.or(alias.accept_ra);
}

/// One key of an interface. `false` when the interface makes no sense without it.
fn key(name: &str, value: &Field<'_>, draft: &mut Draft, notes: &mut Notes) -> bool {
    let interface = &mut draft.interface;
    match name {
        "name" | "type" | "id" => {}
        "mac-address" => {
            let empty = value.node.text() == Some("");
            match value.mac(notes) {
                None => return empty,
                Some(mac) if interface.is_virtual() => interface.mac = Some(mac),
                Some(mac) => {
                    interface.select = Select { mac: Some(mac), ..Select::default() };
                    interface.rename = Some(interface.id.clone()).filter(|name| *name != mac.to_string());
                }
            }
        }
        "mtu" => interface.mtu = value.mtu(notes),
        "accept-ra" => interface.accept_ra = value.flag(notes),
        "optional" => interface.optional = value.flag(notes).unwrap_or(false),
        "subnets" => {
            for field in value.items() {
                subnet::subnet(&field, draft, notes);
            }
        }
        "bond-interfaces" if matches!(interface.kind, Kind::Bond(_)) => {
            draft.bond().members = value.words(notes).into_iter().map(|(_, word)| word.to_owned()).collect();
        }
        "bridge-interfaces" if matches!(interface.kind, Kind::Bridge(_)) => {
            draft.bridge().ports = value.words(notes).into_iter().map(|(_, word)| word.to_owned()).collect();
        }
        "params" => {
            for (key, value) in value.entries(notes) {
                parameter(&key.replace('_', "-"), &value, draft, notes);
            }
        }
        "vlan-id" => {
            let tag = value.number(notes, 0, 4094).and_then(|tag| u16::try_from(tag).ok());
            match (&mut interface.kind, tag) {
                (Kind::Vlan(vlan), Some(tag)) => vlan.tag = tag,
                _ => return false,
            }
        }
        "vlan-link" => match (&mut interface.kind, value.text(notes)) {
            (Kind::Vlan(vlan), Some(link)) => link.clone_into(&mut vlan.link),
            _ => return false,
        },
        "wakeonlan" | "keep-configuration" => value.ignored(notes, "it has no effect here"),
        _ => value.unknown(notes, name, &KEYS),
    }
    true
}

fn parameter(name: &str, value: &Field<'_>, draft: &mut Draft, notes: &mut Notes) {
    match &mut draft.interface.kind {
        Kind::Bond(bond) => parameters::bond(bond, name.strip_prefix("bond-").unwrap_or(name), value, notes),
        Kind::Bridge(bridge) => parameters::bridge(bridge, name.strip_prefix("bridge-").unwrap_or(name), value, notes),
        _ => value.flaw(notes, "only bonds and bridges have params"),
    }
}
