//! `## template: jinja`: a `#cloud-config` with places that the metadata fills in (`handlers/jinja_template.py`).
//!
//! The part of Jinja that configurations use: variables, the filters and tests of [`filter`], `if`, `for`, `set`, `raw`
//! and comments. What else there is in Jinja is an error with its place, never something else than Jinja makes of it.

mod evaluate;
mod expression;
mod filter;
mod scan;
mod token;

use serde_json::{Map, Value};

use crate::node::{seed::Seed, userdata::finding::Position};

/// Blocks inside each other, and brackets inside each other: what the stack of the node's sequence holds in a debug
/// build, and far more than anybody writes.
const MAX_DEPTH: usize = 12;

/// Why a template cannot be filled in: the byte at which it shows, and the reason. No value of a variable is in it.
type Wrong = (usize, String);

/// What templates may name.
pub(in crate::node::userdata) struct Variables(Value);

impl Variables {
    /// `v1.*` (also without `v1.`), `ds.meta_data.*`, and of our own `ds.private_ipv4` and `ds.public_ipv4`. What a
    /// datasource does not know is not there.
    pub(in crate::node::userdata) fn of(seed: &Seed) -> Self {
        let metadata = &seed.metadata;
        let mut v1 = Map::new();
        let named = |value: &str| Some(value.to_owned()).filter(|value| !value.is_empty());
        for (name, value) in [
            ("availability_zone", metadata.availability_zone.clone()),
            ("cloud_id", named(&seed.platform)),
            ("cloud_name", named(&seed.platform)),
            ("distro", named("steppe")),
            ("distro_version", named(env!("CARGO_PKG_VERSION"))),
            ("instance_id", metadata.instance_id.clone()),
            ("local_hostname", metadata.local_hostname.clone()),
            ("platform", named(&seed.platform)),
            ("region", metadata.region.clone()),
            ("subplatform", named(&seed.source)),
        ] {
            if let Some(value) = value {
                v1.insert(name.replace('_', "-"), value.clone().into());
                v1.insert(name.to_owned(), value.into());
            }
        }
        v1.insert("public_ssh_keys".into(), metadata.public_keys.clone().into());
        let mut ds = Map::new();
        ds.insert("meta_data".into(), metadata.document.clone());
        for (name, value) in [("private_ipv4", &metadata.private_ipv4), ("public_ipv4", &metadata.public_ipv4)] {
            if let Some(value) = value {
                ds.insert(name.into(), value.clone().into());
            }
        }
        let mut all = v1.clone();
        all.insert("v1".into(), v1.into());
        all.insert("ds".into(), ds.into());
        Self(Value::Object(all))
    }
}

/// Fills a template in; `limit` bounds what comes out, in bytes. The template's header becomes an empty line, so that
/// lines above the first loop count as in the template.
///
/// # Errors
/// The place and why.
pub(super) fn render(text: &str, variables: &Variables, limit: usize) -> Result<String, (Position, String)> {
    // The header is in the first line that is not empty.
    let start = text.len() - text.trim_start().len();
    let end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let filled = scan::parse(text, end).and_then(|nodes| evaluate::run(&nodes, &variables.0, limit));
    match filled {
        Ok(filled) => Ok(format!("{}{filled}", &text[..start])),
        Err((at, why)) => Err((place(text, at), why)),
    }
}

fn place(text: &str, at: usize) -> Position {
    let before = &text[..text.floor_char_boundary(at)];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Position { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
}

#[cfg(test)]
mod tests;
