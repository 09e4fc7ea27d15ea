//! Routes.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope,
        RouteType,
    },
};

use super::{Link, Netlink, NetlinkError};
use crate::node::netconfig::{Route, RouteKind};

/// A route of an interface, and who wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelRoute {
    /// The route.
    pub route: Route,
    /// It came with a lease.
    pub dhcp: bool,
}

/// A way to everywhere that the kernel has in its main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultRoute {
    /// Number of the interface.
    pub index: u32,
    /// For IPv6 rather than IPv4.
    pub six: bool,
    /// The next machine; none on a point-to-point link.
    pub gateway: Option<IpAddr>,
    /// Lower ones are preferred.
    pub metric: u32,
}

impl Netlink {
    /// All default routes of the main table.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn default_routes(&mut self) -> Result<Vec<DefaultRoute>, NetlinkError> {
        let mut routes = Vec::new();
        self.dump("routes", RouteNetlinkMessage::GetRoute(RouteMessage::default()), |answer| {
            if let RouteNetlinkMessage::NewRoute(message) = answer {
                routes.extend(default_route(&message));
            }
        })?;
        Ok(routes)
    }

    /// Adds a route; one of the same destination and metric that is there already comes first.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add_route(&mut self, link: &Link, route: &KernelRoute) -> Result<(), NetlinkError> {
        let what = format!("add the route to {} on {}", route.route.to, link.name);
        self.addition(&what, RouteNetlinkMessage::NewRoute(message(link, route)), NLM_F_CREATE | NLM_F_APPEND)
    }

    /// Takes a route away.
    ///
    /// # Errors
    /// When the kernel refuses; not when the route is gone already.
    pub fn remove_route(&mut self, link: &Link, route: &KernelRoute) -> Result<(), NetlinkError> {
        let what = format!("remove the route to {} on {}", route.route.to, link.name);
        self.removal(&what, RouteNetlinkMessage::DelRoute(message(link, route)))
    }
}

fn message(link: &Link, KernelRoute { route, dhcp }: &KernelRoute) -> RouteMessage {
    let mut message = RouteMessage::default();
    let six = route.to.address.is_ipv6();
    // An unspecified gateway is none: this is how option 121 and some tools say that a network is on the link.
    let via = route.via.filter(|via| !via.is_unspecified());
    message.header.address_family = if six { AddressFamily::Inet6 } else { AddressFamily::Inet };
    message.header.destination_prefix_length = route.to.prefix;
    message.header.table = route.table.map_or(RouteHeader::RT_TABLE_MAIN, |table| u8::try_from(table).unwrap_or(0));
    message.header.protocol = if *dhcp { RouteProtocol::Dhcp } else { RouteProtocol::Static };
    message.header.kind = match route.kind {
        RouteKind::Unicast => RouteType::Unicast,
        RouteKind::Blackhole => RouteType::BlackHole,
        RouteKind::Unreachable => RouteType::Unreachable,
        RouteKind::Prohibit => RouteType::Prohibit,
    };
    let unicast = route.kind == RouteKind::Unicast;
    message.header.scope = if unicast && via.is_none() && !six { RouteScope::Link } else { RouteScope::Universe };
    if let Some(table) = route.table.filter(|table| *table > 255) {
        message.attributes.push(RouteAttribute::Table(table));
    }
    if route.to.prefix > 0 {
        message.attributes.push(RouteAttribute::Destination(route.to.address.into()));
    }
    if let Some(metric) = route.metric {
        message.attributes.push(RouteAttribute::Priority(metric));
    }
    if let Some(mtu) = route.mtu {
        message.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
    }
    if unicast {
        if route.on_link && via.is_some() {
            message.header.flags = RouteFlags::Onlink;
        }
        message.attributes.extend(via.map(|via| RouteAttribute::Gateway(via.into())));
        message.attributes.push(RouteAttribute::Oif(link.index));
        message.attributes.extend(route.from.map(|from| RouteAttribute::PrefSource(from.into())));
    }
    message
}

fn default_route(message: &RouteMessage) -> Option<DefaultRoute> {
    let header = &message.header;
    let fits = header.destination_prefix_length == 0
        && header.kind == RouteType::Unicast
        && header.table == RouteHeader::RT_TABLE_MAIN;
    let six = match header.address_family {
        AddressFamily::Inet => false,
        AddressFamily::Inet6 => true,
        _ => return None,
    };
    if !fits {
        return None;
    }
    let (mut index, mut gateway, mut metric) = (None, None, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(oif) => index = Some(*oif),
            RouteAttribute::Gateway(via) => gateway = address(via),
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::MultiPath(hops) => {
                let first = hops.first()?;
                index = Some(first.interface_index);
                gateway = first.attributes.iter().find_map(|attribute| match attribute {
                    RouteAttribute::Gateway(via) => address(via),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some(DefaultRoute { index: index?, six, gateway, metric })
}

fn address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}
