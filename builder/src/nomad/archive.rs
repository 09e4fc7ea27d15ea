//! The release archive: a zip with the program and its licence.

use std::{
    fs::File,
    io::{BufReader, Read, Write},
    path::Path,
};

use zip::{ZipArchive, result::ZipError};

use super::NomadError;

/// Name of the program in the archive.
const PROGRAM: &str = "nomad";

/// Bytes that the program may have. Nomad 2.0 has 110 MB.
const LIMIT: u64 = 1 << 30;

/// Writes the program in the archive at `path` to `into`. Errors call the archive `name`.
pub(super) fn extract(path: &Path, name: &str, into: &mut impl Write) -> Result<(), NomadError> {
    extract_at_most(LIMIT, path, name, into)
}

fn extract_at_most(limit: u64, path: &Path, name: &str, into: &mut impl Write) -> Result<(), NomadError> {
    let damaged = |reason: String| NomadError::Archive { archive: name.to_owned(), reason };
    let mut archive = open(path)?.map_err(|e| damaged(e.to_string()))?;
    let mut entry = match archive.by_name(PROGRAM) {
        Ok(entry) if entry.is_file() => entry,
        Ok(_) | Err(ZipError::FileNotFound) => return Err(NomadError::NotInArchive { archive: name.to_owned() }),
        Err(e) => return Err(damaged(e.to_string())),
    };
    let mut buffer = vec![0; 1 << 18];
    let mut total = 0;
    loop {
        // The reader checks the entry's CRC at its end.
        let n = entry.read(&mut buffer).map_err(|e| damaged(e.to_string()))?;
        if n == 0 {
            return Ok(());
        }
        // Counted rather than believed: the size in the archive is whatever its maker wrote there.
        total += n as u64;
        if total > limit {
            return Err(NomadError::TooLarge { what: format!("{PROGRAM} in {name}"), limit });
        }
        into.write_all(&buffer[..n]).map_err(NomadError::io("write the program from", path))?;
    }
}

/// Why the file at `path` is not a whole archive, if it is not. The directory of a zip is at its end.
pub(super) fn why_incomplete(path: &Path) -> Result<Option<String>, NomadError> {
    Ok(open(path)?.err().map(|e| e.to_string()))
}

fn open(path: &Path) -> Result<Result<ZipArchive<BufReader<File>>, ZipError>, NomadError> {
    let file = File::open(path).map_err(NomadError::io("open", path))?;
    Ok(ZipArchive::new(BufReader::new(file)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nomad::fixture;

    fn extract_bytes(limit: u64, bytes: &[u8]) -> Result<Vec<u8>, NomadError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.zip");
        std::fs::write(&path, bytes).unwrap();
        let mut out = Vec::new();
        extract_at_most(limit, &path, "a.zip", &mut out).map(|()| out)
    }

    #[test]
    fn the_program_and_nothing_else() {
        let zip = fixture::zip(&[("LICENSE.txt", b"text"), ("nomad", b"program")]);
        assert_eq!(extract_bytes(100, &zip).unwrap(), b"program");
    }

    #[test]
    fn an_archive_of_something_else_is_named() {
        let error = extract_bytes(100, &fixture::zip(&[("consul", b"program")])).unwrap_err();
        assert_eq!(error.to_string(), "a.zip has no file \"nomad\" in it: is it the Linux release of Nomad?");
    }

    #[test]
    fn a_program_without_end_is_not_unpacked() {
        let zip = fixture::zip(&[("nomad", &[0; 10_000])]);
        assert!(matches!(extract_bytes(9_999, &zip), Err(NomadError::TooLarge { limit: 9_999, .. })));
        assert_eq!(extract_bytes(10_000, &zip).unwrap().len(), 10_000);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_cut_archive_is_damaged(cut in any::<prop::sample::Index>()) {
            let zip = fixture::zip(&[("nomad", b"some program or other")]);
            let length = cut.index(zip.len());
            let error = extract_bytes(100, &zip[..length]).unwrap_err();
            prop_assert!(matches!(error, NomadError::Archive { .. }), "{}", error);
        }
    }
}
