//! What templates do with values: filters, and the methods of Python's strings and maps that mean the same.

use std::{borrow::Cow, cmp::Ordering};

use serde_json::Value;

/// Lists and maps inside each other. JSON from outside has at most 128.
const MAX_NESTING: usize = 150;

/// Applies a filter or a method; what it makes may be `limit` bytes long.
pub(super) fn apply(
    name: &str,
    value: &Value,
    arguments: &[Value],
    method: bool,
    limit: usize,
) -> Result<Value, String> {
    let text = || value.as_str().map_or_else(|| Cow::Owned(show(value)), Cow::Borrowed);
    let argument = |n: usize| arguments.get(n).and_then(Value::as_str);
    let long = |length: usize| if length > limit { Err("the template makes too much work".to_owned()) } else { Ok(()) };
    let wrong = || format!("{name:?} does not go with this value or these arguments");
    Ok(match (name, method) {
        ("lower", _) => text().to_lowercase().into(),
        ("upper", _) => text().to_uppercase().into(),
        ("trim", false) | ("strip", true) => text().trim().into(),
        ("replace", _) => {
            let (text, from, to) = (text(), argument(0).ok_or_else(wrong)?, argument(1).ok_or_else(wrong)?);
            long((text.len() + 1).saturating_mul(to.len() + 1))?;
            text.replace(from, to).into()
        }
        ("join", false) => {
            let items = value.as_array().ok_or_else(wrong)?;
            let between = argument(0).unwrap_or("");
            long(size(value).saturating_add(items.len() * between.len()))?;
            items.iter().map(show).collect::<Vec<_>>().join(between).into()
        }
        ("split", true) => {
            let text = text();
            let parts: Vec<Value> = match argument(0) {
                Some(at) if !at.is_empty() => text.split(at).map(Value::from).collect(),
                None => text.split_whitespace().map(Value::from).collect(),
                Some(_) => return Err(wrong()),
            };
            parts.into()
        }
        ("startswith", true) => text().starts_with(argument(0).ok_or_else(wrong)?).into(),
        ("endswith", true) => text().ends_with(argument(0).ok_or_else(wrong)?).into(),
        ("first", false) => item(Cow::Borrowed(value), 0).ok_or_else(wrong)?.into_owned(),
        ("last", false) => item(Cow::Borrowed(value), -1).ok_or_else(wrong)?.into_owned(),
        ("length" | "count", false) => match value {
            Value::String(text) => text.chars().count().into(),
            Value::Array(items) => items.len().into(),
            Value::Object(entries) => entries.len().into(),
            _ => return Err(wrong()),
        },
        ("int", false) => {
            let parsed = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
            parsed.or_else(|| arguments.first().and_then(Value::as_i64)).unwrap_or(0).into()
        }
        ("string", false) => text().into(),
        ("indent", false) => {
            let width = arguments.first().map_or(Some(4), Value::as_u64).and_then(|n| usize::try_from(n).ok());
            let width = width.filter(|width| *width <= 256).ok_or_else(wrong)?;
            let text = text();
            long(text.len() + text.matches('\n').count() * width)?;
            // The first line, and empty ones, stay as they are.
            let mut out = String::new();
            for (n, line) in text.split_inclusive('\n').enumerate() {
                if n > 0 && !line.trim_end_matches(['\r', '\n']).is_empty() {
                    out.extend(std::iter::repeat_n(' ', width));
                }
                out.push_str(line);
            }
            out.into()
        }
        ("tojson", false) => value.to_string().into(),
        ("keys", true) => value.as_object().ok_or_else(wrong)?.keys().cloned().map(Value::from).collect(),
        ("values", true) => value.as_object().ok_or_else(wrong)?.values().cloned().collect(),
        ("items", _) => {
            let pair = |(key, value): (&String, &Value)| Value::from(vec![Value::from(key.as_str()), value.clone()]);
            value.as_object().ok_or_else(wrong)?.iter().map(pair).collect()
        }
        ("get", true) => {
            let found = value.as_object().ok_or_else(wrong)?.get(argument(0).ok_or_else(wrong)?);
            found.or_else(|| arguments.get(1)).cloned().unwrap_or_default()
        }
        _ => return Err(format!("there is no {} {name:?} here", if method { "method" } else { "filter" })),
    })
}

/// A value as text, as Python shows it; lists and maps as JSON, which YAML reads.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// About how many bytes a value takes; more than there are when it is nested as nobody nests.
pub(super) fn size(value: &Value) -> usize {
    fn below(value: &Value, depth: usize) -> usize {
        let inner = match value {
            _ if depth > MAX_NESTING => return usize::MAX / 4,
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().fold(0_usize, |sum, item| sum.saturating_add(below(item, depth + 1))),
            Value::Object(entries) => entries.iter().fold(0_usize, |sum, (key, value)| {
                sum.saturating_add(key.len()).saturating_add(below(value, depth + 1))
            }),
            _ => 0,
        };
        inner.saturating_add(32)
    }
    below(value, 0)
}

/// An item of a list, or a character of a text; a negative number counts from the end.
pub(super) fn item(value: Cow<'_, Value>, n: i64) -> Option<Cow<'_, Value>> {
    let place = |length: usize| {
        let n = if n < 0 { i64::try_from(length).ok()?.checked_add(n)? } else { n };
        usize::try_from(n).ok().filter(|n| *n < length)
    };
    match value {
        Cow::Borrowed(Value::Array(items)) => items.get(place(items.len())?).map(Cow::Borrowed),
        Cow::Owned(Value::Array(mut items)) => place(items.len()).map(|n| Cow::Owned(items.swap_remove(n))),
        value => {
            let text = value.as_str()?;
            let c = text.chars().nth(place(text.chars().count())?)?;
            Some(Cow::Owned(c.to_string().into()))
        }
    }
}

/// `+`, `-` and `~`.
pub(super) fn add(operator: &str, a: &Value, b: &Value) -> Option<Value> {
    match (operator, a, b) {
        ("~", a, b) => Some((show(a) + &show(b)).into()),
        ("+", Value::String(a), Value::String(b)) => Some(format!("{a}{b}").into()),
        ("+", Value::Array(a), Value::Array(b)) => Some(a.iter().chain(b).cloned().collect()),
        ("+", a, b) => Some(a.as_i64()?.checked_add(b.as_i64()?)?.into()),
        (_, a, b) => Some(a.as_i64()?.checked_sub(b.as_i64()?)?.into()),
    }
}

/// Equality as in Python: numbers by their value.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}

/// The order of two numbers or two texts.
pub(super) fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}
