//! Questions and commands to the kernel about links, addresses, routes and rules (`rtnetlink(7)`), one at a time.

mod address;
mod attributes;
mod events;
mod link;
mod route;
mod rule;
mod virtual_link;

use std::io;

use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

pub use address::{KernelAddress, Lifetime};
pub(super) use events::{Events, Resolvers};
pub use link::{Advertised, Link, LinkKind};
pub use route::{DefaultRoute, KernelRoute};

/// Why the kernel did not do it.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket failed.
    #[error("failed to talk to the kernel about {what}: {source}")]
    Io {
        /// About what.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The kernel said no.
    #[error("failed to {what}: {source}")]
    Refused {
        /// What it was asked to do.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

impl NetlinkError {
    /// The kernel's number for the reason, when it was the kernel that refused.
    #[must_use]
    pub fn errno(&self) -> Option<nix::errno::Errno> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error().map(nix::errno::Errno::from_raw),
            Self::Io { .. } => None,
        }
    }
}

/// A socket for questions and commands.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens the socket.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Asks for everything of a kind, an `RTM_GET...`, and hands on what follows the header of each `RTM_NEW...`.
    fn dump(
        &mut self,
        what: &str,
        get: u16,
        body: &dyn Emitable,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), NetlinkError> {
        // The kernel numbers each kind of thing NEW, DEL, GET, SET (`linux/rtnetlink.h`).
        let new = get - 2;
        self.request(what, Request { kind: get, body }, NLM_F_DUMP, &mut |answer| {
            if answer.kind == new {
                take(&answer.body);
            }
        })
    }

    /// Has something done.
    fn command(&mut self, what: &str, kind: u16, body: &dyn Emitable, flags: u16) -> Result<(), NetlinkError> {
        self.request(what, Request { kind, body }, NLM_F_ACK | flags, &mut |_| {})
    }

    /// Has something added; that it is there already is no error.
    fn addition(&mut self, what: &str, kind: u16, body: &dyn Emitable, flags: u16) -> Result<(), NetlinkError> {
        match self.command(what, kind, body, flags) {
            Err(error) if error.errno() == Some(nix::errno::Errno::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// Has something taken away; that it is gone already is no error.
    fn removal(&mut self, what: &str, kind: u16, body: &dyn Emitable) -> Result<(), NetlinkError> {
        use nix::errno::Errno;
        match self.command(what, kind, body, 0) {
            Err(error) if matches!(error.errno(), Some(Errno::EADDRNOTAVAIL | Errno::ESRCH | Errno::ENOENT)) => Ok(()),
            other => other,
        }
    }

    /// Sends one request and hands every answer to `take` until the kernel says that it is done.
    fn request(
        &mut self,
        what: &str,
        message: Request<'_>,
        flags: u16,
        take: &mut dyn FnMut(Answer),
    ) -> Result<(), NetlinkError> {
        let failed = |source| NetlinkError::Io { what: what.to_owned(), source };
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map_err(failed)?;
        loop {
            let (bytes, _) = self.socket.recv_from_full().map_err(failed)?;
            for piece in Messages(&bytes) {
                let Ok(answer) = NetlinkMessage::<Answer>::deserialize(piece) else { continue };
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) => {
                        return match error.code {
                            None => Ok(()),
                            Some(_) => Err(NetlinkError::Refused { what: what.to_owned(), source: error.to_io() }),
                        };
                    }
                    NetlinkPayload::InnerMessage(inner) => take(inner),
                    _ => {}
                }
            }
        }
    }
}

/// A message to the kernel. The library's enum of all messages would bring the writers and readers of every one of them
/// along, traffic control and tunnels included: 320 kB.
struct Request<'a> {
    /// `RTM_...`.
    kind: u16,
    body: &'a dyn Emitable,
}

impl NetlinkSerializable for Request<'_> {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.body.buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        self.body.emit(buffer);
    }
}

/// A message from the kernel, as it came.
struct Answer {
    /// `RTM_...`.
    kind: u16,
    /// What follows the header that all messages have.
    body: Vec<u8>,
}

impl NetlinkDeserializable for Answer {
    type Error = std::convert::Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Self::Error> {
        Ok(Self { kind: header.message_type, body: payload.to_vec() })
    }
}

/// The messages of a buffer, cut by the lengths in their headers.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_ne_bytes(self.0.get(..4)?.try_into().ok()?);
        let length = usize::try_from(length).ok().filter(|length| *length >= 16)?;
        let piece = self.0.get(..length)?;
        self.0 = &self.0[length.next_multiple_of(4).min(self.0.len())..];
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_by_their_length() {
        let mut bytes = vec![0; 44];
        bytes[..4].copy_from_slice(&21_u32.to_ne_bytes());
        bytes[24..28].copy_from_slice(&20_u32.to_ne_bytes());
        assert_eq!(Messages(&bytes).map(<[u8]>::len).collect::<Vec<_>>(), [21, 20]);
        bytes[..4].copy_from_slice(&99_u32.to_ne_bytes());
        assert_eq!(Messages(&bytes).next(), None);
        assert_eq!(Messages(&[0; 3]).next(), None);
        assert_eq!(Messages(&[0; 32]).next(), None, "a length of zero would never end");
    }

    #[test]
    fn the_kernel_lists_links() {
        // Loopback is not Ethernet; whatever else there is has a name and an address.
        for link in Netlink::open().unwrap().links().unwrap() {
            assert!(!link.name.is_empty() && link.index > 0 && link.name != "lo");
        }
    }
}
