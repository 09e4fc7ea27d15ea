//! The switch's thread: sockets in, sockets out.

use crate::switch::core::{Core, Delivery, PortId};
use crate::switch::endpoint::Endpoint;
use crate::switch::handle::SwitchError;
use crate::wake::Wake;
use rustix::event::{PollFd, PollFlags, poll};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What the thread and the users of a switch share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) wake: Wake,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) core: Core,
    /// Ports that the thread has not taken over yet, in the order of their numbers.
    pub(crate) new: Vec<Endpoint>,
    pub(crate) stop: bool,
}

impl State {
    /// The port with a name.
    pub(crate) fn known(&self, name: &str) -> Result<PortId, SwitchError> {
        self.core.port_named(name).ok_or_else(|| SwitchError::Unknown(name.to_owned()))
    }
}

impl Shared {
    pub(crate) fn new(seed: u64) -> io::Result<Self> {
        let state = State { core: Core::new(seed), new: Vec::new(), stop: false };
        Ok(Self { state: Mutex::new(state), wake: Wake::new()? })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves frames until it is told to stop.
    pub(crate) fn run(&self) {
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
