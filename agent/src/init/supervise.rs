//! The life of a unit, as a state machine without any I/O: what happened and the time go in, what to do comes out.

use std::time::Duration;

use nix::libc;

use crate::{
    status::{UnitState, UnitStatus},
    unit::UnitSpec,
};

/// Pause before the first new start.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause between starts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A run that was ready and lasted this long proves that the unit works: the pauses begin anew.
///
/// Short on purpose: a client that is away for 20 s loses its tasks, so ends that lie further apart than a start must not add
/// up to long pauses.
const PROVEN: Duration = Duration::from_secs(5);
/// After this many runs in a row that proved nothing, the unit is degraded.
const CRASH_LOOP: u32 = 5;
/// A unit that ends by itself this soon did not like what it was given: its last words are shown.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Time between two attempts to kill.
const KILL_AGAIN: Duration = Duration::from_secs(5);
/// Lines of a unit's log that are shown when it fails.
const TAIL: usize = 12;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// What the caller has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Start the process and report with [`Unit::spawned`] or [`Unit::not_spawned`].
    Spawn,
    /// Send this signal to the process, and to nothing else.
    Signal(i32),
    /// Tell people.
    Say(String),
    /// Show the last lines that its process printed.
    Tail {
        /// How many.
        lines: usize,
        /// Also when they were shown before.
        again: bool,
    },
}

/// What the unit should be after the process that is being stopped has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Stay,
    StartAgain,
}

/// A unit and where it is in its life. Times are [`crate::sys::boottime`].
#[derive(Debug)]
pub struct Unit {
    spec: UnitSpec,
    state: UnitState,
    pid: Option<i32>,
    started: Duration,
    ready_since: Option<Duration>,
    deadline: Option<Duration>,
    then: Then,
    reload_when_ready: bool,
    failures: u32,
    restarts: u32,
    last_exit: Option<Exit>,
    message: Option<String>,
    jitter: u32,
}

impl Unit {
    /// A unit that nobody asked for yet. `seed` makes its pauses differ from those of other machines.
    #[must_use]
    pub fn new(spec: UnitSpec, seed: u32) -> Self {
        Self {
            spec,
            state: UnitState::Waiting,
            pid: None,
            started: Duration::ZERO,
            ready_since: None,
            deadline: None,
            then: Then::Stay,
            reload_when_ready: false,
            failures: 0,
            restarts: 0,
            last_exit: None,
            message: None,
            jitter: seed | 1,
        }
    }

    /// What it runs.
    #[must_use]
    pub fn spec(&self) -> &UnitSpec {
        &self.spec
    }

    /// Its process, while it has one.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// Where it is in its life.
    #[must_use]
    pub fn state(&self) -> UnitState {
        self.state
    }

    /// When [`Unit::tick`] wants to be called.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// What init reports of it.
    #[must_use]
    pub fn status(&self) -> UnitStatus {
        UnitStatus {
            name: self.spec.name.clone(),
            state: self.state,
            pid: self.pid,
            restarts: self.restarts,
            last_exit: self.last_exit.map(|exit| exit.to_string()),
            message: self.message.clone(),
        }
    }

    /// A new specification; it counts from the next start on. True when it differs from the old one.
    pub fn respecify(&mut self, spec: UnitSpec) -> bool {
        let differs = self.spec != spec;
        self.spec = spec;
        differs
    }

    /// Asked to run. A unit in a pause stays in it, so that asking often does not undo the pauses.
    pub fn start(&mut self) -> Vec<Effect> {
        match self.state {
            UnitState::Waiting | UnitState::Stopped => vec![Effect::Spawn],
            UnitState::Stopping => {
                self.then = Then::StartAgain;
                vec![]
            }
            UnitState::Starting | UnitState::Ready | UnitState::BackOff | UnitState::Degraded => vec![],
        }
    }

    /// Asked to stop and to stay stopped.
    pub fn stop(&mut self, now: Duration) -> Vec<Effect> {
        self.end(now, Then::Stay)
    }

    /// Asked to stop, if it runs, and to start anew without a pause.
    pub fn restart(&mut self, now: Duration) -> Vec<Effect> {
        self.end(now, Then::StartAgain)
    }

    fn end(&mut self, now: Duration, then: Then) -> Vec<Effect> {
        self.then = then;
        self.reload_when_ready = false;
        if self.pid.is_none() {
            self.deadline = None;
            self.state = UnitState::Stopped;
            return if then == Then::StartAgain { vec![Effect::Spawn] } else { vec![] };
        }
        if self.state == UnitState::Stopping {
            return vec![];
        }
        self.state = UnitState::Stopping;
        self.deadline = Some(now + self.spec.stop_timeout);
        vec![Effect::Signal(self.spec.stop_signal)]
    }

    /// Asked to read its configuration again. A unit that is not ready yet hears of it when it is: Nomad may crash on a
    /// hangup while it starts.
    pub fn reload(&mut self) -> Vec<Effect> {
        match self.state {
            UnitState::Ready => vec![Effect::Signal(libc::SIGHUP)],
            UnitState::Starting => {
                self.reload_when_ready = true;
                vec![]
            }
            _ => vec![],
        }
    }

    /// Its process runs.
    pub fn spawned(&mut self, pid: i32, now: Duration) {
        self.pid = Some(pid);
        self.started = now;
        self.deadline = None;
        self.message = None;
        self.then = Then::Stay;
        (self.state, self.ready_since) =
            if self.spec.notifies { (UnitState::Starting, None) } else { (UnitState::Ready, Some(now)) };
    }

    /// Its process could not be started.
    pub fn not_spawned(&mut self, why: &str, now: Duration) -> Vec<Effect> {
        self.failures = self.failures.saturating_add(1);
        self.ready_since = None;
        let mut effects = vec![Effect::Say(format!("failed to start {}: {why}", self.spec.name))];
        effects.extend(self.pause(now));
        effects
    }

    /// It said `READY=1`; true when it was not ready before.
    pub fn ready(&mut self, now: Duration) -> Vec<Effect> {
        if self.state != UnitState::Starting {
            return vec![];
        }
        self.state = UnitState::Ready;
        self.ready_since = Some(now);
        if std::mem::take(&mut self.reload_when_ready) { vec![Effect::Signal(libc::SIGHUP)] } else { vec![] }
    }

    /// It said `STATUS=...`.
    pub fn said(&mut self, text: String) {
        self.message = Some(text);
    }

    /// Its process ended.
    pub fn exited(&mut self, exit: Exit, now: Duration) -> Vec<Effect> {
        let lived = now.saturating_sub(self.started);
        let proven = self.ready_since.take().is_some_and(|since| now.saturating_sub(since) >= PROVEN);
        self.pid = None;
        self.last_exit = Some(exit);
        self.deadline = None;
        let name = &self.spec.name;
        if self.state == UnitState::Stopping {
            // Whatever the code is: Nomad exits with 1 when it is asked to stop.
            self.failures = 0;
            self.state = UnitState::Stopped;
            let say = Effect::Say(format!("{name} stopped ({exit})"));
            if self.then == Then::StartAgain {
                self.restarts += 1;
                return vec![say, Effect::Spawn];
            }
            return vec![say];
        }
        if self.spec.once {
            self.state = UnitState::Stopped;
            return if exit == Exit::Code(0) { vec![] } else { vec![Effect::Say(format!("{name} failed ({exit})"))] };
        }
        self.restarts = self.restarts.saturating_add(1);
        self.failures = if proven { 1 } else { self.failures.saturating_add(1) };
        let lived_text = format!("{}.{} s", lived.as_secs(), lived.subsec_millis() / 100);
        let mut effects = vec![Effect::Say(format!("{name} ended by itself after {lived_text} ({exit})"))];
        let announced = self.pause(now);
        if announced.is_empty() && lived < AT_ONCE && exit != Exit::Code(0) {
            effects.push(Effect::Tail { lines: TAIL, again: false });
        }
        effects.extend(announced);
        effects
    }

    /// Goes into the pause before the next start.
    fn pause(&mut self, now: Duration) -> Vec<Effect> {
        let pause = self.next_pause();
        self.deadline = Some(now + pause);
        let was_degraded = self.state == UnitState::Degraded;
        if self.failures < CRASH_LOOP {
            self.state = UnitState::BackOff;
            return vec![];
        }
        self.state = UnitState::Degraded;
        if was_degraded || self.failures > CRASH_LOOP {
            return vec![];
        }
        let (name, failures) = (&self.spec.name, self.failures);
        let text = format!(
            "degraded: {name} failed {failures} times in a row; it is tried again every {} s",
            LONGEST_PAUSE.as_secs()
        );
        vec![Effect::Say(text), Effect::Tail { lines: TAIL, again: true }]
    }

    fn next_pause(&mut self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
        // Plus or minus a fifth, from a xorshift generator: enough to keep machines from starting in step.
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 17;
        self.jitter ^= self.jitter << 5;
        (pause * (80 + self.jitter % 41) / 100).min(LONGEST_PAUSE)
    }

    /// A deadline passed.
    pub fn tick(&mut self, now: Duration) -> Vec<Effect> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return vec![];
        }
        self.deadline = None;
        match self.state {
            UnitState::BackOff | UnitState::Degraded => vec![Effect::Spawn],
            UnitState::Stopping => {
                self.deadline = Some(now + KILL_AGAIN);
                let text = format!(
                    "{} did not stop within {} s: killing it",
                    self.spec.name,
                    self.spec.stop_timeout.as_secs()
                );
                vec![Effect::Say(text), Effect::Signal(libc::SIGKILL)]
            }
            _ => vec![],
        }
    }
}

#[cfg(test)]
mod tests;
