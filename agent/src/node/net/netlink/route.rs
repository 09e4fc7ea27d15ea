//! Routes.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_route::{
    AddressFamily,
    route::{RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType},
};

use nix::libc::{RTM_DELROUTE, RTM_GETROUTE, RTM_NEWROUTE};

use super::{Link, Netlink, NetlinkError, attributes};
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
        self.dump("routes", RTM_GETROUTE, &RouteMessage::default(), &mut |body| routes.extend(default_route(body)))?;
        Ok(routes)
    }

    /// Adds a route; one of the same destination and metric that is there already comes first.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add_route(&mut self, link: &Link, route: &KernelRoute) -> Result<(), NetlinkError> {
        let what = format!("add the route to {} on {}", route.route.to, link.name);
        self.addition(&what, RTM_NEWROUTE, &message(link, route), NLM_F_CREATE | NLM_F_APPEND)
    }

    /// Takes a route away.
    ///
    /// # Errors
    /// When the kernel refuses; not when the route is gone already.
    pub fn remove_route(&mut self, link: &Link, route: &KernelRoute) -> Result<(), NetlinkError> {
        let what = format!("remove the route to {} on {}", route.route.to, link.name);
        self.removal(&what, RTM_DELROUTE, &message(link, route))
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

/// `RTA_OIF`, `RTA_GATEWAY`, `RTA_PRIORITY`, `RTA_MULTIPATH`.
const OIF: u16 = 4;
const GATEWAY: u16 = 5;
const PRIORITY: u16 = 6;
const MULTIPATH: u16 = 9;
/// `struct rtmsg`.
const HEADER: usize = 12;
/// `struct rtnexthop`: length (2 bytes), flags, weight, number of the interface.
const HOP_HEADER: usize = 8;

fn default_route(body: &[u8]) -> Option<DefaultRoute> {
    let header = RouteHeader::parse(body).ok()?;
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
    for (kind, value) in attributes::attributes(body.get(HEADER..)?) {
        match kind {
            OIF => index = Some(attributes::number(value)?),
            GATEWAY => gateway = attributes::address(value),
            PRIORITY => metric = attributes::number(value)?,
            MULTIPATH => {
                // The first of the ways stands for all.
                let length = usize::from(u16::from_ne_bytes([*value.first()?, *value.get(1)?]));
                let hop = value.get(..length)?;
                index = Some(attributes::number(hop.get(4..)?)?);
                gateway = attributes::attribute(hop.get(HOP_HEADER..)?, GATEWAY).and_then(attributes::address);
            }
            _ => {}
        }
    }
    Some(DefaultRoute { index: index?, six, gateway, metric })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use netlink_packet_core::Emitable as _;
    use netlink_packet_route::route::RouteNextHop;
    use proptest::prelude::*;

    use super::*;

    fn written(attributes: Vec<RouteAttribute>) -> Vec<u8> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.kind = RouteType::Unicast;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.attributes = attributes;
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    #[test]
    fn a_default_route_of_one_way_and_of_several() {
        let via = Ipv4Addr::new(192, 0, 2, 1);
        let route = DefaultRoute { index: 7, six: false, gateway: Some(via.into()), metric: 5 };
        let one = vec![RouteAttribute::Oif(7), RouteAttribute::Gateway(via.into()), RouteAttribute::Priority(5)];
        assert_eq!(default_route(&written(one)), Some(route));
        let mut first = RouteNextHop::default();
        first.interface_index = 7;
        first.attributes.push(RouteAttribute::Gateway(via.into()));
        let mut second = RouteNextHop::default();
        second.interface_index = 8;
        let several = vec![RouteAttribute::Priority(5), RouteAttribute::MultiPath(vec![first, second])];
        assert_eq!(default_route(&written(several)), Some(route));
        assert_eq!(default_route(&written(vec![RouteAttribute::Priority(5)])), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            let _ = default_route(&bytes);
        }
    }
}
