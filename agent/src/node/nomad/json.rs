//! Nomad's configuration in JSON, as the same tree as HCL. Only the role and the peers are looked at, so positions
//! below the whole file are not kept.

use serde_json::Value as Json;

use super::hcl::{Item, SyntaxError, Value};
use crate::node::userdata::Position;

/// Parses a JSON file, more strictly than Nomad, which accepts missing braces in silence.
pub(super) fn parse(text: &str) -> Result<Vec<Item>, SyntaxError> {
    let json: Json = serde_json::from_str(text).map_err(|error| SyntaxError {
        at: Position { line: error.line(), column: error.column().max(1) },
        message: format!("not JSON: {error}"),
    })?;
    match value(&json) {
        Value::Object(items) => Ok(items),
        _ => Err(SyntaxError { at: Position::START, message: "not a JSON object".into() }),
    }
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => Value::Number(n.to_string()),
        Json::String(s) => Value::String(s.clone()),
        Json::Array(items) => Value::List(items.iter().map(value).collect()),
        Json::Object(map) => Value::Object(
            map.iter().map(|(key, v)| Item { keys: vec![key.clone()], at: Position::START, value: value(v) }).collect(),
        ),
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
        // Nomad would take this as complete.
        assert!(hcl::parse("{\"server\": {").is_err());
    }
}
