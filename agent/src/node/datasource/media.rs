//! Volumes with a label: found on the block devices of `/sys`, mounted read-only, read, unmounted.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};

use super::{
    LABELS, names,
    superblock::{self, FileSystem, Superblock},
};
use crate::{notify, paths};

/// Seed files larger than this, in bytes, are refused.
pub(super) const MAX_FILE: u64 = 4 << 20;

/// Where volumes are mounted, one at a time.
const MOUNT_POINT: &str = "run/steppe/media";

/// The contents of files, by their names.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A file system on a block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// `/dev/vdb`, below the root.
    pub device: PathBuf,
    /// Its kind.
    pub kind: FileSystem,
    /// Whether it is a UDF, too.
    pub udf: bool,
}

/// Why a volume cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// It cannot be mounted.
    #[error("failed to mount {device} as {kind}: {source}", device = device.display())]
    Mount {
        /// The device.
        device: PathBuf,
        /// Its kind.
        kind: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A file on it cannot be read.
    #[error("failed to read {name} on {device}: {source}", device = device.display())]
    Read {
        /// The device.
        device: PathBuf,
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
}

/// All volumes with the label, whole disks before their partitions. Also gives the names of all devices that were
/// looked at, for people: with a label that belongs to a platform which has no datasource here.
#[must_use]
pub fn volumes(root: &Path, label: &str) -> (Vec<Volume>, Vec<String>) {
    let mut looked = Vec::new();
    let found = scan(root, |name, superblock| {
        let other = LABELS.iter().find(|(label, platform)| {
            superblock.is_some_and(|s| s.is_labelled(label)) && !names().any(|name| name == *platform)
        });
        looked.push(match other {
            Some((label, platform)) => format!("{name}, which is labelled {label} as {platform} does"),
            None => name.to_owned(),
        });
        superblock.is_some_and(|superblock| superblock.is_labelled(label))
    });
    (found, looked)
}

/// The volumes that `fits` takes, by name and superblock, of all block devices that can be read.
pub(super) fn scan(root: &Path, mut fits: impl FnMut(&str, Option<&Superblock>) -> bool) -> Vec<Volume> {
    let mut devices: Vec<String> = fs::read_dir(root.join("sys/class/block"))
        .map(|dir| dir.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect())
        .unwrap_or_default();
    devices.retain(|name| !["loop", "ram", "zram", "dm-", "nbd", "fd"].iter().any(|prefix| name.starts_with(prefix)));
    devices.sort();
    let mut found = Vec::new();
    for name in &devices {
        let device = root.join("dev").join(name.replace('!', "/"));
        // An empty drive cannot be opened, and has nothing to say.
        let superblock = File::open(&device).ok().and_then(|mut file| superblock::read(&mut file).ok().flatten());
        if fits(name, superblock.as_ref())
            && let Some(Superblock { kind, udf, .. }) = superblock
        {
            found.push(Volume { device, kind, udf });
        }
    }
    found
}

impl Volume {
    /// The files of `wanted` in the volume's root directory, by their wanted names.
    ///
    /// # Errors
    /// When the volume cannot be mounted or a file cannot be read.
    pub fn read(&self, root: &Path, wanted: &[&str]) -> Result<Files, MediaError> {
        self.open(root, self.kind, &mut |folder| folder.read_all(wanted))
    }

    /// Mounts the volume as a file system of `kind`, has `read` read what it wants, and unmounts it.
    ///
    /// # Errors
    /// When the volume cannot be mounted or a file cannot be read.
    pub(super) fn open(
        &self,
        root: &Path,
        kind: FileSystem,
        read: &mut dyn FnMut(&Folder) -> Result<Files, Unreadable>,
    ) -> Result<Files, MediaError> {
        let point = root.join(MOUNT_POINT);
        let kind = kind.as_str();
        let failed = |source: io::Error| MediaError::Mount { device: self.device.clone(), kind, source };
        fs::create_dir_all(&point).map_err(failed)?;
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let mount = || mount(Some(&self.device), &point, Some(kind), flags, None::<&str>);
        let mounted = match mount() {
            // The kernel does not know this kind of file system yet.
            Err(Errno::ENODEV) => {
                let socket = root.join(paths::NOTIFY_SOCKET.trim_start_matches('/'));
                notify::load_module(&socket, kind).map_err(|why| failed(io::Error::other(why)))?;
                mount()
            }
            mounted => mounted,
        };
        mounted.map_err(|error| failed(error.into()))?;
        let files = read(&Folder(point.clone()));
        // Lazily: if something keeps it busy, the next look must still find an empty mount point.
        let _ = umount2(&point, MntFlags::MNT_DETACH);
        files.map_err(|Unreadable(name, source)| MediaError::Read { device: self.device.clone(), name, source })
    }
}

/// A file that cannot be read, and why.
#[derive(Debug)]
pub(super) struct Unreadable(String, io::Error);

/// A directory of a volume, whatever the file system did to the names in it.
#[derive(Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    /// The files of `wanted` that are there, by their wanted names.
    pub(super) fn read_all(&self, wanted: &[&str]) -> Result<Files, Unreadable> {
        let mut files = BTreeMap::new();
        for name in wanted {
            files.extend(self.read(name)?.map(|content| ((*name).to_owned(), content)));
        }
        Ok(files)
    }

    /// The names in a folder below this one, folded; none when it is not there.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let Ok(Some(dir)) = self.find(path) else { return Vec::new() };
        let entries = fs::read_dir(dir).into_iter().flatten();
        entries.filter_map(|entry| Some(fold(entry.ok()?.file_name().to_str()?))).collect()
    }

    /// A file below this folder, `a/b`. Links are not followed: what a volume says stays on the volume.
    pub(super) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Unreadable> {
        let failed = |source| Unreadable(path.to_owned(), source);
        let Some(file) = self.find(path).map_err(failed)? else { return Ok(None) };
        if !fs::symlink_metadata(&file).map_err(failed)?.is_file() {
            return Err(failed(io::Error::other("not a regular file")));
        }
        let mut content = Vec::new();
        File::open(&file).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut content)).map_err(failed)?;
        if content.len() as u64 > MAX_FILE {
            return Err(failed(io::Error::other(format!("larger than {MAX_FILE} bytes"))));
        }
        Ok(Some(content))
    }

    fn find(&self, path: &str) -> io::Result<Option<PathBuf>> {
        let mut at = self.0.clone();
        for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
            if !fs::symlink_metadata(&at)?.is_dir() {
                return Ok(None);
            }
            let entries = fs::read_dir(&at)?.filter_map(Result::ok);
            // `..` is never in the list.
            let mut fitting: Vec<_> = entries
                .map(|entry| entry.file_name())
                .filter(|name| fold(&name.to_string_lossy()) == fold(part))
                .collect();
            fitting.sort();
            match fitting.first() {
                Some(name) => at.push(name),
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }
}

/// `USER_DATA.;1`, the plain ISO 9660 form, is `user-data`.
fn fold(name: &str) -> String {
    let name = name.split(';').next().unwrap_or(name);
    name.trim_end_matches('.').to_ascii_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded() {
        for name in ["user-data", "USER_DATA.;1", "User-Data.", "USER-DATA;1"] {
            assert_eq!(fold(name), "user-data");
        }
    }

    #[test]
    fn wanted_files_are_read_and_others_left() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("META_DATA"), "a").unwrap();
        fs::write(dir.path().join("other"), "b").unwrap();
        fs::create_dir_all(dir.path().join("OPENSTACK/LATEST")).unwrap();
        fs::write(dir.path().join("OPENSTACK/LATEST/META_DATA.JSON;1"), "c").unwrap();
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("vendor-data")).unwrap();
        let folder = Folder(dir.path().to_owned());
        let files = folder.read_all(&["meta-data", "user-data"]).unwrap();
        assert_eq!(files.into_iter().collect::<Vec<_>>(), [("meta-data".to_owned(), b"a".to_vec())]);
        assert_eq!(folder.read("openstack/latest/meta_data.json").unwrap().unwrap(), b"c");
        assert_eq!(folder.names("openstack"), ["latest"]);
        assert!(folder.read("../etc/hostname").unwrap().is_none() && folder.read("other/x").unwrap().is_none());
        assert!(folder.read("vendor-data").is_err(), "a link is not followed");
    }

    #[test]
    fn devices_are_found_by_label_below_a_root() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["sys/class/block", "dev"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        let mut image = vec![0; 32768 + 2048];
        image[32768..32774].copy_from_slice(b"\x01CD001");
        image[32808..32814].copy_from_slice(b"CIDATA");
        for (name, content) in [("vda", &b""[..]), ("vdb", &image), ("loop0", &image)] {
            fs::write(root.path().join("sys/class/block").join(name), "").unwrap();
            fs::write(root.path().join("dev").join(name), content).unwrap();
        }
        let (found, looked) = volumes(root.path(), "cidata");
        assert_eq!(found, [Volume { device: root.path().join("dev/vdb"), kind: FileSystem::Iso9660, udf: false }]);
        assert_eq!(looked, ["vda", "vdb"]);
    }
}
