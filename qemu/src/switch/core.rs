//! What the switch decides, without any I/O: which frame goes where, and when.

use crate::switch::Mac;
use crate::switch::fault::{Action, ActiveFault, Fault, FaultCounters, FaultId};
use crate::switch::pcap::{Capture, Ring};
use crate::switch::random::Random;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Names a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub(crate) usize);

/// What passed through one port. "In" is from the machine into the switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Frames from the machine.
    pub frames_in: u64,
    /// Bytes from the machine.
    pub bytes_in: u64,
    /// Frames to the machine.
    pub frames_out: u64,
    /// Bytes to the machine.
    pub bytes_out: u64,
    /// Frames to the machine that were lost because it did not read.
    pub lost_full: u64,
    /// Frames from or to the machine that faults, partitions and pulled cables lost.
    pub lost_fault: u64,
}

/// A frame that a port is to send now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) port: PortId,
    pub(crate) frame: Arc<[u8]>,
}

#[derive(Debug)]
pub(crate) struct PortState {
    pub(crate) name: String,
    pub(crate) connected: bool,
    pub(crate) link_up: bool,
    /// The one VLAN of a port whose machine knows nothing of VLANs. Other ports carry all frames as they are.
    pub(crate) vlan: Option<u16>,
    pub(crate) counters: PortCounters,
}

#[derive(Debug)]
struct Delayed {
    due: Instant,
    /// Keeps frames with the same time in order.
    sequence: u64,
    delivery: Delivery,
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}
impl Eq for Delayed {}
impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.sequence).cmp(&(other.due, other.sequence))
    }
}

/// The state of a switch.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) ports: Vec<PortState>,
    stations: HashMap<Mac, PortId>,
    faults: Vec<ActiveFault>,
    next_fault: u64,
    /// Directed pairs between which nothing passes.
    cuts: BTreeSet<(String, String)>,
    random: Random,
    delayed: BinaryHeap<Reverse<Delayed>>,
    sequence: u64,
    pub(crate) ring: Ring,
    pub(crate) capture: Option<Capture<BufWriter<File>>>,
}

impl Core {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            ports: Vec::new(),
            stations: HashMap::new(),
            faults: Vec::new(),
            next_fault: 0,
            cuts: BTreeSet::new(),
            random: Random::new(seed),
            delayed: BinaryHeap::new(),
            sequence: 0,
            ring: Ring::default(),
            capture: None,
        }
    }

    pub(crate) fn add_port(&mut self, name: &str) -> PortId {
        let port = PortState {
            name: name.to_owned(),
            connected: false,
            link_up: true,
            vlan: None,
            counters: PortCounters::default(),
        };
        self.ports.push(port);
        PortId(self.ports.len() - 1)
    }

    pub(crate) fn port_named(&self, name: &str) -> Option<PortId> {
        self.ports.iter().position(|port| port.name == name).map(PortId)
    }

    /// A machine came or went. One that went takes its addresses along.
    pub(crate) fn set_connected(&mut self, port: PortId, connected: bool) {
        self.ports[port.0].connected = connected;
        if !connected {
            self.stations.retain(|_, place| *place != port);
        }
    }

    pub(crate) fn add_fault(&mut self, rule: Fault) -> FaultId {
        let id = FaultId(self.next_fault);
        self.next_fault += 1;
        self.faults.push(ActiveFault { id, rule, counters: FaultCounters::default() });
        id
    }

    pub(crate) fn remove_fault(&mut self, id: FaultId) -> Option<FaultCounters> {
        let position = self.faults.iter().position(|fault| fault.id == id)?;
        Some(self.faults.remove(position).counters)
    }

    pub(crate) fn fault_counters(&self, id: FaultId) -> Option<FaultCounters> {
        self.faults.iter().find(|fault| fault.id == id).map(|fault| fault.counters)
    }

    pub(crate) fn cut(&mut self, from: &str, to: &str) {
        self.cuts.insert((from.to_owned(), to.to_owned()));
    }

    pub(crate) fn mend(&mut self, from: &str, to: &str) {
        self.cuts.remove(&(from.to_owned(), to.to_owned()));
    }

    pub(crate) fn heal_all(&mut self) {
        self.faults.clear();
        self.cuts.clear();
        self.ports.iter_mut().for_each(|port| port.link_up = true);
    }

    /// A frame came in from `port`; what is to be sent at once is appended to `out`.
    pub(crate) fn receive(&mut self, port: PortId, frame: &[u8], now: Instant, out: &mut Vec<Delivery>) {
        self.record(frame);
        let counters = &mut self.ports[port.0].counters;
        counters.frames_in += 1;
        counters.bytes_in += frame.len() as u64;
        let Some((destination, source)) = addresses(frame) else { return };
        let frame: Arc<[u8]> = match self.ports[port.0].vlan {
            Some(vlan) => tag(frame, vlan).into(),
            None => frame.into(),
        };
        if !self.ports[port.0].link_up {
            self.ports[port.0].counters.lost_fault += 1;
            return;
        }
        if !source.is_group() {
            self.stations.insert(source, port);
        }
        let place = if destination.is_group() { None } else { self.stations.get(&destination).copied() };
        match place {
            Some(place) if place == port => {}
            Some(place) => self.pass(port, place, &frame, now, out),
            None => {
                for place in (0..self.ports.len()).map(PortId) {
                    if place != port && self.ports[place.0].connected {
                        self.pass(port, place, &frame, now, out);
                    }
                }
            }
        }
    }

    /// Frames whose delay is over at `now`.
    pub(crate) fn release(&mut self, now: Instant, out: &mut Vec<Delivery>) {
        while self.delayed.peek().is_some_and(|Reverse(first)| first.due <= now) {
            if let Some(Reverse(first)) = self.delayed.pop() {
                out.push(first.delivery);
            }
        }
    }

    /// When the next delayed frame is due.
    pub(crate) fn next_release(&self) -> Option<Instant> {
        self.delayed.peek().map(|Reverse(first)| first.due)
    }

    fn record(&mut self, frame: &[u8]) {
        let now = SystemTime::now();
        self.ring.push(now, frame);
        // A capture that cannot be written ends; the traffic does not.
        if let Some(Err(_)) = self.capture.as_mut().map(|capture| capture.push(now, frame)) {
            self.capture = None;
        }
    }

    /// Takes a frame from one port to another, through all faults.
    fn pass(&mut self, from: PortId, to: PortId, frame: &Arc<[u8]>, now: Instant, out: &mut Vec<Delivery>) {
        let (source, target) = (&self.ports[from.0], &self.ports[to.0]);
        let mut lost = !target.link_up || self.is_cut(&source.name, &target.name);
        let (mut due, mut copies) = (now, 1);
        let untagged: Arc<[u8]>;
        let frame = match target.vlan {
            None => frame,
            Some(vlan) => match untag(frame, vlan) {
                Some(bare) => {
                    untagged = bare.into();
                    &untagged
                }
                // Nothing of this network: not lost, but not for it.
                None => return,
            },
        };
        if !lost {
            for fault in &mut self.faults {
                if !fault.applies(&source.name, &target.name, frame, &mut self.random) {
                    continue;
                }
                match fault.action(&mut self.random) {
                    Action::Drop => {
                        lost = true;
                        break;
                    }
                    Action::Delay(delay, _) => due += delay,
                    Action::Duplicate => copies += 1,
                }
            }
        }
        if lost {
            self.ports[from.0].counters.lost_fault += 1;
            return;
        }
        for _ in 0..copies {
            let delivery = Delivery { port: to, frame: Arc::clone(frame) };
            if due <= now {
                out.push(delivery);
            } else {
                self.sequence += 1;
                self.delayed.push(Reverse(Delayed { due, sequence: self.sequence, delivery }));
            }
        }
    }

    fn is_cut(&self, from: &str, to: &str) -> bool {
        !self.cuts.is_empty() && self.cuts.contains(&(from.to_owned(), to.to_owned()))
    }
}

/// The Ethernet type of a frame with a VLAN's tag (IEEE 802.1Q).
const TAGGED: [u8; 2] = [0x81, 0x00];
/// Where the type is: behind the two addresses.
const TYPE: usize = 12;

/// The frame with a tag.
fn tag(frame: &[u8], vlan: u16) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(TYPE.min(frame.len()));
    [addresses, &TAGGED, &(vlan & 0x0fff).to_be_bytes(), rest].concat()
}

/// The frame without the tag of this VLAN; nothing when it has not that.
fn untag(frame: &[u8], vlan: u16) -> Option<Vec<u8>> {
    let (addresses, rest) = frame.split_at_checked(TYPE)?;
    let (kind, rest) = rest.split_first_chunk::<2>()?;
    let (control, rest) = rest.split_first_chunk::<2>()?;
    // Three bits of priority and one of other use come before the number.
    let fits = *kind == TAGGED && u16::from_be_bytes(*control) & 0x0fff == vlan;
    fits.then(|| [addresses, rest].concat())
}

/// Destination and source, nothing for what is too short to be a frame.
fn addresses(frame: &[u8]) -> Option<(Mac, Mac)> {
    let (destination, rest) = frame.split_first_chunk::<6>()?;
    let (source, rest) = rest.split_first_chunk::<6>()?;
    (rest.len() >= 2).then_some((Mac(*destination), Mac(*source)))
}

#[cfg(test)]
mod tests;
