//! Where metadata services answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::super::nics::Nic;

/// The usual port.
const PORT: u16 = 80;

/// The address of a metadata service. Datasources get theirs by their constructor, so that a test can be their cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// The address. A link-local one of IPv6 is asked for on every interface with a carrier.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The name in the `Host` header, for services that want another than their address.
    pub host: Option<&'static str>,
    /// Whether the service answers root only, known by a source port below 1024.
    pub low_port: bool,
}

impl Endpoint {
    /// The address that most clouds use, `http://169.254.169.254`.
    pub const USUAL: Self = Self::v4(Ipv4Addr::new(169, 254, 169, 254));
    /// The same number as a link-local address of IPv6, `http://[fe80::a9fe:a9fe%IFACE]`.
    pub const LINK_LOCAL: Self = Self::v6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe));

    /// An IPv4 address.
    #[must_use]
    pub const fn v4(address: Ipv4Addr) -> Self {
        Self { address: IpAddr::V4(address), port: PORT, host: None, low_port: false }
    }

    /// An IPv6 address.
    #[must_use]
    pub const fn v6(address: Ipv6Addr) -> Self {
        Self { address: IpAddr::V6(address), port: PORT, host: None, low_port: false }
    }

    /// The same with a `Host` header.
    #[must_use]
    pub const fn named(self, host: &'static str) -> Self {
        Self { host: Some(host), ..self }
    }

    /// The same from a source port below 1024.
    #[must_use]
    pub const fn from_low_port(self) -> Self {
        Self { low_port: true, ..self }
    }

    /// Whether it is on the link, so that an IPv6 interface needs no address of its own to reach it. (169.254.169.254
    /// is not in that sense: routers answer for it.)
    #[must_use]
    pub const fn is_link_local(&self) -> bool {
        matches!(self.address, IpAddr::V6(address) if address.is_unicast_link_local())
    }

    /// The addresses to connect to, with a text for people: one, or one for each interface of the link.
    pub(super) fn places(&self, nics: &[Nic]) -> Vec<(SocketAddr, String)> {
        match self.address {
            IpAddr::V6(address) if self.is_link_local() => {
                let links = nics.iter().filter(|nic| nic.carrier);
                let place = |nic: &Nic| {
                    let scoped = SocketAddr::V6(SocketAddrV6::new(address, self.port, 0, nic.index));
                    (scoped, format!("http://[{address}%{}]", nic.name))
                };
                links.map(place).collect()
            }
            _ => vec![(SocketAddr::new(self.address, self.port), self.base())],
        }
    }

    /// The address without a path, as it stands in requests.
    pub(super) fn base(&self) -> String {
        let host = match (self.host, self.address) {
            (Some(host), _) => host.to_owned(),
            (None, IpAddr::V4(address)) => address.to_string(),
            (None, IpAddr::V6(address)) => format!("[{address}]"),
        };
        if self.port == PORT { format!("http://{host}") } else { format!("http://{host}:{}", self.port) }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { address: address.ip(), port: address.port(), host: None, low_port: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_addresses_are_asked_for_on_every_link() {
        let nic = |name: &str, index, carrier| Nic { name: name.into(), index, carrier, ..Nic::default() };
        let nics = [nic("eth0", 2, true), nic("eth1", 3, false), nic("eth2", 4, true)];
        let places = Endpoint::LINK_LOCAL.places(&nics);
        let texts: Vec<_> = places.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["http://[fe80::a9fe:a9fe%eth0]", "http://[fe80::a9fe:a9fe%eth2]"]);
        assert!(matches!(places[1].0, SocketAddr::V6(address) if address.scope_id() == 4 && address.port() == 80));
        assert_eq!(Endpoint::LINK_LOCAL.base(), "http://[fe80::a9fe:a9fe]");
        assert_eq!(Endpoint::USUAL.named("metadata.google.internal").base(), "http://metadata.google.internal");
        assert_eq!(Endpoint::USUAL.places(&nics)[0].0, "169.254.169.254:80".parse().unwrap());
    }
}
