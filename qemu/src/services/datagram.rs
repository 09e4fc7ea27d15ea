//! UDP datagrams as the frames that carry them.
//!
//! The services answer datagrams frame by frame, back to where they came from: that needs neither an ARP table nor a socket, and
//! reaches machines that have no address yet.

use crate::switch::Mac;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket,
    UdpRepr,
};
use std::net::SocketAddrV4;

/// The length of the three headers.
const HEADERS: usize = 14 + 20 + 8;

/// One UDP datagram over IPv4 over Ethernet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The sending station.
    pub source_mac: Mac,
    /// The station, or everybody.
    pub destination_mac: Mac,
    /// The sender.
    pub source: SocketAddrV4,
    /// The receiver.
    pub destination: SocketAddrV4,
    /// What it says.
    pub payload: Vec<u8>,
}

impl Datagram {
    /// Reads a frame; nothing when it is something else, a fragment, or broken.
    #[must_use]
    pub fn from_frame(frame: &[u8]) -> Option<Self> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        if frame.ethertype() != EthernetProtocol::Ipv4 {
            return None;
        }
        let checksums = ChecksumCapabilities::default();
        let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
        let ip = Ipv4Repr::parse(&packet, &checksums).ok()?;
        if ip.next_header != IpProtocol::Udp || packet.more_frags() || packet.frag_offset() != 0 {
            return None;
        }
        let segment = UdpPacket::new_checked(packet.payload()).ok()?;
        let udp = UdpRepr::parse(&segment, &ip.src_addr.into(), &ip.dst_addr.into(), &checksums).ok()?;
        Some(Self {
            source_mac: Mac(frame.src_addr().0),
            destination_mac: Mac(frame.dst_addr().0),
            source: SocketAddrV4::new(ip.src_addr, udp.src_port),
            destination: SocketAddrV4::new(ip.dst_addr, udp.dst_port),
            payload: segment.payload().to_vec(),
        })
    }

    /// The frame. Nothing when the payload does not fit one.
    #[must_use]
    pub fn to_frame(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; HEADERS + self.payload.len()];
        u16::try_from(bytes.len() - 14).ok()?;
        let checksums = ChecksumCapabilities::default();
        let mut frame = EthernetFrame::new_unchecked(&mut bytes);
        let ethernet = EthernetRepr {
            src_addr: EthernetAddress(self.source_mac.0),
            dst_addr: EthernetAddress(self.destination_mac.0),
            ethertype: EthernetProtocol::Ipv4,
        };
        ethernet.emit(&mut frame);
        let udp = UdpRepr { src_port: self.source.port(), dst_port: self.destination.port() };
        let ip = Ipv4Repr {
            src_addr: *self.source.ip(),
            dst_addr: *self.destination.ip(),
            next_header: IpProtocol::Udp,
            payload_len: udp.header_len() + self.payload.len(),
            hop_limit: 64,
        };
        let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
        ip.emit(&mut packet, &checksums);
        let mut segment = UdpPacket::new_unchecked(packet.payload_mut());
        let (from, to) = (ip.src_addr.into(), ip.dst_addr.into());
        udp.emit(&mut segment, &from, &to, self.payload.len(), |area| area.copy_from_slice(&self.payload), &checksums);
        Some(bytes)
    }

    /// The answer with `payload` to this datagram, from the station `mac`.
    #[must_use]
    pub fn reply(&self, mac: Mac, payload: Vec<u8>) -> Self {
        Self {
            source_mac: mac,
            destination_mac: self.source_mac,
            source: self.destination,
            destination: self.source,
            payload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    fn datagram(payload: Vec<u8>) -> Datagram {
        Datagram {
            source_mac: Mac::of_machine(1),
            destination_mac: Mac::BROADCAST,
            source: "10.0.5.10:50000".parse().unwrap(),
            destination: "10.0.5.1:53".parse().unwrap(),
            payload,
        }
    }

    #[test]
    fn an_answer_goes_back() {
        let reply = datagram(vec![1]).reply(Mac::of_machine(9), vec![2, 3]);
        assert_eq!((reply.source_mac, reply.destination_mac), (Mac::of_machine(9), Mac::of_machine(1)));
        assert_eq!((reply.source.port(), reply.destination.port()), (53, 50_000));
    }

    #[test]
    fn what_does_not_fit_is_not_sent() {
        assert_eq!(datagram(vec![0; 65_520]).to_frame(), None);
    }

    proptest! {
        #[test]
        fn frames_and_back(payload in prop::collection::vec(any::<u8>(), 0..1400)) {
            let datagram = datagram(payload);
            let frame = datagram.to_frame().unwrap();
            prop_assert_eq!(Datagram::from_frame(&frame), Some(datagram));
        }

        #[test]
        fn no_frame_panics(mut frame in prop::collection::vec(any::<u8>(), 0..100), position in 0usize..60, byte: u8) {
            let _ = Datagram::from_frame(&frame);
            frame = datagram(frame).to_frame().unwrap();
            frame[position % 42] = byte;
            let _ = Datagram::from_frame(&frame);
        }
    }
}
