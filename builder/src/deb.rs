//! Reading a Debian package: an `ar` archive with `debian-binary`, `control.tar.*` and `data.tar.*` (deb(5)).

mod ar;
mod control;

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use self::control::Control;
use crate::{
    bounded::{self, AtMost},
    tree::{Entry, Node, Origin, Tree},
};

/// Bytes that a package may have unpacked. The kernel for metal, the largest of an image, has 110 MB.
const MOST: u64 = 2 << 30;
/// Bytes that what it says of itself may have. Most of them are digests of its files, of which a kernel has half a megabyte.
const MOST_OF_CONTROL: u64 = 64 << 20;

/// What is in a package.
#[derive(Debug)]
pub struct Deb {
    /// Its files.
    pub tree: Tree,
    /// When it was made, seconds since 1970: the `ar` header of its first member.
    pub time: u64,
    /// Short names of the licences in its copyright file; empty when that is not machine-readable.
    pub licences: Vec<String>,
}

impl Deb {
    /// Reads the package at `path`, whose files get the origin `name` `version`. Of the files, those that `want` takes
    /// are kept (paths without a leading slash); documentation is always looked at for the licence.
    ///
    /// # Errors
    /// When the file cannot be read, is not a Debian package, or by what it says of itself is another one.
    pub fn read(path: &Path, name: &str, version: &str, want: &dyn Fn(&str) -> bool) -> Result<Self, DebError> {
        let path_text = || path.display().to_string();
        let wrong = |source: io::Error| DebError::Read { path: path_text(), source };
        let file = File::open(path).map_err(wrong)?;
        let origin = Origin::Package { name: name.to_owned(), version: version.to_owned() };
        match Self::parse(io::BufReader::new(file), &origin, want).map_err(wrong)? {
            Ok(deb) => Ok(deb),
            Err(Control { package, version: own }) => Err(DebError::Other {
                path: path_text(),
                is: format!("{package} {own}"),
                named: format!("{name} {version}"),
            }),
        }
    }

    /// The package, or what it says of itself when that is not what `origin` says.
    fn parse(reader: impl Read, origin: &Origin, want: &dyn Fn(&str) -> bool) -> io::Result<Result<Self, Control>> {
        let mut archive = ar::Archive::new(reader)?;
        let mut time = None;
        let mut known = false;
        while let Some(header) = archive.header()? {
            if time.is_none() && header.name != "debian-binary" {
                return Err(invalid(format!("the first member is {:?}, not debian-binary", header.name)));
            }
            let time = *time.get_or_insert(header.time);
            if let Some(compression) = header.name.strip_prefix("control.tar")
                && !known
            {
                let mut member = archive.member(&header);
                let found =
                    Control::read(AtMost::new(unpacked(&header.name, compression, &mut member)?, MOST_OF_CONTROL))?;
                let left = member.limit();
                archive.end(&header, left)?;
                if !matches!(origin, Origin::Package { name, version } if found.is(name, version)) {
                    return Ok(Err(found));
                }
                known = true;
                continue;
            }
            let Some(compression) = header.name.strip_prefix("data.tar") else {
                archive.skip(&header)?;
                continue;
            };
            if !known {
                return Err(invalid("there is no control.tar before its data.tar".to_owned()));
            }
            let data = unpacked(&header.name, compression, archive.member(&header))?;
            let (tree, licences) = unpack(AtMost::new(data, MOST), origin, want)?;
            return Ok(Ok(Self { tree, time, licences }));
        }
        Err(invalid("there is no data.tar in it; the file may be cut short".to_owned()))
    }
}

/// The bytes of a member, by what its name ends in.
fn unpacked<'a>(name: &str, compression: &str, member: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        "" => Box::new(member),
        ".xz" => Box::new(bounded::xz(member)?),
        ".zst" => Box::new(zstd::stream::read::Decoder::new(member)?),
        ".gz" => Box::new(flate2::read::GzDecoder::new(member)),
        _ => return Err(invalid(format!("{name} has a compression that is not known"))),
    })
}

fn unpack(data: impl Read, origin: &Origin, want: &dyn Fn(&str) -> bool) -> io::Result<(Tree, Vec<String>)> {
    let mut tree = Tree::new();
    let mut licences = Vec::new();
    let mut archive = tar::Archive::new(data);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = plain_path(&entry.path_bytes())?;
        let header = entry.header();
        // Not those further down, which are examples.
        let copyright = path
            .strip_prefix("usr/share/doc/")
            .and_then(|path| path.strip_suffix("/copyright"))
            .is_some_and(|package| !package.contains('/'));
        if path.is_empty() || !(want(&path) || copyright) {
            continue;
        }
        let mode = u16::try_from(header.mode()? & 0o7777).unwrap_or(0o644);
        let (uid, gid) = (narrow(header.uid()?)?, narrow(header.gid()?)?);
        let link = entry.link_name_bytes().map(|name| String::from_utf8_lossy(&name).into_owned());
        let node = match header.entry_type() {
            tar::EntryType::Directory => Node::Directory,
            tar::EntryType::Symlink => Node::Symlink(link.unwrap_or_default()),
            tar::EntryType::Link => {
                let target = plain_path(link.unwrap_or_default().as_bytes())?;
                match tree.get(&target) {
                    Some(Entry { node, .. }) => node.clone(),
                    None => continue,
                }
            }
            tar::EntryType::Regular => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                if copyright {
                    licences = licence_names(&String::from_utf8_lossy(&bytes));
                }
                Node::File(Arc::from(bytes))
            }
            // Devices and pipes have no place in a package for an image.
            _ => continue,
        };
        if want(&path) {
            tree.insert(&path, Entry { node, mode, uid, gid, origin: origin.clone() });
        }
    }
    // To the end of the stream, which has the compressor's own checksum and shows that nothing was cut off.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok((tree, licences))
}

/// `./usr/lib/` as `usr/lib`. A path that climbs out of the package is refused.
fn plain_path(bytes: &[u8]) -> io::Result<String> {
    let text = std::str::from_utf8(bytes).map_err(|_| invalid("a path is not UTF-8".to_owned()))?;
    let parts: Vec<_> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(invalid(format!("{text:?} leads out of the package")));
    }
    Ok(parts.join("/"))
}

/// Short names on the `License:` lines of a machine-readable copyright file (DEP 5), in order and once each.
fn licence_names(text: &str) -> Vec<String> {
    if !text.starts_with("Format:") {
        return Vec::new();
    }
    let mut names: Vec<String> = Vec::new();
    for name in text.lines().filter_map(|line| line.strip_prefix("License:")).map(str::trim) {
        if !name.is_empty() && name != "..." && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    names
}

fn narrow(id: u64) -> io::Result<u32> {
    u32::try_from(id).map_err(|_| invalid(format!("owner {id} is out of range")))
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Why a package cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// It cannot be read, or is damaged.
    #[error("failed to read package {path}: {source}; remove the file, and the next build fetches it again")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is another package than the lock file says of its digest.
    #[error("{path} is {is}, and the lock file calls it {named}: `builder lock` writes it anew")]
    Other {
        /// The file.
        path: String,
        /// What it is by its own words.
        is: String,
        /// What it is called.
        named: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, Member};

    fn read(bytes: &[u8]) -> io::Result<Deb> {
        let origin = Origin::Package { name: "p".into(), version: "1".into() };
        Deb::parse(bytes, &origin, &|_| true).map(|deb| deb.unwrap())
    }

    #[test]
    fn a_package_is_held_against_its_name_and_version() {
        let bytes = fixture::package("libc6", "1:2.41-11", ".xz", 1, &[]);
        let of = |name: &str, version: &str| {
            let origin = Origin::Package { name: name.into(), version: version.into() };
            Deb::parse(&bytes[..], &origin, &|_| true).unwrap().map(|deb| deb.time)
        };
        let own = Control { package: "libc6".into(), version: "1:2.41-11".into() };
        assert_eq!(of("libc6", "1:2.41-11"), Ok(1));
        assert_eq!(of("libc6", "1:2.41-12"), Err(own.clone()));
        assert_eq!(of("libc7", "1:2.41-11"), Err(own));
        // One that says nothing of itself.
        let nameless = String::from_utf8_lossy(&fixture::deb("", 1, &[])).replace("control.tar", "contrul.tar");
        assert!(read(nameless.as_bytes()).unwrap_err().to_string().contains("no control.tar before"));
    }

    #[test]
    fn files_links_and_licences_in_every_compression() {
        for compression in ["", ".xz", ".zst", ".gz"] {
            let bytes = fixture::deb(
                compression,
                1_700_000_000,
                &[
                    Member::File("usr/bin/tool", 0o755, b"tool"),
                    Member::HardLink("usr/bin/again", "usr/bin/tool"),
                    Member::Symlink("usr/lib/x.so", "x.so.1"),
                    Member::File("usr/share/doc/p/copyright", 0o644, b"Format: x\nLicense: MIT\n text\nLicense: MIT\n"),
                    Member::File("usr/share/doc/p/examples/q/debian/copyright", 0o644, b"Format: x\nLicense: ...\n"),
                ],
            );
            let deb = read(&bytes).unwrap();
            assert_eq!((deb.time, deb.licences.as_slice()), (1_700_000_000, &["MIT".to_owned()][..]));
            assert_eq!(deb.tree.bytes("usr/bin/again").unwrap().as_ref(), b"tool");
            assert_eq!(deb.tree.get("usr/lib/x.so").unwrap().node, Node::Symlink("x.so.1".into()));
        }
    }

    #[test]
    fn damage_is_an_error() {
        let whole = fixture::deb(".xz", 1, &[Member::File("a", 0o644, &[7; 4000])]);
        for length in 0..whole.len() - 1 {
            assert!(read(&whole[..length]).is_err(), "{length} of {}", whole.len());
        }
        let climbing = fixture::deb("", 1, &[Member::File("../etc/passwd", 0o644, b"")]);
        assert!(read(&climbing).unwrap_err().to_string().contains("leads out"));
    }
}
