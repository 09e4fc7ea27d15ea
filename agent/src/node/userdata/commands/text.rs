//! Text with values that only the running machine knows.

use std::fmt;

use serde::Serialize;

/// What a command asks the machine or its cloud for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// The address that the node speaks from, which Nomad advertises.
    Address,
    /// The IPv4 address of an interface.
    InterfaceAddress(String),
    /// The address that the cloud shows to the outside.
    PublicAddress,
    /// The name.
    Hostname,
    /// The full name.
    Fqdn,
    /// Who the machine is to its cloud.
    InstanceId,
    /// Where it runs.
    AvailabilityZone,
    /// The larger place where it runs.
    Region,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("the machine's address"),
            Self::InterfaceAddress(name) => write!(f, "the address of {name}"),
            Self::PublicAddress => f.write_str("the machine's public address"),
            Self::Hostname => f.write_str("the host name"),
            Self::Fqdn => f.write_str("the full host name"),
            Self::InstanceId => f.write_str("the instance id"),
            Self::AvailabilityZone => f.write_str("the availability zone"),
            Self::Region => f.write_str("the region"),
        }
    }
}

#[derive(Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Value(Value),
}

/// Text, some of which is looked up when it is used. `Debug` and JSON show its length: it may hold secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Text(Vec<Piece>);

impl Text {
    /// Appends text.
    pub fn push_str(&mut self, text: &str) {
        match self.0.last_mut() {
            Some(Piece::Literal(last)) => last.push_str(text),
            _ if text.is_empty() => {}
            _ => self.0.push(Piece::Literal(text.to_owned())),
        }
    }

    /// Appends a value.
    pub fn push(&mut self, value: Value) {
        self.0.push(Piece::Value(value));
    }

    /// Appends another text.
    pub fn append(&mut self, other: Self) {
        for piece in other.0 {
            match piece {
                Piece::Literal(text) => self.push_str(&text),
                Piece::Value(value) => self.push(value),
            }
        }
    }

    /// Its pieces: text, and values as errors.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Result<&str, &Value>> {
        self.0.iter().map(|piece| match piece {
            Piece::Literal(text) => Ok(text.as_str()),
            Piece::Value(value) => Err(value),
        })
    }

    /// The name and the value of `NAME=value`.
    pub(super) fn assignment(&self) -> Option<(&str, Self)> {
        let (Piece::Literal(first), rest) = self.0.split_first()? else { return None };
        let (name, begin) = first.split_once('=')?;
        let mut value = Self::from(begin);
        value.append(Self(rest.to_vec()));
        Some((name, value))
    }

    /// About how long it is, in bytes.
    pub(super) fn size(&self) -> usize {
        self.pieces().map(|piece| piece.map_or(16, str::len)).sum()
    }

    /// The text, when nothing has to be looked up.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The whole text.
    ///
    /// # Errors
    /// With the value that `look_up` does not know.
    pub fn resolve(&self, look_up: &dyn Fn(&Value) -> Option<String>) -> Result<String, Value> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(literal) => text += literal,
                Piece::Value(value) => text += &look_up(value).ok_or_else(|| value.clone())?,
            }
        }
        Ok(text)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let mut new = Self::default();
        new.push_str(text);
        new
    }
}

impl From<Value> for Text {
    fn from(value: Value) -> Self {
        Self(vec![Piece::Value(value)])
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = |piece: &Piece| match piece {
            Piece::Literal(text) => text.len(),
            Piece::Value(_) => 0,
        };
        write!(f, "<{} bytes", self.0.iter().map(length).sum::<usize>())?;
        for piece in &self.0 {
            if let Piece::Value(value) = piece {
                write!(f, ", {value}")?;
            }
        }
        f.write_str(">")
    }
}

impl Serialize for Text {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_looked_up_and_secrets_stay_hidden() {
        let mut text = Text::from("key hunter2, ");
        text.push(Value::Address);
        text.push_str(":4647");
        assert_eq!(text.resolve(&|_| Some("10.0.0.7".into())), Ok("key hunter2, 10.0.0.7:4647".into()));
        assert_eq!(text.resolve(&|_| None), Err(Value::Address));
        assert_eq!(format!("{text:?}"), "<18 bytes, the machine's address>");
        assert_eq!((text.literal(), Text::from("a").literal(), Text::default().literal()), (None, Some("a"), Some("")));
    }
}
