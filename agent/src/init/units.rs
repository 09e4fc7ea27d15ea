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

/// The only unit that is not init's own: `node` says in a file how it is to run.
const NOMAD: &str = "nomad";

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
    /// Where `node` leaves its file.
    spec_dir: PathBuf,
    server: bool,
    copied: bool,
    closing: bool,
}

/// Why a unit cannot be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnitError {
    #[error("there is no unit {0:?}")]
    Name(String),
    #[error("failed to read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("failed to parse {path}: {source}")]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("{path} is refused: init starts only {program} from a file, as unit nomad, and on a server not as root", program = paths::NOMAD)]
    Refused { path: PathBuf },
}

impl Units {
    /// `server`: whether this node runs no workloads; `copied`: every line that a unit prints also goes to the kernel's log.
    pub(super) fn new(log_dir: &Path, server: bool, copied: bool) -> Self {
        output::prepare(log_dir);
        if let Err(why) = fs::create_dir_all(CGROUP) {
            info!("failed to make {CGROUP}: {why}");
        }
        let (log_dir, spec_dir) = (log_dir.to_owned(), paths::UNITS_DIR.into());
        Self { slots: Vec::new(), pipes: Vec::new(), log_dir, spec_dir, server, copied, closing: false }
    }

    /// Adds a unit that init itself describes, and starts it; not any more while the node shuts down.
    pub(super) fn add(&mut self, spec: UnitSpec) {
        if self.closing {
            return;
        }
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

    /// Those of a server, with all files in one directory.
    #[cfg(test)]
    pub(super) fn below(dir: &Path) -> Self {
        let (log_dir, spec_dir) = (dir.to_owned(), dir.to_owned());
        Self { slots: Vec::new(), pipes: Vec::new(), log_dir, spec_dir, server: true, copied: false, closing: false }
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
            // As in `add`.
            Message::Start(_) | Message::Restart(_) if self.closing => return Ok(()),
            Message::Start(name) => {
                let at = self.specified(name)?;
                (at, self.slots[at].unit.start())
            }
            Message::Restart(name) => {
                let at = self.specified(name)?;
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

    /// The unit of that name: Nomad's, as `node` wants it now, or one of init's own, as init made it.
    fn specified(&mut self, name: &str) -> Result<usize, UnitError> {
        if name == NOMAD {
            let spec = read_spec(self.spec_dir.join("nomad.json"), self.server)?;
            return Ok(self.insert(spec));
        }
        self.position(name).ok_or_else(|| UnitError::Name(name.to_owned()))
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

/// The specification that `node` left. It is confined, and what it could have started here would not be.
fn read_spec(path: PathBuf, server: bool) -> Result<UnitSpec, UnitError> {
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(UnitError::Read { path, source }),
    };
    let mut spec: UnitSpec = match serde_json::from_str(&text) {
        Ok(spec) => spec,
        Err(source) => return Err(UnitError::Parse { path, source }),
    };
    let is_nomad = spec.name == NOMAD && spec.argv.first().is_some_and(|program| program == paths::NOMAD);
    if !is_nomad || (server && spec.uid == 0) {
        return Err(UnitError::Refused { path });
    }
    // Nomad's client is root on purpose: its tasks may be anything. A server has nothing to gain.
    spec.confined = (spec.uid != 0).then_some(confine::NONE);
    Ok(with_notify_socket(spec))
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

    const SPEC: &str = r#"{"name":"nomad","argv":["/usr/bin/nomad","agent"],"env":[["HOME","/root"]],"uid":990,"notifies":true,"stop_signal":2,"stop_timeout":15000}"#;

    fn read(text: &str, server: bool) -> Result<UnitSpec, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nomad.json");
        fs::write(&path, text).unwrap();
        read_spec(path, server).map_err(|why| why.to_string())
    }

    #[test]
    fn a_specification_is_read_and_knows_the_socket() {
        let spec = read(SPEC, true).unwrap();
        assert_eq!(spec.stop_timeout, Duration::from_secs(15));
        assert!(spec.env.contains(&("NOTIFY_SOCKET".into(), paths::NOTIFY_SOCKET.into())));
        assert_eq!(spec.confined, Some(confine::NONE));
        // A client's.
        assert_eq!(read(&SPEC.replace("990", "0"), false).unwrap().confined, None);
    }

    #[test]
    fn a_file_starts_nothing_but_nomad_and_on_a_server_not_as_root() {
        for (from, to) in [
            ("\"nomad\"", "\"node\""),
            ("/usr/bin/nomad", paths::AGENT),
            ("/usr/bin/nomad", "/tmp/nomad"),
            ("\"/usr/bin/nomad\",\"agent\"", ""),
            ("990", "0"),
        ] {
            let why = read(&SPEC.replacen(from, to, 1), true).unwrap_err();
            assert!(why.contains("is refused: init starts only /usr/bin/nomad from a file"), "{to}: {why}");
        }
        assert!(read("{", true).unwrap_err().contains("failed to parse"));
        let why = read_spec("/none/nomad.json".into(), true).unwrap_err().to_string();
        assert!(why.contains("failed to read"), "{why}");
    }

    #[test]
    fn units_of_init_are_what_init_made_them_whatever_file_there_is() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["node", "x"] {
            fs::write(dir.path().join(format!("{name}.json")), SPEC.replacen("nomad", name, 1)).unwrap();
        }
        let mut units = Units::below(dir.path());
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let confined = Some(confine::NODE);
        // A test that was started in the background ignores SIGINT, and so do its children.
        let spec = UnitSpec { name: "node".into(), confined, stop_signal: 15, ..read(SPEC, true).unwrap() };
        units.adopt(spec.clone(), child.id().cast_signed());
        units.command(&Message::Restart("node".into())).unwrap();
        assert!(!child.wait().unwrap().success(), "it was asked to stop");
        assert_eq!(units.slots[0].unit.spec(), &spec);
        for message in [Message::Start("x".into()), Message::Restart("x".into()), Message::Start("../x".into())] {
            assert!(units.command(&message).unwrap_err().to_string().starts_with("there is no unit"), "{message:?}");
        }
        assert_eq!(units.slots.len(), 1);
    }
}
