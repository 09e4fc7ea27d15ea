//! One value of a configuration with its place and its path, and what it can be read as.
//!
//! The field decides what a scalar means, so everything is read from the text as written: a hardware address that
//! YAML 1.1 takes for a number stays one. A value that cannot be read is a flaw, and as if absent.

use std::net::IpAddr;

use super::{Cidr, Mac, address::short, notes::Notes};
use crate::node::userdata::{
    Position, nearest,
    yaml::{Kind, Node, Value},
};

/// A value.
pub(super) struct Field<'a> {
    /// The value.
    pub(super) node: &'a Node,
    /// Where its key stands.
    pub(super) at: Position,
    /// The path of keys, for people.
    pub(super) path: String,
}

impl<'a> Field<'a> {
    /// The document.
    pub(super) fn root(node: &'a Node) -> Self {
        Self { node, at: node.at, path: String::new() }
    }

    /// A flaw of the value.
    pub(super) fn flaw(&self, notes: &mut Notes, message: impl Into<String>) {
        notes.flaw(self.node.at, &self.path, message);
    }

    /// A flaw of the key: nobody knows it. `known` are the names that would be right.
    pub(super) fn unknown(&self, notes: &mut Notes, name: &str, known: &[&str]) {
        let hint =
            nearest(name, known.iter().copied()).map_or_else(String::new, |near| format!("; did you mean {near}?"));
        notes.flaw(self.at, &self.path, format!("unknown key{hint}"));
    }

    /// Says that the key has no effect here.
    pub(super) fn ignored(&self, notes: &mut Notes, why: &str) {
        notes.ignored(self.at, &self.path, why);
    }

    /// The value of a key, when it is there and not null.
    pub(super) fn get(&self, name: &str) -> Option<Self> {
        let (key, node) = self.node.mapping()?.iter().find(|(key, _)| key.scalar().is_some_and(|s| s.text == name))?;
        (!node.is_null()).then(|| self.child(node, key.at, name))
    }

    fn child(&self, node: &'a Node, at: Position, name: &str) -> Self {
        let path = if self.path.is_empty() { short(name) } else { format!("{}.{}", self.path, short(name)) };
        Field { node, at, path }
    }

    /// The entries of a map, null values included.
    pub(super) fn entries(&self, notes: &mut Notes) -> Vec<(&'a str, Self)> {
        let Some(entries) = self.node.mapping() else {
            if !self.node.is_null() {
                self.flaw(notes, format!("must be a map, not {}", self.node.describe()));
            }
            return Vec::new();
        };
        let mut list = Vec::with_capacity(entries.len());
        for (key, node) in entries {
            match key.scalar() {
                Some(scalar) => list.push((scalar.text.as_str(), self.child(node, key.at, &scalar.text))),
                None => notes.flaw(key.at, &self.path, "a key must be a name"),
            }
        }
        list
    }

    /// The items of a list; a value alone counts as a list of one.
    pub(super) fn items(&self) -> Vec<Self> {
        match &self.node.value {
            Value::Sequence(items) => items
                .iter()
                .enumerate()
                .map(|(n, node)| Field { node, at: node.at, path: format!("{}[{n}]", self.path) })
                .collect(),
            _ if self.node.is_null() => Vec::new(),
            _ => vec![Field { node: self.node, at: self.at, path: self.path.clone() }],
        }
    }

    /// The words of a list of words, or of a text with white space or commas between them.
    pub(super) fn words(&self, notes: &mut Notes) -> Vec<(Position, &'a str)> {
        let mut words = Vec::new();
        for item in self.items() {
            if let Some(text) = item.text(notes) {
                let parts = text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
                words.extend(parts.map(|word| (item.node.at, word)));
            }
        }
        words
    }

    /// A scalar's text.
    pub(super) fn text(&self, notes: &mut Notes) -> Option<&'a str> {
        let text = self.node.text().map(str::trim);
        if text.is_none() && !self.node.is_null() {
            self.flaw(notes, format!("must be a word or a number, not {}", self.node.describe()));
        }
        text
    }

    /// A boolean, in all the spellings of cloud-init and of the kernel's files.
    pub(super) fn flag(&self, notes: &mut Notes) -> Option<bool> {
        let text = self.text(notes)?.to_ascii_lowercase();
        let value = match text.as_str() {
            "true" | "yes" | "on" | "1" | "y" => Some(true),
            "false" | "no" | "off" | "0" | "n" => Some(false),
            _ => None,
        };
        if value.is_none() {
            self.flaw(notes, format!("must be true or false, not {:?}", short(&text)));
        }
        value
    }

    /// A whole number.
    pub(super) fn number(&self, notes: &mut Notes, min: u32, max: u32) -> Option<u32> {
        let text = self.text(notes)?;
        let number = match self.node.scalar().map(|scalar| scalar.kind) {
            Some(Kind::Int(number)) if !text.contains(':') => u32::try_from(number).ok(),
            _ => text.parse().ok(),
        };
        let number = number.filter(|number| (min..=max).contains(number));
        if number.is_none() {
            self.flaw(notes, format!("must be a number from {min} to {max}, not {:?}", short(text)));
        }
        number
    }

    /// A largest packet: IPv4 works from 68 bytes on.
    pub(super) fn mtu(&self, notes: &mut Notes) -> Option<u32> {
        self.number(notes, 68, 65_535)
    }

    /// A span of time, in milliseconds or in seconds; netplan allows a unit behind the number.
    pub(super) fn span(&self, notes: &mut Notes, milliseconds: bool) -> Option<u32> {
        let text = self.text(notes)?;
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(split);
        let factor = match unit.trim() {
            "" if milliseconds => Some(1),
            "ms" | "msec" => Some(1),
            "" | "s" | "sec" => Some(1000),
            "m" | "min" => Some(60_000),
            _ => None,
        };
        let ms = digits.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
        let value = ms.map(|ms| if milliseconds { ms } else { ms / 1000 }).and_then(|value| u32::try_from(value).ok());
        if value.is_none() {
            self.flaw(notes, format!("must be a span of time like 100ms or 2s, not {:?}", short(text)));
        }
        value
    }

    /// One of the kernel's names for a setting, or its number.
    pub(super) fn choice(&self, notes: &mut Notes, names: &[&str]) -> Option<u8> {
        let text = self.text(notes)?;
        let lower = text.to_ascii_lowercase().replace('_', "-");
        let by_name = names.iter().position(|name| name.replace('_', "-") == lower);
        let number = by_name.or_else(|| text.parse().ok().filter(|n: &usize| *n < names.len()));
        if number.is_none() {
            self.flaw(notes, format!("must be one of {}, not {:?}", names.join(", "), short(text)));
        }
        number.and_then(|n| u8::try_from(n).ok())
    }

    /// An address.
    pub(super) fn address(&self, notes: &mut Notes) -> Option<IpAddr> {
        address(self.node.at, &self.path, self.text(notes)?, notes)
    }

    /// An address with a prefix; without one it stands for itself alone.
    pub(super) fn cidr(&self, notes: &mut Notes) -> Option<Cidr> {
        let parsed = self.text(notes)?.parse();
        parsed.map_err(|error: super::CidrError| self.flaw(notes, error.to_string())).ok()
    }

    /// A hardware address.
    pub(super) fn mac(&self, notes: &mut Notes) -> Option<Mac> {
        let text = self.text(notes).filter(|text| !text.is_empty())?;
        text.parse().map_err(|error: super::MacError| self.flaw(notes, error.to_string())).ok()
    }

    /// Addresses of name servers, added to those that are known.
    pub(super) fn servers(&self, notes: &mut Notes, servers: &mut Vec<IpAddr>) {
        for (at, word) in self.words(notes) {
            if let Some(server) = address(at, &self.path, word, notes)
                && !servers.contains(&server)
            {
                servers.push(server);
            }
        }
    }

    /// Search domains, added to those that are known.
    pub(super) fn domains(&self, notes: &mut Notes, domains: &mut Vec<String>) {
        for (at, word) in self.words(notes) {
            let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            if word.len() > 253 || !word.bytes().all(legal) {
                notes.flaw(at, &self.path, format!("{:?} is not a domain", short(word)));
            } else if !domains.iter().any(|known| known == word) {
                domains.push(word.to_owned());
            }
        }
    }
}

fn address(at: Position, path: &str, text: &str, notes: &mut Notes) -> Option<IpAddr> {
    let parsed = text.parse();
    if parsed.is_err() {
        notes.flaw(at, path, format!("{:?} is not an IP address", short(text)));
    }
    parsed.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::userdata::yaml;

    /// Reads the value of `k`.
    fn read<T>(text: &str, how: impl Fn(&Field<'_>, &mut Notes) -> T) -> (T, Vec<String>) {
        let root = yaml::load(text).unwrap().root.unwrap();
        let mut notes = Notes::default();
        let value = how(&Field::root(&root).get("k").unwrap(), &mut notes);
        let findings = notes.findings("f", false, Vec::new());
        (value, findings.iter().map(|finding| format!("{}: {}", finding.at, finding.message)).collect())
    }

    #[test]
    #[expect(clippy::redundant_closure_for_method_calls, reason = "a method's path is bound to one lifetime")]
    fn the_field_decides_what_a_scalar_means() {
        assert_eq!(read("k: 52:54:00:12:34:56", |f, n| f.mac(n)).0, Some(Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56])));
        assert_eq!(read("k: '1500'", |f, n| f.mtu(n)).0, Some(1500));
        assert_eq!(read("k: yes", |f, n| f.flag(n)).0, Some(true));
        assert_eq!(read("k: 'no'", |f, n| f.flag(n)).0, Some(false));
        assert_eq!(
            read("k: 1:10", |f, n| f.mtu(n)),
            (None, vec!["1:4: must be a number from 68 to 65535, not \"1:10\"".into()])
        );
        assert_eq!(read("k: 100ms", |f, n| f.span(n, true)).0, Some(100));
        assert_eq!(read("k: 2s", |f, n| f.span(n, true)).0, Some(2000));
        assert_eq!(read("k: 15", |f, n| f.span(n, false)).0, Some(15));
        assert_eq!(read("k: 2000ms", |f, n| f.span(n, false)).0, Some(2));
    }

    #[test]
    fn lists_of_words_may_be_one_text() {
        let servers = |text: &str| {
            read(text, |field, notes| {
                let mut servers = Vec::new();
                field.servers(notes, &mut servers);
                servers
            })
        };
        assert_eq!(servers("k: [1.1.1.1, 9.9.9.9]"), servers("k: 1.1.1.1 9.9.9.9, 1.1.1.1"));
        assert_eq!(servers("k: [one]").1, ["1:5: \"one\" is not an IP address"]);
    }
}
