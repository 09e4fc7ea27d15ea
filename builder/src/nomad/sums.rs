//! The list of checksums of a release: lines of `<sha256>  <file name>`, as sha256sum(1) writes them.

use super::NomadError;
use crate::content::Digest;

/// The checksum of the file `name` in `list`, which came from `url`.
pub(super) fn find(list: &[u8], url: &str, name: &str) -> Result<Digest, NomadError> {
    let text = String::from_utf8_lossy(list);
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = || NomadError::Sums { url: url.to_owned(), line: number + 1 };
        let (digest, file) = line.split_once(' ').ok_or_else(wrong)?;
        let digest = Digest::parse(digest).ok_or_else(wrong)?;
        // One space more for text mode, an asterisk for binary mode.
        let file = file.strip_prefix([' ', '*']).ok_or_else(wrong)?;
        if file == name {
            return Ok(digest);
        }
    }
    Err(NomadError::NotListed { url: url.to_owned(), name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_the_line_of_the_file() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let list = format!("{a}  nomad_2.0.5_linux_amd64.zip\n{b} *nomad_2.0.5_linux_arm64.zip\n\n");
        assert_eq!(find(list.as_bytes(), "u", "nomad_2.0.5_linux_amd64.zip").unwrap(), a);
        assert_eq!(find(list.as_bytes(), "u", "nomad_2.0.5_linux_arm64.zip").unwrap(), b);
        let error = find(list.as_bytes(), "u", "nomad_2.0.5_linux_amd64").unwrap_err();
        assert!(matches!(error, NomadError::NotListed { .. }), "{error}");
    }

    #[test]
    fn a_line_that_is_no_checksum_is_named() {
        let list = format!("{}  x\n<html>\n", Digest::of(b"a"));
        let error = find(list.as_bytes(), "https://example.org/SUMS", "y").unwrap_err();
        assert!(error.to_string().starts_with("https://example.org/SUMS:2: "), "{error}");
    }

    proptest! {
        #[test]
        fn only_a_whole_name_matches(list in prop::collection::vec(any::<u8>(), 0..256), name in "[a-z]{1,8}") {
            let entry = format!("{}  {name}.zip\n", Digest::of(name.as_bytes()));
            let list = [entry.as_bytes(), &list].concat();
            let (file, other) = (format!("{name}.zip"), format!("x/{name}.zip"));
            prop_assert_eq!(find(&list, "u", &file).unwrap(), Digest::of(name.as_bytes()));
            prop_assert!(find(&list, "u", &other).is_err());
        }
    }
}
