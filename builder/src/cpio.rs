//! Writing `newc` cpio archives, the format of an initramfs
//! (Documentation/driver-api/early-userspace/buffer-format.rst in the kernel).
//!
//! Inode numbers count from one, every time is the same, and order is that of the tree, so that equal trees give equal
//! bytes.

use std::fmt::Write as _;

use crate::tree::{Node, Tree};

const TRAILER: &str = "TRAILER!!!";
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// The archive of a tree; every time in it is `time` (seconds since 1970). Ends on a multiple of 512 bytes, so that
/// another archive may follow.
///
/// # Errors
/// When a file is larger than the format's 4 GiB.
pub fn write(tree: &Tree, time: u32) -> Result<Vec<u8>, CpioError> {
    let mut out = Vec::new();
    for (index, (path, entry)) in tree.iter().enumerate() {
        let (kind, bytes): (u32, &[u8]) = match &entry.node {
            Node::Directory => (DIRECTORY, &[]),
            Node::File(bytes) => (REGULAR, bytes),
            Node::Symlink(target) => (SYMLINK, target.as_bytes()),
        };
        let size = u32::try_from(bytes.len()).map_err(|_| CpioError(path.to_owned()))?;
        let inode = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let links = if kind == DIRECTORY { 2 } else { 1 };
        let fields = [inode, kind | u32::from(entry.mode), entry.uid, entry.gid, links, time, size];
        header(&mut out, fields, path);
        out.extend_from_slice(bytes);
        pad(&mut out, 4);
    }
    header(&mut out, [0, 0, 0, 0, 1, 0, 0], TRAILER);
    pad(&mut out, 512);
    Ok(out)
}

/// Magic, then thirteen numbers of eight hexadecimal digits: the seven given, four device numbers, the length of the name with its zero,
/// and a checksum that this variant leaves at zero.
fn header(out: &mut Vec<u8>, fields: [u32; 7], name: &str) {
    let mut text = String::with_capacity(110);
    text.push_str("070701");
    let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
    for value in fields.into_iter().chain([0, 0, 0, 0, name_size, 0]) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{value:08X}");
    }
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    pad(out, 4);
}

fn pad(out: &mut Vec<u8>, multiple: usize) {
    out.resize(out.len().next_multiple_of(multiple), 0);
}

/// A file that the format cannot hold.
#[derive(Debug, thiserror::Error)]
#[error("failed to put {0} into a cpio archive: it has 4 GiB or more")]
pub struct CpioError(String);

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;

    use super::*;
    use crate::tree::Origin;

    /// Reads an archive with somebody else's reader: path, mode, bytes.
    fn read_back(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        let mut rest = std::io::Cursor::new(bytes);
        loop {
            let mut reader = cpio::newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                return entries;
            }
            let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
            let mut content = Vec::new();
            reader.read_to_end(&mut content).unwrap();
            entries.push((name, mode, content));
            rest = reader.finish().unwrap();
        }
    }

    #[test]
    fn kinds_and_modes() {
        let mut tree = Tree::new();
        tree.file("init", 0o755, *b"#!", Origin::Agent);
        tree.directory("dev", 0o755);
        tree.symlink("bin", "usr/bin", Origin::Builder);
        let bytes = write(&tree, 1).unwrap();
        assert_eq!(bytes.len() % 512, 0);
        assert_eq!(
            read_back(&bytes),
            [
                ("bin".to_owned(), 0o120_777, b"usr/bin".to_vec()),
                ("dev".to_owned(), 0o040_755, vec![]),
                ("init".to_owned(), 0o100_755, b"#!".to_vec()),
            ]
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(files in proptest::collection::btree_map("[a-z]{1,9}", proptest::collection::vec(any::<u8>(), 0..40), 0..6)) {
            let mut tree = Tree::new();
            for (name, bytes) in &files {
                tree.file(name, 0o644, bytes.clone(), Origin::Builder);
            }
            let read = read_back(&write(&tree, 0).unwrap());
            prop_assert_eq!(read.len(), files.len());
            for ((name, bytes), (read_name, mode, read_bytes)) in files.into_iter().zip(read) {
                prop_assert_eq!((name, 0o100_644, bytes), (read_name, mode, read_bytes));
            }
        }
    }
}
