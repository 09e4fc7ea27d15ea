//! The switch's thread: sockets in, sockets out.

use crate::switch::core::{Core, Delivery, PortCounters, PortId};
use crate::switch::fault::{Fault, FaultCounters, FaultId};
use crate::switch::frame::FrameDecoder;
use crate::switch::pcap::Capture;
use crate::switch::queue::SendQueue;
use crate::wake::Wake;
use rustix::event::{PollFd, PollFlags, poll};
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Read as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// What can go wrong with a switch.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum SwitchError {
    #[error("failed to start the switch: {0}")]
    Start(io::Error),
    #[error("failed to open the port {port} at {}: {source}", path.display())]
    Listen { port: String, path: PathBuf, source: io::Error },
    #[error("failed to connect the port {port}: {source}")]
    Attach { port: String, source: io::Error },
    #[error("the switch has a port {0} already")]
    Duplicate(String),
    #[error("the switch has no port {0}")]
    Unknown(String),
    #[error("failed to capture to {}: {source}", path.display())]
    Capture { path: PathBuf, source: io::Error },
}

/// An Ethernet switch. All methods act at once, from any thread; dropping it ends its thread and closes all ports.
#[derive(Debug)]
pub struct Switch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Wake,
}

#[derive(Debug)]
struct State {
    core: Core,
    /// Ports that the thread has not taken over yet, in the order of their numbers.
    new: Vec<Endpoint>,
    stop: bool,
}

/// The socket side of a port.
#[derive(Debug)]
struct Endpoint {
    id: PortId,
    listener: Option<UnixListener>,
    stream: Option<UnixStream>,
    decoder: FrameDecoder,
    queue: SendQueue,
}

impl Switch {
    /// A switch without ports. `seed` decides all chance in its faults.
    ///
    /// # Errors
    /// What making a thread can give.
    pub fn start(seed: u64) -> Result<Self, SwitchError> {
        let wake = Wake::new().map_err(SwitchError::Start)?;
        let state = State { core: Core::new(seed), new: Vec::new(), stop: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), wake });
        let worker = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("switch".to_owned()).spawn(move || worker.run());
        Ok(Self { shared, thread: Some(thread.map_err(SwitchError::Start)?) })
    }

    /// Makes a port that a machine connects to through a Unix socket at `path`, again and again over its power cycles.
    ///
    /// # Errors
    /// When the name is taken or the socket cannot be made (its path may have 107 bytes).
    pub fn listen(&self, name: &str, path: &Path) -> Result<PortId, SwitchError> {
        let open = || {
            let listener = UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listener =
            open().map_err(|source| SwitchError::Listen { port: name.to_owned(), path: path.to_owned(), source })?;
        self.add(name, Some(listener), None)
    }

    /// Makes a port of a stream that is connected already. Its other end speaks the same frames; see [`crate::switch::encode_frame`].
    ///
    /// # Errors
    /// When the name is taken.
    pub fn attach(&self, name: &str, stream: UnixStream) -> Result<PortId, SwitchError> {
        stream.set_nonblocking(true).map_err(|source| SwitchError::Attach { port: name.to_owned(), source })?;
        self.add(name, None, Some(stream))
    }

    fn add(
        &self,
        name: &str,
        listener: Option<UnixListener>,
        stream: Option<UnixStream>,
    ) -> Result<PortId, SwitchError> {
        let mut state = self.shared.state();
        if state.core.port_named(name).is_some() {
            return Err(SwitchError::Duplicate(name.to_owned()));
        }
        let id = state.core.add_port(name);
        state.core.set_connected(id, stream.is_some());
        let endpoint = Endpoint { id, listener, stream, decoder: FrameDecoder::default(), queue: SendQueue::default() };
        state.new.push(endpoint);
        drop(state);
        self.shared.wake.ring();
        Ok(id)
    }

    /// Puts a rule in force.
    pub fn add_fault(&self, fault: Fault) -> FaultId {
        self.shared.state().core.add_fault(fault)
    }

    /// Takes a rule away, and gives what it did. Nothing when it is gone already.
    pub fn remove_fault(&self, id: FaultId) -> Option<FaultCounters> {
        self.shared.state().core.remove_fault(id)
    }

    /// What a rule did so far.
    #[must_use]
    pub fn fault_counters(&self, id: FaultId) -> Option<FaultCounters> {
        self.shared.state().core.fault_counters(id)
    }

    /// Lets nothing pass between two ports, in both directions.
    ///
    /// # Errors
    /// When there is no such port: a partition that does not happen would prove nothing.
    pub fn partition(&self, one: &str, other: &str) -> Result<(), SwitchError> {
        self.partition_one_way(one, other)?;
        self.partition_one_way(other, one)
    }

    /// Lets nothing pass from one port to another.
    ///
    /// # Errors
    /// As [`Switch::partition`].
    pub fn partition_one_way(&self, from: &str, to: &str) -> Result<(), SwitchError> {
        let mut state = self.shared.state();
        state.known(from)?;
        state.known(to)?;
        state.core.cut(from, to);
        Ok(())
    }

    /// Lets nothing pass between the ports of two groups.
    ///
    /// # Errors
    /// As [`Switch::partition`].
    pub fn partition_groups(&self, one: &[&str], other: &[&str]) -> Result<(), SwitchError> {
        one.iter().try_for_each(|a| other.iter().try_for_each(|b| self.partition(a, b)))
    }

    /// Ends a partition between two ports, in both directions.
    ///
    /// # Errors
    /// As [`Switch::partition`].
    pub fn heal(&self, one: &str, other: &str) -> Result<(), SwitchError> {
        let mut state = self.shared.state();
        state.known(one)?;
        state.known(other)?;
        state.core.mend(one, other);
        state.core.mend(other, one);
        Ok(())
    }

    /// Takes all rules and partitions away and plugs all cables in.
    pub fn heal_all(&self) {
        self.shared.state().core.heal_all();
    }

    /// Pulls (false) or plugs (true) a port's cable on the switch's side. The guest keeps its carrier; see [`crate::Vm::set_carrier`].
    ///
    /// # Errors
    /// As [`Switch::partition`].
    pub fn set_link(&self, name: &str, up: bool) -> Result<(), SwitchError> {
        let mut state = self.shared.state();
        let port = state.known(name)?;
        state.core.ports[port.0].link_up = up;
        Ok(())
    }

    /// Whether a machine is connected to a port.
    ///
    /// # Errors
    /// When there is no such port.
    pub fn is_connected(&self, name: &str) -> Result<bool, SwitchError> {
        let state = self.shared.state();
        let port = state.known(name)?;
        Ok(state.core.ports[port.0].connected)
    }

    /// What passed through one port.
    ///
    /// # Errors
    /// When there is no such port.
    pub fn counters(&self, name: &str) -> Result<PortCounters, SwitchError> {
        let state = self.shared.state();
        let port = state.known(name)?;
        Ok(state.core.ports[port.0].counters)
    }

    /// What passed through all ports, by name.
    #[must_use]
    pub fn all_counters(&self) -> Vec<(String, PortCounters)> {
        self.shared.state().core.ports.iter().map(|port| (port.name.clone(), port.counters)).collect()
    }

    /// Writes the last few thousand frames (their first 400 bytes) to a pcap file. They are always kept.
    ///
    /// # Errors
    /// What writing a file can give.
    pub fn save_recent(&self, path: &Path) -> Result<(), SwitchError> {
        let error = |source| SwitchError::Capture { path: path.to_owned(), source };
        let mut encoded = Vec::new();
        self.shared.state().core.ring.write_to(&mut encoded).map_err(error)?;
        std::fs::write(path, encoded).map_err(error)
    }

    /// Captures all frames from now on, whole, to a pcap file, until [`Switch::stop_capture`].
    ///
    /// # Errors
    /// What making a file can give.
    pub fn start_capture(&self, path: &Path) -> Result<(), SwitchError> {
        let capture = File::create(path).and_then(|file| Capture::new(BufWriter::new(file)));
        let capture = capture.map_err(|source| SwitchError::Capture { path: path.to_owned(), source })?;
        self.shared.state().core.capture = Some(capture);
        Ok(())
    }

    /// Ends a capture and completes its file.
    ///
    /// # Errors
    /// What writing a file can give.
    pub fn stop_capture(&self) -> io::Result<()> {
        let capture = self.shared.state().core.capture.take();
        capture.map_or(Ok(()), Capture::finish)
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.wake.ring();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed already.
            let _ = thread.join();
        }
    }
}

impl State {
    fn known(&self, name: &str) -> Result<PortId, SwitchError> {
        self.core.port_named(name).ok_or_else(|| SwitchError::Unknown(name.to_owned()))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut endpoints: Vec<Endpoint> = Vec::new();
        let mut buffer = vec![0; 256 << 10];
        let mut out = Vec::new();
        loop {
            let next_release = {
                let mut state = self.state();
                if state.stop {
                    return;
                }
                endpoints.append(&mut state.new);
                state.core.next_release()
            };
            let ready = wait(&self.wake, &endpoints, next_release);
            self.wake.clear();
            let mut state = self.state();
            // A port that came while this thread waited may be sent frames from now on already.
            endpoints.append(&mut state.new);
            for index in ready {
                endpoints[index].serve(&mut state.core, &mut buffer, &mut out);
            }
            state.core.release(Instant::now(), &mut out);
            deliver(&mut endpoints, &mut state.core, &mut out);
        }
    }
}

/// Waits until an endpoint can be read or, where something waits for it, written, or until `next` comes. Gives the endpoints.
fn wait(wake: &Wake, endpoints: &[Endpoint], next: Option<Instant>) -> Vec<usize> {
    let mut entries = vec![PollFd::new(wake, PollFlags::IN)];
    for endpoint in endpoints {
        entries.push(match (&endpoint.stream, &endpoint.listener) {
            (Some(stream), _) if endpoint.queue.is_empty() => PollFd::new(stream, PollFlags::IN),
            (Some(stream), _) => PollFd::new(stream, PollFlags::IN | PollFlags::OUT),
            (None, Some(listener)) => PollFd::new(listener, PollFlags::IN),
            // An attached stream that ended has nothing to wait for: no events are asked of the descriptor given here.
            (None, None) => PollFd::new(wake, PollFlags::empty()),
        });
    }
    let timeout = next.and_then(|due| due.saturating_duration_since(Instant::now()).try_into().ok());
    // An interrupted wait is as good as one that ended early.
    if poll(&mut entries, timeout.as_ref()).is_err() {
        return Vec::new();
    }
    let ready = entries.iter().skip(1).enumerate().filter(|(_, entry)| !entry.revents().is_empty());
    ready.map(|(index, _)| index).collect()
}

/// Queues frames at their ports and writes what can be written.
fn deliver(endpoints: &mut [Endpoint], core: &mut Core, out: &mut Vec<Delivery>) {
    for Delivery { port, frame } in out.drain(..) {
        let Some(endpoint) = endpoints.iter_mut().find(|endpoint| endpoint.id == port) else { continue };
        let counters = &mut core.ports[port.0].counters;
        if endpoint.stream.is_none() {
            continue;
        }
        if endpoint.queue.push(&frame) {
            counters.frames_out += 1;
            counters.bytes_out += frame.len() as u64;
        } else {
            counters.lost_full += 1;
        }
    }
    for endpoint in endpoints {
        endpoint.write(core);
    }
}

impl Endpoint {
    /// Takes what the machine sent, or its connection.
    fn serve(&mut self, core: &mut Core, buffer: &mut [u8], out: &mut Vec<Delivery>) {
        let Some(stream) = &mut self.stream else { return self.accept(core) };
        let count = match stream.read(buffer) {
            Ok(0) => return self.disconnect(core),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return,
            Err(_) => return self.disconnect(core),
        };
        self.decoder.push(&buffer[..count]);
        let now = Instant::now();
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => core.receive(self.id, frame, now, out),
                Ok(None) => return,
                Err(_) => return self.disconnect(core),
            }
        }
    }

    fn accept(&mut self, core: &mut Core) {
        let accepted = self.listener.as_ref().map(UnixListener::accept);
        if let Some(Ok((stream, _))) = accepted
            && stream.set_nonblocking(true).is_ok()
        {
            self.stream = Some(stream);
            core.set_connected(self.id, true);
        }
    }

    /// The machine is gone; the next one on this port starts afresh.
    fn disconnect(&mut self, core: &mut Core) {
        self.stream = None;
        self.decoder = FrameDecoder::default();
        self.queue = SendQueue::default();
        core.set_connected(self.id, false);
    }

    fn write(&mut self, core: &mut Core) {
        if let Some(stream) = &self.stream
            && !self.queue.is_empty()
            && self.queue.write_to(stream).is_err()
        {
            self.disconnect(core);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Deadline;
    use crate::switch::{Mac, Traffic, encode_frame};
    use std::io::Write as _;
    use std::time::Duration;

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
}
