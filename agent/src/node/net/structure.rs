//! The links of a plan: which they are, their names, bonds, bridges and VLANs, hardware addresses and sizes. Addresses
//! come later ([`super::nic`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use nix::errno::Errno;

use super::{
    netlink::{Link, LinkKind, Netlink, NetlinkError},
    predictable::Place,
    rename::renames,
    select::{Candidate, exact_name, select},
};
use crate::node::netconfig::{Bond, Bridge, Interface, Kind, Mac};

/// How an interface was when it was first seen: plans mean that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) name: String,
    pub(super) mac: Mac,
}

/// What became of the links.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// The links as they are now.
    pub(super) links: Vec<Link>,
    /// Which interface of the plan each link is, by the link's number.
    pub(super) meaning: BTreeMap<u32, usize>,
    /// Parts of bonds and bridges: they get no addresses.
    pub(super) members: BTreeSet<u32>,
    /// Interfaces of the plan, by their place in it, that are not there.
    pub(super) absent: Vec<usize>,
    /// What went wrong.
    pub(super) errors: Vec<String>,
    /// Kernel modules that would help.
    pub(super) modules: Vec<&'static str>,
}

/// Carries out the structure of a plan.
#[derive(Debug)]
pub(super) struct Shaper<'a> {
    pub(super) netlink: &'a mut Netlink,
    pub(super) plan: &'a [Interface],
    pub(super) origins: &'a BTreeMap<u32, Origin>,
    /// Where the file system begins.
    pub(super) root: &'a Path,
    /// Pairs of virtual Ethernet interfaces pass for hardware.
    pub(super) virtual_links: bool,
    pub(super) shape: Shape,
}

impl Shaper<'_> {
    /// Only looks which link is what.
    pub(super) fn look(mut self, links: Vec<Link>) -> Shape {
        self.shape.links = links;
        self.understand();
        self.shape
    }

    /// Makes what is missing, as far as it can be made.
    pub(super) fn carry_out(mut self, links: Vec<Link>) -> Shape {
        self.shape.links = links;
        self.understand();
        self.rename();
        self.make_virtual();
        self.understand();
        self.set_properties();
        self.join();
        self.refresh();
        self.understand();
        self.shape
    }

    fn refresh(&mut self) {
        match self.netlink.links() {
            Ok(links) => self.shape.links = links,
            Err(error) => self.shape.errors.push(error.to_string()),
        }
    }

    fn note(&mut self, result: Result<(), NetlinkError>) -> bool {
        let succeeded = result.is_ok();
        if let Err(error) = result {
            self.shape.errors.push(error.to_string());
        }
        succeeded
    }

    /// The link that an interface of the plan is, by its id.
    fn link_of(&self, id: &str) -> Option<Link> {
        let place = self.plan.iter().position(|interface| interface.id == id)?;
        let index = self.shape.meaning.iter().find(|(_, n)| **n == place).map(|(index, _)| *index)?;
        self.shape.links.iter().find(|link| link.index == index).cloned()
    }

    fn understand(&mut self) {
        let candidates: Vec<Candidate> =
            self.shape.links.iter().filter(|link| self.is_hardware(link)).map(|link| self.candidate(link)).collect();
        let selection = select(self.plan, &candidates);
        if self.shape.meaning.is_empty() {
            self.shape.errors.extend(selection.notes);
        }
        self.shape.meaning.clear();
        self.shape.absent.clear();
        for (place, interface) in self.plan.iter().enumerate() {
            let mut links = selection.chosen[place].clone();
            if let Some(kind) = virtual_kind(&interface.kind) {
                let named = |link: &&Link| link.name == virtual_name(interface) && link.kind == kind;
                links.extend(self.shape.links.iter().find(named).map(|link| link.index));
            }
            if links.is_empty() {
                self.shape.absent.push(place);
            }
            self.shape.meaning.extend(links.into_iter().map(|index| (index, place)));
        }
        let ids = |interface: &Interface| match &interface.kind {
            Kind::Bond(Bond { members, .. }) | Kind::Bridge(Bridge { ports: members, .. }) => members.clone(),
            _ => vec![],
        };
        let members: Vec<String> = self.plan.iter().flat_map(ids).collect();
        let is_member = |place: usize| members.contains(&self.plan[place].id);
        self.shape.members = self.shape.meaning.iter().filter(|(_, n)| is_member(**n)).map(|(i, _)| *i).collect();
    }

    fn is_hardware(&self, link: &Link) -> bool {
        link.kind == LinkKind::Physical || (self.virtual_links && link.kind == LinkKind::Veth)
    }

    fn candidate(&self, link: &Link) -> Candidate {
        let origin = self.origins.get(&link.index);
        let controller = link.controller.and_then(|index| self.shape.links.iter().find(|other| other.index == index));
        let driver = || {
            let path = self.root.join("sys/class/net").join(&link.name).join("device/driver");
            Some(fs::read_link(path).ok()?.file_name()?.to_str()?.to_owned())
        };
        Candidate {
            index: link.index,
            name: origin.map_or_else(|| link.name.clone(), |origin| origin.name.clone()),
            current: link.name.clone(),
            others: if self.plan.iter().any(|i| i.kind == Kind::Physical && i.select.mac.is_none()) {
                Place::read(self.root, &link.name).names()
            } else {
                Vec::new()
            },
            mac: link.permanent_mac.map(Mac).or(origin.map(|origin| origin.mac)).unwrap_or(Mac(link.mac)),
            driver: if self.plan.iter().any(|i| !i.select.drivers.is_empty()) { driver() } else { None },
            hidden: controller.is_some_and(|controller| controller.kind == LinkKind::Physical),
        }
    }

    /// While down: the kernel renames no interface that works. Who was up is brought up again.
    fn rename(&mut self) {
        let mut wanted = Vec::new();
        for (place, interface) in self.plan.iter().enumerate() {
            if interface.kind != Kind::Physical {
                continue;
            }
            // One that was found by another name is given that name: Nomad's configuration may use it as well.
            let Some(name) = interface.rename.as_deref().or(exact_name(interface)) else { continue };
            let links: Vec<u32> = self.shape.meaning.iter().filter(|(_, n)| **n == place).map(|(i, _)| *i).collect();
            match links.as_slice() {
                [] => {}
                [index] if wanted.iter().all(|(_, other)| other != name) => wanted.push((*index, name.to_owned())),
                [_] => self.shape.errors.push(format!("{}: another interface is to be called {name}", interface.id)),
                _ => {
                    let error = format!("{}: {} interfaces cannot all be called {name}", interface.id, links.len());
                    self.shape.errors.push(error);
                }
            }
        }
        let current: Vec<(u32, String)> = self.shape.links.iter().map(|link| (link.index, link.name.clone())).collect();
        let steps = renames(&current, &wanted);
        if steps.is_empty() {
            return;
        }
        let mut were_up = BTreeSet::new();
        for (index, name) in &steps {
            let Some(mut link) = self.shape.links.iter().find(|link| link.index == *index).cloned() else { continue };
            if link.up && were_up.insert(*index) {
                let down = self.netlink.set_up(&link, false);
                self.note(down);
            }
            let renamed = self.netlink.rename(&link, name);
            if self.note(renamed) {
                crate::info!("{} is called {name} now", link.name);
                link.name.clone_from(name);
                self.shape.links.iter_mut().filter(|other| other.index == *index).for_each(|l| *l = link.clone());
            }
        }
        for link in self.shape.links.clone().iter().filter(|link| were_up.contains(&link.index)) {
            let up = self.netlink.set_up(link, true);
            self.note(up);
        }
        self.refresh();
    }

    /// Each in its turn: a VLAN may be on a bond, and a port of a bridge.
    fn make_virtual(&mut self) {
        loop {
            self.understand();
            let mut made = false;
            for place in self.shape.absent.clone() {
                let interface = &self.plan[place];
                let name = virtual_name(interface);
                let result = match &interface.kind {
                    Kind::Physical => continue,
                    Kind::Bond(bond) => self.netlink.add_bond(name, bond),
                    Kind::Bridge(bridge) => self.netlink.add_bridge(name, bridge),
                    Kind::Vlan(vlan) => match self.link_of(&vlan.link) {
                        Some(below) => self.netlink.add_vlan(name, vlan.tag, &below),
                        None => continue,
                    },
                };
                if result.as_ref().is_err_and(|error| error.errno() == Some(Errno::EOPNOTSUPP)) {
                    self.shape.modules.push(module(&interface.kind));
                }
                made |= result.is_ok();
                // What failed will fail again in this pass; it is said once.
                if let Err(error) = result
                    && !self.shape.errors.contains(&error.to_string())
                {
                    self.shape.errors.push(error.to_string());
                }
            }
            if !made {
                return;
            }
            self.refresh();
        }
    }

    fn set_properties(&mut self) {
        let meaning: Vec<(u32, usize)> = self.shape.meaning.iter().map(|(index, place)| (*index, *place)).collect();
        for (index, place) in meaning {
            let interface = &self.plan[place];
            let Some(link) = self.shape.links.iter().find(|link| link.index == index).cloned() else { continue };
            // A bond gives its members its own address.
            if let Some(Mac(mac)) = interface.mac
                && mac != link.mac
                && link.controller.is_none()
            {
                let set = self.set_mac(&link, mac);
                self.note(set);
            }
            if let Some(mtu) = interface.mtu.filter(|mtu| *mtu != link.mtu) {
                let set = self.netlink.set_mtu(&link, mtu);
                self.note(set);
            }
            if let Some(accept) = interface.accept_ra {
                // 2 is yes, even for a machine that forwards: Nomad's bridge networks switch forwarding on.
                self.sysctl(&link, "accept_ra", if accept { "2" } else { "0" });
            }
        }
        self.refresh();
    }

    /// Many drivers change it while they work; the others want to be down for it.
    fn set_mac(&mut self, link: &Link, mac: [u8; 6]) -> Result<(), NetlinkError> {
        if self.netlink.set_mac(link, mac).is_ok() || !link.up {
            return self.netlink.set_mac(link, mac);
        }
        self.netlink.set_up(link, false)?;
        let set = self.netlink.set_mac(link, mac);
        self.netlink.set_up(link, true)?;
        set
    }

    fn sysctl(&mut self, link: &Link, key: &str, value: &str) {
        let path = self.root.join("proc/sys/net/ipv6/conf").join(&link.name).join(key);
        if let Err(error) = fs::write(&path, value) {
            self.shape.errors.push(format!("failed to set {key} of {}: {error}", link.name));
        }
    }

    /// Members into their bonds, ports into their bridges.
    fn join(&mut self) {
        for interface in self.plan {
            let ids = match &interface.kind {
                Kind::Bond(bond) => &bond.members,
                Kind::Bridge(bridge) => &bridge.ports,
                _ => continue,
            };
            let Some(controller) = self.link_of(&interface.id) else { continue };
            for id in ids {
                let Some(link) = self.link_of(id) else { continue };
                if link.controller != Some(controller.index) {
                    let joined = self.put_into(&link, &controller);
                    if !self.note(joined) {
                        continue;
                    }
                }
                if let Kind::Bridge(bridge) = &interface.kind {
                    let cost = bridge.path_cost.iter().find(|(port, _)| port == id).map(|(_, cost)| *cost);
                    let priority = bridge.port_priority.iter().find(|(port, _)| port == id).map(|(_, p)| *p);
                    if cost.is_some() || priority.is_some() {
                        let set = self.netlink.set_bridge_port(&link, cost, priority);
                        self.note(set);
                    }
                }
            }
            if let Kind::Bond(Bond { primary: Some(primary), .. }) = &interface.kind
                && let Some(member) = self.link_of(primary)
            {
                let set = self.netlink.set_bond_primary(&controller, &member);
                self.note(set);
            }
        }
    }

    /// A bond takes only what is down, and brings it up.
    fn put_into(&mut self, link: &Link, controller: &Link) -> Result<(), NetlinkError> {
        if link.up && controller.kind == LinkKind::Bond {
            self.netlink.set_up(link, false)?;
        }
        self.netlink.set_controller(link, controller)?;
        self.netlink.set_up(link, true)
    }
}

fn virtual_name(interface: &Interface) -> &str {
    interface.rename.as_deref().unwrap_or(&interface.id)
}

fn virtual_kind(kind: &Kind) -> Option<LinkKind> {
    match kind {
        Kind::Physical => None,
        Kind::Bond(_) => Some(LinkKind::Bond),
        Kind::Bridge(_) => Some(LinkKind::Bridge),
        Kind::Vlan(_) => Some(LinkKind::Vlan),
    }
}

fn module(kind: &Kind) -> &'static str {
    match kind {
        Kind::Bond(_) => "bonding",
        Kind::Bridge(_) => "bridge",
        Kind::Vlan(_) | Kind::Physical => "8021q",
    }
}
