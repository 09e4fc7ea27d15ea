//! What a failed test leaves behind.

use crate::lab::{Lab, evidence};
use std::fmt::Write as _;

/// Lines of each console that are printed.
const TAIL: usize = 50;

/// Saves the network's counters and last frames beside the machines' files.
pub(crate) fn save(lab: &Lab) {
    let directory = lab.directory();
    let mut counters = String::new();
    for (name, port) in lab.switch.all_counters() {
        let _ = writeln!(counters, "{name}: {port:?}");
    }
    // A report must not fail; what could not be saved is missing, that is all.
    let _ = std::fs::write(directory.join("switch.txt"), counters);
    let _ = lab.switch.save_recent(&directory.join("network.pcap"));
    let queries = lab.services.dns().queries().join("\n");
    let _ = std::fs::write(directory.join("dns.txt"), queries);
    let requests: String = lab.services.dhcp().requests().iter().map(|request| format!("{request:?}\n")).collect();
    let _ = std::fs::write(directory.join("dhcp.txt"), requests);
    let mut requests = String::new();
    for record in lab.services.site().requests() {
        let (request, status) = (&record.request, record.status.map_or("none".to_owned(), |status| status.to_string()));
        let _ = writeln!(requests, "{} {} {}: {status}", request.peer, request.method, request.path);
    }
    let _ = std::fs::write(directory.join("http.txt"), requests);
}

/// Saves everything, and gives the text to print.
pub(crate) fn failure(lab: &Lab) -> String {
    save(lab);
    let mut text = String::new();
    for machine in &lab.machines {
        let state = match machine.vm() {
            Ok(_) => "on",
            Err(_) => "off",
        };
        let (name, tail) = (machine.name(), machine.console().tail(TAIL));
        let _ = writeln!(text, "---- {name} ({state}), the last lines of its console:\n{}", tail.trim_end());
        let qemu = std::fs::read_to_string(machine.directory().join("qemu.log")).unwrap_or_default();
        if !qemu.trim().is_empty() {
            let _ = writeln!(text, "---- {name}, QEMU's own messages:\n{}", qemu.trim_end());
        }
    }
    let directory = lab.directory().display();
    let _ = writeln!(text, "---- consoles, disks, counters and network.pcap are kept in {directory}");
    for machine in &lab.machines {
        let _ = writeln!(text, "---- {} by hand: sh {}/replay.sh", machine.name(), machine.directory().display());
    }
    if let Some(command) = rerun() {
        let _ = writeln!(text, "---- this test again: {command}");
    }
    text
}

/// The command that runs the current test again: a suite names its steps, and the harness of `cargo test` its threads, after the tests.
fn rerun() -> Option<String> {
    let program = std::env::current_exe().ok()?;
    let thread = std::thread::current();
    let name = evidence::step().or_else(|| thread.name().filter(|name| *name != "main").map(str::to_owned))?;
    Some(format!("STEPPE_KEEP=1 {} --exact {name} --nocapture", program.display()))
}
