//! A client that is to restart: its work moves away first, and comes back when it is well again.
//!
//! The node's own secret is enough for both, also with ACLs on: it may drain itself, and the end of a drain may make it eligible.
//!
//! What an operator does with the node meanwhile wins, as far as Nomad shows it: a drain of theirs takes the place of this one's as the
//! last, a drain that they end is canceled, and an eligibility that they take away is an event. One that is not there cannot be taken
//! away: Nomad remembers nothing then.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::nomad::{Local, NEWS, refusal};
use crate::{node::nomad::api::Answer, update::turn::Turn};

const NEEDED: &str = "`node { policy = \"write\" }`";
/// An event of a node in Nomad.
const INELIGIBLE: &str = "Node marked as ineligible for scheduling";
/// What is said when the node takes work.
const BACK: &str = ", and this client is eligible";
/// What begins the events of a drain in Nomad, from its start to its end.
const DRAIN: &str = "Node drain ";

/// What Nomad remembers with the drain.
fn message(turn: &Turn) -> String {
    format!("Steppe restarts into {}", turn.version)
}

/// Drains the node and waits for the end of it; `alive` is called now and then. Gives whether it is drained: not when an operator
/// ended it.
pub(super) fn drain(
    nomad: &Local,
    turn: &mut Turn,
    dir: &Path,
    deadline: Duration,
    mut alive: impl FnMut(&mut Turn) -> Result<(), String>,
) -> Result<bool, String> {
    let (id, secret) = nomad.node()?;
    let path = format!("/v1/node/{id}");
    let mut node = read(&nomad.ask(None, &path, Some(&secret))?)?;
    // One that was begun may have been ended while nobody looked.
    let ended = turn.eligible.is_some() && is_ours(&node, turn) && is_canceled(&node);
    if turn.eligible.is_none() {
        turn.eligible = Some(node["SchedulingEligibility"] == "eligible");
        turn.write(dir)?;
    }
    if node["Drain"] != true && !ended {
        let nanoseconds = u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX);
        let body = json!({
            "DrainSpec": { "Deadline": nanoseconds, "IgnoreSystemJobs": false },
            "Meta": { "message": message(turn) },
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
    let canceled = is_canceled(&node);
    if canceled {
        // The node is theirs from here on.
        turn.eligible = None;
        turn.write(dir)?;
    }
    Ok(!canceled)
}

/// Whether the last drain was for that turn's version.
fn is_ours(node: &Value, turn: &Turn) -> bool {
    node["LastDrain"]["Meta"]["message"] == message(turn)
}

/// Whether somebody ended the last drain before the work had moved.
fn is_canceled(node: &Value) -> bool {
    node["LastDrain"]["Status"] == "canceled"
}

fn read(answer: &Answer) -> Result<Value, String> {
    answer.json().ok_or_else(|| refusal(answer, "read the node", NEEDED))
}

/// Makes the node as eligible as it was, unless an operator did something with it since; says which.
pub(super) fn come_back(nomad: &Local, turn: &Turn) -> Result<&'static str, String> {
    let Some(eligible) = turn.eligible else { return Ok("") };
    let (id, secret) = nomad.node()?;
    let path = format!("/v1/node/{id}");
    let answer = nomad.ask(None, &path, Some(&secret))?;
    // A node that the servers do not know is new to them, and eligible.
    if answer.body.contains("node not found") {
        return Ok("");
    }
    let node = read(&answer)?;
    if node["SchedulingEligibility"] == "eligible" {
        return Ok(BACK);
    }
    if !is_left(&node, turn) {
        return Ok(", and this client stays ineligible, as an operator wants it");
    }
    let body = json!({ "DrainSpec": null, "MarkEligible": eligible }).to_string();
    let answer = nomad.ask(Some(&body), &format!("{path}/drain"), Some(&secret))?;
    if answer.status != 200 {
        return Err(refusal(&answer, "make the node eligible again", NEEDED));
    }
    Ok(if eligible { BACK } else { "" })
}

/// Whether the node is as the drain for that turn has left it.
fn is_left(node: &Value, turn: &Turn) -> bool {
    let events = node["Events"].as_array().map_or(&[][..], Vec::as_slice);
    let text = |event: &Value| event["Message"].as_str().map(str::to_owned).unwrap_or_default();
    let since = events.iter().rev().map(text).take_while(|text| !text.starts_with(DRAIN));
    is_ours(node, turn) && !is_canceled(node) && !since.into_iter().any(|text| text == INELIGIBLE)
}
