//! From the files of a plan to the file system.

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::{PermissionsExt as _, lchown},
    path::{Component, Path, PathBuf},
};

use super::{
    atomic::{FileError, write_then},
    owner::{Accounts, Owner},
};
use crate::node::userdata::File;

/// Something about a written file that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The file, as the user-data names it.
    pub path: String,
    /// What.
    pub message: String,
}

/// Writes all files below `root`, in order. A file whose owner is unknown belongs to root and is closed to others,
/// which a note says.
///
/// # Errors
/// At the first file that cannot be written; those before it stay.
pub fn apply(root: &Path, files: &[File], accounts: &Accounts) -> Result<Vec<Note>, FileError> {
    let mut notes = Vec::new();
    // `append` adds to what the image or an earlier entry wrote, not to what an earlier run of this program wrote.
    let mut begun = HashSet::new();
    for (n, file) in files.iter().enumerate() {
        let (owner, mode) = match accounts.owner(&file.user, &file.group) {
            Some(owner) => (owner, file.mode),
            None => {
                let message =
                    format!("owner {}:{} is unknown here: root:root, closed to others", file.user, file.group);
                notes.push(Note { path: file.path.clone(), message });
                (Owner { uid: 0, gid: 0 }, file.mode & 0o700)
            }
        };
        let target = prepare(root, &file.path, owner)?;
        let mut content = Vec::new();
        if file.append {
            let first = !begun.contains(&file.path);
            content = existing(root, &target, &file.path, first)?;
            if first {
                forget_earlier_run(&mut content, &files[n..]);
            }
        }
        content.extend_from_slice(&file.content.0);
        begun.insert(file.path.clone());
        write_then(&target, &content, mode, |new| {
            chown(new, owner)?;
            // chown(2) clears set-id bits.
            fs::set_permissions(new, fs::Permissions::from_mode(mode)).map_err(FileError::io("set the mode of", new))
        })?;
    }
    Ok(notes)
}

/// What `append` adds to. The first append to a file of `/etc`, which is made anew at every boot, starts from the
/// image's own version, and from nothing where there is none.
fn existing(root: &Path, target: &Path, path: &str, first: bool) -> Result<Vec<u8>, FileError> {
    let template = path
        .strip_prefix("/etc/")
        .filter(|_| first)
        .map(|rest| root.join(crate::paths::ETC_TEMPLATE.trim_start_matches('/')).join(rest));
    let source = template.as_deref().unwrap_or(target);
    match fs::read(source) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(FileError::io("read", source)),
    }
}

/// Takes off what an earlier run has appended, whole or as far as it came: files outside `/etc` outlive the boot, and
/// every boot, restart and retry applies the same user-data. `files` begins with the append that comes first now.
fn forget_earlier_run(content: &mut Vec<u8>, files: &[File]) {
    let path = &files[0].path;
    let appends: Vec<&File> = files.iter().filter(|f| f.path == *path).take_while(|f| f.append).collect();
    for count in (1..=appends.len()).rev() {
        let added: Vec<u8> = appends[..count].iter().flat_map(|f| f.content.0.iter().copied()).collect();
        if content.ends_with(&added) {
            content.truncate(content.len() - added.len());
            return;
        }
    }
}

/// Makes the directories above a file and returns its place. Every directory on the way below `root` must be a real
/// one: a symbolic link could lead out of the writable places. New directories belong to the file's owner, as in
/// cloud-init.
pub(super) fn prepare(root: &Path, path: &str, owner: Owner) -> Result<PathBuf, FileError> {
    let relative = Path::new(path.trim_start_matches('/'));
    directories(root, &relative.parent().unwrap_or(Path::new("")).to_string_lossy(), owner)?;
    Ok(root.join(relative))
}

/// The place of a path whose directories, as far as they are there, are real ones.
pub(super) fn inside(root: &Path, path: &str) -> Result<PathBuf, FileError> {
    let relative = Path::new(path.trim_start_matches('/'));
    let mut place = root.to_owned();
    for part in relative.parent().unwrap_or(Path::new("")).components() {
        place.push(part);
        if fs::symlink_metadata(&place).is_ok_and(|meta| meta.is_symlink()) {
            return Err(FileError::Symlink { path: root.join(relative), link: place });
        }
    }
    Ok(root.join(relative))
}

/// Makes a directory and those above it.
pub(super) fn directories(root: &Path, path: &str, owner: Owner) -> Result<(), FileError> {
    let relative = Path::new(path.trim_start_matches('/'));
    let mut place = root.to_owned();
    for part in relative.components() {
        let Component::Normal(part) = part else { continue };
        place.push(part);
        match fs::symlink_metadata(&place) {
            Ok(meta) if meta.is_symlink() => {
                return Err(FileError::Symlink { path: root.join(relative), link: place });
            }
            Ok(_) => {}
            Err(_) => {
                fs::create_dir(&place).map_err(FileError::io("create the directory", &place))?;
                fs::set_permissions(&place, fs::Permissions::from_mode(0o755))
                    .map_err(FileError::io("set the mode of", &place))?;
                chown(&place, owner)?;
            }
        }
    }
    Ok(())
}

/// Makes a directory of root's and those above it, unless they are there; never through a symbolic link.
///
/// # Errors
/// When one cannot be made.
pub fn make_directory(root: &Path, path: &str) -> Result<(), FileError> {
    directories(root, path, Owner { uid: 0, gid: 0 })
}

/// Gives a path to its owner. Where this process is not root (a desk, a test) everything belongs to whoever runs it.
pub(super) fn chown(path: &Path, owner: Owner) -> Result<(), FileError> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    lchown(path, Some(owner.uid), Some(owner.gid)).map_err(FileError::io("give an owner to", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::node::userdata::{Contents, Position};

    fn file(path: &str, content: &str) -> File {
        File {
            path: path.into(),
            content: Contents(content.into()),
            user: "root".into(),
            group: "root".into(),
            mode: 0o644,
            append: false,
            defer: false,
            source: None,
            at: Position::START,
            part: None,
        }
    }

    fn setup() -> (tempfile::TempDir, Accounts) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        (dir, Accounts::parse("nomad:x:990:990:::", "nomad:x:990:"))
    }

    #[test]
    fn parents_content_and_mode() {
        let (dir, accounts) = setup();
        let file = File { mode: 0o600, user: "nomad".into(), group: "nomad".into(), ..file("/opt/a/b.hcl", "x") };
        assert!(apply(dir.path(), &[file], &accounts).unwrap().is_empty());
        let path = dir.path().join("opt/a/b.hcl");
        assert_eq!(fs::read(&path).unwrap(), b"x");
        let meta = fs::metadata(&path).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, 0o600);
        if nix::unistd::geteuid().is_root() {
            assert_eq!((meta.uid(), meta.gid()), (990, 990));
            assert_eq!(fs::metadata(dir.path().join("opt/a")).unwrap().uid(), 990);
        }
    }

    #[test]
    fn an_unknown_owner_closes_the_file_and_the_rest_is_written() {
        let (dir, accounts) = setup();
        let strange = File { user: "consul".into(), group: "consul".into(), ..file("/etc/a", "x") };
        let notes = apply(dir.path(), &[strange, file("/etc/b", "y")], &accounts).unwrap();
        assert!(notes[0].message.contains("consul:consul"));
        assert_eq!(fs::metadata(dir.path().join("etc/a")).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(dir.path().join("etc/b").exists());
    }

    #[test]
    fn links_do_not_lead_out() {
        let (dir, accounts) = setup();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("etc/link")).unwrap();
        let error = apply(dir.path(), &[file("/etc/link/a", "x")], &accounts).unwrap_err();
        assert!(error.to_string().contains("symbolic link"));
        // The last part may be a link: it is replaced, not followed.
        std::os::unix::fs::symlink(outside.path().join("victim"), dir.path().join("etc/last")).unwrap();
        apply(dir.path(), &[file("/etc/last", "x")], &accounts).unwrap();
        assert!(!outside.path().join("victim").exists());
        assert!(!fs::symlink_metadata(dir.path().join("etc/last")).unwrap().is_symlink());
    }

    #[test]
    fn append_adds_to_the_image_and_not_to_an_earlier_run() {
        let (dir, accounts) = setup();
        let template = dir.path().join("usr/share/steppe/etc");
        fs::create_dir_all(&template).unwrap();
        fs::write(template.join("hosts"), "a\n").unwrap();
        fs::write(dir.path().join("etc/hosts"), "a\n").unwrap();
        let append = |text: &str| File { append: true, ..file("/etc/hosts", text) };
        for _ in 0..2 {
            apply(dir.path(), &[append("b\n"), append("c\n")], &accounts).unwrap();
            assert_eq!(fs::read_to_string(dir.path().join("etc/hosts")).unwrap(), "a\nb\nc\n");
        }
    }

    #[test]
    fn append_without_a_template_starts_from_nothing_at_every_run() {
        let (dir, accounts) = setup();
        let append = |text: &str| File { append: true, ..file("/etc/nomad.d/a.hcl", text) };
        for text in ["b\n", "new\n"] {
            apply(dir.path(), &[append(text), append("c\n")], &accounts).unwrap();
            let got = fs::read_to_string(dir.path().join("etc/nomad.d/a.hcl")).unwrap();
            assert_eq!(got, format!("{text}c\n"));
        }
    }

    /// `/opt` is on the disk: without this, every boot would make the file longer.
    #[test]
    fn append_to_a_file_that_outlives_the_boot_happens_once() {
        let (dir, accounts) = setup();
        let append = |text: &str| File { append: true, ..file("/opt/list", text) };
        let files = [append("b\n"), file("/etc/x", "x"), append("c\n"), append("c\n")];
        let read = || fs::read_to_string(dir.path().join("opt/list")).unwrap();
        fs::create_dir(dir.path().join("opt")).unwrap();
        // What was there, and the same after a run that ended behind its first or its last entry.
        for before in ["a\n", "a\nb\n", "a\nb\nc\nc\n"] {
            fs::write(dir.path().join("opt/list"), before).unwrap();
            for _ in 0..2 {
                apply(dir.path(), &files, &accounts).unwrap();
                assert_eq!(read(), "a\nb\nc\nc\n", "from {before:?}");
            }
        }
    }
}
