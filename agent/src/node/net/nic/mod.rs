//! One interface: what it is to have, its DHCP clients, its addresses.

mod items;
mod v4;
mod v6;

use std::{
    net::{IpAddr, Ipv6Addr},
    os::fd::BorrowedFd,
    time::Duration,
};

use self::{
    items::{Items, TimedAddress},
    v4::V4,
    v6::{V6, decide},
};
use super::{
    dhcp::Lease,
    netlink::{KernelRoute, Link, LinkKind, Netlink, NetlinkError},
    resolv::Resolver,
};
use crate::node::netconfig::{Cidr, DhcpOptions, Interface, Route, RouteKind};
pub(super) use v6::Reason;

/// Routes of the first interface get this metric, those of the next ones higher ones, so that several default routes
/// can stand side by side and the first interface is preferred.
const FIRST_METRIC: u32 = 100;

/// What the clients did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The kernel has to be told.
    pub(super) install: bool,
    /// And others: it is more than time.
    pub(super) changed: bool,
}

impl Outcome {
    const PROLONGED: Self = Self { install: true, changed: false };
    const CHANGED: Self = Self { install: true, changed: true };

    pub(super) fn and(self, other: Self) -> Self {
        Self { install: self.install || other.install, changed: self.changed || other.changed }
    }
}

/// What an interface is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Duty {
    /// It is switched on.
    pub(super) up: bool,
    /// DHCP for IPv4, and what is done with the answers.
    pub(super) dhcp4: Option<DhcpOptions>,
    /// The same for IPv6, and what for.
    pub(super) dhcp6: Option<(DhcpOptions, Reason)>,
    /// What the plan says of it.
    pub(super) plan: Option<Interface>,
    /// An address until there is a better one.
    pub(super) temporary: Option<Cidr>,
}

#[derive(Debug)]
pub(super) struct Nic {
    pub(super) link: Link,
    pub(super) duty: Duty,
    v4: Option<V4>,
    v6: Option<V6>,
    /// Since when it has an IPv6 address to ask from, and when to think again about asking.
    six: (Option<Duration>, Option<Duration>),
    /// Name servers that routers advertise, and until when.
    advertised: Vec<(Ipv6Addr, Option<Duration>)>,
    installed: Items,
    /// The last MTU that was asked for; the driver may have refused it.
    mtu: Option<u32>,
}

impl Nic {
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            duty: Duty::default(),
            v4: None,
            v6: None,
            six: (None, None),
            advertised: vec![],
            installed: Items::default(),
            mtu: None,
        }
    }

    /// The descriptors that wake it.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.v4.iter().map(V4::fd).chain(self.v6.iter().map(V6::fd))
    }

    /// When it wants to be polled.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let four = self.v4.as_ref().and_then(|v4| v4.deadline(&self.link));
        let six = self.v6.as_ref().and_then(|v6| v6.deadline(&self.link));
        four.into_iter().chain(six).chain(self.six.1).min()
    }

    /// The lease, with what may be used of it.
    pub(super) fn lease(&self) -> Option<Lease> {
        let (lease, _) = self.v4.as_ref()?.held()?;
        Some(lease.restricted(&self.duty.dhcp4?))
    }

    /// Takes over what the kernel says about the link now.
    pub(super) fn update(&mut self, link: Link, now: Duration) {
        if link.mac != self.link.mac {
            // Another client, as far as servers know.
            (self.v4, self.v6) = (None, None);
        }
        if !link.up {
            self.installed.flushed();
        }
        if link.carrier && !self.link.carrier {
            self.v4.iter_mut().for_each(|v4| v4.carrier_returned(now));
            self.v6.iter_mut().for_each(|v6| v6.carrier_returned(now));
        }
        self.link = link;
    }

    pub(super) fn set_host_name(&mut self, name: &str, now: Duration) {
        self.v4.iter_mut().for_each(|v4| v4.set_host_name(name, now));
    }

    /// Takes a duty; a lease that it still needs is kept. The error is for people.
    pub(super) fn take_duty(&mut self, duty: Duty, host_name: Option<&str>, now: Duration) -> Result<(), String> {
        self.duty = duty;
        match (&self.duty.dhcp4, &self.v4) {
            (None, _) => self.v4 = None,
            (Some(_), Some(_)) => {}
            (Some(_), None) => {
                let failed = |error| format!("failed to open a packet socket on {}: {error}", self.link.name);
                self.v4 = Some(V4::new(&self.link, host_name, now).map_err(failed)?);
            }
        }
        Ok(())
    }

    /// Whether the kernel has an IPv6 address of the link to ask from: begins or ends DHCPv6.
    pub(super) fn consider_six(&mut self, ready: bool, now: Duration) -> Result<(), String> {
        let Some((_, reason)) = self.duty.dhcp6.filter(|_| ready) else {
            self.six = (None, None);
            if self.duty.dhcp6.is_none() {
                self.v6 = None;
            }
            return Ok(());
        };
        let since = *self.six.0.get_or_insert(now);
        self.six.1 = None;
        match decide(reason, self.link.advertised, since, now) {
            Ok(mode) if self.v6.as_ref().is_none_or(|v6| v6.mode() != mode && v6.held().is_none()) => {
                let failed = |error| format!("failed to open the port of DHCPv6 on {}: {error}", self.link.name);
                self.v6 = Some(V6::new(&self.link, mode, now).map_err(failed)?);
            }
            Ok(_) | Err(None) => {}
            Err(later) => self.six.1 = later,
        }
        Ok(())
    }

    /// A router named its name servers.
    pub(super) fn take_resolvers(&mut self, servers: &[(Ipv6Addr, u32)], now: Duration) {
        self.advertised.retain(|(known, _)| servers.iter().all(|(server, _)| server != known));
        let until = |seconds: u32| (seconds != u32::MAX).then(|| now + Duration::from_secs(seconds.into()));
        let valid = servers.iter().filter(|(_, seconds)| *seconds > 0);
        self.advertised.extend(valid.map(|(server, seconds)| (*server, until(*seconds))));
    }

    /// Does what is due, and reads what has come.
    pub(super) fn work(&mut self, readable: bool, now: Duration) -> Outcome {
        let mut outcome = Outcome::default();
        if let Some(v4) = &mut self.v4 {
            if readable {
                outcome = outcome.and(v4.receive(&self.link, now));
            }
            if v4.deadline(&self.link).is_some_and(|deadline| deadline <= now) {
                outcome = outcome.and(v4.poll(&self.link, now));
            }
        }
        if let Some(v6) = &mut self.v6 {
            if readable {
                outcome = outcome.and(v6.receive(&self.link, now));
            }
            if v6.deadline(&self.link).is_some_and(|deadline| deadline <= now) {
                outcome = outcome.and(v6.poll(&self.link, now));
            }
        }
        if self.six.1.is_some_and(|due| due <= now) {
            // Its time to hear a router is over.
            outcome.install = true;
        }
        outcome
    }

    /// Tells the kernel what the interface is to have.
    pub(super) fn install(&mut self, netlink: &mut Netlink, now: Duration) -> Vec<NetlinkError> {
        let mut errors = Vec::new();
        if self.duty.up && !self.link.up {
            match netlink.set_up(&self.link, true) {
                Ok(()) => self.link.up = true,
                Err(error) => errors.push(error),
            }
        }
        let mtu = self.duty.plan.as_ref().map_or_else(
            || self.lease()?.mtu.map(u32::from),
            |plan| match plan.mtu {
                // Set with the link's other properties.
                Some(_) => None,
                None => self.lease()?.mtu.map(u32::from),
            },
        );
        if let Some(mtu) = mtu.filter(|mtu| self.mtu != Some(*mtu)) {
            self.mtu = Some(mtu);
            if mtu != self.link.mtu {
                // A driver may refuse; the address works all the same.
                errors.extend(netlink.set_mtu(&self.link, mtu).err());
            }
        }
        let wanted = self.wanted();
        errors.extend(self.installed.become_like(&wanted, netlink, &self.link, now));
        self.v4.iter_mut().for_each(|v4| v4.installed(&self.link));
        errors
    }

    fn wanted(&self) -> Items {
        let mut items = Items::default();
        let for_ever = |cidr| TimedAddress { cidr, preferred_until: None, valid_until: None };
        items.addresses.extend(self.duty.temporary.map(for_ever));
        if let Some(plan) = &self.duty.plan {
            items.addresses.extend(plan.addresses.iter().copied().map(for_ever));
            if self.duty.up {
                items.routes.extend(plan.routes.iter().cloned().map(|route| KernelRoute { route, dhcp: false }));
            }
            items.rules.extend(plan.rules.iter().cloned());
        }
        if let Some((lease, options, since)) = self.v4.as_ref().and_then(|v4| {
            let (lease, since) = v4.held()?;
            Some((lease, self.duty.dhcp4?, *since))
        }) {
            let cidr = Cidr { address: lease.address.into(), prefix: lease.prefix };
            let until = lease.duration.map(|duration| since + duration);
            items.addresses.push(TimedAddress { cidr, preferred_until: until, valid_until: until });
            let metric = options.metric.unwrap_or(FIRST_METRIC + self.link.index);
            if options.use_routes {
                items.routes.extend(lease_routes(lease, metric));
            }
        }
        if let Some((lease, since)) = self.v6.as_ref().and_then(V6::held) {
            let until = |time: Option<Duration>| time.map(|time| *since + time);
            items.addresses.extend(lease.addresses.iter().map(|leased| TimedAddress {
                cidr: Cidr::host(leased.address.into()),
                preferred_until: until(leased.preferred),
                valid_until: until(leased.valid),
            }));
        }
        items
    }

    /// Adds the name servers and domains that are known by this interface.
    pub(super) fn resolve(&self, resolver: &mut Resolver, now: Duration) {
        let name = &self.link.name;
        if let Some(plan) = &self.duty.plan {
            plan.dns.servers.iter().for_each(|server| resolver.server(*server, name));
            plan.dns.search.iter().for_each(|domain| resolver.domain(domain));
        }
        if let Some(lease) = self.lease() {
            lease.dns.iter().for_each(|server| resolver.server((*server).into(), name));
            lease.domain.iter().for_each(|domain| resolver.domain(domain));
        }
        let listens = |plan: &Interface| plan.accept_ra != Some(false) && plan.dhcp6.is_none_or(|dhcp| dhcp.use_dns);
        if let (Some((lease, _)), Some((options, _))) = (self.v6.as_ref().and_then(V6::held), self.duty.dhcp6) {
            if options.use_dns {
                lease.dns.iter().for_each(|server| resolver.server((*server).into(), name));
            }
            if options.use_domain {
                lease.domains.iter().for_each(|domain| resolver.domain(domain));
            }
        }
        if self.duty.up && self.duty.plan.as_ref().is_none_or(listens) {
            let valid = self.advertised.iter().filter(|(_, until)| until.is_none_or(|until| until > now));
            valid.for_each(|(server, _)| resolver.server((*server).into(), name));
        }
    }

    /// What it lacks that may yet come, for people.
    pub(super) fn lacks(&self, has: impl Fn(IpAddr) -> bool) -> Option<String> {
        let name = &self.link.name;
        if self.duty.plan.as_ref().is_some_and(|plan| plan.optional || plan.down) || !self.duty.up {
            return None;
        }
        if !self.link.carrier {
            // A link with nobody at its other end holds nothing up; what is made of others needs a moment.
            let made = matches!(self.link.kind, LinkKind::Bond | LinkKind::Bridge | LinkKind::Vlan);
            return made.then(|| format!("a carrier on {name}"));
        }
        if self.duty.dhcp4.is_some() && self.lease().is_none() {
            return Some(format!("a DHCP lease on {name}"));
        }
        let six = self.duty.dhcp6.is_some_and(|(_, reason)| reason == Reason::Wanted) && self.duty.dhcp4.is_none();
        if six && self.v6.as_ref().is_none_or(|v6| v6.held().is_none()) {
            return Some(format!("a DHCPv6 lease on {name}"));
        }
        let addresses = self.duty.plan.iter().flat_map(|plan| &plan.addresses);
        let missing = addresses.map(|cidr| cidr.address).find(|address| !has(*address));
        missing.map(|address| format!("the address {address} on {name}"))
    }
}

fn lease_routes(lease: &Lease, metric: u32) -> impl Iterator<Item = KernelRoute> {
    lease.routes.iter().map(move |route| KernelRoute {
        route: Route {
            to: Cidr { address: route.destination.into(), prefix: route.prefix },
            via: (!route.gateway.is_unspecified()).then(|| route.gateway.into()),
            metric: Some(metric),
            on_link: false,
            table: None,
            mtu: None,
            from: Some(lease.address.into()),
            kind: RouteKind::Unicast,
        },
        dhcp: true,
    })
}
