//! The answer to `status`, for people.

use std::fmt::Write as _;

use crate::{
    facts::{ImageFacts, NomadSource},
    slots::Slot,
    status::{InitStatus, NodeStatus, UnitState, UnitStatus},
    update::record::Record,
};

/// Everything that is known, in lines of `what  value`. Each part may be missing: early in the boot, or when a process
/// is not there to write its file.
#[must_use]
pub fn status(
    hostname: &str,
    facts: Option<&ImageFacts>,
    init: Option<&InitStatus>,
    node: Option<&NodeStatus>,
) -> String {
    let mut out = String::new();
    let mut line = |what: &str, value: &str| {
        let _ = writeln!(out, "{what:<10} {value}");
    };
    let name = node.and_then(|node| node.hostname.as_deref()).unwrap_or(hostname);
    line("name", name);
    match facts {
        Some(facts) => line("role", &format!("{} (image {}, Steppe {})", facts.role, facts.name, facts.version)),
        None => line("role", "unknown: the image has no facts"),
    }
    if let Some(node) = node {
        for (interface, addresses) in &node.addresses {
            line("address", &format!("{interface} {}", addresses.join(" ")));
        }
        if let Some(source) = &node.datasource {
            let id = node.instance_id.as_ref().map(|id| format!(", instance {id}")).unwrap_or_default();
            line("metadata", &format!("{source}{id}"));
        }
    }
    let unit = |name: &str| init.and_then(|init| init.units.iter().find(|unit| unit.name == name));
    line("nomad", &nomad(facts, unit("nomad")));
    if let Some(node) = node {
        let leader = node.leader.as_ref().map(|leader| format!(", leader {leader}")).unwrap_or_default();
        line("health", &format!("{}{leader}", if node.healthy { "healthy" } else { "not healthy" }));
        if let Some(awaits) = &node.awaits {
            line("waits for", awaits);
        }
        if let Some(update) = &node.update {
            line("channel", update);
        }
        for note in &node.network {
            line("network", note);
        }
        for finding in &node.findings {
            line("finding", finding);
        }
    } else {
        line("health", "unknown: node has not reported");
    }
    for unit in init.iter().flat_map(|init| &init.units).filter(|unit| unit.name != "nomad") {
        line("unit", &format!("{}: {}", unit.name, describe(unit)));
    }
    let marks = init.iter().flat_map(|init| &init.timeline);
    let marks: Vec<String> = marks.map(|mark| format!("{} {}", mark.phase, seconds(mark.at_ms))).collect();
    if !marks.is_empty() {
        line("boot", &format!("{} (seconds)", marks.join(", ")));
    }
    out
}

/// Which system runs, and how the last update went.
#[must_use]
pub fn system(facts: Option<&ImageFacts>, slot: Option<Slot>, update: Option<&Record>) -> String {
    let mut out = String::new();
    if let (Some(facts), Some(slot)) = (facts, slot) {
        let _ = writeln!(out, "{:<10} {} in slot {slot}", "version", facts.image_version());
    }
    if let Some(update) = update {
        let _ = writeln!(out, "{:<10} {}", "update", update.summary());
    }
    out
}

fn nomad(facts: Option<&ImageFacts>, unit: Option<&UnitStatus>) -> String {
    let version = match facts.map(|facts| &facts.nomad) {
        Some(nomad) if nomad.source == NomadSource::StandIn => format!("stand-in for {}, not Nomad", nomad.version),
        Some(nomad) => nomad.version.clone(),
        None => "version unknown".to_owned(),
    };
    format!("{version}: {}", unit.map_or_else(|| "not started yet".to_owned(), describe))
}

/// `ready, process 412, started again 2 times, last exit 1`.
pub(crate) fn describe(unit: &UnitStatus) -> String {
    let state = match unit.state {
        UnitState::Waiting => "not started yet",
        UnitState::Starting => "starting",
        UnitState::Ready => "ready",
        UnitState::Stopping => "stopping",
        UnitState::Stopped => "stopped",
        UnitState::BackOff => "ended, will be started again",
        UnitState::Degraded => "keeps ending, tried again at long intervals",
    };
    let mut text = state.to_owned();
    if let Some(pid) = unit.pid {
        let _ = write!(text, ", process {pid}");
    }
    match unit.restarts {
        0 => {}
        1 => text.push_str(", started again once"),
        times => {
            let _ = write!(text, ", started again {times} times");
        }
    }
    if let Some(exit) = &unit.last_exit {
        let _ = write!(text, ", last {exit}");
    }
    if let Some(message) = &unit.message {
        let _ = write!(text, " ({message})");
    }
    text
}

fn seconds(ms: u64) -> String {
    format!("{}.{:02}", ms / 1000, ms % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        facts::{NomadFacts, Role},
        status::Mark,
        update::record::Outcome,
    };

    fn facts() -> ImageFacts {
        ImageFacts {
            format: 1,
            name: "server".into(),
            version: "0.1.0".into(),
            image_version: None,
            role: Role::Server,
            profile: "cloud".into(),
            architecture: "x86_64".into(),
            kernel: "6.12".into(),
            nomad: NomadFacts { version: "2.0.5".into(), source: NomadSource::Release, sha256: "00".into() },
            consoles: vec![],
            platform: None,
            epoch: 1,
        }
    }

    fn unit(name: &str, state: UnitState) -> UnitStatus {
        UnitStatus { name: name.into(), state, pid: Some(7), restarts: 0, last_exit: None, message: None }
    }

    #[test]
    fn a_healthy_server() {
        let nomad = UnitStatus { restarts: 2, last_exit: Some("signal 9".into()), ..unit("nomad", UnitState::Ready) };
        let init = InitStatus {
            units: vec![unit("node", UnitState::Ready), nomad],
            timeline: vec![Mark { phase: "root".into(), at_ms: 2319 }, Mark { phase: "healthy".into(), at_ms: 7920 }],
        };
        let node = NodeStatus {
            role: "server".into(),
            hostname: Some("server-vm-0".into()),
            addresses: vec![("eth0".into(), vec!["10.0.5.10/24".into()])],
            datasource: Some("nocloud (/dev/vdb)".into()),
            instance_id: Some("i-1".into()),
            nomad_version: "2.0.5".into(),
            findings: vec!["ignored: packages".into()],
            healthy: true,
            leader: Some("10.0.5.10:4647".into()),
            ..NodeStatus::default()
        };
        let expected = "\
name       server-vm-0
role       server (image server, Steppe 0.1.0)
address    eth0 10.0.5.10/24
metadata   nocloud (/dev/vdb), instance i-1
nomad      2.0.5: ready, process 7, started again 2 times, last signal 9
health     healthy, leader 10.0.5.10:4647
finding    ignored: packages
unit       node: ready, process 7
boot       root 2.31, healthy 7.92 (seconds)
";
        assert_eq!(status("localhost", Some(&facts()), Some(&init), Some(&node)), expected);
    }

    #[test]
    fn the_system_and_its_last_update() {
        let record = Record { outcome: Outcome::Installed, ..Record::new("1.3".parse().unwrap(), Slot::B) };
        let facts = ImageFacts { image_version: Some("1.2".into()), ..facts() };
        let text = system(Some(&facts), Some(Slot::A), Some(&record));
        assert_eq!(text, "version    1.2 in slot a\nupdate     1.3 in slot b: boots next\n");
        assert_eq!(system(Some(&facts), None, None), "");
    }

    #[test]
    fn early_in_the_boot_little_is_known() {
        let text = status("localhost", Some(&facts()), None, None);
        assert!(text.contains("nomad      2.0.5: not started yet\n"), "{text}");
        assert!(text.contains("health     unknown: node has not reported\n"), "{text}");
        assert!(status("localhost", None, None, None).contains("the image has no facts"));
    }

    #[test]
    fn the_stand_in_is_never_called_nomad() {
        let mut facts = facts();
        facts.nomad.source = NomadSource::StandIn;
        assert!(status("x", Some(&facts), None, None).contains("nomad      stand-in for 2.0.5, not Nomad: "));
    }
}
