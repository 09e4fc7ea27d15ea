//! ISO 9660 volumes (ECMA-119) with Rock Ridge and Joliet names, as `genisoimage -J -R` makes them for clouds: one directory of files.

use std::io;

const SECTOR: usize = 2048;

/// Where things are, in sectors. The first 16 belong to the system.
const PRIMARY: usize = 16;
const JOLIET: usize = 17;
const TERMINATOR: usize = 18;
/// Four path tables: little and big endian for each of the two trees.
const PATH_TABLES: usize = 19;
const DIRECTORIES: usize = 23;

/// A path table with the root alone.
const PATH_TABLE_LENGTH: u32 = 10;

/// Midnight of 1980-01-01, as directories and as volumes have it: the same input must give the same bytes.
const RECORD_TIME: [u8; 7] = [80, 1, 1, 0, 0, 0, 0];
const VOLUME_TIME: &[u8; 17] = b"1980010100000000\0";

/// An ISO 9660 volume with the given files in its root, the same bytes for the same input.
///
/// # Errors
/// When the label or a name is longer than the format allows (16 and 64 characters), or two names are the same in it.
pub fn iso9660(label: &str, files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
    if label.is_empty() || label.len() > 16 || !label.is_ascii() {
        return Err(invalid(format!("the label {label:?} is not 1 to 16 ASCII characters")));
    }
    if let Some((name, _)) = files.iter().find(|(name, _)| name.is_empty() || name.len() > 64 || !name.is_ascii()) {
        return Err(invalid(format!("the name {name:?} is not 1 to 64 ASCII characters")));
    }
    let mut names: Vec<String> = files.iter().map(|(name, _)| plain_name(name)).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(invalid(format!("two files have one plain ISO name, of {names:?}")));
    }

    // The places of files do not change the length of directories, so that these can be laid out first.
    let nowhere = vec![0; files.len()];
    let [primary_length, joliet_length] =
        [Tree::Primary, Tree::Joliet].map(|tree| tree.directory(0, 0, files, &nowhere).len());
    let joliet_directory = DIRECTORIES + primary_length / SECTOR;
    let mut next = joliet_directory + joliet_length / SECTOR;
    let mut places = Vec::new();
    for (_, content) in files {
        places.push(number(next)?);
        next += content.len().div_ceil(SECTOR);
    }
    // Readers that read ahead must not run into the end of the medium.
    let total = next.next_multiple_of(16) + 16;

    let mut image = vec![0; total * SECTOR];
    let mut put = |sector: usize, bytes: &[u8]| image[sector * SECTOR..][..bytes.len()].copy_from_slice(bytes);
    let (primary, joliet) = (number(DIRECTORIES)?, number(joliet_directory)?);
    let (primary_bytes, joliet_bytes) = (number(primary_length)?, number(joliet_length)?);
    put(PRIMARY, &Tree::Primary.descriptor(label, number(total)?, primary, primary_bytes));
    put(JOLIET, &Tree::Joliet.descriptor(label, number(total)?, joliet, joliet_bytes));
    put(TERMINATOR, b"\xffCD001\x01");
    for (index, root) in [primary, joliet].into_iter().enumerate() {
        put(PATH_TABLES + 2 * index, &path_table(root.to_le_bytes(), 1_u16.to_le_bytes()));
        put(PATH_TABLES + 2 * index + 1, &path_table(root.to_be_bytes(), 1_u16.to_be_bytes()));
    }
    put(DIRECTORIES, &Tree::Primary.directory(primary, primary_bytes, files, &places));
    put(joliet_directory, &Tree::Joliet.directory(joliet, joliet_bytes, files, &places));
    for ((_, content), place) in files.iter().zip(places) {
        put(usize::try_from(place).unwrap_or_default(), content);
    }
    Ok(image)
}

fn number(value: usize) -> io::Result<u32> {
    u32::try_from(value).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

/// Two directory trees lead to the same files: one with plain names, to which Rock Ridge adds the real ones, and one in UCS-2.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tree {
    Primary,
    Joliet,
}

impl Tree {
    /// A volume descriptor (ECMA-119, sections 8.4 and 8.5).
    fn descriptor(self, label: &str, sectors: u32, root: u32, root_length: u32) -> Vec<u8> {
        let mut bytes = vec![0; SECTOR];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        let blank = |length: usize| self.text("", length);
        put(0, if self == Self::Primary { b"\x01CD001\x01" } else { b"\x02CD001\x01" });
        put(8, &blank(32));
        put(40, &self.text(label, 32));
        put(80, &both32(sectors));
        if self == Self::Joliet {
            // The escape sequence of UCS-2 level 3.
            put(88, b"%/E");
        }
        put(120, &both16(1));
        put(124, &both16(1));
        put(128, &both16(2048));
        put(132, &both32(PATH_TABLE_LENGTH));
        let table: u32 = if self == Self::Primary { 19 } else { 21 };
        put(140, &table.to_le_bytes());
        put(148, &(table + 1).to_be_bytes());
        put(156, &record(&[0], root, root_length, true, &[]));
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

    /// Text padded with spaces, in the tree's encoding.
    fn text(self, text: &str, length: usize) -> Vec<u8> {
        match self {
            Self::Primary => format!("{text:length$}").into_bytes(),
            Self::Joliet => {
                let mut bytes: Vec<u8> =
                    format!("{text:width$}", width = length / 2).encode_utf16().flat_map(u16::to_be_bytes).collect();
                bytes.resize(length, 0);
                bytes
            }
        }
    }

    /// The root directory: itself, its parent (itself too), and the files in the order of their names.
    fn directory(self, place: u32, length: u32, files: &[(&str, &[u8])], places: &[u32]) -> Vec<u8> {
        let rock_ridge = self == Self::Primary;
        let own = if rock_ridge { [SHARING, &permissions(0o40555, 2), EXTENSION].concat() } else { Vec::new() };
        let parent = if rock_ridge { permissions(0o40555, 2).to_vec() } else { Vec::new() };
        let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for ((name, content), place) in files.iter().zip(places) {
            let key = if rock_ridge {
                plain_name(name).into_bytes()
            } else {
                name.encode_utf16().flat_map(u16::to_be_bytes).collect()
            };
            let extra =
                if rock_ridge { [real_name(name), permissions(0o100_444, 1).to_vec()].concat() } else { Vec::new() };
            // A file of more than 4 GiB does not come here: its place would not fit either.
            let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
            let record = record(&key, *place, size, false, &extra);
            records.push((key, record));
        }
        records.sort();
        let mut bytes = [record(&[0], place, length, true, &own), record(&[1], place, length, true, &parent)].concat();
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
}

/// The system use sharing protocol is in use (IEEE P1281, `SP`).
const SHARING: &[u8] = &[b'S', b'P', 7, 1, 0xbe, 0xef, 0];

/// Its extension is Rock Ridge (`ER`, with an identifier of 10 characters and neither description nor source).
const EXTENSION: &[u8] = b"ER\x12\x01\x0a\x00\x00\x01RRIP_1991A";

/// Mode, links, user 0 and group 0 (IEEE P1282, `PX`).
fn permissions(mode: u32, links: u32) -> [u8; 36] {
    let mut bytes = [0; 36];
    bytes[..4].copy_from_slice(b"PX\x24\x01");
    bytes[4..12].copy_from_slice(&both32(mode));
    bytes[12..20].copy_from_slice(&both32(links));
    bytes
}

/// The name as it is (`NM`).
fn real_name(name: &str) -> Vec<u8> {
    // Names have at most 64 characters, so that the length fits.
    let length = u8::try_from(5 + name.len()).unwrap_or(u8::MAX);
    [&[b'N', b'M', length, 1, 0], name.as_bytes()].concat()
}

/// The name with capitals, digits and underscores alone, at most 28 of them, one dot and the version: what a reader without
/// extensions sees.
fn plain_name(name: &str) -> String {
    let legal = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
    };
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let (mut stem, mut extension) = (legal(stem), legal(extension));
    extension.truncate(3);
    stem.truncate(25);
    format!("{stem}.{extension};1")
}

/// A directory record (ECMA-119, section 9.1).
fn record(name: &[u8], place: u32, length: u32, directory: bool, system_use: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend(both32(place));
    bytes.extend(both32(length));
    bytes.extend(RECORD_TIME);
    bytes.extend([if directory { 2 } else { 0 }, 0, 0]);
    bytes.extend(both16(1));
    // Names have at most 64 characters of two bytes.
    bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    bytes.extend(name);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes.extend(system_use);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes[0] = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    bytes
}

fn path_table(root: [u8; 4], parent: [u8; 2]) -> Vec<u8> {
    [&[1, 0], &root[..], &parent, &[0, 0]].concat()
}

/// A number in both byte orders.
fn both32(value: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_be_bytes());
    bytes
}

fn both16(value: u16) -> [u8; 4] {
    let mut bytes = [0; 4];
    bytes[..2].copy_from_slice(&value.to_le_bytes());
    bytes[2..].copy_from_slice(&value.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests;
