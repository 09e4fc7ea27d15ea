//! From the parser's events to a tree, with limits: the text comes from outside.

use std::{borrow::Cow, collections::HashMap};

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::{Kind, Node, Scalar, Value, resolve};
use crate::node::userdata::finding::Position;

/// Nesting deeper than this is refused.
const MAX_DEPTH: usize = 64;
/// More nodes than this (aliases count as often as they are used) are refused.
const MAX_NODES: usize = 100_000;
/// More text than this, aliases counted as often as they are used, is refused.
const MAX_TEXT: usize = 16 << 20;

/// A document and what was noticed on the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The root; `None` when the text holds no document.
    pub root: Option<Node>,
    /// Keys that stand twice in one map: name and place of the later one.
    pub duplicates: Vec<(String, Position)>,
}

/// Why a text is not YAML, or more than this program reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LoadError {
    /// Where.
    pub at: Position,
    /// Why.
    pub message: String,
}

/// Parses one document.
///
/// # Errors
/// When the text is not YAML, holds more than one document, or exceeds a limit.
pub fn load(text: &str) -> Result<Document, LoadError> {
    load_behind(text, 0)
}

/// The same of a text that stands behind others: all lines count from the first of them.
pub(in crate::node::userdata) fn load_behind(text: &str, lines: usize) -> Result<Document, LoadError> {
    let mut loader = Loader {
        lines,
        stack: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        bytes: 0,
        root: None,
        duplicates: Vec::new(),
    };
    let mut documents = 0;
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| LoadError {
            at: Position { line: lines + error.marker().line(), column: error.marker().col() + 1 },
            message: format!("not YAML: {}", error.info()),
        })?;
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
            if documents > 1 {
                return Err(fail(
                    position(&span, lines),
                    "a second YAML document starts here: put everything into one",
                ));
            }
        }
        loader.event(event, &span)?;
    }
    Ok(Document { root: loader.root, duplicates: loader.duplicates })
}

fn position(span: &Span, lines: usize) -> Position {
    Position { line: lines + span.start.line(), column: span.start.col() + 1 }
}

fn fail(at: Position, message: impl Into<String>) -> LoadError {
    LoadError { at, message: message.into() }
}

/// A collection whose end has not come yet.
enum Open {
    Sequence { at: Position, anchor: usize, items: Vec<Node> },
    Mapping { at: Position, anchor: usize, entries: Vec<(Node, Node)>, key: Option<Node> },
}

struct Loader {
    /// Lines in front of the text.
    lines: usize,
    stack: Vec<Open>,
    /// Finished anchored nodes, with the nodes and bytes that each use costs.
    anchors: HashMap<usize, (Node, usize, usize)>,
    nodes: usize,
    bytes: usize,
    root: Option<Node>,
    duplicates: Vec<(String, Position)>,
}

impl Loader {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), LoadError> {
        let at = position(span, self.lines);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(at, 1, text.len())?;
                let scalar = scalar(text, style, tag.as_deref(), at)?;
                self.finish(Node { at, value: Value::Scalar(scalar) }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                collection_tag(tag.as_deref(), "seq", at)?;
                self.open(Open::Sequence { at, anchor, items: Vec::new() }, at)
            }
            Event::MappingStart(anchor, tag) => {
                collection_tag(tag.as_deref(), "map", at)?;
                self.open(Open::Mapping { at, anchor, entries: Vec::new(), key: None }, at)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.stack.pop() {
                Some(Open::Sequence { at, anchor, items }) => {
                    self.finish(Node { at, value: Value::Sequence(items) }, anchor)
                }
                Some(Open::Mapping { at, anchor, entries, .. }) => {
                    let entries = self.settle(entries)?;
                    self.finish(Node { at, value: Value::Mapping(entries) }, anchor)
                }
                None => Err(fail(at, "not YAML: a collection ends that did not start")),
            },
            Event::Alias(anchor) => {
                let Some((node, nodes, bytes)) = self.anchors.get(&anchor) else {
                    return Err(fail(at, "an alias refers to something that is not complete yet"));
                };
                let (node, nodes, bytes) = (node.clone(), *nodes, *bytes);
                self.count(at, nodes, bytes)?;
                self.finish(node, 0)
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
        }
    }

    fn open(&mut self, open: Open, at: Position) -> Result<(), LoadError> {
        self.count(at, 1, 0)?;
        if self.stack.len() >= MAX_DEPTH {
            return Err(fail(at, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.stack.push(open);
        Ok(())
    }

    fn count(&mut self, at: Position, nodes: usize, bytes: usize) -> Result<(), LoadError> {
        self.nodes += nodes;
        self.bytes += bytes;
        if self.nodes > MAX_NODES || self.bytes > MAX_TEXT {
            return Err(fail(at, format!("larger than {MAX_NODES} values or {MAX_TEXT} bytes of text")));
        }
        Ok(())
    }

    /// Puts a complete node where it belongs.
    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), LoadError> {
        if anchor != 0 {
            let (nodes, bytes) = weigh(&node);
            self.count(node.at, nodes, bytes)?;
            self.anchors.insert(anchor, (node.clone(), nodes, bytes));
        }
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Open::Sequence { items, .. }) => items.push(node),
            Some(Open::Mapping { entries, key, .. }) => match key.take() {
                None => *key = Some(node),
                Some(key) => entries.push((key, node)),
            },
        }
        Ok(())
    }

    /// Unfolds merge keys and lets the last of equal keys win.
    fn settle(&mut self, entries: Vec<(Node, Node)>) -> Result<Vec<(Node, Node)>, LoadError> {
        let mut merged = Vec::new();
        let mut own = Vec::new();
        for (key, value) in entries {
            let is_merge = key.scalar().is_some_and(|s| s.kind == Kind::Merge);
            if !is_merge {
                own.push((key, value));
                continue;
            }
            let at = value.at;
            match value.value {
                Value::Mapping(entries) => merged.extend(entries),
                // Of several sources the first wins, so they are laid down in reverse.
                Value::Sequence(items) => {
                    for item in items.into_iter().rev() {
                        let Value::Mapping(entries) = item.value else {
                            return Err(fail(at, "the merge key << takes maps only"));
                        };
                        merged.extend(entries);
                    }
                }
                Value::Scalar(_) => return Err(fail(at, "the merge key << takes a map or a list of maps")),
            }
        }
        let mut out: Vec<(Node, Node)> = Vec::with_capacity(merged.len() + own.len());
        let mut index: HashMap<String, usize> = HashMap::new();
        let first_own = merged.len();
        let mut seen_own = std::collections::HashSet::new();
        for (n, (key, value)) in merged.into_iter().chain(own).enumerate() {
            let Some(text) = key.scalar().map(|s| s.text.clone()) else {
                return Err(fail(key.at, "a key of a map must be a scalar"));
            };
            if n >= first_own && !seen_own.insert(text.clone()) {
                self.duplicates.push((text.clone(), key.at));
            }
            match index.get(&text) {
                Some(&place) => out[place] = (key, value),
                None => {
                    index.insert(text, out.len());
                    out.push((key, value));
                }
            }
        }
        Ok(out)
    }
}

fn weigh(node: &Node) -> (usize, usize) {
    let sum = |pairs: &mut dyn Iterator<Item = (usize, usize)>| {
        pairs.fold((1, 0), |(nodes, bytes), (n, b)| (nodes + n, bytes + b))
    };
    match &node.value {
        Value::Scalar(scalar) => (1, scalar.text.len()),
        Value::Sequence(items) => sum(&mut items.iter().map(weigh)),
        Value::Mapping(entries) => sum(&mut entries.iter().flat_map(|(k, v)| [weigh(k), weigh(v)])),
    }
}

/// A list or a map may say that it is one, and nothing else.
fn collection_tag(tag: Option<&Tag>, kind: &str, at: Position) -> Result<(), LoadError> {
    match tag {
        None => Ok(()),
        Some(tag) if tag.handle.is_empty() || tag.handle == "!" && tag.suffix.is_empty() => Ok(()),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == kind => Ok(()),
        Some(tag) => Err(fail(at, format!("unknown tag {tag} of a {}", if kind == "seq" { "list" } else { "map" }))),
    }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>, at: Position) -> Result<Scalar, LoadError> {
    let kind = match tag {
        None if style == ScalarStyle::Plain => resolve(&text),
        None => Kind::Str,
        // `! text` is the non-specific tag: a string.
        Some(tag) if tag.handle.is_empty() || tag.handle == "!" && tag.suffix.is_empty() => Kind::Str,
        Some(tag) if tag.is_yaml_core_schema() => match tag.suffix.as_str() {
            "binary" => Kind::Binary,
            "str" => Kind::Str,
            "null" | "bool" | "int" | "float" | "timestamp" => resolve(&text),
            other => return Err(fail(at, format!("unknown tag !!{other}"))),
        },
        Some(tag) => return Err(fail(at, format!("unknown tag {tag}"))),
    };
    Ok(Scalar { text: text.into_owned(), kind })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn root(text: &str) -> Node {
        load(text).unwrap().root.unwrap()
    }

    #[test]
    fn places_count_from_one() {
        let node = root("a: 1\nb:\n  - x\n");
        assert_eq!(node.get("b").unwrap().sequence().unwrap()[0].at, Position { line: 3, column: 5 });
    }

    #[test]
    fn the_last_of_equal_keys_wins_and_is_reported() {
        let document = load("runcmd: [a]\nhostname: x\nruncmd: [b]\n").unwrap();
        let node = document.root.unwrap();
        assert_eq!(node.get("runcmd").unwrap().sequence().unwrap()[0].text(), Some("b"));
        assert_eq!(document.duplicates, [("runcmd".to_owned(), Position { line: 3, column: 1 })]);
    }

    #[test]
    fn merge_keys_give_way_to_own_keys() {
        let document = load("base: &b {owner: root, mode: 1}\nfile:\n  <<: *b\n  owner: nomad\n").unwrap();
        let file = document.root.as_ref().unwrap().get("file").unwrap();
        assert_eq!(file.get("owner").unwrap().text(), Some("nomad"));
        assert_eq!(file.get("mode").unwrap().text(), Some("1"));
        assert!(document.duplicates.is_empty());
    }

    /// As PyYAML has it: of several sources the first wins, of several merge keys the last; a quoted `<<` is a key.
    #[test]
    fn merge_keys_in_all_shapes() {
        let base = "x: &x {k: x, x: 1}\ny: &y {k: y, y: 1}\n";
        for (text, k) in [("{<<: [*x, *y]}", "x"), ("{<<: *x, <<: *y}", "y"), ("{<<: [*x, *y], k: own}", "own")] {
            let node = root(&format!("{base}z: {text}\n"));
            let z = node.get("z").unwrap();
            assert_eq!(z.get("k").unwrap().text(), Some(k), "{text}");
            assert!(z.get("x").is_some() && z.get("y").is_some() && z.get("<<").is_none(), "{text}");
        }
        assert_eq!(root("'<<': {a: 1}").mapping().unwrap()[0].0.text(), Some("<<"));
        assert!(load("{<<: 1}").unwrap_err().message.contains("takes a map"));
    }

    #[test]
    fn unknown_tags_are_errors_wherever_they_stand() {
        for text in ["!foo [a]", "!!set {a}", "a: !!python/object:x {}", "!!omap [a: 1]", "a: !vault x", "!!float [1]"]
        {
            assert!(load(text).unwrap_err().message.contains("unknown tag"), "{text}");
        }
        for text in ["!!seq [a]", "!!map {a: 1}", "! [a]", "!!str 1", "! 1"] {
            assert!(load(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn lines_in_front_count() {
        let document = load_behind("a: 1\na: 2\n", 10).unwrap();
        assert_eq!(document.duplicates[0].1, Position { line: 12, column: 1 });
        assert_eq!(load_behind("a: [", 10).unwrap_err().at.line, load("a: [").unwrap_err().at.line + 10);
    }

    #[test]
    fn aliases_cannot_blow_up() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..9 {
            let row = vec![format!("*a{}", n - 1); 10].join(", ");
            text.push_str(&format!("a{n}: &a{n} [{row}]\n"));
        }
        assert!(load(&text).unwrap_err().message.contains("larger than"));
    }

    #[test]
    fn depth_is_limited() {
        let text = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(load(&text).unwrap_err().message.contains("nested deeper"));
    }

    #[test]
    fn errors_name_the_place() {
        let error = load("hostname: a\nwrite_files:\n\t- path: x\n").unwrap_err();
        assert_eq!(error.at.line, 3, "{error:?}");
    }

    #[test]
    fn quoted_and_tagged_scalars_keep_their_type() {
        let node = root("a: '0640'\nb: !!str 0640\nc: !!binary aGk=\nd: |\n  1\n");
        for (key, kind) in [("a", Kind::Str), ("b", Kind::Str), ("c", Kind::Binary), ("d", Kind::Str)] {
            assert_eq!(node.get(key).unwrap().scalar().unwrap().kind, kind, "{key}");
        }
    }

    proptest! {
        #[test]
        fn anything_loads_or_fails(text in "[ -~\n\t\u{e4}\u{fffd}]{0,200}") {
            let _ = load(&text);
        }

        #[test]
        fn yaml_looking_text_loads_or_fails(text in "([a-c]: |- |\\[|\\]|\\{|\\}|&a |\\*a |!!binary |'|\"|\\||>|\n|  |#|,){0,60}") {
            let _ = load(&text);
        }

        #[test]
        fn quoted_strings_survive(value in "[ -~]{0,40}") {
            let text = format!("k: '{}'\n", value.replace('\'', "''"));
            let node = root(&text);
            prop_assert_eq!(node.get("k").unwrap().scalar().unwrap().text.as_str(), value.as_str());
        }
    }
}
