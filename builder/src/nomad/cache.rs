//! Programs that were obtained before, with a record that says what they were when they were good.
//!
//! `<cache>/nomad/<group>/<name>` is the program, `<name>.json` its record. A group is what vouches for the program: the
//! fingerprint of the key that signed the release, so that what was taken with one key is never used for another, or
//! `given` for what users named. Both files appear by renaming, the program first; whatever does not fit together
//! counts as absent. A copy of the key itself is there too ([`super::trust`]).

use std::{
    fs::{self, File, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tempfile::{NamedTempFile, TempPath};

use super::NomadError;
use crate::{cache::GETTING, content::Digest};

/// A group of the cache.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
}

/// What a program was when it was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// Its version.
    pub(super) version: String,
    /// Its digest.
    pub(super) sha256: Digest,
    /// The digest of the archive that it was in.
    pub(super) archive_sha256: Digest,
}

impl Cache {
    /// The group `group` below the builder's cache directory.
    pub(super) fn open(cache_dir: &Path, group: &str) -> Result<Self, NomadError> {
        let dir = cache_dir.join("nomad").join(group);
        fs::create_dir_all(&dir).map_err(NomadError::io("create", &dir))?;
        Ok(Self { dir })
    }

    /// The group `group`, whether it is there or not, to look at.
    pub(super) fn look(cache_dir: &Path, group: &str) -> Self {
        Self { dir: cache_dir.join("nomad").join(group) }
    }

    /// The program `name`, if it is there and still what it was.
    pub(super) fn find(&self, name: &str) -> Option<(PathBuf, Record)> {
        let program = self.dir.join(name);
        let record: Record = serde_json::from_slice(&fs::read(self.record(name)).ok()?).ok()?;
        let (digest, _) = Digest::of_reader(File::open(&program).ok()?).ok()?;
        (digest == record.sha256).then_some((program, record))
    }

    /// Keeps `program` under `name`.
    pub(super) fn store(&self, name: &str, program: TempPath, record: &Record) -> Result<PathBuf, NomadError> {
        let path = self.dir.join(name);
        program.persist(&path).map_err(|e| NomadError::io("write", &path)(e.error))?;
        let record_path = self.record(name);
        let wrong = NomadError::io("write", &record_path);
        let written = serde_json::to_vec_pretty(record).map_err(Into::into).and_then(|text| {
            let mut file = tempfile::Builder::new().prefix(GETTING).tempfile_in(&self.dir)?;
            file.write_all(&text)?;
            file.persist(&record_path).map_err(|e| e.error)
        });
        written.map_err(wrong)?;
        Ok(path)
    }

    /// The path of `name` in this group.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A file for something on its way into the cache; gone when dropped.
    pub(super) fn temporary(&self) -> Result<NamedTempFile, NomadError> {
        // The next build clears away what a killed one leaves under such a name.
        let file = tempfile::Builder::new().prefix(GETTING).tempfile_in(&self.dir);
        file.map_err(NomadError::io("create a file in", &self.dir))
    }

    /// Waits until no other builder puts something into this group. Ends when the file is dropped, or its process dies.
    pub(super) fn lock(&self) -> Result<File, NomadError> {
        let path = self.dir.join(".lock");
        let file = File::options().create(true).append(true).open(&path).map_err(NomadError::io("create", &path))?;
        file.lock().map_err(NomadError::io("lock", &path))?;
        Ok(file)
    }

    fn record(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.json"))
    }
}

/// Closes a program that was written, and makes it executable by everyone. A file that is open for writing cannot be run.
pub(super) fn executable(program: NamedTempFile) -> Result<TempPath, NomadError> {
    fs::set_permissions(program.path(), Permissions::from_mode(0o755))
        .map_err(NomadError::io("chmod", program.path()))?;
    Ok(program.into_temp_path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_is_found_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), "given").unwrap();
        assert!(cache.find("x").is_none());
        let mut file = cache.temporary().unwrap();
        file.write_all(b"program").unwrap();
        let record =
            Record { version: "1.2.3".into(), sha256: Digest::of(b"program"), archive_sha256: Digest::of(b"") };
        let path = cache.store("x", executable(file).unwrap(), &record).unwrap();
        assert_eq!(cache.find("x").unwrap(), (path.clone(), record));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        assert!(Cache::open(dir.path(), "other").unwrap().find("x").is_none(), "another group");
        fs::write(&path, b"progrbm").unwrap();
        assert!(cache.find("x").is_none(), "a changed program");
        fs::write(&path, b"program").unwrap();
        assert!(cache.find("x").is_some());
        fs::write(cache.record("x"), b"{").unwrap();
        assert!(cache.find("x").is_none(), "half a record");
    }
}
