//! How a request reaches its service: to an address that is given, with a scope, from a port that is asked for.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, sockopt},
};
use ureq::{
    Error, Timeout,
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport},
    },
};

/// The ports that only root may use, without the lowest, which belong to well-known services.
const LOW_PORTS: std::ops::Range<u16> = 600..1024;

/// Gives one address, whatever the name; without one, asks DNS.
#[derive(Debug)]
pub(super) struct At(pub(super) Option<SocketAddr>);

impl Resolver for At {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let Some(address) = self.0 else { return DefaultResolver::default().resolve(uri, config, timeout) };
        let mut addresses = self.empty();
        addresses.push(address);
        Ok(addresses)
    }
}

/// Opens connections; never through a proxy.
#[derive(Debug)]
pub(super) struct Dial {
    /// From a port below 1024, which proves to the service that root asks.
    pub(super) low_port: bool,
    /// How long to wait for a byte where nothing else says how long.
    pub(super) idle: Duration,
}

impl Connector for Dial {
    type Out = Wire;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Wire>, Error> {
        let limit = details.timeout.not_zero().map_or(super::Timing::CLOUD.connect, |limit| *limit);
        let mut last = Error::HostNotFound;
        for address in &details.addrs {
            let stream =
                if self.low_port { connect_low(*address, limit) } else { TcpStream::connect_timeout(address, limit) };
            match stream {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    let config = details.config;
                    let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
                    return Ok(Some(Wire { stream, buffers, idle: self.idle }));
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => last = Error::Timeout(Timeout::Connect),
                Err(error) => last = Error::Io(error),
            }
        }
        Err(last)
    }
}

/// A connection from the first free port of [`LOW_PORTS`], looked for from a place that differs each time: a port that
/// was just used may still be remembered by the other side.
fn connect_low(to: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let count = LOW_PORTS.end - LOW_PORTS.start;
    let first = u16::try_from(crate::node::sys::random() % u32::from(count)).unwrap_or(0);
    let mut last = Errno::EADDRINUSE;
    for n in 0..count {
        match connect_from(LOW_PORTS.start + (first + n) % count, to, limit) {
            Err(errno @ (Errno::EADDRINUSE | Errno::EADDRNOTAVAIL)) => last = errno,
            Err(errno) => return Err(errno.into()),
            Ok(stream) => return Ok(stream),
        }
    }
    Err(last.into())
}

fn connect_from(port: u16, to: SocketAddr, limit: Duration) -> Result<TcpStream, Errno> {
    let (family, any) = match to {
        SocketAddr::V4(_) => (AddressFamily::Inet, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        SocketAddr::V6(_) => (AddressFamily::Inet6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd: OwnedFd = socket::socket(family, SockType::Stream, flags, None)?;
    socket::setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(any, port)))?;
    match socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) => {}
        Err(Errno::EINPROGRESS) => {
            let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
            if poll(&mut fds, timeout)? == 0 {
                return Err(Errno::ETIMEDOUT);
            }
            let error = socket::getsockopt(&fd, sockopt::SocketError)?;
            if error != 0 {
                return Err(Errno::from_raw(error));
            }
        }
        Err(errno) => return Err(errno),
    }
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(fd.into())
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    buffers: LazyBuffers,
    idle: Duration,
}

impl Wire {
    /// The time until the next byte, and whose it is.
    fn limit(&self, timeout: NextTimeout) -> (Option<Duration>, Option<Timeout>) {
        timeout.not_zero().map_or((Some(self.idle), None), |limit| (Some(*limit), Some(timeout.reason)))
    }

    /// What the kernel calls "would block" of a socket with a time limit is the end of that limit.
    fn timed(&self, error: io::Error, reason: Option<Timeout>) -> Error {
        match (error.kind(), reason) {
            (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, Some(reason)) => Error::Timeout(reason),
            (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, None) => {
                let text = format!("nothing came for {} s", self.idle.as_secs());
                Error::Io(io::Error::new(io::ErrorKind::TimedOut, text))
            }
            _ => Error::Io(error),
        }
    }
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let (limit, reason) = self.limit(timeout.for_write());
        self.stream.set_write_timeout(limit)?;
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        self.stream.write_all(output).map_err(|error| self.timed(error, reason))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let (limit, reason) = self.limit(timeout.for_read());
        self.stream.set_read_timeout(limit)?;
        let amount = loop {
            match self.stream.read(self.buffers.input_append_buf()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.map_err(|error| self.timed(error, reason))?,
            }
        };
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    /// Nothing may have come that was not asked for, nor the end.
    fn is_open(&mut self) -> bool {
        let quiet = |stream: &mut TcpStream| {
            stream.set_nonblocking(true)?;
            let quiet = matches!(stream.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
            stream.set_nonblocking(false).map(|()| quiet)
        };
        quiet(&mut self.stream).unwrap_or(false)
    }
}
