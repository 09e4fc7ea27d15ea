//! Words: quotes, variables, and commands whose output stands in them.

use super::{Part, Script, ShellError, Word};

/// Nesting of `$(...)` deeper than this is refused.
const MAX_DEPTH: usize = 8;

impl Script {
    pub(super) fn word(&mut self) -> Result<Word, ShellError> {
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
    pub(super) fn dollar(&mut self, word: &mut Word, depth: usize) -> Result<(), ShellError> {
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
}

pub(super) fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}
