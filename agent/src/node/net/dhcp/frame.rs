//! The IPv4 and UDP headers around a DHCP message: a machine without an address has to write them itself.

use std::net::Ipv4Addr;

/// Port of a DHCP client.
pub const CLIENT_PORT: u16 = 68;
/// Port of a DHCP server.
pub const SERVER_PORT: u16 = 67;

const UDP: u8 = 17;

/// Classic BPF for a socket that sees the IP header first: UDP, not a later fragment, to [`CLIENT_PORT`].
pub const FILTER: [(u16, u8, u8, u32); 9] = [
    (0x30, 0, 0, 9),           // ldb [9]: protocol
    (0x15, 0, 6, 17),          // jeq UDP
    (0x28, 0, 0, 6),           // ldh [6]: fragment
    (0x45, 4, 0, 0x1fff),      // jset: offset not zero
    (0xb1, 0, 0, 0),           // ldxb 4*([0]&0xf): header length
    (0x48, 0, 0, 2),           // ldh [x+2]: destination port
    (0x15, 0, 1, 68),          // jeq client port
    (0x06, 0, 0, 0xffff_ffff), // ret all
    (0x06, 0, 0, 0),           // ret nothing
];

/// Puts headers around `payload`, from a client to a server.
#[must_use]
pub fn wrap(payload: &[u8], source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let udp_len = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
    let mut udp = Vec::with_capacity(udp_len.into());
    for field in [CLIENT_PORT, SERVER_PORT, udp_len, 0] {
        udp.extend_from_slice(&field.to_be_bytes());
    }
    udp.extend_from_slice(payload);
    let mut pseudo = Vec::with_capacity(12 + udp.len());
    pseudo.extend_from_slice(&source.octets());
    pseudo.extend_from_slice(&destination.octets());
    pseudo.extend_from_slice(&[0, UDP]);
    pseudo.extend_from_slice(&udp_len.to_be_bytes());
    pseudo.extend_from_slice(&udp);
    // A sum of zero would say that there is none.
    let sum = match checksum(&pseudo) {
        0 => 0xffff,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());

    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&udp_len.saturating_add(20).to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 0, 64, UDP, 0, 0]);
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&destination.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(&udp);
    packet
}

/// The payload of a packet to a client; `None` when it is something else or cut short. The sums are not looked at:
/// between virtual machines of one host they are often left to hardware that is not there.
#[must_use]
pub fn unwrap(packet: &[u8]) -> Option<&[u8]> {
    let first = *packet.first()?;
    let header = usize::from(first & 0xf) * 4;
    let whole = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x3fff;
    if first >> 4 != 4 || header < 20 || fragment != 0 || *packet.get(9)? != UDP {
        return None;
    }
    let udp = packet.get(header..whole.min(packet.len()))?;
    let length = usize::from(u16::from_be_bytes([*udp.get(4)?, *udp.get(5)?]));
    let port = u16::from_be_bytes([*udp.get(2)?, *udp.get(3)?]);
    if port == CLIENT_PORT { udp.get(8..length) } else { None }
}

/// The Internet's checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_known_header_has_its_known_sum() {
        // From RFC 1071's neighbourhood: the example header everyone uses.
        let header = [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        assert_eq!(checksum(&header), 0xb861);
    }

    proptest! {
        #[test]
        fn sums_of_whole_packets_are_right(payload in proptest::collection::vec(any::<u8>(), 0..600)) {
            let packet = wrap(&payload, Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
            prop_assert_eq!(checksum(&packet[..20]), 0);
            // What goes out is to a server; the way back has the other port.
            let mut answer = packet;
            answer[22..24].copy_from_slice(&CLIENT_PORT.to_be_bytes());
            prop_assert_eq!(unwrap(&answer), Some(payload.as_slice()));
        }

        #[test]
        fn any_bytes_unwrap_or_not(bytes: Vec<u8>) {
            let _ = unwrap(&bytes);
        }
    }
}
