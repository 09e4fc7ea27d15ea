//! `#include` and `#include-once`: addresses of more user-data, one a line.

use super::{Context, Expander, MAX_INCLUDES};
use crate::node::userdata::{finding::Position, format::Declared};

/// Addresses that one payload may name.
const MAX_ADDRESSES: usize = 32;

/// An address to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Include<'a> {
    /// `http://...`; it may hold secrets.
    pub url: &'a str,
    /// Get it once in the life of an instance, and remember what came (`#include-once`).
    pub once: bool,
}

/// Gets what is included. The error says why not, without the address.
pub type Fetch<'a> = dyn FnMut(Include<'_>) -> Result<Vec<u8>, String> + 'a;

/// The addresses of a text, each with its line. A header counts until the next one, and may have an address behind it.
fn addresses(text: &str) -> Vec<(usize, Include<'_>)> {
    let mut once = false;
    let mut found = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let mut line = line.trim();
        let header = |header: &str| {
            line.get(..header.len()).filter(|start| start.eq_ignore_ascii_case(header)).map(|_| &line[header.len()..])
        };
        if let Some(rest) = header("#include-once") {
            (once, line) = (true, rest.trim());
        } else if let Some(rest) = header("#include") {
            (once, line) = (false, rest.trim());
        }
        if !line.is_empty() && !line.starts_with('#') {
            found.push((n + 1, Include { url: line, once }));
        }
    }
    found
}

/// An address without what may be secret: the query, and the name and password in front of the host.
fn shown(url: &str) -> String {
    let url = &url[..url.find(['?', '#']).unwrap_or(url.len())];
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let host_end = rest.find('/').unwrap_or(rest.len());
            let host = rest[..host_end].rfind('@').map_or(0, |at| at + 1);
            format!("{scheme}://{}", &rest[host..])
        }
        None => url.to_owned(),
    }
}

impl Expander<'_, '_> {
    pub(super) fn include(&mut self, text: &str, label: &str, context: &Context) {
        if context.includes >= MAX_INCLUDES {
            let message = format!("`#include` inside `#include`, deeper than {MAX_INCLUDES} levels");
            return self.refuse(label, Position::START, message);
        }
        for (line, include) in addresses(text) {
            let at = Position { line, column: 1 };
            self.fetches += 1;
            if self.fetches > MAX_ADDRESSES {
                return self.refuse(label, at, format!("more than {MAX_ADDRESSES} addresses to include"));
            }
            let shown = shown(include.url);
            let scheme = include.url.split_once("://").map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
            if scheme != "http" {
                let why = match scheme.as_str() {
                    "https" => "this image speaks no TLS before Nomad runs: serve it by http, or put the text here",
                    _ => "must be an http address",
                };
                self.refuse(label, at, format!("{shown:?} is not fetched: {why}"));
                continue;
            }
            let fetched = (self.fetch)(include).and_then(|bytes| self.spend(bytes.len()).map(|()| bytes));
            match fetched {
                Ok(bytes) => {
                    let mut context = context.deeper();
                    context.contained = true;
                    context.includes += 1;
                    context.headers.filename = Some(shown);
                    self.take(&bytes, Declared::Guess, &context);
                }
                Err(why) => {
                    self.out.unfetched = true;
                    self.refuse(label, at, format!("failed to include {shown}: {why}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_switch_and_may_carry_an_address() {
        let text = "#include-once http://h/a\n# a note\nhttp://h/b \n#INCLUDE\n\nhttp://h/c\n";
        let found: Vec<_> = addresses(text).into_iter().map(|(line, i)| (line, i.url, i.once)).collect();
        assert_eq!(found, [(1, "http://h/a", true), (3, "http://h/b", true), (6, "http://h/c", false)]);
    }

    #[test]
    fn secrets_of_an_address_are_not_shown() {
        assert_eq!(shown("http://me:hunter2@h:80/a/b@c?token=hunter2"), "http://h:80/a/b@c");
        assert_eq!(shown("http://h"), "http://h");
        assert_eq!(shown("nothing"), "nothing");
    }
}
