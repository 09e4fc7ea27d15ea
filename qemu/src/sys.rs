//! What the libraries do not cover safely: the child's side of `fork`, and the time stamp counter.
#![allow(unsafe_code)]

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Makes the program that `command` starts die with the *thread* that starts it, by `PR_SET_PDEATHSIG` with SIGKILL.
///
/// The kernel ties the signal to the thread, not to the process: callers start such commands from a thread that never ends.
pub(crate) fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; the closure makes two system calls
    // (`prctl`, `getppid`), allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the line above took effect; then nobody would send the signal any more.
            if getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
        });
    }
}

/// The processor's time stamp counter.
#[cfg(target_arch = "x86_64")]
pub(crate) fn time_stamp_counter() -> u64 {
    // SAFETY: RDTSC exists on every x86_64 processor and is not disabled for user space by Linux unless the process asks for
    // it with PR_SET_TSC, which nothing here does; it touches no memory.
    unsafe { core::arch::x86_64::_rdtsc() }
}
