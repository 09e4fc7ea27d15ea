//! The outer archive of a package: `ar` as dpkg writes it (deb(5)), with plain names of at most 16 characters. What others put into
//! such archives, tables of symbols and of long names, has no place in a package.

use std::io::{self, Read};

/// What an archive begins with.
const MAGIC: &[u8; 8] = b"!<arch>\n";
/// Bytes of a member's header.
const HEADER: usize = 60;

/// A member's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: String,
    /// Seconds since 1970.
    pub(super) time: u64,
    /// Bytes of the member.
    pub(super) size: u64,
}

/// An archive that is read from its beginning to its end.
#[derive(Debug)]
pub(super) struct Archive<R> {
    from: R,
}

impl<R: Read> Archive<R> {
    /// Begins to read.
    pub(super) fn new(mut from: R) -> io::Result<Self> {
        let mut magic = [0; MAGIC.len()];
        from.read_exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(super::invalid("it does not begin like an archive".to_owned()));
        }
        Ok(Self { from })
    }

    /// The next member's header; nothing at the end. What follows are its bytes: [`Archive::member`] or [`Archive::skip`].
    pub(super) fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = [0; HEADER];
        let mut length = 0;
        while length < HEADER {
            match self.from.read(&mut header[length..])? {
                0 if length == 0 => return Ok(None),
                0 => return Err(super::invalid("it is cut short in the header of a member".to_owned())),
                read => length += read,
            }
        }
        parse(&header).map(Some).ok_or_else(|| super::invalid("the header of a member is damaged".to_owned()))
    }

    /// The bytes of a member.
    pub(super) fn member(&mut self, header: &Header) -> io::Take<&mut R> {
        self.from.by_ref().take(header.size)
    }

    /// Passes over what is left of a member, of which `left` bytes have not been read.
    pub(super) fn end(&mut self, header: &Header, left: u64) -> io::Result<()> {
        self.pass(header, left.saturating_add(header.size % 2))
    }

    /// Passes over a member.
    pub(super) fn skip(&mut self, header: &Header) -> io::Result<()> {
        self.pass(header, header.size.saturating_add(header.size % 2))
    }

    fn pass(&mut self, header: &Header, size: u64) -> io::Result<()> {
        if io::copy(&mut self.from.by_ref().take(size), &mut io::sink())? == size {
            Ok(())
        } else {
            Err(super::invalid(format!("it is cut short in {:?}", header.name)))
        }
    }
}

fn parse(header: &[u8; HEADER]) -> Option<Header> {
    let text = std::str::from_utf8(header).ok()?.strip_suffix("`\n")?;
    let (name, time, size) = (text.get(..16)?, text.get(16..28)?, text.get(48..58)?);
    let name = name.trim_end_matches(' ');
    // Some write a slash behind names.
    let name = name.strip_suffix('/').unwrap_or(name).to_owned();
    Some(Header { name, time: time.trim_end().parse().ok()?, size: size.trim_end().parse().ok()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(bytes: &[u8]) -> io::Result<Vec<(String, u64, Vec<u8>)>> {
        let mut archive = Archive::new(bytes)?;
        let mut found = Vec::new();
        while let Some(header) = archive.header()? {
            let mut content = Vec::new();
            archive.member(&header).read_to_end(&mut content)?;
            io::copy(&mut archive.from.by_ref().take(header.size % 2), &mut io::sink())?;
            found.push((header.name, header.time, content));
        }
        Ok(found)
    }

    /// What the crate `ar` writes.
    #[test]
    fn another_authors_archive_is_read() {
        let mut archive = ar::Builder::new(Vec::new());
        for (name, bytes) in [("debian-binary", &b"2.0\n"[..]), ("odd", b"123"), ("data.tar", b"x")] {
            let mut header = ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64);
            header.set_mtime(7);
            archive.append(&header, bytes).unwrap();
        }
        let bytes = archive.into_inner().unwrap();
        let found = names(&bytes).unwrap();
        let found: Vec<_> = found.iter().map(|(name, time, bytes)| (name.as_str(), *time, &bytes[..])).collect();
        assert_eq!(found, [("debian-binary", 7, &b"2.0\n"[..]), ("odd", 7, b"123"), ("data.tar", 7, b"x")]);
    }

    /// Sixty-eight bytes that ask for ten gigabytes of memory, as a table of long names.
    #[test]
    fn a_size_is_only_a_promise() {
        for name in ["//", "/", "#1/9999999998"] {
            let bytes = format!("!<arch>\n{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 0, 9_999_999_999_u64);
            let mut archive = Archive::new(bytes.as_bytes()).unwrap();
            let header = archive.header().unwrap().unwrap();
            assert!(archive.skip(&header).unwrap_err().to_string().contains("cut short"));
        }
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(mut bytes: Vec<u8>, magic: bool, end: bool) {
            if magic {
                bytes.splice(..0, *MAGIC);
            }
            if end && bytes.len() >= 68 {
                bytes[66..68].copy_from_slice(b"`\n");
            }
            let _ = names(&bytes);
        }
    }
}
