use std::{
    env,
    process::{Command, exit},
};

use nix::sys::wait::{Id, WaitPidFlag, waitid};

use crate::notify;

use super::*;

/// The job, and its socket, whose part a process of the test plays.
const JOB: &str = "STEPPE_TEST_JOB";
/// Set for the process that has these children only.
const INIT: &str = "STEPPE_TEST_INIT";

/// This program again, as one test only.
fn again(test: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", &format!("init::manager::tests::{test}"), "--nocapture"]);
    command
}

#[test]
#[allow(clippy::exit, clippy::zombie_processes, reason = "the children end as jobs do, and the manager waits for them")]
fn the_last_word_of_a_job_is_heard_though_its_end_is_seen_with_it() {
    const NAME: &str = "the_last_word_of_a_job_is_heard_though_its_end_is_seen_with_it";
    if let Ok(role) = env::var(JOB) {
        let (job, socket) = role.split_once(' ').unwrap();
        let power = Message::Power(Power::Reboot);
        let (words, code): (&[Message], i32) = match job {
            "rollback" => (&[power], 0),
            "update" => (&[Message::Status("no room".into())], 1),
            // It is blessed whether init hears of it or not.
            "bless" => (&[], 0),
            _ => (&[], 1),
        };
        for word in words {
            notify::send(Path::new(socket), std::slice::from_ref(word)).unwrap();
        }
        exit(code);
    }
    // No thread of the next process may take the signal, nor another test's children be waited for.
    block_signals().unwrap();
    if env::var_os(INIT).is_none() {
        let output = again(NAME).env(INIT, "1").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("notify");
    let units = Units::below(dir.path());
    let deadline = sys::boottime() + Duration::from_secs(600);
    let trial = Some(Trial { deadline, is_counted: true });
    let mut manager = Manager::new(&socket, units, Timeline::default(), None, Devices::none(), trial).unwrap();
    let mut run = |job: &str, name: &str| {
        let child = again(NAME).env(JOB, format!("{job} {}", socket.display())).spawn().unwrap();
        let pid = child.id().cast_signed();
        manager.units.adopt(root::job(&[name]), pid);
        waitid(Id::Pid(Pid::from_raw(pid)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
        manager.step(Some(deadline));
        let status = manager.units.status().into_iter().find(|unit| unit.name == name).unwrap();
        assert_eq!((status.state, status.pid), (UnitState::Stopped, None), "{job}");
        (status.message, manager.trial.is_some(), manager.request.take().map(|request| request.by))
    };
    assert_eq!(run("update", "update"), (Some("no room".into()), true, None));
    assert_eq!(run("rollback", "rollback"), (None, true, Some("rollback".into())));
    assert_eq!(run("failed", "bless"), (None, true, None));
    assert_eq!(run("bless", "bless"), (None, false, None));
}

#[test]
fn no_job_is_started_once_the_units_are_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let units = Units::below(dir.path());
    let socket = dir.path().join("notify");
    let mut manager = Manager::new(&socket, units, Timeline::default(), None, Devices::none(), None).unwrap();
    // As the shutdown has it: the request is taken.
    manager.units.close();
    manager.start_job("bless");
    assert_eq!(manager.units.status(), []);
}

#[test]
fn a_trial_that_nobody_counts_ends_in_the_other_slot() {
    let dir = tempfile::tempdir().unwrap();
    for is_counted in [true, false] {
        let units = Units::below(dir.path());
        let trial = Some(Trial { deadline: Duration::ZERO, is_counted });
        let socket = dir.path().join(is_counted.to_string());
        let mut manager = Manager::new(&socket, units, Timeline::default(), None, Devices::none(), trial).unwrap();
        manager.judge_trial();
        assert_eq!(manager.request.take().map(|request| request.by).as_deref(), Some("the trial"));
        let lost = manager.lost.take();
        assert_eq!(lost.is_none(), is_counted, "{lost:?}");
    }
}

#[test]
fn disks_that_come_or_change_are_looked_at() {
    let event = |action: &str, subsystem: &str| Uevent {
        action: action.into(),
        subsystem: subsystem.into(),
        ..Uevent::default()
    };
    assert!(may_be_a_disk(&event("add", "block")) && may_be_a_disk(&event("change", "block")));
    assert!(may_be_a_disk(&event("overrun", "")));
    assert!(!may_be_a_disk(&event("remove", "block")) && !may_be_a_disk(&event("add", "net")));
}
