//! A template as a tree: text, places to fill in, blocks.

use super::{
    MAX_DEPTH, Wrong,
    expression::{Expression, Parser},
    token::tokens,
};

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node<'a> {
    Text(&'a str),
    /// `{{ expression }}`.
    Output(Expression),
    /// Conditions and what each shows; `else` has none.
    If(Vec<(Option<Expression>, Vec<Node<'a>>)>),
    For {
        names: Vec<String>,
        list: Expression,
        body: Vec<Node<'a>>,
        /// Shown when the list is empty.
        otherwise: Vec<Node<'a>>,
    },
    Set(String, Expression),
}

/// Reads a template from byte `from` on.
pub(super) fn parse(text: &str, from: usize) -> Result<Vec<Node<'_>>, Wrong> {
    let mut scanner = Scanner { text, at: from, depth: 0, stop: None };
    let nodes = scanner.nodes()?;
    match scanner.stop {
        Some((at, word, _)) => Err((at, format!("`{word}` ends nothing"))),
        None => Ok(nodes),
    }
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// The `else`, `elif` or `end...` at which the last row of nodes ended: its place, its word, and what follows it.
    stop: Option<(usize, String, (usize, &'a str))>,
}

impl<'a> Scanner<'a> {
    /// Nodes up to the end, or to a block that ends them.
    fn nodes(&mut self) -> Result<Vec<Node<'a>>, Wrong> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err((self.at, "blocks are nested too deep".into()));
        }
        let mut out = Vec::new();
        self.stop = None;
        loop {
            let rest = &self.text[self.at..];
            let Some(open) = opening(rest) else {
                out.push(Node::Text(rest));
                self.at = self.text.len();
                break;
            };
            let start = self.at + open;
            let kind = self.text.as_bytes()[start + 1];
            let before = &rest[..open];
            // `{%-` takes the white space in front away.
            let before = if self.text[start + 2..].starts_with('-') { before.trim_end() } else { before };
            out.push(Node::Text(before));
            let (inner_at, inner) = self.tag(start, kind)?;
            match kind {
                b'#' => {}
                b'{' => {
                    let words = tokens(inner, inner_at)?;
                    let mut parser = Parser::new(&words, inner_at + inner.len());
                    out.push(Node::Output(parser.expression()?));
                    parser.finish()?;
                }
                _ => {
                    if let Some(node) = self.block(start, inner_at, inner)? {
                        out.push(node);
                    } else {
                        break;
                    }
                }
            }
        }
        self.depth -= 1;
        Ok(out)
    }

    /// Goes behind the tag that begins at `start` and returns what is in it, with its place.
    fn tag(&mut self, start: usize, kind: u8) -> Result<(usize, &'a str), Wrong> {
        let close = match kind {
            b'{' => "}}",
            b'%' => "%}",
            _ => "#}",
        };
        let mut from = start + 2;
        from += usize::from(self.text[from..].starts_with(['-', '+']));
        let length = closing(&self.text[from..], close, kind != b'#');
        let length = length.ok_or_else(|| (start, format!("`{close}` is missing")))?;
        let inner = &self.text[from..from + length];
        self.at = from + length + close.len();
        let after = &self.text[self.at..];
        let inner = if let Some(inner) = inner.strip_suffix('-') {
            self.at += after.len() - after.trim_start().len();
            inner
        } else {
            // As cloud-init sets Jinja up: the line end behind a block goes with it.
            if kind != b'{' {
                self.at += usize::from(after.starts_with('\n')) + 2 * usize::from(after.starts_with("\r\n"));
            }
            inner
        };
        Ok((from, inner))
    }

    /// A block; `None` when it ends the nodes that are being read.
    fn block(&mut self, start: usize, at: usize, inner: &'a str) -> Result<Option<Node<'a>>, Wrong> {
        let trimmed = inner.trim_start();
        let end = trimmed.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(trimmed.len());
        let (word, rest) = trimmed.split_at(end);
        let rest_at = at + inner.len() - rest.len();
        match word {
            "if" => self.branches(start, (rest_at, rest)).map(Some),
            "for" => self.repeat(start, rest_at, rest).map(Some),
            "set" => {
                let words = tokens(rest, rest_at)?;
                let mut parser = Parser::new(&words, rest_at + rest.len());
                let name = parser.name()?;
                if !parser.sign("=") {
                    return parser.wrong("`=` is missing");
                }
                let value = parser.expression()?;
                parser.finish()?;
                Ok(Some(Node::Set(name, value)))
            }
            "raw" => {
                let text = &self.text[self.at..];
                let (length, after) = end_of_raw(text).ok_or_else(|| (start, "`endraw` is missing".to_owned()))?;
                self.at += after;
                Ok(Some(Node::Text(&text[..length])))
            }
            "elif" | "else" | "endif" | "endfor" => {
                self.stop = Some((start, word.to_owned(), (rest_at, rest)));
                Ok(None)
            }
            _ => Err((start, format!("the block {word:?} is not understood: there are if, for, set and raw"))),
        }
    }

    fn branches(&mut self, start: usize, first: (usize, &'a str)) -> Result<Node<'a>, Wrong> {
        let mut branches = Vec::new();
        let mut condition = Some(first);
        loop {
            let wanted = match condition {
                Some((at, text)) => {
                    let words = tokens(text, at)?;
                    let mut parser = Parser::new(&words, at + text.len());
                    let wanted = parser.expression()?;
                    parser.finish()?;
                    Some(wanted)
                }
                None => None,
            };
            let last = wanted.is_none();
            branches.push((wanted, self.nodes()?));
            match self.stop.take() {
                Some((_, word, _)) if word == "endif" => return Ok(Node::If(branches)),
                Some((_, word, rest)) if word == "elif" && !last => condition = Some(rest),
                Some((_, word, _)) if word == "else" && !last => condition = None,
                Some((at, word, _)) => return Err((at, format!("`{word}` stands where `endif` is expected"))),
                None => return Err((start, "`endif` is missing".into())),
            }
        }
    }

    fn repeat(&mut self, start: usize, at: usize, text: &str) -> Result<Node<'a>, Wrong> {
        let words = tokens(text, at)?;
        let mut parser = Parser::new(&words, at + text.len());
        let mut names = vec![parser.name()?];
        while parser.sign(",") {
            names.push(parser.name()?);
        }
        if !parser.keyword("in") {
            return parser.wrong("`in` is missing");
        }
        let list = parser.expression()?;
        parser.finish()?;
        let body = self.nodes()?;
        let mut otherwise = Vec::new();
        let mut stop = self.stop.take();
        if stop.as_ref().is_some_and(|(_, word, _)| word == "else") {
            otherwise = self.nodes()?;
            stop = self.stop.take();
        }
        match stop {
            Some((_, word, _)) if word == "endfor" => Ok(Node::For { names, list, body, otherwise }),
            Some((at, word, _)) => Err((at, format!("`{word}` stands where `endfor` is expected"))),
            None => Err((start, "`endfor` is missing".into())),
        }
    }
}

/// Where the next tag begins.
fn opening(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    bytes.windows(2).position(|pair| matches!(pair, b"{{" | b"{%" | b"{#"))
}

/// Where a tag ends; a string in it may hold what looks like the end.
fn closing(text: &str, close: &str, strings: bool) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some(q) => {
                if c == q && !escaped {
                    quote = None;
                }
                escaped = c == '\\' && !escaped;
            }
            None if strings && (c == '\'' || c == '"') => quote = Some(c),
            None if text[at..].starts_with(close) => return Some(at),
            None => {}
        }
    }
    None
}

/// How long the text up to `{% endraw %}` is, and where what follows begins.
fn end_of_raw(text: &str) -> Option<(usize, usize)> {
    let mut from = 0;
    while let Some(at) = text[from..].find("{%") {
        let start = from + at;
        let inner = &text[start + 2..];
        let (inner, shorter) = inner.strip_prefix('-').map_or((inner, false), |inner| (inner, true));
        if let Some(rest) = inner.trim_start().strip_prefix("endraw") {
            let rest = rest.trim_start();
            let after = match rest.strip_prefix("-%}") {
                Some(after) => Some(after.trim_start()),
                None => rest.strip_prefix("%}").map(|after| after.strip_prefix('\n').unwrap_or(after)),
            };
            if let Some(after) = after {
                let length = if shorter { text[..start].trim_end().len() } else { start };
                return Some((length, text.len() - after.len()));
            }
        }
        from = start + 2;
    }
    None
}
