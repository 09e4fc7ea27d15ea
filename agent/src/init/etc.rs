//! `/etc`: a tmpfs, made anew at every boot from the image's template.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink},
    path::{Path, PathBuf},
};

/// Why `/etc` could not be rendered.
#[derive(Debug, thiserror::Error)]
#[error("failed to copy {path}: {source}")]
pub struct EtcError {
    /// The file of the template.
    path: PathBuf,
    source: io::Error,
}

/// Copies the template below `from` into `to`: directories, files and links with mode, owner and group. What is there
/// already stays.
///
/// # Errors
/// At the first file that cannot be copied.
pub(super) fn render(from: &Path, to: &Path) -> Result<(), EtcError> {
    let fail = |source| EtcError { path: from.to_owned(), source };
    for entry in fs::read_dir(from).map_err(fail)? {
        let source = entry.map_err(fail)?.path();
        let Some(name) = source.file_name() else { continue };
        let target = to.join(name);
        let fail = |why| EtcError { path: source.clone(), source: why };
        let meta = fs::symlink_metadata(&source).map_err(fail)?;
        let there = fs::symlink_metadata(&target).is_ok();
        if meta.is_dir() {
            if !there {
                fs::create_dir(&target).and_then(|()| copy_owner(&meta, &target)).map_err(fail)?;
            }
            render(&source, &target)?;
        } else if there {
            continue;
        } else if meta.is_symlink() {
            let copy = |link: PathBuf| {
                symlink(link, &target).and_then(|()| lchown(&target, Some(meta.uid()), Some(meta.gid())))
            };
            fs::read_link(&source).and_then(copy).map_err(fail)?;
        } else {
            fs::copy(&source, &target).and_then(|_| copy_owner(&meta, &target)).map_err(fail)?;
        }
    }
    Ok(())
}

fn copy_owner(meta: &fs::Metadata, target: &Path) -> io::Result<()> {
    chown(target, Some(meta.uid()), Some(meta.gid()))?;
    // After the owner: a change of the owner clears bits of the mode.
    fs::set_permissions(target, fs::Permissions::from_mode(meta.mode() & 0o7777))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_links_and_directories_survive_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("ssl/certs")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("ssl/certs/ca.crt"), "pem").unwrap();
        fs::set_permissions(from.join("ssl"), fs::Permissions::from_mode(0o750)).unwrap();
        fs::write(from.join("shadow"), "x").unwrap();
        fs::set_permissions(from.join("shadow"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink("../usr/lib/os-release", from.join("os-release")).unwrap();
        fs::write(from.join("hosts"), "template").unwrap();
        fs::write(to.join("hosts"), "mine").unwrap();

        render(&from, &to).unwrap();

        assert_eq!(fs::read_to_string(to.join("ssl/certs/ca.crt")).unwrap(), "pem");
        assert_eq!(fs::metadata(to.join("ssl")).unwrap().mode() & 0o7777, 0o750);
        assert_eq!(fs::metadata(to.join("shadow")).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_link(to.join("os-release")).unwrap(), Path::new("../usr/lib/os-release"));
        assert_eq!(fs::read_to_string(to.join("hosts")).unwrap(), "mine");
    }

    #[test]
    fn a_missing_template_is_named() {
        let why = render(Path::new("/nonexistent/etc"), Path::new("/tmp")).unwrap_err().to_string();
        assert!(why.starts_with("failed to copy /nonexistent/etc: "), "{why}");
    }
}
