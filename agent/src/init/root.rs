//! The second stage: PID 1 in the root.

use std::{convert::Infallible, fs, io, path::Path, time::Duration};

use nix::{
    libc,
    mount::MsFlags,
    sys::{reboot::set_cad_enabled, utsname::uname},
    unistd::sethostname,
};

use crate::{
    cmdline::Cmdline,
    confine, error,
    facts::{ImageFacts, Role},
    paths,
    unit::UnitSpec,
    update, warning,
};

use super::{
    devices::Devices,
    etc,
    manager::{self, Manager, ManagerError},
    mounts::{self, Kernel, MountError},
    previous, shutdown, state, stay, sysctl, system,
    timeline::Timeline,
    trial,
    units::Units,
    watchdog,
};

/// Runs the stage; it ends with the machine, or stays and says why.
pub(super) fn run() -> ! {
    let Err(why) = boot();
    stay::or_fall_back(&why, trial::end(&cmdline()))
}

#[derive(Debug, thiserror::Error)]
enum RootError {
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error(transparent)]
    Etc(#[from] etc::EtcError),
    #[error("failed to make the directory {path}: {source}")]
    Directory { path: &'static str, source: io::Error },
    #[error(transparent)]
    Manager(#[from] ManagerError),
}

fn boot() -> Result<Infallible, RootError> {
    // From here on signals wait for the loop: a power-off during the boot is done after it.
    tell("block the signals", manager::block_signals());
    tell("take Ctrl-Alt-Del from the kernel", set_cad_enabled(false));
    system::limits();
    mounts::setup_at(Path::new("/"), mounts::BASE, &mut Kernel)?;
    let mut timeline = Timeline::resume();
    timeline.mark("root");
    let cmdline = cmdline();
    let mut devices = system_setup()?;
    let facts = ImageFacts::read(Path::new("/")).map_err(|why| error!("{why}")).ok();
    system::clock_not_before(facts.as_ref().map_or(0, |facts| facts.epoch));
    watchdog::adopt();
    let on_trial = trial::is_on(&cmdline);
    if !on_trial {
        watchdog::proven();
    }
    let held = watchdog::while_busy(|| state::bring_up(&cmdline, &mut devices)).map_err(|why| why.to_string()).err();
    let keeper = match &held {
        Some(why) => {
            error!("degraded: {why}");
            None
        }
        None => previous::begin(),
    };
    tell("make the machine id", system::machine_id(&Path::new(paths::STATE_DIR).join("machine-id"), Path::new("/etc")));
    timeline.mark("state");
    let server = facts.as_ref().is_none_or(|facts| facts.role == Role::Server);
    let units = Units::new(Path::new(paths::LOG_DIR), server, cmdline.value("steppe.log") == Some("console"));
    // Before the units: the first thing that they do is to speak to init.
    let trial = on_trial.then(|| trial::begin(&cmdline));
    let unsettled = trial.is_none() && trial::is_unsettled();
    let mut manager = Manager::new(Path::new(paths::NOTIFY_SOCKET), units, timeline, held, devices, trial)?;
    manager.keeper = keeper;
    manager.judge_root();
    if unsettled {
        manager.start_job(update::SETTLE);
    }
    manager.units.add(node());
    manager.timeline.mark("node-started");
    for tty in consoles(&cmdline, facts.as_ref(), &active_console()) {
        manager.units.add(console(&tty));
    }
    let request = manager.run();
    shutdown::run(&mut manager, &request)
}

fn cmdline() -> Cmdline {
    Cmdline::parse(&fs::read_to_string("/proc/cmdline").unwrap_or_default())
}

/// Everything that a Unix system is expected to have. Only what the node cannot do without ends the boot.
fn system_setup() -> Result<Devices, RootError> {
    let shared = nix::mount::mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SHARED, None::<&str>);
    tell("share the mounts", shared);
    let release = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let devices = Devices::begin(&release);
    let written = mounts::written(Path::new("/"));
    for table in [mounts::ROOT, &[mounts::tmp(written)]] {
        mounts::setup_at(Path::new("/"), table, &mut Kernel)?;
    }
    tell("make the links in /dev", system::link_devices(Path::new("/dev")));
    etc::render(Path::new(paths::ETC_TEMPLATE), Path::new("/etc"))?;
    tell("enable the cgroup controllers", system::enable_controllers(Path::new("/sys/fs/cgroup")));
    tell("enter a control group", system::leave_root_group(Path::new("/sys/fs/cgroup/steppe/init")));
    tell("bring lo up", system::loopback_up());
    tell("set the host name", sethostname("localhost"));
    sysctl::apply(Path::new(paths::SYSCTL), Path::new("/proc/sys"));
    for path in [paths::RUN_DIR, paths::UNITS_DIR, "/run/lock"] {
        fs::create_dir_all(path).map_err(|source| RootError::Directory { path, source })?;
    }
    Ok(devices)
}

/// Says what failed and goes on.
fn tell<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) {
    if let Err(why) = result {
        warning!("failed to {what}: {why}");
    }
}

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn agent(name: String, arguments: &[&str], environment: &[(&str, &str)]) -> UnitSpec {
    let common = [("PATH", PATH), ("HOME", "/"), ("NOTIFY_SOCKET", paths::NOTIFY_SOCKET)];
    UnitSpec {
        name,
        argv: [paths::AGENT].iter().chain(arguments).map(|word| (*word).to_owned()).collect(),
        env: common.iter().chain(environment).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        uid: 0,
        gid: 0,
        notifies: false,
        once: false,
        stop_signal: libc::SIGTERM,
        stop_timeout: Duration::from_secs(5),
        // Killing the agent to free memory would free little and cost much.
        oom_score_adj: -900,
        nofile: None,
        confined: None,
    }
}

/// A job of [`update`]: its name and its arguments. It writes to the disk of the system and has mounts of its own, which node
/// may not.
pub(super) fn job(words: &[&str]) -> UnitSpec {
    let name = words.first().copied().unwrap_or_default().to_owned();
    UnitSpec { once: true, oom_score_adj: 0, ..agent(name, words, &[]) }
}

fn node() -> UnitSpec {
    UnitSpec { notifies: true, confined: Some(confine::NODE), ..agent("node".into(), &["node"], &[]) }
}

fn console(tty: &str) -> UnitSpec {
    let mut spec = agent(format!("console-{tty}"), &["console", tty], &[("TERM", "linux")]);
    spec.stop_timeout = Duration::from_secs(1);
    // A blocked read on a terminal ends at once on a hangup.
    spec.stop_signal = libc::SIGHUP;
    spec.oom_score_adj = 0;
    spec.confined = Some(confine::CONSOLE);
    spec
}

/// The terminals with a console: those of the image and those of the command line, each once. `steppe.console` without
/// a value means `active`, the one that the kernel uses as `/dev/console`.
fn consoles(cmdline: &Cmdline, facts: Option<&ImageFacts>, active: &str) -> Vec<String> {
    let mut names: Vec<String> = facts.map(|facts| facts.consoles.clone()).unwrap_or_default();
    for value in cmdline.all("steppe.console") {
        let value = if value.is_empty() { active } else { value };
        names.extend(value.split(',').map(str::to_owned));
    }
    let mut seen = Vec::new();
    for name in names {
        let name = name.trim_start_matches("/dev/").to_owned();
        if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric()) && !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

/// The last of the kernel's consoles; it is the one behind `/dev/console`.
fn active_console() -> String {
    let text = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    text.split_whitespace().last().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consoles_come_from_the_command_line() {
        let of = |text: &str| consoles(&Cmdline::parse(text), None, "ttyS0");
        assert!(of("console=ttyS0").is_empty());
        assert_eq!(of("steppe.console"), ["ttyS0"]);
        assert_eq!(of("steppe.console=ttyS1,/dev/tty1,ttyS1,../x"), ["ttyS1", "tty1"]);
    }

    #[test]
    fn the_agents_own_units_can_speak_to_init() {
        for spec in [node(), console("ttyS0")] {
            assert!(spec.env.contains(&("NOTIFY_SOCKET".into(), paths::NOTIFY_SOCKET.into())));
            assert_eq!(spec.argv[0], paths::AGENT);
        }
    }
}
