//! The options of a DHCP message (RFC 2132, 3396, 3442).

use std::{collections::BTreeMap, net::Ipv4Addr};

use super::message::Message;

/// Codes of the options that the client speaks of.
pub mod code {
    #![expect(missing_docs, reason = "the names are those of RFC 2132")]
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const DOMAIN_NAME: u8 = 15;
    pub const MTU: u8 = 26;
    pub const NTP: u8 = 42;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const PARAMETERS: u8 = 55;
    pub const MAX_SIZE: u8 = 57;
    pub const RENEWAL: u8 = 58;
    pub const REBINDING: u8 = 59;
    pub const CLIENT_ID: u8 = 61;
    pub const CLASSLESS_ROUTES: u8 = 121;
    /// Azure: its wire server.
    pub const WIRE_SERVER: u8 = 245;
    /// Microsoft, before 121 was: the same format.
    pub const OLD_CLASSLESS_ROUTES: u8 = 249;
}

/// Fills room.
pub(super) const PAD: u8 = 0;
/// Ends the options.
pub(super) const END: u8 = 255;

impl Message {
    /// An option's bytes.
    #[must_use]
    pub fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.get(&code).map(Vec::as_slice)
    }

    /// An option that is one address.
    #[must_use]
    pub fn ip(&self, code: u8) -> Option<Ipv4Addr> {
        self.ips(code).first().copied()
    }

    /// An option that is a list of addresses; bytes that do not fill one are left out.
    #[must_use]
    pub fn ips(&self, code: u8) -> Vec<Ipv4Addr> {
        let bytes = self.option(code).unwrap_or_default();
        bytes.chunks_exact(4).map(|b| Ipv4Addr::new(b[0], b[1], b[2], b[3])).collect()
    }

    /// An option that is a number of 32 bits.
    #[must_use]
    pub fn long(&self, code: u8) -> Option<u32> {
        Some(u32::from_be_bytes(self.option(code)?.try_into().ok()?))
    }

    /// An option that is a number of 16 bits.
    #[must_use]
    pub fn short(&self, code: u8) -> Option<u16> {
        Some(u16::from_be_bytes(self.option(code)?.try_into().ok()?))
    }

    /// An option that is text.
    #[must_use]
    pub fn text(&self, code: u8) -> Option<String> {
        self.option(code).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// Option 121, else the older 249: network, length of its prefix, gateway. `None` when they are absent or broken
    /// anywhere: half a list of routes would be another network than the one that was meant.
    #[must_use]
    pub fn classless_routes(&self) -> Option<Vec<(Ipv4Addr, u8, Ipv4Addr)>> {
        let list = |code| self.option(code).and_then(classless_routes);
        list(code::CLASSLESS_ROUTES).or_else(|| list(code::OLD_CLASSLESS_ROUTES))
    }
}

fn classless_routes(bytes: &[u8]) -> Option<Vec<(Ipv4Addr, u8, Ipv4Addr)>> {
    let mut rest = bytes;
    let mut routes = Vec::new();
    while let Some((&prefix, tail)) = rest.split_first() {
        let length = usize::from(prefix.div_ceil(8));
        if prefix > 32 || tail.len() < length + 4 {
            return None;
        }
        let mut network = [0; 4];
        network[..length].copy_from_slice(&tail[..length]);
        let gateway = &tail[length..length + 4];
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        routes.push((
            Ipv4Addr::from(u32::from(Ipv4Addr::from(network)) & mask),
            prefix,
            Ipv4Addr::new(gateway[0], gateway[1], gateway[2], gateway[3]),
        ));
        rest = &tail[length + 4..];
    }
    (!routes.is_empty()).then_some(routes)
}

/// Reads options; an option that stands several times is one long one (RFC 3396).
pub(super) fn read(bytes: &[u8], options: &mut BTreeMap<u8, Vec<u8>>) {
    let mut rest = bytes;
    while let Some((&code, tail)) = rest.split_first() {
        match code {
            PAD => rest = tail,
            END => return,
            code => {
                let Some((&length, tail)) = tail.split_first() else { return };
                let Some(value) = tail.get(..length.into()) else { return };
                options.entry(code).or_default().extend_from_slice(value);
                rest = &tail[length.into()..];
            }
        }
    }
}
