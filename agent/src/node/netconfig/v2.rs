//! cloud-init's network configuration version 2, which is netplan's YAML.

use super::{
    Interface, Kind, Select, Vlan,
    device::device,
    draft::{Draft, Drafts},
    field::Field,
    notes::Notes,
    parameters,
};

const NO_RADIO: &str = "this image has no programs for it: make the machine reachable by Ethernet";
const NOT_HERE: &str = "this program makes bonds, bridges and VLANs, and nothing else that is virtual";
const SECTIONS: [&str; 6] = ["version", "renderer", "ethernets", "bonds", "bridges", "vlans"];

/// Reads the document.
pub(super) fn read(root: &Field<'_>, drafts: &mut Drafts, notes: &mut Notes) {
    for (key, section) in root.entries(notes) {
        match key {
            "version" => {}
            "renderer" => section.ignored(notes, "interfaces are configured by the node itself"),
            "ethernets" | "bonds" | "bridges" | "vlans" => {
                for (id, field) in section.entries(notes) {
                    if id == "renderer" {
                        continue;
                    }
                    notes.interface = Some(id.to_owned());
                    interface(key, id, &field, drafts, notes);
                    notes.interface = None;
                }
            }
            "wifis" | "modems" => refuse(&section, notes, NO_RADIO),
            "tunnels" | "vrfs" | "dummy-devices" | "virtual-ethernets" | "nm-devices" | "openvswitch" => {
                refuse(&section, notes, NOT_HERE);
            }
            _ => section.unknown(notes, key, &SECTIONS),
        }
    }
}

/// Refuses a section, unless it is empty.
fn refuse(section: &Field<'_>, notes: &mut Notes, why: &str) {
    if section.node.is_null() || section.node.mapping().is_some_and(<[_]>::is_empty) {
        section.ignored(notes, "asks for nothing");
    } else {
        notes.refused(section.at, &section.path, why);
    }
}

fn interface(section: &str, id: &str, field: &Field<'_>, drafts: &mut Drafts, notes: &mut Notes) {
    let kind = match section {
        "bonds" => Kind::Bond(super::Bond::default()),
        "bridges" => Kind::Bridge(super::Bridge::default()),
        "vlans" => Kind::Vlan(Vlan::default()),
        _ => Kind::Physical,
    };
    let mut draft = Draft {
        interface: Interface { id: id.to_owned(), kind, ..Interface::default() },
        at: field.at,
        path: field.path.clone(),
    };
    let mut complete = true;
    if !draft.interface.is_virtual() {
        complete &= select(id, field, &mut draft.interface, notes);
    }
    let mut tag = None;
    for (key, value) in field.entries(notes) {
        if value.node.is_null() {
            continue;
        }
        match (key, &mut draft.interface.kind) {
            ("match" | "set-name", Kind::Physical) => {}
            ("interfaces", Kind::Bond(_)) => draft.bond().members = names(&value, notes),
            ("interfaces", Kind::Bridge(_)) => draft.bridge().ports = names(&value, notes),
            ("parameters", Kind::Bond(bond)) => {
                for (key, value) in value.entries(notes) {
                    parameters::bond(bond, key, &value, notes);
                }
            }
            ("parameters", Kind::Bridge(bridge)) => {
                for (key, value) in value.entries(notes) {
                    parameters::bridge(bridge, key, &value, notes);
                }
            }
            ("id", Kind::Vlan(vlan)) => {
                tag = value.number(notes, 0, 4094).and_then(|tag| u16::try_from(tag).ok());
                vlan.tag = tag.unwrap_or(0);
            }
            ("link", Kind::Vlan(vlan)) => value.text(notes).unwrap_or("").clone_into(&mut vlan.link),
            (_, _) => device(key, &value, &mut draft, notes),
        }
    }
    // Overrides alone switch nothing on.
    let is_on = |key| field.get(key).and_then(|value| value.flag(&mut Notes::default())) == Some(true);
    draft.interface.dhcp4 = draft.interface.dhcp4.filter(|_| is_on("dhcp4"));
    draft.interface.dhcp6 = draft.interface.dhcp6.filter(|_| is_on("dhcp6"));
    match &mut draft.interface.kind {
        Kind::Bond(bond) => parameters::settle(bond, field, notes),
        Kind::Vlan(vlan) if tag.is_none() || vlan.link.is_empty() => {
            field.flaw(notes, "a VLAN needs an id from 0 to 4094 and a link");
            complete = false;
        }
        _ => {}
    }
    if !complete {
        return notes.flaw(field.at, &field.path, "this interface is left out");
    }
    if id == "lo" && draft.interface.addresses.is_empty() && !draft.interface.is_virtual() {
        return drafts.dns.merge(draft.interface.dns);
    }
    drafts.list.push(draft);
}

fn names(field: &Field<'_>, notes: &mut Notes) -> Vec<String> {
    field.items().iter().filter_map(|item| item.text(notes).map(str::to_owned)).collect()
}

/// `match` and `set-name`; without `match` the key is the kernel's name. `false`: nothing says which interface it is.
fn select(id: &str, field: &Field<'_>, interface: &mut Interface, notes: &mut Notes) -> bool {
    interface.rename = field.get("set-name").and_then(|value| value.text(notes)).map(str::to_owned);
    let Some(matching) = field.get("match") else {
        interface.select.name = Some(id.to_owned());
        if super::is_pattern(id) {
            field.flaw(notes, "a pattern of names belongs into match: {name: ...}");
            return false;
        }
        return true;
    };
    let mut select = Select::default();
    let mut complete = true;
    for (key, value) in matching.entries(notes) {
        if value.node.is_null() {
            continue;
        }
        match key {
            "macaddress" => {
                select.mac = value.mac(notes);
                complete &= select.mac.is_some();
            }
            "name" => select.name = value.text(notes).map(str::to_owned),
            "driver" => select.drivers = names(&value, notes),
            "path" => {
                value.flaw(notes, "interfaces are told apart by macaddress, name or driver");
                complete = false;
            }
            _ => {
                value.unknown(notes, key, &["macaddress", "name", "driver"]);
                complete = false;
            }
        }
    }
    if select == Select::default() && complete {
        // As netplan has it, nothing to match is everything.
        select.name = Some("*".into());
    }
    interface.select = select;
    complete
}
