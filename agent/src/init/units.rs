//! The units of this node: their processes, pipes and logs, around the state machines of [`super::supervise`].

use std::{
    fs::{self, OpenOptions},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::{Pid, pipe2},
};

use crate::{
    confine, error, info, notice,
    notify::Message,
    paths,
    status::{UnitState, UnitStatus},
    sys::{self, Place},
    unit::UnitSpec,
    warning,
};

use super::{
    output::{self, Pipe, UnitLog},
    supervise::{Effect, Exit, Unit},
};

/// Where the units' processes live among the control groups.
const CGROUP: &str = "/sys/fs/cgroup/steppe";

/// A unit with its log.
#[derive(Debug)]
struct Slot {
    unit: Unit,
    log: UnitLog,
}

/// All units and what they print.
#[derive(Debug)]
pub(super) struct Units {
    slots: Vec<Slot>,
    pipes: Vec<Pipe>,
    log_dir: PathBuf,
    copied: bool,
    closing: bool,
}

/// Why a unit cannot be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnitError {
    #[error("{0:?} is not a name of a unit")]
    Name(String),
    #[error("failed to read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("failed to parse {path}: {source}")]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("{path} describes a unit with the name {name:?}")]
    OtherName { path: PathBuf, name: String },
}

impl Units {
    /// `copied`: every line that a unit prints also goes to the kernel's log.
    pub(super) fn new(log_dir: &Path, copied: bool) -> Self {
        output::prepare(log_dir);
        if let Err(why) = fs::create_dir_all(CGROUP) {
            info!("failed to make {CGROUP}: {why}");
        }
        Self { slots: Vec::new(), pipes: Vec::new(), log_dir: log_dir.to_owned(), copied, closing: false }
    }

    /// Adds a unit that init itself describes, and starts it.
    pub(super) fn add(&mut self, spec: UnitSpec) {
        let at = self.insert(spec);
        let effects = self.slots[at].unit.start();
        self.perform(at, effects);
    }

    fn insert(&mut self, spec: UnitSpec) -> usize {
        if let Some(at) = self.position(&spec.name) {
            self.slots[at].unit.respecify(spec);
            return at;
        }
        let seed = system_seed();
        self.slots.push(Slot { log: UnitLog::new(&self.log_dir, &spec.name), unit: Unit::new(spec, seed) });
        self.slots.len() - 1
    }

    /// Units that this process itself has no control groups for.
    #[cfg(test)]
    pub(super) fn without_processes(log_dir: &Path) -> Self {
        Self { slots: Vec::new(), pipes: Vec::new(), log_dir: log_dir.to_owned(), copied: false, closing: false }
    }

    /// Adds a unit whose process is there.
    #[cfg(test)]
    pub(super) fn adopt(&mut self, spec: UnitSpec, pid: i32) {
        let at = self.insert(spec);
        self.slots[at].unit.spawned(pid, sys::boottime());
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.slots.iter().position(|slot| slot.unit.spec().name == name)
    }

    /// Does what a datagram asks about a unit. Other messages are not for this place.
    pub(super) fn command(&mut self, message: &Message) -> Result<(), UnitError> {
        let now = sys::boottime();
        let (at, effects) = match message {
            // While the node shuts down nothing new is started.
            Message::Start(_) | Message::Restart(_) if self.closing => return Ok(()),
            Message::Start(name) => {
                let at = self.insert(read_spec(Path::new(paths::UNITS_DIR), name)?);
                (at, self.slots[at].unit.start())
            }
            Message::Restart(name) => {
                let at = match read_spec(Path::new(paths::UNITS_DIR), name) {
                    Ok(spec) => self.insert(spec),
                    // init's own units have no file.
                    Err(why) => self.position(name).ok_or(why)?,
                };
                (at, self.slots[at].unit.restart(now))
            }
            Message::Stop(name) | Message::Reload(name) => {
                let at = self.position(name).ok_or_else(|| UnitError::Name(name.clone()))?;
                let unit = &mut self.slots[at].unit;
                (at, if matches!(message, Message::Stop(_)) { unit.stop(now) } else { unit.reload() })
            }
            _ => return Ok(()),
        };
        self.perform(at, effects);
        Ok(())
    }

    /// The unit whose process this is.
    pub(super) fn name_of(&self, pid: i32) -> Option<&str> {
        self.slots.iter().find(|slot| slot.unit.pid() == Some(pid)).map(|slot| slot.unit.spec().name.as_str())
    }

    /// What a unit says of itself.
    pub(super) fn heard(&mut self, pid: i32, message: &Message) {
        let Some(at) = self.slots.iter().position(|slot| slot.unit.pid() == Some(pid)) else { return };
        let effects = match message {
            Message::Ready => self.slots[at].unit.ready(sys::boottime()),
            Message::Status(text) => {
                self.slots[at].unit.said(text.clone());
                vec![]
            }
            _ => vec![],
        };
        self.perform(at, effects);
    }

    /// Reaps a process that has ended: a unit's, or one that lost its parents. Gives the name of its unit.
    pub(super) fn reap(&mut self, pid: Pid, exit: Exit) -> Option<String> {
        // It is there, and nobody else waits for it.
        let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
        let at = self.slots.iter().position(|slot| slot.unit.pid() == Some(pid.as_raw()))?;
        // Its last words come before the message that it ended.
        let name = self.slots[at].unit.spec().name.clone();
        self.pump_unit(&name);
        let effects = self.slots[at].unit.exited(exit, sys::boottime());
        self.perform(at, effects);
        Some(name)
    }

    /// Lets the time of every unit pass.
    pub(super) fn tick(&mut self) {
        for at in 0..self.slots.len() {
            let effects = self.slots[at].unit.tick(sys::boottime());
            self.perform(at, effects);
        }
    }

    /// The next time at which [`Units::tick`] has something to do.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.slots.iter().filter_map(|slot| slot.unit.deadline()).min()
    }

    fn perform(&mut self, at: usize, mut effects: Vec<Effect>) {
        while !effects.is_empty() {
            for effect in std::mem::take(&mut effects) {
                let slot = &mut self.slots[at];
                match effect {
                    Effect::Spawn => effects.extend(self.spawn(at)),
                    Effect::Signal(number) => {
                        let pid = slot.unit.pid().map(Pid::from_raw);
                        if let (Some(pid), Ok(signal)) = (pid, Signal::try_from(number))
                            && let Err(why) = kill(pid, signal)
                        {
                            warning!("failed to send {signal} to {}: {why}", slot.unit.spec().name);
                        }
                    }
                    Effect::Say(text) if slot.unit.state() == UnitState::Degraded => error!("{text}"),
                    Effect::Say(text) => notice!("{text}"),
                    Effect::Tail { lines, again } => {
                        let name = &slot.unit.spec().name;
                        for line in slot.log.last_words(lines, again).unwrap_or_default() {
                            notice!("{name} | {line}");
                        }
                    }
                }
            }
        }
    }

    fn spawn(&mut self, at: usize) -> Vec<Effect> {
        let now = sys::boottime();
        let slot = &mut self.slots[at];
        let name = slot.unit.spec().name.clone();
        let started = pipe().map_err(std::io::Error::from).and_then(|(read, output)| {
            let cgroup = cgroup(&name);
            sys::spawn(slot.unit.spec(), Place { output, cgroup }).map(|pid| (pid, read))
        });
        match started {
            Ok((pid, read)) => {
                slot.unit.spawned(pid, now);
                slot.log.begin();
                self.pipes.push(Pipe::new(&name, read, self.copied));
                info!("{name} started as process {pid}");
                vec![]
            }
            Err(why) => slot.unit.not_spawned(&why.to_string(), now),
        }
    }

    /// The descriptors of all pipes, in an order that [`Units::pump`] knows.
    pub(super) fn pipe_fds(&self) -> impl Iterator<Item = std::os::fd::BorrowedFd<'_>> {
        self.pipes.iter().map(Pipe::fd)
    }

    /// Reads the pipes; `readable` has an entry for each of [`Units::pipe_fds`].
    pub(super) fn pump(&mut self, readable: &[bool]) {
        let mut readable = readable.iter().copied();
        let slots = &mut self.slots;
        self.pipes.retain_mut(|pipe| {
            if !readable.next().unwrap_or(false) {
                return true;
            }
            let slot = slots.iter_mut().find(|slot| slot.unit.spec().name == pipe.unit);
            slot.is_some_and(|slot| pipe.pump(&mut slot.log))
        });
    }

    fn pump_unit(&mut self, name: &str) {
        let readable: Vec<bool> = self.pipes.iter().map(|pipe| pipe.unit == name).collect();
        self.pump(&readable);
    }

    /// What is reported.
    pub(super) fn status(&self) -> Vec<UnitStatus> {
        self.slots.iter().map(|slot| slot.unit.status()).collect()
    }

    /// From now on nothing is started any more.
    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    /// Asks the units that `which` picks to stop; returns the longest time that one of them may take.
    pub(super) fn stop(&mut self, which: impl Fn(&str) -> bool) -> Duration {
        let mut longest = Duration::ZERO;
        for at in 0..self.slots.len() {
            let unit = &mut self.slots[at].unit;
            if which(&unit.spec().name) {
                let running = unit.pid().is_some();
                let effects = unit.stop(sys::boottime());
                longest = if running { longest.max(unit.spec().stop_timeout) } else { longest };
                self.perform(at, effects);
            }
        }
        longest
    }

    /// The processes of the units that `which` picks.
    pub(super) fn pids(&self, which: impl Fn(&str) -> bool) -> Vec<i32> {
        self.slots.iter().filter(|slot| which(&slot.unit.spec().name)).filter_map(|slot| slot.unit.pid()).collect()
    }
}

/// The specification that `node` left.
fn read_spec(dir: &Path, name: &str) -> Result<UnitSpec, UnitError> {
    if name.is_empty()
        || name.len() > 64
        || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        return Err(UnitError::Name(name.to_owned()));
    }
    let path = dir.join(format!("{name}.json"));
    let text = fs::read_to_string(&path).map_err(|source| UnitError::Read { path: path.clone(), source })?;
    let mut spec: UnitSpec =
        serde_json::from_str(&text).map_err(|source| UnitError::Parse { path: path.clone(), source })?;
    // Nomad's client is root on purpose: its tasks may be anything. A server has nothing to gain.
    spec.confined = (spec.uid != 0).then_some(confine::NONE);
    if spec.name == name { Ok(with_notify_socket(spec)) } else { Err(UnitError::OtherName { path, name: spec.name }) }
}

/// Adds `NOTIFY_SOCKET`, which only init knows for sure, where the unit uses it and nobody set it.
fn with_notify_socket(mut spec: UnitSpec) -> UnitSpec {
    const KEY: &str = "NOTIFY_SOCKET";
    if spec.notifies && !spec.env.iter().any(|(key, _)| key == KEY) {
        spec.env.push((KEY.to_owned(), paths::NOTIFY_SOCKET.to_owned()));
    }
    spec
}

fn pipe() -> nix::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    // Only this end: a program that finds its stdout non-blocking loses output.
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((read, write))
}

fn cgroup(name: &str) -> Option<fs::File> {
    let dir = Path::new(CGROUP).join(name);
    fs::create_dir_all(&dir).ok()?;
    OpenOptions::new().write(true).open(dir.join("cgroup.procs")).ok()
}

fn system_seed() -> u32 {
    let bytes = super::system::random().unwrap_or([7; 16]);
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = r#"{"name":"nomad","argv":["/usr/bin/nomad","agent"],"env":[["HOME","/root"]],"notifies":true,"stop_signal":2,"stop_timeout":15000}"#;

    #[test]
    fn a_specification_is_read_and_knows_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("nomad.json"), SPEC).unwrap();
        let spec = read_spec(dir.path(), "nomad").unwrap();
        assert_eq!(spec.stop_timeout, Duration::from_secs(15));
        assert!(spec.env.contains(&("NOTIFY_SOCKET".into(), paths::NOTIFY_SOCKET.into())));
        assert_eq!(spec.confined, None);
        fs::write(dir.path().join("nomad.json"), SPEC.replace("\"notifies\"", "\"uid\":990,\"notifies\"")).unwrap();
        assert_eq!(read_spec(dir.path(), "nomad").unwrap().confined, Some(confine::NONE));
    }

    #[test]
    fn names_stay_in_the_directory_and_files_keep_their_names() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("other.json"), SPEC).unwrap();
        for (name, part) in [
            ("../x", "is not a name of a unit"),
            ("", "is not a name of a unit"),
            ("absent", "failed to read"),
            ("other", "describes a unit with the name \"nomad\""),
        ] {
            let why = read_spec(dir.path(), name).unwrap_err().to_string();
            assert!(why.contains(part), "{why}");
        }
        fs::write(dir.path().join("bad.json"), "{").unwrap();
        assert!(read_spec(dir.path(), "bad").unwrap_err().to_string().contains("failed to parse"));
    }
}
