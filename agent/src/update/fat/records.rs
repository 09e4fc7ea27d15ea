//! The records of a directory: 32 bytes each, a name of eight letters and three, and the pieces of the long name before it.

/// Bytes of a record.
pub const RECORD: usize = 32;
/// The first byte of a record that is deleted.
pub const DELETED: u8 = 0xe5;
/// The attributes of a piece of a long name.
const LONG: u8 = 0x0f;
/// The bit of an order number that says that the name's end is in this piece.
const LAST: u8 = 0x40;
const VOLUME_LABEL: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
/// Where the characters of a long name stand in its pieces.
const PLACES: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// A file or a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its name in small letters: names that differ only in these are one.
    pub name: String,
    /// Whether it is a directory.
    pub directory: bool,
    /// Its first cluster, or none.
    pub first: u32,
    /// Its size in bytes; 0 for directories.
    pub size: u32,
    /// Where its records are, counted in records from the beginning of the directory.
    pub places: Vec<usize>,
}

impl Record {
    /// Where a letter of its long name is, in bytes from the beginning of the directory. `None` when it has no such name, or a shorter
    /// one.
    #[must_use]
    pub fn letter(&self, index: usize) -> Option<usize> {
        let piece = self.places.len().checked_sub(2 + index / PLACES.len())?;
        Some(self.places.get(piece)? * RECORD + PLACES[index % PLACES.len()])
    }
}

/// What a directory holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Files and directories, without itself and the one above.
    pub records: Vec<Record>,
    /// Pieces of long names that belong to nothing.
    pub stray: Vec<usize>,
}

/// Reads a directory.
#[must_use]
pub fn parse(bytes: &[u8]) -> Listing {
    let mut listing = Listing::default();
    let mut pieces: Vec<(usize, &[u8])> = Vec::new();
    for (place, record) in bytes.chunks_exact(RECORD).enumerate() {
        match (record[0], record[11]) {
            (0, _) => break,
            (DELETED, _) => listing.stray.extend(pieces.drain(..).map(|(at, _)| at)),
            (_, LONG) => {
                // A first piece begins a name anew.
                if record[0] & LAST != 0 {
                    listing.stray.extend(pieces.drain(..).map(|(at, _)| at));
                }
                pieces.push((place, record));
            }
            (_, attributes) => {
                let name = long_name(&pieces, record);
                let mut places: Vec<usize> = pieces.drain(..).map(|(at, _)| at).collect();
                if name.is_none() {
                    listing.stray.append(&mut places);
                }
                places.push(place);
                if record[0] == b'.' || attributes & VOLUME_LABEL != 0 {
                    continue;
                }
                let directory = attributes & DIRECTORY != 0;
                let first = u32::from_le_bytes([record[26], record[27], record[20], record[21]]);
                let size = u32::from_le_bytes([record[28], record[29], record[30], record[31]]);
                let size = if directory { 0 } else { size };
                let name = name.unwrap_or_else(|| short_name(record));
                listing.records.push(Record { name, directory, first, size, places });
            }
        }
    }
    listing.stray.extend(pieces.iter().map(|(at, _)| at));
    listing
}

/// The name that the pieces make, when they are all there and belong to this record.
fn long_name(pieces: &[(usize, &[u8])], record: &[u8]) -> Option<String> {
    let sum = record[..11].iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let count = u8::try_from(pieces.len()).ok().filter(|count| *count > 0)?;
    let sound = pieces.iter().zip((1..=count).rev()).all(|((_, piece), number)| {
        piece[0] == if number == count { number | LAST } else { number } && piece[13] == sum
    });
    let units =
        || pieces.iter().rev().flat_map(|(_, piece)| PLACES.map(|at| u16::from_le_bytes([piece[at], piece[at + 1]])));
    // What is not ASCII is none of ours, and only has to be another name.
    let letter = |unit: u16| {
        u8::try_from(unit).ok().filter(u8::is_ascii).map_or('?', |byte| char::from(byte.to_ascii_lowercase()))
    };
    sound.then(|| units().take_while(|unit| *unit != 0).map(letter).collect())
}

fn short_name(record: &[u8]) -> String {
    let text = |bytes: &[u8]| {
        bytes.trim_ascii_end().iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect::<String>()
    };
    let (stem, extension) = (text(&record[..8]), text(&record[8..11]));
    if extension.is_empty() { stem } else { stem + "." + &extension }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The records of a file, as they are written: the pieces of the name, then the short one.
    pub(crate) fn records(name: &str, short: &[u8; 11], attributes: u8, first: u32, size: u32) -> Vec<u8> {
        let sum = short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        let units: Vec<u16> = name.encode_utf16().collect();
        let mut pieces: Vec<[u8; RECORD]> = (1_u8..)
            .zip(units.chunks(13))
            .map(|(number, chunk)| {
                let mut piece = [0; RECORD];
                (piece[0], piece[11], piece[13]) = (number, LONG, sum);
                for (at, unit) in
                    PLACES.into_iter().zip(chunk.iter().copied().chain([0]).chain(std::iter::repeat(0xffff)))
                {
                    piece[at..at + 2].copy_from_slice(&unit.to_le_bytes());
                }
                piece
            })
            .collect();
        if let Some(last) = pieces.last_mut() {
            last[0] |= LAST;
        }
        pieces.reverse();
        let mut record = [0; RECORD];
        record[..11].copy_from_slice(short);
        record[11] = attributes;
        let [low, second, third, high] = first.to_le_bytes();
        (record[20], record[21], record[26], record[27]) = (third, high, low, second);
        record[28..].copy_from_slice(&size.to_le_bytes());
        pieces.push(record);
        pieces.concat()
    }

    #[test]
    fn names_long_and_short_are_read() {
        let bytes = [
            records("", b".          ", DIRECTORY, 3, 0),
            records("steppe-0000000001-a.efi", b"STEPPE~1EFI", 0x20, 0x12_3456, 7),
            records("", b"LDLINUX SYS", 0x26, 5, 60_000),
            records("", b"EFI        ", DIRECTORY, 6, 0),
        ]
        .concat();
        let listing = parse(&bytes);
        let names: Vec<_> = listing.records.iter().map(|record| record.name.as_str()).collect();
        assert_eq!(names, ["steppe-0000000001-a.efi", "ldlinux.sys", "efi"]);
        assert_eq!((listing.records[0].first, listing.records[0].places.clone()), (0x12_3456, vec![1, 2, 3]));
        assert!(listing.records[2].directory && listing.stray.is_empty());
    }

    #[test]
    fn pieces_without_their_file_are_stray() {
        let whole = records("a long name, number 1", b"ALONGN~1   ", 0x20, 5, 1);
        let mut other = whole.clone();
        other[64] = b'B';
        // The name's end alone; then all of it; then one whose file has another short name.
        let bytes = [&whole[..32], &whole[..], &other[..]].concat();
        let listing = parse(&bytes);
        assert_eq!(listing.stray, [0, 4, 5]);
        assert_eq!(listing.records[1].name, "blongn~1");
        assert_eq!(parse(&whole[..64]).stray, [0, 1]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_directory(bytes: Vec<u8>, attributes in prop::collection::vec(prop::sample::select(vec![0x0f, 0x20, 0x10, 0x08]), 8)) {
            let mut bytes = bytes.repeat(3);
            for (record, attributes) in bytes.chunks_exact_mut(RECORD).zip(attributes) {
                record[11] = attributes;
            }
            let listing = parse(&bytes);
            let mut places: Vec<usize> = listing.records.into_iter().flat_map(|record| record.places).chain(listing.stray).collect();
            let count = places.len();
            places.sort_unstable();
            places.dedup();
            prop_assert!(places.len() == count && places.iter().all(|place| *place < bytes.len() / RECORD));
        }
    }
}
