//! OpenStack's `network_data.json` (Nova's `network_data` schema; `openstack.convert_net_json` of cloud-init).

use std::collections::BTreeMap;

use super::{
    DhcpOptions, Dns, Interface, Kind, Select, Vlan,
    draft::{Draft, Drafts, is_name},
    field::Field,
    notes::Notes,
    parameters, subnet,
};

/// Reads the document.
pub(super) fn read(root: &Field<'_>, drafts: &mut Drafts, notes: &mut Notes) {
    // Links by OpenStack's id; interfaces have other names.
    let mut ids = BTreeMap::new();
    for (key, value) in root.entries(notes) {
        match key {
            "links" => links(&value, &mut ids, drafts, notes),
            "networks" => {}
            "services" => services(&value, &mut drafts.dns, notes),
            _ => value.ignored(notes, "it has no effect here"),
        }
    }
    for network in root.get("networks").map(|networks| networks.items()).unwrap_or_default() {
        let Some(link) = network.get("link").and_then(|link| link.text(notes)) else {
            network.flaw(notes, "a network needs a link: it is left out");
            continue;
        };
        let id = ids.get(link).map_or(link, String::as_str);
        match drafts.list.iter_mut().find(|draft| draft.interface.id == id) {
            Some(draft) => {
                notes.interface = Some(id.to_owned());
                self::network(&network, draft, notes);
                notes.interface = None;
            }
            None => network.flaw(notes, format!("there is no link {:?}: it is left out", super::address::short(link))),
        }
    }
}

/// Reads `links`; names of bonds and VLANs are made here, because OpenStack's ids are longer than the kernel allows.
fn links(list: &Field<'_>, ids: &mut BTreeMap<String, String>, drafts: &mut Drafts, notes: &mut Notes) {
    let mut bonds = 0;
    let items = list.items();
    let kind = |link: &Field<'_>| link.get("type").and_then(|kind| kind.node.text().map(str::to_owned));
    // First everything that others stand on.
    for rank in 0..3 {
        for link in &items {
            let Some(id) = link.get("id").and_then(|id| id.text(&mut Notes::default()).map(str::to_owned)) else {
                if rank == 0 {
                    link.flaw(notes, "a link needs an id: it is left out");
                }
                continue;
            };
            let (own, name, made) = match kind(link).as_deref() {
                Some("bond") => (1, format!("bond{bonds}"), Kind::Bond(super::Bond::default())),
                Some("vlan") => (2, String::new(), Kind::Vlan(Vlan::default())),
                _ => (0, id.clone(), Kind::Physical),
            };
            if own != rank {
                continue;
            }
            bonds += usize::from(rank == 1);
            let mut draft = Draft {
                interface: Interface { id: name, kind: made, ..Interface::default() },
                at: link.at,
                path: link.path.clone(),
            };
            notes.interface = Some(draft.interface.id.clone());
            if self::link(link, &mut draft, ids, drafts, notes) && !ids.contains_key(&id) {
                ids.insert(id, draft.interface.id.clone());
                drafts.list.push(draft);
            } else {
                link.flaw(notes, "this link is left out");
            }
            notes.interface = None;
        }
    }
}

/// One link. `false` when it makes no sense.
fn link(
    field: &Field<'_>,
    draft: &mut Draft,
    ids: &BTreeMap<String, String>,
    drafts: &Drafts,
    notes: &mut Notes,
) -> bool {
    let interface = &mut draft.interface;
    let mut tag = None;
    let mut complete = true;
    for (key, value) in field.entries(notes) {
        if value.node.is_null() {
            continue;
        }
        match (key, &mut interface.kind) {
            ("id" | "type" | "vif_id", _) => {}
            ("mtu", _) => interface.mtu = value.mtu(notes),
            ("name", Kind::Physical) => interface.rename = value.text(notes).map(str::to_owned),
            ("ethernet_mac_address", Kind::Physical) => {
                let mac = value.mac(notes);
                complete &= mac.is_some();
                interface.select = Select { mac, ..Select::default() };
            }
            ("ethernet_mac_address", Kind::Bond(_)) | ("vlan_mac_address", Kind::Vlan(_)) => {
                interface.mac = value.mac(notes);
            }
            ("bond_links", Kind::Bond(bond)) => {
                let id = |link: &str| ids.get(link).cloned().unwrap_or_else(|| link.to_owned());
                bond.members = value.words(notes).into_iter().map(|(_, link)| id(link)).collect();
            }
            ("vlan_id", Kind::Vlan(_)) => tag = value.number(notes, 0, 4094).and_then(|tag| u16::try_from(tag).ok()),
            ("vlan_link", Kind::Vlan(vlan)) => {
                let link = value.text(notes).unwrap_or("");
                ids.get(link).map_or(link, String::as_str).clone_into(&mut vlan.link);
            }
            (key, Kind::Bond(bond)) if key.starts_with("bond_") => {
                let name = key.replace('_', "-");
                parameters::bond(bond, name.strip_prefix("bond-").unwrap_or(&name), &value, notes);
            }
            _ => value.ignored(notes, "it has no effect here"),
        }
    }
    match &mut interface.kind {
        Kind::Physical => {
            if complete && interface.select.mac.is_none() {
                field.flaw(notes, "a link needs ethernet_mac_address, which says which interface it is");
                complete = false;
            }
        }
        Kind::Bond(bond) => parameters::settle(bond, field, notes),
        Kind::Bridge(_) => {}
        Kind::Vlan(vlan) => match tag {
            Some(tag) if !vlan.link.is_empty() => {
                vlan.tag = tag;
                interface.id = vlan_name(&vlan.link, tag, drafts);
            }
            _ => {
                field.flaw(notes, "a VLAN needs vlan_id and vlan_link");
                complete = false;
            }
        },
    }
    complete
}

/// `bond0.100`; where the name of the link is not known, or leaves no room, `vlan100`, which the next of the same tag
/// gets a number behind.
fn vlan_name(link: &str, tag: u16, drafts: &Drafts) -> String {
    let below = drafts.list.iter().find(|draft| draft.interface.id == link);
    let dotted = below.and_then(|draft| draft.interface.name()).map(|name| format!("{name}.{tag}"));
    let free = |name: &String| is_name(name) && !drafts.list.iter().any(|draft| draft.interface.id == *name);
    let plain = (0_usize..).map(|n| if n == 0 { format!("vlan{tag}") } else { format!("vlan{tag}.{n}") });
    dotted.into_iter().chain(plain.take(512)).find(free).unwrap_or_else(|| format!("vlan{tag}"))
}

/// One network of a link.
fn network(field: &Field<'_>, draft: &mut Draft, notes: &mut Notes) {
    let (mut address, mut mask, mut gateway) = (None, None, None);
    let mut kind = "";
    for (key, value) in field.entries(notes) {
        if value.node.is_null() {
            continue;
        }
        match key {
            "type" => kind = value.text(notes).unwrap_or(""),
            "ip_address" => address = Some(value),
            "netmask" => mask = Some(value),
            "gateway" => gateway = value.address(notes),
            "routes" => {
                for item in value.items() {
                    if let Some(route) = subnet::route(&item, notes) {
                        draft.add_route(route);
                    }
                    if let Some(services) = item.get("services") {
                        self::services(&services, &mut draft.interface.dns, notes);
                    }
                }
            }
            "services" => self::services(&value, &mut draft.interface.dns, notes),
            "dns_nameservers" => value.servers(notes, &mut draft.interface.dns.servers),
            "id" | "link" | "network_id" => {}
            _ => value.ignored(notes, "it has no effect here"),
        }
    }
    let interface = &mut draft.interface;
    match kind {
        "ipv4_dhcp" => interface.dhcp4 = Some(DhcpOptions::default()),
        "ipv6_dhcp" | "ipv6_dhcpv6-stateful" => interface.dhcp6 = Some(DhcpOptions::default()),
        "ipv6_slaac" => interface.accept_ra = Some(true),
        "ipv6_dhcpv6-stateless" => {
            interface.accept_ra = Some(true);
            interface.dhcp6 = Some(DhcpOptions { stateless: true, ..DhcpOptions::default() });
        }
        "ipv4" | "ipv6" => match &address {
            Some(address) => {
                if let Some(cidr) = subnet::masked(address, mask.as_ref(), notes) {
                    draft.add_address(cidr, address.node.at, &address.path, notes);
                }
                if kind == "ipv6" {
                    draft.interface.accept_ra.get_or_insert(false);
                }
            }
            None => field.flaw(notes, "a network of this type needs ip_address"),
        },
        _ => {
            let why =
                "must have a type of ipv4, ipv4_dhcp, ipv6, ipv6_dhcp, ipv6_slaac or ipv6_dhcpv6-*: it is left out";
            return field.flaw(notes, why);
        }
    }
    if let Some(via) = gateway {
        draft.add_route(super::Route::default_via(via));
    }
}

/// Name servers of a list of services.
fn services(list: &Field<'_>, dns: &mut Dns, notes: &mut Notes) {
    for service in list.items() {
        match service.get("type").and_then(|kind| kind.node.text().map(str::to_owned)).as_deref() {
            Some("dns") => match service.get("address") {
                Some(address) => address.servers(notes, &mut dns.servers),
                None => service.flaw(notes, "a name server needs an address"),
            },
            _ => service.ignored(notes, "only services of type dns are used"),
        }
    }
}
