//! Commands that need no doing: the image does what they are for, has no need of it, or they only print.

use super::{packages, program_name};

/// Services that a unit of this image stands for.
const SERVICES: [&str; 2] = ["nomad", "nomad.service"];
/// Services that a distribution has for people and for itself, and that a node does without: what they are for is done
/// by the agent, or has no object here. A guard (a firewall) is not among them.
pub(super) const SPARE: [&str; 15] = [
    "chrony",
    "chronyd",
    "cron",
    "fail2ban",
    "multipathd",
    "ntp",
    "qemu-guest-agent",
    "rsyslog",
    "snapd",
    "ssh",
    "sshd",
    "systemd-networkd",
    "systemd-resolved",
    "systemd-timesyncd",
    "unattended-upgrades",
];

/// Programs that print and change nothing.
const PRINTERS: [&str; 24] = [
    "arch",
    "cat",
    "date",
    "df",
    "dmesg",
    "du",
    "env",
    "free",
    "id",
    "journalctl",
    "ls",
    "lsblk",
    "lscpu",
    "nproc",
    "printenv",
    "ps",
    "pwd",
    "stat",
    "tail",
    "uname",
    "uptime",
    "which",
    "who",
    "whoami",
];

/// Why a command needs no doing; `None` when it does. `words` begins with the program.
pub(super) fn judge(words: &[&str]) -> Option<String> {
    let (program, args) = words.split_first()?;
    let program = program_name(program);
    let why = match (program, args) {
        ("" | ":" | "true" | "echo" | "printf" | "sleep" | "sync" | "wait" | "logger" | "complete" | "exit", _) => {
            "nothing to do".into()
        }
        ("set" | "shopt" | "umask" | "ulimit" | "trap", _) => "nothing to do".into(),
        (name, _) if PRINTERS.contains(&name) => "it only prints".into(),
        ("ip", ["a" | "addr" | "address" | "r" | "route" | "l" | "link"] | [_, "show", ..]) => "it only prints".into(),
        ("systemctl", args) => systemctl(args)?.into(),
        ("service", ["nomad", "start" | "restart" | "reload" | "status"]) => "Nomad starts by itself".into(),
        ("chkconfig" | "update-rc.d", ["nomad", ..]) => "Nomad starts by itself".into(),
        ("nomad", ["-autocomplete-install"]) => "nobody types in this image".into(),
        (
            "nomad",
            ["version" | "-version" | "--version" | "-v" | "status" | "node" | "server"]
            | ["node" | "server" | "job", "status" | "members", ..],
        ) => "it only prints".into(),
        ("update-ca-certificates" | "update-ca-trust", _) => "the image's certificates are complete".into(),
        ("useradd" | "adduser" | "groupadd" | "addgroup", args) if args.last() == Some(&"nomad") => {
            "the image has a user and a group of this name".into()
        }
        ("usermod" | "gpasswd", _) => "the users and groups of an image are fixed".into(),
        ("swapoff", _) => "nothing is swapped to by itself".into(),
        ("ufw", ["disable" | "status"]) | ("setenforce" | "getenforce", _) => "there is no such guard here".into(),
        ("timedatectl", ["set-ntp", _]) => "the clock is set from the network by itself".into(),
        ("timedatectl", ["set-timezone", _]) => {
            "the machine's clock is UTC; a periodic job names its own time_zone".into()
        }
        ("localectl" | "locale-gen" | "update-locale", _) => "messages are in English".into(),
        ("mount", ["-a"]) => "mounts are there before".into(),
        ("restorecon" | "ldconfig" | "depmod" | "udevadm", _) => "there is nothing to renew".into(),
        (
            "apt" | "apt-get" | "apt-key" | "apt-mark" | "apt-cache" | "apt-add-repository" | "add-apt-repository"
            | "yum" | "dnf" | "microdnf" | "zypper" | "apk" | "yum-config-manager" | "rpm" | "dpkg",
            args,
        ) => packages::manager(program, args)?,
        (program, args) => packages::download(program, args)?,
    };
    Some(format!("{program:?}: {why}"))
}

/// Why a call of `systemctl` needs no doing.
fn systemctl(args: &[&str]) -> Option<&'static str> {
    let mut words = args.iter().filter(|a| !a.starts_with('-'));
    match *words.next()? {
        "daemon-reload" | "daemon-reexec" | "reset-failed" | "preset" => Some("there is no systemd"),
        "enable" | "start" | "restart" | "reload" | "status" | "is-active" | "is-enabled" | "try-restart"
        | "unmask" | "reload-or-restart" | "show" => {
            let units: Vec<_> = words.collect();
            let spare = |unit: &str| SPARE.contains(&unit.trim_end_matches(".service"));
            if units.is_empty() || !units.iter().all(|unit| SERVICES.contains(unit) || spare(unit)) {
                return None;
            }
            let nomad = units.iter().any(|unit| SERVICES.contains(unit));
            Some(if nomad { "Nomad starts by itself, after the files are written" } else { "a node does without it" })
        }
        "stop" | "disable" | "mask" => {
            let units: Vec<_> = words.collect();
            let absent = !units.is_empty() && units.iter().all(|unit| !SERVICES.contains(unit));
            absent.then_some("there is no such service in this image")
        }
        _ => None,
    }
}
