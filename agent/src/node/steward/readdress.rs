//! An address that changes while the node runs: Nomad is told the new one, which takes a new start.

use std::time::Duration;

use serde_json::Value;

use super::Steward;
use crate::{
    node::{clock, userdata::Plan},
    notice,
    notify::Message,
    paths, warning,
};

/// How long the new address has to hold first: a lease may be lost for a moment.
const HOLDS: Duration = Duration::from_secs(5);
/// First pause before the next new start for this reason, and the longest.
const PAUSE: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(900)];

/// Decides when to follow a change.
#[derive(Debug, Clone)]
pub(super) struct Follower {
    /// The new address, and since when.
    seen: Option<(String, Duration)>,
    not_before: Duration,
    pause: Duration,
}

impl Default for Follower {
    fn default() -> Self {
        Self { seen: None, not_before: Duration::ZERO, pause: PAUSE[0] }
    }
}

impl Follower {
    /// Whether to follow now; `wanted` is the address to change to, if there is one.
    fn due(&mut self, wanted: Option<&str>, now: Duration) -> bool {
        let Some(wanted) = wanted else {
            self.seen = None;
            // After long enough without a change the next one is followed at once.
            if now >= self.not_before + self.pause {
                self.pause = PAUSE[0];
            }
            return false;
        };
        if self.seen.as_ref().is_none_or(|(seen, _)| seen != wanted) {
            self.seen = Some((wanted.to_owned(), now));
        }
        let holds = self.seen.as_ref().is_some_and(|(_, since)| now >= *since + HOLDS);
        if !holds || now < self.not_before {
            return false;
        }
        self.not_before = now + self.pause;
        self.pause = (self.pause * 2).min(PAUSE[1]);
        true
    }
}

impl Steward {
    /// Writes hosts and Nomad's configuration anew and starts Nomad again, when the address that it was told is gone and
    /// there is another. As long as the machine has that address, another one that would be preferred now changes nothing.
    pub(super) fn follow_address(&mut self, plan: &Plan, follower: &mut Follower) {
        let view = self.shared.view();
        let told = self.told_address();
        let primary = view.primary().cloned();
        let wanted = primary.as_ref().map(|primary| primary.address.to_string());
        let own: Vec<String> = view.addresses().map(|own| own.to_string()).collect();
        if !follower.due(wanted.as_deref().filter(|_| is_gone(told.as_deref(), &own)), clock::now()) {
            return;
        }
        let (Some(told), Some(wanted), Some(address)) = (told, wanted, primary) else { return };
        let hostname = self.report.status().hostname.clone().unwrap_or_else(|| self.hostname(plan));
        self.write_hosts(plan, &hostname);
        match self.configure(plan, &hostname, &address) {
            Ok(()) => {
                notice!("the address was {told} and is {wanted}: starting Nomad anew with it");
                self.report.tell(&[Message::Restart("nomad".into())]);
            }
            Err(error) => warning!("the address was {told} and is {wanted}, but Nomad cannot be told: {error}"),
        }
    }

    /// The address in the configuration that Nomad was started with.
    fn told_address(&self) -> Option<String> {
        let text = std::fs::read(self.below_root(paths::NOMAD_AGENT_CONFIG)).ok()?;
        let config: Value = serde_json::from_slice(&text).ok()?;
        Some(config["advertise"]["rpc"].as_str()?.trim_matches(['[', ']']).to_owned())
    }
}

/// Whether Nomad was told an address that the machine does not have.
fn is_gone(told: Option<&str>, own: &[String]) -> bool {
    told.is_some_and(|told| own.iter().all(|own| own != told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_that_is_gone_is_left() {
        let own = ["10.0.5.77".to_owned(), "10.0.5.10".to_owned()];
        assert!(!is_gone(Some("10.0.5.10"), &own) && !is_gone(None, &own));
        assert!(is_gone(Some("10.0.5.1"), &own));
    }

    #[test]
    fn a_change_has_to_hold_and_changes_are_spaced() {
        let s = Duration::from_secs;
        let mut follower = Follower::default();
        assert!(!follower.due(Some("b"), s(100)), "it may be for a moment");
        assert!(!follower.due(None, s(103)));
        assert!(!follower.due(Some("b"), s(104)));
        assert!(!follower.due(Some("c"), s(108)), "another one");
        assert!(follower.due(Some("c"), s(113)));
        assert!(!follower.due(Some("d"), s(114)));
        assert!(!follower.due(Some("d"), s(142)), "30 s after the first");
        assert!(follower.due(Some("d"), s(143)));
        assert!(!follower.due(Some("e"), s(150)));
        assert!(!follower.due(Some("e"), s(202)), "60 s after the second");
        assert!(follower.due(Some("e"), s(203)));
        assert!(!follower.due(None, s(203 + 120 + 240)));
        assert!(!follower.due(Some("f"), s(1000)));
        assert!(follower.due(Some("f"), s(1005)));
        assert!(!follower.due(Some("g"), s(1010)) && follower.due(Some("g"), s(1035)), "the pauses began anew");
    }
}
