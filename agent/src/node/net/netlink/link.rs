//! Links: what the kernel says of them, and the settings that all of them have.

use netlink_packet_route::link::{Inet6IfaceFlags, LinkAttribute, LinkFlags, LinkHeader, LinkLayerType, LinkMessage};
use nix::libc::{RTM_GETLINK, RTM_SETLINK};

use super::{
    Netlink, NetlinkError,
    attributes::{attribute, attributes, number, text},
};

/// What made a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// Hardware, or what a hypervisor passes for it.
    Physical,
    /// A bond.
    Bond,
    /// A bridge.
    Bridge,
    /// A tagged network.
    Vlan,
    /// One end of a pair; hardware to tests, and somebody else's business elsewhere.
    Veth,
    /// Any other software.
    Other,
}

/// What router advertisements said, as the kernel keeps it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Advertised {
    /// There was one.
    pub received: bool,
    /// Addresses are to be had by DHCPv6.
    pub managed: bool,
    /// Other configuration is to be had by DHCPv6.
    pub other: bool,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number.
    pub index: u32,
    /// `eth0`.
    pub name: String,
    /// Hardware address.
    pub mac: [u8; 6],
    /// The hardware address that it was made with, where the driver tells.
    pub permanent_mac: Option<[u8; 6]>,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether there is a link partner.
    pub carrier: bool,
    /// What made it.
    pub kind: LinkKind,
    /// Number of the bond, the bridge or the Hyper-V interface that it is part of.
    pub controller: Option<u32>,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// What routers said on it.
    pub advertised: Advertised,
}

impl Netlink {
    /// All Ethernet interfaces, in the kernel's order.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let mut links = Vec::new();
        self.dump("links", RTM_GETLINK, &LinkMessage::default(), &mut |body| links.extend(link(body)))?;
        Ok(links)
    }

    /// Switches an interface on or off.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_up(&mut self, link: &Link, up: bool) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        message.header.change_mask = LinkFlags::Up;
        let what = format!("bring {} {}", link.name, if up { "up" } else { "down" });
        self.command(&what, RTM_SETLINK, &message, 0)
    }

    /// Sets the largest packet of an interface, in bytes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_mtu(&mut self, link: &Link, mtu: u32) -> Result<(), NetlinkError> {
        self.set(link, &format!("set the MTU of {} to {mtu}", link.name), LinkAttribute::Mtu(mtu))
    }

    /// Gives an interface a hardware address.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_mac(&mut self, link: &Link, mac: [u8; 6]) -> Result<(), NetlinkError> {
        let what = format!("give {} its hardware address", link.name);
        self.set(link, &what, LinkAttribute::Address(mac.to_vec()))
    }

    /// Gives an interface a name; it has to be down.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn rename(&mut self, link: &Link, name: &str) -> Result<(), NetlinkError> {
        let what = format!("rename {} to {name}", link.name);
        self.set(link, &what, LinkAttribute::IfName(name.to_owned()))
    }

    /// Makes an interface part of a bond or bridge.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_controller(&mut self, link: &Link, controller: &Link) -> Result<(), NetlinkError> {
        let what = format!("put {} into {}", link.name, controller.name);
        self.set(link, &what, LinkAttribute::Controller(controller.index))
    }

    fn set(&mut self, link: &Link, what: &str, attribute: LinkAttribute) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        message.attributes.push(attribute);
        self.command(what, RTM_SETLINK, &message, 0)
    }
}

/// Numbers of `linux/if_link.h`, without their `IFLA_`.
mod kind {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const IFNAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const MASTER: u16 = 10;
    pub(super) const LINKINFO: u16 = 18;
    pub(super) const AF_SPEC: u16 = 26;
    pub(super) const PERM_ADDRESS: u16 = 54;
    /// In `LINKINFO`.
    pub(super) const INFO_KIND: u16 = 1;
    pub(super) const INFO_SLAVE_KIND: u16 = 4;
    pub(super) const INFO_SLAVE_DATA: u16 = 5;
    /// In `INFO_SLAVE_DATA` of a bond.
    pub(super) const BOND_SLAVE_PERM_HWADDR: u16 = 4;
    /// In `AF_SPEC`: `AF_INET6`, and in that.
    pub(super) const INET6: u16 = 10;
    pub(super) const INET6_FLAGS: u16 = 1;
}

/// `struct ifinfomsg`.
const HEADER: usize = 16;

fn link(body: &[u8]) -> Option<Link> {
    let header = LinkHeader::parse(body).ok()?;
    if header.link_layer_type != LinkLayerType::Ether {
        return None;
    }
    let mut link = Link {
        index: header.index,
        name: String::new(),
        mac: [0; 6],
        permanent_mac: None,
        up: header.flags.contains(LinkFlags::Up),
        carrier: header.flags.contains(LinkFlags::LowerUp),
        kind: LinkKind::Physical,
        controller: None,
        mtu: 0,
        advertised: Advertised::default(),
    };
    let mut kept = None;
    for (kind, value) in attributes(body.get(HEADER..)?) {
        match kind {
            kind::IFNAME => text(value)?.clone_into(&mut link.name),
            kind::ADDRESS => link.mac = value.try_into().ok()?,
            kind::PERM_ADDRESS => link.permanent_mac = value.try_into().ok().filter(|mac| *mac != [0; 6]),
            kind::MASTER => link.controller = Some(number(value)?),
            kind::MTU => link.mtu = number(value)?,
            kind::LINKINFO => {
                link.kind = made_by(value).unwrap_or(link.kind);
                kept = mac_before_bond(value);
            }
            kind::AF_SPEC => link.advertised = advertised(value),
            _ => {}
        }
    }
    link.permanent_mac = link.permanent_mac.or(kept);
    (link.mac != [0; 6] && !link.name.is_empty()).then_some(link)
}

/// The address that a member of a bond had before it got the bond's.
fn mac_before_bond(info: &[u8]) -> Option<[u8; 6]> {
    if attribute(info, kind::INFO_SLAVE_KIND).and_then(text) != Some("bond") {
        return None;
    }
    attribute(attribute(info, kind::INFO_SLAVE_DATA)?, kind::BOND_SLAVE_PERM_HWADDR)?.try_into().ok()
}

/// `None` when there is only what a bond or bridge says about its port.
fn made_by(info: &[u8]) -> Option<LinkKind> {
    Some(match text(attribute(info, kind::INFO_KIND)?)? {
        "bond" => LinkKind::Bond,
        "bridge" => LinkKind::Bridge,
        "vlan" => LinkKind::Vlan,
        "veth" => LinkKind::Veth,
        _ => LinkKind::Other,
    })
}

fn advertised(families: &[u8]) -> Advertised {
    let flags = attribute(families, kind::INET6).and_then(|six| attribute(six, kind::INET6_FLAGS)).and_then(number);
    let flags = Inet6IfaceFlags::from_bits_retain(flags.unwrap_or_default());
    Advertised {
        received: flags.contains(Inet6IfaceFlags::RaRcvd),
        managed: flags.contains(Inet6IfaceFlags::RaManaged),
        other: flags.contains(Inet6IfaceFlags::Otherconf),
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable as _;
    use netlink_packet_route::link::{
        AfSpecInet6, AfSpecUnspec, InfoBondPort, InfoKind, InfoPortData, InfoPortKind, LinkInfo,
    };
    use proptest::prelude::*;

    use super::*;

    /// As the library writes it.
    fn written(attributes: Vec<LinkAttribute>) -> Vec<u8> {
        let mut message = LinkMessage::default();
        message.header.index = 3;
        message.header.link_layer_type = LinkLayerType::Ether;
        message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
        message.attributes = vec![LinkAttribute::IfName("eth1".to_owned()), LinkAttribute::Address(vec![2; 6])];
        message.attributes.extend(attributes);
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    #[test]
    fn a_member_of_a_bond() {
        let flags = Inet6IfaceFlags::RaRcvd | Inet6IfaceFlags::Otherconf;
        let bytes = written(vec![
            LinkAttribute::Mtu(9000),
            LinkAttribute::Controller(9),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::PortKind(InfoPortKind::Bond),
                LinkInfo::PortData(InfoPortData::BondPort(vec![InfoBondPort::PermHwaddr(vec![4; 6])])),
            ]),
            LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::Flags(flags)])]),
        ]);
        let want = Link {
            index: 3,
            name: "eth1".to_owned(),
            mac: [2; 6],
            permanent_mac: Some([4; 6]),
            up: true,
            carrier: true,
            kind: LinkKind::Physical,
            controller: Some(9),
            mtu: 9000,
            advertised: Advertised { received: true, managed: false, other: true },
        };
        assert_eq!(link(&bytes), Some(want));
    }

    #[test]
    fn what_made_a_link() {
        for (info, want) in [
            (InfoKind::Bond, LinkKind::Bond),
            (InfoKind::Bridge, LinkKind::Bridge),
            (InfoKind::Vlan, LinkKind::Vlan),
            (InfoKind::Veth, LinkKind::Veth),
            (InfoKind::Dummy, LinkKind::Other),
        ] {
            let bytes = written(vec![LinkAttribute::LinkInfo(vec![LinkInfo::Kind(info)])]);
            assert_eq!(link(&bytes).unwrap().kind, want);
        }
        let made = written(vec![LinkAttribute::PermAddress(vec![6; 6])]);
        let made = link(&made).unwrap();
        assert_eq!((made.kind, made.permanent_mac), (LinkKind::Physical, Some([6; 6])));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>, info: Vec<u8>) {
            let _ = (link(&bytes), mac_before_bond(&info), made_by(&info), advertised(&info));
            let mut whole = written(Vec::new());
            whole.extend(bytes);
            let _ = link(&whole);
        }
    }
}
