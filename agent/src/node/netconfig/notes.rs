//! What is said while a configuration is read, and the rule by which a mistake keeps Nomad from starting.
//!
//! A mistake (a *flaw*) costs the part that it stands in: an address, a route, an interface. As long as one interface
//! that gets an address has no flaw, the machine can be reached as it was meant to be, and flaws are verdicts
//! *ignored* that say what is left out: a typo beside the way in does not stop a fleet. When no such interface is
//! left, all flaws are *refused*. What this program cannot do at all (a tunnel, a script) is always *refused*.

use std::collections::BTreeSet;

use crate::node::userdata::{Finding, Position, Verdict};

/// No more than this is said about one configuration: somebody reads it on a console.
const MOST: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ignored,
    Flaw,
    Refused,
}

struct Note {
    level: Level,
    at: Position,
    key: String,
    message: String,
}

/// Collects what is said.
#[derive(Default)]
pub(super) struct Notes {
    notes: Vec<Note>,
    /// Interfaces with flaws, by id.
    flawed: BTreeSet<String>,
    /// The interface that is being read; flaws are its.
    pub(super) interface: Option<String>,
}

impl Notes {
    fn push(&mut self, level: Level, at: Position, key: &str, message: String) {
        if self.notes.len() < MOST {
            self.notes.push(Note { level, at, key: key.into(), message });
        } else if let Some(last) = self.notes.last_mut() {
            last.level = last.level.max(level);
            last.message = "and more, which is not said one by one".into();
        }
    }

    /// Something that does no harm.
    pub(super) fn ignored(&mut self, at: Position, key: &str, message: impl Into<String>) {
        self.push(Level::Ignored, at, key, message.into());
    }

    /// A mistake; what it stands in is left out.
    pub(super) fn flaw(&mut self, at: Position, key: &str, message: impl Into<String>) {
        self.flawed.extend(self.interface.clone());
        self.push(Level::Flaw, at, key, message.into());
    }

    /// Something that is asked for and that this program cannot do.
    pub(super) fn refused(&mut self, at: Position, key: &str, message: impl Into<String>) {
        self.flawed.extend(self.interface.clone());
        self.push(Level::Refused, at, key, message.into());
    }

    /// Whether nothing was said.
    pub(super) fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// Whether an interface has no flaw.
    pub(super) fn is_sound(&self, id: &str) -> bool {
        !self.flawed.contains(id)
    }

    /// The verdicts, in the order of the places. `reachable`: an interface without a flaw gets an address. `applied`:
    /// place and key of what takes effect; those about which something was said already are passed over.
    pub(super) fn findings(self, file: &str, reachable: bool, applied: Vec<(Position, String)>) -> Vec<Finding> {
        let said = |key: &str| {
            let below =
                |k: &str| k.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
            self.notes.iter().any(|note| below(&note.key))
        };
        let takes_effect = |(at, key): (Position, String)| Finding::new(Verdict::Applied, at, key, "takes effect");
        let mut findings: Vec<Finding> = applied.into_iter().filter(|(_, key)| !said(key)).map(takes_effect).collect();
        for note in self.notes {
            let verdict = match note.level {
                Level::Ignored => Verdict::Ignored,
                Level::Flaw if reachable => Verdict::Ignored,
                Level::Flaw | Level::Refused => Verdict::Refused,
            };
            findings.push(Finding::new(verdict, note.at, note.key, note.message));
        }
        findings.sort_by_key(|finding| finding.at);
        for finding in &mut findings {
            finding.file = Some(file.to_owned());
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flaw_is_refused_only_when_nothing_sound_is_left() {
        for (reachable, expected) in [(true, Verdict::Ignored), (false, Verdict::Refused)] {
            let mut notes = Notes { interface: Some("eth0".into()), ..Notes::default() };
            notes.flaw(Position::START, "ethernets.eth0.mtu", "x");
            assert!(!notes.is_sound("eth0") && notes.is_sound("eth1"));
            let applied = vec![(Position::START, "ethernets.eth0".into()), (Position::START, "ethernets.eth".into())];
            let findings = notes.findings("network-config", reachable, applied);
            assert_eq!(findings.len(), 2, "{findings:?}");
            assert_eq!(findings[0].key, "ethernets.eth");
            assert_eq!(findings[1].verdict, expected);
            assert_eq!(findings[1].file.as_deref(), Some("network-config"));
        }
    }

    #[test]
    fn a_flood_is_cut_and_loses_no_refusal() {
        let mut notes = Notes::default();
        for _ in 0..1000 {
            notes.ignored(Position::START, "a", "x");
        }
        notes.refused(Position::START, "b", "y");
        let findings = notes.findings("network-config", true, Vec::new());
        assert_eq!(findings.len(), MOST);
        assert!(findings.iter().any(|finding| finding.verdict == Verdict::Refused));
    }
}
