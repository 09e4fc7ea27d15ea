//! The configuration dialect: HCL 1 and JSON by one lenient parser, chosen by the first character and not by the file name.
//!
//! The result keeps the order and every repetition of a key, because both matter later: a block may be repeated, a scalar may not.

mod scan;
#[cfg(test)]
mod tests;

use thiserror::Error;

use self::scan::is_word;

/// Place of a token in its file, both counted from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pos {
    /// Line.
    pub(crate) line: usize,
    /// Column, in bytes.
    pub(crate) column: usize,
}

/// A value as it stands in the file, before any conversion.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Raw {
    /// A quoted string, or a heredoc.
    Text(String),
    /// A number, as it is written.
    Number(String),
    /// `true` or `false`.
    Bool(bool),
    /// JSON's `null`.
    Null,
    /// `[ ... ]`
    List(Vec<(Raw, Pos)>),
    /// `{ ... }`: a block or a map, in file order.
    Object(Vec<Item>),
}

/// One `key = value`, or one block; the labels of a block are nested objects.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    /// The key.
    pub(crate) key: String,
    /// Its value.
    pub(crate) value: Raw,
    /// Where the value starts.
    pub(crate) pos: Pos,
}

/// Why a text is no configuration.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("At {line}:{column}: {reason}", line = pos.line, column = pos.column)]
pub(crate) struct SyntaxError {
    /// Where.
    pub(crate) pos: Pos,
    /// What was expected, and found.
    pub(crate) reason: String,
}

/// Parses a whole file.
///
/// # Errors
/// The first place that is neither HCL 1 nor lenient JSON.
pub(crate) fn parse(text: &str) -> Result<Vec<Item>, SyntaxError> {
    let json = text.trim_start().starts_with('{');
    let mut parser = Parser { text: text.as_bytes(), at: 0, line: 1, start: 0, json, depth: 0 };
    parser.space()?;
    if text.trim_start().starts_with('[') {
        return Err(parser.error("object expected, got: LBRACK"));
    }
    if json {
        parser.at += 1;
        parser.items(true)
    } else {
        parser.items(false)
    }
}

/// Deeper nesting than this is an attack on the stack, not a configuration.
const DEEPEST: usize = 64;

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
    start: usize,
    json: bool,
    depth: usize,
}

impl Parser<'_> {
    /// The items of an object; `nested` ones end with a brace.
    fn items(&mut self, nested: bool) -> Result<Vec<Item>, SyntaxError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.error("objects are nested too deeply"));
        }
        let mut items = Vec::new();
        loop {
            self.space()?;
            match self.peek() {
                // Closing braces that are missing at the end of a JSON text are taken as written.
                None if !nested || self.json => break,
                None => return Err(self.error("object expected closing RBRACE got: EOF")),
                Some(b'}') if nested => {
                    self.step();
                    break;
                }
                Some(b',') => {
                    self.step();
                }
                Some(_) => items.push(self.item()?),
            }
        }
        self.depth -= 1;
        Ok(items)
    }

    fn item(&mut self) -> Result<Item, SyntaxError> {
        let mut keys = vec![self.key()?];
        loop {
            self.space()?;
            match self.peek() {
                Some(b'=') if !self.json => {
                    self.step();
                    break;
                }
                Some(b':') if self.json => {
                    self.step();
                    break;
                }
                Some(b'{') if !self.json => break,
                // Labels become nested objects, so they count as such.
                Some(_) if self.depth + keys.len() > DEEPEST => return Err(self.error("objects are nested too deeply")),
                Some(byte) if !self.json && (byte == b'"' || is_word(byte)) => keys.push(self.key()?),
                Some(byte) => {
                    return Err(self.error(format!(
                        "key '{}' expected start of object ('{{') or assignment ('=') got: {}",
                        keys.join(" "),
                        byte as char
                    )));
                }
                None => {
                    return Err(self.error(format!(
                        "key '{}' expected start of object ('{{') or assignment ('=')",
                        keys.join(" ")
                    )));
                }
            }
        }
        self.space()?;
        let pos = self.pos();
        let mut value = self.value()?;
        // Labels become objects within objects: `plugin "x" {}` is `plugin = { x = {} }`.
        while keys.len() > 1 {
            let key = keys.pop().unwrap_or_default();
            value = Raw::Object(vec![Item { key, value, pos }]);
        }
        Ok(Item { key: keys.pop().unwrap_or_default(), value, pos })
    }

    fn key(&mut self) -> Result<String, SyntaxError> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(byte) if !self.json && is_word(byte) => Ok(self.word()),
            Some(byte) if self.json => Err(self.error(format!("illegal char: {:?}", byte as char))),
            Some(byte) => Err(self.error(format!("object expected key, got: {}", byte as char))),
            None => Err(self.error("object expected key, got: EOF")),
        }
    }

    fn value(&mut self) -> Result<Raw, SyntaxError> {
        match self.peek() {
            Some(b'"') => self.quoted().map(Raw::Text),
            Some(b'{') => {
                self.step();
                self.items(true).map(Raw::Object)
            }
            Some(b'[') => {
                self.step();
                self.list()
            }
            Some(b'<') if !self.json => self.heredoc().map(Raw::Text),
            Some(byte) if is_word(byte) || byte == b'-' || byte == b'+' => {
                let pos = self.pos();
                let from = self.at;
                while self.peek().is_some_and(|byte| is_word(byte) || matches!(byte, b'+' | b'-')) {
                    self.at += 1;
                }
                let word = String::from_utf8_lossy(&self.text[from..self.at]).into_owned();
                match word.as_str() {
                    "true" => Ok(Raw::Bool(true)),
                    "false" => Ok(Raw::Bool(false)),
                    "null" if self.json => Ok(Raw::Null),
                    _ if byte.is_ascii_digit() || matches!(byte, b'-' | b'+') => Ok(Raw::Number(word)),
                    _ => Err(SyntaxError { pos, reason: format!("Unknown token: {word}") }),
                }
            }
            Some(b'/') if !self.json => Err(self.error("expected '/' for comment")),
            Some(byte) if self.json => Err(self.error(format!("illegal char: {:?}", byte as char))),
            Some(byte) => Err(self.error(format!("Unknown token: {}", byte as char))),
            None => Err(self.error("expected a value, got: EOF")),
        }
    }

    fn list(&mut self) -> Result<Raw, SyntaxError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.error("lists are nested too deeply"));
        }
        let mut list = Vec::new();
        loop {
            self.space()?;
            match self.peek() {
                Some(b']') => {
                    self.step();
                    break;
                }
                Some(b',') => {
                    self.step();
                }
                None => return Err(self.error("error parsing list, expected comma or list end, got: EOF")),
                Some(_) => {
                    let pos = self.pos();
                    list.push((self.value()?, pos));
                }
            }
        }
        self.depth -= 1;
        Ok(Raw::List(list))
    }
}
