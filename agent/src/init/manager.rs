//! The loop of PID 1 in the root: signals, time, messages, devices and output, one thread.

use std::{fs, io, os::fd::AsFd as _, path::Path, time::Duration};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        time::TimeSpec,
        timer::TimerSetTimeFlags,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags},
    },
    unistd::Pid,
};

use crate::{
    console::show::describe,
    error, info, notice,
    notify::{Message, Power},
    paths,
    status::{InitStatus, UnitState, UnitStatus},
    sys,
    update::{self, BLESSED},
    warning,
};

use super::{
    button::{self, Button},
    devices::Devices,
    listener::{Notifications, Strangers},
    previous::{self, Keeper},
    root, state, stay,
    supervise::Exit,
    sysctl, system,
    timeline::Timeline,
    trial::{self, Trial},
    uevent::Uevent,
    units::Units,
    verity, watchdog,
};

/// Signals that init reads. The kernel sends `SIGINT` for Ctrl-Alt-Del; hypervisors' tools send the others.
const SIGNALS: [Signal; 5] = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGPWR, Signal::SIGHUP];

/// From a disk's event to a look at it: its partitions have events of their own right behind it.
const DISK_SETTLES: Duration = Duration::from_secs(1);

/// How the machine is to end, and who asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) power: Power,
    pub(super) by: String,
}

impl Request {
    pub(super) fn by_button() -> Self {
        Self { power: Power::Off, by: "the power button".into() }
    }
}

/// What a signal asks for; `None` when it does not end the machine.
pub(super) fn wish(signal: u32) -> Option<Request> {
    match i32::try_from(signal).ok().and_then(|number| Signal::try_from(number).ok())? {
        Signal::SIGINT => Some(Request { power: Power::Reboot, by: "Ctrl-Alt-Del".into() }),
        signal @ (Signal::SIGTERM | Signal::SIGPWR) => Some(Request { power: Power::Off, by: signal.to_string() }),
        _ => None,
    }
}

/// Everything that the loop holds.
#[derive(Debug)]
pub(super) struct Manager {
    pub(super) units: Units,
    pub(super) timeline: Timeline,
    signals: SignalFd,
    timer: TimerFd,
    notifications: Notifications,
    strangers: Strangers,
    devices: Devices,
    buttons: Vec<Button>,
    /// Why Nomad may not be started, if it may not: said every ten seconds.
    held: Option<String>,
    next_held_message: Option<Duration>,
    /// When to look for the state again: soon after a disk appeared.
    next_state: Option<Duration>,
    /// Keeps the logs, once there is a state partition.
    pub(super) keeper: Option<Keeper>,
    /// Why the other slot is to boot: what is wrong with the root, once it is not the one that was built; or how a trial ended that nobody
    /// counts.
    pub(super) lost: Option<String>,
    nomad_wanted: bool,
    request: Option<Request>,
    reported: Vec<u8>,
    /// While this boot has to prove itself.
    trial: Option<Trial>,
}

/// Why the loop cannot begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum ManagerError {
    #[error("failed to set up {what}: {source}")]
    Kernel { what: &'static str, source: nix::Error },
    #[error("failed to make the socket {path}: {source}", path = paths::NOTIFY_SOCKET)]
    Socket { source: io::Error },
}

/// Blocks the signals that the loop reads, so that none is lost before it begins.
pub(super) fn block_signals() -> nix::Result<SigSet> {
    let set: SigSet = SIGNALS.into_iter().collect();
    set.thread_block()?;
    Ok(set)
}

impl Manager {
    /// `socket`: where the units speak to init; `held`: why Nomad may not be started; `trial`: whether this boot has to prove itself.
    pub(super) fn new(
        socket: &Path,
        units: Units,
        timeline: Timeline,
        held: Option<String>,
        devices: Devices,
        trial: Option<Trial>,
    ) -> Result<Self, ManagerError> {
        let failed = |what| move |source| ManagerError::Kernel { what, source };
        let set = block_signals().map_err(failed("signals"))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&set, flags).map_err(failed("signals"))?;
        let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)
            .map_err(failed("the timer"))?;
        let notifications = Notifications::bind(socket).map_err(|source| ManagerError::Socket { source })?;
        let mut buttons = Vec::new();
        button::scan(Path::new("/sys"), Path::new("/dev"), &mut buttons);
        Ok(Self {
            units,
            timeline,
            signals,
            timer,
            notifications,
            strangers: Strangers::default(),
            devices,
            buttons,
            held,
            next_held_message: None,
            next_state: None,
            keeper: None,
            lost: None,
            nomad_wanted: false,
            request: None,
            reported: Vec::new(),
            trial,
        })
    }

    /// Runs until somebody asks the machine to end.
    pub(super) fn run(&mut self) -> Request {
        loop {
            self.report();
            if let Some(request) = self.request.take() {
                return request;
            }
            self.step(None);
        }
    }

    /// Waits for the next thing to happen, until `limit` (a time, not a duration) at most, and deals with it.
    pub(super) fn step(&mut self, limit: Option<Duration>) {
        let trial = self.trial.as_ref().map(|trial| trial.deadline);
        let deadlines =
            [limit, self.units.deadline(), self.next_held_message, self.next_state, trial, watchdog::deadline()];
        let deadline = deadlines.into_iter().flatten().min();
        if let Err(why) = self.arm(deadline) {
            warning!("failed to set the timer: {why}");
        }
        let ready = self.wait();
        if ready.signals {
            self.read_signals();
        }
        if ready.timer {
            // Reads the count, so that the timer is not ready for ever.
            let _ = self.timer.wait();
        }
        self.units.pump(&ready.pipes);
        if ready.notifications {
            self.read_notifications();
        }
        if ready.events {
            self.read_events();
        }
        self.read_buttons(&ready.buttons);
        self.units.tick();
        self.try_state();
        self.say_held();
        self.judge_trial();
        watchdog::stroke(sys::boottime());
    }

    fn arm(&self, deadline: Option<Duration>) -> nix::Result<()> {
        match deadline {
            // A time of zero would switch the timer off.
            Some(at) => {
                let at = TimeSpec::from_duration(at.max(Duration::from_nanos(1)));
                self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)
            }
            None => self.timer.unset(),
        }
    }

    fn wait(&self) -> Ready {
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.timer.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.notifications.fd(), PollFlags::POLLIN),
        ];
        fds.extend(self.devices.fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        fds.extend(self.buttons.iter().map(|button| PollFd::new(button.fd(), PollFlags::POLLIN)));
        fds.extend(self.units.pipe_fds().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        // An interrupted or failed poll shows nothing ready; the next step polls again.
        let _ = poll(&mut fds, PollTimeout::NONE);
        let mut ready = fds.iter().map(|fd| fd.any().unwrap_or(false));
        let mut next = || ready.next().unwrap_or(false);
        Ready {
            signals: next(),
            timer: next(),
            notifications: next(),
            events: self.devices.fd().is_some() && next(),
            buttons: self.buttons.iter().map(|_| next()).collect(),
            pipes: ready.collect(),
        }
    }

    fn read_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            if let Some(request) = wish(info.ssi_signo) {
                self.ask(request);
            }
        }
        // A process is forgotten when what it said is read: the last word of a job may be what it was started for. The queue of the
        // socket is shorter than what is read at once.
        while let Some((pid, exited, status)) = sys::ended() {
            self.read_notifications();
            let exit = if exited { Exit::Code(status) } else { Exit::Signal(status) };
            if self.units.reap(pid, exit).as_deref() == Some("bless") && exit == Exit::Code(0) {
                self.blessed();
            }
        }
    }

    /// The first wish counts.
    fn ask(&mut self, request: Request) {
        self.request.get_or_insert(request);
    }

    fn read_notifications(&mut self) {
        // Bounded: a program that floods the socket cannot keep init from its other work.
        for _ in 0..64 {
            let Some(mut datagram) = self.notifications.next() else { return };
            let pid = datagram.pid;
            let unit = pid.and_then(|pid| Some((pid, self.units.name_of(pid)?.to_owned())));
            let Some((pid, sender)) = unit else {
                if let Some(line) = self.strangers.count(pid, sys::boottime()) {
                    info!("{line}");
                }
                continue;
            };
            let trusted = sender == "node" || sender.starts_with("console") || is_job(&sender);
            for message in std::mem::take(&mut datagram.messages) {
                match message {
                    Message::Module(name) if trusted => {
                        let answer = self.load_module(&sender, name);
                        self.notifications.answer(&datagram, &answer);
                    }
                    message => self.handle(pid, &sender, trusted, message),
                }
            }
        }
    }

    fn handle(&mut self, pid: i32, sender: &str, trusted: bool, message: Message) {
        match message {
            Message::Ready | Message::Status(_) | Message::Reloading | Message::Stopping => {
                self.units.heard(pid, &message);
            }
            Message::Other(_) | Message::Failed(_) => {}
            _ if !trusted => info!("{sender} asked for {}: ignored", message.line()),
            // Answered by who read it.
            Message::Module(_) => {}
            Message::Phase(phase) => {
                self.timeline.mark(&phase);
                if phase == "healthy" && self.trial.is_some() {
                    self.start_job("bless");
                }
                if phase == "healthy" {
                    self.close();
                    // The boot is over: what it ran is not run again before the end.
                    if let Err(why) = sys::release_code() {
                        info!("failed to release the code of the boot: {why}");
                    }
                }
            }
            Message::Update(job) if job == BLESSED && sender == "bless" => self.blessed(),
            Message::Update(job) => self.start_job(&job),
            Message::Power(power) => self.ask(Request { power, by: sender.to_owned() }),
            Message::Start(name) | Message::Restart(name) if name == "nomad" && self.held.is_some() => {
                self.nomad_wanted = true;
                self.next_held_message.get_or_insert(sys::boottime());
            }
            Message::Start(_) | Message::Stop(_) | Message::Restart(_) | Message::Reload(_) => {
                if let Err(why) = self.units.command(&message) {
                    error!("{sender} asked for {}: {why}", message.line());
                }
            }
        }
    }

    /// Starts a job of [`update`]: its name, and its arguments.
    pub(super) fn start_job(&mut self, job: &str) {
        let words: Vec<&str> = job.split_whitespace().collect();
        match words.first() {
            Some(name) if !is_job(name) => warning!("there is no job {name:?}"),
            Some(name) if !self.units.pids(|unit| unit == *name).is_empty() => notice!("{name} runs already"),
            Some(_) if self.request.is_none() => self.units.add(root::job(&words)),
            _ => {}
        }
    }

    /// This boot has proven itself.
    fn blessed(&mut self) {
        self.trial = None;
        watchdog::proven();
    }

    /// Ends a boot that was not blessed in time.
    fn judge_trial(&mut self) {
        let now = sys::boottime();
        if let Some(trial) = self.trial.take_if(|trial| trial.deadline <= now) {
            let units = self.units.status();
            let units: Vec<String> = units
                .iter()
                .filter(|unit| matches!(unit.name.as_str(), "node" | "nomad" | "bless"))
                .map(|unit| format!("{}: {}", unit.name, describe(unit)))
                .collect();
            let why = format!("not blessed within {} s; {}", trial.deadline.as_secs(), units.join("; "));
            trial::failed(&why);
            self.ask(Request { power: Power::Reboot, by: "the trial".into() });
            if !trial.is_counted {
                self.lost = Some(why);
            }
        }
    }

    /// The node is healthy: what only the boot needed is not given any more.
    fn close(&mut self) {
        let settings = Path::new(paths::SYSCTL_HEALTHY);
        if settings.exists() {
            // An update writes to the ESP, and modules may be refused from here on. Without the module it says so itself.
            let _ = self.devices.load("vfat");
            sysctl::apply(settings, Path::new("/proc/sys"));
        }
    }

    /// Loads a module for a unit; gives the answer.
    fn load_module(&mut self, sender: &str, name: String) -> Message {
        match self.devices.load(&name) {
            Ok(()) => Message::Module(name),
            Err(why) => {
                error!("{sender} asked for a kernel module: {why}");
                Message::Failed(why.to_string())
            }
        }
    }

    fn say_held(&mut self) {
        let now = sys::boottime();
        if let Some(why) = &self.held
            && self.nomad_wanted
            && self.next_held_message.is_some_and(|at| at <= now)
        {
            error!("nomad is not started: {why}");
            self.next_held_message = Some(now + stay::REPEAT);
        }
    }

    /// Ends the boot when a block of the root is not the one that was built, now or before this loop ran. What runs from it dies of its I/O errors sooner or later, and nobody tested what is left
    /// then: this ends in the other slot, or in a new try.
    pub(super) fn judge_root(&mut self) {
        if self.lost.is_some() || !verity::is_corrupted() {
            return;
        }
        let why = match self.devices.corrupted.as_deref().and_then(|block| block.strip_prefix("0,")) {
            Some(block) => format!("block {block} of its root is corrupted"),
            // Of the hashes, or nobody heard of it.
            None => "a block of its root is corrupted".to_owned(),
        };
        error!("{why}: this machine restarts");
        if self.trial.take().is_some() {
            trial::failed(&why);
        }
        self.ask(Request { power: Power::Reboot, by: "the root".into() });
        self.lost = Some(why);
    }

    fn read_events(&mut self) {
        let seen = self.devices.drain();
        if seen.iter().any(|event| event.corrupted.is_some() || event.is_overrun()) {
            self.judge_root();
        }
        if self.held.is_some() && seen.iter().any(may_be_a_disk) {
            self.next_state.get_or_insert(sys::boottime() + DISK_SETTLES);
        }
        if seen.iter().any(|event| event.is_overrun() || (event.action == "add" && event.subsystem == "input")) {
            button::scan(Path::new("/sys"), Path::new("/dev"), &mut self.buttons);
        }
    }

    /// Brings the state up when a disk appeared after the boot had gone on without one.
    fn try_state(&mut self) {
        if self.next_state.is_none_or(|at| at > sys::boottime()) {
            return;
        }
        self.next_state = None;
        // What node writes while the directories change below it would be lost; it is started anew with them.
        let node = self.units.pids(|name| name == "node");
        let tell = |signal| {
            for pid in &node {
                // One that is gone needs no telling.
                let _ = kill(Pid::from_raw(*pid), signal);
            }
        };
        tell(Signal::SIGSTOP);
        match watchdog::while_busy(|| state::try_again(&mut self.devices)) {
            Ok(()) => {
                notice!("the state partition is there: Nomad may be started");
                self.held = None;
                self.keeper = previous::begin();
                (self.nomad_wanted, self.next_held_message) = (false, None);
                let kept = Path::new(paths::STATE_DIR).join("machine-id");
                if let Err(why) = system::machine_id(&kept, Path::new("/etc")) {
                    warning!("failed to make the machine id: {why}");
                }
                self.timeline.mark("state");
                // Before node, which waits for what is settled.
                if trial::resume(self.trial.is_some()) {
                    self.start_job(update::SETTLE);
                }
                if let Err(why) = self.units.command(&Message::Restart("node".into())) {
                    error!("failed to start node anew: {why}");
                }
                // It holds nothing that would have to be put away, and a stopped process heeds no other signal.
                tell(Signal::SIGKILL);
            }
            Err(why) => {
                tell(Signal::SIGCONT);
                self.held = Some(why.to_string());
            }
        }
    }

    fn read_buttons(&mut self, ready: &[bool]) {
        if button::any_pressed(&mut self.buttons, |at| ready.get(at) == Some(&true)) {
            self.ask(Request::by_button());
        }
    }

    /// Writes the status file when something in it changed.
    pub(super) fn report(&mut self) {
        let mut status = InitStatus { units: self.units.status(), timeline: self.timeline.marks().to_vec() };
        if let Some(why) = self.held.as_ref().filter(|_| self.nomad_wanted) {
            status.units.push(waiting("nomad", why));
        }
        let text = serde_json::to_vec_pretty(&status).unwrap_or_default();
        if text == self.reported {
            return;
        }
        match write_atomically(Path::new(paths::INIT_STATUS), &text) {
            Ok(()) => self.reported = text,
            Err(why) => warning!("failed to write {}: {why}", paths::INIT_STATUS),
        }
    }
}

/// Whether a unit is a job of [`update`].
fn is_job(name: &str) -> bool {
    name == update::SETTLE || update::JOBS.contains(&name)
}

/// Whether an event can mean that the state is there now.
fn may_be_a_disk(event: &Uevent) -> bool {
    event.is_overrun() || (event.subsystem == "block" && matches!(event.action.as_str(), "add" | "change"))
}

/// A unit that was asked for and is not started.
fn waiting(name: &str, why: &str) -> UnitStatus {
    UnitStatus {
        name: name.to_owned(),
        state: UnitState::Waiting,
        pid: None,
        restarts: 0,
        last_exit: None,
        message: Some(why.to_owned()),
    }
}

/// What a poll found.
#[derive(Debug)]
struct Ready {
    signals: bool,
    timer: bool,
    notifications: bool,
    events: bool,
    buttons: Vec<bool>,
    pipes: Vec<bool>,
}

fn write_atomically(path: &Path, text: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, text)?;
    fs::rename(part, path)
}

#[cfg(test)]
mod tests;
