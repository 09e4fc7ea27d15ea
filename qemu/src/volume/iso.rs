//! ISO 9660 volumes (ECMA-119) with Rock Ridge and Joliet names, as `genisoimage -J -R` makes them for clouds.

mod record;

use super::directories;
use record::{EXTENSION, SHARING, both16, both32, legal, permissions, plain_name, real_name, record};
use std::io;

const SECTOR: usize = 2048;

/// Where things are, in sectors. The first 16 belong to the system; from 17 on all is one later on a volume that boots.
const PRIMARY: usize = 16;
const BOOT: usize = 17;
const JOLIET: usize = 17;
const TERMINATOR: usize = 18;
/// Four path tables of a sector: little and big endian for each of the two trees.
const PATH_TABLES: usize = 19;
const DIRECTORIES: usize = 23;

/// Midnight of 1980-01-01: the same input must give the same bytes.
const VOLUME_TIME: &[u8; 17] = b"1980010100000000\0";

/// An ISO 9660 volume with the given files, the same bytes for the same input. A slash in a name makes a directory.
///
/// # Errors
/// When the label or a name is longer than the format allows (16 and 64 characters), two names are the same in it, or there
/// are more directories than their table has room for.
pub fn iso9660(label: &str, files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let own = files.iter().map(|(path, bytes)| (*path, Content::Own(bytes.len()))).collect();
    let contents: Vec<&[u8]> = files.iter().map(|(_, bytes)| *bytes).collect();
    Iso::plan(label, own, None)?.image(&contents)
}

/// What a file of a volume is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// So many bytes of its own.
    Own(usize),
    /// Bytes of another file, so that they are on the volume once.
    Part {
        /// The number of that file.
        of: usize,
        /// Where they begin in it: with a sector.
        offset: usize,
        /// How many they are.
        length: usize,
    },
}

impl Content {
    fn length(self) -> usize {
        match self {
            Self::Own(length) | Self::Part { length, .. } => length,
        }
    }
}

/// A volume that is laid out before its files are known: what boots it names the places of files in other files.
#[derive(Debug)]
pub struct Iso<'a> {
    label: &'a str,
    files: Vec<(&'a str, Content)>,
    places: Vec<u32>,
    /// The number of the file that is the boot catalogue.
    catalogue: Option<usize>,
    primary: Tree<'a>,
    joliet: Tree<'a>,
    total: usize,
}

impl<'a> Iso<'a> {
    /// Lays out a volume with files of these paths. `catalogue` is the number of the file that is the boot catalogue of the "El
    /// Torito" specification, of a volume that boots.
    ///
    /// # Errors
    /// As [`iso9660`], and when a part of a file does not begin with a sector of it.
    pub fn plan(label: &'a str, files: Vec<(&'a str, Content)>, catalogue: Option<usize>) -> io::Result<Self> {
        if label.is_empty() || label.len() > 16 || !label.is_ascii() {
            return Err(invalid(format!("the label {label:?} is not 1 to 16 ASCII characters")));
        }
        let names = files.iter().flat_map(|(path, _)| path.split('/').map(move |name| (*path, name)));
        if let Some((path, _)) = names.clone().find(|(_, name)| name.is_empty() || name.len() > 64 || !name.is_ascii())
        {
            return Err(invalid(format!("a name in {path:?} is not 1 to 64 ASCII characters")));
        }
        // The places of files do not change the length of directories, so that these can be laid out first.
        let nowhere = vec![0; files.len()];
        let [mut primary, mut joliet] = [Tree::new(Names::Plain, &files)?, Tree::new(Names::Joliet, &files)?];
        let joliet_place = primary.place(DIRECTORIES + usize::from(catalogue.is_some()), &files, &nowhere)?;
        let mut next = joliet.place(joliet_place, &files, &nowhere)?;
        let mut places = nowhere;
        for ((_, content), place) in files.iter().zip(&mut places) {
            if let Content::Own(length) = content {
                *place = number(next)?;
                next += length.div_ceil(SECTOR);
            }
        }
        for (index, (path, content)) in files.iter().enumerate() {
            if let Content::Part { of, offset, length } = content {
                let whole = files.get(*of).map(|(_, content)| *content);
                if !offset.is_multiple_of(SECTOR)
                    || !matches!(whole, Some(Content::Own(whole)) if offset.saturating_add(*length) <= whole)
                {
                    return Err(invalid(format!("{path:?} is not a part of another file from a sector on")));
                }
                places[index] = places[*of] + number(offset / SECTOR)?;
            }
        }
        // Readers that read ahead must not run into the end of the medium.
        let total = next.next_multiple_of(16) + 16;
        Ok(Self { label, files, places, catalogue, primary, joliet, total })
    }

    /// The sector of 2048 bytes in which a file begins.
    #[must_use]
    pub fn sector(&self, file: usize) -> u32 {
        self.places.get(file).copied().unwrap_or_default()
    }

    /// Sectors of 2048 bytes in all.
    #[must_use]
    pub fn sectors(&self) -> usize {
        self.total
    }

    /// The volume with these contents of its files, as long as they were said to be; what a part has here does not count.
    ///
    /// # Errors
    /// When a content has another length, or there are too many directories.
    pub fn image(&self, contents: &[&[u8]]) -> io::Result<Vec<u8>> {
        let shift = usize::from(self.catalogue.is_some());
        let mut image = vec![0; self.total * SECTOR];
        let mut put = |sector: usize, bytes: &[u8]| image[sector * SECTOR..][..bytes.len()].copy_from_slice(bytes);
        if let Some(catalogue) = self.catalogue {
            let mut record = b"\0CD001\x01EL TORITO SPECIFICATION".to_vec();
            record.resize(71, 0);
            record.extend(self.sector(catalogue).to_le_bytes());
            put(BOOT, &record);
        }
        put(TERMINATOR + shift, b"\xffCD001\x01");
        for (index, (descriptor, tree)) in
            [(PRIMARY, &self.primary), (JOLIET + shift, &self.joliet)].into_iter().enumerate()
        {
            let tables = [
                tree.path_table(u32::to_le_bytes, u16::to_le_bytes),
                tree.path_table(u32::to_be_bytes, u16::to_be_bytes),
            ];
            if tables[0].len() > SECTOR {
                return Err(invalid("too many directories".to_owned()));
            }
            let place = PATH_TABLES + shift + 2 * index;
            let descriptor_bytes =
                tree.descriptor(self.label, number(self.total)?, number(tables[0].len())?, number(place)?);
            put(descriptor, &descriptor_bytes);
            put(place, &tables[0]);
            put(place + 1, &tables[1]);
            for directory in 0..tree.directories.len() {
                let place = usize::try_from(tree.directories[directory].place).unwrap_or_default();
                put(place, &tree.directory(directory, &self.files, &self.places));
            }
        }
        for (((path, content), place), bytes) in self.files.iter().zip(&self.places).zip(contents) {
            match content {
                Content::Own(length) if *length == bytes.len() => {
                    put(usize::try_from(*place).unwrap_or_default(), bytes);
                }
                Content::Own(length) => {
                    return Err(invalid(format!("{path:?} has {} bytes, not {length}", bytes.len())));
                }
                Content::Part { .. } => {}
            }
        }
        Ok(image)
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

fn number(value: usize) -> io::Result<u32> {
    u32::try_from(value).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

/// Two directory trees lead to the same files: one with plain names, to which Rock Ridge adds the real ones, and one in UCS-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    Plain,
    Joliet,
}

impl Names {
    /// A file's name in a directory.
    fn file(self, name: &str) -> Vec<u8> {
        match self {
            Self::Plain => plain_name(name).into_bytes(),
            Self::Joliet => ucs2(name),
        }
    }

    /// A directory's name in the one above.
    fn directory(self, name: &str) -> Vec<u8> {
        match self {
            Self::Plain => legal(name, 31).into_bytes(),
            Self::Joliet => ucs2(name),
        }
    }

    /// Text padded with spaces.
    fn text(self, text: &str, length: usize) -> Vec<u8> {
        match self {
            Self::Plain => format!("{text:length$}").into_bytes(),
            Self::Joliet => {
                let mut bytes = ucs2(&format!("{text:width$}", width = length / 2));
                bytes.resize(length, 0);
                bytes
            }
        }
    }
}

/// A directory with its place and length.
#[derive(Debug)]
struct Directory<'a> {
    /// Nothing for the root.
    path: &'a str,
    /// The index of the one above; the root is in itself.
    parent: usize,
    place: u32,
    length: u32,
}

impl<'a> Directory<'a> {
    fn name(&self) -> &'a str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

#[derive(Debug)]
struct Tree<'a> {
    names: Names,
    /// In the order of the path table: by depth, by the one above, by name. The root is the first.
    directories: Vec<Directory<'a>>,
}

impl<'a> Tree<'a> {
    /// The directories, without places.
    fn new(names: Names, files: &[(&'a str, Content)]) -> io::Result<Self> {
        let mut paths: Vec<&str> = directories(files.iter().map(|(path, _)| *path)).into_iter().collect();
        let key = |path: &str| path.split('/').map(|name| names.directory(name)).collect::<Vec<_>>();
        // By depth, and then name by name from the root: in a path table those with one parent stand together.
        paths.sort_by_cached_key(|path| (path.matches('/').count(), key(path)));
        paths.insert(0, "");
        let above = |path: &str| paths.iter().position(|other| *other == split(path).0).unwrap_or_default();
        let directory = |path: &&'a str| Directory { path, parent: above(path), place: 0, length: 0 };
        let tree = Self { names, directories: paths.iter().map(directory).collect() };
        let mut seen: Vec<(usize, Vec<u8>)> =
            tree.directories.iter().skip(1).map(|d| (d.parent, names.directory(d.name()))).collect();
        seen.extend(files.iter().map(|(path, _)| (above(path), names.file(split(path).1))));
        seen.sort_unstable();
        if let Some(pair) = seen.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(invalid(format!("two files have one plain ISO name, {}", String::from_utf8_lossy(&pair[0].1))));
        }
        Ok(tree)
    }

    /// Lays the directories out from a sector on, and gives the sector behind them.
    fn place(&mut self, first: usize, files: &[(&str, Content)], nowhere: &[u32]) -> io::Result<usize> {
        let mut next = first;
        for index in 0..self.directories.len() {
            let length = self.directory(index, files, nowhere).len();
            self.directories[index].place = number(next)?;
            self.directories[index].length = number(length)?;
            next += length / SECTOR;
        }
        Ok(next)
    }

    /// A volume descriptor (ECMA-119, sections 8.4 and 8.5).
    fn descriptor(&self, label: &str, sectors: u32, table_length: u32, table: u32) -> Vec<u8> {
        let (names, root) = (self.names, &self.directories[0]);
        let mut bytes = vec![0; SECTOR];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        let blank = |length: usize| names.text("", length);
        put(0, if names == Names::Plain { b"\x01CD001\x01" } else { b"\x02CD001\x01" });
        put(8, &blank(32));
        put(40, &names.text(label, 32));
        put(80, &both32(sectors));
        if names == Names::Joliet {
            // The escape sequence of UCS-2 level 3.
            put(88, b"%/E");
        }
        put(120, &both16(1));
        put(124, &both16(1));
        put(128, &both16(2048));
        put(132, &both32(table_length));
        put(140, &table.to_le_bytes());
        put(148, &(table + 1).to_be_bytes());
        put(156, &record(&[0], root.place, root.length, true, &[]));
        // Volume set, publisher, preparer, application; then the names of three files that do not exist.
        [190, 318, 446, 574].into_iter().for_each(|at| put(at, &blank(128)));
        [702, 739, 776].into_iter().for_each(|at| put(at, &blank(37)));
        put(813, VOLUME_TIME);
        put(830, VOLUME_TIME);
        put(847, b"0000000000000000\0");
        put(864, VOLUME_TIME);
        put(881, &[1]);
        bytes
    }

    /// A directory: itself, the one above, and what is in it in the order of the names.
    fn directory(&self, index: usize, files: &[(&str, Content)], places: &[u32]) -> Vec<u8> {
        let (own, names) = (&self.directories[index], self.names);
        let above = &self.directories[own.parent];
        let rock_ridge = names == Names::Plain;
        let system_use = |name: &str, mode: u32, links: u32| {
            if rock_ridge { [real_name(name), permissions(mode, links).to_vec()].concat() } else { Vec::new() }
        };
        let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for directory in self.directories.iter().skip(1).filter(|directory| directory.parent == index) {
            let key = names.directory(directory.name());
            let extra = system_use(directory.name(), 0o40555, 2);
            let record = record(&key, directory.place, directory.length, true, &extra);
            records.push((key, record));
        }
        for ((path, content), place) in files.iter().zip(places) {
            let (parent, name) = split(path);
            if parent != own.path {
                continue;
            }
            let key = names.file(name);
            // A file of more than 4 GiB does not come here: its place would not fit either.
            let size = u32::try_from(content.length()).unwrap_or(u32::MAX);
            let record = record(&key, *place, size, false, &system_use(name, 0o100_444, 1));
            records.push((key, record));
        }
        records.sort();
        let (mut dot, mut dots) = (Vec::new(), Vec::new());
        if rock_ridge {
            // Only the root says which extensions the volume has.
            let [sharing, extension] = if index == 0 { [SHARING, EXTENSION] } else { [&[][..], &[]] };
            dot = [sharing, &permissions(0o40555, 2), extension].concat();
            dots = permissions(0o40555, 2).to_vec();
        }
        let mut bytes = record(&[0], own.place, own.length, true, &dot);
        bytes.extend(record(&[1], above.place, above.length, true, &dots));
        for (_, record) in records {
            // A record does not go over the end of a sector.
            if bytes.len() % SECTOR + record.len() > SECTOR {
                bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
            }
            bytes.extend(record);
        }
        bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
        bytes
    }

    /// All directories with their places and the numbers of those above them (ECMA-119, section 9.4).
    fn path_table(&self, place: fn(u32) -> [u8; 4], parent: fn(u16) -> [u8; 2]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (index, directory) in self.directories.iter().enumerate() {
            let name = if index == 0 { vec![0] } else { self.names.directory(directory.name()) };
            // Names have at most 64 characters of two bytes, and a table that fits its sector less than 300 entries.
            bytes.extend([u8::try_from(name.len()).unwrap_or(u8::MAX), 0]);
            bytes.extend(place(directory.place));
            bytes.extend(parent(u16::try_from(directory.parent + 1).unwrap_or(u16::MAX)));
            bytes.extend(&name);
            bytes.resize(bytes.len().next_multiple_of(2), 0);
        }
        bytes
    }
}

/// The directory and the name of a path.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn ucs2(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

#[cfg(test)]
mod tests;
