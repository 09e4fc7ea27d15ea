//! The services' thread: datagrams answered at once, TCP by smoltcp, and streams to and from this host.

use crate::services::bridge::{Bridge, new_socket};
use crate::services::datagram::Datagram;
use crate::services::device::Port;
use crate::services::http::Ends;
use crate::services::service::Service;
use crate::services::{Shared, dhcp, dns, ntp};
use crate::switch::Mac;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, State};
use smoltcp::time::Instant;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, HardwareAddress, IpAddress, IpCidr, IpEndpoint, IpProtocol,
    Ipv4Packet, TcpPacket,
};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Connections that a machine is still to accept end after this long.
const CONNECT_TIME: Duration = Duration::from_secs(20);

/// What the thread is told to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// Takes connections of this host to a machine.
    Forward(TcpListener, SocketAddrV4),
    /// Ends the forwards to a machine's port.
    Unforward(SocketAddrV4),
    /// Answers the machines' connections to a port.
    Listen(u16, Service),
    /// Refuses them again.
    Unlisten(u16),
    /// Ends the thread.
    Stop,
}

/// A socket that waits for a connection to a service.
#[derive(Debug)]
struct Waiting {
    socket: SocketHandle,
    port: u16,
}

pub(crate) struct Stack {
    shared: Arc<Shared>,
    mac: Mac,
    port: Port,
    interface: Interface,
    sockets: SocketSet<'static>,
    forwards: Vec<(TcpListener, SocketAddrV4)>,
    services: Vec<(u16, Service)>,
    waiting: Vec<Waiting>,
    bridges: Vec<Bridge>,
    next_port: u16,
    start: std::time::Instant,
}

impl Stack {
    pub(crate) fn new(
        shared: Arc<Shared>,
        stream: UnixStream,
        mac: Mac,
        addresses: &[(Ipv4Addr, u8)],
    ) -> io::Result<Self> {
        let mut port = Port::new(stream)?;
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac.0)));
        // Decides initial sequence numbers; nothing on this network guesses them.
        config.random_seed = 1;
        let mut interface = Interface::new(config, &mut port, Instant::ZERO);
        let mut full = false;
        interface.update_ip_addrs(|list| {
            for (address, prefix) in addresses {
                full |= list.push(IpCidr::new(IpAddress::Ipv4(*address), (*prefix).min(32))).is_err();
            }
        });
        if full {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many addresses"));
        }
        Ok(Self {
            shared,
            mac,
            port,
            interface,
            sockets: SocketSet::new(Vec::new()),
            forwards: Vec::new(),
            services: Vec::new(),
            waiting: Vec::new(),
            bridges: Vec::new(),
            next_port: 49152,
            start: std::time::Instant::now(),
        })
    }

    /// Runs until it is told to stop or the switch is gone.
    pub(crate) fn run(mut self) {
        let mut buffer = vec![0; 128 << 10];
        loop {
            let ready = self.wait();
            self.shared.wake.clear();
            for order in self.shared.take_orders() {
                match order {
                    Order::Forward(listener, target) => self.forwards.push((listener, target)),
                    Order::Unforward(target) => self.forwards.retain(|(_, existing)| *existing != target),
                    Order::Listen(port, service) => {
                        self.services.retain(|(existing, _)| *existing != port);
                        self.services.push((port, service));
                    }
                    Order::Unlisten(port) => self.services.retain(|(existing, _)| *existing != port),
                    Order::Stop => return,
                }
            }
            if ready && !self.receive(&mut buffer) {
                return;
            }
            self.accept_from_host();
            self.poll();
            self.accept_from_guests();
            self.pump();
            self.poll();
            if self.port.flush().is_err() {
                return;
            }
        }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(i64::try_from(self.start.elapsed().as_micros()).unwrap_or(i64::MAX))
    }

    /// Waits until there is something to do; true when the switch sent something.
    fn wait(&mut self) -> bool {
        let timeout = self.interface.poll_delay(self.now(), &self.sockets);
        let timeout = timeout.and_then(|delay| Duration::from_micros(delay.total_micros()).try_into().ok());
        let mut entries = vec![PollFd::new(&self.shared.wake, PollFlags::IN)];
        let switch = if self.port.outgoing.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        entries.push(PollFd::new(&self.port.stream, switch));
        entries.extend(self.forwards.iter().map(|(listener, _)| PollFd::new(listener, PollFlags::IN)));
        let interests = self.bridges.iter().filter_map(|bridge| bridge.interest(&self.sockets));
        entries.extend(interests.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        // An interrupted wait is as good as one that ended early.
        poll(&mut entries, timeout.as_ref()).is_ok() && !entries[1].revents().is_empty()
    }

    /// Takes frames; false when the switch is gone.
    fn receive(&mut self, buffer: &mut [u8]) -> bool {
        let mut frames = Vec::new();
        let Ok(true) = self.port.read(buffer, |frame| frames.push(frame.to_vec())) else { return false };
        for frame in frames {
            if let Some(datagram) = Datagram::from_frame(&frame)
                && let Some(answer) = self.answer(&datagram)
            {
                if let Some(frame) = answer.to_frame() {
                    self.port.outgoing.push(&frame);
                }
                continue;
            }
            let opens = self.prepare_for(&frame);
            self.port.incoming.push_back(frame);
            if opens {
                // The socket for this connection must have taken it before the next one asks for a socket.
                self.poll();
            }
        }
        true
    }

    /// The stateless services.
    fn answer(&self, datagram: &Datagram) -> Option<Datagram> {
        let services = &self.shared;
        if datagram.destination.port() == dhcp::SERVER_PORT {
            return services.dhcp.answer(datagram, self.mac);
        }
        if !self.interface.has_ip_addr(*datagram.destination.ip()) {
            return None;
        }
        let payload = match datagram.destination.port() {
            dns::PORT => services.dns.answer(&datagram.payload)?,
            ntp::PORT => services.ntp.answer(&datagram.payload, SystemTime::now())?.to_vec(),
            _ => return None,
        };
        Some(datagram.reply(self.mac, payload))
    }

    /// Makes a listening socket when a machine opens a connection to a service: as many connections as come, and no backlog to fill.
    fn prepare_for(&mut self, frame: &[u8]) -> bool {
        let Some((source, port)) = opening(frame) else { return false };
        let served = self.services.iter().any(|(service, _)| *service == port);
        // The machine repeats itself when our answer was lost: then there is a socket already.
        let known = self.waiting.iter().any(|waiting| {
            let socket: &Socket<'_> = self.sockets.get(waiting.socket);
            waiting.port == port && (socket.is_listening() || socket.remote_endpoint() == Some(source))
        });
        if !served || known {
            return false;
        }
        let mut socket = new_socket();
        // The port is not 0 and the socket is new, which is all that can be wrong.
        if socket.listen(port).is_err() {
            return false;
        }
        let socket = self.sockets.add(socket);
        self.waiting.push(Waiting { socket, port });
        true
    }

    fn poll(&mut self) {
        let now = self.now();
        self.interface.poll(now, &mut self.port, &mut self.sockets);
    }

    /// Connects this host's new connections to their machines.
    fn accept_from_host(&mut self) {
        let mut new = Vec::new();
        for (listener, target) in &self.forwards {
            while let Ok((stream, _)) = listener.accept() {
                new.push((stream, *target));
            }
        }
        for (stream, target) in new {
            if stream.set_nonblocking(true).is_err() || stream.set_nodelay(true).is_err() {
                continue;
            }
            let mut socket = new_socket();
            socket.set_timeout(Some(CONNECT_TIME.into()));
            let local = self.next_port;
            self.next_port = local.checked_add(1).unwrap_or(49152);
            let target = IpEndpoint::new(IpAddress::Ipv4(*target.ip()), target.port());
            if socket.connect(self.interface.context(), target, local).is_ok() {
                let socket = self.sockets.add(socket);
                self.bridges.push(Bridge::new(socket, OwnedFd::from(stream)));
            }
        }
    }

    /// Gives the machines' new connections to their services.
    fn accept_from_guests(&mut self) {
        let Self { waiting, sockets, services, bridges, .. } = self;
        waiting.retain(|entry| {
            let socket: &mut Socket<'_> = sockets.get_mut(entry.socket);
            if matches!(socket.state(), State::Listen | State::SynReceived) {
                return true;
            }
            let service = services.iter().find(|(port, _)| *port == entry.port).map(|(_, service)| service);
            let ends = [socket.remote_endpoint(), socket.local_endpoint()].map(|end| end.and_then(endpoint_v4));
            let ends = match ends {
                [Some(peer), Some(local)] => Some(Ends { peer, local }),
                _ => None,
            };
            match service.zip(ends).map(|(service, ends)| service.connect(ends)) {
                Some(Ok(host)) => bridges.push(Bridge::new(entry.socket, host)),
                _ => {
                    socket.abort();
                    sockets.remove(entry.socket);
                }
            }
            false
        });
    }

    fn pump(&mut self) {
        let Self { bridges, sockets, .. } = self;
        bridges.retain_mut(|bridge| {
            let alive = bridge.pump(sockets);
            if !alive {
                sockets.remove(bridge.socket);
            }
            alive
        });
    }
}

fn endpoint_v4(endpoint: IpEndpoint) -> Option<SocketAddrV4> {
    match endpoint.addr {
        IpAddress::Ipv4(address) => Some(SocketAddrV4::new(address, endpoint.port)),
        #[allow(unreachable_patterns, reason = "other crates may turn smoltcp's IPv6 on")]
        _ => None,
    }
}

/// The source and the destination port of a frame that opens a TCP connection.
fn opening(frame: &[u8]) -> Option<(IpEndpoint, u16)> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    if frame.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
    if packet.next_header() != IpProtocol::Tcp {
        return None;
    }
    let segment = TcpPacket::new_checked(packet.payload()).ok()?;
    let opens = segment.syn() && !segment.ack();
    opens.then(|| (IpEndpoint::new(IpAddress::Ipv4(packet.src_addr()), segment.src_port()), segment.dst_port()))
}
