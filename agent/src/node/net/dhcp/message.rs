//! DHCP messages as bytes (RFC 2131 section 2, RFC 2132, RFC 3396, RFC 3442).
//!
//! Written here because one packet of a stranger must not end a process that has no unwinding: the crate `dhcproto`
//! 0.15 panics at an option of unexpected length. It is the referee of the tests below instead.

use std::{collections::BTreeMap, net::Ipv4Addr};

use super::options::{END, PAD, code, read};

const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Where the options begin, behind the fixed fields and the cookie.
const OPTIONS: usize = 240;

/// The kinds of messages that a client sends and takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Is there a server?
    Discover = 1,
    /// A server has an address.
    Offer = 2,
    /// The client wants it.
    Request = 3,
    /// It may have it.
    Ack = 5,
    /// It may not.
    Nak = 6,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// From a server.
    pub reply: bool,
    /// Number of the exchange.
    pub xid: u32,
    /// Seconds since the exchange began.
    pub secs: u16,
    /// The address that the client uses.
    pub ciaddr: Ipv4Addr,
    /// The address that it is given.
    pub yiaddr: Ipv4Addr,
    /// Its hardware address.
    pub mac: [u8; 6],
    pub(super) options: BTreeMap<u8, Vec<u8>>,
}

impl Message {
    /// A message of a client.
    #[must_use]
    pub fn new(kind: Kind, xid: u32, mac: [u8; 6]) -> Self {
        let options = BTreeMap::from([(code::MESSAGE_TYPE, vec![kind as u8])]);
        Self { reply: false, xid, secs: 0, ciaddr: Ipv4Addr::UNSPECIFIED, yiaddr: Ipv4Addr::UNSPECIFIED, mac, options }
    }

    /// Adds an option, of at most 255 bytes.
    pub fn set(&mut self, code: u8, value: impl Into<Vec<u8>>) {
        self.options.insert(code, value.into());
    }

    /// The bytes, padded to the 300 that old relays want.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![if self.reply { 2 } else { 1 }, 1, 6, 0];
        bytes.extend_from_slice(&self.xid.to_be_bytes());
        bytes.extend_from_slice(&self.secs.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&self.ciaddr.octets());
        bytes.extend_from_slice(&self.yiaddr.octets());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&self.mac);
        bytes.resize(OPTIONS - 4, 0);
        bytes.extend_from_slice(&COOKIE);
        // The type first, as every implementation does.
        let rest = self.options.iter().filter(|(code, _)| **code != code::MESSAGE_TYPE);
        for (code, value) in self.options.get_key_value(&code::MESSAGE_TYPE).into_iter().chain(rest) {
            let length = value.len().min(255);
            bytes.push(*code);
            bytes.push(u8::try_from(length).unwrap_or(255));
            bytes.extend_from_slice(&value[..length]);
        }
        bytes.push(END);
        if bytes.len() < 300 {
            bytes.resize(300, PAD);
        }
        bytes
    }

    /// Reads a message; `None` when it is not one for Ethernet. Options that are cut short end the list; what came
    /// before them counts.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let fixed = bytes.get(..OPTIONS)?;
        if !matches!(fixed[0], 1 | 2) || fixed[1..3] != [1, 6] || fixed[OPTIONS - 4..] != COOKIE {
            return None;
        }
        let ip = |at: usize| Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]);
        let mut options = BTreeMap::new();
        read(&bytes[OPTIONS..], &mut options);
        // The fields for a boot file and a server's name may hold options too (RFC 2132, 9.3), in this order.
        let overload = options.get(&code::OVERLOAD).and_then(|v| v.first()).copied().unwrap_or(0);
        if overload & 1 != 0 {
            read(&fixed[108..236], &mut options);
        }
        if overload & 2 != 0 {
            read(&fixed[44..108], &mut options);
        }
        Some(Self {
            reply: fixed[0] == 2,
            xid: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            secs: u16::from_be_bytes([fixed[8], fixed[9]]),
            ciaddr: ip(12),
            yiaddr: ip(16),
            mac: fixed[28..34].try_into().ok()?,
            options,
        })
    }

    /// What kind it is; `None` for kinds that are not for clients.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        match self.option(code::MESSAGE_TYPE)? {
            [1] => Some(Kind::Discover),
            [2] => Some(Kind::Offer),
            [3] => Some(Kind::Request),
            [5] => Some(Kind::Ack),
            [6] => Some(Kind::Nak),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use dhcproto::{Decodable as _, Encodable as _, v4};
    use proptest::prelude::*;

    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    #[test]
    fn another_implementation_reads_what_is_written() {
        let mut message = Message::new(Kind::Request, 0xdead_beef, MAC);
        message.secs = 7;
        message.ciaddr = Ipv4Addr::new(10, 0, 5, 10);
        message.set(code::SERVER_ID, [10, 0, 5, 1]);
        message.set(code::CLIENT_ID, [1, 2, 0, 0, 0, 0, 1]);
        message.set(code::MAX_SIZE, 1472_u16.to_be_bytes());
        let bytes = message.to_bytes();
        assert_eq!(bytes.len(), 300);
        let other = v4::Message::from_bytes(&bytes).unwrap();
        assert_eq!((other.xid(), other.secs(), other.ciaddr()), (0xdead_beef, 7, message.ciaddr));
        assert_eq!(other.opts().msg_type(), Some(v4::MessageType::Request));
        let server = v4::DhcpOption::ServerIdentifier(Ipv4Addr::new(10, 0, 5, 1));
        assert_eq!(other.opts().get(v4::OptionCode::ServerIdentifier), Some(&server));
        assert_eq!(Message::parse(&bytes), Some(message));
    }

    #[test]
    fn what_another_implementation_writes_is_read() {
        let mut other = v4::Message::default();
        other.set_opcode(v4::Opcode::BootReply).set_xid(9).set_chaddr(&MAC).set_yiaddr([10, 0, 5, 10]);
        let routes = vec![
            ("10.1.0.0/17".parse().unwrap(), "10.0.5.2".parse().unwrap()),
            ("0.0.0.0/0".parse().unwrap(), [10, 0, 5, 1].into()),
        ];
        other.opts_mut().insert(v4::DhcpOption::MessageType(v4::MessageType::Ack));
        other.opts_mut().insert(v4::DhcpOption::ClasslessStaticRoute(routes));
        other.opts_mut().insert(v4::DhcpOption::InterfaceMtu(1400));
        let message = Message::parse(&other.to_vec().unwrap()).unwrap();
        assert_eq!((message.reply, message.kind(), message.short(code::MTU)), (true, Some(Kind::Ack), Some(1400)));
        let ip = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        let want = [(ip("10.1.0.0"), 17, ip("10.0.5.2")), (ip("0.0.0.0"), 0, ip("10.0.5.1"))];
        assert_eq!(message.classless_routes().unwrap(), want);
    }

    #[test]
    fn long_and_overloaded_options_are_put_together() {
        let mut bytes = Message::new(Kind::Offer, 1, MAC).to_bytes();
        bytes.truncate(OPTIONS);
        bytes.extend_from_slice(&[code::OVERLOAD, 1, 3, code::DNS, 4, 1, 1, 1, 1, END]);
        bytes[108..115].copy_from_slice(&[code::DNS, 4, 2, 2, 2, 2, END]);
        bytes[44..50].copy_from_slice(&[code::DNS, 4, 3, 3, 3, 3]);
        let ips = Message::parse(&bytes).unwrap().ips(code::DNS);
        assert_eq!(ips, [[1; 4], [2; 4], [3; 4]].map(Ipv4Addr::from));
    }

    #[test]
    fn broken_routes_are_no_routes() {
        for value in [&[33, 1, 1, 1, 1, 1, 1, 1, 1, 1][..], &[24, 10, 0, 0], &[]] {
            let mut message = Message::new(Kind::Ack, 1, MAC);
            message.set(code::CLASSLESS_ROUTES, value);
            assert_eq!(message.classless_routes(), None, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Message::parse(&bytes);
        }

        #[test]
        fn any_options_are_read(options in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = Message::new(Kind::Ack, 1, MAC).to_bytes();
            bytes.truncate(OPTIONS);
            bytes.extend(options);
            let message = Message::parse(&bytes).unwrap();
            let _ = (message.kind(), message.classless_routes(), message.ips(code::DNS), message.text(code::HOST_NAME));
        }

        #[test]
        fn options_come_back(values in proptest::collection::btree_map(1_u8..255, proptest::collection::vec(any::<u8>(), 0..200), 0..6)) {
            let mut message = Message::new(Kind::Request, 3, MAC);
            for (code, value) in &values {
                // This one says that there is more elsewhere.
                if *code != code::OVERLOAD {
                    message.set(*code, value.clone());
                }
            }
            prop_assert_eq!(Message::parse(&message.to_bytes()), Some(message));
        }
    }
}
