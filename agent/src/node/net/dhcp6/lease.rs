//! What a server's answer means.

use std::{net::Ipv6Addr, time::Duration};

use super::message::{Message, code, long, read_options, status};

/// Pause between questions of a client that wants no address, when the server says none (RFC 8415, `IRT_DEFAULT`).
const REFRESH: u32 = 86_400;
/// The least of it (`IRT_MINIMUM`).
const LEAST_REFRESH: u32 = 600;
/// Shorter leases are renewed after this long: a client that renews every second helps nobody.
const SHORTEST: u32 = 15;

/// An address, and how long it may be used; `None` is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeasedAddress {
    /// The address.
    pub address: Ipv6Addr,
    /// For new connections.
    pub preferred: Option<Duration>,
    /// At all.
    pub valid: Option<Duration>,
}

/// What a server gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Addresses; none when none were asked for.
    pub addresses: Vec<LeasedAddress>,
    /// The server, as it calls itself.
    pub server: Vec<u8>,
    /// Name servers.
    pub dns: Vec<Ipv6Addr>,
    /// Search domains.
    pub domains: Vec<String>,
    /// When to ask the server again; `None` is never.
    pub renew: Option<Duration>,
    /// When to ask any server.
    pub rebind: Option<Duration>,
}

impl Lease {
    /// Reads an ADVERTISE or REPLY that gives addresses for `iaid`. `None` when it gives none.
    #[must_use]
    pub fn with_addresses(message: &Message, iaid: u32) -> Option<Self> {
        let ia = ia_na(message, iaid)?;
        let options = read_options(ia.get(12..)?)?;
        if status(&message.options) != 0 || status(&options) != 0 {
            return None;
        }
        let usable = options.iter().filter(|(code, _)| *code == code::IA_ADDRESS);
        let addresses: Vec<LeasedAddress> = usable.filter_map(|(_, value)| address(value)).collect();
        let shortest = addresses.iter().filter_map(|address| address.preferred).min();
        if addresses.is_empty() {
            return None;
        }
        let (renew, rebind) = times(long(ia, 4)?, long(ia, 8)?, shortest);
        Some(Self { addresses, renew, rebind, ..Self::configuration(message)? })
    }

    /// Reads a REPLY to a client that wants no address.
    #[must_use]
    pub fn without_address(message: &Message) -> Option<Self> {
        let refresh = message.option(code::REFRESH).and_then(|bytes| long(bytes, 0)).unwrap_or(REFRESH);
        let renew = (refresh != u32::MAX).then(|| Duration::from_secs(refresh.max(LEAST_REFRESH).into()));
        (status(&message.options) == 0).then_some(())?;
        Some(Self { renew, ..Self::configuration(message)? })
    }

    fn configuration(message: &Message) -> Option<Self> {
        let dns = message.option(code::DNS).unwrap_or_default().chunks_exact(16);
        let dns = dns.filter_map(|bytes| <[u8; 16]>::try_from(bytes).ok()).map(Ipv6Addr::from);
        Some(Self {
            addresses: vec![],
            server: message.option(code::SERVER_ID)?.to_vec(),
            dns: dns.filter(|ip| !ip.is_unspecified() && !ip.is_multicast()).collect(),
            domains: domains(message.option(code::DOMAINS).unwrap_or_default()),
            renew: None,
            rebind: None,
        })
    }

    /// When the last address runs out; `None` is never.
    #[must_use]
    pub fn valid(&self) -> Option<Duration> {
        self.addresses
            .iter()
            .map(|address| address.valid)
            .try_fold(Duration::ZERO, |most, valid| Some(most.max(valid?)))
    }
}

/// Whether a server says that it knows nothing of the addresses (`NoBinding`, `NotOnLink`).
pub(super) fn has_no_binding(message: &Message, iaid: u32) -> bool {
    let options = ia_na(message, iaid).and_then(|ia| read_options(ia.get(12..)?)).unwrap_or_default();
    matches!(status(&options), 3 | 4) || matches!(status(&message.options), 3 | 4)
}

fn ia_na(message: &Message, iaid: u32) -> Option<&[u8]> {
    let mine = |(code, value): &&(u16, Vec<u8>)| *code == code::IA_NA && long(value, 0) == Some(iaid);
    message.options.iter().find(mine).map(|(_, value)| value.as_slice())
}

fn address(value: &[u8]) -> Option<LeasedAddress> {
    let address = Ipv6Addr::from(<[u8; 16]>::try_from(value.get(..16)?).ok()?);
    let (preferred, valid) = (long(value, 16)?, long(value, 20)?);
    let options = read_options(value.get(24..)?)?;
    let unusable =
        address.is_unspecified() || address.is_loopback() || address.is_multicast() || address.is_unicast_link_local();
    // One that is valid for no time is one that is taken away (section 18.2.10.1).
    let over = valid == 0 || preferred > valid || status(&options) != 0;
    let time = |seconds: u32| (seconds != u32::MAX).then(|| Duration::from_secs(seconds.into()));
    (!unusable && !over).then(|| LeasedAddress { address, preferred: time(preferred), valid: time(valid) })
}

/// T1 and T2: what the server says when it makes sense, else a half and four fifths of the shortest time (section 21.4).
fn times(t1: u32, t2: u32, shortest: Option<Duration>) -> (Option<Duration>, Option<Duration>) {
    let seconds = |n: u32| (n != u32::MAX).then(|| Duration::from_secs(n.max(SHORTEST).into()));
    if t1 > 0 && t1 <= t2 {
        return (seconds(t1), seconds(t2));
    }
    let least = Duration::from_secs(SHORTEST.into());
    (shortest.map(|s| (s / 2).max(least)), shortest.map(|s| (s * 4 / 5).max(least)))
}

/// Names in DNS's form (RFC 1035, 3.1), without compression (RFC 8415, 10); what is broken ends the list.
fn domains(mut bytes: &[u8]) -> Vec<String> {
    let mut domains = Vec::new();
    let mut name = String::new();
    while let Some((&length, rest)) = bytes.split_first() {
        let Some((label, rest)) = rest.split_at_checked(length.into()).filter(|_| length < 64) else { break };
        bytes = rest;
        if length == 0 {
            if !name.is_empty() && name.len() <= 253 {
                domains.push(std::mem::take(&mut name));
            }
            name.clear();
            continue;
        }
        let plain = label.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
        if !plain {
            break;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&String::from_utf8_lossy(label));
    }
    domains
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn search_domains() {
        let list = b"\x06steppe\x07example\0\x01b\0\x03a b\0";
        assert_eq!(domains(list), ["steppe.example", "b"]);
        assert!(domains(b"\xc0\x0c").is_empty());
    }

    #[test]
    fn times_that_make_no_sense_are_replaced() {
        let s = Duration::from_secs;
        assert_eq!(times(0, 0, Some(s(100))), (Some(s(50)), Some(s(80))));
        assert_eq!(times(60, 30, Some(s(100))), (Some(s(50)), Some(s(80))));
        assert_eq!(times(60, 90, None), (Some(s(60)), Some(s(90))));
        assert_eq!(times(u32::MAX, u32::MAX, Some(s(100))), (None, None));
        assert_eq!(times(1, 2, Some(s(3))), (Some(s(15)), Some(s(15))));
    }

    proptest! {
        #[test]
        fn any_option_is_read(ia: Vec<u8>, dns: Vec<u8>, names: Vec<u8>) {
            let mut message = Message::new(super::super::Kind::Reply, 1);
            let mut value = vec![0, 0, 0, 7];
            value.extend(&ia);
            message.add(code::IA_NA, value);
            message.add(code::SERVER_ID, [1]);
            message.add(code::DNS, dns);
            message.add(code::DOMAINS, names);
            let _ = (Lease::with_addresses(&message, 7), Lease::without_address(&message), has_no_binding(&message, 7));
        }
    }
}
