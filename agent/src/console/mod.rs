//! `agent console TTY`: answers a person on a terminal with a small set of commands. There is no shell behind it.

pub mod command;
pub mod show;
pub mod tables;
mod terminal;

use std::{
    fs, io,
    path::Path,
    process::{self, ExitCode, Stdio},
};

use nix::unistd::gethostname;
use serde::de::DeserializeOwned;

use crate::{
    error,
    facts::ImageFacts,
    init::{kmsg, mountinfo, output, sysctl},
    log,
    notify::{self, Message, Power},
    paths, proc, sys,
    update::{place, record::Record},
};
use command::{Command, HELP};
use terminal::{Input, Terminal};

/// Where Nomad's command line finds the agent of this node.
const NOMAD_ADDR: &str = "http://127.0.0.1:4646";
/// So many ends of input in a row mean that nobody is there, not that somebody leans on Ctrl-D.
const GONE: u32 = 16;

/// Runs until the terminal is gone.
pub fn run(tty: Option<&str>) -> ExitCode {
    let Some(tty) = tty else {
        eprintln!("usage: agent console TTY");
        return ExitCode::from(2);
    };
    log::set_process("steppe console");
    let path = Path::new("/dev").join(tty.trim_start_matches("/dev/"));
    match Terminal::open(&path).and_then(|mut terminal| serve(&mut terminal)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            error!("failed to use the terminal {}: {why}", path.display());
            ExitCode::FAILURE
        }
    }
}

fn serve(terminal: &mut Terminal) -> io::Result<()> {
    terminal.show(&format!("\nSteppe {}. Type help to see what there is.\n", env!("CARGO_PKG_VERSION")))?;
    let mut ends = 0;
    while ends < GONE {
        match terminal.ask(&format!("{}> ", hostname()))? {
            Input::Line(line) => {
                ends = 0;
                answer(terminal, &line)?;
            }
            Input::Interrupt => terminal.show("\n")?,
            Input::End => {
                ends += 1;
                terminal.show("\n")?;
            }
        }
    }
    Ok(())
}

fn answer(terminal: &mut Terminal, line: &str) -> io::Result<()> {
    match command::parse(line) {
        Ok(Command::Nothing) => Ok(()),
        Ok(Command::Help) => terminal.show(HELP),
        Ok(Command::Status) => {
            let facts = ImageFacts::read(Path::new("/")).ok();
            let update = Record::read(Path::new(paths::STATE_DIR));
            let (init, node) = (read(paths::INIT_STATUS), read(paths::NODE_STATUS));
            let text = show::status(&hostname(), facts.as_ref(), init.as_ref(), node.as_ref());
            terminal.show(&(text + &show::system(facts.as_ref(), place::running(Path::new("/sys")), update.as_ref())))
        }
        Ok(Command::Log { unit, lines, previous }) => terminal.show(&log_of(&unit, lines, previous)),
        Ok(Command::Plan) => match fs::read_to_string(paths::PLAN) {
            Ok(text) => terminal.show(&(text.trim_end().to_owned() + "\n")),
            Err(why) if why.kind() == io::ErrorKind::NotFound => terminal.show("there is no plan yet\n"),
            Err(why) => terminal.show(&format!("failed to read {}: {why}\n", paths::PLAN)),
        },
        Ok(Command::Ps) => match proc::processes(Path::new("/")) {
            Ok(all) => terminal.show(&tables::processes(&all, read(paths::INIT_STATUS).as_ref())),
            Err(why) => terminal.show(&format!("failed to read /proc: {why}\n")),
        },
        Ok(Command::Ports) => terminal.show(&tables::ports(&proc::listeners(Path::new("/")))),
        Ok(Command::Mounts) => terminal.show(&tables::mounts(&mountinfo::parse(&text("/proc/self/mountinfo")))),
        Ok(Command::Kernel) => {
            let wanted = text(paths::SYSCTL) + &text(paths::SYSCTL_HEALTHY);
            let now = |key: &str| {
                let file = sysctl::file(Path::new("/proc/sys"), key).ok_or(io::ErrorKind::NotFound)?;
                fs::read_to_string(file)
            };
            let (cmdline, lockdown) = (text("/proc/cmdline"), text("/sys/kernel/security/lockdown"));
            terminal.show(&tables::kernel(&cmdline, &lockdown, &wanted, now))
        }
        Ok(Command::Nomad(arguments)) => nomad(terminal, &arguments),
        Ok(Command::Update(job)) => ask(terminal, Message::Update(job)),
        Ok(Command::Reboot) => ask(terminal, Message::Power(Power::Reboot)),
        Ok(Command::Poweroff) => ask(terminal, Message::Power(Power::Off)),
        Err(why) => terminal.show(&format!("{why}\n")),
    }
}

fn hostname() -> String {
    gethostname().map_or_else(|_| "localhost".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// What a file says; nothing when it is not there.
fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn read<T: DeserializeOwned>(path: &str) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn log_of(unit: &str, count: usize, previous: bool) -> String {
    let dir = if previous { Path::new(paths::STATE_DIR).join("log/previous") } else { paths::LOG_DIR.into() };
    let lines = if unit == "kernel" && !previous {
        match kmsg::read() {
            Ok(mut lines) => lines.split_off(lines.len().saturating_sub(count)),
            Err(why) => return format!("failed to read /dev/kmsg: {why}\n"),
        }
    } else {
        let mut known = units(&dir);
        if !known.iter().any(|name| name == unit) {
            known.extend((!previous).then(|| "kernel".to_owned()));
            let which = if previous { " of the previous boot" } else { "" };
            return format!("there is no log of {unit:?}{which}: there is {}\n", known.join(", "));
        }
        output::tail(&dir.join(format!("{unit}.log")), count)
    };
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The units that have printed something.
fn units(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".log")?.to_owned())).collect();
    names.sort();
    names
}

/// Runs Nomad's command line in the foreground of the terminal; Ctrl-C reaches it and not the console.
fn nomad(terminal: &mut Terminal, arguments: &[String]) -> io::Result<()> {
    let mut command = process::Command::new(paths::NOMAD);
    command
        .args(arguments)
        .env_clear()
        .env("NOMAD_ADDR", NOMAD_ADDR)
        .env("PATH", "/usr/bin:/usr/sbin")
        .env("HOME", "/tmp")
        .env("TERM", "linux")
        .stdin(Stdio::from(terminal.handle()?))
        .stdout(Stdio::from(terminal.handle()?))
        .stderr(Stdio::from(terminal.handle()?));
    sys::foreground(&mut command, terminal.handle()?);
    let ended = command.status();
    terminal.take_back()?;
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => terminal.show(&format!("({status})\n")),
        Err(why) => terminal.show(&format!("failed to run {}: {why}\n", paths::NOMAD)),
    }
}

fn ask(terminal: &mut Terminal, message: Message) -> io::Result<()> {
    match notify::send(Path::new(paths::NOTIFY_SOCKET), &[message]) {
        Ok(()) => Ok(()),
        Err(why) => terminal.show(&format!("failed to ask init: {why}\n")),
    }
}
