//! `sed -i 's/this/that/g'`: the substitutions that people use to put an address into a file.

use std::fmt;

use serde::Serialize;

use super::text::{Text, Value};

/// One `s` command, done on each line.
#[derive(Clone, PartialEq, Eq)]
pub struct Edit {
    pattern: Vec<Token>,
    /// `^`.
    at_start: bool,
    /// `$`.
    at_end: bool,
    replacement: Vec<New>,
    /// `g`: all of a line, not the first.
    all: bool,
}

/// A piece of the pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `.`
    Any,
    /// `.*`, as much as fits.
    Run,
}

/// A piece of what comes in its place.
#[derive(Clone, PartialEq, Eq)]
enum New {
    Text(Text),
    /// `&`
    Match,
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<substitution{}>", if self.all { " of all" } else { "" })
    }
}

impl Serialize for Edit {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

/// Reads a program of `sed(1)`: `s` commands, separated by `;` or newlines. `None` for anything else, and for regular
/// expressions other than `.`, `.*`, `^` and `$`.
#[must_use]
pub(super) fn program(text: &Text) -> Option<Vec<Edit>> {
    // Values are kept as characters of a private area while the text is taken apart.
    let mut values = Vec::new();
    let mut chars = Vec::new();
    for piece in text.pieces() {
        match piece {
            Ok(literal) => {
                if literal.chars().any(|c| private(c).is_some()) {
                    return None;
                }
                chars.extend(literal.chars());
            }
            Err(value) => {
                chars.push(char::from_u32(PRIVATE + u32::try_from(values.len()).ok()?).filter(|_| values.len() < 256)?);
                values.push(value.clone());
            }
        }
    }
    let mut rest = chars.as_slice();
    let mut edits = Vec::new();
    loop {
        while let [' ' | '\t' | '\n' | ';', tail @ ..] = rest {
            rest = tail;
        }
        let ['s', delimiter, tail @ ..] = rest else { break };
        let (pattern, tail) = until(*delimiter, tail)?;
        let (replacement, tail) = until(*delimiter, tail)?;
        let flags = tail.iter().take_while(|c| !matches!(c, ';' | '\n' | ' ')).count();
        let all = match &tail[..flags] {
            [] => false,
            ['g'] => true,
            _ => return None,
        };
        rest = &tail[flags..];
        edits.push(edit(&pattern, &replacement, *delimiter, all, &values)?);
    }
    (rest.is_empty() && !edits.is_empty()).then_some(edits)
}

/// On longer lines `.*` is not looked for: its cost grows with the square of the length.
const LONGEST_LINE: usize = 10_000;
/// First of the characters that stand for values.
const PRIVATE: u32 = 0xF_0000;

fn private(c: char) -> Option<usize> {
    u32::from(c).checked_sub(PRIVATE).filter(|n| *n < 0x1_0000).and_then(|n| usize::try_from(n).ok())
}

/// Up to the delimiter; an escaped one does not count.
fn until(delimiter: char, chars: &[char]) -> Option<(Vec<char>, &[char])> {
    if delimiter.is_alphanumeric() || matches!(delimiter, '\\' | '\n' | ' ') || private(delimiter).is_some() {
        return None;
    }
    let mut at = 0;
    while chars.get(at)? != &delimiter {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    Some((chars[..at].to_vec(), &chars[at + 1..]))
}

fn edit(pattern: &[char], replacement: &[char], delimiter: char, all: bool, values: &[Value]) -> Option<Edit> {
    let mut edit = Edit { pattern: vec![], at_start: false, at_end: false, replacement: vec![], all };
    let mut rest = pattern;
    if let ['^', tail @ ..] = rest {
        edit.at_start = true;
        rest = tail;
    }
    while let [c, tail @ ..] = rest {
        rest = tail;
        match (*c, tail) {
            ('\\', [c, tail @ ..]) if *c == delimiter || r"./*[]^$\&|".contains(*c) => {
                edit.pattern.push(Token::Char(*c));
                rest = tail;
            }
            ('$', []) => edit.at_end = true,
            ('.', ['*', tail @ ..]) => {
                edit.pattern.push(Token::Run);
                rest = tail;
            }
            ('.', _) => edit.pattern.push(Token::Any),
            ('*' | '[' | ']' | '^' | '$' | '\\', _) => return None,
            // A repetition of the character before it, or of basic and extended syntax: not taken for something else.
            (c, ['*', ..]) if c != '\\' => return None,
            (c, _) if private(c).is_some() => return None,
            (c, _) => edit.pattern.push(Token::Char(c)),
        }
    }
    let runs = edit.pattern.iter().filter(|token| **token == Token::Run).count();
    if runs > 1 || (edit.pattern.is_empty() && !edit.at_end) {
        return None;
    }
    let mut text = Text::default();
    let mut rest = replacement;
    while let [c, tail @ ..] = rest {
        rest = tail;
        match (*c, tail) {
            ('\\', [c, tail @ ..]) if *c == delimiter || r"./*[]^$\&|".contains(*c) => {
                text.push_str(&c.to_string());
                rest = tail;
            }
            ('\\', ['n', tail @ ..]) => {
                text.push_str("\n");
                rest = tail;
            }
            ('\\', _) => return None,
            ('&', _) => {
                edit.replacement.push(New::Text(std::mem::take(&mut text)));
                edit.replacement.push(New::Match);
            }
            (c, _) => match private(c) {
                Some(n) => text.push(values.get(n)?.clone()),
                None => text.push_str(&c.to_string()),
            },
        }
    }
    edit.replacement.push(New::Text(text));
    Some(edit)
}

impl Edit {
    /// The text after the substitution.
    ///
    /// # Errors
    /// With the value that `look_up` does not know.
    pub fn apply(&self, text: &str, look_up: &dyn Fn(&Value) -> Option<String>) -> Result<String, Value> {
        let mut new = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            let (body, end) = line.strip_suffix('\n').map_or((line, ""), |body| (body, "\n"));
            self.line(body, &mut new, look_up)?;
            new += end;
        }
        Ok(new)
    }

    fn line(&self, line: &str, new: &mut String, look_up: &dyn Fn(&Value) -> Option<String>) -> Result<(), Value> {
        let chars: Vec<char> = line.chars().collect();
        if chars.len() > LONGEST_LINE && self.pattern.contains(&Token::Run) {
            *new += line;
            return Ok(());
        }
        let mut at = 0;
        while at <= chars.len() {
            let length = if self.at_start && at > 0 { None } else { self.fits(&self.pattern, &chars[at..]) };
            match length {
                Some(length) => {
                    for piece in &self.replacement {
                        match piece {
                            New::Text(text) => *new += &text.resolve(look_up)?,
                            New::Match => new.extend(&chars[at..at + length]),
                        }
                    }
                    at += length;
                    if !self.all || self.at_start || length == 0 {
                        break;
                    }
                }
                None if at < chars.len() => {
                    new.push(chars[at]);
                    at += 1;
                }
                None => break,
            }
        }
        new.extend(chars.get(at..).unwrap_or_default());
        Ok(())
    }

    /// How many characters the pattern takes from the beginning of `chars`.
    fn fits(&self, pattern: &[Token], chars: &[char]) -> Option<usize> {
        match (pattern, chars) {
            ([], _) => (!self.at_end || chars.is_empty()).then_some(0),
            ([Token::Char(want), rest @ ..], [c, tail @ ..]) if want == c => Some(1 + self.fits(rest, tail)?),
            ([Token::Any, rest @ ..], [_, tail @ ..]) => Some(1 + self.fits(rest, tail)?),
            ([Token::Run, rest @ ..], _) => {
                (0..=chars.len()).rev().find_map(|n| Some(n + self.fits(rest, &chars[n..])?))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sed(program_text: &str, text: &str) -> Option<String> {
        let edits = program(&Text::from(program_text))?;
        Some(edits.iter().fold(text.to_owned(), |text, edit| edit.apply(&text, &|_| None).unwrap()))
    }

    #[test]
    fn substitutions_as_sed_does_them() {
        for (program, before, after) in [
            ("s/IP/10.0.0.1/g", "IP IP\nIP", "10.0.0.1 10.0.0.1\n10.0.0.1"),
            ("s/IP/x/", "IP IP\nIP\n", "x IP\nx\n"),
            ("s|/opt/a|/var/b|", "d = \"/opt/a\"", "d = \"/var/b\""),
            (r"s/a\.b/c\/d/g", "a.b axb", "c/d axb"),
            ("s/a.b/[&]/g", "a.b axb", "[a.b] [axb]"),
            ("s/^bind_addr.*/bind_addr = \"x\"/", "  bind_addr\nbind_addr = 1\n", "  bind_addr\nbind_addr = \"x\"\n"),
            ("s/#.*$//", "a # b # c\nd", "a \nd"),
            ("s/$/!/", "a\nb\n", "a!\nb!\n"),
            ("s/a/b/; s/b/c/g", "ab", "cc"),
            ("s/x.*y/z/", "axbycyd", "azd"),
        ] {
            assert_eq!(sed(program, before).as_deref(), Some(after), "{program}");
        }
    }

    #[test]
    fn what_is_not_followed_is_not_guessed() {
        for text in [
            "",
            "d",
            "s/a/b",
            "s/a/b/gi",
            "s/a*/b/",
            "s/[0-9]/b/",
            r"s/\(a\)/\1/",
            "1d",
            "/x/s/a/b/",
            "y/a/b/",
            "s//x/",
            "saba",
        ] {
            assert!(sed(text, "a").is_none(), "{text}");
        }
    }

    #[test]
    fn values_go_into_the_replacement() {
        let mut text = Text::from("s/LOCAL_IP/");
        text.push(Value::Address);
        text.push_str(":4647/g");
        let edits = program(&text).unwrap();
        assert_eq!(edits[0].apply("a = LOCAL_IP", &|_| Some("10.1/2".into())), Ok("a = 10.1/2:4647".into()));
        assert_eq!(edits[0].apply("LOCAL_IP", &|_| None), Err(Value::Address));
    }

    proptest! {
        #[test]
        fn any_program_and_text(program_text in "s[/|][a-c.*^$\\\\/|&]{0,6}[/|][a-c&\\\\]{0,4}[/|]g?", text in "[a-c./\n]{0,30}") {
            let _ = sed(&program_text, &text);
        }

        /// With nothing special in them, a substitution is a replacement of strings.
        #[test]
        fn plain_ones_replace(from in "[a-c]{1,3}", to in "[x-z]{0,3}", text in "[a-d\n]{0,30}") {
            prop_assert_eq!(sed(&format!("s/{from}/{to}/g"), &text).unwrap(), text.replace(&from, &to));
        }
    }
}
