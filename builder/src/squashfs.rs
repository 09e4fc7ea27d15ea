//! The root file system as squashfs, byte for byte the same for the same tree.
//!
//! Almost all time of a build goes into compressing Nomad. `backhand` compresses one block after the other; so the blocks
//! of large files are compressed beforehand, on every core, and handed to it when it asks. What they compress to depends
//! on nothing but the block, level and library, so a cache may keep them from one build to the next.

use std::{
    collections::HashMap,
    io::{self, Cursor},
    sync::{Mutex, PoisonError},
};

use backhand::{
    BackhandError, FilesystemCompressor, FilesystemWriter, NodeHeader, SuperBlock,
    compression::{CompressionAction, Compressor},
    kind::Kind,
};

use crate::{
    content::Digest,
    tree::{Node, Tree},
};

/// Files from this size on are compressed beforehand.
pub const LARGE: usize = 1 << 20;

/// How to write the file system.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// zstd level.
    pub level: i32,
    /// Bytes of a block, a power of two.
    pub block: usize,
    /// Every time in it, seconds since 1970.
    pub time: u32,
}

/// Compressed blocks of one file, in order.
pub type Blocks = Vec<Vec<u8>>;

/// Compresses the blocks of a file on `threads` threads.
///
/// # Errors
/// When the compressor fails.
pub fn compress_blocks(bytes: &[u8], level: i32, block: usize, threads: usize) -> io::Result<Blocks> {
    let chunks: Vec<&[u8]> = bytes.chunks(block).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || -> io::Result<Vec<(usize, Vec<u8>)>> {
        let mut compressor = zstd::bulk::Compressor::new(level)?;
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some(chunk) = chunks.get(index) else { return Ok(done) };
            done.push((index, compressor.compress(chunk)?));
        }
    };
    let mut blocks = vec![Vec::new(); chunks.len()];
    std::thread::scope(|scope| -> io::Result<()> {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let done = worker.join().map_err(|_| io::Error::other("a compressing thread died"))??;
            for (index, compressed) in done {
                blocks[index] = compressed;
            }
        }
        Ok(())
    })?;
    Ok(blocks)
}

/// Blocks as one file: each with its length before it.
#[must_use]
pub fn store(blocks: &Blocks) -> Vec<u8> {
    let mut out = Vec::new();
    for block in blocks {
        out.extend((block.len() as u64).to_le_bytes());
        out.extend(block);
    }
    out
}

/// Reads what [`store`] wrote; nothing when it is damaged.
#[must_use]
pub fn load(mut bytes: &[u8]) -> Option<Blocks> {
    let mut blocks = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        blocks.push(rest.get(..length)?.to_vec());
        bytes = &rest[length..];
    }
    Some(blocks)
}

/// What `backhand` asks for compressed blocks: those made beforehand, else made now.
#[derive(Debug, Default)]
struct Prepared {
    level: Mutex<i32>,
    blocks: Mutex<HashMap<Digest, Vec<u8>>>,
}

/// `backhand` wants a compressor that lives for ever, so there is one; [`WRITING`] lets one file system at a time use it.
static PREPARED: std::sync::LazyLock<Prepared> = std::sync::LazyLock::new(Prepared::default);
static WRITING: Mutex<()> = Mutex::new(());

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CompressionAction for Prepared {
    type Error = BackhandError;
    type Compressor = Compressor;
    type FilesystemCompressor = FilesystemCompressor;
    type SuperBlock = SuperBlock;

    fn decompress(&self, bytes: &[u8], out: &mut Vec<u8>, _: Compressor) -> Result<(), BackhandError> {
        *out = zstd::bulk::decompress(bytes, out.capacity())?;
        Ok(())
    }

    fn compress(&self, bytes: &[u8], _: FilesystemCompressor, _: u32) -> Result<Vec<u8>, BackhandError> {
        if let Some(blocks) = lock(&self.blocks).get(&Digest::of(bytes)) {
            return Ok(blocks.clone());
        }
        let level = *lock(&self.level);
        Ok(zstd::bulk::compress(bytes, level)?)
    }
}

/// The bytes of a squashfs of `tree`. `prepared` has blocks of some of its files, by what they are made from.
///
/// # Errors
/// When the tree cannot be written.
pub fn write<'a>(
    tree: &Tree,
    options: &Options,
    prepared: impl IntoIterator<Item = (&'a [u8], &'a Blocks)>,
) -> Result<Vec<u8>, SquashfsError> {
    let _one = lock(&WRITING);
    *lock(&PREPARED.level) = options.level;
    {
        let mut blocks = lock(&PREPARED.blocks);
        for (bytes, compressed) in prepared {
            for (plain, compressed) in bytes.chunks(options.block).zip(compressed) {
                blocks.insert(Digest::of(plain), compressed.clone());
            }
        }
    }
    let result = write_prepared(tree, options);
    lock(&PREPARED.blocks).clear();
    result.map_err(SquashfsError)
}

fn write_prepared(tree: &Tree, options: &Options) -> Result<Vec<u8>, BackhandError> {
    let mut fs = FilesystemWriter::default();
    fs.set_kind(Kind::new_v4(&*PREPARED));
    fs.set_compressor(FilesystemCompressor::new(Compressor::Zstd, None)?);
    fs.set_block_size(u32::try_from(options.block).unwrap_or(1 << 17));
    fs.set_time(options.time);
    fs.set_root_mode(0o755);
    fs.set_root_uid(0);
    fs.set_root_gid(0);
    // The kernel wants the device to hold whole pages.
    fs.set_kib_padding(4);
    for (path, entry) in tree.iter() {
        let header = NodeHeader::new(entry.mode, entry.uid, entry.gid, options.time);
        match &entry.node {
            Node::Directory => fs.push_dir(path, header)?,
            Node::File(bytes) => fs.push_file(Cursor::new(bytes.clone()), path, header)?,
            Node::Symlink(target) => fs.push_symlink(target, path, header)?,
        }
    }
    let mut out = Cursor::new(Vec::new());
    fs.write(&mut out)?;
    Ok(out.into_inner())
}

/// The writer failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to write the root file system: {0}")]
pub struct SquashfsError(BackhandError);

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use backhand::{FilesystemReader, InnerNode};

    use super::*;
    use crate::tree::Origin;

    fn tree() -> Tree {
        let mut tree = Tree::new();
        let large: Vec<u8> = (0..300_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        tree.file("usr/bin/large", 0o755, large, Origin::Nomad);
        tree.file("etc/empty", 0o600, *b"", Origin::Builder);
        tree.symlink("bin", "usr/bin", Origin::Builder);
        tree
    }

    const OPTIONS: Options = Options { level: 3, block: 128 << 10, time: 1_700_000_000 };

    #[test]
    fn prepared_blocks_change_nothing_and_threads_neither() {
        let tree = tree();
        let plain = write(&tree, &OPTIONS, []).unwrap();
        let bytes = tree.bytes("usr/bin/large").unwrap();
        for threads in [1, 3] {
            let blocks = compress_blocks(bytes, OPTIONS.level, OPTIONS.block, threads).unwrap();
            assert!(plain == write(&tree, &OPTIONS, [(&bytes[..], &blocks)]).unwrap());
            let stored = store(&blocks);
            assert_eq!(load(&stored).as_ref(), Some(&blocks));
            assert_eq!(load(&stored[..stored.len() - 1]), None);
        }
        assert!(plain.len().is_multiple_of(4096));
    }

    #[test]
    fn another_pass_reads_it_back() {
        let bytes = write(&tree(), &OPTIONS, []).unwrap();
        let fs = FilesystemReader::from_reader(Cursor::new(bytes)).unwrap();
        let mut seen = Vec::new();
        for node in fs.files() {
            let path = node.fullpath.display().to_string();
            if let InnerNode::File(file) = &node.inner {
                let mut content = Vec::new();
                fs.file(file).reader().read_to_end(&mut content).unwrap();
                seen.push((path, node.header.permissions, content.len()));
            }
        }
        assert_eq!(seen, [("/etc/empty".to_owned(), 0o600, 0), ("/usr/bin/large".to_owned(), 0o755, 1_200_000)]);
    }
}
