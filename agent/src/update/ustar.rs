//! An update file is a tape archive in the `ustar` format (POSIX.1-2017, `pax`, "ustar Interchange Format").
//!
//! This reader is strict: plain files in the top directory, nothing else. What it reads was not checked yet when it reads the first two
//! members.

use std::io::{self, Read};

/// Length of a block: headers are one block, and each member is filled up to whole blocks.
pub const BLOCK: usize = 512;
/// No member is longer, in bytes.
const MOST: u64 = 8 << 30;
/// What may stand behind the last member, in bytes: two blocks, and what fills the archive up to whole records of 10 KiB.
const LONGEST_END: u64 = 2 * BLOCK as u64 + 10_240;

/// A member's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name, without any directory.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
}

/// Why bytes are not an archive that this reader takes.
#[derive(Debug, thiserror::Error)]
pub enum UstarError {
    /// The archive cannot be read, or ends too soon.
    #[error("failed to read the update: {0}")]
    Read(#[from] io::Error),
    /// Not this format.
    #[error("this is no update file: {0}")]
    Format(&'static str),
}

/// Reads a header; `None` for the block of zeros that ends an archive.
///
/// # Errors
/// When it is not the header of a plain file with a simple name.
pub fn parse(block: &[u8; BLOCK]) -> Result<Option<Header>, UstarError> {
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    if block[257..265] != *b"ustar\x0000" {
        return Err(UstarError::Format("it is not a tape archive in the ustar format"));
    }
    // The checksum counts itself as spaces.
    let sum: u64 =
        block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 0x20 } else { u64::from(*byte) }).sum();
    if octal(&block[148..156]) != Some(sum) {
        return Err(UstarError::Format("the checksum of a header is wrong"));
    }
    if block[156] != b'0' || block[345] != 0 {
        return Err(UstarError::Format("it holds more than plain files"));
    }
    let name = block[..100].split(|byte| *byte == 0).next().unwrap_or_default();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if name.is_empty() || name[0] == b'.' || !name.iter().all(plain) {
        return Err(UstarError::Format("the name of a member is not simple"));
    }
    let size = octal(&block[124..136]).filter(|size| *size <= MOST);
    let size = size.ok_or(UstarError::Format("the size of a member is wrong"))?;
    Ok(Some(Header { name: String::from_utf8_lossy(name).into_owned(), size }))
}

/// Octal digits, ended by a space or a zero byte.
fn octal(field: &[u8]) -> Option<u64> {
    let end = field.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(field.len());
    let digits = std::str::from_utf8(&field[..end]).ok()?;
    let plain = !digits.is_empty() && digits.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    plain.then(|| u64::from_str_radix(digits, 8).ok())?
}

/// Bytes to fill a member of `size` bytes up to whole blocks.
#[must_use]
pub const fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

/// The header of a plain file, as [`parse`] reads it: nobody's, of no time. For the builder.
#[must_use]
pub fn header(name: &str, size: u64) -> Option<[u8; BLOCK]> {
    let mut block = [0; BLOCK];
    block.get_mut(..name.len().min(101))?.copy_from_slice(&name.as_bytes()[..name.len().min(101)]);
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(100, b"0000644\x000000000\x000000000\x00");
    put(124, format!("{size:011o}").as_bytes());
    put(136, b"00000000000\x00");
    put(148, b"        0");
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\x00 ").as_bytes());
    matches!(parse(&block), Ok(Some(read)) if read.name == name && read.size == size).then_some(block)
}

/// Reads an archive from beginning to end.
#[derive(Debug)]
pub struct Archive<R>(R);

impl<R: Read> Archive<R> {
    /// An archive that begins at the next byte of `input`.
    pub const fn new(input: R) -> Self {
        Self(input)
    }

    /// The next header. The member before it was read by [`Archive::member`].
    ///
    /// # Errors
    /// When there is none that is sound.
    pub fn next_header(&mut self) -> Result<Option<Header>, UstarError> {
        let mut block = [0; BLOCK];
        self.0.read_exact(&mut block)?;
        parse(&block)
    }

    /// Reads a member of `size` bytes, piece by piece.
    ///
    /// # Errors
    /// When the archive ends too soon, or `take` fails.
    pub fn member<E: From<UstarError>>(
        &mut self,
        size: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut buffer = vec![0; 1 << 16];
        let mut left = size;
        while left > 0 {
            let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let piece = &mut buffer[..length];
            self.0.read_exact(piece).map_err(UstarError::Read)?;
            take(piece)?;
            left -= length as u64;
        }
        let rest = usize::try_from(padding(size)).unwrap_or(0);
        self.0.read_exact(&mut buffer[..rest]).map_err(UstarError::Read)?;
        Ok(())
    }

    /// Reads what stands behind the last member, to the end of the input: zeros, or nothing when the input keeps its end to itself.
    ///
    /// # Errors
    /// When there is more, or the input fails at its end.
    pub fn end(&mut self) -> Result<(), UstarError> {
        let mut rest = Vec::new();
        self.0.by_ref().take(LONGEST_END + 1).read_to_end(&mut rest)?;
        let is_end = rest.len() as u64 <= LONGEST_END && rest.iter().all(|byte| *byte == 0);
        if is_end { Ok(()) } else { Err(UstarError::Format("there is more behind its last member")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_archive_is_read_member_by_member() {
        let mut bytes = header("update.json", 3).unwrap().to_vec();
        bytes.extend(b"abc");
        bytes.resize(1024, 0);
        bytes.extend(header("uki.efi", 512).unwrap());
        bytes.resize(2048, 7);
        bytes.resize(3072, 0);
        let mut archive = Archive::new(&bytes[..]);
        let read = |archive: &mut Archive<&[u8]>| {
            let header = archive.next_header().unwrap()?;
            let mut bytes = Vec::new();
            archive
                .member(header.size, |piece| {
                    bytes.extend_from_slice(piece);
                    Ok::<(), UstarError>(())
                })
                .unwrap();
            Some((header.name, bytes))
        };
        assert_eq!(read(&mut archive), Some(("update.json".into(), b"abc".to_vec())));
        assert_eq!(read(&mut archive), Some(("uki.efi".into(), vec![7; 512])));
        assert_eq!(read(&mut archive), None);
        archive.end().unwrap();
        let mut cut = Archive::new(&bytes[..600]);
        let header = cut.next_header().unwrap().unwrap();
        assert!(cut.member(header.size, |_| Ok::<(), UstarError>(())).is_err());
    }

    #[test]
    fn behind_the_last_member_is_nothing_but_zeros() {
        let end = |length: usize, last: &[u8]| Archive::new(&[&vec![0; length], last].concat()[..]).end();
        for length in [0, 2 * BLOCK, 10_240] {
            end(length, &[]).unwrap();
            assert!(end(length, &[1]).unwrap_err().to_string().contains("more behind its last member"));
        }
        assert!(Archive::new(io::repeat(0)).end().is_err(), "it has no end");
    }

    #[test]
    fn only_plain_files_with_simple_names_are_taken() {
        for name in ["", "a/b", "../a", ".hidden", "a b", &"x".repeat(101)] {
            assert_eq!(header(name, 1), None, "{name}");
        }
        for (at, byte) in [(156, b'2'), (345, b'x'), (257, b'x'), (124, b'9'), (150, b'7')] {
            let mut block = header("a", 1).unwrap();
            block[at] = byte;
            assert!(parse(&block).is_err(), "{at}");
        }
        assert_eq!(header("a", MOST + 1), None);
    }

    proptest! {
        #[test]
        fn any_block_is_a_header_or_not(bytes in proptest::collection::vec(any::<u8>(), BLOCK)) {
            let _ = parse(&bytes.try_into().unwrap());
        }

        #[test]
        fn a_flipped_bit_is_noticed(at in 0..BLOCK, bit in 0..8_u32) {
            let mut block = header("root.squashfs", 123_456).unwrap();
            block[at] ^= 1_u8 << bit;
            // The checksum's own end may be a space or a zero.
            prop_assume!(!(154..156).contains(&at));
            prop_assert!(parse(&block).is_err());
        }

        #[test]
        fn headers_are_read_back(name in "[a-z][a-z.]{0,99}", size in 0..=MOST) {
            let read = parse(&header(&name, size).unwrap()).unwrap();
            prop_assert_eq!(read, Some(Header { name, size }));
        }
    }
}
