//! Time zones out of the image's `zoneinfo.zip` (Go's format: a zip whose files are stored, not compressed).
//!
//! Format: PKWARE's APPNOTE 6.3, sections 4.3.7, 4.3.12 and 4.3.16; enough of it for files without compression.

/// The longest comment that may stand behind the directory's end.
const LONGEST_COMMENT: usize = 65_535;

/// The content of a file in a zip; `None` when it is not there, is compressed, or the zip is none.
#[must_use]
pub fn stored<'a>(zip: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let end = find_end(zip)?;
    let count = number(zip, end + 10, 2)?;
    let mut at = number(zip, end + 16, 4)?;
    for _ in 0..count {
        if zip.get(at..at + 4)? != b"PK\x01\x02" {
            return None;
        }
        let lengths = [number(zip, at + 28, 2)?, number(zip, at + 30, 2)?, number(zip, at + 32, 2)?];
        let found = zip.get(at + 46..at + 46 + lengths[0])?;
        if found == name.as_bytes() {
            let size = number(zip, at + 24, 4)?;
            let local = number(zip, at + 42, 4)?;
            let is_stored = number(zip, at + 10, 2)? == 0 && number(zip, at + 20, 4)? == size;
            if !is_stored || zip.get(local..local.checked_add(4)?)? != b"PK\x03\x04" {
                return None;
            }
            let begin = local + 30 + number(zip, local + 26, 2)? + number(zip, local + 28, 2)?;
            return zip.get(begin..begin.checked_add(size)?);
        }
        at += 46 + lengths.iter().sum::<usize>();
    }
    None
}

/// Where the end of the central directory begins.
fn find_end(zip: &[u8]) -> Option<usize> {
    let last = zip.len().checked_sub(22)?;
    (last.saturating_sub(LONGEST_COMMENT)..=last).rev().find(|at| zip[*at..].starts_with(b"PK\x05\x06"))
}

/// A little-endian number.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Two stored files, as `zip -0` writes them.
    fn zip() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut directory = Vec::new();
        for (name, content) in [("Europe/Berlin", &b"TZif2-berlin"[..]), ("UTC", b"TZif2-utc")] {
            let (name_length, length) = (u16::try_from(name.len()).unwrap(), u32::try_from(content.len()).unwrap());
            let begin = u32::try_from(bytes.len()).unwrap();
            let mut common = vec![10, 0, 0, 0, 0, 0, 0, 0, 0x21, 0, 1, 2, 3, 4];
            common.extend(length.to_le_bytes());
            common.extend(length.to_le_bytes());
            common.extend(name_length.to_le_bytes());
            common.extend([0, 0]);
            bytes.extend(b"PK\x03\x04");
            bytes.extend(&common);
            bytes.extend(name.as_bytes());
            bytes.extend(content);
            directory.extend(b"PK\x01\x02\x0a\x00");
            directory.extend(&common);
            directory.extend([0; 10]);
            directory.extend(begin.to_le_bytes());
            directory.extend(name.as_bytes());
        }
        let at = u32::try_from(bytes.len()).unwrap();
        let size = u32::try_from(directory.len()).unwrap();
        bytes.extend(directory);
        bytes.extend(b"PK\x05\x06\0\0\0\0\x02\0\x02\0");
        bytes.extend(size.to_le_bytes());
        bytes.extend(at.to_le_bytes());
        bytes.extend([0, 0]);
        bytes
    }

    #[test]
    fn zones_are_found_by_name() {
        let zip = zip();
        assert_eq!(stored(&zip, "Europe/Berlin"), Some(&b"TZif2-berlin"[..]));
        assert_eq!(stored(&zip, "UTC"), Some(&b"TZif2-utc"[..]));
        assert_eq!(stored(&zip, "Mars"), None);
        assert_eq!(stored(b"", "UTC"), None);
    }

    proptest! {
        #[test]
        fn any_damage_is_survived(at in 0_usize..300, byte: u8, cut in 0_usize..300) {
            let mut zip = zip();
            let length = zip.len();
            zip[at % length] = byte;
            zip.truncate(length - cut % length);
            let _ = stored(&zip, "UTC");
        }
    }
}
