//! The text of `/etc/network/interfaces` (`interfaces(5)`, `net/eni.py`): old NoCloud seeds and Proxmox's config drive
//! still hold it. Several stanzas of one interface are one interface.

use std::collections::BTreeSet;

use super::{
    Interface, Kind, Select, Vlan,
    draft::{Draft, Drafts},
    field::Field,
    notes::Notes,
    parameters, subnet, v1,
};
use crate::node::userdata::{
    Position,
    yaml::{Kind as ScalarKind, Node, Scalar, Value},
};

/// Words that begin a stanza.
const STANZAS: [&str; 9] =
    ["auto", "iface", "mapping", "source", "source-directory", "no-auto-down", "no-scripts", "rename", "template"];
const SCRIPT: &str = "nothing runs scripts here: say it with address, gateway or routes of version 2";

/// Whether a text is of this format: its first word begins a stanza.
pub(super) fn is_eni(text: &str) -> bool {
    lines(text).first().and_then(|line| line.words.first()).is_some_and(|(_, word)| begins(word))
}

fn begins(word: &str) -> bool {
    STANZAS.contains(&word) || word.starts_with("allow-")
}

/// A line, with backslashes at its end resolved.
struct Line<'a> {
    at: Position,
    words: Vec<(Position, &'a str)>,
}

/// Lines that are neither empty nor comments.
fn lines(text: &str) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut goes_on = false;
    for (n, raw) in text.lines().enumerate() {
        let comment = !goes_on && raw.trim_start().starts_with('#');
        let body = raw.strip_suffix('\\');
        let mut words = Vec::new();
        if !comment {
            words = split(body.unwrap_or(raw), n + 1);
        }
        match lines.last_mut().filter(|_| goes_on) {
            Some(line) => line.words.append(&mut words),
            None => {
                if let Some((at, _)) = words.first() {
                    lines.push(Line { at: *at, words });
                }
            }
        }
        goes_on = !comment && body.is_some() && !lines.is_empty();
    }
    lines
}

fn split(text: &str, line: usize) -> Vec<(Position, &str)> {
    let mut words = Vec::new();
    let mut start = None;
    let mut column = 0;
    for (offset, c) in text.char_indices() {
        column += 1;
        match (c.is_whitespace(), start) {
            (false, None) => start = Some((offset, column)),
            (true, Some((from, at))) => {
                words.push((Position { line, column: at }, &text[from..offset]));
                start = None;
            }
            _ => {}
        }
    }
    if let Some((from, at)) = start {
        words.push((Position { line, column: at }, &text[from..]));
    }
    words
}

/// Reads the text.
pub(super) fn read(text: &str, drafts: &mut Drafts, notes: &mut Notes) {
    let lines = lines(text);
    let mut auto = BTreeSet::new();
    let mut hotplug = BTreeSet::new();
    for line in &lines {
        let names = line.words.iter().skip(1).map(|(_, name)| base(name).to_owned());
        match line.words.first().map(|(_, word)| *word) {
            Some("auto" | "allow-auto") => auto.extend(names),
            Some("allow-hotplug") => hotplug.extend(names),
            _ => {}
        }
    }
    let mut rest = lines.as_slice();
    while let Some((line, behind)) = rest.split_first() {
        rest = behind;
        match line.words.first().map_or("", |(_, word)| word) {
            "iface" => {
                let end = rest.iter().position(|l| l.words.first().is_some_and(|(_, word)| begins(word)));
                let (options, others) = rest.split_at(end.unwrap_or(rest.len()));
                rest = others;
                stanza(line, options, drafts, notes);
                notes.interface = None;
            }
            "auto" | "no-auto-down" | "no-scripts" => {}
            word if word.starts_with("allow-") => {}
            "source" | "source-directory" => notes.ignored(line.at, "source", "there are no other files"),
            word => notes.flaw(line.at, word, "is not understood here: it is left out"),
        }
    }
    for Draft { interface, .. } in &mut drafts.list {
        interface.optional |= hotplug.contains(&interface.id) && !auto.contains(&interface.id);
        // Nothing but another interface, which needs it, switches it on.
        let named = auto.contains(&interface.id) || hotplug.contains(&interface.id);
        interface.down |= !named && interface.is_addressed();
    }
}

/// `eth0:1` is another address of `eth0`.
fn base(name: &str) -> &str {
    name.split_once(':').map_or(name, |(base, _)| base)
}

/// One `iface NAME FAMILY METHOD` with its options.
fn stanza(line: &Line<'_>, options: &[Line<'_>], drafts: &mut Drafts, notes: &mut Notes) {
    let words: Vec<&str> = line.words.iter().skip(1).map(|(_, word)| *word).collect();
    let (name, family, method) = match words.as_slice() {
        [name, family @ ("inet" | "inet6"), method, ..] => (base(name), *family, *method),
        [name, ..] => {
            notes.interface = Some(base(name).to_owned());
            return notes.flaw(line.at, "iface", "must be iface NAME inet|inet6 METHOD: this stanza is left out");
        }
        [] => return notes.flaw(line.at, "iface", "must be iface NAME inet|inet6 METHOD: this stanza is left out"),
    };
    notes.interface = Some(name.to_owned());
    let path = format!("iface {} {family}", super::address::short(name));
    let select = Select { name: Some(name.to_owned()), ..Select::default() };
    let interface = Interface { id: name.to_owned(), select, ..Interface::default() };
    let mut draft = Draft { interface, at: line.at, path: path.clone() };
    let stateless = options.iter().any(|line| line.words.iter().map(|(_, word)| *word).eq(["dhcp", "1"]));
    let kind = match (family, method) {
        ("inet", "dhcp") => "dhcp4",
        ("inet6", "dhcp") => "dhcp6",
        ("inet6", "auto") if stateless => "ipv6_dhcpv6-stateless",
        ("inet6", "auto") => "ipv6_slaac",
        (_, "static") => "static",
        (_, "manual" | "loopback") => "manual",
        _ => {
            return notes.flaw(
                line.at,
                &path,
                format!("the method {method:?} is not understood here: this stanza is left out"),
            );
        }
    };
    let mut keys = vec![(scalar(line.at, "type"), scalar(line.at, kind))];
    for option in options {
        let Some(((at, key), values)) = option.words.split_first() else { continue };
        let text = values.iter().map(|(_, word)| *word).collect::<Vec<_>>().join(" ");
        let place = values.first().map_or(*at, |(at, _)| *at);
        let node = scalar(place, &text);
        let field = Field { node: &node, at: *at, path: format!("{path}.{}", super::address::short(key)) };
        let name = key.replace('_', "-");
        if is_of_subnet(&name) {
            keys.push((scalar(*at, key), node));
        } else {
            self::option(&name, &field, &mut draft, notes);
        }
    }
    let node = Node { at: line.at, value: Value::Mapping(keys) };
    subnet::subnet(&Field { node: &node, at: line.at, path }, &mut draft, notes);
    tag_by_name(&mut draft);
    below(&draft, drafts);
    merge(draft, drafts);
}

fn scalar(at: Position, text: &str) -> Node {
    let kind = if text.is_empty() { ScalarKind::Null } else { ScalarKind::Str };
    Node { at, value: Value::Scalar(Scalar { text: text.to_owned(), kind }) }
}

fn is_of_subnet(name: &str) -> bool {
    const NAMES: [&str; 10] = [
        "address",
        "netmask",
        "gateway",
        "metric",
        "broadcast",
        "dns-nameservers",
        "dns-search",
        "dns-domain",
        "network",
        "scope",
    ];
    NAMES.contains(&name) || name == "pointopoint"
}

/// An option that concerns the link.
fn option(name: &str, field: &Field<'_>, draft: &mut Draft, notes: &mut Notes) {
    match name {
        "mtu" => draft.interface.mtu = field.mtu(notes),
        // cloud-init reads it as the address by which the hardware is found.
        "hwaddress" => {
            let text = field.node.text().unwrap_or("");
            match text.strip_prefix("ether ").unwrap_or(text).parse() {
                Ok(mac) => draft.interface.mac = Some(mac),
                Err(error) => field.flaw(notes, super::MacError::to_string(&error)),
            }
        }
        "accept-ra" => draft.interface.accept_ra = field.number(notes, 0, 2).map(|n| n > 0),
        "dhcp" | "autoconf" | "privext" | "dad-attempts" | "preferred-lifetime" | "hostname" | "client"
        | "leasetime" | "request-prefix" | "link-speed" | "link-duplex" => {
            field.ignored(notes, "it has no effect here");
        }
        "up" | "post-up" | "pre-up" => notes.refused(field.at, &field.path, SCRIPT),
        "down" | "pre-down" | "post-down" => {
            field.ignored(notes, "interfaces stay up until the machine is switched off");
        }
        "vlan-raw-device" => {
            let link = field.text(notes).unwrap_or("").to_owned();
            vlan(draft).link = link;
        }
        "vlan-id" => {
            let tag = field.number(notes, 0, 4094).and_then(|tag| u16::try_from(tag).ok());
            vlan(draft).tag = tag.unwrap_or(0);
        }
        "bond-slaves" => {
            let members = field.words(notes).into_iter().map(|(_, word)| word).filter(|word| *word != "none");
            draft.bond().members.extend(members.map(str::to_owned));
        }
        // A member says whose it is; the bond may say it, too.
        "bond-master" => field.ignored(notes, "the bond's bond-slaves name its members"),
        _ => match (name.strip_prefix("bond-"), name.strip_prefix("bridge-")) {
            (Some(name), _) => {
                parameters::bond(draft.bond(), name, field, notes);
            }
            (_, Some(name)) => parameters::bridge(draft.bridge(), name, field, notes),
            _ => field.unknown(notes, name, &["address", "netmask", "gateway", "dns-nameservers", "mtu", "hwaddress"]),
        },
    }
}

fn vlan(draft: &mut Draft) -> &mut Vlan {
    if !matches!(draft.interface.kind, Kind::Vlan(_)) {
        draft.interface.kind = Kind::Vlan(Vlan::default());
        draft.interface.select = Select::default();
    }
    match &mut draft.interface.kind {
        Kind::Vlan(vlan) => vlan,
        _ => unreachable!("it was made a VLAN above"),
    }
}

/// `eth0.100` is tag 100 on `eth0`; `vlan100` with `vlan-raw-device` is tag 100, too.
fn tag_by_name(draft: &mut Draft) {
    let name = draft.interface.id.clone();
    let digits = |text: &str| text.parse::<u16>().ok().filter(|tag| *tag <= 4094);
    let dotted = name.rsplit_once('.').and_then(|(link, tag)| Some((link, digits(tag)?)));
    match (&draft.interface.kind, dotted) {
        (Kind::Physical, Some((link, tag))) => *vlan(draft) = Vlan { tag, link: link.to_owned() },
        (Kind::Vlan(known), dotted) if known.tag == 0 => {
            let tag = dotted.map(|(_, tag)| tag).or_else(|| digits(name.strip_prefix("vlan")?));
            vlan(draft).tag = tag.unwrap_or(0);
        }
        _ => {}
    }
}

/// Interfaces below that no stanza has are hardware.
fn below(draft: &Draft, drafts: &mut Drafts) {
    for name in draft.interface.below() {
        drafts.at(name, draft.at, &draft.path);
    }
}

/// Puts a stanza to what is known of its interface.
fn merge(mut draft: Draft, drafts: &mut Drafts) {
    let physical = !draft.interface.is_virtual();
    if physical && draft.interface.id == "lo" && draft.interface.addresses.is_empty() {
        return drafts.dns.merge(draft.interface.dns);
    }
    if physical && let Some(mac) = draft.interface.mac.take() {
        draft.interface.select = Select { mac: Some(mac), ..Select::default() };
        draft.interface.rename = Some(draft.interface.id.clone());
    }
    let Some(known) = drafts.list.iter_mut().find(|known| known.interface.id == draft.interface.id) else {
        return drafts.list.push(draft);
    };
    let interface = &mut known.interface;
    if interface.kind == Kind::Physical && (draft.interface.is_virtual() || draft.interface.rename.is_some()) {
        interface.kind = draft.interface.kind.clone();
        interface.select = draft.interface.select.clone();
        interface.rename = draft.interface.rename.clone();
    }
    interface.mac = interface.mac.or(draft.interface.mac);
    interface.mtu = interface.mtu.or(draft.interface.mtu);
    v1::absorb(known, draft.interface);
}
