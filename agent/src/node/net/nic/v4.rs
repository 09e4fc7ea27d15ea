//! DHCP for IPv4 on one interface: the client, its sockets and its lease.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};

use super::Outcome;
use crate::{
    info,
    node::{
        net::{
            dhcp::{Action, Client, Destination, Lease, frame},
            netlink::Link,
        },
        sys,
    },
    notice, warning,
};

#[derive(Debug)]
pub(super) struct V4 {
    client: Client,
    packets: OwnedFd,
    /// Bound while there is a lease: renewals go out by it, and the kernel does not refuse the answers, which
    /// [`V4::packets`] sees as well.
    port: Option<UdpSocket>,
    /// The lease in use, and since when.
    held: Option<(Lease, Duration)>,
}

impl V4 {
    pub(super) fn new(link: &Link, host_name: Option<&str>, now: Duration) -> io::Result<Self> {
        let packets = sys::packet_socket(link.index, &frame::FILTER)?;
        let mut client = Client::new(link.mac, now, sys::random());
        if let Some(name) = host_name {
            client.set_host_name(name, now, sys::random());
        }
        Ok(Self { client, packets, port: None, held: None })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.packets.as_fd()
    }

    pub(super) fn held(&self) -> Option<&(Lease, Duration)> {
        self.held.as_ref()
    }

    pub(super) fn set_host_name(&mut self, name: &str, now: Duration) {
        self.client.set_host_name(name, now, sys::random());
    }

    /// When the client wants to be polled; without a carrier only because a lease runs out.
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
        while let Ok(length) = nix::unistd::read(&self.packets, &mut buffer) {
            if let Some(payload) = frame::unwrap(&buffer[..length]) {
                let actions = self.client.receive(payload, now, sys::random());
                outcome = outcome.and(self.act(link, actions, now));
            }
        }
        outcome
    }

    fn act(&mut self, link: &Link, actions: Vec<Action>, now: Duration) -> Outcome {
        let mut outcome = Outcome::default();
        for action in actions {
            match action {
                Action::Send(payload, to) => {
                    if let Err(error) = self.send(link, &payload, to) {
                        // The next try comes by itself; a link that is just going down says this once.
                        info!("failed to send a DHCP message on {}: {error}", link.name);
                    }
                }
                Action::Configure(lease) => outcome = outcome.and(self.hold(link, lease, now)),
                Action::Deconfigure(lease, why) => {
                    warning!("{}: the lease of {} is lost: {why}", link.name, lease.address);
                    (self.port, self.held) = (None, None);
                    outcome = Outcome::CHANGED;
                }
            }
        }
        outcome
    }

    fn hold(&mut self, link: &Link, lease: Lease, now: Duration) -> Outcome {
        let known = self.held.as_ref().is_some_and(|(old, _)| same(old, &lease));
        if !known {
            let gateway = lease.routes.iter().find(|r| r.prefix == 0).map(|r| format!(", gateway {}", r.gateway));
            let time = lease.duration.map_or("for ever".into(), |d| format!("for {} s", d.as_secs()));
            let (name, address, prefix) = (&link.name, lease.address, lease.prefix);
            notice!("{name}: {address}/{prefix} from {}{} {time}", lease.server, gateway.unwrap_or_default());
        }
        self.held = Some((lease, now));
        if known { Outcome::PROLONGED } else { Outcome::CHANGED }
    }

    fn send(&mut self, link: &Link, payload: &[u8], to: Destination) -> io::Result<()> {
        let broadcast = |source| {
            let packet = frame::wrap(payload, source, Ipv4Addr::BROADCAST);
            sys::send_broadcast(self.packets.as_fd(), link.index, &packet)
        };
        match to {
            Destination::Broadcast => broadcast(Ipv4Addr::UNSPECIFIED),
            Destination::BroadcastFrom(source) => broadcast(source),
            Destination::Server { from, to } => {
                let port = match &self.port {
                    Some(port) => port,
                    None => self.port.insert(bind(link, from)?),
                };
                port.send_to(payload, SocketAddrV4::new(to, frame::SERVER_PORT)).map(|_| ())
            }
        }
    }

    /// The address of the lease is there now: the port can be bound.
    pub(super) fn installed(&mut self, link: &Link) {
        if self.port.is_none()
            && let Some((lease, _)) = &self.held
        {
            self.port = bind(link, lease.address).ok();
        }
    }
}

fn bind(link: &Link, address: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddrV4::new(address, frame::CLIENT_PORT))?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::BindToDevice, &link.name.clone().into())?;
    // Nobody reads it: the kernel keeps a packet or two and drops the rest.
    setsockopt(&socket, sockopt::RcvBuf, &1)?;
    Ok(socket)
}

/// Whether a renewal changed nothing but the time.
fn same(old: &Lease, new: &Lease) -> bool {
    let timeless =
        |lease: &Lease| Lease { duration: None, renew: Duration::ZERO, rebind: Duration::ZERO, ..lease.clone() };
    timeless(old) == timeless(new)
}
