//! Short ways to write plans, for datasources that turn a provider's own format into one.
//!
//! ```
//! use agent::node::netconfig::{Interface, Mac, NetworkPlan};
//! let mac: Mac = "52:54:00:12:34:56".parse()?;
//! let public = Interface::on(mac).dhcp4(Some(100));
//! let private = Interface::on("52:54:00:12:34:57".parse()?)
//!     .named("eth1")
//!     .address("10.0.0.2/24".parse()?)
//!     .gateway("10.0.0.1".parse()?)
//!     .servers(["1.1.1.1".parse()?]);
//! let plan = NetworkPlan::of([public, private]);
//! assert_eq!(plan.interfaces.len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::net::IpAddr;

use super::{Cidr, DhcpOptions, Interface, Mac, NetworkPlan, Route, RouteKind, Select};

impl NetworkPlan {
    /// A plan of these interfaces.
    #[must_use]
    pub fn of(interfaces: impl Into<Vec<Interface>>) -> Self {
        Self { interfaces: interfaces.into(), ..Self::default() }
    }
}

impl Interface {
    /// The hardware with this address, called by it, with nothing configured yet.
    #[must_use]
    pub fn on(mac: Mac) -> Self {
        let select = Select { mac: Some(mac), ..Select::default() };
        Self { id: mac.to_string(), select, ..Self::default() }
    }

    /// The hardware that the kernel calls by a name or by names of a pattern, with nothing configured yet.
    #[must_use]
    pub fn called(name: &str) -> Self {
        let select = Select { name: Some(name.into()), ..Select::default() };
        Self { id: name.into(), select, ..Self::default() }
    }

    /// Renames it, and calls it by that name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.id);
        self.rename = Some(name.into());
        self
    }

    /// DHCP for IPv4; `metric` is that of the routes it gives.
    #[must_use]
    pub fn dhcp4(mut self, metric: Option<u32>) -> Self {
        self.dhcp4 = Some(DhcpOptions { metric, ..DhcpOptions::default() });
        self
    }

    /// DHCP for IPv6, and router advertisements.
    #[must_use]
    pub fn dhcp6(mut self, metric: Option<u32>) -> Self {
        self.dhcp6 = Some(DhcpOptions { metric, ..DhcpOptions::default() });
        self.accept_ra = Some(true);
        self
    }

    /// An address.
    #[must_use]
    pub fn address(mut self, address: Cidr) -> Self {
        if !self.addresses.contains(&address) {
            self.addresses.push(address);
        }
        self
    }

    /// A default route. Call it behind [`Interface::address`]: a gateway that no address covers is on the link.
    #[must_use]
    pub fn gateway(self, gateway: IpAddr) -> Self {
        self.route(Route::default_via(gateway))
    }

    /// A route. Call it behind [`Interface::address`]: a gateway that no address covers is on the link.
    #[must_use]
    pub fn route(mut self, mut route: Route) -> Self {
        route.on_link |= self.must_be_on_link(&route);
        if !self.routes.contains(&route) {
            self.routes.push(route);
        }
        self
    }

    /// Name servers.
    #[must_use]
    pub fn servers(mut self, servers: impl IntoIterator<Item = IpAddr>) -> Self {
        self.dns.servers.extend(servers);
        self
    }

    /// Search domains.
    #[must_use]
    pub fn search(mut self, domains: impl IntoIterator<Item = String>) -> Self {
        self.dns.search.extend(domains);
        self
    }

    /// Largest packet, in bytes.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// Whether a route's gateway is on this link though none of its addresses says so: clouds give `/32` addresses
    /// with a gateway beside them, and the kernel wants to be told. Not known while DHCP gives the addresses.
    pub(super) fn must_be_on_link(&self, route: &Route) -> bool {
        let Some(via) = route.via else { return false };
        let (dhcp, link_local) = match via {
            IpAddr::V4(_) => (self.dhcp4.is_some(), false),
            IpAddr::V6(via) => (self.dhcp6.is_some() || self.accept_ra == Some(true), via.is_unicast_link_local()),
        };
        let mut own = self.addresses.iter().filter(|cidr| cidr.address.is_ipv4() == via.is_ipv4()).peekable();
        !dhcp && !link_local && own.peek().is_some() && !own.any(|cidr| cidr.contains(via))
    }
}

impl Route {
    /// To a network by a gateway.
    #[must_use]
    pub fn new(to: Cidr, via: Option<IpAddr>) -> Self {
        Self {
            to: to.network(),
            via,
            metric: None,
            on_link: false,
            table: None,
            mtu: None,
            from: None,
            kind: RouteKind::Unicast,
        }
    }

    /// Everywhere else by a gateway.
    #[must_use]
    pub fn default_via(gateway: IpAddr) -> Self {
        Self::new(Cidr::everything(gateway), Some(gateway))
    }

    /// Sets the metric.
    #[must_use]
    pub fn metric(mut self, metric: Option<u32>) -> Self {
        self.metric = metric;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_no_address_covers_is_on_the_link() {
        let on_link = |address: &str, gateway: &str| {
            let interface = Interface::called("eth0").address(address.parse().unwrap());
            interface.gateway(gateway.parse().unwrap()).routes[0].on_link
        };
        assert!(on_link("203.0.113.7/32", "172.31.1.1"));
        assert!(!on_link("203.0.113.7/24", "203.0.113.1"));
        assert!(!on_link("2001:db8::2/64", "fe80::1"));
        assert!(!on_link("2001:db8::2/64", "172.31.1.1"), "nothing is known of the other family");
        let dhcp = Interface::called("eth0").dhcp4(None).address("203.0.113.7/32".parse().unwrap());
        assert!(!dhcp.gateway("172.31.1.1".parse().unwrap()).routes[0].on_link);
    }

    #[test]
    fn what_stands_twice_is_kept_once() {
        let address: Cidr = "10.0.0.2/24".parse().unwrap();
        let gateway = "10.0.0.1".parse().unwrap();
        let interface = Interface::on(Mac([2, 0, 0, 0, 0, 1])).address(address).address(address);
        let interface = interface.gateway(gateway).gateway(gateway);
        assert_eq!((interface.addresses.len(), interface.routes.len()), (1, 1));
        assert_eq!(interface.id, "02:00:00:00:00:01");
    }
}
