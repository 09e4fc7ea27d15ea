//! A client that is to restart: its work moves away first, and comes back when it is well again.
//!
//! The node's own secret is enough for both, also with ACLs on: it may drain itself, and the end of a drain may make it eligible.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::nomad::{Local, NEWS, refusal};
use crate::{node::nomad::api::Answer, update::turn::Turn};

const NEEDED: &str = "`node { policy = \"write\" }`";

/// Drains the node and waits for the end of it; `alive` is called now and then.
pub(super) fn drain(
    nomad: &Local,
    turn: &mut Turn,
    dir: &Path,
    deadline: Duration,
    mut alive: impl FnMut(&mut Turn) -> Result<(), String>,
) -> Result<(), String> {
    let (id, secret) = nomad.node()?;
    let path = format!("/v1/node/{id}");
    let mut node = read(&nomad.ask(None, &path, Some(&secret))?)?;
    if turn.eligible.is_none() {
        turn.eligible = Some(node["SchedulingEligibility"] == "eligible");
        turn.write(dir)?;
    }
    if node["Drain"] != true {
        let nanoseconds = u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX);
        let body = json!({
            "DrainSpec": { "Deadline": nanoseconds, "IgnoreSystemJobs": false },
            "Meta": { "message": format!("Steppe restarts into {}", turn.version) },
        });
        let answer = nomad.ask(Some(&body.to_string()), &format!("{path}/drain"), Some(&secret))?;
        if answer.status != 200 {
            return Err(refusal(&answer, "drain the node", NEEDED));
        }
        node = read(&nomad.ask(None, &path, Some(&secret))?)?;
    }
    while node["Drain"] == true {
        alive(turn)?;
        let index = node["ModifyIndex"].as_u64().unwrap_or(0);
        node = read(&nomad.news(&path, index, NEWS, Some(&secret))?)?;
    }
    Ok(())
}

fn read(answer: &Answer) -> Result<Value, String> {
    answer.json().ok_or_else(|| refusal(answer, "read the node", NEEDED))
}

/// Makes the node as eligible as it was.
pub(super) fn come_back(nomad: &Local, turn: &Turn) -> Result<(), String> {
    let Some(eligible) = turn.eligible else { return Ok(()) };
    let (id, secret) = nomad.node()?;
    let body = json!({ "DrainSpec": null, "MarkEligible": eligible }).to_string();
    let answer = nomad.ask(Some(&body), &format!("/v1/node/{id}/drain"), Some(&secret))?;
    // A node that the servers do not know is new to them, and eligible.
    if answer.status == 200 || answer.body.contains("node not found") {
        return Ok(());
    }
    Err(refusal(&answer, "make the node eligible again", NEEDED))
}
