//! The mounts of a node, as data.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
};

use crate::{
    facts::{ImageFacts, Role},
    info,
};

/// What to do when a mount cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The node cannot work without it.
    Must,
    /// Only where the kernel knows the file system and the directory is there.
    IfThere,
}

/// One mount of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// File system type, also used as the source.
    pub fstype: &'static str,
    /// Where, absolute.
    pub target: &'static str,
    /// Flags.
    pub flags: MsFlags,
    /// Options for the file system.
    pub data: &'static str,
    /// What to do when it fails.
    pub need: Need,
}

const NO_EXEC: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);
const NO_DEV: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

const fn must(fstype: &'static str, target: &'static str, flags: MsFlags, data: &'static str) -> Entry {
    Entry { fstype, target, flags, data, need: Need::Must }
}

const fn if_there(fstype: &'static str, target: &'static str, flags: MsFlags, data: &'static str) -> Entry {
    Entry { fstype, target, flags, data, need: Need::IfThere }
}

/// What both stages need. The initramfs stage makes these, and they move along into the root.
pub const BASE: &[Entry] = &[
    // Nobody but root sees the processes of others, and what stands on their command lines.
    must("proc", "/proc", NO_EXEC, "hidepid=2"),
    must("sysfs", "/sys", NO_EXEC, ""),
    must("devtmpfs", "/dev", MsFlags::MS_NOSUID, "mode=0755"),
    must("tmpfs", "/run", NO_EXEC, "mode=0755,size=25%"),
];

/// What the root needs besides, and [`tmp`].
pub const ROOT: &[Entry] = &[
    must(
        "devpts",
        "/dev/pts",
        MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC),
        "newinstance,ptmxmode=0666,mode=0620,gid=5",
    ),
    must("tmpfs", "/dev/shm", NO_EXEC, "mode=1777"),
    must("tmpfs", "/etc", NO_EXEC, "mode=0755,size=16m"),
    must("cgroup2", "/sys/fs/cgroup", NO_EXEC, "nsdelegate,memory_recursiveprot"),
    if_there("mqueue", "/dev/mqueue", NO_EXEC, ""),
    if_there("securityfs", "/sys/kernel/security", NO_EXEC, ""),
    if_there("bpf", "/sys/fs/bpf", NO_EXEC, "mode=0700"),
    if_there("pstore", "/sys/fs/pstore", NO_EXEC, ""),
    if_there("tracefs", "/sys/kernel/tracing", NO_EXEC, "mode=0700"),
    if_there("efivarfs", "/sys/firmware/efi/efivars", NO_EXEC, ""),
];

/// `/tmp`; `written` is what [`written`] says.
#[must_use]
pub const fn tmp(written: MsFlags) -> Entry {
    must("tmpfs", "/tmp", NO_DEV.union(written), "mode=1777,size=25%")
}

/// The flags of `/tmp` and of the state, by the role of the image at `root`.
#[must_use]
pub fn written(root: &Path) -> MsFlags {
    of_role(ImageFacts::read(root).ok().map(|facts| facts.role))
}

/// A node that runs no workloads runs nothing but what is in its image. Tasks are run from their directories, unpack libraries
/// into `/tmp`, and have devices in what they take for their root.
const fn of_role(role: Option<Role>) -> MsFlags {
    match role {
        Some(Role::Server) => NO_EXEC,
        Some(Role::Client | Role::Dev) | None => MsFlags::MS_NOSUID,
    }
}

/// Why the table could not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The mount point is not there and cannot be made.
    #[error("failed to make the directory {path}: {source}")]
    Directory {
        /// The mount point.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The mount failed.
    #[error("failed to mount {fstype} on {path}: {source}")]
    Mount {
        /// Type of the file system.
        fstype: &'static str,
        /// The mount point.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
}

/// The kernel's part, so that a test can take its place.
pub trait Mounter {
    /// Mounts a file system without a device.
    ///
    /// # Errors
    /// Those of `mount(2)`.
    fn mount(&mut self, entry: &Entry, target: &Path) -> Result<(), Errno>;

    /// Whether something is mounted exactly there.
    fn is_mounted(&self, target: &Path) -> bool;
}

/// The real kernel.
#[derive(Debug)]
pub struct Kernel;

impl Mounter for Kernel {
    fn mount(&mut self, entry: &Entry, target: &Path) -> Result<(), Errno> {
        mount(Some(entry.fstype), target, Some(entry.fstype), entry.flags, Some(entry.data))
    }

    fn is_mounted(&self, target: &Path) -> bool {
        // Before /proc is there, nothing is.
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        super::mountinfo::parse(&text).iter().any(|mount| Path::new(&mount.target) == target)
    }
}

/// Mounts a table below `root`. What is mounted already stays as it is.
///
/// # Errors
/// At the first mount that the node cannot work without.
pub fn setup_at(root: &Path, table: &[Entry], mounter: &mut impl Mounter) -> Result<(), MountError> {
    for entry in table {
        let target = root.join(entry.target.trim_start_matches('/'));
        if mounter.is_mounted(&target) {
            continue;
        }
        if !target.is_dir() {
            match (fs::create_dir_all(&target), entry.need) {
                (Ok(()), _) => {}
                (Err(_), Need::IfThere) => continue,
                (Err(source), Need::Must) => return Err(MountError::Directory { path: target, source }),
            }
        }
        match (mounter.mount(entry, &target), entry.need) {
            (Ok(()), _) => {}
            (Err(why), Need::IfThere) => info!("{} is not mounted on {}: {why}", entry.fstype, entry.target),
            (Err(source), Need::Must) => {
                return Err(MountError::Mount { fstype: entry.fstype, path: target, source });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers what was mounted; refuses the types it is told to.
    #[derive(Default)]
    struct Fake {
        mounted: Vec<PathBuf>,
        refuses: Vec<&'static str>,
    }

    impl Mounter for Fake {
        fn mount(&mut self, entry: &Entry, target: &Path) -> Result<(), Errno> {
            if self.refuses.contains(&entry.fstype) {
                return Err(Errno::ENODEV);
            }
            assert!(target.is_dir(), "mount point {} is missing", target.display());
            self.mounted.push(target.to_owned());
            Ok(())
        }

        fn is_mounted(&self, target: &Path) -> bool {
            self.mounted.iter().any(|path| path == target)
        }
    }

    #[test]
    fn everything_is_mounted_once_and_parents_first() {
        let root = tempfile::tempdir().unwrap();
        let mut fake = Fake::default();
        for _ in 0..2 {
            setup_at(root.path(), BASE, &mut fake).unwrap();
            setup_at(root.path(), ROOT, &mut fake).unwrap();
        }
        assert_eq!(fake.mounted.len(), BASE.len() + ROOT.len());
        for (i, path) in fake.mounted.iter().enumerate() {
            let later = &fake.mounted[i + 1..];
            assert!(!later.iter().any(|other| path.starts_with(other)), "{} is hidden later", path.display());
        }
    }

    #[test]
    fn programs_are_run_from_no_memory_and_on_servers_from_no_disk() {
        for entry in BASE.iter().chain(ROOT) {
            let exempt = entry.target == "/dev";
            assert!(entry.flags.contains(NO_EXEC) || entry.target == "/dev/pts" || exempt, "{}", entry.target);
        }
        assert_eq!(tmp(of_role(Some(Role::Server))).flags, NO_EXEC);
        assert_eq!(tmp(of_role(Some(Role::Client))).flags, NO_DEV);
        assert_eq!(of_role(None), MsFlags::MS_NOSUID);
    }

    #[test]
    fn only_what_is_needed_stops_the_boot() {
        let root = tempfile::tempdir().unwrap();
        let mut fake = Fake { refuses: vec!["efivarfs", "bpf"], ..Fake::default() };
        setup_at(root.path(), ROOT, &mut fake).unwrap();
        let mut fake = Fake { refuses: vec!["cgroup2"], ..Fake::default() };
        let why = setup_at(root.path(), ROOT, &mut fake).unwrap_err().to_string();
        assert!(why.contains("failed to mount cgroup2 on ") && why.contains("ENODEV"), "{why}");
    }
}
