//! The word that a version failed: a node whose trial of it failed leaves it for the others, which hold back.
//!
//! It is an item of the variable `steppe/update/<role>`: its key is the version, its value the node, the time and the reason. Whoever
//! has read the variable last may write it (check-and-set), so that no word is lost.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::{
    nomad::{Local, refusal},
    turn::{NEEDED, TURNS},
};
use crate::{
    node::nomad::remains::date,
    update::{record::Record, version::Version},
};

/// How many words are kept. A channel goes forward, so that the lowest version is the one that nobody misses.
const MOST: usize = 8;
/// Longest word that is shown or left, in characters.
const LONGEST: usize = 300;

fn path(role: &str) -> String {
    format!("steppe/update/{role}")
}

/// What the variable has, and its index; nothing and 0 when there is none.
fn read(nomad: &Local, role: &str) -> Result<(Map<String, Value>, u64), String> {
    let answer = nomad.ask(None, &format!("/v1/var/{}", path(role)), None)?;
    if answer.status == 404 {
        return Ok((Map::new(), 0));
    }
    let mut variable = answer.json().ok_or_else(|| refusal(&answer, TURNS, NEEDED))?;
    let index = variable["ModifyIndex"].as_u64().unwrap_or(0);
    Ok((variable["Items"].as_object_mut().map(std::mem::take).unwrap_or_default(), index))
}

/// The word about a version, with the way out.
pub(super) fn about(nomad: &Local, role: &str, version: &Version) -> Result<Option<String>, String> {
    let (items, _) = read(nomad, role)?;
    let word = items.get(&version.to_string()).map(|word| plain(word.as_str().unwrap_or_default()));
    Ok(word.map(|word| {
        format!(
            "it failed on {word}. A newer version in the channel is taken, or this one after `nomad var purge {}`",
            path(role)
        )
    }))
}

/// Leaves the word of `node` about the version of its record, unless there is one.
pub(super) fn leave(nomad: &Local, role: &str, node: &str, record: &Record) -> Result<(), String> {
    let (mut items, index) = read(nomad, role)?;
    let version = record.version.to_string();
    if items.contains_key(&version) {
        return Ok(());
    }
    while items.len() >= MOST {
        let lowest = items.keys().min_by_key(|key| key.parse::<Version>().ok()).cloned();
        lowest.and_then(|lowest| items.remove(&lowest));
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    items.insert(version, plain(&format!("{node} at {}: {}", date(since), record.summary())).into());
    let body = json!({ "Items": items }).to_string();
    let answer = nomad.ask(Some(&body), &format!("/v1/var/{}?cas={index}", path(role)), None)?;
    match answer.status {
        200 => Ok(()),
        409 => Err("a moment in which no other node leaves a word".into()),
        _ => Err(refusal(&answer, "tell the other nodes that it failed", NEEDED)),
    }
}

/// One line without control characters: other nodes wrote it.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}
