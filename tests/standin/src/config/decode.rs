//! From a parsed file to typed JSON by the schema, and the merging of several of them.

use serde_json::{Map, Number, Value};

use super::duration;
use super::hcl1::{Item, Pos, Raw};
use super::schema::{Kind, Schema};

/// Converts the items of one block; the error is the text that the agent prints after the file's name.
pub(super) fn block(items: &[Item], schema: &Schema, path: &str, file: &str) -> Result<Map<String, Value>, String> {
    let mut out = Map::new();
    let mut unexpected = Vec::new();
    for item in items {
        let Some((_, kind)) = schema.keys.iter().find(|(key, _)| *key == item.key) else {
            if schema.strict && !unexpected.contains(&item.key) {
                unexpected.push(item.key.clone());
            }
            continue;
        };
        let name = if path.is_empty() { item.key.clone() } else { format!("{path}.{}", item.key) };
        let value = convert(&item.value, item.pos, *kind, &name, file)?;
        match out.get_mut(&item.key) {
            // A repeated block is merged, a repeated scalar is one key too many.
            Some(earlier) if earlier.is_object() => merge_value(earlier, value, *kind),
            Some(_) => unexpected.push(item.key.clone()),
            None => {
                out.insert(item.key.clone(), value);
            }
        }
    }
    if unexpected.is_empty() {
        Ok(out)
    } else {
        Err(format!("{}unexpected keys {}", schema.name, unexpected.join(", ")))
    }
}

fn convert(raw: &Raw, pos: Pos, kind: Kind, name: &str, file: &str) -> Result<Value, String> {
    let fail = |reason: String| format!("failed to decode HCL file {file}: {reason}");
    let at = |reason: String| fail(format!("At {}:{}: {reason}", pos.line, pos.column));
    match (kind, raw) {
        (Kind::Str, Raw::Text(text) | Raw::Number(text)) => Ok(Value::String(text.clone())),
        (Kind::Str, Raw::Bool(bool)) => Ok(Value::String(bool.to_string())),
        (Kind::Str, Raw::List(_)) => Err(at(format!("root.{name}: unknown type for string *ast.ListType"))),
        (Kind::Str, _) => Err(at(format!("root.{name}: unknown type for string *ast.ObjectType"))),
        (Kind::Bool, Raw::Bool(bool)) => Ok(Value::Bool(*bool)),
        (Kind::Bool, Raw::Text(text) | Raw::Number(text)) => match text.as_str() {
            "true" | "1" | "t" | "T" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "false" | "0" | "f" | "F" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => Err(fail(format!("decodeBool: Unknown value for boolean: {text:?}"))),
        },
        (Kind::Int | Kind::Count, Raw::Number(text) | Raw::Text(text)) => {
            match (text.parse::<i64>(), text.parse::<f64>()) {
                (Ok(number), _) => Ok(Value::Number(number.into())),
                (_, Ok(number)) => Ok(Number::from_f64(number).map_or(Value::Null, Value::Number)),
                _ => Err(fail(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
            }
        }
        (Kind::Dur, Raw::Text(text)) => duration::parse(text)
            .map(|time| Value::Number(saturate(time).into()))
            .ok_or_else(|| format!("{name} can't parse time duration {text}")),
        (Kind::Dur, Raw::Number(text)) => text
            .parse::<u64>()
            .map(|nanos| Value::Number(nanos.into()))
            .map_err(|_| format!("{name} can't parse time duration {text}")),
        (Kind::Append | Kind::Replace, Raw::List(list)) => list
            .iter()
            .map(|(item, pos)| convert(item, *pos, Kind::Str, name, file))
            .collect::<Result<_, _>>()
            .map(Value::Array),
        (Kind::Append | Kind::Replace, _) => Err(at("unknown slice type: *ast.LiteralType".to_owned())),
        (_, Raw::List(list)) => {
            // JSON's way to write blocks: a list of objects.
            let mut merged = Value::Object(Map::new());
            for (item, pos) in list {
                let value = convert(item, *pos, kind, name, file)?;
                merge_value(&mut merged, value, kind);
            }
            Ok(merged)
        }
        (Kind::Map, Raw::Object(items)) => items
            .iter()
            .map(|item| convert(&item.value, item.pos, Kind::Str, name, file).map(|value| (item.key.clone(), value)))
            .collect::<Result<_, _>>()
            .map(Value::Object),
        (Kind::Block(schema), Raw::Object(items)) => block(items, schema, name, file).map(Value::Object),
        (Kind::Keyed(schema), Raw::Object(items)) => {
            let mut out = Map::new();
            for item in items {
                let inner = format!("{name}.{}", item.key);
                let value = convert(&item.value, item.pos, Kind::Block(schema), &inner, file)?;
                match out.get_mut(&item.key) {
                    Some(earlier) => merge_value(earlier, value, Kind::Block(schema)),
                    None => drop(out.insert(item.key.clone(), value)),
                }
            }
            Ok(Value::Object(out))
        }
        (Kind::Whole | Kind::Free, raw) => Ok(plain(raw)),
        (Kind::Block(_), _) => Err(at(format!("root.{name}: not an object type for struct"))),
        (Kind::Map | Kind::Keyed(_), _) => Err(at(format!("root.{name}: not an object type for map"))),
        (Kind::Bool | Kind::Int | Kind::Count | Kind::Dur, _) => Err(at(format!("root.{name}: unknown type"))),
    }
}

fn saturate(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A value as it is; blocks that hold a list of one object are that object.
fn plain(raw: &Raw) -> Value {
    match raw {
        Raw::Text(text) => Value::String(text.clone()),
        Raw::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone())),
        Raw::Bool(bool) => Value::Bool(*bool),
        Raw::Null => Value::Null,
        Raw::List(list) => match list.as_slice() {
            [(Raw::Object(items), _)] => plain_object(items),
            list => Value::Array(list.iter().map(|(item, _)| plain(item)).collect()),
        },
        Raw::Object(items) => plain_object(items),
    }
}

fn plain_object(items: &[Item]) -> Value {
    Value::Object(items.iter().map(|item| (item.key.clone(), plain(&item.value))).collect())
}

/// Lays a later file over an earlier one.
pub(super) fn merge(base: &mut Map<String, Value>, later: Map<String, Value>, schema: &Schema) {
    for (key, value) in later {
        let kind = schema.keys.iter().find(|(name, _)| *name == key).map_or(Kind::Free, |(_, kind)| *kind);
        match base.get_mut(&key) {
            Some(earlier) => merge_value(earlier, value, kind),
            None => drop(base.insert(key, value)),
        }
    }
}

fn merge_value(earlier: &mut Value, later: Value, kind: Kind) {
    match (kind, earlier, later) {
        (Kind::Block(schema), Value::Object(earlier), Value::Object(later)) => merge(earlier, later, schema),
        (Kind::Keyed(_) | Kind::Map, Value::Object(earlier), Value::Object(later)) => earlier.extend(later),
        (Kind::Append, Value::Array(earlier), Value::Array(later)) => earlier.extend(later),
        // "Not set" and "set to nothing" are the same thing here: a later nothing does not win.
        (Kind::Bool, _, Value::Bool(false)) => {}
        (Kind::Replace, _, Value::Array(later)) if later.is_empty() => {}
        (Kind::Str, _, Value::String(later)) if later.is_empty() => {}
        (Kind::Int | Kind::Dur, _, Value::Number(later)) if later.as_f64() == Some(0.0) => {}
        (_, earlier, later) => *earlier = later,
    }
}
