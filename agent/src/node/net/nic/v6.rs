//! DHCP for IPv6 on one interface: when there is reason for it, the client, its socket and its lease.

use std::{
    io,
    net::{Ipv6Addr, SocketAddrV6, UdpSocket},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    time::Duration,
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn6, bind, setsockopt, socket, sockopt};

use super::Outcome;
use crate::{
    info,
    node::{
        net::{
            dhcp6::{Action, CLIENT_PORT, Client, Lease, Mode, SERVER_PORT},
            netlink::{Advertised, Link},
        },
        sys,
    },
    notice, warning,
};

/// All servers and relays of a link.
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// How long a router may take to say what there is to be had.
const ROUTER: Duration = Duration::from_secs(10);

/// Whether, and how, servers are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node::net) enum Reason {
    /// As routers say; without a router not at all.
    Advertised,
    /// A plan wants it, whatever routers say; they have their time to say how.
    Wanted,
    /// A plan wants no address.
    WantedStateless,
}

/// What to ask for now, or when to decide.
pub(super) fn decide(
    reason: Reason,
    advertised: Advertised,
    since: Duration,
    now: Duration,
) -> Result<Mode, Option<Duration>> {
    match reason {
        Reason::WantedStateless => Ok(Mode::Stateless),
        _ if advertised.managed => Ok(Mode::Stateful),
        _ if advertised.other => Ok(Mode::Stateless),
        Reason::Wanted if advertised.received || now >= since + ROUTER => Ok(Mode::Stateful),
        Reason::Wanted => Err(Some(since + ROUTER)),
        Reason::Advertised => Err(None),
    }
}

#[derive(Debug)]
pub(super) struct V6 {
    client: Client,
    socket: UdpSocket,
    /// What is in use, and since when.
    held: Option<(Lease, Duration)>,
}

impl V6 {
    pub(super) fn new(link: &Link, mode: Mode, now: Duration) -> io::Result<Self> {
        let client = Client::new(link.mac, mode, now, sys::random());
        Ok(Self { client, socket: open(link)?, held: None })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) fn mode(&self) -> Mode {
        self.client.mode()
    }

    pub(super) fn held(&self) -> Option<&(Lease, Duration)> {
        self.held.as_ref()
    }

    pub(super) fn deadline(&self, link: &Link) -> Option<Duration> {
        self.client.deadline().filter(|_| link.carrier || self.held.is_some())
    }

    pub(super) fn carrier_returned(&mut self, now: Duration) {
        self.client.carrier_returned(now, sys::random());
    }

    pub(super) fn poll(&mut self, link: &Link, now: Duration) -> Outcome {
        let actions = self.client.poll(now, sys::random());
        self.act(link, actions, now)
    }

    /// Reads all packets that lie there.
    pub(super) fn receive(&mut self, link: &Link, now: Duration) -> Outcome {
        let mut outcome = Outcome::default();
        let mut buffer = [0_u8; 2048];
        while let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
            let actions = self.client.receive(&buffer[..length], now, sys::random());
            outcome = outcome.and(self.act(link, actions, now));
        }
        outcome
    }

    fn act(&mut self, link: &Link, actions: Vec<Action>, now: Duration) -> Outcome {
        let mut outcome = Outcome::default();
        for action in actions {
            match action {
                Action::Send(payload) => {
                    let to = SocketAddrV6::new(SERVERS, SERVER_PORT, 0, link.index);
                    if let Err(error) = self.socket.send_to(&payload, to) {
                        // The next try comes by itself.
                        info!("failed to send a DHCPv6 message on {}: {error}", link.name);
                    }
                }
                Action::Configure(lease) => {
                    let addresses = |lease: &Lease| lease.addresses.iter().map(|a| a.address).collect::<Vec<_>>();
                    let known = self.held.as_ref().is_some_and(|(old, _)| addresses(old) == addresses(&lease));
                    for leased in lease.addresses.iter().filter(|_| !known) {
                        let time = leased.valid.map_or("for ever".into(), |d| format!("for {} s", d.as_secs()));
                        notice!("{}: {} by DHCPv6 {time}", link.name, leased.address);
                    }
                    self.held = Some((lease, now));
                    outcome = outcome.and(Outcome { install: true, changed: !known });
                }
                Action::Deconfigure(lease, why) => {
                    for leased in &lease.addresses {
                        warning!("{}: the lease of {} is lost: {why}", link.name, leased.address);
                    }
                    self.held = None;
                    outcome = Outcome::CHANGED;
                }
            }
        }
        outcome
    }
}

/// Bound to the interface before the port, so that each interface can have the port.
fn open(link: &Link) -> io::Result<UdpSocket> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Inet6, SockType::Datagram, flags, None)?;
    setsockopt(&fd, sockopt::BindToDevice, &link.name.clone().into())?;
    setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    bind(fd.as_raw_fd(), &SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, CLIENT_PORT, 0, 0)))?;
    Ok(UdpSocket::from(fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routers_say_whether_there_is_anything_to_ask_for() {
        let s = Duration::from_secs;
        let says = |managed, other| Advertised { received: true, managed, other };
        let silent = Advertised::default();
        assert_eq!(decide(Reason::Advertised, silent, s(1), s(99)), Err(None));
        assert_eq!(decide(Reason::Advertised, says(false, false), s(1), s(2)), Err(None));
        assert_eq!(decide(Reason::Advertised, says(true, true), s(1), s(2)), Ok(Mode::Stateful));
        assert_eq!(decide(Reason::Advertised, says(false, true), s(1), s(2)), Ok(Mode::Stateless));
        assert_eq!(decide(Reason::Wanted, silent, s(1), s(2)), Err(Some(s(11))));
        assert_eq!(decide(Reason::Wanted, silent, s(1), s(11)), Ok(Mode::Stateful));
        assert_eq!(decide(Reason::Wanted, says(false, false), s(1), s(2)), Ok(Mode::Stateful));
        assert_eq!(decide(Reason::WantedStateless, silent, s(1), s(1)), Ok(Mode::Stateless));
    }
}
