//! From bytes to words, strings and heredocs, each with its place.

use super::{Parser, Pos, SyntaxError};

impl Parser<'_> {
    pub(super) fn pos(&self) -> Pos {
        Pos { line: self.line, column: self.at.saturating_sub(self.start) + 1 }
    }

    pub(super) fn error(&self, reason: impl Into<String>) -> SyntaxError {
        SyntaxError { pos: self.pos(), reason: reason.into() }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub(super) fn step(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        if byte == b'\n' {
            self.line += 1;
            self.start = self.at;
        }
        Some(byte)
    }

    /// Skips white space and, in HCL, comments.
    pub(super) fn space(&mut self) -> Result<(), SyntaxError> {
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

    pub(super) fn word(&mut self) -> String {
        let from = self.at;
        while self.peek().is_some_and(is_word) {
            self.at += 1;
        }
        String::from_utf8_lossy(&self.text[from..self.at]).into_owned()
    }

    pub(super) fn quoted(&mut self) -> Result<String, SyntaxError> {
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
    pub(super) fn heredoc(&mut self) -> Result<String, SyntaxError> {
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

pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.') || byte >= 0x80
}
