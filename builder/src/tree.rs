//! A file tree in memory: what will be in a file system, and where each file comes from.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::content::Digest;

/// Where a file comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A Debian package.
    Package {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
    },
    /// Steppe's agent.
    Agent,
    /// Nomad, or what stands in for it.
    Nomad,
    /// The user's own: the recipe names it.
    Recipe,
    /// The builder made it.
    Builder,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Package { name, version } => write!(f, "{name} {version}"),
            Self::Agent => f.write_str("agent"),
            Self::Nomad => f.write_str("nomad"),
            Self::Recipe => f.write_str("recipe"),
            Self::Builder => f.write_str("builder"),
        }
    }
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory,
    /// A file with its bytes.
    File(Arc<[u8]>),
    /// A symbolic link.
    Symlink(String),
}

/// One path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub node: Node,
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Where it comes from.
    pub origin: Origin,
}

/// Paths without a leading slash, in order: a directory stands before what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

impl Tree {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory, and those above it.
    pub fn directory(&mut self, path: &str, mode: u16) {
        self.insert(path, Entry { node: Node::Directory, mode, uid: 0, gid: 0, origin: Origin::Builder });
    }

    /// Adds a file, and the directories above it.
    pub fn file(&mut self, path: &str, mode: u16, bytes: impl Into<Arc<[u8]>>, origin: Origin) {
        self.insert(path, Entry { node: Node::File(bytes.into()), mode, uid: 0, gid: 0, origin });
    }

    /// Adds a symbolic link, and the directories above it.
    pub fn symlink(&mut self, path: &str, target: &str, origin: Origin) {
        self.insert(path, Entry { node: Node::Symlink(target.to_owned()), mode: 0o777, uid: 0, gid: 0, origin });
    }

    /// Adds an entry, and the directories above it. What stood at the path is replaced.
    pub fn insert(&mut self, path: &str, entry: Entry) {
        let path = path.trim_matches('/');
        for (index, _) in path.match_indices('/') {
            self.entries.entry(path[..index].to_owned()).or_insert(Entry {
                node: Node::Directory,
                mode: 0o755,
                uid: 0,
                gid: 0,
                origin: Origin::Builder,
            });
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// The entry at `path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path.trim_matches('/'))
    }

    /// The bytes of the file at `path`.
    #[must_use]
    pub fn bytes(&self, path: &str) -> Option<&Arc<[u8]>> {
        match &self.get(path)?.node {
            Node::File(bytes) => Some(bytes),
            Node::Directory | Node::Symlink(_) => None,
        }
    }

    /// The file at `path` through symbolic links: where it really is, and its bytes.
    #[must_use]
    pub fn follow(&self, path: &str) -> Option<(String, &Arc<[u8]>)> {
        let mut path = path.trim_matches('/').to_owned();
        // As many links as the kernel follows.
        for _ in 0..40 {
            match &self.get(&path)?.node {
                Node::File(bytes) => return Some((path, bytes)),
                Node::Directory => return None,
                Node::Symlink(target) => path = join(&path, target),
            }
        }
        None
    }

    /// Every path and what it is, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// How many paths there are, directories included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no path.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The list of files for the manifest.
    #[must_use]
    pub fn list(&self) -> Vec<FileRecord> {
        self.iter()
            .filter_map(|(path, entry)| {
                let (size, sha256, target) = match &entry.node {
                    Node::Directory => return None,
                    Node::File(bytes) => (bytes.len() as u64, Some(Digest::of(bytes)), None),
                    Node::Symlink(target) => (0, None, Some(target.clone())),
                };
                Some(FileRecord {
                    path: format!("/{path}"),
                    mode: format!("{:04o}", entry.mode),
                    size,
                    sha256,
                    target,
                    origin: entry.origin.clone(),
                })
            })
            .collect()
    }
}

/// Where a link at `path` to `target` leads.
fn join(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = if target.starts_with('/') { Vec::new() } else { path.split('/').collect() };
    // A relative target starts from the link's folder.
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A file or link of an image, as the manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Absolute path.
    pub path: String,
    /// Permission bits, octal.
    pub mode: String,
    /// Bytes.
    pub size: u64,
    /// Digest, of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// What a link points to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Where it comes from.
    pub origin: Origin,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_by_themselves_and_first() {
        let mut tree = Tree::new();
        tree.file("/usr/bin/x", 0o755, *b"x", Origin::Agent);
        tree.symlink("bin", "usr/bin", Origin::Builder);
        let paths: Vec<_> = tree.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["bin", "usr", "usr/bin", "usr/bin/x"]);
        assert_eq!(tree.bytes("usr/bin/x").map(|b| b.to_vec()), Some(b"x".to_vec()));
        tree.symlink("usr/lib/a", "../../usr/./bin/x", Origin::Builder);
        tree.symlink("b", "/usr/lib/a", Origin::Builder);
        tree.symlink("loop", "loop", Origin::Builder);
        assert_eq!(tree.follow("b").map(|(path, _)| path), Some("usr/bin/x".to_owned()));
        assert!(tree.follow("loop").is_none() && tree.follow("usr").is_none());
        let list = tree.list();
        assert_eq!((list.len(), list[3].mode.as_str()), (5, "0755"));
    }
}
