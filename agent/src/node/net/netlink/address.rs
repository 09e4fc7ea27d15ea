//! Addresses of interfaces.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily,
    address::{
        AddressAttribute, AddressFlags, AddressHeader, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
    },
};

use nix::libc::{RTM_DELADDR, RTM_GETADDR, RTM_NEWADDR};

use super::{Link, Netlink, NetlinkError, attributes};
use crate::node::netconfig::Cidr;

/// How long an address may be used; `None` is for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// For new connections.
    pub preferred: Option<Duration>,
    /// At all.
    pub valid: Option<Duration>,
}

/// An address that the kernel has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelAddress {
    /// Number of its interface.
    pub index: u32,
    /// The address.
    pub cidr: Cidr,
    /// Whether packets may be sent from it: not while it is checked for duplicates, nor when it has one.
    pub usable: bool,
}

impl Netlink {
    /// All addresses, in the kernel's order.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn addresses(&mut self) -> Result<Vec<KernelAddress>, NetlinkError> {
        let mut addresses = Vec::new();
        self.dump("addresses", RTM_GETADDR, &AddressMessage::default(), &mut |body| addresses.extend(read(body)))?;
        Ok(addresses)
    }

    /// Gives an interface an address, or prolongs it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add_address(&mut self, link: &Link, cidr: Cidr, lifetime: Lifetime) -> Result<(), NetlinkError> {
        let mut message = message(link, cidr);
        let seconds = |d: Option<Duration>| d.map_or(u32::MAX, |d| u32::try_from(d.as_secs()).unwrap_or(u32::MAX));
        let mut times = CacheInfo::default();
        times.ifa_valid = seconds(lifetime.valid);
        times.ifa_preferred = seconds(lifetime.preferred);
        message.attributes.push(AddressAttribute::CacheInfo(times));
        if let IpAddr::V4(address) = cidr.address {
            if address.is_link_local() {
                message.header.scope = AddressScope::Link;
            }
            if cidr.prefix < 31 {
                let host = u32::MAX.checked_shr(cidr.prefix.into()).unwrap_or(0);
                message.attributes.push(AddressAttribute::Broadcast(Ipv4Addr::from(u32::from(address) | host)));
            }
        }
        let what = format!("give {} the address {cidr}", link.name);
        self.addition(&what, RTM_NEWADDR, &message, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Takes an address away; the kernel takes the routes from it away with it.
    ///
    /// # Errors
    /// When the kernel refuses; not when the address is gone already.
    pub fn remove_address(&mut self, link: &Link, cidr: Cidr) -> Result<(), NetlinkError> {
        let what = format!("take the address {cidr} from {}", link.name);
        self.removal(&what, RTM_DELADDR, &message(link, cidr))
    }
}

fn message(link: &Link, cidr: Cidr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = match cidr.address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.index = link.index;
    message.header.prefix_len = cidr.prefix;
    message.attributes.push(AddressAttribute::Local(cidr.address));
    message.attributes.push(AddressAttribute::Address(cidr.address));
    message
}

/// `IFA_ADDRESS`, `IFA_LOCAL`, `IFA_FLAGS`.
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const FLAGS: u16 = 8;
/// `struct ifaddrmsg`.
const HEADER: usize = 8;

fn read(body: &[u8]) -> Option<KernelAddress> {
    let header = AddressHeader::parse(body).ok()?;
    let (mut local, mut address) = (None, None);
    let mut usable = !header.flags.intersects(AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed)
        || header.flags.contains(AddressHeaderFlags::Optimistic);
    for (kind, value) in attributes::attributes(body.get(HEADER..)?) {
        match kind {
            LOCAL => local = attributes::address(value),
            ADDRESS => address = attributes::address(value),
            FLAGS => {
                let flags = AddressFlags::from_bits_retain(attributes::number(value)?);
                usable &= !flags.contains(AddressFlags::Dadfailed);
            }
            _ => {}
        }
    }
    // On a point-to-point link the other one is the peer's.
    let cidr = Cidr { address: local.or(address)?, prefix: header.prefix_len };
    Some(KernelAddress { index: header.index, cidr, usable })
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable as _;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_is_the_local_one_and_usable_when_it_has_no_double() {
        let mut message = AddressMessage::default();
        (message.header.family, message.header.prefix_len, message.header.index) = (AddressFamily::Inet, 24, 3);
        message.attributes.push(AddressAttribute::Address([192, 0, 2, 9].into()));
        message.attributes.push(AddressAttribute::Local([192, 0, 2, 1].into()));
        let written = |message: &AddressMessage| {
            let mut bytes = vec![0; message.buffer_len()];
            message.emit(&mut bytes);
            bytes
        };
        let cidr = Cidr { address: [192, 0, 2, 1].into(), prefix: 24 };
        assert_eq!(read(&written(&message)), Some(KernelAddress { index: 3, cidr, usable: true }));
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Permanent | AddressFlags::Dadfailed));
        assert_eq!(read(&written(&message)), Some(KernelAddress { index: 3, cidr, usable: false }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }
    }
}
