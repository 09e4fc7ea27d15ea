//! Mounts and swap space that is switched on.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::mount::MsFlags;

use super::{Machine, VolumeError, find, head, swap};
use crate::{
    init::{
        mountinfo,
        state::{
            probe::{Content, probe},
            tools::{self, Check},
        },
    },
    node::userdata::{Mount, MountSource},
    notice, warning,
};

/// Options that are flags of `mount(2)`, and whether they set or clear.
const FLAGS: [(&str, MsFlags, bool); 18] = [
    ("ro", MsFlags::MS_RDONLY, true),
    ("rw", MsFlags::MS_RDONLY, false),
    ("noexec", MsFlags::MS_NOEXEC, true),
    ("exec", MsFlags::MS_NOEXEC, false),
    ("nosuid", MsFlags::MS_NOSUID, true),
    ("suid", MsFlags::MS_NOSUID, false),
    ("nodev", MsFlags::MS_NODEV, true),
    ("dev", MsFlags::MS_NODEV, false),
    ("noatime", MsFlags::MS_NOATIME, true),
    ("atime", MsFlags::MS_NOATIME, false),
    ("nodiratime", MsFlags::MS_NODIRATIME, true),
    ("diratime", MsFlags::MS_NODIRATIME, false),
    ("relatime", MsFlags::MS_RELATIME, true),
    ("strictatime", MsFlags::MS_STRICTATIME, true),
    ("lazytime", MsFlags::MS_LAZYTIME, true),
    ("sync", MsFlags::MS_SYNCHRONOUS, true),
    ("dirsync", MsFlags::MS_DIRSYNC, true),
    ("async", MsFlags::MS_SYNCHRONOUS, false),
];

/// Mounts an entry, or switches its swap space on; nothing when that was done.
pub(super) fn mount(machine: &Machine<'_>, entry: &Mount) -> Result<(), VolumeError> {
    let Some(target) = &entry.target else {
        let node = machine.source(&entry.source)?;
        return swap::on(&whole_or_first(node));
    };
    let place = machine.root.join(target.trim_start_matches('/'));
    let mut node = machine.source(&entry.source)?;
    let (flags, data) = options(&entry.options);
    let kind = match (&entry.source, &entry.kind) {
        (MountSource::Memory, _) => "tmpfs".to_owned(),
        (_, Some(kind)) => kind.clone(),
        (_, None) => {
            node = whole_or_first(node);
            let found = find::identify(&head(&node)?).0.filter(|kind| *kind != "swap");
            let why = || VolumeError::Unusable { device: node.clone(), why: "there is no file system on it".into() };
            found.ok_or_else(why)?.to_owned()
        }
    };
    let table = fs::read_to_string(machine.root.join("proc/self/mountinfo")).unwrap_or_default();
    if is_mounted(&table, &node, target) {
        return Ok(());
    }
    if entry.source != MountSource::Memory {
        let known = fs::read_to_string(machine.root.join("proc/filesystems")).unwrap_or_default();
        if !known.lines().any(|line| line.trim_start() == kind) {
            (machine.load_module)(&kind);
        }
        repair(&node)?;
    }
    crate::node::files::make_directory(machine.root, target)
        .map_err(|error| VolumeError::Unusable { device: node.clone(), why: error.to_string() })?;
    let data = data.join(",");
    nix::mount::mount(Some(&node), &place, Some(kind.as_str()), flags, Some(data.as_str()))
        .map_err(|why| VolumeError::io("mount", &node)(why.into()))?;
    notice!("{} mounted on {target} ({kind})", node.display());
    Ok(())
}

/// Whether this is mounted there by now, by an earlier process of this boot.
fn is_mounted(table: &str, node: &Path, target: &str) -> bool {
    let fits = |mount: &mountinfo::Mount| mount.target == target && Path::new(&mount.source) == node;
    mountinfo::parse(table).iter().any(fits)
}

/// A disk without a file system of its own, but with a first partition, stands for that one (`cc_mounts.py`).
fn whole_or_first(node: PathBuf) -> PathBuf {
    let blank = head(&node).is_ok_and(|head| find::identify(&head).0.is_none());
    let text = node.to_string_lossy().into_owned();
    let infix = if text.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
    let first = PathBuf::from(format!("{text}{infix}1"));
    if blank && first.exists() { first } else { node }
}

/// Repairs an ext file system that was not unmounted in order.
fn repair(node: &Path) -> Result<(), VolumeError> {
    let Content::Ext(ext) = probe(&head(node)?) else { return Ok(()) };
    if ext.clean {
        return Ok(());
    }
    match tools::check(node) {
        Ok((Check::Broken(why), text)) => {
            Err(VolumeError::Unusable { device: node.to_owned(), why: format!("{why}: {text}") })
        }
        Ok(_) => Ok(()),
        Err(source) => {
            // The kernel's journal may do alone.
            warning!("{source}");
            Ok(())
        }
    }
}

/// Flags and what is left for the file system.
fn options(list: &[String]) -> (MsFlags, Vec<&str>) {
    let mut flags = MsFlags::empty();
    let mut data = Vec::new();
    for option in list {
        match FLAGS.iter().find(|(name, ..)| name == option) {
            Some((_, flag, true)) => flags |= *flag,
            Some((_, flag, false)) => flags &= !*flag,
            None => data.push(option.as_str()),
        }
    }
    (flags, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_device_at_the_same_place_is_mounted_already() {
        let table = "25 22 254:3 /opt /opt rw - ext4 /dev/vda3 rw\n26 22 254:16 / /opt rw - ext4 /dev/vdb1 rw\n";
        assert!(is_mounted(table, Path::new("/dev/vdb1"), "/opt"));
        // The image's own mount of `/opt` is none of a volume.
        assert!(
            !is_mounted(table, Path::new("/dev/vdc"), "/opt") && !is_mounted(table, Path::new("/dev/vdb1"), "/srv")
        );
    }

    #[test]
    fn options_are_flags_or_the_file_systems() {
        let list = ["ro", "noatime", "discard", "rw", "size=64m"].map(str::to_owned);
        assert_eq!(options(&list), (MsFlags::MS_NOATIME, vec!["discard", "size=64m"]));
    }
}
