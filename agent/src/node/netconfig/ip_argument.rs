//! `ip=` of the kernel's command line: the kernel's own forms (`nfsroot.rst`) and dracut's (`dracut.cmdline(7)`).

use std::net::IpAddr;

use super::{
    Cidr, DhcpOptions, Interface, Mac, Route, Select,
    draft::{Draft, Drafts},
    notes::Notes,
};
use crate::node::userdata::Position;

/// The interface that is meant when none is named and an address is: nothing renames interfaces before the node does.
const FIRST: &str = "eth0";
const KEY: &str = "ip";

/// Whether a value says that the kernel shall do nothing, which leaves the word to the next source.
pub(super) fn is_off(value: &str) -> bool {
    matches!(value, "" | "off" | "none")
}

/// Reads the value of one `ip=`.
pub(super) fn read(value: &str, drafts: &mut Drafts, notes: &mut Notes) {
    let fields = fields(value);
    let text = |n: usize| fields.get(n).map_or("", |(_, text)| *text);
    let at = |n: usize| Position { line: 1, column: KEY.len() + 2 + fields.get(n).map_or(0, |(at, _)| *at) };
    notes.interface = None;
    match fields.len() {
        // ip=dhcp
        1 if text(0).parse::<IpAddr>().is_err() => {
            let interface = Interface { id: "*".into(), select: by_name("*"), ..Interface::default() };
            let draft = Draft { interface, at: at(0), path: KEY.into() };
            begin(draft, at(0), text(0), drafts, notes);
        }
        // ip=eth0:dhcp:MTU:MAC
        2.. if !text(0).is_empty() && text(0).parse::<IpAddr>().is_err() => {
            notes.interface = Some(text(0).to_owned());
            let interface = Interface { id: text(0).into(), select: by_name(text(0)), ..Interface::default() };
            let mut draft = Draft { interface, at: at(0), path: KEY.into() };
            hardware(&fields, 2, &mut draft, notes);
            begin(draft, at(1), text(1), drafts, notes);
        }
        _ => full(&fields, drafts, notes),
    }
    notes.interface = None;
}

/// `<client>:<server>:<gateway>:<netmask>:<hostname>:<device>:<autoconf>` and then `:<dns0>:<dns1>:<ntp0>` or
/// `:<mtu>:<mac>`.
fn full(fields: &[(usize, &str)], drafts: &mut Drafts, notes: &mut Notes) {
    let text = |n: usize| fields.get(n).map_or("", |(_, text)| *text);
    let at = |n: usize| Position { line: 1, column: KEY.len() + 2 + fields.get(n).map_or(0, |(at, _)| *at) };
    let (client, device, method) = (text(0), text(5), text(6));
    let mut name = device;
    if name.is_empty() {
        name = if client.is_empty() { "*" } else { FIRST };
        if !client.is_empty() {
            notes.ignored(at(5), KEY, format!("no device is named: {FIRST} is taken"));
        }
    }
    notes.interface = Some(name.to_owned());
    let interface = Interface { id: name.into(), select: by_name(name), ..Interface::default() };
    let mut draft = Draft { interface, at: at(0), path: KEY.into() };
    if !text(4).is_empty() {
        notes.ignored(at(4), KEY, "the machine's name comes from its metadata");
    }
    if !client.is_empty() {
        match cidr(client, text(3)) {
            Ok(cidr) => draft.add_address(cidr, at(0), KEY, notes),
            Err(why) => notes.flaw(at(0), KEY, why),
        }
    }
    match (text(2), text(2).parse::<IpAddr>()) {
        ("", _) => {}
        (_, Ok(via)) if via.is_unspecified() => {}
        (_, Ok(via)) => draft.add_route(Route::default_via(via)),
        (gateway, Err(_)) => notes.flaw(at(2), KEY, format!("{gateway:?} is not the address of a gateway")),
    }
    match text(7).parse::<IpAddr>() {
        Ok(_) => {
            for n in 7..9 {
                match (text(n), text(n).parse::<IpAddr>()) {
                    ("", _) => {}
                    (_, Ok(server)) if server.is_unspecified() => {}
                    (_, Ok(server)) => draft.interface.dns.servers.push(server),
                    (server, Err(_)) => {
                        notes.flaw(at(n), KEY, format!("{server:?} is not the address of a name server"));
                    }
                }
            }
            if !text(9).is_empty() {
                notes.ignored(at(9), KEY, "time servers come from the user-data or from DHCP");
            }
        }
        Err(_) if text(7).is_empty() && !text(8).is_empty() && text(8).parse::<IpAddr>().is_ok() => {
            draft.interface.dns.servers.extend(text(8).parse::<IpAddr>());
        }
        Err(_) => hardware(fields, 7, &mut draft, notes),
    }
    let method = match method {
        "" if client.is_empty() => "dhcp",
        "" | "static" => "none",
        other => other,
    };
    begin(draft, at(6), method, drafts, notes);
}

/// MTU and hardware address, from a field on; the latter holds colons itself.
fn hardware(fields: &[(usize, &str)], n: usize, draft: &mut Draft, notes: &mut Notes) {
    let at = |n: usize| Position { line: 1, column: KEY.len() + 2 + fields.get(n).map_or(0, |(at, _)| *at) };
    let mtu = fields.get(n).map_or("", |(_, text)| *text);
    if !mtu.is_empty() {
        draft.interface.mtu = mtu.parse().ok().filter(|mtu| (68..=65_535).contains(mtu));
        if draft.interface.mtu.is_none() {
            notes.flaw(at(n), KEY, format!("{:?} is not an MTU from 68 to 65535", super::address::short(mtu)));
        }
    }
    let mac: Vec<&str> = fields.iter().skip(n + 1).map(|(_, text)| *text).collect();
    let mac = mac.join(":");
    if !mac.is_empty() {
        match mac.parse::<Mac>() {
            Ok(mac) => draft.interface.mac = Some(mac),
            Err(error) => notes.flaw(at(n + 1), KEY, error.to_string()),
        }
    }
}

/// Adds what `autoconf` asks for, and puts the interface to the others.
fn begin(mut draft: Draft, at: Position, method: &str, drafts: &mut Drafts, notes: &mut Notes) {
    let interface = &mut draft.interface;
    match method {
        "dhcp" | "on" | "any" | "both" | "single-dhcp" => interface.dhcp4 = Some(DhcpOptions::default()),
        "dhcp6" => interface.dhcp6 = Some(DhcpOptions::default()),
        "auto6" => interface.accept_ra = Some(true),
        "either6" => {
            interface.accept_ra = Some(true);
            interface.dhcp6 = Some(DhcpOptions::default());
        }
        "none" | "off" | "static" | "link6" => {}
        _ => {
            let known = "dhcp, on, any, none, off, dhcp6, auto6, either6, link6";
            return notes.flaw(
                at,
                KEY,
                format!("{:?} is none of {known}: it is left out", super::address::short(method)),
            );
        }
    }
    match drafts.list.iter_mut().find(|known| known.interface.id == draft.interface.id) {
        Some(known) => super::v1::absorb(known, draft.interface),
        None => drafts.list.push(draft),
    }
}

fn by_name(name: &str) -> Select {
    Select { name: Some(name.to_owned()), ..Select::default() }
}

fn cidr(client: &str, mask: &str) -> Result<Cidr, String> {
    let address: IpAddr =
        client.parse().map_err(|_| format!("{:?} is not an IP address", super::address::short(client)))?;
    match (mask, address) {
        // The kernel's guess, by the class of the address, is of another time; this is what networks have now.
        ("", IpAddr::V4(_)) => Ok(Cidr { address, prefix: 24 }),
        ("", IpAddr::V6(_)) => Ok(Cidr { address, prefix: 64 }),
        (mask, _) => Cidr::with_mask(address, mask).map_err(|error| error.to_string()),
    }
}

/// Splits at colons outside of brackets, which are taken off; each field with its place in the value.
fn fields(value: &str) -> Vec<(usize, &str)> {
    let mut fields = Vec::new();
    let mut start = 0;
    let mut inside = false;
    for (at, c) in value.char_indices() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            ':' if !inside => {
                fields.push((start, &value[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    fields.push((start, &value[start..]));
    let bare = |text: &'_ str| text.starts_with('[') && text.ends_with(']') && text.len() > 1;
    for (_, text) in &mut fields {
        if bare(text) {
            *text = &text[1..text.len() - 1];
        }
    }
    fields
}
