//! Whether a node meets a constraint, and what `${...}` stands for on a node.

use std::cmp::Ordering;

use super::spec::Constraint;
use crate::server::objects::Node;

/// The value of `attr.x`, `meta.x`, `node.x` and their old spellings on a node.
#[must_use]
pub(crate) fn value(node: &Node, name: &str) -> Option<String> {
    if let Some(attribute) = name.strip_prefix("attr.") {
        return node.attributes.get(attribute).cloned();
    }
    if let Some(meta) = name.strip_prefix("meta.") {
        return node.meta.get(meta).cloned();
    }
    match name {
        "node.unique.id" => Some(node.id.clone()),
        "node.datacenter" => Some(node.datacenter.clone()),
        "node.unique.name" => Some(node.name.clone()),
        "node.class" => Some(node.node_class.clone()),
        "node.pool" => Some(node.node_pool.clone()),
        "node.region" => Some("global".into()),
        _ => None,
    }
}

/// Replaces `${...}` by `lookup`; a name that it does not know stays as it is.
pub(crate) fn interpolate(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once("${") {
        out.push_str(head);
        let Some((name, after)) = tail.split_once('}') else {
            out.push_str("${");
            rest = tail;
            continue;
        };
        match lookup(name.trim()) {
            Some(value) => out.push_str(&value),
            None => out.push_str(&format!("${{{name}}}")),
        }
        rest = after;
    }
    out + rest
}

/// Whether the node meets the constraint.
#[must_use]
pub(crate) fn holds(wanted: &Constraint, node: &Node) -> bool {
    let resolve = |target: &str| {
        let text = interpolate(target, |name| value(node, name));
        (!text.contains("${")).then_some(text)
    };
    let (left, right) = (resolve(&wanted.left), resolve(&wanted.right));
    let operand = if wanted.operand.is_empty() { "=" } else { wanted.operand.as_str() };
    match (operand, left, right) {
        ("is_set", left, _) => left.is_some(),
        ("is_not_set", left, _) => left.is_none(),
        ("!=" | "not", left, right) => left != right,
        (operand, Some(left), Some(right)) => match operand {
            "=" | "==" | "is" => left == right,
            "<" => order(&left, &right) == Ordering::Less,
            "<=" => order(&left, &right) != Ordering::Greater,
            ">" => order(&left, &right) == Ordering::Greater,
            ">=" => order(&left, &right) != Ordering::Less,
            "set_contains" | "set_contains_all" => {
                right.split(',').all(|one| left.split(',').any(|own| own.trim() == one.trim()))
            }
            "set_contains_any" => right.split(',').any(|one| left.split(',').any(|own| own.trim() == one.trim())),
            "version" | "semver" => versions(&left, &right),
            _ => false,
        },
        _ => false,
    }
}

/// Operators that the stand-in carries out.
pub(crate) const OPERANDS: [&str; 18] = [
    "=",
    "==",
    "is",
    "!=",
    "not",
    "<",
    "<=",
    ">",
    ">=",
    "set_contains",
    "set_contains_all",
    "set_contains_any",
    "version",
    "semver",
    "is_set",
    "is_not_set",
    "distinct_hosts",
    "",
];

fn order(left: &str, right: &str) -> Ordering {
    match (left.parse::<f64>(), right.parse::<f64>()) {
        (Ok(left), Ok(right)) => left.total_cmp(&right),
        _ => left.cmp(right),
    }
}

fn versions(left: &str, wanted: &str) -> bool {
    let parts = |text: &str| -> Vec<u64> {
        text.trim().trim_start_matches('v').split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
    };
    let left = parts(left);
    wanted.split(',').all(|one| {
        let one = one.trim();
        let at = one.find(|char: char| char.is_ascii_digit() || char == 'v').unwrap_or(one.len());
        let right = parts(&one[at..]);
        let length = left.len().max(right.len());
        let pad = |mut list: Vec<u64>| {
            list.resize(length, 0);
            list
        };
        let order = pad(left.clone()).cmp(&pad(right));
        match one[..at].trim() {
            "" | "=" => order == Ordering::Equal,
            "!=" => order != Ordering::Equal,
            ">" => order == Ordering::Greater,
            ">=" => order != Ordering::Less,
            "<" => order == Ordering::Less,
            "<=" => order != Ordering::Greater,
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        Node {
            name: "c1".into(),
            attributes: [("kernel.name".into(), "linux".into()), ("nomad.version".into(), "2.0.5".into())].into(),
            ..Node::default()
        }
    }

    fn holds(left: &str, operand: &str, right: &str) -> bool {
        super::holds(&Constraint { left: left.into(), operand: operand.into(), right: right.into() }, &node())
    }

    #[test]
    fn constraints_compare_what_the_node_says() {
        assert!(holds("${attr.kernel.name}", "=", "linux"));
        assert!(!holds("${attr.kernel.name}", "", "plan9"));
        assert!(holds("${attr.nothing}", "!=", "x"));
        assert!(!holds("${attr.nothing}", "=", ""));
        assert!(holds("${attr.nomad.version}", "version", ">= 1.9, < 3"));
        assert!(!holds("${attr.nomad.version}", "version", "> 2.0.5"));
        assert!(holds("${node.unique.name}", "set_contains_any", "c1,c2"));
        assert!(holds("${attr.kernel.name}", "is_set", ""));
        assert!(holds("10", "<", "9.5e1"));
    }
}
