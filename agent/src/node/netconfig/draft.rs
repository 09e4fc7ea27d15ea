//! Interfaces as they were read, with their places, before they are held against each other.

use std::net::IpAddr;

use super::{Bond, Bridge, Cidr, Dns, Interface, Kind, Route, Select, address::short, glob::is_pattern, notes::Notes};
use crate::node::userdata::Position;

/// An interface.
pub(super) struct Draft {
    /// What was read.
    pub(super) interface: Interface,
    /// Where it stands.
    pub(super) at: Position,
    /// Its path of keys.
    pub(super) path: String,
}

/// All that was read.
#[derive(Default)]
pub(super) struct Drafts {
    /// The interfaces.
    pub(super) list: Vec<Draft>,
    /// What belongs to none of them.
    pub(super) dns: Dns,
    /// Routes that name no interface, with their places.
    pub(super) routes: Vec<(Position, String, Route)>,
    /// What belongs to an interface that may come later: its name, place and path.
    pub(super) dns_of: Vec<(String, Position, String, Dns)>,
}

impl Drafts {
    /// The draft with an id; made when there is none.
    pub(super) fn at(&mut self, id: &str, at: Position, path: &str) -> &mut Draft {
        let known = self.list.iter().position(|draft| draft.interface.id == id);
        let n = known.unwrap_or_else(|| {
            let select = Select { name: Some(id.to_owned()), ..Select::default() };
            let interface = Interface { id: id.to_owned(), select, ..Interface::default() };
            self.list.push(Draft { interface, at, path: path.to_owned() });
            self.list.len() - 1
        });
        &mut self.list[n]
    }

    /// Gives routes and name servers that stand apart to the interfaces that they belong to.
    pub(super) fn hand_out(&mut self, notes: &mut Notes) {
        for (name, at, path, dns) in std::mem::take(&mut self.dns_of) {
            match self.list.iter_mut().find(|draft| draft.interface.id == name) {
                Some(draft) => draft.interface.dns.merge(dns),
                None => notes.flaw(at, &path, format!("there is no interface {:?}", short(&name))),
            }
        }
        for (at, path, route) in std::mem::take(&mut self.routes) {
            match self.owner(&route) {
                Some(n) => {
                    let routes = &mut self.list[n].interface.routes;
                    if !routes.contains(&route) {
                        routes.push(route);
                    }
                }
                None => notes.flaw(at, &path, "no interface reaches its gateway: this route is left out"),
            }
        }
    }

    /// The interface that reaches a route's gateway: by a static address, else the only one with DHCP.
    fn owner(&self, route: &Route) -> Option<usize> {
        let via = route.via?;
        let covers = |draft: &Draft| draft.interface.addresses.iter().any(|cidr| cidr.contains(via));
        if let Some(n) = self.list.iter().position(covers) {
            return Some(n);
        }
        let dhcp = |interface: &Interface| {
            if via.is_ipv4() {
                interface.dhcp4.is_some()
            } else {
                interface.dhcp6.is_some() || interface.accept_ra == Some(true)
            }
        };
        let mut fitting = self.list.iter().enumerate().filter(|(_, draft)| dhcp(&draft.interface));
        fitting.next().filter(|_| fitting.next().is_none()).map(|(n, _)| n)
    }
}

impl Draft {
    /// Adds a static address, when it is one that an interface can have.
    pub(super) fn add_address(&mut self, cidr: Cidr, at: Position, path: &str, notes: &mut Notes) {
        let address = cidr.address;
        let broadcast = address == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
        if address.is_unspecified() || address.is_multicast() || broadcast || cidr.prefix == 0 {
            notes.flaw(at, path, format!("{cidr} is not an address of an interface"));
        } else if !self.interface.addresses.contains(&cidr) {
            self.interface.addresses.push(cidr);
        }
    }

    /// The bond that it is; it becomes one when it is none yet.
    pub(super) fn bond(&mut self) -> &mut Bond {
        if !matches!(self.interface.kind, Kind::Bond(_)) {
            self.interface.kind = Kind::Bond(Bond::default());
            self.interface.select = Select::default();
        }
        match &mut self.interface.kind {
            Kind::Bond(bond) => bond,
            _ => unreachable!("it was made a bond above"),
        }
    }

    /// The bridge that it is; it becomes one when it is none yet.
    pub(super) fn bridge(&mut self) -> &mut Bridge {
        if !matches!(self.interface.kind, Kind::Bridge(_)) {
            self.interface.kind = Kind::Bridge(Bridge::default());
            self.interface.select = Select::default();
        }
        match &mut self.interface.kind {
            Kind::Bridge(bridge) => bridge,
            _ => unreachable!("it was made a bridge above"),
        }
    }
}

impl Dns {
    /// Adds what is not there yet.
    pub(super) fn merge(&mut self, other: Self) {
        for server in other.servers {
            if !self.servers.contains(&server) {
                self.servers.push(server);
            }
        }
        for domain in other.search {
            if !self.search.contains(&domain) {
                self.search.push(domain);
            }
        }
    }

    /// Whether it says nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.servers.is_empty() && self.search.is_empty()
    }
}

impl Interface {
    /// Whether it is made, rather than found.
    pub(super) fn is_virtual(&self) -> bool {
        self.kind != Kind::Physical
    }

    /// Whether anything gives it an address.
    pub(super) fn is_addressed(&self) -> bool {
        self.dhcp4.is_some() || self.dhcp6.is_some() || self.accept_ra == Some(true) || !self.addresses.is_empty()
    }

    /// The name that it will have, as far as the plan says.
    pub(super) fn name(&self) -> Option<&str> {
        if self.is_virtual() {
            return Some(&self.id);
        }
        let kernel = self.select.name.as_deref().filter(|name| !is_pattern(name));
        self.rename.as_deref().or(kernel)
    }

    /// Ids of the interfaces below it.
    pub(super) fn below(&self) -> Vec<&str> {
        match &self.kind {
            Kind::Physical => Vec::new(),
            Kind::Bond(bond) => bond.members.iter().map(String::as_str).collect(),
            Kind::Bridge(bridge) => bridge.ports.iter().map(String::as_str).collect(),
            Kind::Vlan(vlan) => vec![&vlan.link],
        }
    }
}

/// Whether the kernel takes it as a name (`dev_valid_name`), and it is no pattern of one.
pub(super) fn is_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && !matches!(name, "." | "..")
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:%*?[]\\\"'".contains(&byte))
}
