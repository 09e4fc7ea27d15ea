//! How a part says that it joins: `list(append)+dict(recurse_array)+str()`, or a list of `{name, settings}`.

use crate::node::userdata::yaml::{Node, Value};

/// What happens to a key that both maps have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node::userdata) enum DictMethod {
    /// The later value counts.
    Replace,
    /// The earlier value counts; maps are joined.
    NoReplace,
}

/// What happens when there is a list on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node::userdata) enum ListMethod {
    /// The later behind the earlier.
    Append,
    /// The later in front of the earlier.
    Prepend,
    /// Item by item, the later counts.
    Replace,
    /// The earlier counts.
    NoReplace,
}

/// The merger of maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node::userdata) struct DictRules {
    pub(super) method: DictMethod,
    pub(super) allow_delete: bool,
    pub(super) recurse_str: bool,
    pub(super) recurse_list: bool,
}

/// The merger of lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node::userdata) struct ListRules {
    pub(super) method: ListMethod,
    pub(super) recurse_dict: bool,
    pub(super) recurse_str: bool,
    pub(super) recurse_list: bool,
}

/// The mergers of one part. A kind of value without one stays as it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::node::userdata) struct Rules {
    pub(super) dict: Option<DictRules>,
    pub(super) list: Option<ListRules>,
    /// Whether a later string goes behind the earlier one, or in its place.
    pub(super) append_strings: Option<bool>,
}

impl Rules {
    /// Between the parts of one user-data, when the later part names nothing: `dict(replace)+list()+str()`.
    pub(in crate::node::userdata) const PARTS: Self = Self::of(DictMethod::Replace);
    /// Between vendor-data and user-data: `list()+dict()+str()`.
    pub(in crate::node::userdata) const SOURCES: Self = Self::of(DictMethod::NoReplace);

    const fn of(method: DictMethod) -> Self {
        Self {
            dict: Some(DictRules { method, allow_delete: false, recurse_str: false, recurse_list: false }),
            list: Some(ListRules {
                method: ListMethod::Replace,
                recurse_dict: false,
                recurse_str: false,
                recurse_list: false,
            }),
            append_strings: Some(false),
        }
    }

    /// Whether two configurations, which are maps, can be joined at all.
    pub(in crate::node::userdata) const fn joins_maps(&self) -> bool {
        self.dict.is_some()
    }

    /// Reads `merge_how` and `merge_type` of a configuration, or what stands in the header `Merge-Type`.
    ///
    /// # Errors
    /// When a merger is none that cloud-init has.
    pub(in crate::node::userdata) fn parse_text(&mut self, text: &str) -> Result<(), String> {
        for merger in text.split('+').map(str::trim).filter(|merger| !merger.is_empty()) {
            let inner = merger.split_once('(').and_then(|(name, rest)| Some((name, rest.strip_suffix(')')?)));
            let (name, options) = inner.ok_or_else(|| wrong(merger))?;
            self.add(name, options.split(','))?;
        }
        Ok(())
    }

    /// The same of a node: a text, or a list of `{name, settings}` or `[name, setting, ...]`.
    ///
    /// # Errors
    /// When it is neither, or a merger is none that cloud-init has.
    pub(in crate::node::userdata) fn parse_node(&mut self, node: &Node) -> Result<(), String> {
        if let Some(text) = node.text() {
            return self.parse_text(text);
        }
        let shape = "must be a text like list(append)+dict(recurse_array)+str(), or a list of {name, settings}";
        for merger in node.sequence().ok_or(shape)? {
            let texts = |nodes: &[Node]| nodes.iter().filter_map(Node::text).map(str::to_owned).collect::<Vec<_>>();
            let (name, settings) = match &merger.value {
                Value::Mapping(_) => {
                    let settings = merger.get("settings");
                    let one = settings.and_then(Node::text).map(|text| vec![text.to_owned()]);
                    let many = settings.and_then(Node::sequence).map(texts);
                    (merger.get("name").and_then(Node::text), one.or(many).unwrap_or_default())
                }
                Value::Sequence(items) => {
                    (items.first().and_then(Node::text), texts(items.get(1..).unwrap_or_default()))
                }
                Value::Scalar(_) => return Err(shape.into()),
            };
            self.add(name.ok_or(shape)?, settings.iter().map(String::as_str))?;
        }
        Ok(())
    }

    /// Of several mergers for one kind of value the first counts.
    fn add<'a>(&mut self, name: &str, options: impl Iterator<Item = &'a str>) -> Result<(), String> {
        let options: Vec<String> = options.map(|option| option.trim().to_ascii_lowercase().replace('-', "_")).collect();
        let has = |wanted: &str| options.iter().any(|option| option == wanted);
        let recurse_list = has("recurse_array") || has("recurse_list");
        let recurse_str = has("recurse_str");
        let name = name.trim().to_ascii_lowercase().replace('-', "_");
        match name.strip_prefix("m_").unwrap_or(&name) {
            "dict" => {
                let method = if has("replace") { DictMethod::Replace } else { DictMethod::NoReplace };
                let rules = DictRules { method, allow_delete: has("allow_delete"), recurse_str, recurse_list };
                self.dict.get_or_insert(rules);
            }
            "list" => {
                let methods = [
                    ("append", ListMethod::Append),
                    ("prepend", ListMethod::Prepend),
                    ("replace", ListMethod::Replace),
                    ("no_replace", ListMethod::NoReplace),
                ];
                let method = methods.into_iter().find(|(name, _)| has(name)).map_or(ListMethod::Replace, |(_, m)| m);
                let rules = ListRules { method, recurse_dict: has("recurse_dict"), recurse_str, recurse_list };
                self.list.get_or_insert(rules);
            }
            "str" => {
                self.append_strings.get_or_insert(has("append"));
            }
            _ => return Err(wrong(&name)),
        }
        Ok(())
    }
}

fn wrong(merger: &str) -> String {
    let shown: String = merger.chars().take(40).collect();
    format!("{shown:?} is no merger: there are dict(...), list(...) and str(...)")
}
