//! What a script is made of.

/// A piece of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text, quotes undone.
    Text(String),
    /// `$NAME`, `${NAME}`.
    Variable(String),
    /// What stands in `$(...)` or backticks.
    Command(String),
}

/// One word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Word {
    /// Its pieces.
    pub parts: Vec<Part>,
    /// Whether an unquoted `*`, `?`, `[` or `{` stands in it, which a shell would expand to names of files.
    pub glob: bool,
}

impl Word {
    /// The text, when nothing in it has to be looked up.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    pub(super) fn push(&mut self, c: char) {
        match self.parts.last_mut() {
            Some(Part::Text(text)) => text.push(c),
            _ => self.parts.push(Part::Text(c.into())),
        }
    }

    /// An empty pair of quotes makes a word as well.
    pub(super) fn touch(&mut self) {
        if self.parts.is_empty() {
            self.parts.push(Part::Text(String::new()));
        }
    }
}

/// A file that output goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The file.
    pub file: Word,
    /// `>>`.
    pub append: bool,
}

/// A command of a pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Simple {
    /// `NAME=value` in front of it.
    pub assignments: Vec<(String, Word)>,
    /// Program and arguments.
    pub words: Vec<Word>,
    /// Where its output goes, when that is a file other than `/dev/null`.
    pub output: Option<Output>,
    /// Whether its output goes nowhere.
    pub silent: bool,
    /// A here-document.
    pub input: Option<Word>,
}

/// How a statement depends on the one before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Link {
    /// It does not.
    #[default]
    Always,
    /// `&&`.
    And,
    /// `||`.
    Or,
}

/// A pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statement {
    /// The line it begins on, from 1.
    pub line: usize,
    /// How it depends on the statement before it.
    pub link: Link,
    /// Its commands, at least one.
    pub commands: Vec<Simple>,
    /// It as it was written, with its here-documents.
    pub text: String,
}

/// What the agent cannot follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ShellError {
    /// The line, from 1.
    pub line: usize,
    /// What stands there: `` `for` ``, `a subshell`. Never an argument.
    pub what: String,
}
