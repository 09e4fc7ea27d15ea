//! The join guard: a server that found only itself when it first looked never looks again (contract 74). The agent
//! sees that it has too few peers and asks it to join the other names.

use std::time::Duration;

use serde_json::Value;

use super::api::Api;

/// First pause between two attempts.
const FIRST: Duration = Duration::from_secs(3);
/// Longest pause.
const LONGEST: Duration = Duration::from_secs(60);

/// Decides when to ask a server to join its peers.
#[derive(Debug, Clone)]
pub struct Guard {
    names: Vec<String>,
    expect: usize,
    pause: Duration,
    next: Duration,
    attempts: u32,
}

/// What the guard did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// For people.
    pub line: String,
    /// One of the first: later ones are not worth a line on the console, because a peer may be down for days.
    pub early: bool,
}

/// Attempts that the console shows.
const EARLY: u32 = 3;

impl Guard {
    /// A guard for a server whose configuration names peers; `None` when it names none or expects none.
    #[must_use]
    pub fn new(names: &[String], expect: Option<u32>, now: Duration) -> Option<Self> {
        let names: Vec<String> = names.iter().filter(|name| is_address(name)).cloned().collect();
        let expect = usize::try_from(expect?).ok()?;
        (expect > 1 && !names.is_empty()).then_some(Self {
            names,
            expect,
            pause: FIRST,
            next: now + FIRST,
            attempts: 0,
        })
    }

    /// Looks, and asks when it is time and peers are missing. Returns what was done, for people.
    pub fn step(&mut self, api: &Api, now: Duration) -> Option<Attempt> {
        if now < self.next {
            return None;
        }
        let Some(answer) = api.get("/v1/agent/members") else {
            self.next = now + FIRST;
            return None;
        };
        // With ACLs on (403) there is nothing to see; such a cluster has formed before, and heals by itself.
        let alive = answer.json().as_ref().map_or(usize::MAX, alive);
        if alive >= self.expect {
            *self = Self { pause: FIRST, next: now + LONGEST, attempts: 0, ..self.clone() };
            return None;
        }
        self.attempts += 1;
        self.next = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST);
        let query: Vec<String> = self.names.iter().map(|name| format!("address={}", encode(name))).collect();
        let joined = api
            .put(&format!("/v1/agent/join?{}", query.join("&")))
            .and_then(|answer| answer.json())
            .and_then(|json| json["num_joined"].as_u64())
            .unwrap_or(0);
        let line = format!(
            "{alive} of {} servers are known: asked Nomad to join {}; it reached {joined}",
            self.expect,
            self.names.join(", ")
        );
        Some(Attempt { line, early: self.attempts <= EARLY })
    }
}

/// Names and addresses only: `provider=...` is for Nomad's own discovery.
pub(crate) fn is_address(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', ' ', '{', '/'])
}

fn alive(members: &Value) -> usize {
    let members = members["Members"].as_array().map(Vec::as_slice).unwrap_or_default();
    members.iter().filter(|member| member["Status"] == "alive").count()
}

/// The few characters of addresses that a query does not take as they are.
fn encode(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-._:".contains(c) { c.to_string() } else { percent(c) })
        .collect()
}

fn percent(c: char) -> String {
    let mut buffer = [0; 4];
    c.encode_utf8(&mut buffer).bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::node::testing::serve;

    const S: Duration = Duration::from_secs(1);

    fn members(alive: usize) -> String {
        let member =
            |n| format!(r#"{{"Name":"s{n}.global","Status":"{}"}}"#, if n < alive { "alive" } else { "failed" });
        format!(r#"{{"Members":[{}]}}"#, (0..3).map(member).collect::<Vec<_>>().join(","))
    }

    /// Without the guard nobody would ever call `join`.
    #[test]
    fn a_lonely_server_is_asked_to_join_until_it_has_its_peers() {
        let state = Arc::new(Mutex::new((1_usize, Vec::<String>::new())));
        let shared = Arc::clone(&state);
        let server = serve(move |path| {
            let mut state = shared.lock().unwrap();
            if path.starts_with("/v1/agent/join") {
                state.1.push(path.to_owned());
                if state.1.len() == 2 {
                    state.0 = 3;
                }
                return (200, r#"{"num_joined":2,"error":""}"#.into());
            }
            (200, members(state.0))
        });
        let api = Api::new(&server.address().to_string(), 5 * S);
        let names = ["server-vm-0".to_owned(), "[fd00::1]:4648".to_owned(), "provider=aws a=b".to_owned()];
        let mut guard = Guard::new(&names, Some(3), Duration::ZERO).unwrap();
        assert_eq!(guard.step(&api, S), None, "Nomad's own attempt comes first");
        let attempt = guard.step(&api, 3 * S).unwrap();
        assert!(attempt.early && attempt.line.contains("1 of 3"), "{attempt:?}");
        assert_eq!(guard.step(&api, 4 * S), None, "attempts are spaced");
        assert!(guard.step(&api, 6 * S).is_some());
        assert_eq!(guard.step(&api, 100 * S), None, "all are there");
        let calls = state.lock().unwrap().1.clone();
        assert_eq!(calls, ["/v1/agent/join?address=server-vm-0&address=%5Bfd00::1%5D:4648"; 2]);
    }

    #[test]
    fn no_guard_without_peers() {
        assert!(Guard::new(&["a".into()], Some(1), S).is_none());
        assert!(Guard::new(&["a".into()], None, S).is_none());
        assert!(Guard::new(&["provider=aws x=y".into()], Some(3), S).is_none());
    }
}
