//! What is said about one key of the user-data.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A place in a text; both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl Position {
    /// The first character of a text.
    pub const START: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It takes effect.
    Applied,
    /// It has no effect here and does no harm; said once.
    Ignored,
    /// It would change what the node does, and this program cannot do it. Nomad is not started.
    Refused,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Applied => "applied",
            Self::Ignored => "ignored",
            Self::Refused => "refused",
        })
    }
}

/// A verdict with its place and its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What becomes of the key.
    pub verdict: Verdict,
    /// Where the key stands: in the user-data, or in [`Finding::part`] or [`Finding::file`] when one is set.
    pub at: Position,
    /// The part that the position is in, when there is more than plain user-data: `user-data part 2 (server.yaml)`.
    /// Lines and columns count in the part's decoded text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// The file of Nomad's configuration that the position is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The key, with its path: `write_files[2].encoding`. Empty when the document as a whole is meant.
    pub key: String,
    /// Why, and the way out. Never holds the content of a file.
    pub message: String,
    /// Whether it breaks the promise of the image's role, which `steppe.on_refuse=continue` does not override.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub role: bool,
}

impl Finding {
    /// A finding about a key of the user-data.
    pub fn new(verdict: Verdict, at: Position, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { verdict, at, part: None, file: None, key: key.into(), message: message.into(), role: false }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.file.as_deref().or(self.part.as_deref()).unwrap_or("user-data");
        write!(f, "{}: {place}:{}: ", self.verdict, self.at)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_people_names_place_key_and_reason() {
        let at = Position { line: 3, column: 1 };
        let mut finding = Finding::new(Verdict::Refused, at, "chef", "no such program");
        assert_eq!(finding.to_string(), "refused: user-data:3:1: chef: no such program");
        finding.part = Some("user-data part 2 (a.yaml)".into());
        assert_eq!(finding.to_string(), "refused: user-data part 2 (a.yaml):3:1: chef: no such program");
        finding.file = Some("/etc/nomad.d/a.hcl".into());
        finding.key.clear();
        assert_eq!(finding.to_string(), "refused: /etc/nomad.d/a.hcl:3:1: no such program");
    }
}
