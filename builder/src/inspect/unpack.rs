//! Disks that come compressed as a whole: unpacked into a file without a name, with holes where there are only zeros.
//!
//! A few bytes can unpack to any number of them. So there are limits, far above what any image has.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek as _},
    os::unix::fs::FileExt as _,
};

use liblzma::{read::XzDecoder, stream::Stream};

use crate::runs::is_zero;

/// The largest disk that is unpacked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of it.
    pub(super) size: u64,
    /// Of these, bytes of blocks that are not all zeros.
    pub(super) data: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { size: 64 << 30, data: 4 << 30 }
    }
}

/// Memory that xz may take.
const XZ_MEMORY: u64 = 256 << 20;
const BLOCK: usize = 512;
/// Stretches of data that a sparse file in an archive may have.
const MOST_STRETCHES: usize = 1 << 18;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Zstd,
    Gzip,
    Xz,
}

impl Packing {
    /// What a file that begins so is compressed with.
    pub(super) fn of(start: &[u8]) -> Option<Self> {
        match start {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => Some(Self::Xz),
            _ => None,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
        }
    }

    fn reader<'a>(self, file: &'a File) -> io::Result<Box<dyn Read + 'a>> {
        let file = BufReader::with_capacity(1 << 16, file);
        Ok(match self {
            // It takes windows of up to 128 MiB.
            Self::Zstd => Box::new(zstd::Decoder::with_buffer(file)?),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
            Self::Xz => Box::new(XzDecoder::new_stream(file, Stream::new_stream_decoder(XZ_MEMORY, 0)?)),
        })
    }
}

/// What was in a compressed file.
#[derive(Debug)]
pub(super) enum Unpacked {
    /// The file itself: compressed is not the whole, but a part of it, as of an initramfs.
    Initramfs,
    /// A disk, or a file with one in it.
    File(File),
    /// A disk out of the archive that Google imports.
    OfArchive(File),
}

/// Unpacks a file.
///
/// # Errors
/// When it is damaged or unpacks to too much, or there is no room for that.
pub(super) fn unpack(file: &mut File, packing: Packing, limits: Limits) -> io::Result<Unpacked> {
    file.rewind()?;
    let mut reader = packing.reader(file)?;
    let mut first = vec![0; BLOCK];
    let length = fill(&mut reader, &mut first)?;
    first.truncate(length);
    if first.starts_with(b"070701") {
        return Ok(Unpacked::Initramfs);
    }
    let to = tempfile::tempfile()?;
    let mut left = limits.data;
    if let Ok(header) = <&[u8; BLOCK]>::try_from(&first[..])
        && let Some((size, sparse)) = archive(header)
    {
        if size > limits.size {
            return Err(too_large());
        }
        let stretches = if sparse { stretches(header, &mut reader)? } else { vec![(0, size)] };
        for (at, length) in stretches {
            let end = at.checked_add(length).filter(|end| *end <= size).ok_or_else(|| wrong("its map is damaged"))?;
            let written = copy(&mut reader.by_ref().take(length), &to, at, end, &mut left)?;
            if written != length {
                return Err(wrong("the archive is cut short"));
            }
            let padding = length.next_multiple_of(BLOCK as u64) - length;
            io::copy(&mut reader.by_ref().take(padding), &mut io::sink())?;
        }
        to.set_len(size)?;
        return Ok(Unpacked::OfArchive(to));
    }
    let size = copy(&mut io::Cursor::new(first).chain(reader), &to, 0, limits.size, &mut left)?;
    to.set_len(size)?;
    Ok(Unpacked::File(to))
}

/// Copies a stream to a place of a file, but for zeros; gives how much that was. The place ends at `end`, and data takes away
/// from `left`.
fn copy(from: &mut dyn Read, to: &File, at: u64, end: u64, left: &mut u64) -> io::Result<u64> {
    let mut buffer = vec![0; 1 << 16];
    let mut done = 0;
    loop {
        let length = fill(from, &mut buffer)?;
        if length == 0 {
            return Ok(done);
        }
        let bytes = &buffer[..length];
        if at + done + length as u64 > end {
            return Err(too_large());
        }
        if !is_zero(bytes) {
            let rest = left.checked_sub(length as u64);
            *left = rest.ok_or_else(too_large)?;
            to.write_all_at(bytes, at + done)?;
        }
        done += length as u64;
    }
}

/// Bytes of the one file `disk.raw` of an archive, as Google wants it, and whether it is a sparse one of the old GNU format.
fn archive(header: &[u8; BLOCK]) -> Option<(u64, bool)> {
    let named = header.starts_with(b"disk.raw\0") && header[257..].starts_with(b"ustar");
    let (sparse, size_at) = match header[156] {
        b'S' => (true, 483),
        b'0' | 0 => (false, 124),
        _ => return None,
    };
    let size = number(&header[size_at..size_at + 12]).filter(|_| named)?;
    Some((size, sparse))
}

/// The stretches of data of a sparse file, which its header and the blocks behind that name ("GNU tar manual", "Old GNU
/// Format").
fn stretches(header: &[u8; BLOCK], more: &mut dyn Read) -> io::Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    let mut add = |entries: &[u8]| {
        for entry in entries.chunks_exact(24).filter(|entry| entry[0] != 0) {
            let place = number(&entry[..12]).zip(number(&entry[12..])).ok_or_else(|| wrong("its map is damaged"))?;
            found.push(place);
        }
        if found.len() > MOST_STRETCHES { Err(wrong("its map is too long")) } else { Ok(()) }
    };
    add(&header[386..482])?;
    let mut goes_on = header[482] != 0;
    let mut blocks = 0;
    while goes_on {
        let mut block = [0; BLOCK];
        more.read_exact(&mut block)?;
        add(&block[..504])?;
        blocks += 1;
        goes_on = block[504] != 0 && blocks < MOST_STRETCHES;
    }
    Ok(found)
}

/// A number of an archive's header: octal, or with the first bit set, binary.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len() - 8);
        let small = high[0] == 0x80 && high[1..].iter().all(|byte| *byte == 0);
        return small.then(|| low.try_into().map(u64::from_be_bytes).ok())?;
    }
    let text = std::str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

/// Fills as much of `buffer` as there is.
fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match from.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(length) => done += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn too_large() -> io::Error {
    wrong("it is larger unpacked than any image: unpack it first")
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        compress::{self, Compression},
        disk::Disk,
        gce,
    };

    fn disk() -> Disk {
        let extents = (0..40u64).map(|n| (n << 16, vec![7; if n % 3 == 0 { 5000 } else { 4096 }])).collect();
        Disk { size: 8 << 20, extents }
    }

    fn packed(write: impl FnOnce(&Disk, &mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&disk(), &mut bytes);
        bytes
    }

    fn unpacked(bytes: &[u8]) -> io::Result<(Vec<u8>, bool)> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let packing = Packing::of(bytes).ok_or(io::ErrorKind::Other)?;
        let (mut file, archive) = match unpack(&mut file, packing, Limits { size: 64 << 20, data: 4 << 20 })? {
            Unpacked::Initramfs => return Ok((Vec::new(), false)),
            Unpacked::File(file) => (file, false),
            Unpacked::OfArchive(file) => (file, true),
        };
        let mut all = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut all)?;
        Ok((all, archive))
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let mut wanted = Vec::new();
        crate::runs::reader(&disk()).read_to_end(&mut wanted).unwrap();
        for compression in [Compression::Zstd, Compression::Gzip, Compression::Xz] {
            let bytes = packed(|disk, out| compress::write(disk, compression, out).unwrap());
            assert!(unpacked(&bytes).unwrap() == (wanted.clone(), false), "{compression:?}");
        }
        let bytes = packed(|disk, out| gce::write(disk, 1, out).unwrap());
        assert!(unpacked(&bytes).unwrap() == (wanted, true));
    }

    #[test]
    fn there_are_limits() {
        // Megabytes of zeros in a few bytes each, and then of something else.
        for (byte, count) in [(0, 65), (1, 5)] {
            let frame = zstd::encode_all(&vec![byte; 1 << 20][..], 1).unwrap();
            let error = unpacked(&frame.repeat(count)).unwrap_err();
            assert!(error.to_string().contains("unpack it first"), "{error}");
            assert!(unpacked(&frame.repeat(count - 2)).is_ok());
        }
        let mut archive = ARCHIVE.clone();
        archive[483..495].copy_from_slice(b"77777777777\0");
        assert!(unpacked(&gzip(&archive)).is_err());
    }

    /// The archive before it is compressed: damage to what is compressed seldom gets past the checksum.
    static ARCHIVE: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
        let mut all = Vec::new();
        let bytes = packed(|disk, out| gce::write(disk, 1, out).unwrap());
        flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut all).unwrap();
        all
    });

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(1));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn damage_never_panics(
            at in 0usize..2048, value: u8, more in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(),
            kind in 0usize..3,
        ) {
            let mut bytes = ARCHIVE.clone();
            bytes[at] = value;
            let _ = unpacked(&gzip(&bytes));
            let _ = unpacked(&gzip(&bytes[..cut.index(bytes.len())]));
            let kind = [Compression::Zstd, Compression::Gzip, Compression::Xz][kind];
            let mut bytes = packed(|disk, out| compress::write(disk, kind, out).unwrap());
            let place = more.index(bytes.len());
            bytes[place] = value;
            let _ = unpacked(&bytes);
            let _ = unpacked(&bytes[..cut.index(bytes.len())]);
        }

        #[test]
        fn any_header_is_an_archive_or_not(bytes in prop::collection::vec(any::<u8>(), BLOCK)) {
            let header: [u8; BLOCK] = bytes.try_into().unwrap();
            let _ = archive(&header);
            let _ = stretches(&header, &mut io::repeat(header[0]));
        }
    }
}
