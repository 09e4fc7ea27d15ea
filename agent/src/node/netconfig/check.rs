//! The interfaces held against each other: names, references, loops. What does not hold is left out, with whatever
//! stands on it; the rest stays.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    Interface, Kind, Mac, NetworkPlan,
    address::short,
    draft::{Draft, Drafts, is_name},
    notes::Notes,
};
use crate::node::userdata::Position;

/// More interfaces than this are not read.
const MOST: usize = 512;

/// A plan of what holds, and what is said of it.
pub(super) struct Checked {
    /// What holds.
    pub(super) plan: NetworkPlan,
    /// Whether an interface without a flaw gets an address.
    pub(super) reachable: bool,
    /// Places and paths of the interfaces that are left.
    pub(super) applied: Vec<(Position, String)>,
}

/// Checks all that was read.
pub(super) fn check(mut drafts: Drafts, notes: &mut Notes) -> Checked {
    notes.interface = None;
    drafts.hand_out(notes);
    let mut list = drafts.list;
    if let Some(draft) = list.get(MOST) {
        notes.flaw(
            draft.at,
            &draft.path,
            format!("more than {MOST} interfaces: this one and those behind it are left out"),
        );
        list.truncate(MOST);
    }
    names(&mut list, notes);
    duplicates(&mut list, notes);
    members(&mut list, notes);
    references(&mut list, notes);
    loops(&mut list, notes);
    tags(&mut list, notes);
    idle_members(&mut list, notes);
    for draft in &mut list {
        links(draft, notes);
    }
    let sound =
        |interface: &Interface| interface.is_addressed() && interface.id != "lo" && notes.is_sound(&interface.id);
    Checked {
        reachable: list.iter().any(|draft| sound(&draft.interface)),
        applied: list.iter().map(|draft| (draft.at, draft.path.clone())).collect(),
        plan: NetworkPlan { interfaces: list.into_iter().map(|draft| draft.interface).collect(), dns: drafts.dns },
    }
}

/// Says that an interface is left out.
fn leave_out(draft: &Draft, notes: &mut Notes, why: impl std::fmt::Display) {
    notes.interface = Some(draft.interface.id.clone());
    notes.flaw(draft.at, &draft.path, format!("{why}: this interface is left out"));
    notes.interface = None;
}

/// Legal names, and a way to find the interface.
fn names(list: &mut Vec<Draft>, notes: &mut Notes) {
    list.retain_mut(|draft| {
        let interface = &mut draft.interface;
        if interface.rename == interface.select.name {
            interface.rename = None;
        }
        if let Some(name) = interface.name().filter(|name| !is_name(name)) {
            let why = format!(
                "{:?} is not a name of an interface, which has 1 to 15 letters, digits and the like",
                short(name)
            );
            leave_out(draft, notes, why);
            return false;
        }
        let select = &interface.select;
        let found = select.mac.is_some() || select.name.is_some() || !select.drivers.is_empty();
        if !interface.is_virtual() && !found {
            leave_out(draft, notes, "neither a hardware address nor a name says which interface it is");
            return false;
        }
        true
    });
}

/// One interface of each id and name, and of each hardware address.
fn duplicates(list: &mut Vec<Draft>, notes: &mut Notes) {
    let mut ids = BTreeSet::new();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut macs: BTreeSet<Mac> = BTreeSet::new();
    let mut addresses: BTreeSet<IpAddr> = BTreeSet::new();
    list.retain_mut(|draft| {
        let interface = &draft.interface;
        if !ids.insert(interface.id.clone()) {
            leave_out(draft, notes, format!("{:?} stands twice", short(&interface.id)));
            return false;
        }
        if let Some(name) = interface.name().filter(|name| taken.contains(*name)) {
            leave_out(draft, notes, format!("another interface is called {name}"));
            return false;
        }
        let select = &interface.select;
        let mac = select.mac.filter(|_| select.name.is_none() && select.drivers.is_empty());
        if let Some(mac) = mac.filter(|mac| !macs.insert(*mac)) {
            leave_out(draft, notes, format!("another interface has the hardware address {mac}"));
            return false;
        }
        taken.extend(interface.name().map(str::to_owned));
        let mut twice = None;
        draft.interface.addresses.retain(|cidr| {
            let local = matches!(cidr.address, IpAddr::V6(address) if address.is_unicast_link_local());
            let new = local || addresses.insert(cidr.address);
            twice = twice.or((!new).then_some(cidr.address));
            new
        });
        if let Some(address) = twice {
            notes.interface = Some(draft.interface.id.clone());
            notes.flaw(
                draft.at,
                &draft.path,
                format!("the address {address} is another interface's, too: it is left out here"),
            );
            notes.interface = None;
        }
        true
    });
}

/// Each member belongs to one bond or bridge, and to itself never.
fn members(list: &mut [Draft], notes: &mut Notes) {
    let mut masters: BTreeMap<String, String> = BTreeMap::new();
    for draft in list {
        let Draft { interface, at, path } = draft;
        let id = interface.id.clone();
        let (Kind::Bond(super::Bond { members: list, .. }) | Kind::Bridge(super::Bridge { ports: list, .. })) =
            &mut interface.kind
        else {
            continue;
        };
        list.retain(|member| match masters.get(member) {
            None => {
                masters.insert(member.clone(), id.clone());
                true
            }
            Some(master) if *master == id => false,
            Some(master) => {
                notes.interface = Some(id.clone());
                notes.flaw(*at, path, format!("{} is a member of {master} already", short(member)));
                false
            }
        });
        notes.interface = None;
    }
}

/// Interfaces below that exist; what loses all of them goes, too.
fn references(list: &mut Vec<Draft>, notes: &mut Notes) {
    loop {
        let kinds: BTreeMap<String, bool> =
            list.iter().map(|d| (d.interface.id.clone(), matches!(d.interface.kind, Kind::Bond(_)))).collect();
        let before = list.len();
        list.retain_mut(|draft| {
            let Draft { interface, at, path } = draft;
            let id = interface.id.clone();
            notes.interface = Some(id.clone());
            let mut keep = |in_bond: bool, member: &str| match kinds.get(member) {
                None => {
                    notes.flaw(*at, path, format!("there is no interface {:?}: it goes without it", short(member)));
                    false
                }
                Some(true) if in_bond => {
                    notes.flaw(*at, path, format!("{:?} is a bond itself: it goes without it", short(member)));
                    false
                }
                Some(_) => true,
            };
            let why = match &mut interface.kind {
                Kind::Physical => None,
                Kind::Bond(bond) => {
                    bond.members.retain(|member| keep(true, member));
                    if let Some(primary) = bond.primary.take_if(|primary| !bond.members.contains(primary)) {
                        notes.flaw(*at, path, format!("{:?} is preferred, but no member", short(&primary)));
                    }
                    bond.members.is_empty().then(|| "a bond needs members".to_owned())
                }
                Kind::Bridge(bridge) => {
                    bridge.ports.retain(|port| keep(false, port));
                    bridge.path_cost.retain(|(port, _)| bridge.ports.contains(port));
                    bridge.port_priority.retain(|(port, _)| bridge.ports.contains(port));
                    None
                }
                Kind::Vlan(vlan) => {
                    (!kinds.contains_key(&vlan.link)).then(|| format!("there is no interface {:?}", short(&vlan.link)))
                }
            };
            notes.interface = None;
            if let Some(why) = &why {
                leave_out(draft, notes, why);
            }
            why.is_none()
        });
        if list.len() == before {
            return;
        }
    }
}

/// What stands on itself, or on what does.
fn loops(list: &mut Vec<Draft>, notes: &mut Notes) {
    let mut grounded: BTreeSet<String> = BTreeSet::new();
    loop {
        let before = grounded.len();
        for Draft { interface, .. } in list.iter() {
            if interface.below().into_iter().all(|below| grounded.contains(below)) {
                grounded.insert(interface.id.clone());
            }
        }
        if grounded.len() == before {
            break;
        }
    }
    list.retain(|draft| {
        let keep = grounded.contains(&draft.interface.id);
        if !keep {
            let below = draft.interface.below().into_iter().find(|below| !grounded.contains(*below)).unwrap_or("");
            leave_out(draft, notes, format!("it stands on {}, which stands on it, or on such a loop", short(below)));
        }
        keep
    });
}

/// One VLAN of each tag on a link.
fn tags(list: &mut Vec<Draft>, notes: &mut Notes) {
    let mut taken = BTreeSet::new();
    let mut doomed = Vec::new();
    for (n, draft) in list.iter().enumerate() {
        if let Kind::Vlan(vlan) = &draft.interface.kind
            && !taken.insert((vlan.link.clone(), vlan.tag))
        {
            leave_out(draft, notes, format!("another interface is tag {} on {}", vlan.tag, short(&vlan.link)));
            doomed.push(n);
        }
    }
    if !doomed.is_empty() {
        let mut n = 0;
        list.retain(|_| {
            n += 1;
            doomed.binary_search(&(n - 1)).is_err()
        });
        references(list, notes);
    }
}

/// A member has no addresses of its own: packets that come for it go to what it is a member of.
fn idle_members(list: &mut [Draft], notes: &mut Notes) {
    let master = |d: &Draft| matches!(d.interface.kind, Kind::Bond(_) | Kind::Bridge(_)).then(|| d.interface.clone());
    let masters: Vec<Interface> = list.iter().filter_map(master).collect();
    let owned: BTreeMap<&str, &str> = masters
        .iter()
        .flat_map(|master| master.below().into_iter().map(|member| (member, master.id.as_str())))
        .collect();
    for Draft { interface, at, path } in list {
        let Some(master) = owned.get(interface.id.as_str()) else { continue };
        if interface.is_addressed() {
            notes.ignored(*at, path, format!("it is a member of {master}, so it gets no addresses of its own"));
        }
        interface.dhcp4 = None;
        interface.dhcp6 = None;
        interface.accept_ra = None;
        interface.addresses.clear();
        interface.routes.clear();
    }
}

/// Gateways that are on the link though no address says so.
fn links(draft: &mut Draft, notes: &mut Notes) {
    for n in 0..draft.interface.routes.len() {
        let route = &draft.interface.routes[n];
        if !route.on_link && draft.interface.must_be_on_link(route) {
            let via = route.via.map_or_else(String::new, |via| via.to_string());
            let why = format!("the gateway {via} is in no network of this interface: it is looked for on the link");
            notes.ignored(draft.at, &draft.path, why);
            draft.interface.routes[n].on_link = true;
        }
    }
}
