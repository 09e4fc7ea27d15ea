//! The answers to `ps` and `ports`: one line of headings, columns separated by blanks.

use std::fmt::Write as _;

use crate::{
    proc::{Listener, Process},
    status::InitStatus,
};

/// What runs, with the unit that each process is the main process of; tasks and helpers belong to none.
#[must_use]
pub fn processes(processes: &[Process], init: Option<&InitStatus>) -> String {
    let mut out = format!("{:>6} {:>6} {:>5} {:>12} {:<16} ROLE\n", "PID", "PARENT", "UID", "RESIDENT-KIB", "NAME");
    for process in processes {
        let Process { pid, parent, uid, resident_kib, name } = process;
        // A name may hold anything but must stay one word of the line.
        let name: String = name.chars().map(|c| if c.is_whitespace() || c.is_control() { '_' } else { c }).collect();
        let _ = writeln!(out, "{pid:>6} {parent:>6} {uid:>5} {resident_kib:>12} {name:<16} {}", role(*pid, init));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{UnitState, UnitStatus};

    #[test]
    fn main_processes_are_known_by_their_unit() {
        let process = |pid, name: &str| Process { pid, parent: 1, uid: 0, resident_kib: 900, name: name.into() };
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
        assert!(rows.iter().all(|row| row.len() == 6), "{text}");
    }

    #[test]
    fn ports_are_one_a_line() {
        let tcp = Listener { protocol: "tcp6", port: 4646, address: "::".parse().unwrap() };
        assert_eq!(ports(&[tcp]).lines().last(), Some("tcp6      4646 ::"));
    }
}
