//! Raw disks, compressed: what most clouds take for an upload, and what is dearest to send otherwise.
//!
//! No names, no times, and nothing that depends on the number of threads. What is on a disk is compressed already, kernel, initramfs
//! and root, so quick levels do: they find the zeros. But a disk that boots by UEFI and by BIOS has kernel and initramfs twice, some 14 MB
//! apart: zstd and xz look back far enough to find that. gzip cannot.

use std::io::{self, Read, Write};

use liblzma::stream::{Check, Filters, LzmaOptions, MtStreamBuilder};

use crate::{disk::Disk, runs::reader};

/// How a raw disk is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Compression {
    /// Not at all.
    None,
    /// Zstandard, `.zst`: the quickest.
    Zstd,
    /// gzip, `.gz`: what every cloud takes.
    Gzip,
    /// xz, `.xz`.
    Xz,
}

impl Compression {
    /// Every way.
    pub const ALL: [Self; 4] = [Self::None, Self::Zstd, Self::Gzip, Self::Xz];
}

/// How far zstd looks back: `1 << 25` bytes, which every reader takes without being told (up to `1 << 27`), and holds in memory.
const WINDOW_LOG: u32 = 25;
/// How far xz looks back.
const DICTIONARY: u32 = 32 << 20;
/// xz compresses pieces of so many bytes on several threads. The second copy has to be in the piece of the first one.
const PIECE: u64 = 64 << 20;
/// Each thread has a few hundred megabytes.
const MOST_THREADS: usize = 4;

/// Writes the raw disk, compressed.
///
/// # Errors
/// When it cannot be written.
pub fn write(disk: &Disk, compression: Compression, out: &mut impl Write) -> io::Result<()> {
    match compression {
        Compression::None => copy(disk, out),
        Compression::Zstd => {
            let mut encoder = zstd::Encoder::new(out, 3)?;
            encoder.long_distance_matching(true)?;
            encoder.window_log(WINDOW_LOG)?;
            encoder.set_pledged_src_size(Some(disk.size))?;
            encoder.include_checksum(true)?;
            copy(disk, &mut encoder)?;
            encoder.finish()?.flush()
        }
        Compression::Gzip => {
            let mut encoder = flate2::GzBuilder::new().write(out, flate2::Compression::new(6));
            copy(disk, &mut encoder)?;
            encoder.finish()?.flush()
        }
        Compression::Xz => {
            let mut options = LzmaOptions::new_preset(1)?;
            options.dict_size(DICTIONARY);
            let mut filters = Filters::new();
            filters.lzma2(&options);
            let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(MOST_THREADS);
            let mut stream = MtStreamBuilder::new();
            stream.threads(u32::try_from(threads).unwrap_or(1)).block_size(PIECE).filters(filters).check(Check::Crc64);
            let mut encoder = liblzma::write::XzEncoder::new_stream(out, stream.encoder()?);
            copy(disk, &mut encoder)?;
            encoder.finish()?.flush()
        }
    }
}

/// In larger pieces than `io::copy` has.
fn copy(disk: &Disk, out: &mut impl Write) -> io::Result<()> {
    let (mut reader, mut buffer) = (reader(disk), vec![0; 1 << 18]);
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(()),
            length => out.write_all(&buffer[..length])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_readers_get_the_disk_back() {
        let disk = Disk { size: 9 << 20, extents: vec![(0, vec![1; 700_000]), (4 << 20, vec![2; 70_001])] };
        let mut wanted = Vec::new();
        reader(&disk).read_to_end(&mut wanted).unwrap();
        let written = |compression| {
            let mut bytes = Vec::new();
            write(&disk, compression, &mut bytes).unwrap();
            bytes
        };
        let (zstd, gzip, xz) = (written(Compression::Zstd), written(Compression::Gzip), written(Compression::Xz));
        assert!(written(Compression::None) == wanted);
        assert!(zstd::decode_all(&zstd[..]).unwrap() == wanted);
        // The length of the disk is in the frame, for those who make room for it beforehand.
        assert_eq!(zstd::zstd_safe::get_frame_content_size(&zstd).unwrap(), Some(disk.size));
        assert_eq!(gzip[3..10], [0, 0, 0, 0, 0, 0, 255], "no name, no time");
        let mut got = Vec::new();
        flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut got).unwrap();
        assert!(got == wanted);
        got.clear();
        liblzma::read::XzDecoder::new(&xz[..]).read_to_end(&mut got).unwrap();
        assert!(got == wanted);
        assert!([&zstd, &gzip, &xz].iter().all(|bytes| bytes.len() < 1 << 17));
    }
}
