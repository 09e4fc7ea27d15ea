//! The answers to `ps`, `ports` and `mounts`: one line of headings, columns separated by blanks.

use std::{fmt::Write as _, io};

use crate::{
    init::{
        mountinfo::Mount,
        sysctl::{self, Setting},
    },
    proc::{Listener, Process},
    status::InitStatus,
};

/// What runs, with the unit that each process is the main process of; tasks and helpers belong to none.
#[must_use]
pub fn processes(processes: &[Process], init: Option<&InitStatus>) -> String {
    let mut out = "   PID PARENT   UID RESIDENT-KIB CAPABILITIES     CONFINED   NAME             ROLE\n".to_owned();
    for process in processes {
        let Process { pid, parent, uid, resident_kib, bounding, no_new_privs, filtered, name } = process;
        let confined = match (no_new_privs, filtered) {
            (true, true) => "nnp+filter",
            (true, false) => "nnp",
            (false, true) => "filter",
            (false, false) => "-",
        };
        // A name may hold anything but must stay one word of the line.
        let name: String = name.chars().map(|c| if c.is_whitespace() || c.is_control() { '_' } else { c }).collect();
        let _ = write!(out, "{pid:>6} {parent:>6} {uid:>5} {resident_kib:>12} {bounding:016x} {confined:<10} ");
        let _ = writeln!(out, "{name:<16} {}", role(*pid, init));
    }
    out
}

fn role(pid: u32, init: Option<&InitStatus>) -> &str {
    if pid == 1 {
        return "init";
    }
    let mut units = init.iter().flat_map(|init| &init.units);
    let unit = units.find(|unit| unit.pid.is_some_and(|own| own.unsigned_abs() == pid));
    unit.map_or("-", |unit| unit.name.split('-').next().unwrap_or(&unit.name))
}

/// What listens.
#[must_use]
pub fn ports(listeners: &[Listener]) -> String {
    let mut out = format!("{:<8} {:>5} ADDRESS\n", "PROTOCOL", "PORT");
    for Listener { protocol, port, address } in listeners {
        let _ = writeln!(out, "{protocol:<8} {port:>5} {address}");
    }
    out
}

/// What is mounted, with the options of the mount and of the file system.
#[must_use]
pub fn mounts(mounts: &[Mount]) -> String {
    let mut out = "TARGET TYPE OPTIONS FILE-SYSTEM-OPTIONS\n".to_owned();
    for Mount { target, fstype, options: [own, shared], .. } in mounts {
        let _ = writeln!(out, "{} {fstype} {own} {shared}", target.replace(' ', "\\040"));
    }
    out
}

/// What the kernel was told: the command line, and each setting of the image with the value that it has now. `wanted` is the
/// text of the image's files of settings, `now` gives the value of a setting.
#[must_use]
pub fn kernel(cmdline: &str, lockdown: &str, wanted: &str, now: impl Fn(&str) -> io::Result<String>) -> String {
    let mut out = format!("command line: {}\nlockdown: {}\n", cmdline.trim(), lockdown.trim());
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for Setting { key, value, .. } in sysctl::parse(wanted) {
        let now = match now(key) {
            Ok(now) => words(&now),
            Err(why) if why.kind() == io::ErrorKind::NotFound => "unknown to this kernel".to_owned(),
            // Some settings are shown to nobody with as few rights as the console.
            Err(_) => "not shown".to_owned(),
        };
        let _ = write!(out, "{key} = {now}");
        out += &if now == words(value) { "\n".to_owned() } else { format!(" (the image says {value})\n") };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{UnitState, UnitStatus};

    #[test]
    fn main_processes_are_known_by_their_unit() {
        let process = |pid, name: &str| Process {
            pid,
            parent: 1,
            uid: 0,
            resident_kib: 900,
            bounding: 0xff,
            no_new_privs: pid == 7,
            filtered: pid == 7,
            name: name.into(),
        };
        let unit = |name: &str, pid| UnitStatus {
            name: name.into(),
            state: UnitState::Ready,
            pid: Some(pid),
            restarts: 0,
            last_exit: None,
            message: None,
        };
        let init = InitStatus { units: vec![unit("nomad", 7), unit("console-ttyS0", 8)], timeline: vec![] };
        let all = [process(1, "init"), process(7, "nomad"), process(8, "agent"), process(9, "a task")];
        let text = processes(&all, Some(&init));
        let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        let roles: Vec<&str> = rows.iter().filter_map(|row| row.last().copied()).collect();
        assert_eq!(roles, ["init", "nomad", "console", "-"]);
        assert!(rows.iter().all(|row| row.len() == 8), "{text}");
        assert_eq!(rows[1][4..6], ["00000000000000ff", "nnp+filter"]);
    }

    #[test]
    fn settings_are_held_against_the_image() {
        let now = |key: &str| match key {
            "net.range" => Ok("1\t2\n".to_owned()),
            "kernel.a" => Ok("0\n".to_owned()),
            "kernel.b" => Err(io::ErrorKind::NotFound.into()),
            _ => Err(io::ErrorKind::PermissionDenied.into()),
        };
        let text = kernel(
            "quiet\n",
            "none [integrity]\n",
            "net.range = 1 2\n-kernel.a = 1\n-kernel.b = 3\nkernel.c = 4\n",
            now,
        );
        let expected = "command line: quiet\nlockdown: none [integrity]\nnet.range = 1 2\nkernel.a = 0 (the image says 1)\n\
                        kernel.b = unknown to this kernel (the image says 3)\nkernel.c = not shown (the image says 4)\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn mounts_are_one_a_line() {
        let line = "26 22 254:3 /var /var rw,nosuid shared:5 - ext4 /dev/vda3 rw\n";
        assert_eq!(mounts(&crate::init::mountinfo::parse(line)).lines().last(), Some("/var ext4 rw,nosuid rw"));
    }

    #[test]
    fn ports_are_one_a_line() {
        let tcp = Listener { protocol: "tcp6", port: 4646, address: "::".parse().unwrap() };
        assert_eq!(ports(&[tcp]).lines().last(), Some("tcp6      4646 ::"));
    }
}
