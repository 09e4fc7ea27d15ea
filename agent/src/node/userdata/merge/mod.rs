//! Joining configurations by cloud-init's rules (`cloudinit/mergers/`): the part that comes later names how it joins
//! what is there already.

mod rules;

use std::collections::HashMap;

pub(super) use rules::{DictMethod, ListMethod, Rules};

use super::{
    finding::Position,
    yaml::{Kind, Node, Value},
};

/// What could not be joined: the place of the later value, and why.
pub(super) type Conflict = (Position, String);

impl Rules {
    /// Joins `new` to `old`. What the rules say nothing of stays as it was.
    pub(super) fn merge(&self, old: Node, new: Node, conflicts: &mut Vec<Conflict>) -> Node {
        let at = old.at;
        match old.value {
            Value::Mapping(entries) if self.dict.is_some() => self.dicts(at, entries, new, conflicts),
            Value::Sequence(items) if self.list.is_some() => self.lists(at, items, new, conflicts),
            Value::Scalar(ref scalar) if scalar.kind == Kind::Str => self.strings(old, new),
            _ => old,
        }
    }

    fn dicts(&self, at: Position, old: Vec<(Node, Node)>, new: Node, conflicts: &mut Vec<Conflict>) -> Node {
        let Some(rules) = &self.dict else { return Node { at, value: Value::Mapping(old) } };
        let Value::Mapping(new) = new.value else { return Node { at, value: Value::Mapping(old) } };
        let mut index: HashMap<String, usize> =
            old.iter().enumerate().map(|(n, (key, _))| (name(key).to_owned(), n)).collect();
        let mut out: Vec<Option<(Node, Node)>> = old.into_iter().map(Some).collect();
        for (key, value) in new {
            let place = index.get(name(&key)).copied();
            let Some((old_key, old_value)) = place.and_then(|n| out[n].take()) else {
                index.insert(name(&key).to_owned(), out.len());
                out.push(Some((key, value)));
                continue;
            };
            let joined = if value.is_null() && rules.allow_delete {
                index.remove(name(&key));
                None
            } else if rules.method == DictMethod::Replace {
                Some((key, value))
            } else {
                let recurse = match &value.value {
                    Value::Mapping(_) => true,
                    Value::Sequence(_) => rules.recurse_list,
                    Value::Scalar(scalar) => rules.recurse_str && scalar.kind == Kind::Str,
                };
                Some((old_key, if recurse { self.merge(old_value, value, conflicts) } else { old_value }))
            };
            if let Some(n) = place {
                out[n] = joined;
            }
        }
        Node { at, value: Value::Mapping(out.into_iter().flatten().collect()) }
    }

    fn lists(&self, at: Position, old: Vec<Node>, new: Node, conflicts: &mut Vec<Conflict>) -> Node {
        let list = |items| Node { at, value: Value::Sequence(items) };
        let Some(rules) = &self.list else { return list(old) };
        let kind = new.describe();
        let new_at = new.at;
        let new = match new.value {
            Value::Sequence(new) => new,
            value if rules.method == ListMethod::Replace => return Node { at: new_at, value },
            Value::Scalar(_) if rules.method == ListMethod::NoReplace => return list(old),
            _ => {
                conflicts.push((new_at, format!("{kind} cannot be joined to a list")));
                return list(old);
            }
        };
        match rules.method {
            ListMethod::Append => list(old.into_iter().chain(new).collect()),
            ListMethod::Prepend => list(new.into_iter().chain(old).collect()),
            ListMethod::NoReplace => list(old),
            // By place: what the later list has more than the earlier one is dropped, as in cloud-init.
            ListMethod::Replace => {
                let mut new = new.into_iter();
                let mut join = |old: Node| {
                    let Some(new) = new.next() else { return old };
                    let recurse = match &new.value {
                        Value::Mapping(_) => rules.recurse_dict,
                        Value::Sequence(_) => rules.recurse_list,
                        Value::Scalar(scalar) => rules.recurse_str && scalar.kind == Kind::Str,
                    };
                    if recurse { self.merge(old, new, conflicts) } else { new }
                };
                list(old.into_iter().map(&mut join).collect())
            }
        }
    }

    fn strings(&self, old: Node, new: Node) -> Node {
        match (self.append_strings, old.value, new.value) {
            (None, value, _) => Node { at: old.at, value },
            (Some(true), Value::Scalar(mut scalar), Value::Scalar(more)) => {
                scalar.text.push_str(&more.text);
                Node { at: old.at, value: Value::Scalar(scalar) }
            }
            (Some(_), _, value) => Node { at: new.at, value },
        }
    }
}

fn name(key: &Node) -> &str {
    key.scalar().map_or("", |scalar| scalar.text.as_str())
}

#[cfg(test)]
mod tests;
