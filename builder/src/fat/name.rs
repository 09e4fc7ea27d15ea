//! Names in directories: eight letters and three, and the long names before them.
//!
//! A name that is not eight and three in capitals gets records with its true spelling and an alias for those who cannot
//! read them. Aliases count in the order of the names, so that the same names always get the same ones.

use std::collections::BTreeSet;

/// Characters of a long name in one record.
const PER_RECORD: usize = 13;
/// Where they stand in it.
const PLACES: [usize; PER_RECORD] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
/// The attributes of a record that only older readers take for a file.
const LONG_NAME: u8 = 0x0f;
/// The order number of the record with a name's end, which stands first.
const LAST: u8 = 0x40;

/// Name and extension, padded with spaces.
pub(super) type Short = [u8; 11];

/// Why a name cannot be written. ASCII is enough for what boots: every reader agrees on its capitals.
pub(super) fn check(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        Err("a part of it is empty")
    } else if name.len() > 255 {
        Err("a part of it has more than 255 characters")
    } else if name.ends_with(['.', ' ']) {
        Err("a part of it ends with a dot or a space")
    } else if name.bytes().any(|c| !(b' '..=b'~').contains(&c) || b"\"*/:<>?\\|".contains(&c)) {
        Err("it has characters other than printable ASCII without \"*:<>?\\|")
    } else {
        Ok(())
    }
}

/// The alias of each name of a directory, in the order of the names.
pub(super) fn aliases<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Vec<Short> {
    let mut taken: BTreeSet<Short> = names.clone().filter_map(exact).collect();
    let mut alias = |name: &'a str| {
        exact(name).unwrap_or_else(|| {
            let free = (1..=999_999u32).map(|number| numbered(name, number)).find(|short| taken.insert(*short));
            free.unwrap_or_else(|| numbered(name, 0))
        })
    };
    names.map(&mut alias).collect()
}

fn allowed(character: u8) -> bool {
    character.is_ascii_uppercase() || character.is_ascii_digit() || b"!#$%&'()-@^_`{}~".contains(&character)
}

/// The name in capitals, when nothing else of it has to change.
fn exact(name: &str) -> Option<Short> {
    let upper = name.to_ascii_uppercase();
    let (stem, extension) = upper.split_once('.').unwrap_or((&upper, ""));
    let fits = !stem.is_empty() && stem.len() <= 8 && extension.len() <= 3;
    let whole = upper.contains('.') != extension.is_empty();
    (fits && whole && stem.bytes().chain(extension.bytes()).all(allowed)).then(|| padded(stem, extension))
}

/// The beginning of the name, and a number.
fn numbered(name: &str, number: u32) -> Short {
    let clean = |text: &str| -> String {
        let kept = text.bytes().filter(|c| !b" .".contains(c)).map(|c| c.to_ascii_uppercase());
        kept.map(|c| if allowed(c) { char::from(c) } else { '_' }).collect()
    };
    let name = name.trim_start_matches(['.', ' ']);
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let (mut stem, mut extension) = (clean(stem), clean(extension));
    let tail = format!("~{number}");
    stem.truncate(8 - tail.len());
    extension.truncate(3);
    padded(&format!("{stem}{tail}"), &extension)
}

fn padded(stem: &str, extension: &str) -> Short {
    let mut short = [b' '; 11];
    short[..stem.len()].copy_from_slice(stem.as_bytes());
    short[8..8 + extension.len()].copy_from_slice(extension.as_bytes());
    short
}

/// The records with the true spelling, in their order on the disk; none when the alias is the name.
pub(super) fn long(name: &str, alias: &Short) -> Vec<[u8; 32]> {
    if name == name.to_ascii_uppercase() && exact(name).is_some() {
        return Vec::new();
    }
    let sum = alias.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let units: Vec<u16> = name.bytes().map(u16::from).collect();
    let pieces = units.chunks(PER_RECORD);
    let count = pieces.len();
    let mut records: Vec<_> = (1u8..)
        .zip(pieces)
        .map(|(number, piece)| {
            let mut record = [0; 32];
            record[0] = if usize::from(number) == count { number | LAST } else { number };
            record[11] = LONG_NAME;
            record[13] = sum;
            // After the end of the name comes one zero, then what is no character at all.
            let units = piece.iter().copied().chain([0]).chain(std::iter::repeat(0xffff));
            for (place, unit) in PLACES.into_iter().zip(units) {
                record[place..place + 2].copy_from_slice(&unit.to_le_bytes());
            }
            record
        })
        .collect();
    records.reverse();
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Vec<String> {
        let short = aliases(names.iter().copied());
        short.iter().map(|short| String::from_utf8(short.to_vec()).unwrap()).collect()
    }

    #[test]
    fn aliases_are_capitals_or_numbered() {
        let names = ["BOOTX64.EFI", "initrd", "loader.conf", "loader.confx", "steppe-1+3.efi", ".a", "LOADER~2.CON"];
        let wanted =
            ["BOOTX64 EFI", "INITRD     ", "LOADER~1CON", "LOADER~3CON", "STEPPE~1EFI", "A~1        ", "LOADER~2CON"];
        assert_eq!(of(&names), wanted);
        let many: Vec<String> = (0..12).map(|n| format!("a long name {n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(of(&many)[8..10], ["ALONGN~9   ", "ALONG~10   "]);
    }

    #[test]
    fn only_what_needs_a_long_name_gets_one() {
        assert!(long("BOOTX64.EFI", b"BOOTX64 EFI").is_empty());
        let records = long("loader.conf", b"LOADER~1CON");
        assert_eq!((records.len(), records[0][0], records[0][11]), (1, 0x41, 0x0f));
        // Eleven characters, the end, and one place that is none.
        assert_eq!((records[0][28..30].to_vec(), records[0][30..32].to_vec()), (vec![0, 0], vec![0xff, 0xff]));
        // Thirteen fill a record: no end is needed.
        assert_eq!(long("thirteen char", b"THIRTE~1   ").len(), 1);
        assert_eq!(long("fourteen chars", b"FOURTE~1   ")[0][0], 0x42);
    }

    #[test]
    fn names_that_cannot_be() {
        for (name, why) in [("", "empty"), ("a.", "dot"), ("b ", "space"), ("a:b", "printable"), ("\u{e9}", "ASCII")] {
            assert!(check(name).unwrap_err().contains(why), "{name:?}");
        }
        assert_eq!(check("steppe-0000000001-a+3-0.efi"), Ok(()));
    }
}
