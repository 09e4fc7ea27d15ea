//! Files of the root (squashfs) and of an initramfs (newc archives, compressed with zstd or not).

use std::{
    collections::BTreeMap,
    io::{self, Cursor, Read},
};

use agent::{facts::ImageFacts, paths};
use backhand::{FilesystemReader, InnerNode};
use serde::Serialize;

use super::parts::share;
use crate::{content::Digest, tree::FileRecord};

/// A file or link that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Found {
    /// Absolute path.
    pub path: String,
    /// Permission bits, octal.
    pub mode: String,
    /// Bytes.
    pub size: u64,
    /// Digest, of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// What a link points to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

impl From<&FileRecord> for Found {
    fn from(record: &FileRecord) -> Self {
        Self {
            path: record.path.clone(),
            mode: record.mode.clone(),
            size: record.size,
            sha256: record.sha256,
            target: record.target.clone(),
        }
    }
}

/// A root file system.
#[derive(Debug, Clone, Default)]
pub struct Root {
    /// Its files, by path.
    pub files: Vec<Found>,
    /// What it says about itself.
    pub facts: Option<ImageFacts>,
    /// The key by which its node would check updates.
    pub update_key: Option<String>,
    /// Bytes that are stored of each file, by path.
    pub stored: BTreeMap<String, u64>,
}

/// Bytes of the squashfs that begins so; nothing when it is none (`bytes_used` of its superblock).
#[must_use]
pub fn squashfs_size(start: &[u8]) -> Option<u64> {
    let size = start.strip_prefix(b"hsqs")?.get(36..44)?;
    size.try_into().ok().map(u64::from_le_bytes)
}

/// Reads a squashfs.
///
/// # Errors
/// When it is damaged, or has more unpacked than any image.
pub fn root(bytes: Vec<u8>) -> io::Result<Root> {
    let wrong = |error: backhand::BackhandError| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let fs = FilesystemReader::from_reader(Cursor::new(bytes)).map_err(wrong)?;
    let mut root = Root { stored: stored(&fs), ..Root::default() };
    let mut left = MOST;
    for node in fs.files() {
        let path = node.fullpath.display().to_string();
        let mut found =
            Found { mode: format!("{:04o}", node.header.permissions), path, size: 0, sha256: None, target: None };
        match &node.inner {
            InnerNode::File(file) => {
                let mut reader = fs.file(file).reader().take(left + 1);
                if [paths::IMAGE_FACTS, paths::UPDATE_KEY].contains(&found.path.as_str()) {
                    let mut content = Vec::new();
                    reader.by_ref().take(SMALL).read_to_end(&mut content)?;
                    if found.path == paths::IMAGE_FACTS {
                        root.facts = serde_json::from_slice(&content).ok();
                    } else {
                        root.update_key = String::from_utf8(content.clone()).ok();
                    }
                    found.size = content.len() as u64;
                    found.sha256 = Some(Digest::of(&content));
                } else {
                    let (digest, size) = Digest::of_reader(reader)?;
                    (found.size, found.sha256) = (size, Some(digest));
                }
                left = left.checked_sub(found.size).ok_or_else(too_much)?;
            }
            InnerNode::Symlink(link) => found.target = Some(link.link.display().to_string()),
            _ => continue,
        }
        root.files.push(found);
    }
    root.files.sort();
    Ok(root)
}

/// Bytes that are stored of each file: its blocks, and its share of the block that holds the ends of several files.
fn stored(fs: &FilesystemReader<'_>) -> BTreeMap<String, u64> {
    let block = u64::from(fs.block_size.max(1));
    let (mut stored, mut ends) = (BTreeMap::new(), Vec::new());
    let mut unpacked: BTreeMap<u64, u64> = BTreeMap::new();
    for node in fs.files() {
        let InnerNode::File(file) = &node.inner else { continue };
        let path = node.fullpath.display().to_string();
        let blocks = file.block_sizes().iter().map(|block| u64::from(block.size())).sum::<u64>();
        if let Some(fragment) = fs.file(file).fragment() {
            let end = file.file_len() as u64 % block;
            *unpacked.entry(fragment.start).or_default() += end;
            ends.push((path.clone(), end, fragment));
        }
        stored.insert(path, blocks);
    }
    for (path, end, fragment) in ends {
        let whole = unpacked.get(&fragment.start).copied().unwrap_or(0);
        *stored.entry(path).or_default() += share(u64::from(fragment.size.size()), end, whole);
    }
    stored
}

/// Bytes that the files of an image may have unpacked, and those of them that say something about it.
const MOST: u64 = 4 << 30;
const SMALL: u64 = 1 << 20;

fn too_much() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "its files have more than 4 GiB unpacked")
}

/// Bytes that an initramfs may have unpacked.
const LIMIT: u64 = 1 << 30;

/// An initramfs.
#[derive(Debug, Clone, Default)]
pub struct Initramfs {
    /// Its files, by path, but the root.
    pub files: Vec<Found>,
    /// The root file system in it, of one that brings its own.
    pub root: Option<Vec<u8>>,
    /// Bytes in front of the archive with the root.
    pub before_root: usize,
    /// Bytes of it without the root, as they are stored.
    pub packed: u64,
    /// Bytes of the agent and of all files when each is compressed alone and quickly: what is compressed together is shared out by
    /// these.
    pub weights: (u64, u64),
}

/// Reads an initramfs: archives one after the other, each as it is or in a frame of zstd, with zeros between them.
///
/// # Errors
/// When it is damaged, or has more unpacked than any image.
pub fn initramfs(all: &[u8]) -> io::Result<Initramfs> {
    let mut bytes = all;
    let mut found = Initramfs { packed: bytes.len() as u64, ..Initramfs::default() };
    let mut left = LIMIT;
    loop {
        while let [0, rest @ ..] = bytes {
            bytes = rest;
        }
        if bytes.is_empty() {
            break;
        }
        if found.root.is_none() {
            found.before_root = all.len() - bytes.len();
        }
        if bytes.starts_with(b"\x28\xb5\x2f\xfd") {
            let mut archive = Vec::new();
            let mut decoder = zstd::stream::read::Decoder::with_buffer(&mut bytes)?.single_frame();
            decoder.by_ref().take(left + 1).read_to_end(&mut archive)?;
            let too_much = || io::Error::new(io::ErrorKind::InvalidData, "it has more than 1 GiB unpacked");
            left = left.checked_sub(archive.len() as u64).ok_or_else(too_much)?;
            newc(&archive, &mut found)?;
        } else {
            bytes = newc(bytes, &mut found)?;
        }
    }
    found.packed = found.packed.saturating_sub(found.root.as_ref().map_or(0, |root| root.len() as u64));
    found.files.sort();
    Ok(found)
}

/// Reads one archive and gives what is behind it.
fn newc<'a>(bytes: &'a [u8], into: &mut Initramfs) -> io::Result<&'a [u8]> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "an archive of the initramfs is damaged");
    let mut at = 0usize;
    loop {
        let header =
            bytes.get(at..at.saturating_add(110)).filter(|header| header.starts_with(b"070701")).ok_or_else(wrong)?;
        let field = |number: usize| {
            let digits = std::str::from_utf8(&header[6 + number * 8..14 + number * 8]).ok()?;
            usize::from_str_radix(digits, 16).ok()
        };
        let (Some(mode), Some(size), Some(length)) = (field(1), field(6), field(11)) else { return Err(wrong()) };
        let name_at = at + 110;
        let data_at = name_at.checked_add(length).map(|end| end.next_multiple_of(4)).ok_or_else(wrong)?;
        let name = bytes.get(name_at..name_at + length).and_then(|name| name.split_last()).ok_or_else(wrong)?.1;
        let data = data_at.checked_add(size).and_then(|end| bytes.get(data_at..end)).ok_or_else(wrong)?;
        at = (data_at + size).next_multiple_of(4);
        if name == b"TRAILER!!!" {
            return Ok(bytes.get(at..).unwrap_or_default());
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut found = Found {
            path: format!("/{}", text(name)),
            mode: format!("{:04o}", mode & 0o7777),
            size: size as u64,
            sha256: None,
            target: None,
        };
        match mode & 0o170_000 {
            0o100_000 if found.path == paths::EMBEDDED_ROOT => {
                into.root = Some(data.to_vec());
                continue;
            }
            0o100_000 => {
                let weight = zstd::bulk::compress(data, 1)?.len() as u64;
                into.weights.1 += weight;
                if found.path == paths::INIT {
                    into.weights.0 += weight;
                }
                found.sha256 = Some(Digest::of(data));
            }
            0o120_000 => (found.size, found.target) = (0, Some(text(data))),
            _ => continue,
        }
        into.files.push(found);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        initramfs as writer, squashfs,
        tree::{Origin, Tree},
    };

    fn tree() -> Tree {
        let mut tree = Tree::new();
        tree.file("usr/bin/tool", 0o755, b"tool".repeat(3000), Origin::Agent);
        tree.symlink("bin", "usr/bin", Origin::Builder);
        tree
    }

    fn list() -> Vec<Found> {
        tree().list().iter().map(Found::from).collect()
    }

    #[test]
    fn what_the_builder_packs_is_found() {
        let options = squashfs::Options { level: 3, block: 128 << 10, time: 1 };
        let bytes = squashfs::write(&tree(), &options, []).unwrap();
        assert!(squashfs_size(&bytes).is_some_and(|size| size <= bytes.len() as u64));
        assert_eq!(root(bytes).unwrap().files, list());
        let mut bytes = writer::pack(&tree(), 3, 1).unwrap();
        assert_eq!(initramfs(&bytes).unwrap().files, list());
        let packed = bytes.len() as u64;
        bytes.extend(writer::embed_root(b"root", 1).unwrap());
        let found = initramfs(&bytes).unwrap();
        assert_eq!((found.files, found.root.as_deref()), (list(), Some(&b"root"[..])));
        assert!((packed..packed + 600).contains(&found.packed), "{packed} {}", found.packed);
    }

    proptest! {
        #[test]
        fn damage_never_panics(at: prop::sample::Index, value: u8, cut: prop::sample::Index) {
            let mut bytes = crate::cpio::write(&tree(), 1).unwrap();
            let place = at.index(bytes.len());
            bytes[place] = value;
            let _ = initramfs(&bytes);
            let _ = initramfs(&bytes[..cut.index(bytes.len())]);
        }
    }
}
