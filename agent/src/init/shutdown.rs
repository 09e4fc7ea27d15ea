//! The end of the machine: every step is bounded, and says what it does and how long it took.

use std::{convert::Infallible, path::Path, thread, time::Duration};

use nix::{
    sys::{
        reboot::{RebootMode, reboot},
        signal::{Signal, kill},
    },
    unistd::{Pid, sync},
};

use crate::{error, notice, notify::Power, sys, warning};

use super::{
    fallback, flush,
    manager::{Manager, Request},
    processes, stay,
    timeline::seconds,
    trial, unmount,
};

/// More than a unit's own stop time: killing it and reaping it.
const GRACE: Duration = Duration::from_secs(2);
/// Time that what Nomad leaves behind (tasks, executors) has to end by itself.
const PROCESSES: Duration = Duration::from_secs(5);
/// Time between the order to kill and the end of a process that is not stuck in the kernel.
const KILL: Duration = Duration::from_secs(2);
/// Time for a person or a log collector to read why the machine restarts.
const READ: Duration = Duration::from_secs(10);

/// Ends the machine.
pub(super) fn run(manager: &mut Manager, request: &Request) -> ! {
    let start = sys::boottime();
    manager.units.close();
    // Beside what follows: the less is left at the end, the sooner that comes.
    flush::begin();
    let is_console = |name: &str| name.starts_with("console");
    stop_units(manager, request, "the console", is_console);
    stop_units(manager, request, "nomad", |name| !is_console(name) && name != "node");
    end_processes(manager);
    stop_units(manager, request, "node", |name| name == "node");
    manager.report();
    if let Some(why) = &manager.lost {
        fall_back(why);
    }
    let mode = mode(request.power);
    end_without_disks(mode);
    if let Some(keeper) = manager.keeper.take() {
        keeper.finish();
    }
    let begin = sys::boottime();
    let busy = unmount::all();
    for target in &busy {
        warning!("shutdown: {target} is still in use: made read-only");
    }
    if busy.is_empty() {
        notice!("shutdown: file systems unmounted in {}", seconds(sys::boottime() - begin));
    }
    let verb = if request.power == Power::Reboot { "rebooting" } else { "powering off" };
    notice!("shutdown: {verb} after {}", seconds(sys::boottime() - start));
    sync();
    let Err(why) = end(mode);
    stay::forever(&format!("failed to end the machine: {why}"), None)
}

/// The root cannot be read: the other slot boots next, when it is proven. No job has the ESP mounted any more.
fn fall_back(why: &str) {
    match fallback::switch() {
        Ok(slot) => {
            notice!("shutdown: slot {slot} boots from now on: {why}");
            trial::lost(why);
        }
        Err(no) => {
            error!("shutdown: {why}, and there is no other system to start: {no}");
            // This one is tried again and again. As after a kernel's panic, there is time to read why.
            thread::sleep(READ);
        }
    }
}

pub(super) const fn mode(power: Power) -> RebootMode {
    match power {
        Power::Reboot => RebootMode::RB_AUTOBOOT,
        Power::Off => RebootMode::RB_POWER_OFF,
    }
}

pub(super) fn end(mode: RebootMode) -> nix::Result<Infallible> {
    reboot(mode)
}

/// Stops the units that `which` picks, within the time that they may take.
fn stop_units(manager: &mut Manager, request: &Request, what: &str, which: impl Fn(&str) -> bool + Copy) {
    if manager.units.pids(which).is_empty() {
        // A unit in a pause before its next start must not come back.
        manager.units.stop(which);
        return;
    }
    notice!("shutdown: stopping {what} (asked by {})", request.by);
    let begin = sys::boottime();
    let limit = begin + manager.units.stop(which) + GRACE;
    if wait(manager, limit, |manager| manager.units.pids(which).is_empty()) {
        notice!("shutdown: {what} stopped in {}", seconds(sys::boottime() - begin));
    } else {
        error!("shutdown: {what} did not end; going on without it");
    }
}

/// Ends every other program: Nomad's tasks, executors and log collectors, which outlive Nomad on purpose.
fn end_processes(manager: &mut Manager) {
    let left = |manager: &Manager| processes::others(Path::new("/proc"), &manager.units.pids(|_| true));
    for (signal, time) in [(Signal::SIGTERM, PROCESSES), (Signal::SIGKILL, KILL)] {
        let pids = left(manager);
        if pids.is_empty() {
            return;
        }
        notice!("shutdown: sending {signal} to {} remaining processes", pids.len());
        for pid in pids {
            let _ = kill(Pid::from_raw(pid), signal);
        }
        // The last of them to end is a child of init, because its parent ended before it: a signal wakes the loop.
        wait(manager, sys::boottime() + time, |manager| left(manager).is_empty());
    }
    let stuck = left(manager).len();
    if stuck > 0 {
        error!("shutdown: {stuck} processes do not end; going on without them");
    }
}

/// Runs the loop until `done` or until `limit`; true when done.
fn wait(manager: &mut Manager, limit: Duration, done: impl Fn(&Manager) -> bool) -> bool {
    while !done(manager) {
        if sys::boottime() >= limit {
            return false;
        }
        manager.step(Some(limit));
    }
    true
}

/// Ends the machine when the disks take nothing any more of the logs and of what is left to write, whatever the calls on them do. A
/// thread besides init's own, as the keeper of the logs is: it starts when no process is started any more.
fn end_without_disks(mode: RebootMode) {
    let watch = move || {
        let never = |time| {
            thread::sleep(time);
            false
        };
        flush::watch(flush::LIMIT, never);
        error!("shutdown: the disks do not answer; ending without them");
        let _ = end(mode);
    };
    if let Err(why) = thread::Builder::new().name("watchdog".into()).spawn(watch) {
        warning!("shutdown: nobody watches the disks: {why}");
    }
}
