//! Where Nomad's HTTP interface is.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use super::check::Summary;

/// Nomad's port, when the user names none.
const PORT: u16 = 4646;
/// Time for a connection to an address of this machine.
const CONNECT: Duration = Duration::from_secs(1);

/// Where to ask Nomad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// The configuration says it.
    Known(SocketAddr),
    /// The address is a go-sockaddr template (`{{ GetPrivateIP }}`), which only Nomad reads: this port of one of the
    /// machine's own addresses.
    Guess(u16),
}

impl Endpoint {
    /// What the user's files say: `addresses.http`, else `bind_addr`, else (the agent's own file) all addresses.
    #[must_use]
    pub fn of(user: &Summary) -> Self {
        let port = user.http_port.unwrap_or(PORT);
        let Some(text) = user.http_addresses.as_deref().or(user.bind_addr.as_deref()) else {
            return Self::Known((Ipv4Addr::LOCALHOST, port).into());
        };
        let ips: Vec<IpAddr> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        match ips.iter().find(|ip| ip.is_loopback()).or(ips.first()) {
            Some(ip) if ip.is_unspecified() => Self::Known((Ipv4Addr::LOCALHOST, port).into()),
            Some(ip) => Self::Known((*ip, port).into()),
            None => Self::Guess(port),
        }
    }

    /// Whether silence there is Nomad's own, and not that of an address that it never had.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        matches!(self, Self::Known(_))
    }

    /// The address to ask now: of a guess loopback or the first of `own` where somebody listens.
    #[must_use]
    pub fn resolve(&self, own: &[IpAddr]) -> SocketAddr {
        match *self {
            Self::Known(address) => address,
            Self::Guess(port) => {
                let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                let own = own.iter().map(|ip| SocketAddr::from((*ip, port)));
                let listens = |address: &SocketAddr| TcpStream::connect_timeout(address, CONNECT).is_ok();
                std::iter::once(loopback).chain(own).find(listens).unwrap_or(loopback)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn of(http_addresses: Option<&str>, bind_addr: Option<&str>, http_port: Option<u16>) -> Endpoint {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Endpoint::of(&Summary {
            http_addresses: text(http_addresses),
            bind_addr: text(bind_addr),
            http_port,
            ..Summary::default()
        })
    }

    #[test]
    fn what_the_configuration_says() {
        let known = |text: &str| Endpoint::Known(text.parse().unwrap());
        assert_eq!(of(None, None, None), known("127.0.0.1:4646"));
        assert_eq!(of(None, Some("0.0.0.0"), Some(5646)), known("127.0.0.1:5646"));
        assert_eq!(of(Some("10.0.0.1 127.0.0.1"), None, None), known("127.0.0.1:4646"));
        assert_eq!(of(Some("10.0.0.1"), Some("10.0.0.2"), None), known("10.0.0.1:4646"));
        assert_eq!(of(None, Some("fd00::1"), None), known("[fd00::1]:4646"));
        assert_eq!(of(Some("{{ GetPrivateIP }}"), Some("127.0.0.1"), None), Endpoint::Guess(4646));
        assert_eq!(of(None, Some("{{ GetInterfaceIP \"eth0\" }}"), Some(1)), Endpoint::Guess(1));
    }

    #[test]
    fn a_guess_is_the_address_where_somebody_listens() {
        let own = Ipv4Addr::new(127, 0, 0, 2);
        let listener = TcpListener::bind((own, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let guess = Endpoint::Guess(address.port());
        assert_eq!(guess.resolve(&[IpAddr::from([127, 0, 0, 3]), own.into()]), address);
        assert_eq!(guess.resolve(&[]), SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())));
        assert!(!guess.is_known());
    }
}
