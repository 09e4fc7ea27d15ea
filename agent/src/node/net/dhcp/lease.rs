//! What a server's answer means.

use std::{net::Ipv4Addr, time::Duration};

use super::{message::Message, options::code};
use crate::node::netconfig::DhcpOptions;

/// Shorter leases are taken as this long: a client that renews every second helps nobody.
const SHORTEST: u32 = 30;
/// A lease without a length, which no server should give.
const USUAL: u32 = 3600;
/// The least MTU of IPv4.
const LEAST_MTU: u16 = 576;

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Network.
    pub destination: Ipv4Addr,
    /// Length of its prefix.
    pub prefix: u8,
    /// The way there; unspecified when the network is on the link.
    pub gateway: Ipv4Addr,
}

/// An address, and what came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Length of its prefix.
    pub prefix: u8,
    /// The server, as it calls itself.
    pub server: Ipv4Addr,
    /// Routes, on-link ones first.
    pub routes: Vec<Route>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Domain.
    pub domain: Option<String>,
    /// The name the server has for this machine.
    pub hostname: Option<String>,
    /// Time servers.
    pub ntp: Vec<Ipv4Addr>,
    /// The link's MTU.
    pub mtu: Option<u16>,
    /// Azure's wire server.
    pub wire_server: Option<Ipv4Addr>,
    /// How long the address may be used; `None` is for ever.
    pub duration: Option<Duration>,
    /// When to ask the server again.
    pub renew: Duration,
    /// When to ask any server.
    pub rebind: Duration,
}

impl Lease {
    /// Reads an OFFER or ACK. `None` when it lacks an address or a server, or the address can be nobody's.
    #[must_use]
    pub fn from_message(message: &Message) -> Option<Self> {
        let address = message.yiaddr;
        let unusable =
            address.is_loopback() || address.is_multicast() || address.is_broadcast() || address.octets()[0] == 0;
        if unusable {
            return None;
        }
        let server = message.ip(code::SERVER_ID)?;
        let prefix = match message.ip(code::SUBNET_MASK) {
            Some(mask) => prefix_of(mask)?,
            None => classful(address),
        };
        let ips = |code| message.ips(code).into_iter().filter(|ip| !ip.is_unspecified()).collect::<Vec<_>>();
        let whole = message.long(code::LEASE_TIME).unwrap_or(USUAL).max(SHORTEST);
        let (renew, rebind) = times(whole, message.long(code::RENEWAL), message.long(code::REBINDING));
        Some(Self {
            address,
            prefix,
            server,
            routes: routes(message.classless_routes(), &ips(code::ROUTER), address, prefix),
            dns: ips(code::DNS),
            domain: message.text(code::DOMAIN_NAME).and_then(|name| name_of(&name)),
            hostname: message.text(code::HOST_NAME).and_then(|name| name_of(&name)),
            ntp: ips(code::NTP),
            mtu: message.short(code::MTU).filter(|mtu| *mtu >= LEAST_MTU),
            wire_server: message.ip(code::WIRE_SERVER).filter(|ip| !ip.is_unspecified()),
            duration: (whole != u32::MAX).then(|| Duration::from_secs(whole.into())),
            renew,
            rebind,
        })
    }

    /// What may be used of it.
    #[must_use]
    pub fn restricted(&self, options: &DhcpOptions) -> Self {
        let mut lease = self.clone();
        if !options.use_dns {
            lease.dns.clear();
        }
        if !options.use_domain {
            lease.domain = None;
        }
        if !options.use_hostname {
            lease.hostname = None;
        }
        if !options.use_ntp {
            lease.ntp.clear();
        }
        if !options.use_mtu {
            lease.mtu = None;
        }
        if !options.use_routes {
            lease.routes.clear();
        }
        lease
    }
}

/// A name that may stand in a configuration file: without the terminating NUL of some servers, white space or controls.
fn name_of(text: &str) -> Option<String> {
    let name = text.trim_end_matches(['\0', '.']).trim();
    let fits = !name.is_empty() && name.len() <= 253;
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    (fits && plain).then(|| name.to_owned())
}

/// T1 and T2: what the server says when it makes sense, else a half and seven eighths.
fn times(whole: u32, renew: Option<u32>, rebind: Option<u32>) -> (Duration, Duration) {
    let (half, eighths) = (whole / 2, whole - whole / 8);
    let (renew, rebind) = match (renew, rebind) {
        (Some(t1), Some(t2)) if 0 < t1 && t1 < t2 && t2 < whole => (t1, t2),
        (Some(t1), None) if 0 < t1 && t1 < eighths => (t1, eighths),
        (None, Some(t2)) if half < t2 && t2 < whole => (half, t2),
        _ => (half, eighths),
    };
    (Duration::from_secs(renew.into()), Duration::from_secs(rebind.into()))
}

/// `None` when the mask has holes.
fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let bits = u32::from(mask);
    let ones = bits.leading_ones();
    (bits.count_ones() == ones).then(|| u8::try_from(ones).unwrap_or(32)).filter(|ones| *ones > 0)
}

fn classful(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..128 => 8,
        128..192 => 16,
        _ => 24,
    }
}

/// Option 121 replaces option 3 (RFC 3442). A gateway outside the address's network gets a route of its own in front,
/// as clouds that hand out /32 addresses expect.
fn routes(
    classless: Option<Vec<(Ipv4Addr, u8, Ipv4Addr)>>,
    routers: &[Ipv4Addr],
    address: Ipv4Addr,
    prefix: u8,
) -> Vec<Route> {
    let wanted: Vec<Route> = match classless {
        Some(routes) => {
            routes.into_iter().map(|(destination, prefix, gateway)| Route { destination, prefix, gateway }).collect()
        }
        None => routers
            .first()
            .map(|gateway| Route { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, gateway: *gateway })
            .into_iter()
            .collect(),
    };
    let mask = |length: u8| u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
    let inside = |ip: Ipv4Addr, net: Ipv4Addr, length: u8| (u32::from(ip) ^ u32::from(net)) & mask(length) == 0;
    let mut out: Vec<Route> = wanted.iter().copied().filter(|route| route.gateway.is_unspecified()).collect();
    for route in wanted.iter().filter(|route| !route.gateway.is_unspecified()) {
        let reached = inside(route.gateway, address, prefix)
            || out.iter().any(|r| r.gateway.is_unspecified() && inside(route.gateway, r.destination, r.prefix));
        if !reached {
            out.push(Route { destination: route.gateway, prefix: 32, gateway: Ipv4Addr::UNSPECIFIED });
        }
    }
    out.extend(wanted.iter().filter(|route| !route.gateway.is_unspecified()));
    out
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr as Ip;

    use dhcproto::{
        Encodable as _,
        v4::{self, DhcpOption, Opcode},
    };

    use super::*;

    fn ip(text: &str) -> Ip {
        text.parse().unwrap()
    }

    fn message(address: &str, options: Vec<DhcpOption>) -> Message {
        let mut message = v4::Message::default();
        message.set_opcode(Opcode::BootReply).set_yiaddr(ip(address)).set_chaddr(&[2, 0, 0, 0, 0, 1]);
        message.opts_mut().insert(DhcpOption::ServerIdentifier(ip("10.0.0.1")));
        for option in options {
            message.opts_mut().insert(option);
        }
        Message::parse(&message.to_vec().unwrap()).unwrap()
    }

    fn routes_of(lease: &Lease) -> Vec<String> {
        lease.routes.iter().map(|r| format!("{}/{} {}", r.destination, r.prefix, r.gateway)).collect()
    }

    #[test]
    fn the_usual_answer() {
        let lease = Lease::from_message(&message(
            "10.0.5.10",
            vec![
                DhcpOption::SubnetMask(ip("255.255.255.0")),
                DhcpOption::Router(vec![ip("10.0.5.1"), ip("10.0.5.2")]),
                DhcpOption::AddressLeaseTime(120),
                DhcpOption::Hostname("server-vm-0\0".into()),
                DhcpOption::InterfaceMtu(1460),
            ],
        ))
        .unwrap();
        assert_eq!((lease.prefix, lease.mtu, lease.hostname.as_deref()), (24, Some(1460), Some("server-vm-0")));
        assert_eq!(routes_of(&lease), ["0.0.0.0/0 10.0.5.1"]);
        assert_eq!((lease.renew.as_secs(), lease.rebind.as_secs()), (60, 105));
    }

    #[test]
    fn option_121_beats_option_3_and_links_come_before_gateways() {
        let options = vec![
            DhcpOption::SubnetMask(Ip::BROADCAST),
            DhcpOption::Router(vec![ip("1.1.1.1")]),
            DhcpOption::ClasslessStaticRoute(vec![
                ("0.0.0.0/0".parse().unwrap(), ip("10.132.0.1")),
                ("10.132.0.1/32".parse().unwrap(), Ip::UNSPECIFIED),
            ]),
        ];
        let lease = Lease::from_message(&message("10.132.0.7", options)).unwrap();
        assert_eq!(routes_of(&lease), ["10.132.0.1/32 0.0.0.0", "0.0.0.0/0 10.132.0.1"]);
    }

    #[test]
    fn a_gateway_off_the_link_is_reached_anyway() {
        let options = vec![DhcpOption::SubnetMask(Ip::BROADCAST), DhcpOption::Router(vec![ip("172.31.1.1")])];
        let lease = Lease::from_message(&message("95.1.2.3", options)).unwrap();
        assert_eq!(routes_of(&lease), ["172.31.1.1/32 0.0.0.0", "0.0.0.0/0 172.31.1.1"]);
    }

    #[test]
    fn routes_and_the_wire_server_as_azure_writes_them() {
        let options = vec![
            DhcpOption::Router(vec![ip("10.0.0.1")]),
            DhcpOption::Unknown(v4::UnknownOption::new(249.into(), vec![16, 168, 63, 10, 0, 0, 1])),
            DhcpOption::Unknown(v4::UnknownOption::new(245.into(), vec![168, 63, 129, 16])),
        ];
        let lease = Lease::from_message(&message("10.0.0.7", options)).unwrap();
        assert_eq!(routes_of(&lease), ["168.63.0.0/16 10.0.0.1"]);
        assert_eq!(lease.wire_server, Some(ip("168.63.129.16")));
        let none = DhcpOptions { use_routes: false, use_mtu: false, ..DhcpOptions::default() };
        assert!(lease.restricted(&none).routes.is_empty());
        assert_eq!(lease.restricted(&DhcpOptions::default()), lease);
    }

    #[test]
    fn nonsense_is_no_lease() {
        for address in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"] {
            assert_eq!(Lease::from_message(&message(address, vec![])), None, "{address}");
        }
        let holes = vec![DhcpOption::SubnetMask(ip("255.0.255.0"))];
        assert_eq!(Lease::from_message(&message("10.0.0.2", holes)), None);
    }

    #[test]
    fn nonsensical_times_are_replaced() {
        assert_eq!(times(100, Some(90), Some(20)), (Duration::from_secs(50), Duration::from_secs(88)));
        assert_eq!(times(100, Some(20), Some(40)), (Duration::from_secs(20), Duration::from_secs(40)));
    }
}
