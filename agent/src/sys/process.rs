//! Starting processes: what a child sets up between fork and exec.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::{Command, Stdio},
};

use nix::{
    libc,
    sys::{
        resource::{Resource, setrlimit},
        signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask},
    },
    unistd::{Gid, Pid, Uid, setgid, setgroups, setsid, setuid},
};

use crate::{
    confine::{self, Capabilities},
    unit::UnitSpec,
};

/// Where a new process gets its output and its place from, besides its [`UnitSpec`].
#[derive(Debug)]
pub struct Place {
    /// Both stdout and stderr.
    pub output: OwnedFd,
    /// `cgroup.procs` of the control group it joins.
    pub cgroup: Option<File>,
}

/// Starts a unit's process and returns its pid. The caller reaps it, when [`ended`] gives it.
///
/// The child gets exactly the environment of the specification, a session of its own, no signal blocked, `SIGPIPE` as
/// programs expect it, and `/dev/null` as stdin.
///
/// # Errors
/// When the process cannot be made or its program cannot be executed.
pub fn spawn(spec: &UnitSpec, place: Place) -> io::Result<i32> {
    let Some((program, arguments)) = spec.argv.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no program"));
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(spec.env.iter().map(|(key, value)| (OsStr::new(key), OsStr::new(value))))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::from(place.output.try_clone()?))
        .stderr(Stdio::from(place.output));
    let oom = format!("{}\n", spec.oom_score_adj).into_bytes();
    let (uid, gid, nofile, cgroup) = (Uid::from_raw(spec.uid), Gid::from_raw(spec.gid), spec.nofile, place.cgroup);
    let confined = spec.confined;
    let setup = move || {
        setsid()?;
        if let Some(mut procs) = cgroup.as_ref() {
            // Not fatal: without the control group the process still does its work.
            let _ = io::Write::write_all(&mut procs, b"0");
        }
        if let Ok(fd) =
            nix::fcntl::open(c"/proc/self/oom_score_adj", nix::fcntl::OFlag::O_WRONLY, nix::sys::stat::Mode::empty())
        {
            let _ = nix::unistd::write(fd, &oom);
        }
        if let Some(limit) = nofile {
            setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?;
        }
        if let Some(kept) = confined {
            bound(kept)?;
        }
        setgroups(&[gid])?;
        setgid(gid)?;
        setuid(uid)?;
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        // SAFETY: the default action is no handler of ours.
        unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }?;
        if confined.is_some() { filter() } else { Ok(()) }
    };
    // SAFETY: between fork and exec the closure only makes system calls on values made before the fork. It takes no lock
    // and allocates nothing, since another thread of the parent may be doing so.
    unsafe { command.pre_exec(setup) };
    // Dropping the handle neither kills nor waits.
    command.spawn().map(|child| child.id().cast_signed())
}

/// A child that has ended and is not reaped yet, so that its number still stands for it: the number, whether it exited, and its
/// exit code or else the signal that ended it, of whatever number.
#[must_use]
pub fn ended() -> Option<(Pid, bool, i32)> {
    // SAFETY: the type is made of integers and unions of them, which may be zero.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the kernel writes to `info` only, which lives through the call.
    if unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) } != 0 {
        // There are no children.
        return None;
    }
    // SAFETY: these are the fields of a child that ended; where none has, they are zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    (pid != 0).then(|| (Pid::from_raw(pid), info.si_code == libc::CLD_EXITED, status))
}

/// Takes every capability but `kept` out of the caller's reach: no program that it executes can have it.
fn bound(kept: Capabilities) -> io::Result<()> {
    for number in (0..u64::BITS).filter(|number| kept.0 & (1 << number) == 0) {
        // SAFETY: the arguments are integers.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) } != 0 {
            let why = io::Error::last_os_error();
            // There is no such capability, nor a higher one.
            return if why.raw_os_error() == Some(libc::EINVAL) { Ok(()) } else { Err(why) };
        }
    }
    Ok(())
}

/// Refuses the calls of [`confine::FILTER`] to the caller and all that it executes, and new rights with them.
fn filter() -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(confine::FILTER.len()).unwrap_or(u16::MAX),
        filter: confine::FILTER.as_ptr().cast_mut(),
    };
    // SAFETY: the arguments are integers.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `program` lives through the call and has the length of the static filter; the kernel only reads both.
    if unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes a process started by `command` the leader of a process group of its own in the foreground of `tty`, with the
/// signals of a terminal at their defaults.
pub fn foreground(command: &mut Command, tty: OwnedFd) {
    let setup = move || {
        nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        nix::unistd::tcsetpgrp(&tty, nix::unistd::getpid())?;
        for which in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP, Signal::SIGTTOU, Signal::SIGPIPE] {
            // SAFETY: the default action is no handler of ours.
            unsafe { signal(which, SigHandler::SigDfl) }?;
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls on values made before the fork; the console has one thread.
    unsafe { command.pre_exec(setup) };
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The first lines of its status that a process confined to these capabilities sees, with their names.
    fn status_of_confined(confined: Option<Capabilities>) -> Vec<String> {
        let (mut read, output) = std::io::pipe().unwrap();
        let spec = UnitSpec {
            name: "cat".into(),
            argv: ["/bin/cat", "/proc/self/status"].map(str::to_owned).to_vec(),
            env: vec![],
            uid: 0,
            gid: 0,
            notifies: false,
            once: false,
            stop_signal: libc::SIGTERM,
            stop_timeout: Duration::ZERO,
            oom_score_adj: 0,
            nofile: None,
            confined,
        };
        let pid = spawn(&spec, Place { output: output.into(), cgroup: None }).unwrap();
        let text = io::read_to_string(&mut read).unwrap();
        nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).unwrap();
        let wanted = ["CapEff", "CapBnd", "NoNewPrivs", "Seccomp"];
        let line = |name: &&str| text.lines().find_map(|line| line.strip_prefix(*name)?.strip_prefix(":\t")).unwrap();
        wanted.iter().map(|name| line(name).to_owned()).collect()
    }

    #[test]
    fn a_unit_is_confined_to_what_it_is_given() {
        if !Uid::effective().is_root() {
            return eprintln!("only root has capabilities to drop");
        }
        let own = status_of_confined(None);
        assert_eq!(own[2..], ["0", "0"], "what runs this test is confined itself");
        let all = u64::from_str_radix(&own[1], 16).unwrap();
        let kept = format!("{:016x}", confine::NODE.0 & all);
        assert_eq!(status_of_confined(Some(confine::NODE)), [kept.as_str(), kept.as_str(), "1", "2"]);
        let none = "0".repeat(16);
        assert_eq!(status_of_confined(Some(confine::NONE)), [none.as_str(), none.as_str(), "1", "2"]);
    }
}
