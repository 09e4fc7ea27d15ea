//! Nomad's configuration in JSON, as the same tree as HCL. Only the role and the peers are looked at, so positions
//! below the whole file are not kept.

use std::{collections::BTreeSet, fmt};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::hcl::{Item, SyntaxError, Value};
use crate::node::userdata::Position;

/// Parses a JSON file, more strictly than Nomad, which accepts missing braces in silence and merges the values of a
/// key that stands twice.
pub(super) fn parse(text: &str) -> Result<Vec<Item>, SyntaxError> {
    let value: Value = serde_json::from_str(text).map_err(|error| SyntaxError {
        at: Position { line: error.line(), column: error.column().max(1) },
        message: format!("not JSON: {error}"),
    })?;
    match value {
        Value::Object(items) => Ok(items),
        _ => Err(SyntaxError { at: Position::START, message: "not a JSON object".into() }),
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

/// Builds the tree itself: `serde_json`'s own keeps the last of two equal keys without a word.
struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, b: bool) -> Result<Value, E> {
        Ok(Value::Bool(b))
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<Value, E> {
        Ok(Value::Number(n.to_string()))
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<Value, E> {
        Ok(Value::Number(n.to_string()))
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<Value, E> {
        Ok(Value::Number(n.to_string()))
    }

    fn visit_str<E: Error>(self, s: &str) -> Result<Value, E> {
        Ok(Value::String(s.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element()? {
            list.push(value);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        let mut seen = BTreeSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("the key {key:?} stands twice in one object")));
            }
            items.push(Item { keys: vec![key], at: Position::START, value: entries.next_value()? });
        }
        Ok(Value::Object(items))
    }
}

#[cfg(test)]
mod tests {
    use super::super::hcl;

    #[test]
    fn json_is_told_by_its_content_and_errors_have_a_place() {
        let items = hcl::parse(" {\"server\": {\"enabled\": true}}").unwrap();
        assert_eq!(items[0].keys, ["server"]);
        let error = hcl::parse("{\"server\": {\n\"enabled\": true,}}").unwrap_err();
        assert_eq!(error.at.line, 2);
        let error = hcl::parse("{\"a\": 1,\n\"a\": 2}").unwrap_err();
        assert!(error.at.line == 2 && error.message.contains("the key \"a\" stands twice"), "{error}");
        // Nomad would take this as complete.
        assert!(hcl::parse("{\"server\": {").is_err());
    }
}
