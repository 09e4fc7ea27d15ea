//! Devices by the names that people give them. There is no udev: what its rules would link is read from sysfs and from the
//! devices themselves.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Machine, VolumeError, ebs, head};
use crate::{
    node::userdata::{Device, MountSource},
    sys,
};

/// What is known of a block device without a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Volume {
    /// Its node: `/dev/vdb1`.
    pub node: PathBuf,
    /// Kind of what is on it, by the kernel's name.
    pub kind: Option<&'static str>,
    /// Label of its file system.
    pub label: Option<String>,
    /// UUID of its file system, lower case.
    pub uuid: Option<String>,
    /// Name of the partition.
    pub part_label: Option<String>,
    /// UUID of the partition, lower case.
    pub part_uuid: Option<String>,
    /// Serial numbers of the disk.
    pub serials: Vec<String>,
    /// Number of the partition; none for a disk.
    pub number: Option<u32>,
}

/// All block devices that could hold something.
#[must_use]
pub fn volumes(root: &Path) -> Vec<Volume> {
    let class = root.join("sys/class/block");
    let mut names: Vec<String> = fs::read_dir(&class)
        .map(|entries| entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    names.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    names.retain(|name| !["loop", "ram", "zram", "fd"].iter().any(|prefix| name.starts_with(prefix)));
    names.iter().map(|name| volume(root, &class.join(name), name)).collect()
}

fn volume(root: &Path, dir: &Path, name: &str) -> Volume {
    let node = root.join("dev").join(name);
    let event = fs::read_to_string(dir.join("uevent")).unwrap_or_default();
    let field = |key: &str| event.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
    let number = field("PARTN=").and_then(|text| text.parse().ok());
    let found = head(&node).ok().map(|head| identify(&head)).unwrap_or_default();
    Volume {
        kind: found.0,
        label: found.1,
        uuid: found.2,
        part_label: field("PARTNAME="),
        part_uuid: field("PARTUUID=").map(|text| text.to_lowercase()),
        serials: if number.is_none() { serials(dir) } else { Vec::new() },
        node,
        number,
    }
}

/// What drivers say a disk is: virtio-blk's and NVMe's serial number, SCSI's vital product data (pages 0x80 and 0x83).
fn serials(dir: &Path) -> Vec<String> {
    let mut serials = Vec::new();
    let mut add = |bytes: &[u8]| {
        let text: String = String::from_utf8_lossy(bytes).chars().filter(char::is_ascii_graphic).collect();
        if text.len() >= 3 && !serials.contains(&text) {
            serials.push(text);
        }
    };
    for file in ["serial", "device/serial"] {
        add(fs::read(dir.join(file)).unwrap_or_default().trim_ascii());
    }
    add(fs::read(dir.join("device/vpd_pg80")).unwrap_or_default().get(4..).unwrap_or_default());
    let page = fs::read(dir.join("device/vpd_pg83")).unwrap_or_default();
    let mut rest = page.get(4..).unwrap_or_default();
    // Designators (SPC-4, 7.8.6): code set, type, reserved, length, text when the code set is 2 (ASCII).
    while let [code_set, _, _, length, tail @ ..] = rest {
        let length = usize::from(*length).min(tail.len());
        if code_set & 0x0f == 2 {
            add(&tail[..length]);
        }
        rest = &tail[length..];
    }
    serials
}

type Identity = (Option<&'static str>, Option<String>, Option<String>);

/// Kind, label and UUID of what begins with these bytes.
#[must_use]
pub(super) fn identify(head: &[u8]) -> Identity {
    let text = |at: usize, length: usize| {
        let bytes = head.get(at..at + length)?;
        let text =
            String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).trim_end().to_owned();
        (!text.is_empty()).then_some(text)
    };
    let uuid = |at: usize| {
        let bytes = head.get(at..at + 16).filter(|bytes| bytes.iter().any(|byte| *byte != 0))?;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
    };
    let is = |at: usize, magic: &[u8]| head.get(at..at + magic.len()) == Some(magic);
    if is(1080, b"\x53\xef") {
        let word = |at: usize| head.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        // `EXT4_FEATURE_INCOMPAT_EXTENTS` and `EXT3_FEATURE_COMPAT_HAS_JOURNAL`.
        let kind = match (word(1024 + 96) & 0x40 != 0, word(1024 + 92) & 4 != 0) {
            (true, _) => "ext4",
            (false, true) => "ext3",
            (false, false) => "ext2",
        };
        (Some(kind), text(1024 + 120, 16), uuid(1024 + 104))
    } else if is(0, b"XFSB") {
        (Some("xfs"), text(108, 12), uuid(32))
    } else if is(4086, b"SWAPSPACE2") {
        (Some("swap"), text(1052, 16), uuid(1036))
    } else if is(65_600, b"_BHRfS_M") {
        (Some("btrfs"), text(65_536 + 0x12b, 256), uuid(65_536 + 0x20))
    } else if is(32_769, b"CD001") {
        (Some("iso9660"), text(32_768 + 40, 32), None)
    } else {
        // FAT 32 and the older ones have serial number and label in different places.
        let fat = [(82, 71, 67), (54, 43, 39)].into_iter().find(|(kind, ..)| is(*kind, b"FAT"));
        match fat {
            Some((_, label, serial)) => {
                let uuid =
                    head.get(serial..serial + 4).map(|b| format!("{:02x}{:02x}-{:02x}{:02x}", b[3], b[2], b[1], b[0]));
                (Some("vfat"), text(label, 11).filter(|label| label != "NO NAME"), uuid)
            }
            None => (None, None, None),
        }
    }
}

impl Machine<'_> {
    /// The node of a device, which may come late.
    pub(super) fn device(&self, device: &Device) -> Result<PathBuf, VolumeError> {
        self.await_late(&device.0, || find(self.root, &device.0))
    }

    /// The node of what is to be mounted.
    pub(super) fn source(&self, source: &MountSource) -> Result<PathBuf, VolumeError> {
        let by = |name: String, fits: &dyn Fn(&Volume) -> bool| {
            self.await_late(&name, || volumes(self.root).into_iter().find(fits).map(|volume| volume.node))
        };
        match source {
            MountSource::Device(device) => self.device(device),
            MountSource::Label(label) => by(format!("LABEL={label}"), &|v| v.label.as_deref() == Some(label)),
            MountSource::Uuid(uuid) => by(format!("UUID={uuid}"), &|v| v.uuid.as_deref() == Some(&uuid.to_lowercase())),
            MountSource::PartLabel(label) => {
                by(format!("PARTLABEL={label}"), &|v| v.part_label.as_deref() == Some(label))
            }
            MountSource::PartUuid(uuid) => {
                by(format!("PARTUUID={uuid}"), &|v| v.part_uuid.as_deref() == Some(&uuid.to_lowercase()))
            }
            MountSource::Memory => Ok("tmpfs".into()),
        }
    }
}

/// A device by its path.
fn find(root: &Path, path: &str) -> Option<PathBuf> {
    let name = path.strip_prefix("/dev/")?;
    if let Some(id) = name.strip_prefix("disk/by-id/") {
        return by_id(&volumes(root), id);
    }
    // Users write the names of other hypervisors: their order is the same.
    let others = ["sd", "vd", "xvd"].iter().find_map(|prefix| {
        let rest = name.strip_prefix(prefix)?;
        let letter = rest.starts_with(|c: char| c.is_ascii_lowercase());
        letter.then(|| ["sd", "vd", "xvd"].map(|other| format!("{other}{rest}")))
    });
    let names = std::iter::once(name.to_owned()).chain(others.into_iter().flatten());
    let mut nodes = names.map(|name| root.join("dev").join(name));
    nodes.find(|node| node.exists()).or_else(|| ebs::find(root, name, &identify_controller))
}

fn identify_controller(node: &Path) -> Option<Vec<u8>> {
    sys::identify_controller(&fs::File::open(node).ok()?).ok()
}

/// `virtio-SERIAL`, `scsi-0HC_Volume_123`, `nvme-MODEL_SERIAL`, with `-partN`: udev's names end with a serial number, or
/// with the number of an NVMe namespace behind it.
fn by_id(volumes: &[Volume], id: &str) -> Option<PathBuf> {
    let (id, number) = match id.rsplit_once("-part") {
        Some((id, number)) if number.parse::<u32>().is_ok() => (id, number.parse::<u32>().ok()),
        _ => (id, None),
    };
    let id = ["_1", "-ns-1"].iter().find_map(|namespace| id.strip_suffix(namespace)).unwrap_or(id);
    let disk = volumes
        .iter()
        .find(|volume| volume.number.is_none() && volume.serials.iter().any(|s| id.ends_with(s.as_str())))?;
    let Some(number) = number else { return Some(disk.node.clone()) };
    let stem = disk.node.to_string_lossy().into_owned();
    let part = |v: &&Volume| v.number == Some(number) && v.node.to_string_lossy().starts_with(&stem);
    volumes.iter().find(part).map(|volume| volume.node.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn machine() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let block = |name: &str, event: &str| {
            let dir = root.path().join("sys/class/block").join(name);
            fs::create_dir_all(dir.join("device")).unwrap();
            fs::write(dir.join("uevent"), event).unwrap();
            fs::create_dir_all(root.path().join("dev")).unwrap();
            fs::write(root.path().join("dev").join(name), [0; 4096]).unwrap();
            dir
        };
        fs::write(block("vdb", "DEVNAME=vdb\n").join("serial"), "vol-1234\n").unwrap();
        block("vdb1", "PARTN=1\nPARTNAME=data\nPARTUUID=AB-12\n");
        let scsi = block("sda", "");
        let mut page = b"\0\x83\0\x1b\x02\x01\0\x17".to_vec();
        page.extend(b"HC      Volume  55566677");
        fs::write(scsi.join("device/vpd_pg83"), page).unwrap();
        fs::write(scsi.join("device/vpd_pg80"), b"\0\x80\0\x0855566677").unwrap();
        fs::write(block("nvme1n1", "").join("device/serial"), "vol0123456789abcdef0\n").unwrap();
        root
    }

    #[test]
    fn devices_are_found_by_what_people_call_them() {
        let root = machine();
        let name = |path: &str| {
            find(root.path(), path).map(|node| node.strip_prefix(root.path()).unwrap().display().to_string())
        };
        for (path, want) in [
            ("/dev/vdb", "dev/vdb"),
            ("/dev/xvdb1", "dev/vdb1"),
            ("/dev/disk/by-id/virtio-vol-1234", "dev/vdb"),
            ("/dev/disk/by-id/virtio-vol-1234-part1", "dev/vdb1"),
            ("/dev/disk/by-id/scsi-0HC_Volume_55566677", "dev/sda"),
            ("/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0", "dev/nvme1n1"),
            ("/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0_1", "dev/nvme1n1"),
            ("/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0-ns-1", "dev/nvme1n1"),
        ] {
            assert_eq!(name(path).as_deref(), Some(want), "{path}");
        }
        assert_eq!(
            (name("/dev/vdc"), name("/dev/disk/by-id/x"), name("/dev/disk/by-id/virtio-vol-1234-part2")),
            (None, None, None)
        );
        let part = volumes(root.path()).into_iter().find(|volume| volume.number == Some(1)).unwrap();
        assert_eq!((part.part_label.as_deref(), part.part_uuid.as_deref()), (Some("data"), Some("ab-12")));
    }

    #[test]
    fn file_systems_are_known_by_their_first_bytes() {
        let mut ext = vec![0; 8192];
        ext[1080..1082].copy_from_slice(b"\x53\xef");
        ext[1024 + 96] = 0x40;
        ext[1024 + 104..1024 + 120].copy_from_slice(&[0xab; 16]);
        ext[1024 + 120..1024 + 124].copy_from_slice(b"data");
        let uuid = "abababab-abab-abab-abab-abababababab".to_owned();
        assert_eq!(identify(&ext), (Some("ext4"), Some("data".into()), Some(uuid)));
        let mut fat = vec![0; 512];
        fat[54..59].copy_from_slice(b"FAT16");
        fat[39..43].copy_from_slice(&[0x78, 0x56, 0x34, 0x12]);
        fat[43..54].copy_from_slice(b"CIDATA     ");
        assert_eq!(identify(&fat), (Some("vfat"), Some("CIDATA".into()), Some("1234-5678".into())));
        assert_eq!(identify(&[0; 512]), (None, None, None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_identified(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let _ = identify(&bytes);
        }
    }
}
