use super::*;
use crate::Deadline;
use crate::switch::FrameDecoder;
use crate::switch::{Mac, Traffic, encode_frame};
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

/// A machine that is only a socket.
struct Fake {
    stream: UnixStream,
    decoder: FrameDecoder,
}

impl Fake {
    fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { stream, decoder: FrameDecoder::default() }
    }

    fn on(switch: &Switch, name: &str) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        switch.attach(name, theirs).unwrap();
        Self::new(ours)
    }

    fn send(&mut self, text: &[u8]) {
        let mut stream = Vec::new();
        encode_frame(&frame(text), &mut stream);
        self.stream.write_all(&stream).unwrap();
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return frame[14..].to_vec();
            }
            let count = self.stream.read(&mut buffer).unwrap();
            assert_ne!(count, 0, "the switch closed the port");
            self.decoder.push(&buffer[..count]);
        }
    }
}

fn frame(text: &[u8]) -> Vec<u8> {
    [&Mac::BROADCAST.0[..], &Mac::of_machine(1).0, &[0x88, 0xb5], text].concat()
}

#[test]
fn frames_pass_between_ports() {
    let switch = Switch::start(1).unwrap();
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| Fake::on(&switch, name));
    a.send(b"hello");
    assert_eq!((b.receive(), c.receive()), (b"hello".to_vec(), b"hello".to_vec()));
    assert!(matches!(switch.listen("a", Path::new("/nonexistent/x")), Err(SwitchError::Listen { .. })));
    assert!(matches!(switch.attach("a", UnixStream::pair().unwrap().0), Err(SwitchError::Duplicate(_))));
    assert_eq!(switch.counters("b").unwrap().frames_out, 1);
}

#[test]
fn partitions_hold_until_they_are_healed() {
    let switch = Switch::start(1).unwrap();
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| Fake::on(&switch, name));
    switch.partition_groups(&["a"], &["b"]).unwrap();
    a.send(b"one");
    b.send(b"back");
    assert_eq!(c.receive(), b"one");
    assert_eq!(c.receive(), b"back");
    switch.heal("b", "a").unwrap();
    a.send(b"two");
    assert_eq!(b.receive(), b"two", "the frame before the healing must not arrive");
    b.send(b"answer");
    assert_eq!(a.receive(), b"answer");
    assert!(matches!(switch.partition("a", "z"), Err(SwitchError::Unknown(name)) if name == "z"));
}

#[test]
fn a_delayed_frame_arrives_late_without_further_traffic() {
    let switch = Switch::start(1).unwrap();
    let [mut a, mut b] = ["a", "b"].map(|name| Fake::on(&switch, name));
    let delay = Duration::from_millis(60);
    let fault = switch.add_fault(Fault::delay(delay).traffic(Traffic::All));
    let start = Instant::now();
    a.send(b"late");
    assert_eq!(b.receive(), b"late");
    assert!(start.elapsed() >= delay);
    assert_eq!(switch.remove_fault(fault), Some(FaultCounters { matched: 1, applied: 1 }));
}

#[test]
fn a_port_that_does_not_read_stops_nobody_else() {
    let switch = Switch::start(1).unwrap();
    let [mut a, _silent, mut c] = ["a", "silent", "c"].map(|name| Fake::on(&switch, name));
    let big = vec![7; 60_000];
    for _ in 0..200 {
        a.send(&big);
        assert_eq!(c.receive().len(), big.len());
    }
    assert!(switch.counters("silent").unwrap().lost_full > 0);
    assert_eq!(switch.counters("c").unwrap().lost_full, 0);
}

#[test]
fn a_machine_can_come_back_to_its_port() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("port");
    let switch = Switch::start(1).unwrap();
    let mut a = Fake::on(&switch, "a");
    switch.listen("vm", &path).unwrap();
    let connected = |expected| {
        let reached = || (switch.is_connected("vm").unwrap() == expected).then_some(());
        Deadline::seconds(10).poll(Duration::from_millis(1), reached).unwrap();
    };
    for round in [b"first", b"again"] {
        let mut vm = Fake::new(UnixStream::connect(&path).unwrap());
        connected(true);
        a.send(round);
        assert_eq!(vm.receive(), round);
        drop(vm);
        connected(false);
    }
}

#[test]
fn captures_are_files_that_tcpdump_reads() {
    let directory = tempfile::tempdir().unwrap();
    let switch = Switch::start(1).unwrap();
    let [mut a, mut b] = ["a", "b"].map(|name| Fake::on(&switch, name));
    a.send(b"before");
    b.receive();
    let (recent, capture) = (directory.path().join("recent.pcap"), directory.path().join("capture.pcap"));
    switch.start_capture(&capture).unwrap();
    a.send(b"captured");
    b.receive();
    switch.stop_capture().unwrap();
    switch.save_recent(&recent).unwrap();
    let (recent, capture) = (std::fs::read(recent).unwrap(), std::fs::read(capture).unwrap());
    assert_eq!(recent.len(), 24 + 2 * 16 + frame(b"before").len() + frame(b"captured").len());
    assert!(capture.ends_with(b"captured") && capture.len() == 24 + 16 + frame(b"captured").len());
}
