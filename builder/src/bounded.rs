//! Reading what comes from outside within bounds: a few bytes can name any number of others.

use std::{
    fmt::Write as _,
    fs::{self, File, FileType},
    io::{self, Read},
    os::unix::fs::FileTypeExt as _,
    path::Path,
};

use liblzma::{read::XzDecoder, stream::Stream};

/// Memory that xz may take. Its highest preset takes 65 MiB.
pub const XZ_MEMORY: u64 = 256 << 20;

/// A reader that fails when there is more than so many bytes, instead of ending there.
#[derive(Debug)]
pub struct AtMost<R> {
    from: R,
    left: u64,
    most: u64,
}

impl<R: Read> AtMost<R> {
    /// Reads `from`, of which `most` bytes are too few to be wrong.
    pub const fn new(from: R, most: u64) -> Self {
        Self { from, left: most, most }
    }
}

impl<R: Read> Read for AtMost<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if length == 0 && !buffer.is_empty() {
            return match self.from.read(&mut [0])? {
                0 => Ok(0),
                _ => Err(invalid(format!("it has more than {}", crate::progress::bytes(self.most)))),
            };
        }
        let read = self.from.read(&mut buffer[..length])?;
        self.left -= read as u64;
        Ok(read)
    }
}

/// Decompresses xz. A header may ask for 4 GiB of memory; it gets [`XZ_MEMORY`].
///
/// # Errors
/// When there is no memory for a decoder.
pub fn xz<R: Read>(from: R) -> io::Result<XzDecoder<R>> {
    Ok(XzDecoder::new_stream(from, Stream::new_stream_decoder(XZ_MEMORY, 0)?))
}

/// Everything that `from` has, which must be at most `most` bytes.
///
/// # Errors
/// When it cannot be read, or has more.
pub fn all(from: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    AtMost::new(from, most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The bytes of a file of at most `most` bytes.
///
/// # Errors
/// When it cannot be read, has more, or is no file: a device never ends, and whoever opens a pipe waits for its writer.
pub fn file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let kind = fs::metadata(path)?.file_type();
    if let Some(what) = other(kind) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, not a file")));
    }
    all(File::open(path)?, most)
}

/// The text of a file of at most `most` bytes.
///
/// # Errors
/// As [`file`]; and when it is not UTF-8, with the place.
pub fn text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(file(path, most)?).map_err(|error| {
        let (good, bytes) = (error.utf8_error().valid_up_to(), error.into_bytes());
        let before = &bytes[..good];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let mut why = String::new();
        // Writing to a String cannot fail.
        let _ = write!(why, "it is not UTF-8 text: byte {:#04x} in line {line}", bytes.get(good).copied().unwrap_or(0));
        invalid(why)
    })
}

/// What is no file, in words.
fn other(kind: FileType) -> Option<&'static str> {
    if kind.is_dir() {
        Some("a folder")
    } else if kind.is_char_device() || kind.is_block_device() {
        Some("a device")
    } else if kind.is_fifo() {
        Some("a pipe")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        None
    }
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_file_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        for (path, what) in [(Path::new("/dev/zero"), "a device"), (folder.path(), "a folder"), (&pipe, "a pipe")] {
            let error = file(path, 10).unwrap_err();
            assert_eq!(error.to_string(), format!("it is {what}, not a file"));
        }
        let path = folder.path().join("text");
        fs::write(&path, b"one\ntwo\xff").unwrap();
        assert_eq!(text(&path, 10).unwrap_err().to_string(), "it is not UTF-8 text: byte 0xff in line 2");
        assert_eq!(file(&path, 7).unwrap_err().to_string(), "it has more than 7 B");
        fs::write(&path, b"one").unwrap();
        assert_eq!(text(&path, 3).unwrap(), "one");
    }

    /// Fourteen bytes of a header and a block, and 4 GiB for a dictionary.
    #[test]
    fn xz_gets_no_memory_for_the_asking() {
        let mut stream = crate::fixture::xz(b"x");
        // Block header: size, flags, filter LZMA2 with one byte of properties, which is the size of the dictionary. Then its checksum.
        assert_eq!(stream[14..16], [0x21, 0x01]);
        stream[16] = 40;
        let sum = crc32(&stream[12..20]);
        stream[20..24].copy_from_slice(&sum.to_le_bytes());
        let error = all(xz(&stream[..]).unwrap(), 100).unwrap_err();
        assert!(error.to_string().contains("memory"), "{error}");
    }

    fn crc32(bytes: &[u8]) -> u32 {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum()
    }

    proptest! {
        #[test]
        fn as_many_bytes_as_allowed(bytes in prop::collection::vec(any::<u8>(), 0..200), most in 0_u64..220) {
            let read = all(&bytes[..], most);
            if bytes.len() as u64 <= most {
                prop_assert_eq!(read.unwrap(), bytes);
            } else {
                prop_assert!(read.unwrap_err().to_string().contains("more than"));
            }
        }
    }
}
