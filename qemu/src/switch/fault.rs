//! What can be wrong with a network: rules that the switch applies to each frame on its way from one port to another.

use crate::switch::random::Random;
use std::ops::RangeInclusive;
use std::time::Duration;

/// What happens to a frame that a rule applies to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// It is lost.
    Drop,
    /// It arrives later, by a time between the first and the second; frames overtake each other when the two differ.
    Delay(Duration, Duration),
    /// It arrives twice.
    Duplicate,
}

/// Which frames a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// All.
    All,
    /// ARP.
    Arp,
    /// All IPv4.
    Ipv4,
    /// IPv4 ICMP.
    Icmp,
    /// UDP from or to this port.
    Udp(u16),
    /// TCP from or to this port.
    Tcp(u16),
}

impl Traffic {
    fn includes(self, frame: &[u8]) -> bool {
        let view = View::of(frame);
        match self {
            Self::All => true,
            Self::Arp => view.ethertype == Some(0x0806),
            Self::Ipv4 => view.ethertype == Some(0x0800),
            Self::Icmp => view.protocol == Some(1),
            Self::Udp(port) => view.protocol == Some(17) && view.has_port(port),
            Self::Tcp(port) => view.protocol == Some(6) && view.has_port(port),
        }
    }
}

/// The few fields of a frame that rules look at.
#[derive(Debug, Default)]
struct View {
    ethertype: Option<u16>,
    protocol: Option<u8>,
    ports: Option<[u16; 2]>,
}

impl View {
    fn of(frame: &[u8]) -> Self {
        let word = |bytes: &[u8], at: usize| bytes.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        let ethertype = word(frame, 12);
        let mut view = Self { ethertype, ..Self::default() };
        let Some(packet) = frame.get(14..).filter(|_| ethertype == Some(0x0800)) else { return view };
        view.protocol = packet.get(9).copied();
        let header = packet.first().map_or(0, |byte| usize::from(byte & 0x0f) * 4);
        // Only the first fragment has ports.
        let first = word(packet, 6).is_some_and(|flags| flags & 0x1fff == 0);
        if let (true, Some(source), Some(destination)) = (first, word(packet, header), word(packet, header + 2)) {
            view.ports = Some([source, destination]);
        }
        view
    }

    fn has_port(&self, port: u16) -> bool {
        self.ports.is_some_and(|ports| ports.contains(&port))
    }
}

/// A rule. Made by chaining: `Fault::drop().from("server-vm-0").to("server-vm-1").probability(0.3)`.
#[derive(Clone, Debug)]
pub struct Fault {
    action: Action,
    from: Option<Vec<String>>,
    to: Option<Vec<String>>,
    traffic: Traffic,
    probability: f64,
    frames: Option<RangeInclusive<u64>>,
}

impl Fault {
    /// A rule about all frames between all ports.
    #[must_use]
    pub fn new(action: Action) -> Self {
        Self { action, from: None, to: None, traffic: Traffic::All, probability: 1.0, frames: None }
    }

    /// Loses frames.
    #[must_use]
    #[allow(clippy::should_implement_trait, reason = "a constructor, it takes no self")]
    pub fn drop() -> Self {
        Self::new(Action::Drop)
    }

    /// Delays frames by `time`.
    #[must_use]
    pub fn delay(time: Duration) -> Self {
        Self::new(Action::Delay(time, time))
    }

    /// Delays each frame by a time of its own between two.
    #[must_use]
    pub fn jitter(least: Duration, most: Duration) -> Self {
        Self::new(Action::Delay(least, most.max(least)))
    }

    /// Sends frames twice.
    #[must_use]
    pub fn duplicate() -> Self {
        Self::new(Action::Duplicate)
    }

    /// Only what comes from this port (may be called several times).
    #[must_use]
    pub fn from(mut self, port: impl Into<String>) -> Self {
        self.from.get_or_insert_default().push(port.into());
        self
    }

    /// Only what goes to this port (may be called several times).
    #[must_use]
    pub fn to(mut self, port: impl Into<String>) -> Self {
        self.to.get_or_insert_default().push(port.into());
        self
    }

    /// Only some kind of traffic.
    #[must_use]
    pub fn traffic(self, traffic: Traffic) -> Self {
        Self { traffic, ..self }
    }

    /// Only this part of the frames, from 0 to 1, by reproducible chance.
    #[must_use]
    pub fn probability(self, probability: f64) -> Self {
        Self { probability, ..self }
    }

    /// Only these of the frames that match otherwise, the first one being 1.
    #[must_use]
    pub fn frames(self, frames: RangeInclusive<u64>) -> Self {
        Self { frames: Some(frames), ..self }
    }
}

/// Names a rule, to take it away again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FaultId(pub(crate) u64);

/// What a rule did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounters {
    /// Frames of the ports and the kind that it is about.
    pub matched: u64,
    /// Those of them that it acted on.
    pub applied: u64,
}

/// A rule in force.
#[derive(Debug)]
pub(crate) struct ActiveFault {
    pub(crate) id: FaultId,
    pub(crate) rule: Fault,
    pub(crate) counters: FaultCounters,
}

impl ActiveFault {
    /// Whether the rule acts on this frame. Counts.
    pub(crate) fn applies(&mut self, from: &str, to: &str, frame: &[u8], random: &mut Random) -> bool {
        let among = |ports: &Option<Vec<String>>, port: &str| {
            ports.as_ref().is_none_or(|ports| ports.iter().any(|p| p == port))
        };
        if !among(&self.rule.from, from) || !among(&self.rule.to, to) || !self.rule.traffic.includes(frame) {
            return false;
        }
        self.counters.matched += 1;
        let counted = self.rule.frames.as_ref().is_none_or(|frames| frames.contains(&self.counters.matched));
        let applies = counted && (self.rule.probability >= 1.0 || random.fraction() < self.rule.probability);
        self.counters.applied += u64::from(applies);
        applies
    }

    /// What it does, with chance decided.
    pub(crate) fn action(&self, random: &mut Random) -> Action {
        match self.rule.action {
            Action::Delay(least, most) => {
                let delay = least + (most - least).mul_f64(random.fraction());
                Action::Delay(delay, delay)
            }
            other => other,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::{any, prop, proptest};

    /// An IPv4 frame with ports, and nothing else filled in.
    pub(crate) fn packet(protocol: u8, source: u16, destination: u16) -> Vec<u8> {
        let mut frame = vec![0; 14 + 20 + 8];
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        frame[14] = 0x45;
        frame[23] = protocol;
        frame[34..36].copy_from_slice(&source.to_be_bytes());
        frame[36..38].copy_from_slice(&destination.to_be_bytes());
        frame
    }

    #[test]
    fn traffic_is_told_apart_by_protocol_and_either_port() {
        let (udp, tcp) = (packet(17, 68, 67), packet(6, 50_000, 4647));
        let mut arp = vec![0; 42];
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        for (traffic, expected) in [
            (Traffic::All, [true, true, true]),
            (Traffic::Arp, [false, false, true]),
            (Traffic::Ipv4, [true, true, false]),
            (Traffic::Udp(67), [true, false, false]),
            (Traffic::Udp(68), [true, false, false]),
            (Traffic::Udp(69), [false, false, false]),
            (Traffic::Tcp(4647), [false, true, false]),
            (Traffic::Icmp, [false, false, false]),
        ] {
            assert_eq!([&udp, &tcp, &arp].map(|frame| traffic.includes(frame)), expected, "{traffic:?}");
        }
        assert!(Traffic::Icmp.includes(&packet(1, 0, 0)));
        let mut fragment = udp;
        fragment[21] = 1;
        assert!(!Traffic::Udp(67).includes(&fragment));
    }

    #[test]
    fn a_rule_can_be_about_single_frames() {
        let mut random = Random::new(1);
        let rule = Fault::drop().from("a").to("b").to("c").traffic(Traffic::Udp(1)).frames(2..=3);
        let mut fault = ActiveFault { id: FaultId(0), rule, counters: FaultCounters::default() };
        let frame = packet(17, 1, 2);
        let applied: Vec<bool> = (0..4).map(|_| fault.applies("a", "c", &frame, &mut random)).collect();
        assert_eq!(applied, [false, true, true, false]);
        assert!(!fault.applies("b", "c", &frame, &mut random) && !fault.applies("a", "d", &frame, &mut random));
        assert_eq!(fault.counters, FaultCounters { matched: 4, applied: 2 });
    }

    proptest! {
        #[test]
        fn no_frame_makes_a_rule_panic(frame in prop::collection::vec(any::<u8>(), 0..64)) {
            Traffic::Udp(67).includes(&frame);
            let mut ip = vec![0; 12];
            ip.extend([8, 0]);
            ip.extend(frame);
            Traffic::Tcp(1).includes(&ip);
        }
    }
}
