//! One interface: what it is to have, its DHCP clients, its addresses.

mod items;
mod v4;

use std::{net::IpAddr, os::fd::BorrowedFd, time::Duration};

use self::{
    items::{Items, TimedAddress},
    v4::V4,
};
use super::{
    dhcp::Lease,
    netlink::{KernelRoute, Link, LinkKind, Netlink, NetlinkError},
    resolv::Resolver,
};
use crate::node::netconfig::{Cidr, DhcpOptions, Interface, Route, RouteKind};

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
    installed: Items,
    /// The last MTU that was asked for; the driver may have refused it.
    mtu: Option<u32>,
}

impl Nic {
    pub(super) fn new(link: Link) -> Self {
        Self { link, duty: Duty::default(), v4: None, installed: Items::default(), mtu: None }
    }

    /// The descriptors that wake it.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.v4.iter().map(V4::fd)
    }

    /// When it wants to be polled.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.v4.as_ref().and_then(|v4| v4.deadline(&self.link))
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
            self.v4 = None;
        }
        if !link.up {
            self.installed.flushed();
        }
        if link.carrier && !self.link.carrier {
            self.v4.iter_mut().for_each(|v4| v4.carrier_returned(now));
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

    /// Does what is due, and reads what has come.
    pub(super) fn work(&mut self, readable: bool, now: Duration) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(v4) = &mut self.v4 else { return outcome };
        if readable {
            outcome = outcome.and(v4.receive(&self.link, now));
        }
        if v4.deadline(&self.link).is_some_and(|deadline| deadline <= now) {
            outcome = outcome.and(v4.poll(&self.link, now));
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
        items
    }

    /// Adds the name servers and domains that are known by this interface.
    pub(super) fn resolve(&self, resolver: &mut Resolver) {
        let name = &self.link.name;
        if let Some(plan) = &self.duty.plan {
            plan.dns.servers.iter().for_each(|server| resolver.server(*server, name));
            plan.dns.search.iter().for_each(|domain| resolver.domain(domain));
        }
        if let Some(lease) = self.lease() {
            lease.dns.iter().for_each(|server| resolver.server((*server).into(), name));
            lease.domain.iter().for_each(|domain| resolver.domain(domain));
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
