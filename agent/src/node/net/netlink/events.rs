//! What the kernel says without being asked.

use std::{
    io,
    net::Ipv6Addr,
    os::fd::{AsFd as _, BorrowedFd},
};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::Messages;

/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV6_IFADDR`, `RTMGRP_IPV6_ROUTE`, `RTMGRP_IPV6_IFINFO`, and
/// `RTNLGRP_ND_USEROPT` as a bit.
const GROUPS: u32 = 0x1 | 0x10 | 0x100 | 0x400 | 0x800 | 1 << 19;

/// `RTM_NEWLINK`, `RTM_DELLINK`.
const LINKS: std::ops::RangeInclusive<u16> = 16..=17;
/// `RTM_NEWNDUSEROPT`.
const OPTIONS: u16 = 68;

/// A socket that the kernel tells about changes.
#[derive(Debug)]
pub(in crate::node::net) struct Events {
    socket: Socket,
}

/// What a look at the events gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::node::net) struct Seen {
    /// Something about links changed.
    pub(in crate::node::net) links: bool,
    /// Something about addresses or routes changed.
    pub(in crate::node::net) addresses: bool,
    /// Name servers that routers advertise.
    pub(in crate::node::net) resolvers: Vec<Resolvers>,
}

/// The name servers of one router's advertisement (RFC 8106).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::node::net) struct Resolvers {
    /// Number of the interface.
    pub(in crate::node::net) index: u32,
    /// Servers, with the seconds for which each may be used.
    pub(in crate::node::net) servers: Vec<(Ipv6Addr, u32)>,
}

impl Events {
    pub(in crate::node::net) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, GROUPS))?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket })
    }

    pub(in crate::node::net) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads all that lies there.
    pub(in crate::node::net) fn read(&self) -> Seen {
        let mut seen = Seen::default();
        loop {
            match self.socket.recv_from_full() {
                Ok((bytes, _)) => take(&bytes, &mut seen),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return seen,
                // Events were lost: everything may have changed.
                Err(_) => {
                    (seen.links, seen.addresses) = (true, true);
                    return seen;
                }
            }
        }
    }
}

fn take(bytes: &[u8], seen: &mut Seen) {
    for message in Messages(bytes) {
        match u16::from_ne_bytes([message[4], message[5]]) {
            kind if LINKS.contains(&kind) => seen.links = true,
            OPTIONS => seen.resolvers.extend(resolvers(&message[16..])),
            _ => seen.addresses = true,
        }
    }
}

/// `struct nduseroptmsg` and a neighbour discovery option: 25 is RDNSS.
fn resolvers(bytes: &[u8]) -> Option<Resolvers> {
    const HEADER: usize = 16;
    const RDNSS: u8 = 25;
    let length = usize::from(u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]));
    let index = u32::from_ne_bytes(bytes.get(4..8)?.try_into().ok()?);
    let option = bytes.get(HEADER..HEADER + length)?;
    if *option.first()? != RDNSS {
        return None;
    }
    let option = option.get(..usize::from(*option.get(1)?) * 8)?;
    let lifetime = u32::from_be_bytes(option.get(4..8)?.try_into().ok()?);
    let addresses = option.get(8..)?.chunks_exact(16).filter_map(|bytes| <[u8; 16]>::try_from(bytes).ok());
    Some(Resolvers { index, servers: addresses.map(|address| (address.into(), lifetime)).collect() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + body.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn name_servers_of_an_advertisement() {
        let server = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x53);
        let mut body = vec![10, 0];
        body.extend(24_u16.to_ne_bytes());
        body.extend(7_u32.to_ne_bytes());
        body.extend([134, 0, 0, 0, 0, 0, 0, 0]);
        body.extend([25, 3, 0, 0]);
        body.extend(600_u32.to_be_bytes());
        body.extend(server.octets());
        let mut seen = Seen::default();
        take(&message(OPTIONS, &body), &mut seen);
        assert_eq!(seen.resolvers, [Resolvers { index: 7, servers: vec![(server, 600)] }]);
        assert!(!seen.links && !seen.addresses);
        take(&message(16, &[]), &mut seen);
        take(&message(20, &[]), &mut seen);
        assert!(seen.links && seen.addresses);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>, body: Vec<u8>) {
            let mut seen = Seen::default();
            take(&bytes, &mut seen);
            take(&message(OPTIONS, &body), &mut seen);
        }
    }
}
