//! The part of POSIX shell grammar (XCU 2) that user-data is written in: simple commands with quoting, variables,
//! pipes, redirections to files, `;`, `&&` and here-documents. Nothing is ever run by it: the statements are matched
//! against what the agent can do itself.
//!
//! Control structures, functions, subshells and background jobs are errors with their line; [`Script`] goes on behind
//! them, so that a converter can say of each what it is.

mod document;
mod recover;
mod syntax;
mod word;

pub use syntax::{Link, Output, Part, ShellError, Simple, Statement, Word};
use word::is_name;

/// A script, statement by statement.
#[derive(Debug)]
pub struct Script {
    chars: Vec<char>,
    next: usize,
    /// Behind the here-documents that begin below the current line.
    documents: Option<usize>,
    link: Link,
    /// Where the current statement begins, and on which line: lines are counted from there.
    counted: (usize, usize),
}

impl Script {
    /// Reads a text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { chars: text.chars().collect(), next: 0, documents: None, link: Link::Always, counted: (0, 1) }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.next).copied()
    }

    fn looks_at(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(n, c)| self.chars.get(self.next + n) == Some(&c))
    }

    fn line(&self) -> usize {
        let (from, line) = self.counted;
        let to = self.next.min(self.chars.len()).max(from);
        line + self.chars[from..to].iter().filter(|c| **c == '\n').count()
    }

    fn fail<T>(&self, what: impl Into<String>) -> Result<T, ShellError> {
        Err(ShellError { line: self.line(), what: what.into() })
    }

    /// A newline, or the end of the documents that stand below it.
    fn newline(&mut self) {
        self.next = self.documents.take().unwrap_or(self.next + 1);
    }

    /// Blanks, continued lines and comments.
    fn blanks(&mut self) {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r') => self.next += 1,
                Some('\\') if self.chars.get(self.next + 1) == Some(&'\n') => self.next += 2,
                Some('#') => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.next += 1;
                    }
                }
                _ => return,
            }
        }
    }

    fn statement(&mut self) -> Result<Option<Statement>, ShellError> {
        loop {
            self.blanks();
            match self.peek() {
                None => return Ok(None),
                Some('\n') => self.newline(),
                Some(';') => self.next += 1,
                Some(_) => break,
            }
        }
        self.counted = (self.next, self.line());
        let start = self.next;
        let mut statement =
            Statement { line: self.counted.1, link: std::mem::take(&mut self.link), ..Statement::default() };
        let documents = self.documents;
        self.pipeline(&mut statement)?;
        statement.text = self.written(start, documents);
        Ok(Some(statement))
    }

    /// What stands from `start` to here, and the here-documents that came since `documents`.
    fn written(&self, start: usize, documents: Option<usize>) -> String {
        let text: String = self.chars[start..self.next.min(self.chars.len())].iter().collect();
        let text = text.trim_end_matches([' ', '\t', '&', '|', ';']).to_owned();
        let Some(end) = self.documents.filter(|end| documents != Some(*end)) else { return text };
        let rest = &self.chars[self.next.min(self.chars.len())..];
        let line_end = rest.iter().position(|c| *c == '\n').map_or(self.chars.len(), |n| self.next + n + 1);
        let from = documents.unwrap_or(line_end).min(end);
        let body: String = self.chars[from..end].iter().collect();
        format!("{text}\n{body}")
    }

    fn pipeline(&mut self, statement: &mut Statement) -> Result<(), ShellError> {
        loop {
            statement.commands.push(self.simple()?);
            match (self.peek(), self.chars.get(self.next + 1)) {
                (Some('|'), Some('|')) => {
                    self.next += 2;
                    self.link = Link::Or;
                    return Ok(());
                }
                (Some('&'), Some('&')) => {
                    self.next += 2;
                    self.link = Link::And;
                    return Ok(());
                }
                (Some('|'), _) => {
                    self.next += 1;
                    self.blanks();
                    while self.peek() == Some('\n') {
                        self.newline();
                        self.blanks();
                    }
                }
                (Some('&'), _) => return self.fail("a background job (`&`)"),
                (Some(';'), Some(';')) => return self.fail("`case`"),
                _ => return Ok(()),
            }
        }
    }

    fn simple(&mut self) -> Result<Simple, ShellError> {
        let mut simple = Simple::default();
        loop {
            self.blanks();
            match self.peek() {
                None | Some('\n' | ';' | '|') => break,
                Some('&') if !self.looks_at("&>") => break,
                Some('(') => return self.fail("a subshell or a function (`(`)"),
                Some(')') => return self.fail("an unexpected `)`"),
                Some('>' | '<') => self.redirect(&mut simple, true)?,
                Some('&') => {
                    self.next += 1;
                    self.redirect(&mut simple, true)?;
                }
                Some(c @ ('0'..='9')) if matches!(self.chars.get(self.next + 1), Some('>' | '<')) => {
                    self.next += 1;
                    self.redirect(&mut simple, c == '1')?;
                }
                Some(_) => {
                    let start = self.next;
                    let word = self.word()?;
                    if simple.words.is_empty() {
                        if let Some(assignment) = self.assignment(start, &word) {
                            simple.assignments.push(assignment);
                            continue;
                        }
                        if let Some(keyword) = word.text().filter(|text| KEYWORDS.contains(text)) {
                            self.next = start;
                            return self.fail(format!("`{keyword}`"));
                        }
                    }
                    simple.words.push(word);
                }
            }
        }
        if simple.words.is_empty() && simple.assignments.is_empty() && simple.output.is_none() {
            return self.fail("a command is missing");
        }
        Ok(simple)
    }

    /// `NAME=value`, when the word was written like that.
    fn assignment(&self, start: usize, word: &Word) -> Option<(String, Word)> {
        let raw = &self.chars[start..self.next];
        let equals = raw.iter().position(|c| *c == '=')?;
        let name: String = raw[..equals].iter().collect();
        if !is_name(&name) {
            return None;
        }
        let mut value = word.clone();
        match value.parts.first_mut() {
            Some(Part::Text(text)) => *text = text.get(equals + 1..)?.to_owned(),
            _ => return None,
        }
        if value.parts.len() > 1 && value.parts.first() == Some(&Part::Text(String::new())) {
            value.parts.remove(0);
        }
        Some((name, value))
    }

    /// `standard`: it is the program's output, not its messages.
    fn redirect(&mut self, simple: &mut Simple, standard: bool) -> Result<(), ShellError> {
        if self.looks_at("<<<") {
            return self.fail("`<<<`");
        }
        if self.looks_at("<<") {
            self.next += 2;
            simple.input = Some(self.document()?);
            return Ok(());
        }
        if self.looks_at("<") {
            return self.fail("input from a file (`<`)");
        }
        self.next += 1;
        let append = self.peek() == Some('>');
        if append {
            self.next += 1;
        }
        if self.peek() == Some('&') {
            // `2>&1`, `>&2`: where messages go matters to nobody here.
            self.next += 1;
            while self.peek().is_some_and(|c| c.is_ascii_digit() || c == '-') {
                self.next += 1;
            }
            return Ok(());
        }
        if self.peek() == Some('(') {
            return self.fail("a process substitution (`>(`)");
        }
        self.blanks();
        if self.looks_at(">(") || self.looks_at("<(") {
            return self.fail("a process substitution (`>(`)");
        }
        let file = self.word()?;
        if file.text() == Some("/dev/null") {
            simple.silent |= standard;
        } else if standard {
            simple.output = Some(Output { file, append });
        }
        Ok(())
    }
}

/// Words that begin or continue what is more than a simple command (XCU 2.4).
const KEYWORDS: [&str; 19] = [
    "!", "[[", "{", "}", "case", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "select", "then",
    "time", "until", "while",
];

impl Iterator for Script {
    type Item = Result<Statement, ShellError>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.next;
        match self.statement() {
            Ok(statement) => statement.map(Ok),
            Err(error) => {
                // The statement may begin below blank lines and comments.
                self.recover(self.counted.0.max(start));
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests;
