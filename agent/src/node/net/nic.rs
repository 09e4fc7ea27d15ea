//! One interface: its socket, its DHCP client, its address.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};

use super::{
    dhcp::{Action, Client, Destination, Lease, frame},
    netlink::{Link, Netlink, NetlinkError},
};
use crate::{node::sys, notice, warning};

/// Routes of the first interface get this metric, those of the next ones higher ones, so that several default routes
/// can stand side by side and the first interface is preferred.
const FIRST_METRIC: u32 = 100;

#[derive(Debug)]
pub(super) struct Nic {
    pub(super) link: Link,
    client: Client,
    packets: OwnedFd,
    /// Bound while there is a lease: renewals go out by it, and the kernel does not refuse the answers, which
    /// [`Nic::packets`] sees as well.
    port: Option<UdpSocket>,
    /// What the interface was told, when it has an address.
    applied: Option<Lease>,
}

impl Nic {
    pub(super) fn new(link: Link, now: Duration) -> io::Result<Self> {
        let packets = sys::packet_socket(link.index, &frame::FILTER)?;
        let client = Client::new(link.mac, now, sys::random());
        Ok(Self { link, client, packets, port: None, applied: None })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.packets.as_fd()
    }

    pub(super) fn lease(&self) -> Option<&Lease> {
        self.applied.as_ref()
    }

    /// When the client wants to be polled; never without a carrier.
    pub(super) fn deadline(&self) -> Option<Duration> {
        // A lease runs out whether or not there is a carrier.
        self.client.deadline().filter(|_| self.link.carrier || self.applied.is_some())
    }

    /// Takes over what the kernel says about the link now.
    pub(super) fn update(&mut self, link: Link, now: Duration) {
        if link.carrier && !self.link.carrier {
            self.client.carrier_returned(now, sys::random());
        }
        self.link = link;
    }

    /// Does what is due. Returns whether the lease changed.
    pub(super) fn poll(&mut self, netlink: &mut Netlink, now: Duration) -> bool {
        let actions = self.client.poll(now, sys::random());
        self.act(netlink, actions)
    }

    /// Reads all packets that lie there. Returns whether the lease changed.
    pub(super) fn receive(&mut self, netlink: &mut Netlink, now: Duration) -> bool {
        let mut changed = false;
        let mut buffer = [0_u8; 2048];
        while let Ok(length) = nix::unistd::read(&self.packets, &mut buffer) {
            if let Some(payload) = frame::unwrap(&buffer[..length]) {
                let actions = self.client.receive(payload, now, sys::random());
                changed |= self.act(netlink, actions);
            }
        }
        changed
    }

    fn act(&mut self, netlink: &mut Netlink, actions: Vec<Action>) -> bool {
        let mut changed = false;
        for action in actions {
            match action {
                Action::Send(payload, to) => {
                    if let Err(error) = self.send(&payload, to) {
                        // The next try comes by itself; a link that is just going down says this once.
                        crate::info!("failed to send a DHCP message on {}: {error}", self.link.name);
                    }
                }
                Action::Configure(lease) => changed |= self.configure(netlink, lease),
                Action::Deconfigure(lease, why) => {
                    warning!("{}: the lease of {} is lost: {why}", self.link.name, lease.address);
                    self.remove(netlink, &lease);
                    changed = true;
                }
            }
        }
        changed
    }

    fn send(&mut self, payload: &[u8], to: Destination) -> io::Result<()> {
        let broadcast = |source| {
            let packet = frame::wrap(payload, source, Ipv4Addr::BROADCAST);
            sys::send_broadcast(self.packets.as_fd(), self.link.index, &packet)
        };
        match to {
            Destination::Broadcast => broadcast(Ipv4Addr::UNSPECIFIED),
            Destination::BroadcastFrom(source) => broadcast(source),
            Destination::Server { from, to } => {
                let port = match &self.port {
                    Some(port) => port,
                    None => self.port.insert(self.bind(from)?),
                };
                port.send_to(payload, SocketAddrV4::new(to, frame::SERVER_PORT)).map(|_| ())
            }
        }
    }

    fn bind(&self, address: Ipv4Addr) -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind(SocketAddrV4::new(address, frame::CLIENT_PORT))?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::BindToDevice, &self.link.name.clone().into())?;
        // Nobody reads it: the kernel keeps a packet or two and drops the rest.
        setsockopt(&socket, sockopt::RcvBuf, &1)?;
        Ok(socket)
    }

    fn configure(&mut self, netlink: &mut Netlink, lease: Lease) -> bool {
        let known = self.applied.as_ref().is_some_and(|old| same(old, &lease));
        if let Err(error) = self.install(netlink, &lease, known) {
            warning!("{error}");
        }
        if !known {
            let gateway = lease.routes.iter().find(|r| r.prefix == 0).map(|r| format!(", gateway {}", r.gateway));
            let time = lease.duration.map_or("for ever".into(), |d| format!("for {} s", d.as_secs()));
            let (name, address, prefix) = (&self.link.name, lease.address, lease.prefix);
            notice!("{name}: {address}/{prefix} from {}{} {time}", lease.server, gateway.unwrap_or_default());
        }
        if self.port.is_none() {
            self.port = self.bind(lease.address).ok();
        }
        self.applied = Some(lease);
        !known
    }

    /// `known`: only the time has changed, which the kernel counts by itself.
    fn install(&self, netlink: &mut Netlink, lease: &Lease, known: bool) -> Result<(), NetlinkError> {
        if let Some(mtu) = lease.mtu.filter(|_| !known) {
            // A driver may refuse; the address works all the same.
            if let Err(error) = netlink.set_mtu(&self.link, mtu) {
                warning!("{error}");
            }
        }
        netlink.add_address(&self.link, lease)?;
        let metric = FIRST_METRIC + self.link.index;
        lease.routes.iter().try_for_each(|route| netlink.add_route(&self.link, lease, route, metric))
    }

    fn remove(&mut self, netlink: &mut Netlink, lease: &Lease) {
        self.port = None;
        self.applied = None;
        if let Err(error) = netlink.remove_address(&self.link, lease) {
            warning!("{error}");
        }
    }
}

/// Whether a renewal changed nothing but the time.
fn same(old: &Lease, new: &Lease) -> bool {
    let timeless =
        |lease: &Lease| Lease { duration: None, renew: Duration::ZERO, rebind: Duration::ZERO, ..lease.clone() };
    timeless(old) == timeless(new)
}
