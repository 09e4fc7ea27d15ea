//! The file of an image, as it grows.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _};

use flate2::{Compress, FlushCompress, Status};

use super::{Compression, Options};

/// The entry is the only user of what it points to.
pub(super) const COPIED: u64 = 1 << 63;
/// An L2 entry that points to compressed data.
const COMPRESSED: u64 = 1 << 62;
/// Version 3 with the byte for the compression type, and its padding.
const HEADER_LENGTH: u32 = 112;
/// Incompatible feature bit 3: the compression type is not zlib.
const OTHER_COMPRESSION: u64 = 1 << 3;
/// What is written so far, and what is counted.
pub(super) struct Image<'a> {
    file: &'a File,
    options: Options,
    cluster: u64,
    /// How many entries use each cluster of the file; as many as the file has clusters.
    counts: Vec<u16>,
    /// What is left of the last cluster that compressed data went into.
    open: Range<u64>,
}

impl<'a> Image<'a> {
    /// An image whose first clusters, `reserved` of them, are written at the end.
    pub(super) fn new(file: &'a File, options: Options, reserved: u64) -> Self {
        Self { file, options, cluster: 1 << options.cluster_bits, counts: vec![1; index(reserved)], open: 0..0 }
    }

    fn end(&self) -> u64 {
        self.counts.len() as u64 * self.cluster
    }

    /// Writes `bytes` to clusters of their own and gives their place.
    pub(super) fn whole(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let at = self.end();
        self.file.write_all_at(bytes, at)?;
        let clusters = (bytes.len() as u64).div_ceil(self.cluster);
        self.counts.resize(self.counts.len() + index(clusters), 1);
        Ok(at)
    }

    /// Writes a cluster of data and gives its L2 entry.
    pub(super) fn data(&mut self, bytes: &[u8]) -> io::Result<u64> {
        match compress(self.options.compression, bytes)? {
            Some(bytes) => self.packed(&bytes),
            None => Ok(COPIED | self.whole(bytes)?),
        }
    }

    /// Writes compressed data, behind other compressed data if there is room, and gives its L2 entry.
    fn packed(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let length = bytes.len() as u64;
        if self.open.end - self.open.start < length {
            // Data may cross into the next cluster, where that is a new one. One is enough: it is shorter than a cluster.
            let at = self.end();
            if self.open.is_empty() || self.open.end != at {
                self.open.start = at;
            }
            self.open.end = at + self.cluster;
            self.counts.push(0);
        }
        let at = self.open.start;
        self.open.start += length;
        self.file.write_all_at(bytes, at)?;
        let last = at + length - 1;
        for cluster in at / self.cluster..=last / self.cluster {
            self.counts[index(cluster)] += 1;
        }
        // "Compressed Clusters Descriptor": the offset, then how many sectors follow the one in which the data begins.
        let sectors = last / 512 - at / 512;
        Ok(COMPRESSED | sectors << (62 - (self.options.cluster_bits - 8)) | at)
    }

    /// Writes the reference counts, the L1 table and the header.
    pub(super) fn finish(mut self, virtual_size: u64, l1: &[u64]) -> io::Result<()> {
        // The counts are two bytes each, and count their own clusters as well.
        let (per_block, used) = (self.cluster / 2, self.counts.len() as u64);
        let (mut blocks, mut table) = (0, 0);
        loop {
            let needed = (used + table + blocks).div_ceil(per_block);
            let table_needed = (needed * 8).div_ceil(self.cluster);
            if (needed, table_needed) == (blocks, table) {
                break;
            }
            (blocks, table) = (needed, table_needed);
        }
        let table_at = self.end();
        let blocks_at = table_at + table * self.cluster;
        let places: Vec<u64> = (0..blocks).map(|block| blocks_at + block * self.cluster).collect();
        self.counts.resize(index(used + table + blocks), 1);
        let counts: Vec<u8> = self.counts.iter().flat_map(|count| count.to_be_bytes()).collect();
        self.file.write_all_at(&words(&places), table_at)?;
        self.file.write_all_at(&counts, blocks_at)?;
        self.file.write_all_at(&words(l1), self.cluster)?;
        self.file.write_all_at(&self.header(virtual_size, l1.len() as u64, table_at, table), 0)?;
        // Whatever the last writes did not fill reads as zeros.
        self.file.set_len(self.end())
    }

    /// "Header", version 3: no backing file, no encryption, no snapshots, no extensions.
    fn header(&self, virtual_size: u64, l1_entries: u64, table_at: u64, table_clusters: u64) -> Vec<u8> {
        let zstd = self.options.compression == Compression::Zstd;
        let mut header = Vec::with_capacity(HEADER_LENGTH as usize);
        let mut put = |bytes: &[u8]| header.extend_from_slice(bytes);
        put(b"QFI\xfb");
        put(&3u32.to_be_bytes());
        put(&[0; 8 + 4]); // backing file: offset, length of the name
        put(&self.options.cluster_bits.to_be_bytes());
        put(&virtual_size.to_be_bytes());
        put(&[0; 4]); // encryption
        put(&narrow(l1_entries));
        put(&self.cluster.to_be_bytes()); // place of the L1 table
        put(&table_at.to_be_bytes());
        put(&narrow(table_clusters));
        put(&[0; 4 + 8]); // snapshots: number, place
        put(&if zstd { OTHER_COMPRESSION } else { 0 }.to_be_bytes());
        put(&[0; 8 + 8]); // compatible features, those that a writer may clear
        put(&4u32.to_be_bytes()); // reference counts have 1 << 4 bits
        put(&HEADER_LENGTH.to_be_bytes());
        put(&[u8::from(zstd), 0, 0, 0, 0, 0, 0, 0]);
        put(&[0; 8]); // end of the header extensions
        header
    }
}

/// The cluster compressed, if that makes it smaller.
fn compress(compression: Compression, bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut out = Vec::with_capacity(bytes.len() - 1);
    match compression {
        Compression::None => Ok(None),
        Compression::Zlib => {
            // Readers decompress with a window of 4 KiB, so nothing may refer further back. No zlib header.
            let mut stream = Compress::new_with_window_bits(flate2::Compression::new(9), false, 12);
            // Fills the room there is and does not make more.
            let status = stream.compress_vec(bytes, &mut out, FlushCompress::Finish).map_err(io::Error::other)?;
            Ok((status == Status::StreamEnd && out.len() < bytes.len()).then_some(out))
        }
        Compression::Zstd => {
            let out = zstd::bulk::compress(bytes, 9)?;
            Ok((out.len() < bytes.len()).then_some(out))
        }
    }
}

pub(super) fn words(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

/// For numbers that the limit of the L1 table keeps small.
fn narrow(value: u64) -> [u8; 4] {
    u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes()
}

/// The builder runs where a pointer has 64 bits, or the counts in question fit anyway.
pub(super) fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
