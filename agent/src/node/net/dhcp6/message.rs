//! DHCPv6 messages as bytes (RFC 8415 sections 8 and 21).
//!
//! Written here for the reason that [`super::super::dhcp`]'s are: the crate `dhcproto` is the referee of the tests.

/// Codes of the options that the client speaks of.
pub mod code {
    #![expect(missing_docs, reason = "the names are those of RFC 8415 and RFC 3646")]
    pub const CLIENT_ID: u16 = 1;
    pub const SERVER_ID: u16 = 2;
    pub const IA_NA: u16 = 3;
    pub const IA_ADDRESS: u16 = 5;
    pub const REQUESTED: u16 = 6;
    pub const ELAPSED: u16 = 8;
    pub const STATUS: u16 = 13;
    pub const RAPID_COMMIT: u16 = 14;
    pub const DNS: u16 = 23;
    pub const DOMAINS: u16 = 24;
    pub const REFRESH: u16 = 32;
}

/// The kinds of messages that a client sends and takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Is there a server?
    Solicit = 1,
    /// A server has an address.
    Advertise = 2,
    /// The client wants it.
    Request = 3,
    /// It wants it longer, from the same server.
    Renew = 5,
    /// The same, from any server.
    Rebind = 6,
    /// A server's answer.
    Reply = 7,
    /// The client wants no address.
    InformationRequest = 11,
}

/// Options as they stand in a message or in another option.
pub(super) type Options = Vec<(u16, Vec<u8>)>;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is; `None` for kinds that are not for clients.
    pub kind: Option<Kind>,
    /// Number of the exchange, 24 bits.
    pub xid: u32,
    /// Its options, in their order.
    pub options: Options,
}

impl Message {
    /// A message of a client.
    #[must_use]
    pub const fn new(kind: Kind, xid: u32) -> Self {
        Self { kind: Some(kind), xid: xid & 0xff_ffff, options: Vec::new() }
    }

    /// Adds an option.
    pub fn add(&mut self, code: u16, value: impl Into<Vec<u8>>) {
        self.options.push((code, value.into()));
    }

    /// The bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let [_, xid @ ..] = self.xid.to_be_bytes();
        let mut bytes = vec![self.kind.map_or(0, |kind| kind as u8)];
        bytes.extend(xid);
        bytes.extend(write_options(&self.options));
        bytes
    }

    /// Reads a message; `None` when it is too short or any of its options is broken.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(4)?;
        let kind = match head[0] {
            1 => Some(Kind::Solicit),
            2 => Some(Kind::Advertise),
            3 => Some(Kind::Request),
            5 => Some(Kind::Renew),
            6 => Some(Kind::Rebind),
            7 => Some(Kind::Reply),
            11 => Some(Kind::InformationRequest),
            _ => None,
        };
        Some(Self { kind, xid: u32::from_be_bytes([0, head[1], head[2], head[3]]), options: read_options(rest)? })
    }

    /// The first option of a code.
    #[must_use]
    pub fn option(&self, code: u16) -> Option<&[u8]> {
        find(&self.options, code)
    }
}

/// The first option of a code.
pub(super) fn find(options: &[(u16, Vec<u8>)], code: u16) -> Option<&[u8]> {
    options.iter().find(|(other, _)| *other == code).map(|(_, value)| value.as_slice())
}

pub(super) fn write_options(options: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (code, value) in options {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        bytes.extend(code.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(&value[..length.into()]);
    }
    bytes
}

/// `None` when one is cut short.
pub(super) fn read_options(mut bytes: &[u8]) -> Option<Options> {
    let mut options = Options::new();
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_at_checked(4)?;
        let (code, length) = (u16::from_be_bytes([head[0], head[1]]), u16::from_be_bytes([head[2], head[3]]));
        let (value, rest) = rest.split_at_checked(length.into())?;
        options.push((code, value.to_vec()));
        bytes = rest;
    }
    Some(options)
}

/// A number of 32 bits at a place.
pub(super) fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The number of a status option; success when there is none (section 21.13).
pub(super) fn status(options: &[(u16, Vec<u8>)]) -> u16 {
    match find(options, code::STATUS) {
        Some([high, low, ..]) => u16::from_be_bytes([*high, *low]),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use dhcproto::{Decodable as _, Encodable as _, v6};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn another_implementation_reads_what_is_written_and_the_other_way_round() {
        let mut message = Message::new(Kind::Solicit, 0xab_cdef);
        message.add(code::CLIENT_ID, [0, 3, 0, 1, 2, 0, 0, 0, 0, 1]);
        message.add(code::ELAPSED, [0, 7]);
        let other = v6::Message::from_bytes(&message.to_bytes()).unwrap();
        assert_eq!((other.msg_type(), other.xid()), (v6::MessageType::Solicit, [0xab, 0xcd, 0xef]));
        assert!(matches!(other.opts().get(v6::OptionCode::ElapsedTime), Some(v6::DhcpOption::ElapsedTime(7))));
        assert_eq!(Message::parse(&other.to_vec().unwrap()), Some(message));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not(bytes: Vec<u8>) {
            if let Some(message) = Message::parse(&bytes) {
                prop_assert_eq!(&message.to_bytes()[1..], &bytes[1..]);
            }
        }
    }
}
