//! The names that people give EBS volumes, on machines where those are NVMe disks.
//!
//! Whoever attaches a volume calls it `/dev/sdf` or `/dev/xvdf`; the kernel calls it `nvme1n1`, in the order in which the
//! volumes happen to answer. EC2 writes the name into the vendor's part of the controller's identify data, where its own
//! `ebsnvme-id` and udev rules read it.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// `MN` of the volumes.
const MODEL: &[u8] = b"Amazon Elastic Block Store";
/// `VID` of the volumes.
const VENDOR: u16 = 0x1d0f;

/// The name in a page of identify data (NVM Express Base Specification, Identify Controller: `VID` at 0, `MN` at 24, the
/// vendor's own bytes from 3072), without `/dev/`. Nothing when another vendor made the page, or left no name.
#[must_use]
pub fn volume_name(page: &[u8]) -> Option<&str> {
    if page.get(..2)? != VENDOR.to_le_bytes() || page.get(24..64)?.trim_ascii() != MODEL {
        return None;
    }
    let name = page.get(3072..3104)?.split(|byte| *byte == 0).next()?.trim_ascii();
    let name = name.strip_prefix(b"/dev/").unwrap_or(name);
    let plain = !name.is_empty() && name.iter().all(u8::is_ascii_alphanumeric);
    std::str::from_utf8(name).ok().filter(|_| plain)
}

/// What is left of `sdf1`, `xvdf1` and `vdf1` alike: `f1`.
fn letters(name: &str) -> Option<&str> {
    let rest = ["sd", "xvd", "vd"].iter().find_map(|prefix| name.strip_prefix(prefix))?;
    rest.starts_with(|c: char| c.is_ascii_lowercase()).then_some(rest)
}

/// The node of the volume, or of the partition of a volume, that was attached by this name; `identify` gives a disk's page.
pub(super) fn find(root: &Path, name: &str, identify: &dyn Fn(&Path) -> Option<Vec<u8>>) -> Option<PathBuf> {
    let wanted = letters(name)?;
    let mut partition = None;
    for entry in fs::read_dir(root.join("sys/class/block")).ok()?.flatten() {
        // No other disk is bothered with a question; a partition has no `device`.
        let model = fs::read(entry.path().join("device/model")).unwrap_or_default();
        if model.trim_ascii() != MODEL {
            continue;
        }
        let node = root.join("dev").join(entry.file_name());
        let Some(page) = identify(&node) else { continue };
        let rest = volume_name(&page).and_then(letters).and_then(|attached| wanted.strip_prefix(attached));
        match rest {
            Some("") => return Some(node),
            Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                partition = Some(PathBuf::from(format!("{}p{number}", node.display())));
            }
            _ => {}
        }
    }
    partition.filter(|node| node.exists())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The page as EC2 gives it, with spaces behind what is short.
    fn page(name: &str) -> Vec<u8> {
        let mut page = vec![0; 4096];
        page[..4].copy_from_slice(&[0x0f, 0x1d, 0x0f, 0x1d]);
        page[4..24].copy_from_slice(b"vol0123456789abcdef0");
        page[24..64].copy_from_slice(format!("{:<40}", "Amazon Elastic Block Store").as_bytes());
        page[64..72].copy_from_slice(b"1.0     ");
        page[3072..3104].copy_from_slice(format!("{name:<32}").as_bytes());
        page
    }

    #[test]
    fn the_name_is_in_the_vendors_bytes() {
        assert_eq!(volume_name(&page("/dev/sdf")), Some("sdf"));
        assert_eq!(volume_name(&page("xvdf")), Some("xvdf"));
        assert_eq!((volume_name(&page("")), volume_name(&page("../../etc"))), (None, None));
        let mut other = page("sdf");
        other[0] = 0x36;
        assert_eq!((volume_name(&other), volume_name(&page("sdf")[..3100])), (None, None));
        other = page("sdf");
        other[24..64].copy_from_slice(format!("{:<40}", "Amazon EC2 NVMe Instance Storage").as_bytes());
        assert_eq!(volume_name(&other), None);
    }

    #[test]
    fn volumes_are_found_by_the_names_that_they_were_attached_by() {
        let root = tempfile::tempdir().unwrap();
        let volumes = [("nvme0n1", "/dev/xvda"), ("nvme1n1", "sdg"), ("nvme2n1", "/dev/sdf"), ("nvme3n1", "sda1")];
        for (disk, _) in volumes {
            let dir = root.path().join("sys/class/block").join(disk).join("device");
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("model"), format!("{:<40}\n", "Amazon Elastic Block Store")).unwrap();
            fs::create_dir_all(root.path().join("dev")).unwrap();
            for node in [disk.to_owned(), format!("{disk}p1")] {
                fs::write(root.path().join("dev").join(node), "").unwrap();
            }
        }
        let of = |name: &str| {
            let identify = |node: &Path| {
                let disk = node.file_name()?.to_str()?;
                volumes.iter().find(|(volume, _)| *volume == disk).map(|(_, name)| page(name))
            };
            find(root.path(), name, &identify).map(|node| node.file_name().unwrap().to_str().unwrap().to_owned())
        };
        for (name, want) in [
            ("sdf", "nvme2n1"),
            ("xvdf", "nvme2n1"),
            ("xvdf1", "nvme2n1p1"),
            ("sdg", "nvme1n1"),
            // A volume whose own name ends with a number is meant before a partition of another one.
            ("sda1", "nvme3n1"),
            ("sda", "nvme0n1"),
        ] {
            assert_eq!(of(name).as_deref(), Some(want), "{name}");
        }
        for name in ["sdh", "sdf2", "sdfx", "nvme1n1", "sd", "xvd1", ""] {
            assert_eq!(of(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_page_has_a_plain_name_or_none(mut page in proptest::collection::vec(any::<u8>(), 0..4200), name in "(/dev/)?[a-z0-9 /.\0]{0,32}", ours: bool) {
            if ours && page.len() >= 3104 {
                page[..2].copy_from_slice(&VENDOR.to_le_bytes());
                page[24..64].copy_from_slice(format!("{:<40}", "Amazon Elastic Block Store").as_bytes());
                page[3072..3072 + name.len().min(32)].copy_from_slice(&name.as_bytes()[..name.len().min(32)]);
            }
            if let Some(name) = volume_name(&page) {
                prop_assert!(!name.is_empty() && name.len() <= 32 && name.bytes().all(|b| b.is_ascii_alphanumeric()));
            }
        }
    }
}
