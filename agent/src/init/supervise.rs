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
const PROVEN: Duration = Duration::from_secs(10);
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const S: Duration = Duration::from_secs(1);

    fn unit(notifies: bool) -> Unit {
        let spec = UnitSpec {
            name: "nomad".into(),
            argv: vec!["/usr/bin/nomad".into()],
            env: vec![],
            uid: 0,
            gid: 0,
            notifies,
            stop_signal: libc::SIGINT,
            stop_timeout: 5 * S,
            oom_score_adj: 0,
            nofile: None,
        };
        Unit::new(spec, 7)
    }

    fn running(notifies: bool) -> Unit {
        let mut unit = unit(notifies);
        assert_eq!(unit.start(), [Effect::Spawn]);
        unit.spawned(42, S);
        unit
    }

    #[test]
    fn ready_comes_from_the_unit_when_it_notifies() {
        let mut quiet = running(false);
        assert_eq!(quiet.state(), UnitState::Ready);
        assert!(quiet.ready(S).is_empty());
        let mut notifies = running(true);
        assert_eq!(notifies.state(), UnitState::Starting);
        notifies.ready(2 * S);
        assert_eq!(notifies.state(), UnitState::Ready);
        assert_eq!(notifies.status().pid, Some(42));
    }

    #[test]
    fn a_requested_stop_is_success_whatever_the_code() {
        let mut unit = running(true);
        assert_eq!(unit.stop(2 * S), [Effect::Signal(libc::SIGINT)]);
        assert!(unit.stop(2 * S).is_empty(), "one signal: a second one would cut a graceful leave short");
        assert_eq!(unit.exited(Exit::Code(1), 3 * S), [Effect::Say("nomad stopped (exit 1)".into())]);
        assert_eq!((unit.state(), unit.deadline()), (UnitState::Stopped, None));
        assert_eq!(unit.start(), [Effect::Spawn]);
    }

    #[test]
    fn a_stop_is_bounded() {
        let mut unit = running(false);
        unit.stop(2 * S);
        assert!(unit.tick(6 * S).is_empty());
        let effects = unit.tick(7 * S);
        assert!(effects.contains(&Effect::Signal(libc::SIGKILL)), "{effects:?}");
        assert_eq!(unit.deadline(), Some(12 * S), "tried again");
        unit.exited(Exit::Signal(9), 8 * S);
        assert_eq!(unit.state(), UnitState::Stopped);
    }

    #[test]
    fn a_restart_has_no_pause() {
        let mut unit = running(true);
        assert_eq!(unit.restart(2 * S), [Effect::Signal(libc::SIGINT)]);
        assert_eq!(unit.exited(Exit::Code(1), 3 * S).last(), Some(&Effect::Spawn));
        unit.spawned(43, 3 * S);
        unit.exited(Exit::Code(1), 3 * S + MS);
        assert_eq!(unit.state(), UnitState::BackOff);
        assert_eq!(unit.restart(4 * S), [Effect::Spawn]);
    }

    #[test]
    fn a_stop_between_stop_and_restart_wins_when_it_is_the_last_word() {
        let mut unit = running(true);
        unit.restart(2 * S);
        unit.stop(2 * S);
        assert!(!unit.exited(Exit::Code(1), 3 * S).contains(&Effect::Spawn));
        unit.spawned(43, 4 * S);
        unit.stop(5 * S);
        unit.start();
        assert!(unit.exited(Exit::Code(1), 6 * S).contains(&Effect::Spawn));
    }

    #[test]
    fn an_exit_at_once_shows_the_last_lines() {
        let mut unit = running(true);
        let effects = unit.exited(Exit::Code(1), S + 200 * MS);
        assert_eq!(effects[0], Effect::Say("nomad ended by itself after 0.2 s (exit 1)".into()));
        assert_eq!(effects[1], Effect::Tail { lines: TAIL, again: false });
        let mut unit = running(true);
        assert_eq!(unit.exited(Exit::Signal(9), 60 * S).len(), 1);
    }

    #[test]
    fn pauses_grow_and_a_crash_loop_is_degraded_but_goes_on() {
        let mut unit = unit(true);
        let mut now = S;
        let mut pauses = vec![];
        for round in 1..=12 {
            unit.spawned(round, now);
            let effects = unit.exited(Exit::Code(1), now + 100 * MS);
            now += 100 * MS;
            let degraded =
                effects.iter().any(|e| matches!(e, Effect::Say(text) if text.starts_with("degraded: nomad")));
            assert_eq!(degraded, round == 5, "said once, in round 5: {round} {effects:?}");
            assert_eq!(effects.contains(&Effect::Tail { lines: TAIL, again: true }), round == 5);
            assert_eq!(unit.state() == UnitState::Degraded, round >= 5);
            let deadline = unit.deadline().unwrap();
            pauses.push(deadline - now);
            assert!(unit.tick(deadline - MS).is_empty());
            assert_eq!(unit.tick(deadline), [Effect::Spawn]);
            now = deadline;
        }
        assert!(pauses[0] >= 160 * MS && pauses[0] <= 240 * MS, "{pauses:?}");
        assert!(pauses[..6].windows(2).all(|pair| pair[1] > pair[0]), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE) && pauses[11] >= 24 * S, "{pauses:?}");
    }

    #[test]
    fn a_run_that_was_ready_for_long_begins_the_pauses_anew() {
        let mut unit = unit(true);
        for round in 0..4 {
            unit.spawned(round, S);
            unit.exited(Exit::Signal(9), S);
        }
        unit.spawned(9, 2 * S);
        unit.ready(2 * S);
        unit.exited(Exit::Signal(9), 12 * S);
        assert_eq!(unit.state(), UnitState::BackOff);
        assert!(unit.deadline().unwrap() - 12 * S <= 240 * MS);
    }

    #[test]
    fn a_reload_waits_until_the_unit_is_ready() {
        let mut unit = running(true);
        assert!(unit.reload().is_empty());
        assert_eq!(unit.ready(2 * S), [Effect::Signal(libc::SIGHUP)]);
        assert_eq!(unit.reload(), [Effect::Signal(libc::SIGHUP)]);
        unit.stop(3 * S);
        assert!(unit.reload().is_empty());
    }

    #[test]
    fn asking_again_does_not_undo_a_pause() {
        let mut unit = running(true);
        unit.exited(Exit::Code(1), 2 * S);
        let deadline = unit.deadline();
        assert!(unit.start().is_empty());
        assert_eq!(unit.deadline(), deadline);
    }

    #[test]
    fn a_program_that_is_not_there_is_a_failure_like_others() {
        let mut unit = unit(false);
        for round in 1..=CRASH_LOOP {
            let effects = unit.not_spawned("no such file", S * round);
            assert_eq!(effects[0], Effect::Say("failed to start nomad: no such file".into()));
        }
        assert_eq!(unit.state(), UnitState::Degraded);
    }

    /// What can happen to a unit, in any order.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        Start,
        Stop,
        Restart,
        Reload,
        Ready,
        Exit(i32),
        Time(u64),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            Just(Event::Start),
            Just(Event::Stop),
            Just(Event::Restart),
            Just(Event::Reload),
            Just(Event::Ready),
            (0..3).prop_map(Event::Exit),
            (0_u64..40_000).prop_map(Event::Time),
        ];
        proptest::collection::vec(event, 0..60)
    }

    proptest! {
        /// A process is started only when there is none, signalled only when there is one, and every state that waits has
        /// a deadline.
        #[test]
        fn never_two_processes_and_never_stuck(events in events()) {
            let mut unit = unit(true);
            let mut now = S;
            let mut pids = 100;
            for event in events {
                let had = unit.pid();
                let effects = match event {
                    Event::Start => unit.start(),
                    Event::Stop => unit.stop(now),
                    Event::Restart => unit.restart(now),
                    Event::Reload => unit.reload(),
                    Event::Ready if had.is_some() => unit.ready(now),
                    Event::Exit(code) if had.is_some() => unit.exited(Exit::Code(code), now),
                    Event::Time(ms) => {
                        now += Duration::from_millis(ms);
                        unit.tick(now)
                    }
                    Event::Ready | Event::Exit(_) => vec![],
                };
                for effect in effects {
                    match effect {
                        Effect::Spawn => {
                            prop_assert_eq!(unit.pid(), None);
                            pids += 1;
                            unit.spawned(pids, now);
                        }
                        Effect::Signal(_) => prop_assert!(unit.pid().is_some()),
                        Effect::Say(_) | Effect::Tail { .. } => {}
                    }
                }
                let waits = matches!(unit.state(), UnitState::BackOff | UnitState::Degraded | UnitState::Stopping);
                prop_assert_eq!(unit.deadline().is_some(), waits);
                let runs = matches!(unit.state(), UnitState::Starting | UnitState::Ready | UnitState::Stopping);
                prop_assert_eq!(unit.pid().is_some(), runs);
            }
        }
    }
}
