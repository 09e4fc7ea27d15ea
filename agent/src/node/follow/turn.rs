//! Whose turn it is: a lock on a variable of Nomad, `steppe/update/<role>-<number>`.
//!
//! The lock's id is this node's choice and is kept before it is used, so that it can be given back after any restart. Nomad takes
//! the lock from a node that does not renew it; it counts twice the time that the lock has.

use std::{fs::File, io::Read as _, path::Path, time::Duration};

use serde_json::{Value, json};

use super::{
    nomad::{Local, NEWS, refusal},
    word::plain,
};
use crate::{
    node::nomad::api::Answer,
    update::{manifest::hex, turn::Turn, version::Version},
    warning,
};

/// Enough to drain, to restart three times, and to fall back.
const TTL: &str = "30m";
/// What a policy needs for it.
pub(super) const NEEDED: &str =
    "`namespace \"default\" { variables { path \"steppe/update/*\" { capabilities = [\"read\", \"write\"] } } }`";
/// The permission, for people.
pub(super) const TURNS: &str = "take turns";

/// Takes turns.
#[derive(Debug)]
pub(super) struct Turns {
    /// `server`, `client`.
    pub(super) role: &'static str,
    /// How many turns there are.
    pub(super) at_once: u32,
    /// Who takes them, for people.
    pub(super) holder: String,
    /// The index of the variable when another node had the turn.
    pub(super) seen: Option<u64>,
}

impl Turns {
    fn path(&self, number: u32) -> String {
        format!("steppe/update/{}-{number}", self.role)
    }

    /// A turn to ask for.
    pub(super) fn fresh(&self, version: &Version) -> Result<Turn, String> {
        let mut id = [0; 32];
        let random = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut id[..16]));
        random.map_err(|why| format!("random numbers ({why})"))?;
        let id = hex(&id[..16]);
        // Nomad's ids look like this; it takes any.
        let id = format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]);
        Ok(Turn { version: version.clone(), path: self.path(0), id, eligible: None })
    }

    /// Has the turn, from now on or for longer; else says what is awaited. Waits for news of another's turn, for `patience`.
    pub(super) fn hold(
        &mut self,
        nomad: &Local,
        turn: &mut Turn,
        dir: &Path,
        patience: Duration,
    ) -> Result<(), String> {
        let lock = json!({ "Lock": { "ID": turn.id } }).to_string();
        let renewed = nomad.ask(Some(&lock), &format!("/v1/var/{}?lock-renew", turn.path), None)?;
        if renewed.status == 200 {
            return Ok(());
        }
        let first = format!("/v1/var/{}", self.path(0));
        let known = match self.seen {
            Some(index) => nomad.news(&first, index, patience.min(NEWS), None)?,
            None => nomad.ask(None, &first, None)?,
        };
        if !matches!(known.status, 200 | 404) {
            return Err(refusal(&known, TURNS, NEEDED));
        }
        let known: Value = serde_json::from_str(&known.body).unwrap_or_default();
        let lock = json!({ "Lock": { "ID": turn.id, "TTL": TTL }, "Items": { "holder": self.holder } }).to_string();
        for number in 0..self.at_once {
            let path = self.path(number);
            let answer = nomad.ask(Some(&lock), &format!("/v1/var/{path}?lock-acquire"), None)?;
            match answer.status {
                200 => {
                    self.seen = None;
                    if turn.path != path {
                        turn.path = path;
                        turn.write(dir)?;
                    }
                    return Ok(());
                }
                409 => {}
                _ => return Err(refusal(&answer, TURNS, NEEDED)),
            }
        }
        self.seen = known["ModifyIndex"].as_u64();
        let holder = known["Items"]["holder"].as_str().filter(|holder| *holder != self.holder);
        Err(format!("{} has it", plain(holder.unwrap_or("another node"))))
    }
}

/// Gives the turn back. What is not this node's any more is no error.
pub(super) fn release(nomad: &Local, turn: &Turn) -> Result<(), String> {
    let lock = json!({ "Lock": { "ID": turn.id } }).to_string();
    let answer = nomad.ask(Some(&lock), &format!("/v1/var/{}?lock-release", turn.path), None)?;
    if is_released(&answer) {
        return Ok(());
    }
    let why = refusal(&answer, "give its turn back", NEEDED);
    if answer.status == 403 {
        // Nomad takes it back in time.
        warning!("channel: waited for {why}");
        return Ok(());
    }
    Err(why)
}

/// Whether the lock is not this node's, or not there: Nomad has a 500 for the latter.
fn is_released(answer: &Answer) -> bool {
    matches!(answer.status, 200 | 404 | 409) || answer.body.contains("variable doesn't")
}
