//! Links: what the kernel says of them, and the settings that all of them have.

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        AfSpecInet6, AfSpecUnspec, Inet6IfaceFlags, InfoBondPort, InfoKind, InfoPortData, LinkAttribute, LinkFlags,
        LinkInfo, LinkLayerType, LinkMessage,
    },
};

use super::{Netlink, NetlinkError};

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
        self.dump("links", RouteNetlinkMessage::GetLink(LinkMessage::default()), |answer| {
            if let RouteNetlinkMessage::NewLink(message) = answer {
                links.extend(link(&message));
            }
        })?;
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
        self.command(&what, RouteNetlinkMessage::SetLink(message), 0)
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
        self.command(what, RouteNetlinkMessage::SetLink(message), 0)
    }
}

fn link(message: &LinkMessage) -> Option<Link> {
    if message.header.link_layer_type != LinkLayerType::Ether {
        return None;
    }
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: [0; 6],
        permanent_mac: None,
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        kind: LinkKind::Physical,
        controller: None,
        mtu: 0,
        advertised: Advertised::default(),
    };
    let mut kept = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(mac) => link.mac = mac.as_slice().try_into().ok()?,
            LinkAttribute::PermAddress(mac) => {
                link.permanent_mac = mac.as_slice().try_into().ok().filter(|mac| *mac != [0; 6]);
            }
            LinkAttribute::Controller(index) => link.controller = Some(*index),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::LinkInfo(infos) => {
                link.kind = kind(infos).unwrap_or(link.kind);
                kept = mac_before_bond(infos);
            }
            LinkAttribute::AfSpecUnspec(families) => link.advertised = advertised(families),
            _ => {}
        }
    }
    link.permanent_mac = link.permanent_mac.or(kept);
    (link.mac != [0; 6] && !link.name.is_empty()).then_some(link)
}

/// The address that a member of a bond had before it got the bond's.
fn mac_before_bond(infos: &[LinkInfo]) -> Option<[u8; 6]> {
    let port = infos.iter().find_map(|info| match info {
        LinkInfo::PortData(InfoPortData::BondPort(port)) => Some(port),
        _ => None,
    })?;
    port.iter().find_map(|attribute| match attribute {
        InfoBondPort::PermHwaddr(mac) => mac.as_slice().try_into().ok(),
        _ => None,
    })
}

/// `None` when there is only what a bond or bridge says about its port.
fn kind(infos: &[LinkInfo]) -> Option<LinkKind> {
    infos.iter().find_map(|info| match info {
        LinkInfo::Kind(InfoKind::Bond) => Some(LinkKind::Bond),
        LinkInfo::Kind(InfoKind::Bridge) => Some(LinkKind::Bridge),
        LinkInfo::Kind(InfoKind::Vlan) => Some(LinkKind::Vlan),
        LinkInfo::Kind(InfoKind::Veth) => Some(LinkKind::Veth),
        LinkInfo::Kind(_) => Some(LinkKind::Other),
        _ => None,
    })
}

fn advertised(families: &[AfSpecUnspec]) -> Advertised {
    let six = families.iter().find_map(|family| match family {
        AfSpecUnspec::Inet6(six) => Some(six),
        _ => None,
    });
    let flags = six.into_iter().flatten().find_map(|attribute| match attribute {
        AfSpecInet6::Flags(flags) => Some(*flags),
        _ => None,
    });
    flags.map_or_else(Advertised::default, |flags| Advertised {
        received: flags.contains(Inet6IfaceFlags::RaRcvd),
        managed: flags.contains(Inet6IfaceFlags::RaManaged),
        other: flags.contains(Inet6IfaceFlags::Otherconf),
    })
}
