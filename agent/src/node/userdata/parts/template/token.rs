//! The words of an expression.

use super::Wrong;

/// A word.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A variable, a keyword, the name of a filter.
    Name(String),
    /// A string, without its quotes.
    Text(String),
    /// A whole number.
    Int(i64),
    /// `.`, `==`, `(` and the like.
    Sign(&'static str),
}

/// In this order: a longer one before its beginning.
const SIGNS: [&str; 20] =
    ["==", "!=", "<=", ">=", "<", ">", "=", ".", ",", "|", "(", ")", "[", "]", "~", "+", "-", ":", "{", "}"];

/// Splits an expression that begins at byte `base` of its template into words, each with its place there.
pub(super) fn tokens(text: &str, base: usize) -> Result<Vec<(usize, Token)>, Wrong> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let (token, length) = match c {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '\'' | '"' => string(rest, c).ok_or((base + at, "a string does not end".to_owned()))?,
            c if c.is_ascii_digit() => {
                let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                let number = rest[..length].parse().map_err(|_| (base + at, "a number is too large".to_owned()))?;
                (Token::Int(number), length)
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                (Token::Name(rest[..length].to_owned()), length)
            }
            c => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                let sign = sign.ok_or_else(|| (base + at, format!("{c:?} is not understood in a template")))?;
                (Token::Sign(sign), sign.len())
            }
        };
        out.push((base + at, token));
        at += length;
    }
    Ok(out)
}

/// A string that begins `text`, and how long it is with its quotes.
fn string(text: &str, quote: char) -> Option<(Token, usize)> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                c => out.push(c),
            },
            c if c == quote => return Some((Token::Text(out), at + 1)),
            c => out.push(c),
        }
    }
    None
}
