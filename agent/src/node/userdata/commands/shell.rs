//! The part of POSIX shell grammar (XCU 2) that user-data is written in: simple commands with quoting, variables,
//! pipes, redirections to files, `;`, `&&` and here-documents. Nothing is ever run by it: the statements are matched
//! against what the agent can do itself.
//!
//! Control structures, functions, subshells and background jobs are errors with their line; [`Script`] goes on behind
//! them, so that a converter can say of each what it is.

/// Nesting of `$(...)` deeper than this is refused.
const MAX_DEPTH: usize = 8;

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

    fn push(&mut self, c: char) {
        match self.parts.last_mut() {
            Some(Part::Text(text)) => text.push(c),
            _ => self.parts.push(Part::Text(c.into())),
        }
    }

    /// An empty pair of quotes makes a word as well.
    fn touch(&mut self) {
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

    /// A here-document: its delimiter stands here, its lines below the current one.
    fn document(&mut self) -> Result<Word, ShellError> {
        let strip = self.peek() == Some('-');
        if strip {
            self.next += 1;
        }
        self.blanks();
        let quoted = matches!(self.peek(), Some('\'' | '"' | '\\'));
        let delimiter = self.word()?;
        let Some(delimiter) = delimiter.text().map(str::to_owned) else {
            return self.fail("a here-document with a variable delimiter");
        };
        let rest = &self.chars[self.next..];
        let end_of_line = rest.iter().position(|c| *c == '\n').map_or(self.chars.len(), |n| self.next + n + 1);
        let mut at = self.documents.unwrap_or(end_of_line);
        let mut body = String::new();
        loop {
            if at >= self.chars.len() {
                return self.fail("a here-document without its end");
            }
            let end = self.chars[at..].iter().position(|c| *c == '\n').map_or(self.chars.len(), |n| at + n);
            let line: String = self.chars[at..end].iter().collect();
            at = (end + 1).min(self.chars.len());
            let line = if strip { line.trim_start_matches('\t') } else { &line };
            if line.trim_end_matches('\r') == delimiter {
                break;
            }
            body += line;
            body.push('\n');
            if end == self.chars.len() {
                return self.fail("a here-document without its end");
            }
        }
        self.documents = Some(at);
        if quoted {
            return Ok(Word { parts: vec![Part::Text(body)], glob: false });
        }
        let mut inner = Script::new(&body);
        let mut word = Word::default();
        while let Some(c) = inner.peek() {
            match c {
                '\\' => {
                    inner.next += 1;
                    match inner.peek() {
                        Some(c @ ('$' | '`' | '\\')) => word.push(c),
                        Some('\n') => {}
                        Some(c) => {
                            word.push('\\');
                            word.push(c);
                        }
                        None => word.push('\\'),
                    }
                    inner.next += 1;
                }
                '$' | '`' => inner.dollar(&mut word, 0).map_err(|e| ShellError { line: self.line(), ..e })?,
                c => {
                    word.push(c);
                    inner.next += 1;
                }
            }
        }
        Ok(word)
    }

    fn word(&mut self) -> Result<Word, ShellError> {
        let mut word = Word::default();
        let start = self.next;
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\n' | '\r' | ';' | '&' | '|' | '<' | '>' | ')' => break,
                '(' => return self.fail("a subshell or a function (`(`)"),
                '\'' => {
                    word.touch();
                    self.next += 1;
                    loop {
                        match self.peek() {
                            Some('\'') => break,
                            Some(c) => word.push(c),
                            None => return self.fail("a quote (`'`) without its end"),
                        }
                        self.next += 1;
                    }
                    self.next += 1;
                }
                '"' => self.double_quotes(&mut word)?,
                '\\' => {
                    self.next += 1;
                    match self.peek() {
                        Some('\n') => {}
                        Some(c) => word.push(c),
                        None => return self.fail("a `\\` at the end"),
                    }
                    self.next += 1;
                }
                '$' | '`' => self.dollar(&mut word, 0)?,
                c => {
                    word.glob |= matches!(c, '*' | '?' | '[' | '{') || (c == '~' && self.next == start);
                    word.push(c);
                    self.next += 1;
                }
            }
        }
        if self.next == start {
            return self.fail("a word is missing");
        }
        Ok(word)
    }

    fn double_quotes(&mut self, word: &mut Word) -> Result<(), ShellError> {
        word.touch();
        self.next += 1;
        loop {
            match self.peek() {
                None => return self.fail("a quote (`\"`) without its end"),
                Some('"') => break,
                Some('\\') => {
                    self.next += 1;
                    match self.peek() {
                        Some(c @ ('$' | '`' | '"' | '\\')) => word.push(c),
                        Some('\n') => {}
                        Some(c) => {
                            word.push('\\');
                            word.push(c);
                        }
                        None => continue,
                    }
                    self.next += 1;
                }
                Some('$' | '`') => self.dollar(word, 0)?,
                Some(c) => {
                    word.push(c);
                    self.next += 1;
                }
            }
        }
        self.next += 1;
        Ok(())
    }

    /// At a `$` or a backtick.
    fn dollar(&mut self, word: &mut Word, depth: usize) -> Result<(), ShellError> {
        if depth > MAX_DEPTH {
            return self.fail("`$(` nested too deeply");
        }
        if self.peek() == Some('`') {
            self.next += 1;
            let text = self.until('`', "a backtick without its end")?;
            word.parts.push(Part::Command(text));
            return Ok(());
        }
        self.next += 1;
        match self.peek() {
            Some('(') if self.looks_at("((") => self.fail("arithmetic (`$((`)"),
            Some('(') => {
                self.next += 1;
                let text = self.parenthesis()?;
                word.parts.push(Part::Command(text));
                Ok(())
            }
            Some('{') => {
                self.next += 1;
                let name = self.until('}', "`${` without its end")?;
                if !is_name(&name) {
                    return self.fail("a variable with an operator (`${...}`)");
                }
                word.parts.push(Part::Variable(name));
                Ok(())
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let mut name = String::new();
                while let Some(c) = self.peek().filter(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    name.push(c);
                    self.next += 1;
                }
                word.parts.push(Part::Variable(name));
                Ok(())
            }
            Some(c) if c.is_ascii_digit() || "@*#?$!-".contains(c) => self.fail(format!("`${c}`")),
            _ => {
                word.push('$');
                Ok(())
            }
        }
    }

    fn until(&mut self, end: char, missing: &str) -> Result<String, ShellError> {
        let start = self.next;
        while self.peek().is_some_and(|c| c != end) {
            self.next += 1;
        }
        if self.peek().is_none() {
            self.next = start;
            return self.fail(missing);
        }
        let text = self.chars[start..self.next].iter().collect();
        self.next += 1;
        Ok(text)
    }

    /// The text up to the parenthesis that closes `$(`; quotes hide parentheses.
    fn parenthesis(&mut self) -> Result<String, ShellError> {
        let start = self.next;
        let mut depth = 0_usize;
        let mut quote = None;
        while let Some(c) = self.peek() {
            match (quote, c) {
                (Some(q), c) if c == q => quote = None,
                (Some(_), _) => {}
                (None, '\'' | '"') => quote = Some(c),
                (None, '(') => depth += 1,
                (None, ')') if depth == 0 => {
                    let text = self.chars[start..self.next].iter().collect();
                    self.next += 1;
                    return Ok(text);
                }
                (None, ')') => depth -= 1,
                (None, _) => {}
            }
            self.next += 1;
        }
        self.next = start;
        self.fail("`$(` without its end")
    }

    /// Goes on behind what could not be followed: a control structure ends with its last word, everything else with
    /// its line.
    fn recover(&mut self, start: usize) {
        self.next = self.next.max(start);
        let line_start =
            self.chars[..start.min(self.chars.len())].iter().rposition(|c| *c == '\n').map_or(0, |n| n + 1);
        let mut at = line_start;
        let mut depth = 0_i32;
        loop {
            let end = self.chars[at..].iter().position(|c| *c == '\n').map_or(self.chars.len(), |n| at + n);
            let line: String = self.chars[at..end].iter().collect();
            let mut command_position = true;
            for word in line.split_inclusive([' ', '\t', ';', '(', ')']) {
                let plain = word.trim_matches([' ', '\t', ';', '(', ')']);
                match plain {
                    "if" | "for" | "while" | "until" | "case" | "select" if command_position => depth += 1,
                    "{" => depth += 1,
                    "fi" | "done" | "esac" | "}" => depth -= 1,
                    _ => {}
                }
                let opens = matches!(plain, "do" | "then" | "else" | "!" | "" | "{");
                command_position = opens || word.ends_with([';', '(']);
            }
            at = (end + 1).min(self.chars.len());
            if (depth <= 0 && at >= self.next) || at >= self.chars.len() {
                break;
            }
        }
        self.next = at.max(self.documents.take().unwrap_or(0));
        self.link = Link::Always;
    }
}

/// Words that begin or continue what is more than a simple command (XCU 2.4).
const KEYWORDS: [&str; 19] = [
    "!", "[[", "{", "}", "case", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "select", "then",
    "time", "until", "while",
];

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

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
