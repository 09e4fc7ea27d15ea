//! The configuration dialect: HCL 1 and JSON by one lenient parser, chosen by the first character and not by the file name.
//!
//! The result keeps the order and every repetition of a key, because both matter later: a block may be repeated, a scalar may not.

use thiserror::Error;

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
    fn pos(&self) -> Pos {
        Pos { line: self.line, column: self.at.saturating_sub(self.start) + 1 }
    }

    fn error(&self, reason: impl Into<String>) -> SyntaxError {
        SyntaxError { pos: self.pos(), reason: reason.into() }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn step(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        if byte == b'\n' {
            self.line += 1;
            self.start = self.at;
        }
        Some(byte)
    }

    /// Skips white space and, in HCL, comments.
    fn space(&mut self) -> Result<(), SyntaxError> {
        while let Some(byte) = self.peek() {
            let next = self.text.get(self.at + 1).copied();
            if byte.is_ascii_whitespace() {
                self.step();
            } else if !self.json && (byte == b'#' || byte == b'/' && next == Some(b'/')) {
                while self.peek().is_some_and(|byte| byte != b'\n') {
                    self.step();
                }
            } else if !self.json && byte == b'/' && next == Some(b'*') {
                self.at += 2;
                loop {
                    match self.step() {
                        Some(b'*') if self.peek() == Some(b'/') => break,
                        Some(_) => {}
                        None => return Err(self.error("comment not terminated")),
                    }
                }
                self.at += 1;
            } else {
                break;
            }
        }
        Ok(())
    }

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

    fn word(&mut self) -> String {
        let from = self.at;
        while self.peek().is_some_and(is_word) {
            self.at += 1;
        }
        String::from_utf8_lossy(&self.text[from..self.at]).into_owned()
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

    fn quoted(&mut self) -> Result<String, SyntaxError> {
        self.step();
        let mut out = Vec::new();
        loop {
            match self.step() {
                None | Some(b'\n') => return Err(self.error("literal not terminated")),
                Some(b'"') => break,
                Some(b'\\') => match self.step() {
                    Some(b'n') => out.push(b'\n'),
                    Some(b't') => out.push(b'\t'),
                    Some(b'r') => out.push(b'\r'),
                    Some(b'u') => {
                        let hex = self.text.get(self.at..self.at + 4).unwrap_or_default();
                        let code = std::str::from_utf8(hex).ok().and_then(|hex| u32::from_str_radix(hex, 16).ok());
                        let Some(char) = code.and_then(char::from_u32) else {
                            return Err(self.error("illegal char escape"));
                        };
                        self.at += 4;
                        out.extend(char.encode_utf8(&mut [0; 4]).bytes());
                    }
                    Some(byte @ (b'"' | b'\\' | b'/')) => out.push(byte),
                    _ => return Err(self.error("illegal char escape")),
                },
                Some(byte) => out.push(byte),
            }
        }
        String::from_utf8(out).map_err(|_| self.error("literal is not UTF-8"))
    }

    /// `<<EOF` or `<<-EOF`, up to a line that holds the word alone.
    fn heredoc(&mut self) -> Result<String, SyntaxError> {
        self.step();
        if self.step() != Some(b'<') {
            return Err(self.error("heredoc expected second '<'"));
        }
        let indented = self.peek() == Some(b'-');
        if indented {
            self.step();
        }
        let mark = self.word();
        if mark.is_empty() {
            return Err(self.error("zero-length heredoc anchor"));
        }
        let mut lines: Vec<String> = Vec::new();
        self.step();
        loop {
            let from = self.at;
            while self.peek().is_some_and(|byte| byte != b'\n') {
                self.at += 1;
            }
            let line = String::from_utf8_lossy(&self.text[from..self.at]).into_owned();
            if line.trim() == mark {
                break;
            }
            if self.step().is_none() {
                return Err(self.error("heredoc not terminated"));
            }
            lines.push(line);
        }
        if indented {
            let depth = lines
                .iter()
                .filter(|line| !line.trim().is_empty())
                .map(|line| line.len() - line.trim_start().len())
                .min()
                .unwrap_or(0);
            for line in &mut lines {
                *line = line.get(depth..).unwrap_or_default().to_owned();
            }
        }
        Ok(lines.iter().map(|line| format!("{line}\n")).collect())
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.') || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Item, Raw, parse};

    #[test]
    fn labels_become_nested_objects() {
        let items = parse("plugin \"raw_exec\" {\n config { enabled = true }\n}").unwrap();
        assert_eq!(items[0].key, "plugin");
        let Raw::Object(inner) = &items[0].value else { panic!("no object") };
        assert_eq!(inner[0].key, "raw_exec");
    }

    #[test]
    fn json_is_read_leniently() {
        let items = parse("{\"server\": {\"enabled\": true,}, \"a\": 1 } trailing").unwrap();
        assert_eq!(items.len(), 2);
        assert_eq!(parse("{\"server\": {\"enabled\": true").unwrap().len(), 1);
        assert!(parse("[{}]").is_err());
        assert!(parse("{ // no\n\"a\": 1}").is_err());
    }

    #[test]
    fn an_open_block_is_named_with_its_place() {
        let error = parse("server {\n  enabled = true\n").unwrap_err();
        assert_eq!(error.to_string(), "At 3:1: object expected closing RBRACE got: EOF");
    }

    #[test]
    fn nesting_is_bounded() {
        assert!(parse(&"a {".repeat(200)).is_err());
        assert!(parse(&format!("a = {}", "[".repeat(200))).is_err());
        assert!(parse(&format!("{}{{}}", "a ".repeat(200))).is_err());
        assert!(parse(&format!("{}a {{}}{}", "a {".repeat(40), "}".repeat(40))).is_ok());
    }

    #[test]
    fn heredocs_keep_their_lines() {
        let text = |source: &str| parse(source).map(|items| items[0].value.clone());
        assert_eq!(text("a = <<EOF\n x\n\ny\nEOF\n"), Ok(Raw::Text(" x\n\ny\n".into())));
        assert_eq!(text("a = <<-E\n  x\n\n   y\n  E\n"), Ok(Raw::Text("x\n\n y\n".into())));
        assert!(text("a = <<EOF\nx\n").is_err() && text("a = <x").is_err() && text("a = <<").is_err());
    }

    /// What has no place: keys and values, in order.
    #[derive(Debug, Clone, PartialEq)]
    enum Tree {
        Leaf(Raw),
        List(Vec<Tree>),
        Block(Vec<(String, Tree)>),
    }

    fn tree(raw: &Raw) -> Tree {
        match raw {
            Raw::List(list) => Tree::List(list.iter().map(|(raw, _)| tree(raw)).collect()),
            Raw::Object(items) => block(items),
            leaf => Tree::Leaf(leaf.clone()),
        }
    }

    fn block(items: &[Item]) -> Tree {
        Tree::Block(items.iter().map(|item| (item.key.clone(), tree(&item.value))).collect())
    }

    /// Writes a tree as HCL 1, or as JSON.
    fn write(tree: &Tree, json: bool, out: &mut String) {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        match tree {
            Tree::Leaf(Raw::Text(text)) => out.push_str(&quoted(text)),
            Tree::Leaf(Raw::Number(number)) => out.push_str(number),
            Tree::Leaf(Raw::Bool(on)) => out.push_str(if *on { "true" } else { "false" }),
            Tree::Leaf(_) => {}
            Tree::List(list) => {
                out.push('[');
                for (n, tree) in list.iter().enumerate() {
                    out.push_str(if n == 0 { "" } else { ", " });
                    write(tree, json, out);
                }
                out.push(']');
            }
            Tree::Block(items) => {
                out.push('{');
                write_items(items, json, out);
                out.push('}');
            }
        }
    }

    fn write_items(items: &[(String, Tree)], json: bool, out: &mut String) {
        for (n, (key, tree)) in items.iter().enumerate() {
            let between = match (json, tree) {
                (true, _) => ":",
                (false, Tree::Block(_)) => " ",
                (false, _) => " = ",
            };
            out.push_str(if n == 0 {
                ""
            } else if json {
                ","
            } else {
                "\n# and\n"
            });
            out.push_str(&serde_json::Value::from(key.as_str()).to_string());
            out.push_str(between);
            write(tree, json, out);
        }
    }

    fn trees() -> impl Strategy<Value = Tree> {
        let leaf = prop_oneof![
            "[ -!#-\\[\\]-~\u{e4}\n\t]{0,8}".prop_map(Raw::Text),
            (-99..99i32).prop_map(|n| Raw::Number(n.to_string())),
            any::<bool>().prop_map(Raw::Bool),
        ];
        leaf.prop_map(Tree::Leaf).prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Tree::List),
                proptest::collection::vec(("[a-z ]{1,4}", inner), 0..4).prop_map(Tree::Block),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_an_error(text: String) {
            let _ = parse(&text);
            let _ = parse(&format!("{{{text}"));
        }

        #[test]
        fn what_is_written_is_read_back(items in proptest::collection::vec(("[a-z ]{1,4}", trees()), 0..4), json: bool) {
            let mut text = String::from(if json { "{" } else { "" });
            write_items(&items, json, &mut text);
            text.push_str(if json { "}" } else { "\n" });
            let read = parse(&text).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
            prop_assert_eq!(block(&read), Tree::Block(items), "{}", text);
        }

        #[test]
        fn whatever_comes_is_an_answer_with_a_place_inside_the_text(text in "[ a-c{}\\[\\]=:,\"#/*<\\n\\\\u0-9-]{0,60}") {
            if let Err(error) = parse(&text) {
                prop_assert!(error.pos.line <= text.lines().count() + 1);
            }
        }

        #[test]
        fn strings_go_through_json(text in "\\PC{0,20}") {
            let items = parse(&serde_json::json!({ "a": text }).to_string()).unwrap();
            prop_assert_eq!(&items[0].value, &Raw::Text(text));
        }
    }
}
