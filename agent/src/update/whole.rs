//! An update as a channel names it: so long, with this hash, and it says how far it is.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

/// The end of a tape archive: it is kept to itself.
const END: u64 = 1024;

/// Passes on what it reads. Before the last byte of the last member is passed on, the rest is read and the hash is checked. An input that
/// ends before that is found when it is read to its end.
pub(super) struct Whole<R, S> {
    input: R,
    size: u64,
    left: u64,
    want: [u8; 32],
    hash: Sha256,
    say: S,
    said: u64,
}

impl<R: Read, S: FnMut(u64)> Whole<R, S> {
    /// An input of `size` bytes with this SHA-256; `say` is told each quarter of it, in percent.
    pub(super) fn new(input: R, size: u64, want: [u8; 32], say: S) -> Self {
        Self { input, size, left: size, want, hash: Sha256::new(), say, said: 0 }
    }

    fn count(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = bytes.len() as u64;
        self.left = self.left.checked_sub(length).ok_or_else(|| wrong("longer than the channel says"))?;
        self.hash.update(bytes);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let mut rest = Vec::new();
        self.input.by_ref().take(END + 1).read_to_end(&mut rest)?;
        self.count(&rest)?;
        if self.left > 0 {
            return Err(wrong("shorter than the channel says"));
        }
        let hash: [u8; 32] = std::mem::take(&mut self.hash).finalize().into();
        if hash == self.want {
            Ok(())
        } else {
            Err(wrong("not the one that the channel names: its SHA-256 is another"))
        }
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it is {what}"))
}

impl<R: Read, S: FnMut(u64)> Read for Whole<R, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let before = self.left;
        let length = self.input.read(buffer)?;
        self.count(&buffer[..length])?;
        if before > END && (self.left <= END || length == 0) {
            self.end()?;
        }
        let quarters = (self.size - self.left) * 4 / self.size.max(1);
        if quarters > self.said {
            self.said = quarters;
            (self.say)(quarters * 25);
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads all but the end, as who reads an archive does.
    fn read(bytes: &[u8], size: u64, want: [u8; 32]) -> (io::Result<()>, Vec<u64>) {
        let mut said = Vec::new();
        let mut whole = Whole::new(bytes, size, want, |percent| said.push(percent));
        let done = io::copy(&mut whole.by_ref().take(size - END), &mut io::sink()).map(drop);
        (done, said)
    }

    fn sha(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    #[test]
    fn what_is_not_whole_is_not_passed_on() {
        let bytes: Vec<u8> = (0..40_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let (done, said) = read(&bytes, 40_000, sha(&bytes));
        done.unwrap();
        assert_eq!(said, [25, 50, 75, 100]);
        let failed = |bytes: &[u8], size, want| read(bytes, size, want).0.unwrap_err().to_string();
        assert!(failed(&bytes, 40_000, [0; 32]).contains("SHA-256 is another"));
        assert!(failed(&bytes, 39_999, sha(&bytes)).contains("longer"));
        assert!(failed(&bytes, 50_000, sha(&bytes)).contains("shorter"));
        let mut other = bytes.clone();
        *other.last_mut().unwrap() ^= 1;
        assert!(failed(&other, 40_000, sha(&bytes)).contains("SHA-256 is another"), "a byte that nobody else reads");
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_found(at in 0..9000_usize, cut in 0..9000_usize) {
            let bytes = vec![1; 9000];
            let mut other = bytes.clone();
            other[at] = 2;
            prop_assert!(read(&other, 9000, sha(&bytes)).0.is_err());
            prop_assert!(read(&bytes[..cut], 9000, sha(&bytes)).0.is_err());
            prop_assert!(read(&bytes, 9000, sha(&bytes)).0.is_ok());
        }
    }
}
