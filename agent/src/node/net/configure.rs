//! What was ordered, carried out: each interface gets its duty, the kernel gets the difference, and the rest of the
//! node learns what came of it. Everything here may be done at any time and any number of times.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    thread,
    time::Duration,
};

use super::{
    netlink::{Link, LinkKind},
    nic::{Duty, Nic, Reason},
    resolv::Resolver,
    run::Network,
    shared::Request,
    structure::{Origin, Shape, Shaper},
    view::Address,
};
use crate::{
    info,
    node::{
        clock,
        files::write_atomically,
        netconfig::{Cidr, DhcpOptions, Interface, Mac, NetworkMode},
    },
    notice, notify, paths, warning,
};

/// An interface of the plan that is not there after this time is worth a word.
const ABSENT: Duration = Duration::from_secs(30);
/// First and longest pause before what failed is tried again.
const RETRY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// How far the order is carried out.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The number of the order.
    order: u64,
    /// When it came.
    since: Duration,
    /// The links for which the structure was made; none before it was.
    shaped: Option<BTreeSet<u32>>,
    /// When to try again what failed, and the pause after that.
    retry: Option<(Duration, Duration)>,
    /// Interfaces of the plan that are not there, and when that is worth a word.
    absent: (Vec<String>, Option<Duration>),
    /// How interfaces were when they were first seen.
    origins: BTreeMap<u32, Origin>,
    /// What was said already.
    notes: Vec<String>,
    resolv_conf: String,
}

impl Progress {
    /// A new order.
    pub(super) fn begin(&mut self, order: u64, now: Duration) {
        self.order = order;
        self.since = now;
        self.shaped = None;
        self.retry = None;
    }

    /// Something changed that may let succeed what failed.
    pub(super) fn hurry(&mut self, now: Duration) {
        self.retry = self.retry.map(|(_, pause)| (now, pause));
    }

    /// When there is something to do without an event.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.retry.map(|(at, _)| at).into_iter().chain(self.absent.1).min()
    }
}

impl Network {
    /// Asks the kernel for all links (an event may have been lost, the answer never is) and does what is missing.
    pub(super) fn reconcile(&mut self) {
        let links = match self.netlink.links() {
            Ok(links) => links,
            Err(error) => return warning!("{error}"),
        };
        let now = clock::now();
        let plan: Vec<Interface> = match &self.mode {
            NetworkMode::Fallback | NetworkMode::Disabled => vec![],
            NetworkMode::Plan(plan) => plan.interfaces.clone(),
        };
        for link in &links {
            let origin = || Origin { name: link.name.clone(), mac: Mac(link.mac) };
            self.progress.origins.entry(link.index).or_insert_with(origin);
        }
        let mut shape = self.shape(&plan, links, now);
        self.adopt(&shape, &plan, now);
        let absent = shape.absent.iter().map(|place| &plan[*place]).filter(|i| !i.optional && !i.down);
        let absent: Vec<String> = absent.map(|interface| interface.id.clone()).collect();
        let due = self.progress.since + ABSENT;
        if now >= due {
            shape.errors.extend(absent.iter().map(|id| format!("{id}: there is no such interface")));
        }
        self.progress.absent = (absent, (now < due).then_some(due).filter(|_| !shape.absent.is_empty()));
        let addresses = self.netlink.addresses().unwrap_or_default();
        for (index, nic) in &mut self.nics {
            let ready = addresses
                .iter()
                .any(|address| address.index == *index && address.usable && is_link_local(address.cidr.address));
            shape.errors.extend(nic.consider_six(ready, now).err());
            shape.errors.extend(nic.install(&mut self.netlink, now).iter().map(ToString::to_string));
        }
        self.schedule(&shape, now);
        self.say(shape.errors);
        self.publish();
    }

    /// The structure is made once for each order and each set of links, and again when something failed.
    fn shape(&mut self, plan: &[Interface], links: Vec<Link>, now: Duration) -> Shape {
        if plan.is_empty() {
            return Shape { links, ..Shape::default() };
        }
        let present: BTreeSet<u32> = links.iter().map(|link| link.index).collect();
        let due =
            self.progress.shaped.as_ref() != Some(&present) || self.progress.retry.is_some_and(|(at, _)| at <= now);
        let shaper = Shaper {
            netlink: &mut self.netlink,
            plan,
            origins: &self.progress.origins,
            root: &self.root,
            virtual_links: self.virtual_links,
            shape: Shape::default(),
        };
        if !due {
            return shaper.look(links);
        }
        let shape = shaper.carry_out(links);
        self.progress.shaped = Some(shape.links.iter().map(|link| link.index).collect());
        for module in &shape.modules {
            self.load_module(module);
        }
        shape
    }

    /// Takes over the links and gives each its duty.
    fn adopt(&mut self, shape: &Shape, plan: &[Interface], now: Duration) {
        let ours = |link: &Link| {
            let hardware = link.kind == LinkKind::Physical || (self.virtual_links && link.kind == LinkKind::Veth);
            shape.meaning.contains_key(&link.index) || (hardware && link.controller.is_none())
        };
        let links: Vec<&Link> = shape.links.iter().filter(|link| ours(link)).collect();
        self.nics.retain(|index, _| links.iter().any(|link| link.index == *index));
        self.progress.origins.retain(|index, _| shape.links.iter().any(|link| link.index == *index));
        let host_name = self.host_name.as_deref();
        let mut temporary = self.link_local;
        for link in links {
            let nic = self.nics.entry(link.index).or_insert_with(|| {
                info!("{}: {}", link.name, Mac(link.mac));
                Nic::new(link.clone())
            });
            nic.update(link.clone(), now);
            let mut duty = match shape.meaning.get(&link.index) {
                // Without a plan for any interface all of them do DHCP.
                None if plan.is_empty() && self.mode != NetworkMode::Disabled => Duty {
                    up: true,
                    dhcp4: Some(DhcpOptions::default()),
                    dhcp6: Some((DhcpOptions::default(), Reason::Advertised)),
                    ..Duty::default()
                },
                // What the plan does not name is left alone.
                None => Duty::default(),
                Some(_) if shape.members.contains(&link.index) => Duty { up: true, ..Duty::default() },
                Some(place) => {
                    let interface = plan[*place].clone();
                    let wanted =
                        |o: DhcpOptions| (o, if o.stateless { Reason::WantedStateless } else { Reason::Wanted });
                    let (dhcp4, dhcp6) = (interface.dhcp4, interface.dhcp6.map(wanted));
                    Duty { up: !interface.down, dhcp4, dhcp6, plan: Some(interface), temporary: None }
                }
            };
            if temporary && link.carrier && nic.lease().is_none() {
                temporary = false;
                duty.temporary = Some(link_local(link.mac));
            }
            if nic.lease().is_some() && duty.dhcp4.is_none() {
                notice!("{}: the lease is given up, the network configuration wants none", link.name);
            }
            if let Err(why) = nic.take_duty(duty, host_name, now) {
                warning!("{why}");
            }
        }
    }

    /// When to try again what failed.
    fn schedule(&mut self, shape: &Shape, now: Duration) {
        let pause = match self.progress.retry {
            _ if shape.errors.is_empty() => {
                self.progress.retry = None;
                return;
            }
            Some((at, _)) if at > now => return,
            Some((_, pause)) => pause,
            None => RETRY[0],
        };
        self.progress.retry = Some((now + pause, (pause * 2).min(RETRY[1])));
    }

    /// Says what is new.
    fn say(&mut self, notes: Vec<String>) {
        for note in notes.iter().filter(|note| !self.progress.notes.contains(note)) {
            warning!("{note}");
        }
        self.progress.notes = notes;
    }

    /// Tells the rest of the node, and the resolver.
    fn publish(&mut self) {
        let addresses = match self.addresses() {
            Ok(addresses) => addresses,
            Err(error) => return warning!("{error}"),
        };
        let resolver = self.resolver();
        let text = resolver.text();
        // Not before there is something to say: the image's own file may be better.
        if text != self.progress.resolv_conf
            && (resolver != Resolver::default() || !self.progress.resolv_conf.is_empty())
        {
            match write_atomically(&self.root.join("etc/resolv.conf"), text.as_bytes(), 0o644) {
                Ok(()) => self.progress.resolv_conf = text,
                Err(error) => warning!("{error}"),
            }
        }
        let has = |wanted: IpAddr| addresses.iter().any(|address| address.address == wanted);
        let awaited: Vec<String> = self
            .nics
            .values()
            .filter_map(|nic| nic.lacks(has))
            .chain(self.progress.absent.0.iter().map(|id| format!("the interface {id}")))
            .collect();
        let leases: Vec<_> = self.nics.values().filter_map(|nic| Some((nic.link.name.clone(), nic.lease()?))).collect();
        let links = self.nics.values().map(|nic| (nic.link.name.clone(), nic.link.carrier)).collect();
        let first_mac = self.first_mac();
        let (notes, applied) = (self.progress.notes.clone(), self.progress.order);
        self.shared.update(|view| {
            let changed =
                (&view.addresses, &view.leases, &view.name_servers) != (&addresses, &leases, &resolver.servers);
            view.changes += u64::from(changed || view.notes != notes);
            (view.addresses, view.leases, view.name_servers) = (addresses, leases, resolver.servers);
            (view.links, view.awaited, view.first_mac) = (links, awaited, first_mac);
            (view.notes, view.applied) = (notes, applied);
        });
    }

    /// The hardware address of the first interface that is none of software, as it was at first.
    fn first_mac(&self) -> Option<[u8; 6]> {
        let hardware = |nic: &&Nic| matches!(nic.link.kind, LinkKind::Physical | LinkKind::Veth);
        let nic = self.nics.values().find(hardware)?;
        let origin = self.progress.origins.get(&nic.link.index).map(|origin| origin.mac.0);
        nic.link.permanent_mac.or(origin).or(Some(nic.link.mac))
    }

    fn addresses(&mut self) -> Result<Vec<Address>, super::NetlinkError> {
        let kernel = self.netlink.addresses()?;
        let routes = self.netlink.default_routes()?;
        let mut addresses = Vec::new();
        for (index, nic) in &self.nics {
            for address in kernel.iter().filter(|address| address.index == *index && address.usable) {
                let fits = |six: bool| six == address.cidr.address.is_ipv6();
                let route = routes.iter().filter(|route| route.index == *index && fits(route.six));
                let route = route.min_by_key(|route| route.metric);
                addresses.push(Address {
                    interface: nic.link.name.clone(),
                    address: address.cidr.address,
                    prefix: address.cidr.prefix,
                    gateway: route.and_then(|route| route.gateway),
                    metric: route.map(|route| route.metric),
                });
            }
        }
        addresses.sort_by_key(Address::is_link_local);
        Ok(addresses)
    }

    fn resolver(&self) -> Resolver {
        if let Some(resolver) = &self.resolver {
            return resolver.clone();
        }
        let mut resolver = Resolver::default();
        if let NetworkMode::Plan(plan) = &self.mode {
            plan.dns.servers.iter().for_each(|server| resolver.server(*server, ""));
            plan.dns.search.iter().for_each(|domain| resolver.domain(domain));
        }
        let now = clock::now();
        self.nics.values().for_each(|nic| nic.resolve(&mut resolver, now));
        resolver
    }

    /// Asks init for a kernel module; this process could not load one. init may be slow, and this loop never waits.
    fn load_module(&self, module: &'static str) {
        let socket = self.root.join(paths::NOTIFY_SOCKET.trim_start_matches('/'));
        let shared = Arc::clone(&self.shared);
        thread::spawn(move || match notify::load_module(&socket, module) {
            Ok(()) => shared.request(Request::Module),
            // Tried again with what needs it.
            Err(error) => warning!("{error}"),
        });
    }
}

/// An address of 169.254/16 that is the same at every boot of a machine and likely another on every other one
/// (RFC 3927 keeps the first and the last 256).
fn link_local(mac: [u8; 6]) -> Cidr {
    let spread = |byte: u8| u8::try_from(u16::from(byte) % 254 + 1).unwrap_or(1);
    Cidr { address: IpAddr::from([169, 254, spread(mac[4] ^ mac[2]), mac[5]]), prefix: 16 }
}

/// What DHCPv6 is asked from.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn link_local_addresses_are_usable(mac: [u8; 6]) {
            let Cidr { address: IpAddr::V4(ip), prefix } = link_local(mac) else { unreachable!() };
            prop_assert!(ip.is_link_local() && prefix == 16 && (1..=254).contains(&ip.octets()[2]));
        }
    }
}
