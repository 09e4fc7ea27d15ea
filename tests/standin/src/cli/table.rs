//! Tables and lists in the command line's manner.

use serde_json::Value;

use crate::clock;

/// Rows in columns that are two spaces apart; empty cells stay empty, lines end where their text does not end.
#[must_use]
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let lines = rows.iter().map(|row| {
        let last = row.len().saturating_sub(1);
        row.iter()
            .enumerate()
            .map(|(at, cell)| if at == last { cell.clone() } else { format!("{cell:<width$}  ", width = widths[at]) })
            .collect::<String>()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// `key = value` lines, aligned.
#[must_use]
pub(crate) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0);
    pairs.iter().map(|(key, value)| format!("{key:<width$} = {value}")).collect::<Vec<_>>().join("\n")
}

/// A row.
#[must_use]
pub(crate) fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

/// A string of a JSON object; other scalars as text.
#[must_use]
pub(crate) fn text(value: &Value, key: &str) -> String {
    match &value[key] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// An identifier, short or whole.
#[must_use]
pub(crate) fn id(value: &Value, key: &str, whole: bool) -> String {
    let id = text(value, key);
    if whole { id } else { id.chars().take(8).collect() }
}

/// A value, or `<none>`.
#[must_use]
pub(crate) fn or_none(text: String) -> String {
    if text.is_empty() { "<none>".into() } else { text }
}

/// `6s ago`, `1m5s ago`, from nanoseconds.
#[must_use]
pub(crate) fn ago(nanos: i64) -> String {
    if nanos == 0 {
        return "<none>".into();
    }
    let seconds = (clock::now() - nanos).max(0) / clock::SECOND;
    let units = [("d", 86400), ("h", 3600), ("m", 60), ("s", 1)];
    let mut rest = seconds;
    let mut out = String::new();
    let mut used = 0;
    for (unit, size) in units {
        let count = rest / size;
        rest %= size;
        if count > 0 && used < 2 {
            out += &format!("{count}{unit}");
        }
        if count > 0 || used > 0 {
            used += 1;
        }
    }
    if out.is_empty() { "0s ago".into() } else { out + " ago" }
}

/// Bytes for people.
#[must_use]
pub(crate) fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = count;
    let mut at = 0;
    while size >= 1024 && at + 1 < units.len() {
        size /= 1024;
        at += 1;
    }
    format!("{size} {}", units[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        assert_eq!(columns(&[row(&["ID", "Name"]), row(&["12345678", "x"])]), "ID        Name\n12345678  x");
        assert_eq!(pairs(&[("ID", "x".into()), ("Status", "y".into())]), "ID     = x\nStatus = y");
        assert_eq!(ago(clock::now() - 65 * clock::SECOND), "1m5s ago");
        assert_eq!(bytes(24 << 30), "24 GiB");
    }
}
