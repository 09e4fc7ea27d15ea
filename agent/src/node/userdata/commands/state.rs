//! What commands leave behind for those after them: cloud-init writes all items of a list into one script, so a
//! variable and a directory hold to its end.

use std::collections::BTreeMap;

use super::{
    shell::{Part, Word},
    text::{Text, Value},
    values,
};
use crate::node::files::roots;

/// Variables and the working directory.
#[derive(Debug, Clone)]
pub(super) struct State {
    variables: BTreeMap<String, Text>,
    directory: String,
}

impl Default for State {
    fn default() -> Self {
        let plain = [("HOME", "/root"), ("USER", "root"), ("SHELL", "/bin/sh"), ("DEBIAN_FRONTEND", "noninteractive")];
        let mut variables: BTreeMap<String, Text> =
            plain.into_iter().map(|(name, value)| (name.to_owned(), Text::from(value))).collect();
        variables.insert("HOSTNAME".into(), Value::Hostname.into());
        Self { variables, directory: "/".into() }
    }
}

/// `$(...)` within `$(...)`, and values of variables that grow by each other, end here.
const MAX_DEPTH: usize = 4;
const MAX_LENGTH: usize = 1 << 20;

impl State {
    pub(super) fn set(&mut self, name: &str, value: Text) {
        self.variables.insert(name.to_owned(), value);
    }

    pub(super) fn change_directory(&mut self, path: String) {
        self.directory = path;
    }

    /// The text of a word.
    ///
    /// # Errors
    /// What of it is not known: a variable, or a command.
    pub(super) fn expand(&self, word: &Word) -> Result<Text, String> {
        self.expand_within(word, 0)
    }

    /// `depth`: how many `$(...)` are around the word.
    pub(super) fn expand_within(&self, word: &Word, depth: usize) -> Result<Text, String> {
        let mut text = Text::default();
        for part in &word.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Variable(name) => {
                    let value =
                        self.variables.get(name).ok_or_else(|| format!("the variable `{name}` is not known"))?;
                    text.append(value.clone());
                }
                Part::Command(command) => {
                    let value = (depth < MAX_DEPTH).then(|| values::of(command, self, depth + 1)).flatten();
                    text.append(value.ok_or("what stands in `$(...)` is not known")?);
                }
            }
            if text.size() > MAX_LENGTH {
                return Err("a value is too long".into());
            }
        }
        Ok(text)
    }

    /// An absolute path of a word without values, from the working directory; `DIR/*` keeps its star.
    pub(super) fn path(&self, word: &str) -> String {
        if word.starts_with('/') { word.to_owned() } else { format!("{}/{word}", self.directory.trim_end_matches('/')) }
    }

    /// The same, when user-data may write there.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn writable(&self, word: &str) -> Result<String, String> {
        let path = self.path(word);
        let plain = path.strip_suffix("/.").unwrap_or(&path).trim_end_matches('/');
        // The roots themselves may be given to somebody, though not written as a file.
        if roots::WRITABLE.contains(&plain) {
            return Ok(plain.to_owned());
        }
        roots::check(plain).map_err(|why| why.to_string())
    }
}
