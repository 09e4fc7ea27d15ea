//! A node's turn to restart into an update, as it is kept on the state partition: lines of `key value`.
//!
//! The turn is a lock on a variable of Nomad. What is kept here is what the node needs to give it back after the restart, and to make
//! itself eligible again.

use std::{fmt, fs, io, path::Path};

use super::version::Version;
use crate::node::files::write_atomically;

/// The file below [`crate::paths::STATE_DIR`].
pub const FILE: &str = "turn";

/// A turn that was asked for, and perhaps had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The version that is installed.
    pub version: Version,
    /// The variable of the lock.
    pub path: String,
    /// The lock's id.
    pub id: String,
    /// Whether the node took work before it was drained; `None` before that.
    pub eligible: Option<bool>,
}

impl Turn {
    /// Reads the text; `None` when it is damaged.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        let word = |key: &str| value(key).filter(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic()));
        Some(Self {
            version: value("version")?.parse().ok()?,
            path: word("path")?.to_owned(),
            // It is put into JSON.
            id: word("id").filter(|id| id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'))?.to_owned(),
            eligible: match value("eligible")? {
                "yes" => Some(true),
                "no" => Some(false),
                _ => None,
            },
        })
    }

    /// Reads the turn below `dir`; `None` when there is none.
    #[must_use]
    pub fn read(dir: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(dir.join(FILE)).ok()?)
    }

    /// Writes it below `dir`, durably.
    ///
    /// # Errors
    /// When the state partition does not take it.
    pub fn write(&self, dir: &Path) -> Result<(), String> {
        write_atomically(&dir.join(FILE), self.to_string().as_bytes(), 0o600).map_err(|why| why.to_string())?;
        fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(|why| why.to_string())
    }

    /// Forgets the turn below `dir`.
    ///
    /// # Errors
    /// When the state partition does not take it.
    pub fn forget(dir: &Path) -> io::Result<()> {
        match fs::remove_file(dir.join(FILE)) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, path, id, eligible } = self;
        let eligible = eligible.map_or("unknown", |eligible| if eligible { "yes" } else { "no" });
        writeln!(f, "version {version}\npath {path}\nid {id}\neligible {eligible}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_turn_survives() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Turn::read(dir.path()), None);
        for eligible in [None, Some(true), Some(false)] {
            let version = "1.2".parse().unwrap();
            let turn = Turn { version, path: "steppe/update/client-0".into(), id: "0a-1".into(), eligible };
            turn.write(dir.path()).unwrap();
            assert_eq!(Turn::read(dir.path()), Some(turn));
        }
        Turn::forget(dir.path()).unwrap();
        Turn::forget(dir.path()).unwrap();
        assert_eq!(Turn::read(dir.path()), None);
        assert_eq!(Turn::parse("version 1\npath a\nid \"}\neligible no\n"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_turn_or_not(text: String) {
            let _ = Turn::parse(&text);
        }
    }
}
