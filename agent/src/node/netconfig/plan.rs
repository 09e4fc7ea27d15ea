//! The types of a network plan: what the kernel is told, whatever format it was written in.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

/// The network of a machine. When it names any interface, interfaces that it does not name are left alone; a machine
/// without a plan does DHCP on every interface instead.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkPlan {
    /// In the order of the configuration; members and links of bonds, bridges and VLANs are interfaces of their own.
    pub interfaces: Vec<Interface>,
    /// Name servers and search domains that belong to no interface.
    pub dns: Dns,
}

/// One interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// The name that other parts of the plan call it by: its key in version 2, its `name` in version 1.
    pub id: String,
    /// Which of the machine's interfaces it is. Virtual ones are made and have none.
    pub select: Select,
    /// The name that it is given, when another than the kernel's is asked for. Virtual ones are called [`Self::id`].
    pub rename: Option<String>,
    /// What it is.
    pub kind: Kind,
    /// The hardware address that it is given.
    pub mac: Option<Mac>,
    /// Largest packet, in bytes.
    pub mtu: Option<u32>,
    /// DHCP for IPv4.
    pub dhcp4: Option<DhcpOptions>,
    /// DHCP for IPv6.
    pub dhcp6: Option<DhcpOptions>,
    /// Whether router advertisements are listened to; `None` leaves it to the kernel, which does.
    pub accept_ra: Option<bool>,
    /// Whether it gets an IPv6 address of its own on the link; `None` leaves it to the kernel, which gives one.
    pub ipv6_link_local: Option<bool>,
    /// Static addresses.
    pub addresses: Vec<Cidr>,
    /// Static routes.
    pub routes: Vec<Route>,
    /// Policy rules.
    pub rules: Vec<Rule>,
    /// Name servers and search domains of this interface.
    pub dns: Dns,
    /// Nothing waits for it.
    pub optional: bool,
    /// It is configured and left switched off (`control: manual`).
    pub down: bool,
}

/// How a physical interface is recognised: everything that is set must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Select {
    /// Hardware address (the permanent one).
    pub mac: Option<Mac>,
    /// The kernel's name, a pattern with `*`, `?` and `[...]`. A pattern may fit several interfaces.
    pub name: Option<String>,
    /// Names of drivers, patterns of which one must fit.
    pub drivers: Vec<String>,
}

/// What kind an interface is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Hardware, or what a hypervisor passes for it.
    #[default]
    Physical,
    /// Several interfaces that act as one.
    Bond(Bond),
    /// A switch in software.
    Bridge(Bridge),
    /// A tagged network on another interface.
    Vlan(Vlan),
}

/// `bond-mode`, in the kernel's numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BondMode {
    /// Packet by packet.
    #[default]
    BalanceRr = 0,
    /// One works, the others stand by.
    ActiveBackup = 1,
    /// By hash of the addresses.
    BalanceXor = 2,
    /// On all of them.
    Broadcast = 3,
    /// LACP.
    #[serde(rename = "802.3ad")]
    Lacp = 4,
    /// By load, sending only.
    BalanceTlb = 5,
    /// By load.
    BalanceAlb = 6,
}

/// The settings of a bond; `None` leaves the kernel's default. Names and numbers are the kernel's (`bonding.rst`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bond {
    /// [`Interface::id`] of its members.
    pub members: Vec<String>,
    /// How it uses them.
    pub mode: BondMode,
    /// `miimon`: milliseconds between looks at the carriers.
    pub miimon: Option<u32>,
    /// Milliseconds that a link must be up before it is used.
    pub up_delay: Option<u32>,
    /// Milliseconds that a link must be down before it is given up.
    pub down_delay: Option<u32>,
    /// Whether LACP packets are wanted each second (`lacp_rate fast`) rather than every 30 s.
    pub lacp_fast: Option<bool>,
    /// `xmit_hash_policy`: 0 `layer2`, 1 `layer3+4`, 2 `layer2+3`, 3 `encap2+3`, 4 `encap3+4`, 5 `vlan+srcmac`.
    pub transmit_hash_policy: Option<u8>,
    /// `ad_select`: 0 `stable`, 1 `bandwidth`, 2 `count`.
    pub ad_select: Option<u8>,
    /// Links that must be up for the bond to be.
    pub min_links: Option<u32>,
    /// [`Interface::id`] of the preferred member.
    pub primary: Option<String>,
    /// `primary_reselect`: 0 `always`, 1 `better`, 2 `failure`.
    pub primary_reselect: Option<u8>,
    /// `fail_over_mac`: 0 `none`, 1 `active`, 2 `follow`.
    pub fail_over_mac: Option<u8>,
    /// Milliseconds between ARP probes.
    pub arp_interval: Option<u32>,
    /// Whom to probe.
    pub arp_targets: Vec<std::net::Ipv4Addr>,
    /// `arp_validate`: 0 `none`, 1 `active`, 2 `backup`, 3 `all`, and 4 to 6 with `filter`.
    pub arp_validate: Option<u32>,
    /// `arp_all_targets`: whether all must answer.
    pub arp_all_targets: Option<bool>,
    /// `num_grat_arp`: announcements after a change of the active member.
    pub gratuitous_arp: Option<u8>,
    /// `packets_per_slave`.
    pub packets_per_member: Option<u32>,
    /// `lp_interval`: seconds between learning packets.
    pub learn_packet_interval: Option<u32>,
    /// `all_slaves_active`.
    pub all_members_active: Option<bool>,
}

/// The settings of a bridge; `None` leaves the kernel's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bridge {
    /// [`Interface::id`] of its ports.
    pub ports: Vec<String>,
    /// Spanning tree protocol.
    pub stp: Option<bool>,
    /// Seconds in the listening and the learning state.
    pub forward_delay: Option<u32>,
    /// Seconds between hello packets.
    pub hello_time: Option<u32>,
    /// Seconds after which a silent root is given up.
    pub max_age: Option<u32>,
    /// Seconds that an address is remembered.
    pub ageing_time: Option<u32>,
    /// Priority of the bridge.
    pub priority: Option<u16>,
    /// Cost of ports, by [`Interface::id`].
    pub path_cost: Vec<(String, u32)>,
    /// Priority of ports, by [`Interface::id`].
    pub port_priority: Vec<(String, u16)>,
}

/// A tagged network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Vlan {
    /// The tag, 0 to 4094.
    pub tag: u16,
    /// [`Interface::id`] of the interface below.
    pub link: String,
}

/// What is done with a DHCP server's answer (`dhcp4-overrides`); the default is everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DhcpOptions {
    /// Metric of its routes.
    pub metric: Option<u32>,
    /// Its name servers are used.
    pub use_dns: bool,
    /// Its domain is used.
    pub use_domain: bool,
    /// Its routes are used.
    pub use_routes: bool,
    /// Its MTU is used.
    pub use_mtu: bool,
    /// Its time servers are used.
    pub use_ntp: bool,
    /// Its name for this machine is used.
    pub use_hostname: bool,
    /// For IPv6: ask for other configuration only, no address (`ipv6_dhcpv6-stateless`).
    pub stateless: bool,
}

impl Default for DhcpOptions {
    fn default() -> Self {
        Self {
            metric: None,
            use_dns: true,
            use_domain: true,
            use_routes: true,
            use_mtu: true,
            use_ntp: true,
            use_hostname: true,
            stateless: false,
        }
    }
}

/// An address with the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cidr {
    /// The address.
    pub address: IpAddr,
    /// Length of the prefix in bits, at most 32 or 128.
    pub prefix: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A static route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to; prefix 0 for the default route.
    pub to: Cidr,
    /// The way there; none when the network is on the link.
    pub via: Option<IpAddr>,
    /// Lower ones are preferred.
    pub metric: Option<u32>,
    /// The gateway is reached on this link though no address of the interface covers it.
    pub on_link: bool,
    /// Routing table; the main one without.
    pub table: Option<u32>,
    /// Largest packet.
    pub mtu: Option<u32>,
    /// Source address of packets that this machine begins.
    pub from: Option<IpAddr>,
    /// What becomes of packets.
    pub kind: RouteKind,
}

/// What becomes of packets that take a route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// Sent on.
    #[default]
    Unicast,
    /// Dropped in silence.
    Blackhole,
    /// Answered with "host unreachable".
    Unreachable,
    /// Answered with "administratively prohibited".
    Prohibit,
}

/// A policy rule: which packets look into which table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Packets from here.
    pub from: Option<Cidr>,
    /// Packets to here.
    pub to: Option<Cidr>,
    /// The table.
    pub table: u32,
    /// Lower ones are asked first.
    pub priority: Option<u32>,
    /// Packets with this mark.
    pub mark: Option<u32>,
    /// Packets of this type of service.
    pub tos: Option<u8>,
}

/// Name servers and search domains, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Servers.
    pub servers: Vec<IpAddr>,
    /// Domains.
    pub search: Vec<String>,
}

/// A hardware address; as text, lower case with colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

/// Not a hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a hardware address like 52:54:00:12:34:56")]
pub struct MacError(pub String);

impl FromStr for Mac {
    type Err = MacError;

    /// Six pairs of hexadecimal digits in either case, separated by `:` or `-`, or not separated at all (Azure).
    fn from_str(text: &str) -> Result<Self, MacError> {
        let wrong = || MacError(text.chars().take(40).collect());
        let separator = text.as_bytes().get(2).copied().filter(|byte| matches!(byte, b':' | b'-'));
        let digits: Vec<u8> = match separator {
            Some(separator) if text.len() == 17 => {
                let fits = |(n, byte): (usize, u8)| (byte == separator) == (n % 3 == 2);
                if !text.bytes().enumerate().all(fits) {
                    return Err(wrong());
                }
                text.bytes().filter(|byte| *byte != separator).collect()
            }
            None if text.len() == 12 => text.bytes().collect(),
            _ => return Err(wrong()),
        };
        let mut mac = [0; 6];
        for (byte, pair) in mac.iter_mut().zip(digits.chunks(2)) {
            let digit = |at: usize| pair.get(at).and_then(|c| char::from(*c).to_digit(16));
            let (Some(high), Some(low)) = (digit(0), digit(1)) else { return Err(wrong()) };
            *byte = u8::try_from(high * 16 + low).map_err(|_| wrong())?;
        }
        Ok(Self(mac))
    }
}

impl TryFrom<String> for Mac {
    type Error = MacError;

    fn try_from(text: String) -> Result<Self, MacError> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hardware_addresses_in_all_spellings() {
        let mac = Mac([0x52, 0x54, 0, 0xab, 0xcd, 0xef]);
        for text in ["52:54:00:ab:cd:ef", "52-54-00-AB-CD-EF", "525400ABCDEF"] {
            assert_eq!(text.parse(), Ok(mac));
        }
        assert_eq!(mac.to_string(), "52:54:00:ab:cd:ef");
        for text in ["", "52:54:00:ab:cd", "52:54:00:ab:cd-ef", "52:54:00:ab:cd:eg", "5254:00ab:cdef:1", "41135085296"]
        {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: String) {
            let _ = text.parse::<Mac>();
        }

        #[test]
        fn what_is_printed_is_read(bytes: [u8; 6]) {
            prop_assert_eq!(Mac(bytes).to_string().parse(), Ok(Mac(bytes)));
        }
    }
}
