//! The disks and partitions that the kernel knows, from `/sys/class/block`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::gpt;

/// A whole disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Kernel name: `vda`, `nvme0n1`.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// Size of a logical sector in bytes.
    pub sector: u64,
    /// Whether it cannot be written.
    pub read_only: bool,
}

impl Disk {
    /// Its device node below `/dev`.
    #[must_use]
    pub fn node(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// The device node of one of its partitions: `vda3`, `nvme0n1p3`.
    #[must_use]
    pub fn partition_node(&self, number: u32) -> PathBuf {
        let infix = if self.name.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
        Path::new("/dev").join(format!("{}{infix}{number}", self.name))
    }

    /// Reads its partition table.
    ///
    /// # Errors
    /// When it has none that is sound, or the disk cannot be read.
    pub fn table(&self) -> Result<gpt::Table, gpt::GptError> {
        gpt::read(&mut fs::File::open(self.node())?, self.sector)
    }
}

/// Devices that are not disks of the machine: nothing of ours is ever on them.
const NOT_DISKS: [&str; 8] = ["loop", "ram", "zram", "sr", "fd", "dm-", "md", "nbd"];

/// All whole disks that hold anything, by name. `sys` is where sysfs is mounted.
#[must_use]
pub fn list(sys: &Path) -> Vec<Disk> {
    let mut disks: Vec<Disk> = names(sys).into_iter().filter_map(|name| disk(sys, &name)).collect();
    disks.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
    disks
}

fn names(sys: &Path) -> Vec<String> {
    let entries = fs::read_dir(sys.join("class/block")).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// One disk by its kernel name; `None` for partitions, other devices and empty drives.
#[must_use]
pub fn disk(sys: &Path, name: &str) -> Option<Disk> {
    let dir = sys.join("class/block").join(name);
    if NOT_DISKS.iter().any(|prefix| name.starts_with(prefix)) || dir.join("partition").exists() {
        return None;
    }
    let number = |file: &str| fs::read_to_string(dir.join(file)).ok()?.trim().parse::<u64>().ok();
    // sysfs counts in units of 512 bytes, whatever the sector size is.
    let size = number("size")?.checked_mul(512).filter(|size| *size > 0)?;
    let sector = number("queue/logical_block_size").filter(|s| matches!(s, 512 | 1024 | 2048 | 4096)).unwrap_or(512);
    Some(Disk { name: name.to_owned(), size, sector, read_only: number("ro") == Some(1) })
}

/// The node of the partition with this GUID (`PARTUUID` of the kernel's event, Linux 6.10), in lower case.
#[must_use]
pub fn by_partuuid(sys: &Path, guid: &str) -> Option<PathBuf> {
    let mut names = names(sys);
    // Of two disks with the same partitions, the same one every time.
    names.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    names.into_iter().find_map(|name| {
        let text = fs::read_to_string(sys.join("class/block").join(&name).join("uevent")).ok()?;
        let found = text
            .lines()
            .any(|line| line.strip_prefix("PARTUUID=").is_some_and(|value| value.eq_ignore_ascii_case(guid)));
        found.then(|| Path::new("/dev").join(name))
    })
}

/// The GPT names of the partition with these numbers, or of those that it is made from (device-mapper).
#[must_use]
pub fn partition_names(sys: &Path, major: u64, minor: u64) -> Vec<String> {
    let dir = sys.join(format!("dev/block/{major}:{minor}"));
    let below = fs::read_dir(dir.join("slaves")).into_iter().flatten().flatten().map(|entry| entry.path());
    let texts = below.chain([dir.clone()]).filter_map(|dir| fs::read_to_string(dir.join("uevent")).ok());
    texts.filter_map(|text| text.lines().find_map(|line| line.strip_prefix("PARTNAME=").map(str::to_owned))).collect()
}

/// The disk that the block device with these numbers is, or is a partition of, or (device-mapper) is made from.
#[must_use]
pub fn of_device(sys: &Path, major: u64, minor: u64) -> Option<Disk> {
    let mut dir = fs::canonicalize(sys.join(format!("dev/block/{major}:{minor}"))).ok()?;
    let below = fs::read_dir(dir.join("slaves")).into_iter().flatten().flatten();
    if let Some(first) = below.map(|entry| entry.path()).min() {
        dir = fs::canonicalize(first).ok()?;
    }
    let whole = if dir.join("partition").exists() { dir.parent()? } else { &dir };
    disk(sys, whole.file_name()?.to_str()?)
}

/// A size for people: `20.0 GiB`, `64 MiB`.
#[must_use]
pub fn human(bytes: u64) -> String {
    const GIB: u64 = 1 << 30;
    if bytes >= GIB {
        format!("{}.{} GiB", bytes / GIB, bytes % GIB * 10 / GIB)
    } else {
        format!("{} MiB", bytes >> 20)
    }
}

/// One line that says what disks there are, for a message about one that is missing.
#[must_use]
pub fn describe(sys: &Path) -> String {
    let seen: Vec<String> = list(sys)
        .iter()
        .map(|disk| {
            let table = match disk.table() {
                Ok(table) => format!("{} partitions", table.partitions.len()),
                Err(gpt::GptError::Read(why)) if why.kind() == io::ErrorKind::NotFound => "no device node".to_owned(),
                Err(why) => why.to_string(),
            };
            format!("{} ({}, {table})", disk.name, human(disk.size))
        })
        .collect();
    if seen.is_empty() { "no disk is there".to_owned() } else { format!("disks: {}", seen.join(", ")) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A sysfs with a disk `vda` that has one partition, an empty floppy drive and a loop device.
    fn sysfs() -> tempfile::TempDir {
        let sys = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = sys.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("devices/virtio0/block/vda/size", "4096\n");
        write("devices/virtio0/block/vda/ro", "0\n");
        write("devices/virtio0/block/vda/queue/logical_block_size", "512\n");
        write("devices/virtio0/block/vda/uevent", "MAJOR=254\nMINOR=0\nDEVNAME=vda\n");
        write("devices/virtio0/block/vda/vda1/partition", "1\n");
        write("devices/virtio0/block/vda/vda1/size", "2048\n");
        write("devices/virtio0/block/vda/vda1/uevent", "DEVNAME=vda1\nPARTUUID=aB-1\nPARTNAME=steppe-root-a\n");
        write("devices/fd0/size", "0\n");
        write("devices/loop0/size", "100\n");
        for dir in ["class/block", "dev/block"] {
            fs::create_dir_all(sys.path().join(dir)).unwrap();
        }
        symlink("../../devices/virtio0/block/vda", sys.path().join("class/block/vda")).unwrap();
        symlink("../../devices/virtio0/block/vda/vda1", sys.path().join("class/block/vda1")).unwrap();
        symlink("../../devices/fd0", sys.path().join("class/block/fd0")).unwrap();
        symlink("../../devices/loop0", sys.path().join("class/block/loop0")).unwrap();
        symlink("../../devices/virtio0/block/vda/vda1", sys.path().join("dev/block/254:1")).unwrap();
        fs::create_dir_all(sys.path().join("devices/virtual/dm-0/slaves")).unwrap();
        symlink("../../../virtio0/block/vda/vda1", sys.path().join("devices/virtual/dm-0/slaves/vda1")).unwrap();
        symlink("../../devices/virtual/dm-0", sys.path().join("dev/block/253:0")).unwrap();
        sys
    }

    #[test]
    fn only_whole_disks_are_listed() {
        let sys = sysfs();
        let vda = Disk { name: "vda".into(), size: 2 << 20, sector: 512, read_only: false };
        assert_eq!(list(sys.path()), [vda]);
    }

    #[test]
    fn a_partition_is_found_by_its_guid_and_leads_to_its_disk() {
        let sys = sysfs();
        assert_eq!(by_partuuid(sys.path(), "ab-1"), Some("/dev/vda1".into()));
        assert_eq!(by_partuuid(sys.path(), "ab-2"), None);
        assert_eq!(partition_names(sys.path(), 254, 1), ["steppe-root-a"]);
        assert_eq!(partition_names(sys.path(), 253, 0), ["steppe-root-a"], "a verified root");
        assert_eq!(of_device(sys.path(), 254, 1).unwrap().name, "vda");
        assert_eq!(of_device(sys.path(), 253, 0).unwrap().name, "vda", "a verified root");
        assert_eq!(of_device(sys.path(), 254, 9), None);
    }

    #[test]
    fn partition_nodes_follow_the_kernels_rule() {
        let disk = |name: &str| Disk { name: name.into(), size: 1, sector: 512, read_only: false };
        assert_eq!(disk("vda").partition_node(3), Path::new("/dev/vda3"));
        assert_eq!(disk("nvme0n1").partition_node(3), Path::new("/dev/nvme0n1p3"));
    }

    #[test]
    fn sizes_for_people() {
        assert_eq!(human(64 << 20), "64 MiB");
        assert_eq!(human((20 << 30) + (512 << 20)), "20.5 GiB");
    }
}
