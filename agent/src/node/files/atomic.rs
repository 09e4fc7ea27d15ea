//! Files that are either the old or the new ones, never half of each.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Why a file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("failed to {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A symbolic link on the way leads out of the place where the file may be.
    #[error("failed to write {path}: {link} is a symbolic link", path = path.display(), link = link.display())]
    Symlink {
        /// The file.
        path: PathBuf,
        /// The link.
        link: PathBuf,
    },
}

impl FileError {
    /// For `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// Writes `content` to a new file beside `path`, gives it `mode`, and renames it over `path`.
///
/// # Errors
/// When a step fails; then the old file is untouched and the new one is gone.
pub fn write_atomically(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    write_then(path, content, mode, |_| Ok(()))
}

/// As [`write_atomically`], with a step on the new file before it is renamed.
pub(super) fn write_then(
    path: &Path,
    content: &[u8],
    mode: u32,
    then: impl FnOnce(&Path) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let new = path.with_file_name(format!(".{name}.steppe-new"));
    let result = create(&new, content, mode)
        .and_then(|()| then(&new))
        .and_then(|()| fs::rename(&new, path).map_err(FileError::io("rename a new file to", path)));
    if result.is_err() {
        let _ = fs::remove_file(&new);
    }
    result
}

fn create(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(FileError::io("remove", path)(error)),
        _ => {}
    }
    // Closed to others until the content and the owner are settled; `create_new` follows no link.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(FileError::io("create", path))?;
    file.write_all(content).map_err(FileError::io("write", path))?;
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(FileError::io("set the mode of", path))?;
    file.sync_data().map_err(FileError::io("sync", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_file_has_content_and_mode_and_nothing_is_left_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "old").unwrap();
        write_atomically(&path, b"new", 0o640).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_step_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "old").unwrap();
        let fail = |p: &Path| Err(FileError::Symlink { path: p.to_owned(), link: p.to_owned() });
        assert!(write_then(&path, b"new", 0o600, fail).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
