//! The directories of a volume.

use std::collections::BTreeMap;

use super::{
    ARCHIVE, DATE, DIRECTORY, FatError, File, HIDDEN, SYSTEM, VOLUME_LABEL,
    name::{self, Short},
    put,
};

/// What an entry is, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Directory(usize),
    File(usize),
}

/// A directory.
pub(super) struct Directory {
    /// Its own number; the root is number 0.
    number: usize,
    /// The number of the directory above.
    above: usize,
    /// By the name in small letters, since names that differ only in these are one; with the true spelling.
    entries: BTreeMap<String, (String, Node)>,
}

/// All directories, each after the one above it.
pub(super) struct Tree {
    pub(super) directories: Vec<Directory>,
}

impl Tree {
    pub(super) fn of(files: &[File<'_>]) -> Result<Self, FatError> {
        let mut tree = Self { directories: vec![Directory { number: 0, above: 0, entries: BTreeMap::new() }] };
        for (number, file) in files.iter().enumerate() {
            tree.add(file.path, number).map_err(|why| FatError::Path { path: file.path.to_owned(), why })?;
        }
        Ok(tree)
    }

    fn add(&mut self, path: &str, file: usize) -> Result<(), &'static str> {
        let mut parts: Vec<&str> = path.split('/').collect();
        let last = parts.pop().unwrap_or_default();
        let mut here = 0;
        for part in parts {
            let next = self.directories.len();
            here = match self.enter(here, part, Node::Directory(next))? {
                Node::Directory(there) => there,
                Node::File(_) => return Err("a directory of it is a file"),
            };
            if here == next {
                let above = self.directories.iter().position(|d| d.contains(here)).unwrap_or_default();
                self.directories.push(Directory { number: next, above, entries: BTreeMap::new() });
            }
        }
        match self.enter(here, last, Node::File(file))? {
            Node::File(number) if number == file => Ok(()),
            _ => Err("it is there twice; capitals do not count"),
        }
    }

    /// What has this name: `new` when nothing had it.
    fn enter(&mut self, directory: usize, part: &str, new: Node) -> Result<Node, &'static str> {
        name::check(part)?;
        let entries = &mut self.directories[directory].entries;
        Ok(entries.entry(part.to_ascii_lowercase()).or_insert_with(|| (part.to_owned(), new)).1)
    }
}

impl Directory {
    fn contains(&self, directory: usize) -> bool {
        self.entries.values().any(|(_, node)| *node == Node::Directory(directory))
    }

    fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.entries.values().map(|(name, _)| name.as_str())
    }

    /// How many records of 32 bytes it has.
    pub(super) fn records(&self) -> usize {
        let long: usize =
            self.names().zip(name::aliases(self.names())).map(|(n, short)| name::long(n, &short).len()).sum();
        let first = if self.number == 0 { 1 } else { 2 };
        first + long + self.entries.len()
    }

    /// Its records, given the first clusters of all directories and files.
    pub(super) fn bytes(&self, label: Short, of_directories: &[u32], of_files: &[u32], files: &[File<'_>]) -> Vec<u8> {
        let mut records = Vec::new();
        if self.number == 0 {
            records.push(record(&label, VOLUME_LABEL, 0, 0));
        } else {
            // The root is zero for those below it.
            let above = if self.above == 0 { 0 } else { of_directories[self.above] };
            records.push(record(b".          ", DIRECTORY, of_directories[self.number], 0));
            records.push(record(b"..         ", DIRECTORY, above, 0));
        }
        for ((name, node), alias) in self.entries.values().zip(name::aliases(self.names())) {
            records.extend(name::long(name, &alias));
            records.push(match *node {
                Node::Directory(number) => record(&alias, DIRECTORY, of_directories[number], 0),
                Node::File(number) => {
                    let own = if files[number].system { HIDDEN | SYSTEM } else { 0 };
                    // Files fit into a volume, whose clusters have 28 bits.
                    let size = u32::try_from(files[number].bytes.len()).unwrap_or(u32::MAX);
                    record(&alias, ARCHIVE | own, of_files[number], size)
                }
            });
        }
        records.concat()
    }
}

fn record(name: &Short, attributes: u8, cluster: u32, size: u32) -> [u8; 32] {
    let mut record = [0; 32];
    put(&mut record, 0, name);
    record[11] = attributes;
    for at in [16, 18, 24] {
        put(&mut record, at, &DATE.to_le_bytes());
    }
    let [low, second, third, high] = cluster.to_le_bytes();
    put(&mut record, 20, &[third, high]);
    put(&mut record, 26, &[low, second]);
    put(&mut record, 28, &size.to_le_bytes());
    record
}
