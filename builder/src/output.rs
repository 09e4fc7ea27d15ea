//! The files that a build leaves: each appears whole, under its name, or not at all.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;
use tempfile::NamedTempFile;

/// Files that are written but not yet there. Those not published are removed when this is dropped, and the kernel removes
/// nothing of a killed build: its leftovers are hidden files that the next build of the folder clears away.
#[derive(Debug)]
pub struct Output {
    folder: PathBuf,
    /// Held while files wait: another build would take them for leftovers.
    _lock: File,
    waiting: Vec<(NamedTempFile, String)>,
}

const PREFIX: &str = ".steppe-build-";

impl Output {
    /// Files in `folder`, which is made when it is not there. Waits while another build leaves files there.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn open(folder: &Path) -> Result<Self, OutputError> {
        let fail = |source| OutputError { path: folder.to_path_buf(), source };
        fs::create_dir_all(folder).map_err(fail)?;
        let lock = File::open(folder).map_err(fail)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|errno| fail(errno.into()))?;
        for entry in fs::read_dir(folder).map_err(fail)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self { folder: folder.to_path_buf(), _lock: lock, waiting: Vec::new() })
    }

    /// Where the files go.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether files can be left in `folder` at all: said before hours of work, not behind them.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn probe(folder: &Path) -> Result<(), OutputError> {
        Self::open(folder)?;
        let made = tempfile::Builder::new().prefix(PREFIX).tempfile_in(folder);
        made.map(|_| ()).map_err(|source| OutputError { path: folder.to_path_buf(), source })
    }

    /// Writes a file that will be called `name`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, name: &str, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<&Path, OutputError> {
        let fail = |source| OutputError { path: self.folder.join(name), source };
        let mut file = tempfile::Builder::new().prefix(PREFIX).tempfile_in(&self.folder).map_err(fail)?;
        // The same rights whatever the umask: an image holds no secrets.
        file.as_file().set_permissions(Permissions::from_mode(0o644)).map_err(fail)?;
        fill(file.as_file_mut()).map_err(fail)?;
        self.waiting.push((file, name.to_owned()));
        Ok(self.waiting.last().map_or(&self.folder, |(file, _)| file.path()))
    }

    /// Writes a file with these bytes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<&Path, OutputError> {
        self.write(name, |file| file.write_all(bytes))
    }

    /// Gives the files their names, in the order in which they were written.
    ///
    /// # Errors
    /// When one cannot be renamed.
    pub fn publish(self) -> Result<(), OutputError> {
        for (file, name) in self.waiting {
            let path = self.folder.join(name);
            file.persist(&path).map_err(|error| OutputError { path, source: error.error })?;
        }
        Ok(())
    }
}

/// Why a file cannot be left.
#[derive(Debug, thiserror::Error)]
#[error("failed to write {path}: {source}{}", crate::cache::advice(source))]
pub struct OutputError {
    path: PathBuf,
    source: io::Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".steppe-build-left"), "half").unwrap();
        let mut output = Output::open(folder.path()).unwrap();
        output.write_bytes("a", b"1").unwrap();
        let full = output.write("b", |_| Err(io::ErrorKind::StorageFull.into())).unwrap_err().to_string();
        assert!(full.contains("/b:") && full.contains("make room"), "{full}");
        drop(output);
        assert!(names(folder.path()).is_empty());
        let mut output = Output::open(folder.path()).unwrap();
        output.write_bytes("a", b"1").unwrap();
        output.publish().unwrap();
        assert_eq!(names(folder.path()), ["a"]);
        assert!(Output::open(Path::new("/proc/nowhere")).unwrap_err().to_string().contains("/proc/nowhere"));
    }
}
