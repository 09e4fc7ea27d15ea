//! Enough of HCL 1 to say where a configuration of Nomad is not one, and what it says about roles and peers.
//!
//! The agent passes the files through untouched and Nomad's own parser has the last word. This one finds what a person
//! gets wrong in user-data (an open brace, an open string), before Nomad is started, with line and column.

use crate::node::userdata::Position;

/// Nesting deeper than this is refused.
const MAX_DEPTH: usize = 64;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `true`, `false`.
    Bool(bool),
    /// A number, as written.
    Number(String),
    /// A string or heredoc; interpolation is kept as written.
    String(String),
    /// A list.
    List(Vec<Value>),
    /// A block or object.
    Object(Vec<Item>),
    /// JSON's `null`.
    Null,
}

/// `key label... value` or `key = value`.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The key and its labels.
    pub keys: Vec<String>,
    /// Where the key stands.
    pub at: Position,
    /// What it holds.
    pub value: Value,
}

/// Why a text is not HCL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// Where.
    pub at: Position,
    /// Why.
    pub message: String,
}

/// Parses a file: JSON when it begins with a brace (Nomad looks at the content, not at the name), else HCL.
///
/// # Errors
/// With the place of the first thing that does not fit.
pub fn parse(text: &str) -> Result<Vec<Item>, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('{') {
        return super::json::parse(text);
    }
    let mut parser = Parser { chars: text.chars().collect(), next: 0, at: Position::START, depth: 0 };
    let items = parser.body(None)?;
    Ok(items)
}

struct Parser {
    chars: Vec<char>,
    next: usize,
    at: Position,
    depth: usize,
}

fn fail<T>(at: Position, message: impl Into<String>) -> Result<T, SyntaxError> {
    Err(SyntaxError { at, message: message.into() })
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.next).copied()
    }

    fn peek_second(&self) -> Option<char> {
        self.chars.get(self.next + 1).copied()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.next += 1;
        if c == '\n' {
            self.at = Position { line: self.at.line + 1, column: 1 };
        } else {
            self.at.column += 1;
        }
        Some(c)
    }

    /// White space and comments.
    fn skip(&mut self) -> Result<(), SyntaxError> {
        loop {
            match (self.peek(), self.peek_second()) {
                (Some(c), _) if c.is_whitespace() => {
                    self.bump();
                }
                (Some('#'), _) | (Some('/'), Some('/')) => while self.bump().is_some_and(|c| c != '\n') {},
                (Some('/'), Some('*')) => {
                    let start = self.at;
                    self.bump();
                    self.bump();
                    loop {
                        match self.bump() {
                            Some('*') if self.peek() == Some('/') => break,
                            Some(_) => {}
                            None => return fail(start, "this comment has no end"),
                        }
                    }
                    self.bump();
                }
                _ => return Ok(()),
            }
        }
    }

    /// Items up to the end of the text, or up to the brace that closes the one at `open`.
    fn body(&mut self, open: Option<Position>) -> Result<Vec<Item>, SyntaxError> {
        let mut items = Vec::new();
        loop {
            self.skip()?;
            match (self.peek(), open) {
                (None, None) => return Ok(items),
                (None, Some(open)) => return fail(open, "this brace is never closed"),
                (Some('}'), Some(_)) => {
                    self.bump();
                    return Ok(items);
                }
                (Some('}'), None) => return fail(self.at, "this brace closes nothing"),
                (Some(','), _) => {
                    self.bump();
                }
                _ => items.push(self.item()?),
            }
        }
    }

    fn item(&mut self) -> Result<Item, SyntaxError> {
        let at = self.at;
        let mut keys = Vec::new();
        loop {
            self.skip()?;
            match self.peek() {
                Some('"') => keys.push(self.quoted_key()?),
                Some('=' | ':') if !keys.is_empty() => {
                    self.bump();
                    self.skip()?;
                    return Ok(Item { keys, at, value: self.value()? });
                }
                Some('{') if !keys.is_empty() => return Ok(Item { keys, at, value: self.object()? }),
                Some(c) if is_identifier(c) => keys.push(self.word()),
                Some(c) => return fail(self.at, format!("{c:?} does not fit here: expected a key, `=` or `{{`")),
                None => return fail(at, format!("{:?} has no value", keys.join(" "))),
            }
        }
    }

    fn object(&mut self) -> Result<Value, SyntaxError> {
        let open = self.at;
        self.bump();
        self.enter(open)?;
        let items = self.body(Some(open))?;
        self.depth -= 1;
        Ok(Value::Object(items))
    }

    fn enter(&mut self, at: Position) -> Result<(), SyntaxError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { fail(at, format!("nested deeper than {MAX_DEPTH} levels")) } else { Ok(()) }
    }

    fn value(&mut self) -> Result<Value, SyntaxError> {
        match self.peek() {
            Some('"') => self.string().map(Value::String),
            Some('{') => self.object(),
            Some('[') => self.list(),
            Some('<') if self.peek_second() == Some('<') => self.heredoc().map(Value::String),
            Some(c) if c.is_ascii_digit() || c == '-' || c == '+' => Ok(Value::Number(self.word())),
            Some(c) if is_identifier(c) => {
                let at = self.at;
                match self.word().as_str() {
                    "true" => Ok(Value::Bool(true)),
                    "false" => Ok(Value::Bool(false)),
                    word => fail(at, format!("{word:?} is no value: strings stand in double quotes")),
                }
            }
            Some(c) => fail(self.at, format!("{c:?} does not fit here: expected a value")),
            None => fail(self.at, "the text ends where a value should be"),
        }
    }

    fn list(&mut self) -> Result<Value, SyntaxError> {
        let open = self.at;
        self.bump();
        self.enter(open)?;
        let mut values = Vec::new();
        let mut comma = true;
        loop {
            self.skip()?;
            match self.peek() {
                None => return fail(open, "this bracket is never closed"),
                Some(']') => {
                    self.bump();
                    self.depth -= 1;
                    return Ok(Value::List(values));
                }
                Some(',') if !comma => {
                    self.bump();
                    comma = true;
                }
                Some(_) if comma => {
                    values.push(self.value()?);
                    comma = false;
                }
                Some(c) => return fail(self.at, format!("{c:?} does not fit here: expected a comma or a bracket")),
            }
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.peek().filter(|c| is_identifier(*c) || *c == '+') {
            word.push(c);
            self.bump();
        }
        word
    }

    /// A key in quotes. With an escape it could spell `server` in a way that only Nomad would read as that.
    fn quoted_key(&mut self) -> Result<String, SyntaxError> {
        let (at, start) = (self.at, self.next);
        let key = self.string()?;
        if self.chars[start..self.next].contains(&'\\') {
            return fail(at, "this key holds an escape (\\): write its characters as they are");
        }
        Ok(key)
    }

    /// A quoted string. Quotes inside `${...}` belong to the interpolation.
    fn string(&mut self) -> Result<String, SyntaxError> {
        let start = self.at;
        self.bump();
        let mut out = String::new();
        let mut braces = 0_usize;
        loop {
            match self.bump() {
                None => return fail(start, "this string has no end"),
                Some('\n') if braces == 0 => return fail(start, "this string has no end on its line"),
                Some('"') if braces == 0 => return Ok(out),
                Some('$') if self.peek() == Some('{') => {
                    self.bump();
                    out.push_str("${");
                    braces += 1;
                }
                Some('{') if braces > 0 => {
                    braces += 1;
                    out.push('{');
                }
                Some('}') if braces > 0 => {
                    braces -= 1;
                    out.push('}');
                }
                Some('\\') if braces == 0 => match self.bump() {
                    Some('n') => out.push('\n'),
                    Some('t') => out.push('\t'),
                    Some(c) => out.push(c),
                    None => return fail(start, "this string has no end"),
                },
                Some(c) => out.push(c),
            }
        }
    }

    /// `<<EOF` or `<<-EOF`, up to a line that holds only the word.
    fn heredoc(&mut self) -> Result<String, SyntaxError> {
        let start = self.at;
        self.bump();
        self.bump();
        if self.peek() == Some('-') {
            self.bump();
        }
        let word = self.word();
        if word.is_empty() {
            return fail(start, "this heredoc has no word behind <<");
        }
        while self.peek().is_some_and(|c| c == '\r' || c == ' ') {
            self.bump();
        }
        if self.peek() != Some('\n') {
            return fail(self.at, "a heredoc begins on the line below its word");
        }
        self.bump();
        let mut out = String::new();
        loop {
            let mut line = String::new();
            while let Some(c) = self.peek().filter(|c| *c != '\n') {
                line.push(c);
                self.bump();
            }
            if line.trim() == word {
                return Ok(out);
            }
            if self.bump().is_none() {
                return fail(start, format!("this heredoc has no end: no line holds only {word}"));
            }
            out.push_str(&line);
            out.push('\n');
        }
    }
}

/// Whether a key is this one (given in lower case), as HCL 1 compares: without case, by Unicode's simple folding, in
/// which two letters outside ASCII equal ASCII ones.
#[must_use]
pub fn is_key(key: &str, name: &str) -> bool {
    fold(key) == name
}

/// A key as [`is_key`] compares it.
#[must_use]
pub fn fold(key: &str) -> String {
    let fold = |c| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    key.chars().map(fold).collect()
}

fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> String {
        let error = parse(text).unwrap_err();
        format!("{}: {error}", error.at)
    }

    #[test]
    fn what_people_write_is_read() {
        let items = parse(
            "# comment\nserver {\n  enabled = true // yes\n  server_join { retry_join = [\"a\", \"b\",] }\n}\n\
             plugin \"raw_exec\" { config { enabled = true } }\n/* x */ client = { \"enabled\" = false }\n\
             x = <<EOF\nhello {\nEOF\nname = \"a ${b[\"c\"]} {{ GetPrivateIP }} \\\"\" n = -1.5e+3\n",
        )
        .unwrap();
        assert_eq!(items.len(), 6);
        assert_eq!(items[1].keys, ["plugin", "raw_exec"]);
        assert_eq!(items[2].at, Position { line: 7, column: 9 });
        assert_eq!(items[3].value, Value::String("hello {\n".into()));
        assert_eq!(items[5].value, Value::Number("-1.5e+3".into()));
    }

    #[test]
    fn errors_name_the_place_where_a_person_looks() {
        assert_eq!(error("server {\n  enabled = true\n"), "1:8: this brace is never closed");
        assert_eq!(error("a = 1\n}\n"), "2:1: this brace closes nothing");
        assert_eq!(error("a = \"b\nc = 1\n"), "1:5: this string has no end on its line");
        assert!(error("a = <<EOF\nx\n").starts_with("1:5: this heredoc has no end"));
        assert_eq!(error("a = 1 /* x"), "1:7: this comment has no end");
        assert!(error("enabled = yes").contains("strings stand in double quotes"));
        assert!(error("a = [\"b\" \"c\"]").starts_with("1:10"));
        assert!(error("a\n").contains("has no value"));
        assert_eq!(error("a = ["), "1:5: this bracket is never closed");
        assert!(error("x = 1\n\"\\u0073erver\" { enabled = true }").starts_with("2:1: this key holds an escape"));
    }

    #[test]
    fn depth_is_limited() {
        assert!(error(&"a {".repeat(1000)).contains("nested deeper"));
        assert!(error(&format!("a = {}", "[".repeat(1000))).contains("nested deeper"));
    }

    proptest! {
        #[test]
        fn any_text_parses_or_fails(text: String) {
            let _ = parse(&text);
        }

        #[test]
        fn hcl_looking_text_parses_or_fails(text in "(server|client|a|\"|\\{|\\}|\\[|\\]|=| |\n|<<EOF|EOF|\\$\\{|/\\*|#|true|1|,){0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn strings_survive(value in "[a-zA-Z0-9 .:/{}-]{0,40}") {
            let items = parse(&format!("a {{ b = \"{value}\" }}")).unwrap();
            let Value::Object(inner) = &items[0].value else { panic!() };
            prop_assert_eq!(&inner[0].value, &Value::String(value));
        }
    }
}
