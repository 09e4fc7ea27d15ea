//! One TCP connection of a machine, tied to a stream of this host.

use rustix::event::PollFlags;
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Duration;

/// Buffer of each direction: what can be on its way without an acknowledgement.
const BUFFER: usize = 256 << 10;

/// A machine that does not answer for this long is gone (it was killed, or is partitioned).
const TIMEOUT: Duration = Duration::from_secs(60);

/// How often a silent machine is asked whether it is still there. Its answer also frees a connection of which nothing but the end is
/// left to send and was lost: smoltcp 0.14 gives up its retransmission timer after three duplicate acknowledgements then.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// A socket with the services' settings.
pub(crate) fn new_socket() -> Socket<'static> {
    let mut socket = Socket::new(SocketBuffer::new(vec![0; BUFFER]), SocketBuffer::new(vec![0; BUFFER]));
    socket.set_timeout(Some(TIMEOUT));
    socket.set_keep_alive(Some(KEEP_ALIVE));
    // Both ends are in one host: waiting for more to send only delays.
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    socket
}

/// Moves bytes both ways and passes on the end of each direction by itself.
#[derive(Debug)]
pub(crate) struct Bridge {
    pub(crate) socket: SocketHandle,
    /// Gone when nothing is left to do on the host's side.
    host: Option<OwnedFd>,
    /// The host sends no more.
    host_done: bool,
    /// The machine sends no more, and the host knows.
    guest_done: bool,
}

impl Bridge {
    pub(crate) fn new(socket: SocketHandle, host: OwnedFd) -> Self {
        Self { socket, host: Some(host), host_done: false, guest_done: false }
    }

    /// What to wait for on the host's side.
    pub(crate) fn interest(&self, sockets: &SocketSet<'_>) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let socket: &Socket<'_> = sockets.get(self.socket);
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, !self.host_done && socket.can_send());
        flags.set(PollFlags::OUT, socket.can_recv());
        let host = self.host.as_ref().filter(|_| !flags.is_empty())?;
        Some((host.as_fd(), flags))
    }

    /// Moves what can be moved; false when the connection is over and can be forgotten.
    pub(crate) fn pump(&mut self, sockets: &mut SocketSet<'_>) -> bool {
        let socket: &mut Socket<'_> = sockets.get_mut(self.socket);
        if self.host.as_ref().is_some_and(|host| to_host(host, socket).is_err()) || self.take_from_host(socket).is_err()
        {
            // The host's side broke off: so does the machine's.
            socket.abort();
            self.host = None;
        }
        if socket.state() == State::Established {
            // From here on the machine may take its time (it may be paused); until here it has only CONNECT_TIME.
            socket.set_timeout(Some(TIMEOUT));
        }
        let waiting = matches!(socket.state(), State::SynSent | State::SynReceived | State::Listen);
        if !self.guest_done && !waiting && !socket.may_recv() && socket.recv_queue() == 0 {
            self.guest_done = true;
            self.end_host(socket.state() == State::Closed);
        }
        if self.host_done && self.guest_done {
            self.host = None;
        }
        self.host.is_some() || socket.state() != State::Closed
    }

    /// Tells the host's peer that no more comes from the machine.
    fn end_host(&mut self, broken: bool) {
        let Some(host) = &self.host else { return };
        // Both calls fail only when the peer is gone, which the next read or write tells.
        if broken {
            // Refused, reset or timed out: the peer gets a reset too (where it is TCP), not an end that looks orderly.
            let _ = rustix::net::sockopt::set_socket_linger(host, Some(std::time::Duration::ZERO));
            self.host = None;
        } else {
            let _ = shutdown(host, Shutdown::Write);
        }
    }

    /// Hands the machine what the host sent.
    fn take_from_host(&mut self, socket: &mut Socket<'_>) -> Result<(), Errno> {
        let Some(host) = &self.host else { return Ok(()) };
        while !self.host_done && socket.can_send() {
            let read = socket.send(|space| match rustix::io::read(host, space) {
                Ok(count) => (count, Ok(count)),
                Err(error) => (0, Err(error)),
            });
            match read {
                Ok(Ok(0)) => {
                    self.host_done = true;
                    socket.close();
                }
                Ok(Ok(_) | Err(Errno::INTR)) => {}
                Ok(Err(Errno::AGAIN)) | Err(_) => break,
                Ok(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Hands the host what the machine sent.
fn to_host(host: &OwnedFd, socket: &mut Socket<'_>) -> Result<(), Errno> {
    while socket.can_recv() {
        let written = socket.recv(|bytes| match rustix::io::write(host, bytes) {
            Ok(count) => (count, Ok(count)),
            Err(error) => (0, Err(error)),
        });
        match written {
            Ok(Ok(1..) | Err(Errno::INTR)) => {}
            Ok(Ok(0) | Err(Errno::AGAIN)) | Err(_) => break,
            Ok(Err(error)) => return Err(error),
        }
    }
    Ok(())
}
