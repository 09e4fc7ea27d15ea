//! The cache: packages by digest, results of steps by key, and digests of files that did not change.
//!
//! ```text
//! lock                      held by the one build that uses the cache
//! packages/<sha256>.deb
//! steps/<step>-<key>/...    made in a temporary directory beside it and renamed, so it is whole or absent; with `sums.json`, by which
//!                           what a power cut or anything else did to it later is noticed, and the step is done again
//! digests.json              path, size, times, inode -> sha256
//! apt/                      private directories of apt-get
//! ```
//!
//! Everything in it can be removed at any time.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::content::Digest;

/// What the name of a step's folder begins with while it is made.
const MAKING: &str = ".making-";
/// The digests of a step's files.
const SUMS: &str = "sums.json";
/// What the name of anything else begins with that is not finished yet: downloads, and what is only wanted for a while.
pub(crate) const GETTING: &str = ".get-";

/// An open cache. One build at a time has it; the lock goes with the value. Whoever only looks has no lock.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    digests: Mutex<BTreeMap<PathBuf, Stamp>>,
    _lock: Option<File>,
}

/// The digest of a file that looks like this.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stamp {
    look: Look,
    sha256: Digest,
}

/// What a file looks like without being read. Whoever changes its bytes changes this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Look {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    inode: u64,
}

impl Look {
    fn at(file: &File) -> io::Result<Self> {
        let data = file.metadata()?;
        Ok(Self {
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
            inode: data.ino(),
        })
    }
}

impl Cache {
    /// `$XDG_CACHE_HOME/steppe`, else `~/.cache/steppe`; nothing when neither variable is set.
    #[must_use]
    pub fn default_folder() -> Option<PathBuf> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Some(set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?.join("steppe"))
    }

    /// Opens the cache in `folder`, which is made when it is not there. While another build has it, `waiting` is called
    /// once and this one waits.
    ///
    /// # Errors
    /// When the folder cannot be made, written or locked.
    pub fn open(folder: &Path, waiting: impl FnOnce()) -> Result<Self, CacheError> {
        let fail =
            |what: &'static str| move |source: io::Error| CacheError { what, path: folder.to_path_buf(), source };
        fs::create_dir_all(folder.join("packages")).map_err(fail("make"))?;
        fs::create_dir_all(folder.join("steps")).map_err(fail("make"))?;
        // apt, which is given paths below it, must not depend on where it is started.
        let folder = folder.canonicalize().map_err(fail("find"))?;
        let lock = File::create(folder.join("lock")).map_err(fail("lock"))?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            waiting();
            rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|errno| CacheError {
                what: "lock",
                path: folder.clone(),
                source: errno.into(),
            })?;
        }
        // What a killed build left unfinished. Whoever has the lock is alone here.
        let groups = fs::read_dir(folder.join("nomad")).into_iter().flatten().flatten().map(|entry| entry.path());
        for part in [folder.join("steps"), folder.join("packages"), folder.clone()].into_iter().chain(groups) {
            clear(&part);
        }
        Ok(Self { digests: Mutex::new(known(&folder)), folder, _lock: Some(lock) })
    }

    /// Looks into the cache in `folder`, if there is one, and changes nothing there. Steps are not to be made with it.
    #[must_use]
    pub fn look(folder: &Path) -> Self {
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
        Self { digests: Mutex::new(known(&folder)), folder, _lock: None }
    }

    /// Where the cache is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.folder
    }

    /// A folder in the cache, which is made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf, CacheError> {
        let path = self.folder.join(name);
        match fs::create_dir_all(&path) {
            Ok(()) => Ok(path),
            Err(source) => Err(CacheError { what: "make", path, source }),
        }
    }

    /// Where the package with this digest is, or would be.
    #[must_use]
    pub fn package(&self, sha256: Digest) -> PathBuf {
        self.folder.join("packages").join(format!("{sha256}.deb"))
    }

    /// The folder with the result of a step, if the cache has it, and whole.
    #[must_use]
    pub fn done(&self, name: &str, key: Digest) -> Option<PathBuf> {
        let folder = self.folder.join("steps").join(folder_of(name, key));
        let sums: BTreeMap<String, Digest> = serde_json::from_slice(&fs::read(folder.join(SUMS)).ok()?).ok()?;
        let whole =
            |(name, sum): (&String, &Digest)| self.digest(&folder.join(name)).is_ok_and(|digest| digest == *sum);
        sums.iter().all(whole).then_some(folder)
    }

    /// Notes the digests of what was made in a folder.
    fn sum(&self, folder: &Path) -> Result<(), CacheError> {
        let mut sums = BTreeMap::new();
        for entry in fs::read_dir(folder).map_err(|error| CacheError::read(folder, error))? {
            let entry = entry.map_err(|error| CacheError::read(folder, error))?;
            sums.insert(entry.file_name().to_string_lossy().into_owned(), self.digest(&entry.path())?);
        }
        let path = folder.join(SUMS);
        let text = serde_json::to_vec(&sums).map_err(|error| CacheError::write(&path, error.into()))?;
        fs::write(&path, text).map_err(|error| CacheError::write(&path, error))
    }

    /// The folder with the result of a step. When it is not there yet, `make` fills it.
    ///
    /// # Errors
    /// Those of `make`, and of the cache.
    pub fn step<E: From<CacheError>>(
        &self,
        name: &str,
        key: Digest,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        if let Some(done) = self.done(name, key) {
            return Ok(done);
        }
        let steps = self.folder.join("steps");
        let done = steps.join(folder_of(name, key));
        let fail = |what, path: &Path| {
            let path = path.to_path_buf();
            move |source| CacheError { what, path, source }
        };
        let temporary = tempfile::Builder::new().prefix(MAKING).tempdir_in(&steps).map_err(fail("make", &steps))?;
        make(temporary.path())?;
        self.sum(temporary.path())?;
        // One that is damaged.
        let _ = fs::remove_dir_all(&done);
        fs::rename(temporary.keep(), &done).map_err(fail("write", &done))?;
        Ok(done)
    }

    /// The digest of the file at `path`, read only if it changed since it was last asked for.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn digest(&self, path: &Path) -> Result<Digest, CacheError> {
        let fail = |source| CacheError { what: "read", path: path.to_path_buf(), source };
        let path = path.canonicalize().map_err(fail)?;
        let file = File::open(&path).map_err(fail)?;
        let look = Look::at(&file).map_err(fail)?;
        if let Some(known) = self.lock_digests().get(&path).filter(|known| known.look == look) {
            return Ok(known.sha256);
        }
        let sha256 = Digest::of_reader(file).map_err(fail)?.0;
        self.lock_digests().insert(path, Stamp { look, sha256 });
        Ok(sha256)
    }

    /// Notes the digest of a file that was just written, so that it need not be read to know it.
    ///
    /// # Errors
    /// When the file is not there.
    pub fn remember(&self, path: &Path, sha256: Digest) -> Result<(), CacheError> {
        let fail = |source| CacheError { what: "read", path: path.to_path_buf(), source };
        let path = path.canonicalize().map_err(fail)?;
        let look = File::open(&path).and_then(|file| Look::at(&file)).map_err(fail)?;
        self.lock_digests().insert(path, Stamp { look, sha256 });
        Ok(())
    }

    /// Keeps the digests for the next build. Losing them costs only time, so a failure is no error.
    pub fn save(&self) {
        let mut digests = self.lock_digests();
        digests.retain(|path, _| path.exists());
        let file = tempfile::Builder::new().prefix(GETTING).tempfile_in(&self.folder);
        if let (Ok(text), Ok(file)) = (serde_json::to_vec(&*digests), file) {
            let written = fs::write(file.path(), text).is_ok();
            if written {
                let _ = file.persist(self.folder.join("digests.json"));
            }
        }
    }

    fn lock_digests(&self) -> std::sync::MutexGuard<'_, BTreeMap<PathBuf, Stamp>> {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes what is unfinished in a folder.
fn clear(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if [MAKING, GETTING].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
        }
    }
}

/// The digests that an earlier build kept.
fn known(folder: &Path) -> BTreeMap<PathBuf, Stamp> {
    let text = fs::read(folder.join("digests.json")).ok();
    text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

fn folder_of(step: &str, key: Digest) -> String {
    format!("{step}-{}", &key.hex()[..32])
}

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("failed to {what} {path}: {source}{}", advice(source))]
pub struct CacheError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl CacheError {
    /// A failure to write below the cache.
    #[must_use]
    pub fn write(path: &Path, source: io::Error) -> Self {
        Self { what: "write", path: path.to_path_buf(), source }
    }

    /// A failure to read below the cache.
    #[must_use]
    pub fn read(path: &Path, source: io::Error) -> Self {
        Self { what: "read", path: path.to_path_buf(), source }
    }
}

/// What to do about an I/O error, where that is known.
#[must_use]
pub fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => "; make room there or name another folder (--output, --cache)",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; name a folder that you may write to (--output, --cache)"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Key;

    #[test]
    fn a_step_is_made_once_and_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path(), || ()).unwrap();
        let key = Key::new("t", 1).finish();
        let failed: Result<PathBuf, CacheError> = cache.step("t", key, |folder| {
            fs::write(folder.join("half"), "x").unwrap();
            Err(CacheError::write(folder, io::ErrorKind::StorageFull.into()))
        });
        assert!(failed.unwrap_err().to_string().contains("make room"));
        assert_eq!(fs::read_dir(folder.path().join("steps")).unwrap().count(), 0);
        for _ in 0..2 {
            let mut made = false;
            let path = cache
                .step("t", key, |folder| {
                    made = true;
                    fs::write(folder.join("f"), "x").map_err(|e| CacheError::write(folder, e))
                })
                .unwrap();
            assert_eq!(fs::read_to_string(path.join("f")).unwrap(), "x");
            if made {
                assert_eq!(fs::read_dir(folder.path().join("steps")).unwrap().count(), 1);
            }
        }
    }

    #[test]
    fn a_damaged_result_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::new("t", 1).finish();
        let mut made = 0;
        for damage in [None, Some("f"), Some(SUMS), None] {
            let cache = Cache::open(folder.path(), || ()).unwrap();
            let path = cache.step("t", key, |folder| {
                made += 1;
                fs::write(folder.join("f"), "whole").map_err(|e| CacheError::write(folder, e))
            });
            let path = path.unwrap();
            assert_eq!(fs::read_to_string(path.join("f")).unwrap(), "whole");
            if let Some(name) = damage {
                // As after a power cut: the name is there, the bytes are not.
                fs::write(path.join(name), "").unwrap();
                assert!(cache.done("t", key).is_none(), "{name}");
            }
            cache.save();
        }
        assert_eq!(made, 3);
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        fs::write(&file, "one").unwrap();
        let cache = Cache::open(&folder.path().join("c"), || ()).unwrap();
        assert_eq!(cache.digest(&file).unwrap(), Digest::of(b"one"));
        fs::write(&file, "two").unwrap();
        assert_eq!(cache.digest(&file).unwrap(), Digest::of(b"two"));
        cache.save();
        drop(cache);
        let cache = Cache::open(&folder.path().join("c"), || ()).unwrap();
        assert_eq!(cache.digest(&file).unwrap(), Digest::of(b"two"));
    }

    #[test]
    fn a_second_build_waits() {
        let folder = tempfile::tempdir().unwrap();
        let first = Cache::open(folder.path(), || ()).unwrap();
        let (told, waits) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| Cache::open(folder.path(), || told.send(()).unwrap()).is_ok());
            waits.recv().unwrap();
            drop(first);
            assert!(second.join().unwrap());
        });
    }
}
