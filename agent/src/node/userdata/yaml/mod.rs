//! YAML as cloud-init reads it: YAML 1.1 scalars (PyYAML's `safe_load`), with the place and the source text of each.
//!
//! The text is kept because a field decides what a scalar means: `52:54:00:12:34:56` is an integer in YAML 1.1 and an
//! address to the person who wrote it.

mod load;
mod scalar;

pub(super) use load::load_behind;
pub use load::{Document, LoadError, load};
pub use scalar::{Kind, resolve};

use super::finding::Position;

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it starts.
    pub at: Position,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A scalar.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// A map. Keys are unique; of a repeated key the last value counts, in the place of the first.
    Mapping(Vec<(Node, Node)>),
}

/// A scalar: its text as written (quotes, escapes and folding undone) and what YAML 1.1 makes of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar {
    /// The text.
    pub text: String,
    /// What YAML 1.1 makes of it.
    pub kind: Kind,
}

impl Node {
    /// The scalar, when it is one.
    #[must_use]
    pub fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The text of a scalar that is not null, whatever type YAML gives it.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.scalar().filter(|scalar| scalar.kind != Kind::Null).map(|scalar| scalar.text.as_str())
    }

    /// Whether it is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.scalar().is_some_and(|scalar| scalar.kind == Kind::Null)
    }

    /// The items of a list.
    #[must_use]
    pub fn sequence(&self) -> Option<&[Self]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The entries of a map.
    #[must_use]
    pub fn mapping(&self) -> Option<&[(Self, Self)]> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a key of a map.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.mapping()?.iter().find(|(k, _)| k.scalar().is_some_and(|s| s.text == key)).map(|(_, value)| value)
    }

    /// How many values it holds, itself among them.
    pub(super) fn count(&self) -> usize {
        match &self.value {
            Value::Scalar(_) => 1,
            Value::Sequence(items) => items.iter().map(Self::count).sum::<usize>() + 1,
            Value::Mapping(entries) => entries.iter().map(|(k, v)| k.count() + v.count()).sum::<usize>() + 1,
        }
    }

    /// What a person calls it: `a list`, `a number`.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match &self.value {
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a map",
            Value::Scalar(scalar) => match scalar.kind {
                Kind::Null => "nothing",
                Kind::Bool(_) => "a boolean",
                Kind::Int(_) | Kind::Real => "a number",
                Kind::Timestamp => "a date",
                Kind::Str | Kind::Binary | Kind::Merge => "a string",
            },
        }
    }
}
