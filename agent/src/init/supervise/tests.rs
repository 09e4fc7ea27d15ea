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
        once: false,
        stop_signal: libc::SIGINT,
        stop_timeout: 5 * S,
        oom_score_adj: 0,
        nofile: None,
        confined: None,
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
fn what_does_one_job_is_not_started_again() {
    for (exit, said) in [(Exit::Code(0), vec![]), (Exit::Code(1), vec![Effect::Say("nomad failed (exit 1)".into())])] {
        let mut unit = unit(false);
        unit.respecify(UnitSpec { once: true, ..unit.spec().clone() });
        unit.start();
        unit.spawned(42, S);
        assert_eq!(unit.exited(exit, 2 * S), said);
        assert_eq!((unit.state(), unit.deadline()), (UnitState::Stopped, None));
        assert_eq!(unit.start(), [Effect::Spawn], "it may be asked for again");
    }
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
        let degraded = effects.iter().any(|e| matches!(e, Effect::Say(text) if text.starts_with("degraded: nomad")));
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
