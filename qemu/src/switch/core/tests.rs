use super::*;
use proptest::prelude::{any, prop, prop_assert, proptest};
use std::time::Duration;

fn mac(number: u16) -> Mac {
    Mac::of_machine(number)
}

fn frame(destination: Mac, source: Mac) -> Vec<u8> {
    [&destination.0[..], &source.0, &[0x08, 0x06, 1, 2, 3]].concat()
}

/// A switch with three machines, and the port names that a frame went out of.
struct Bench(Core, Instant);

impl Bench {
    fn new() -> Self {
        let mut core = Core::new(1);
        for name in ["a", "b", "c"] {
            let port = core.add_port(name);
            core.set_connected(port, true);
        }
        Self(core, Instant::now())
    }

    fn send(&mut self, port: usize, destination: Mac) -> Vec<String> {
        let mut out = Vec::new();
        let source = mac(u16::try_from(port).unwrap());
        self.0.receive(PortId(port), &frame(destination, source), self.1, &mut out);
        self.names(out)
    }

    fn after(&mut self, delay: Duration) -> Vec<String> {
        let mut out = Vec::new();
        self.0.release(self.1 + delay, &mut out);
        self.names(out)
    }

    fn names(&self, out: Vec<Delivery>) -> Vec<String> {
        out.into_iter().map(|delivery| self.0.ports[delivery.port.0].name.clone()).collect()
    }
}

#[test]
fn it_floods_what_it_does_not_know_and_learns() {
    let mut bench = Bench::new();
    assert_eq!(bench.send(0, mac(1)), ["b", "c"]);
    assert_eq!(bench.send(1, mac(0)), ["a"]);
    assert_eq!(bench.send(0, mac(1)), ["b"]);
    assert_eq!(bench.send(0, Mac::BROADCAST), ["b", "c"]);
    assert_eq!(bench.send(1, mac(1)), [""; 0], "a frame to the sender's own port");
    bench.0.set_connected(PortId(1), false);
    assert_eq!(bench.send(0, mac(1)), ["c"], "an address that went with its machine");
    let counters = bench.0.ports[0].counters;
    assert_eq!((counters.frames_in, counters.bytes_in, counters.lost_fault), (4, 4 * 17, 0));
}

#[test]
fn a_port_of_a_vlan_takes_and_gives_frames_without_tags() {
    let mut bench = Bench::new();
    bench.0.ports[2].vlan = Some(7);
    assert_eq!(bench.send(0, Mac::BROADCAST), ["b"], "no tag, so not for the VLAN");
    let mut out = Vec::new();
    bench.0.receive(PortId(2), &frame(Mac::BROADCAST, mac(2)), bench.1, &mut out);
    let tagged = [&Mac::BROADCAST.0[..], &mac(2).0, &[0x81, 0, 0, 7, 0x08, 0x06, 1, 2, 3]].concat();
    assert_eq!(
        out.iter().map(|delivery| (delivery.port.0, &*delivery.frame)).collect::<Vec<_>>(),
        [(0, &*tagged), (1, &*tagged)]
    );

    // With a priority; and of another VLAN.
    let answer = |control: u8| [&mac(2).0[..], &mac(0).0, &[0x81, 0, 0x60, control, 0x08, 0x06, 1, 2, 3]].concat();
    let mut out = Vec::new();
    bench.0.receive(PortId(0), &answer(7), bench.1, &mut out);
    bench.0.receive(PortId(0), &answer(8), bench.1, &mut out);
    bench.0.receive(PortId(0), &answer(7)[..15], bench.1, &mut out);
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].port, &*out[0].frame), (PortId(2), &*frame(mac(2), mac(0))));
}

#[test]
fn a_station_that_moves_is_found_at_its_new_port() {
    let mut bench = Bench::new();
    bench.send(0, mac(9));
    let mut out = Vec::new();
    bench.0.receive(PortId(2), &frame(mac(9), mac(0)), bench.1, &mut out);
    assert_eq!(bench.send(1, mac(0)), ["c"]);
}

#[test]
fn cuts_have_a_direction_and_heal() {
    let mut bench = Bench::new();
    bench.0.cut("a", "b");
    assert_eq!(bench.send(0, Mac::BROADCAST), ["c"]);
    assert_eq!(bench.send(1, Mac::BROADCAST), ["a", "c"]);
    bench.0.cut("a", "c");
    bench.0.mend("a", "b");
    assert_eq!(bench.send(0, Mac::BROADCAST), ["b"]);
    bench.0.heal_all();
    assert_eq!(bench.send(0, Mac::BROADCAST), ["b", "c"]);
    assert_eq!(bench.0.ports[0].counters.lost_fault, 2);
}

#[test]
fn a_pulled_cable_stops_both_directions() {
    let mut bench = Bench::new();
    bench.0.ports[0].link_up = false;
    assert_eq!(bench.send(0, Mac::BROADCAST), [""; 0]);
    assert_eq!(bench.send(1, Mac::BROADCAST), ["c"]);
}

#[test]
fn faults_drop_delay_and_duplicate() {
    let mut bench = Bench::new();
    let drop = bench.0.add_fault(Fault::drop().to("b"));
    assert_eq!(bench.send(0, Mac::BROADCAST), ["c"]);
    assert_eq!(bench.0.fault_counters(drop), Some(FaultCounters { matched: 1, applied: 1 }));
    assert!(bench.0.remove_fault(drop).is_some() && bench.0.remove_fault(drop).is_none());

    bench.0.add_fault(Fault::duplicate().to("c"));
    assert_eq!(bench.send(0, Mac::BROADCAST), ["b", "c", "c"]);
    bench.0.add_fault(Fault::delay(Duration::from_millis(50)).to("b"));
    bench.0.add_fault(Fault::delay(Duration::from_millis(10)).from("a"));
    assert_eq!(bench.send(0, Mac::BROADCAST), [""; 0]);
    assert_eq!(bench.0.next_release(), Some(bench.1 + Duration::from_millis(10)));
    assert_eq!(bench.after(Duration::from_millis(59)), ["c", "c"]);
    assert_eq!(bench.after(Duration::from_millis(60)), ["b"]);
    assert_eq!(bench.0.next_release(), None);
}

#[test]
fn chance_is_reproducible() {
    let run = |seed| {
        let mut bench = Bench::new();
        bench.0.random = Random::new(seed);
        bench.0.add_fault(Fault::drop().to("b").probability(0.5));
        (0..200).map(|_| bench.send(0, Mac::BROADCAST).len() == 2).collect::<Vec<_>>()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
    let passed = run(5).into_iter().filter(|passed| *passed).count();
    assert!((70..130).contains(&passed), "{passed}");
}

proptest! {
    #[test]
    fn no_frame_panics_or_returns_to_its_port(frames in prop::collection::vec((0usize..3, prop::collection::vec(any::<u8>(), 0..40)), 0..50)) {
        let mut bench = Bench::new();
        for (port, bytes) in frames {
            let mut out = Vec::new();
            bench.0.receive(PortId(port), &bytes, bench.1, &mut out);
            prop_assert!(out.iter().all(|delivery| delivery.port != PortId(port)));
        }
    }
}
