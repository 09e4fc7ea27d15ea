//! What belongs to Nomad's user, and what that user can read.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use crate::node::files::{FileError, Owner, roots};

/// Directories below the writable ones that belong to everybody.
const SHARED: [&str; 6] = ["/var/cache", "/var/lib", "/var/log", "/var/spool", "/var/tmp", "/state"];

/// Makes Nomad's data directory, and gives it to the user that Nomad runs as. What is in it changes hands only when
/// the directory did not belong to that user: walking a large one costs time at every boot.
pub(super) fn data_dir(path: &Path, owner: Owner, mode: u32) -> Result<(), FileError> {
    if !path.exists() {
        fs::create_dir_all(path).map_err(FileError::io("create the directory", path))?;
        set_mode(path, mode)?;
        return give(path, owner);
    }
    let real = fs::canonicalize(path).map_err(FileError::io("read", path))?;
    if is_shared(&real) {
        let why = io::Error::new(io::ErrorKind::InvalidInput, "others use it too; name a directory in it");
        return Err(FileError::io("use as Nomad's data_dir", path)(why));
    }
    let meta = fs::metadata(path).map_err(FileError::io("read", path))?;
    if meta.uid() == owner.uid { Ok(()) } else { give_all(path, owner) }
}

/// Whether a directory is not Nomad's alone, so that nothing in it may change hands.
fn is_shared(path: &Path) -> bool {
    path == Path::new("/") || roots::WRITABLE.iter().chain(&SHARED).any(|shared| path == Path::new(shared))
}

/// Gives one path to its owner; where this process is not root (a desk, a test) everything belongs to whoever runs it.
pub(super) fn give(path: &Path, owner: Owner) -> Result<(), FileError> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    chown(path, Some(owner.uid), Some(owner.gid)).map_err(FileError::io("give an owner to", path))
}

/// The directory itself comes last: its owner says that everything in it was given, so an interrupted walk is done again.
fn give_all(path: &Path, owner: Owner) -> Result<(), FileError> {
    walk(path, &mut |path| give(path, owner))
}

/// Visits the files and directories of a tree, each directory after what is in it.
fn walk(dir: &Path, visit: &mut impl FnMut(&Path) -> Result<(), FileError>) -> Result<(), FileError> {
    for (path, meta) in entries(dir)? {
        if meta.is_dir() {
            walk(&path, visit)?;
        } else if meta.is_file() {
            visit(&path)?;
        }
    }
    visit(dir)
}

/// Lets a user read everything below a directory: what it cannot read gets its group. User-data is often written for a
/// Nomad that runs as root, with files that only root may read. Returns what was changed.
pub(super) fn open_to(dir: &Path, owner: Owner) -> Result<Vec<PathBuf>, FileError> {
    let mut changed = Vec::new();
    if owner.uid == 0 || !dir.is_dir() {
        return Ok(changed);
    }
    let meta = fs::metadata(dir).map_err(FileError::io("read", dir))?;
    open(dir, &meta, owner, 0o050, &mut changed)?;
    for (path, meta) in entries(dir)? {
        if meta.is_dir() {
            changed.extend(open_to(&path, owner)?);
        } else if meta.is_file() {
            open(&path, &meta, owner, 0o040, &mut changed)?;
        }
    }
    Ok(changed)
}

/// `group`: the bits that the group needs.
fn open(path: &Path, meta: &Metadata, owner: Owner, group: u32, changed: &mut Vec<PathBuf>) -> Result<(), FileError> {
    let mode = meta.mode() & 0o7777;
    let needed = if meta.uid() == owner.uid {
        group << 3
    } else if meta.gid() == owner.gid {
        group
    } else {
        group >> 3
    };
    if mode & needed == needed {
        return Ok(());
    }
    if meta.uid() == owner.uid {
        set_mode(path, mode | needed)?;
    } else {
        give(path, Owner { uid: meta.uid(), gid: owner.gid })?;
        set_mode(path, mode | group)?;
    }
    changed.push(path.to_owned());
    Ok(())
}

fn entries(dir: &Path) -> Result<Vec<(PathBuf, Metadata)>, FileError> {
    let list = fs::read_dir(dir).map_err(FileError::io("read", dir))?;
    Ok(list.filter_map(|entry| entry.ok().and_then(|e| Some((e.path(), e.metadata().ok()?)))).collect())
}

fn set_mode(path: &Path, mode: u32) -> Result<(), FileError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(FileError::io("set the mode of", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOMAD: Owner = Owner { uid: 990, gid: 990 };

    #[test]
    fn what_only_root_may_read_is_opened_to_the_group_and_no_further() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.hcl");
        fs::write(&path, "x").unwrap();
        set_mode(&path, 0o600).unwrap();
        fs::write(dir.path().join("open.hcl"), "x").unwrap();
        set_mode(dir.path(), 0o755).unwrap();
        assert_eq!(open_to(dir.path(), NOMAD).unwrap(), [path.as_path()]);
        let meta = fs::metadata(&path).unwrap();
        assert_eq!(meta.mode() & 0o777, 0o640);
        if nix::unistd::geteuid().is_root() {
            assert_eq!((meta.uid(), meta.gid()), (0, 990));
            assert!(open_to(dir.path(), NOMAD).unwrap().is_empty(), "once is enough");
        }
        assert!(open_to(dir.path(), Owner { uid: 0, gid: 0 }).unwrap().is_empty());
    }

    #[test]
    fn a_data_directory_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lib/nomad");
        data_dir(&path, NOMAD, 0o700).unwrap();
        set_mode(&path, 0o750).unwrap();
        data_dir(&path, NOMAD, 0o700).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o750);
    }

    #[test]
    fn a_directory_changes_hands_after_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        for name in ["x", "a/x", "a/b/x"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let mut seen = Vec::new();
        walk(dir.path(), &mut |path| {
            seen.push(path.to_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(seen.len(), 6);
        assert_eq!(seen.last().unwrap(), dir.path());
        let place = |name: &str| seen.iter().position(|path| *path == dir.path().join(name));
        assert!(place("a/b/x") < place("a/b") && place("a/b") < place("a") && place("a/x") < place("a"), "{seen:?}");
    }

    #[test]
    fn directories_of_everybody_are_not_given_away() {
        for path in ["/", "/var", "/opt", "/srv", "/home", "/var/lib", "/state"] {
            assert!(is_shared(Path::new(path)), "{path}");
        }
        for path in [crate::paths::NOMAD_DATA, "/opt/nomad", "/srv/data", "/tmp/x"] {
            assert!(!is_shared(Path::new(path)), "{path}");
        }
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("data");
        std::os::unix::fs::symlink("/", &link).unwrap();
        let myself = Owner { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() };
        let why = data_dir(&link, myself, 0o700).unwrap_err().to_string();
        assert!(why.contains("data_dir") && why.contains("others use it too"), "{why}");
    }
}
