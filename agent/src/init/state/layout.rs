//! What lies on the state partition, and where the root shows it.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::{paths, warning};

/// Directories that are bound over those of the root with the same name.
pub(in crate::init) const BOUND: [&str; 4] = ["var", "opt", "srv", "home"];

/// Directories of a new state partition, with their modes. Parents first.
const DIRECTORIES: [(&str, u32); 14] = [
    ("steppe", 0o700),
    ("steppe/log", 0o700),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/spool", 0o755),
    ("var/tmp", 0o1777),
    ("opt", 0o755),
    ("opt/cni", 0o755),
    ("opt/cni/bin", 0o755),
    ("opt/cni/config", 0o755),
    ("srv", 0o755),
    ("home", 0o755),
];

/// Makes what is missing below `state`. What is there stays as it is, mode and all.
///
/// # Errors
/// When a directory cannot be made.
pub(super) fn make(state: &Path) -> io::Result<()> {
    for (name, mode) in DIRECTORIES {
        let path = state.join(name);
        if path.is_dir() {
            continue;
        }
        fs::DirBuilder::new().mode(mode).create(&path)?;
        // The mask takes bits away from a mode at creation.
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    for (link, target) in [("var/run", "/run"), ("var/lock", "/run/lock")] {
        match symlink(target, state.join(link)) {
            Err(why) if why.kind() != io::ErrorKind::AlreadyExists => return Err(why),
            _ => {}
        }
    }
    Ok(())
}

/// Binds the directories of the state partition over those of the root.
///
/// # Errors
/// The first bind that fails, with its directory.
pub(super) fn bind() -> Result<(), (&'static str, nix::Error)> {
    for name in BOUND {
        let from = Path::new(paths::STATE).join(name);
        mount(Some(&from), &Path::new("/").join(name), None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(|why| (name, why))?;
    }
    Ok(())
}

/// The devices that lie at the state's places now: `/state` and the bound directories.
pub(super) fn devices() -> Vec<(PathBuf, Option<u64>)> {
    let places = std::iter::once(paths::STATE.into()).chain(BOUND.iter().map(|name| Path::new("/").join(name)));
    places.map(|place: PathBuf| (place.clone(), device(&place))).collect()
}

fn device(place: &Path) -> Option<u64> {
    fs::metadata(place).ok().map(|meta| meta.dev())
}

/// Takes away what was mounted over the places since [`devices`] was asked, the bound directories first.
pub(super) fn uncover(before: &[(PathBuf, Option<u64>)]) {
    for (place, was) in before.iter().rev() {
        if device(place) != *was
            && let Err(why) = umount2(place, MntFlags::MNT_DETACH)
        {
            warning!("failed to unmount {}: {why}", place.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_and_left_alone_afterwards() {
        let state = tempfile::tempdir().unwrap();
        make(state.path()).unwrap();
        let mode = |name: &str| fs::metadata(state.path().join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode("var/tmp"), 0o1777);
        assert_eq!(mode("steppe"), 0o700);
        fs::set_permissions(state.path().join("srv"), fs::Permissions::from_mode(0o700)).unwrap();
        make(state.path()).unwrap();
        assert_eq!(mode("srv"), 0o700);
        assert_eq!(fs::read_link(state.path().join("var/run")).unwrap(), Path::new("/run"));
        assert!(BOUND.iter().all(|name| state.path().join(name).is_dir()));
    }
}
