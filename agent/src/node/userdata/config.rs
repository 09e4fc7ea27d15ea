//! One configuration out of all that a datasource handed over: parts are unfolded, read, and joined; what the vendor
//! says comes after what the user says.

use std::collections::HashSet;

use super::{
    finding::{Finding, Position, Verdict},
    merge::Rules,
    parts::{self, Fetch, Machine, Part, Variables},
    texts::{Texts, USER_DATA},
    yaml::{self, Document, Kind, Node, Scalar, Value},
};
use crate::node::seed::Seed;

/// Values in all parts together. One part has a limit of its own.
const MAX_NODES: usize = 200_000;
/// What a person calls the vendor-data; each is switched off by the key of its name with an underscore.
const VENDOR: [(&str, &str); 2] = [("vendor-data", "vendor_data"), ("vendor-data2", "vendor_data2")];
/// Written by a part that wants its lists behind those of earlier parts.
const JOIN: &str = "merge_how: list(append)+dict(no_replace,recurse_list)+str()";

/// What came out.
pub(super) struct Config {
    /// The keys, and those that stand twice in a part.
    pub(super) document: Document,
    /// Where they stand.
    pub(super) texts: Texts,
    /// What is wrong with the formats; places are final.
    pub(super) notes: Vec<Finding>,
    /// What is wrong with the parts; places count through [`Config::texts`].
    pub(super) findings: Vec<Finding>,
    /// Whether something could not be fetched.
    pub(super) unfetched: bool,
}

impl Config {
    /// The keys, when there are any.
    pub(super) fn root(&self) -> Option<&Node> {
        self.document.root.as_ref()
    }
}

/// Puts everything together.
pub(super) fn assemble(seed: &Seed, fetch: &mut Fetch<'_>) -> Config {
    let mut assembler = Assembler {
        machine: Machine { launch_index: seed.metadata.launch_index, variables: Variables::of(seed) },
        nodes: 0,
        config: Config {
            document: Document { root: None, duplicates: Vec::new() },
            texts: Texts::default(),
            notes: Vec::new(),
            findings: Vec::new(),
            unfetched: false,
        },
    };
    let mut root = assembler.source(USER_DATA, &seed.user_data, fetch);
    let wanted: Vec<_> = seed
        .vendor_data
        .iter()
        .zip(VENDOR)
        .filter(|(payload, (label, key))| !payload.is_empty() && assembler.wants(root.as_ref(), label, key))
        .collect();
    // Of the vendor's, the later one wins.
    for (payload, (label, _)) in wanted.into_iter().rev() {
        let Some(vendor) = assembler.source(label, payload, fetch) else { continue };
        root = Some(match root {
            Some(root) => assembler.join(&Rules::SOURCES, root, vendor),
            None => vendor,
        });
    }
    assembler.config.document.root = root;
    assembler.config
}

/// The texts that places in findings count in: by the part that [`Finding::part`] names, none for plain user-data.
#[must_use]
pub fn texts(seed: &Seed, fetch: &mut Fetch<'_>) -> Vec<(Option<String>, String)> {
    let machine = Machine { launch_index: seed.metadata.launch_index, variables: Variables::of(seed) };
    let sources = std::iter::once((USER_DATA, &seed.user_data))
        .chain(VENDOR.map(|(label, _)| label).into_iter().zip(&seed.vendor_data));
    let mut texts = Vec::new();
    for (label, payload) in sources {
        for part in parts::expand(label, payload, &machine, fetch).parts {
            texts.push(((part.label != USER_DATA).then_some(part.label), part.text));
        }
    }
    // A payload that is no text of keys is shown as it is.
    if texts.is_empty()
        && let Ok(text) = std::str::from_utf8(&seed.user_data)
    {
        texts.push((None, text.to_owned()));
    }
    texts
}

/// Whether a place is in vendor-data.
pub(super) fn is_vendors(label: &str) -> bool {
    label.starts_with(VENDOR[0].0)
}

struct Assembler {
    machine: Machine,
    nodes: usize,
    config: Config,
}

impl Assembler {
    /// The configuration of one source.
    fn source(&mut self, label: &str, payload: &[u8], fetch: &mut Fetch<'_>) -> Option<Node> {
        let expansion = parts::expand(label, payload, &self.machine, fetch);
        self.config.notes.extend(expansion.findings);
        self.config.unfetched |= expansion.unfetched;
        let mut root: Option<Node> = None;
        for part in expansion.parts {
            let Some(mut node) = self.part(&part) else { continue };
            let Ok(rules) = self.rules(&mut node, &part, root.is_none()) else { continue };
            root = Some(match root {
                None => node,
                Some(root) => {
                    if rules.is_none() {
                        self.warn_of_loss(&root, &node, &part.label);
                    }
                    self.join(&rules.unwrap_or(Rules::PARTS), root, node)
                }
            });
        }
        root
    }

    /// Reads a part; `None` when nothing is in it, or nothing for this machine, or it is refused.
    fn part(&mut self, part: &Part) -> Option<Node> {
        let before = self.config.texts.add(&part.label, &part.text);
        let document = match yaml::load_behind(&part.text, before) {
            Ok(document) => document,
            Err(error) => {
                self.refuse(error.at, "", error.message);
                return None;
            }
        };
        let root = document.root.filter(|root| !root.is_null())?;
        self.nodes += root.count();
        if self.nodes > MAX_NODES {
            self.refuse(root.at, "", format!("with the parts before it, holds more than {MAX_NODES} values"));
            return None;
        }
        self.config.document.duplicates.extend(document.duplicates);
        if root.mapping().is_none() {
            self.refuse(root.at, "", format!("a #cloud-config must be a map of keys, not {}", root.describe()));
            return None;
        }
        let index = root.get("launch-index").filter(|_| part.headers.launch_index.is_none());
        if let Some(index) = index.filter(|index| !index.is_null()) {
            match parts::for_this_machine(index.text().unwrap_or(""), self.machine.launch_index) {
                Ok(None) => {}
                Ok(Some(why)) => {
                    self.say(Verdict::Ignored, index.at, "", why);
                    return None;
                }
                Err(why) => {
                    self.refuse(index.at, "launch-index", why);
                    return None;
                }
            }
        }
        Some(root)
    }

    /// How a part says that it joins: its own keys first, then its headers. `Ok(None)`: it says nothing.
    fn rules(&mut self, node: &mut Node, part: &Part, first: bool) -> Result<Option<Rules>, ()> {
        let mut rules = Rules::default();
        let mut from_body = take_merger(node);
        let mut result = match &from_body {
            Some((_, value)) => rules.parse_node(value),
            None => Ok(()),
        };
        if result.is_ok() {
            from_body = from_body.filter(|_| rules != Rules::default());
            result = rules.parse_text(part.headers.merge_type.as_deref().unwrap_or(""));
        }
        let place = from_body.as_ref().map_or((node.at, "Merge-Type"), |(key, _)| (key.at, key.text().unwrap_or("")));
        if let Err(why) = result {
            self.refuse(place.0, place.1, why);
            return Err(());
        }
        if rules == Rules::default() {
            return Ok(None);
        }
        if !rules.joins_maps() {
            let why = "names no merger for maps, so that nothing of this part would count: add dict(...)";
            self.refuse(place.0, place.1, why);
            return Err(());
        }
        if first {
            self.say(Verdict::Ignored, place.0, place.1, "no part stands before this one, so there is nothing to join");
        } else {
            self.say(Verdict::Applied, place.0, place.1, "takes effect");
        }
        Ok(Some(rules))
    }

    /// Without a merger, a key of a later part puts the whole list of an earlier one away: what cloud-init does, and
    /// what hardly anybody means.
    fn warn_of_loss(&mut self, old: &Node, new: &Node, label: &str) {
        let later: HashSet<&str> = names(new).collect();
        for (key, value) in old.mapping().unwrap_or_default() {
            let name = key.text().unwrap_or("");
            if value.sequence().is_some_and(|items| !items.is_empty()) && later.contains(name) {
                let message = format!("{label} replaces the whole list; to join both lists, write there `{JOIN}`");
                self.say(Verdict::Ignored, key.at, name, message);
            }
        }
    }

    fn join(&mut self, rules: &Rules, old: Node, new: Node) -> Node {
        let mut conflicts = Vec::new();
        let joined = rules.merge(old, new, &mut conflicts);
        for (at, why) in conflicts {
            self.refuse(at, "", why);
        }
        joined
    }

    /// Whether vendor-data is wanted, by what the user says.
    fn wants(&mut self, user: Option<&Node>, label: &str, key: &str) -> bool {
        let Some(node) = user.and_then(|root| root.get(key)) else { return true };
        let on = |scalar: &Scalar| match scalar.kind {
            Kind::Bool(on) => on,
            _ => ["true", "1", "on", "yes"].contains(&scalar.text.to_ascii_lowercase().as_str()),
        };
        let wanted = match &node.value {
            Value::Mapping(_) => node.get("enabled").is_none_or(|enabled| enabled.scalar().is_some_and(on)),
            _ => false,
        };
        if !wanted {
            let mut finding = Finding::new(Verdict::Ignored, Position::START, "", format!("switched off by {key}"));
            finding.part = Some(label.to_owned());
            self.config.notes.push(finding);
        }
        wanted
    }

    fn refuse(&mut self, at: Position, key: &str, message: impl Into<String>) {
        self.say(Verdict::Refused, at, key, message);
    }

    fn say(&mut self, verdict: Verdict, at: Position, key: &str, message: impl Into<String>) {
        self.config.findings.push(Finding::new(verdict, at, key, message));
    }
}

/// Takes `merge_how`, else `merge_type`, out of a configuration: it is about the part, not about the machine.
fn take_merger(node: &mut Node) -> Option<(Node, Node)> {
    let Value::Mapping(entries) = &mut node.value else { return None };
    for name in ["merge_how", "merge_type"] {
        if let Some(n) = entries.iter().position(|(key, _)| key.text() == Some(name)) {
            let entry = entries.remove(n);
            if !entry.1.is_null() {
                return Some(entry);
            }
        }
    }
    None
}

fn names(node: &Node) -> impl Iterator<Item = &str> {
    node.mapping().unwrap_or_default().iter().filter_map(|(key, _)| key.text())
}

#[cfg(test)]
mod tests;
