//! Here-documents.

use super::{Part, Script, ShellError, Word};

impl Script {
    /// A here-document: its delimiter stands here, its lines below the current one.
    pub(super) fn document(&mut self) -> Result<Word, ShellError> {
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
}
