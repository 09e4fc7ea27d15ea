//! The switch as its users have it: ports, faults, counters, captures.

use crate::switch::core::{PortCounters, PortId};
use crate::switch::endpoint::Endpoint;
use crate::switch::fault::{Fault, FaultCounters, FaultId};
use crate::switch::pcap::Capture;
use crate::switch::thread::Shared;
use std::fs::File;
use std::io::{self, BufWriter};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

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

impl Switch {
    /// A switch without ports. `seed` decides all chance in its faults.
    ///
    /// # Errors
    /// What making a thread can give.
    pub fn start(seed: u64) -> Result<Self, SwitchError> {
        let shared = Arc::new(Shared::new(seed).map_err(SwitchError::Start)?);
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
        state.new.push(Endpoint::new(id, listener, stream));
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

    /// Makes a port one of a single VLAN (its machine sends and gets frames without tags) or, as all are at first, one
    /// that carries frames as they are.
    ///
    /// # Errors
    /// As [`Switch::partition`].
    pub fn set_vlan(&self, name: &str, vlan: Option<u16>) -> Result<(), SwitchError> {
        let mut state = self.shared.state();
        let port = state.known(name)?;
        state.core.ports[port.0].vlan = vlan;
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

#[cfg(test)]
mod tests;
