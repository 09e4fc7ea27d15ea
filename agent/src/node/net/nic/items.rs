//! What an interface is to have, and making it so: only the difference to what it was given before is told to the
//! kernel.

use std::time::Duration;

use crate::node::{
    net::netlink::{KernelRoute, Lifetime, Link, Netlink, NetlinkError},
    netconfig::{Cidr, Rule},
};

/// An address, and until when it may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimedAddress {
    pub(super) cidr: Cidr,
    /// For new connections; `None` is for ever.
    pub(super) preferred_until: Option<Duration>,
    /// At all; `None` is for ever.
    pub(super) valid_until: Option<Duration>,
}

/// Addresses, routes and rules of an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Items {
    pub(super) addresses: Vec<TimedAddress>,
    pub(super) routes: Vec<KernelRoute>,
    pub(super) rules: Vec<Rule>,
}

impl Items {
    /// Gives `link` what is wanted and takes what is not; what fails is tried again at the next call.
    pub(super) fn become_like(
        &mut self,
        wanted: &Self,
        netlink: &mut Netlink,
        link: &Link,
        now: Duration,
    ) -> Vec<NetlinkError> {
        let mut errors = Vec::new();
        self.addresses(wanted, netlink, link, now, &mut errors);
        let fresh = wanted.routes.iter().filter(|route| !self.routes.contains(route));
        let fresh = succeed(fresh.cloned(), |route| netlink.add_route(link, route), &mut errors);
        // After the new ones: between the two there is a way.
        let gone = self.routes.iter().filter(|route| !wanted.routes.contains(route));
        succeed(gone.cloned(), |route| netlink.remove_route(link, route), &mut errors);
        self.routes.retain(|route| wanted.routes.contains(route));
        self.routes.extend(fresh);

        let fresh = wanted.rules.iter().filter(|rule| !self.rules.contains(rule));
        let fresh = succeed(fresh.cloned(), |rule| netlink.add_rule(rule), &mut errors);
        let gone = self.rules.iter().filter(|rule| !wanted.rules.contains(rule));
        succeed(gone.cloned(), |rule| netlink.remove_rule(rule), &mut errors);
        self.rules.retain(|rule| wanted.rules.contains(rule));
        self.rules.extend(fresh);
        errors
    }

    /// Old addresses go first: the kernel takes all of a network away with the first one of it.
    fn addresses(
        &mut self,
        wanted: &Self,
        netlink: &mut Netlink,
        link: &Link,
        now: Duration,
        errors: &mut Vec<NetlinkError>,
    ) {
        let is_wanted = |address: &TimedAddress| wanted.addresses.iter().any(|w| w.cidr == address.cidr);
        let gone: Vec<TimedAddress> = self.addresses.iter().filter(|address| !is_wanted(address)).copied().collect();
        if !gone.is_empty() {
            succeed(gone.into_iter(), |address| netlink.remove_address(link, address.cidr), errors);
            // Others of the same network, and the routes, may have gone with them.
            self.addresses.clear();
            self.routes.retain(|route| !wanted.routes.contains(route));
        }
        let fresh = wanted.addresses.iter().filter(|address| !self.addresses.contains(address));
        // The kernel takes no address that is over already.
        let left = |until: Option<Duration>| until.map(|until| until.saturating_sub(now).max(Duration::from_secs(1)));
        let add = |address: &TimedAddress| {
            let lifetime = Lifetime { preferred: left(address.preferred_until), valid: left(address.valid_until) };
            netlink.add_address(link, address.cidr, lifetime)
        };
        let fresh = succeed(fresh.copied(), add, errors);
        self.addresses.retain(|address| wanted.addresses.contains(address));
        self.addresses.extend(fresh);
    }

    /// The link was switched off: routes, and addresses of IPv6, are gone.
    pub(super) fn flushed(&mut self) {
        self.routes.clear();
        self.addresses.clear();
    }
}

/// Does something with each; returns those with which it succeeded.
fn succeed<T>(
    items: impl Iterator<Item = T>,
    mut act: impl FnMut(&T) -> Result<(), NetlinkError>,
    errors: &mut Vec<NetlinkError>,
) -> Vec<T> {
    items.filter(|item| act(item).map_err(|error| errors.push(error)).is_ok()).collect()
}
