//! Questions and commands to the kernel about links, addresses and routes (`rtnetlink(7)`), one at a time.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage, CacheInfo},
    link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage},
    route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::dhcp::{Lease, Route};

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number.
    pub index: u32,
    /// `eth0`.
    pub name: String,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Whether it is switched on.
    pub up: bool,
    /// Whether there is a link partner.
    pub carrier: bool,
    /// Whether it is made of software (bridge, veth, bond: somebody else's business) or part of such.
    pub virtual_: bool,
}

/// Why the kernel did not do it.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket failed.
    #[error("failed to talk to the kernel about {what}: {source}")]
    Io {
        /// About what.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The kernel said no.
    #[error("failed to {what}: {source}")]
    Refused {
        /// What it was asked to do.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

/// A socket for questions and commands.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens the socket.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// All Ethernet interfaces, in the kernel's order.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let mut links = Vec::new();
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.request("links", request, NLM_F_DUMP, |answer| {
            if let RouteNetlinkMessage::NewLink(message) = answer {
                links.extend(link(&message));
            }
        })?;
        Ok(links)
    }

    /// Switches an interface on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn bring_up(&mut self, link: &Link) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.command(&format!("bring {} up", link.name), RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Sets the largest packet of an interface, in bytes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_mtu(&mut self, link: &Link, mtu: u16) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        message.attributes.push(LinkAttribute::Mtu(mtu.into()));
        self.command(&format!("set the MTU of {} to {mtu}", link.name), RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Gives an interface the address of a lease, or prolongs it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add_address(&mut self, link: &Link, lease: &Lease) -> Result<(), NetlinkError> {
        let mut message = address(link, lease);
        let seconds = |d: Option<Duration>| d.map_or(u32::MAX, |d| u32::try_from(d.as_secs()).unwrap_or(u32::MAX));
        let mut times = CacheInfo::default();
        times.ifa_valid = seconds(lease.duration);
        times.ifa_preferred = seconds(lease.duration);
        message.attributes.push(AddressAttribute::CacheInfo(times));
        if lease.prefix < 31 {
            let host = u32::MAX >> lease.prefix;
            message.attributes.push(AddressAttribute::Broadcast(Ipv4Addr::from(u32::from(lease.address) | host)));
        }
        let what = format!("give {} the address {}/{}", link.name, lease.address, lease.prefix);
        self.command(&what, RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Takes the address of a lease away; the kernel takes its routes away with it.
    ///
    /// # Errors
    /// When the kernel refuses; not when the address is gone already.
    pub fn remove_address(&mut self, link: &Link, lease: &Lease) -> Result<(), NetlinkError> {
        let what = format!("take the address {} from {}", lease.address, link.name);
        match self.command(&what, RouteNetlinkMessage::DelAddress(address(link, lease)), 0) {
            Err(NetlinkError::Refused { source, .. })
                if source.raw_os_error() == Some(nix::errno::Errno::EADDRNOTAVAIL as i32) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Adds a route of a lease, or replaces the one of the same destination and metric.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add_route(&mut self, link: &Link, lease: &Lease, route: &Route, metric: u32) -> Result<(), NetlinkError> {
        let mut message = RouteMessage::default();
        let direct = route.gateway.is_unspecified();
        message.header.address_family = AddressFamily::Inet;
        message.header.destination_prefix_length = route.prefix;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Dhcp;
        message.header.scope = if direct { RouteScope::Link } else { RouteScope::Universe };
        message.header.kind = RouteType::Unicast;
        if route.prefix > 0 {
            message.attributes.push(RouteAttribute::Destination(route.destination.into()));
        }
        if !direct {
            message.attributes.push(RouteAttribute::Gateway(route.gateway.into()));
        }
        message.attributes.push(RouteAttribute::Oif(link.index));
        message.attributes.push(RouteAttribute::Priority(metric));
        message.attributes.push(RouteAttribute::PrefSource(lease.address.into()));
        let what = format!("add the route to {}/{} on {}", route.destination, route.prefix, link.name);
        self.command(&what, RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    fn command(&mut self, what: &str, message: RouteNetlinkMessage, flags: u16) -> Result<(), NetlinkError> {
        match self.request(what, message, NLM_F_ACK | flags, |_| {}) {
            Err(NetlinkError::Refused { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    /// Sends one request and hands every answer to `take` until the kernel says that it is done.
    fn request(
        &mut self,
        what: &str,
        message: RouteNetlinkMessage,
        flags: u16,
        mut take: impl FnMut(RouteNetlinkMessage),
    ) -> Result<(), NetlinkError> {
        let failed = |source| NetlinkError::Io { what: what.to_owned(), source };
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map_err(failed)?;
        loop {
            let (bytes, _) = self.socket.recv_from_full().map_err(failed)?;
            let mut rest = bytes.as_slice();
            while let Some(piece) = first_message(rest) {
                rest = &rest[piece.len().next_multiple_of(4).min(rest.len())..];
                // A message that the library does not understand (a new kernel's) is not one that was waited for.
                let Ok(answer) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(piece) else { continue };
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) => {
                        return match error.code {
                            None => Ok(()),
                            Some(_) => Err(NetlinkError::Refused { what: what.to_owned(), source: error.to_io() }),
                        };
                    }
                    NetlinkPayload::InnerMessage(inner) => take(inner),
                    _ => {}
                }
            }
        }
    }
}

/// The first message of a buffer, by the length in its header.
fn first_message(bytes: &[u8]) -> Option<&[u8]> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    let length = usize::try_from(length).ok()?;
    if length < 16 { None } else { bytes.get(..length) }
}

fn address(link: &Link, lease: &Lease) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.index = link.index;
    message.header.prefix_len = lease.prefix;
    message.attributes.push(AddressAttribute::Local(IpAddr::V4(lease.address)));
    message.attributes.push(AddressAttribute::Address(IpAddr::V4(lease.address)));
    message
}

fn link(message: &LinkMessage) -> Option<Link> {
    if message.header.link_layer_type != LinkLayerType::Ether {
        return None;
    }
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: [0; 6],
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        virtual_: false,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(mac) => link.mac = mac.as_slice().try_into().ok()?,
            LinkAttribute::LinkInfo(_) | LinkAttribute::Controller(_) => link.virtual_ = true,
            _ => {}
        }
    }
    (link.mac != [0; 6]).then_some(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_by_their_length() {
        let mut bytes = vec![0; 40];
        bytes[..4].copy_from_slice(&20_u32.to_ne_bytes());
        assert_eq!(first_message(&bytes).map(<[u8]>::len), Some(20));
        bytes[..4].copy_from_slice(&99_u32.to_ne_bytes());
        assert_eq!(first_message(&bytes), None);
        assert_eq!(first_message(&[0; 3]), None);
        assert_eq!(first_message(&[0; 32]), None, "a length of zero would never end");
    }

    #[test]
    fn the_kernel_lists_links() {
        // Loopback is not Ethernet; whatever else there is has a name and an address.
        for link in Netlink::open().unwrap().links().unwrap() {
            assert!(!link.name.is_empty() && link.index > 0 && link.name != "lo");
        }
    }
}
