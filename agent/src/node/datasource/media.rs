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

use crate::{notify, paths};

use super::superblock::{self, FileSystem};

/// Seed files larger than this, in bytes, are refused.
pub(super) const MAX_FILE: u64 = 4 << 20;

/// Where volumes are mounted, one at a time.
const MOUNT_POINT: &str = "run/steppe/media";

/// A file system on a block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// `/dev/vdb`, below the root.
    pub device: PathBuf,
    /// Its kind.
    pub kind: FileSystem,
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
/// looked at, for people.
#[must_use]
pub fn volumes(root: &Path, label: &str) -> (Vec<Volume>, Vec<String>) {
    let mut names: Vec<String> = fs::read_dir(root.join("sys/class/block"))
        .map(|dir| dir.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect())
        .unwrap_or_default();
    names.retain(|name| !["loop", "ram", "zram", "dm-", "nbd", "fd"].iter().any(|prefix| name.starts_with(prefix)));
    names.sort();
    let mut found = Vec::new();
    for name in &names {
        let device = root.join("dev").join(name.replace('!', "/"));
        // An empty drive cannot be opened, and has nothing to say.
        let Ok(mut file) = File::open(&device) else { continue };
        if let Ok(Some(superblock)) = superblock::read(&mut file)
            && superblock.is_labelled(label)
        {
            found.push(Volume { device, kind: superblock.kind });
        }
    }
    (found, names)
}

impl Volume {
    /// The files of `wanted` in the volume's root directory, by their wanted names.
    ///
    /// # Errors
    /// When the volume cannot be mounted or a file cannot be read.
    pub fn read(&self, root: &Path, wanted: &[&str]) -> Result<BTreeMap<String, Vec<u8>>, MediaError> {
        let point = root.join(MOUNT_POINT);
        let failed =
            |source: io::Error| MediaError::Mount { device: self.device.clone(), kind: self.kind.as_str(), source };
        fs::create_dir_all(&point).map_err(failed)?;
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let kind = self.kind.as_str();
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
        let files = read_files(&point, wanted);
        // Lazily: if something keeps it busy, the next look must still find an empty mount point.
        let _ = umount2(&point, MntFlags::MNT_DETACH);
        files.map_err(|(name, source)| MediaError::Read { device: self.device.clone(), name, source })
    }
}

/// The files of `wanted` in a directory, whatever the file system did to their names.
fn read_files(dir: &Path, wanted: &[&str]) -> Result<BTreeMap<String, Vec<u8>>, (String, io::Error)> {
    let mut files = BTreeMap::new();
    let entries = fs::read_dir(dir).map_err(|error| (".".to_owned(), error))?;
    for entry in entries.filter_map(Result::ok) {
        let name = fold(&entry.file_name().to_string_lossy());
        if !wanted.contains(&name.as_str()) {
            continue;
        }
        let mut content = Vec::new();
        let read = File::open(entry.path()).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut content));
        match read {
            Ok(_) if content.len() as u64 > MAX_FILE => {
                let error = io::Error::other(format!("larger than {MAX_FILE} bytes"));
                return Err((name, error));
            }
            Ok(_) => drop(files.insert(name, content)),
            Err(error) => return Err((name, error)),
        }
    }
    Ok(files)
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
        let files = read_files(dir.path(), &["meta-data", "user-data"]).unwrap();
        assert_eq!(files.into_iter().collect::<Vec<_>>(), [("meta-data".to_owned(), b"a".to_vec())]);
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
        assert_eq!(found, [Volume { device: root.path().join("dev/vdb"), kind: FileSystem::Iso9660 }]);
        assert_eq!(looked, ["vda", "vdb"]);
    }
}
