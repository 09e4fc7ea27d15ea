//! Writing qcow2 images, version 3, after QEMU's docs/interop/qcow2.txt.
//!
//! An image is made of clusters. The guest's clusters are found through two levels of tables: the L1 table points to L2
//! tables, whose entries point to data. A third structure counts how often each cluster of the file is used. What is
//! written here, in this order:
//!
//! | clusters | what |
//! |---|---|
//! | 0 | header |
//! | 1.. | L1 table |
//! | then | data, each L2 table behind the data that it points to |
//! | last | refcount table, refcount blocks |
//!
//! Clusters of zeros are not stored: without a backing file, what no entry points to reads as zeros. Nothing in the file
//! depends on the time, on chance, or on how sparse the input is, so equal disks give equal files. The input is read once,
//! front to back, a cluster at a time; in memory are the L1 table, one L2 table and two bytes for each cluster of the file.

mod image;
mod raw_file;
mod reader;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

pub use self::reader::Reader;
use self::{
    image::{COPIED, Image, index, words},
    raw_file::RawFile,
};
use crate::runs::is_zero;

/// How data clusters are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// Deflate, which every reader of the format knows.
    Zlib,
    /// Zstandard: QEMU 5.1 and later.
    Zstd,
}

/// What may be chosen about an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How data clusters are stored. A cluster that does not shrink is stored as it is.
    pub compression: Compression,
    /// A cluster has `1 << cluster_bits` bytes; 9 to 21.
    pub cluster_bits: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { compression: Compression::None, cluster_bits: 16 }
    }
}

/// A disk to be written.
pub trait Source {
    /// Bytes of the disk.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset` on, or says `false` if it would be all zeros. Offsets only grow from call to call, and
    /// the last buffer ends with the disk.
    ///
    /// # Errors
    /// When the disk cannot be read.
    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<bool>;
}

/// Why an image cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Qcow2Error {
    /// The disk cannot be read.
    #[error("failed to read the disk {path}: {source}")]
    Read {
        /// The raw disk.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The image cannot be written.
    #[error("failed to write the qcow2 image {path}: {source}")]
    Write {
        /// The image.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A cluster size that the format does not have.
    #[error("qcow2 clusters of 2^{0} bytes do not exist: use 9 to 21")]
    ClusterBits(u32),
    /// A disk that needs a larger L1 table than QEMU reads.
    #[error("a disk of {size} bytes is too large for qcow2 clusters of 2^{bits} bytes: use larger ones")]
    TooLarge {
        /// Bytes of the disk.
        size: u64,
        /// The cluster size.
        bits: u32,
    },
}

/// Writes the raw disk `raw` as the qcow2 image `out`, which is replaced. Holes of a sparse file are not read.
///
/// The virtual size is that of `raw`, rounded up to whole sectors of 512 bytes, as QEMU does. When it fails, a part of
/// `out` may be left.
///
/// # Errors
/// When a file cannot be read or written, or the options do not fit.
pub fn write(raw: &Path, out: &Path, options: Options) -> Result<(), Qcow2Error> {
    let mut source = RawFile::open(raw).map_err(|source| Qcow2Error::Read { path: raw.to_owned(), source })?;
    let file = File::create(out).map_err(|source| Qcow2Error::Write { path: out.to_owned(), source })?;
    copy(&mut source, raw, &file, out, options)
}

/// Writes `source` to the empty file `file`, which errors call `path`.
///
/// # Errors
/// As [`write`].
pub fn write_from(source: &mut impl Source, file: &File, path: &Path, options: Options) -> Result<(), Qcow2Error> {
    copy(source, path, file, path, options)
}

/// Bytes of the L1 table that QEMU reads at most.
const L1_LIMIT: u64 = 32 << 20;

fn copy(
    source: &mut impl Source,
    source_path: &Path,
    file: &File,
    path: &Path,
    options: Options,
) -> Result<(), Qcow2Error> {
    if !(9..=21).contains(&options.cluster_bits) {
        return Err(Qcow2Error::ClusterBits(options.cluster_bits));
    }
    let cluster = 1u64 << options.cluster_bits;
    let size = source.size();
    let virtual_size = size.next_multiple_of(512);
    let entries = cluster / 8;
    // One entry even for an empty disk: a table of no length has no place.
    let tables = size.div_ceil(cluster * entries).max(1);
    if tables * 8 > L1_LIMIT {
        return Err(Qcow2Error::TooLarge { size, bits: options.cluster_bits });
    }
    let write = |source| Qcow2Error::Write { path: path.to_owned(), source };
    let mut image = Image::new(file, options, 1 + (tables * 8).div_ceil(cluster));

    let mut l1 = Vec::new();
    let mut buffer = vec![0; index(cluster)];
    for table in 0..tables {
        let start = table * entries * cluster;
        let mut l2 = Vec::with_capacity(index(entries));
        for offset in (start..size.min(start + entries * cluster)).step_by(index(cluster)) {
            let used = index(cluster.min(size - offset));
            let data = source
                .read(offset, &mut buffer[..used])
                .map_err(|source| Qcow2Error::Read { path: source_path.to_owned(), source })?;
            buffer[used..].fill(0);
            let data = data && !is_zero(&buffer);
            l2.push(if data { image.data(&buffer).map_err(write)? } else { 0 });
        }
        let empty = l2.iter().all(|&entry| entry == 0);
        l2.resize(index(entries), 0);
        l1.push(if empty { 0 } else { COPIED | image.whole(&words(&l2)).map_err(write)? });
    }
    image.finish(virtual_size, &l1).map_err(write)
}
