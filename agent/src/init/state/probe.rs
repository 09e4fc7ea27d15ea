//! What lies on a block device, judged from its first bytes. Nothing that is recognised here is ever formatted.

/// ext4 label of a file system whose making was not finished: nobody has ever used it.
pub const UNFINISHED_LABEL: &str = "steppe-new";

/// How many bytes [`probe`] wants to see.
pub const WINDOW: usize = 128 * 1024;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Only zero bytes.
    Blank,
    /// Bytes that belong to no format that is known here.
    Unknown,
    /// ext2, ext3 or ext4.
    Ext(Ext),
    /// Somebody else's data.
    Other(&'static str),
}

/// The part of an ext superblock that is used here (`struct ext4_super_block`, `fs/ext4/ext4.h`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ext {
    /// Volume label.
    pub label: String,
    /// Size of a block in bytes.
    pub block_size: u64,
    /// Number of blocks.
    pub blocks: u64,
    /// Whether it was unmounted in order and knows of no error.
    pub clean: bool,
}

/// `EXT4_VALID_FS` and `EXT4_ERROR_FS` of the field `s_state`.
const VALID: u16 = 1;
const ERROR: u16 = 2;
/// `EXT4_FEATURE_INCOMPAT_RECOVER`: the journal holds what the file system does not.
const RECOVER: u64 = 4;
/// `EXT4_FEATURE_INCOMPAT_64BIT`.
const WIDE: u64 = 0x80;

/// Signatures of other formats: name, position, bytes.
const OTHERS: [(&str, usize, &[u8]); 17] = [
    ("xfs", 0, b"XFSB"),
    ("btrfs", 65_600, b"_BHRfS_M"),
    ("bcachefs or bcache", 4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca"),
    ("f2fs", 1024, b"\x10\x20\xf5\xf2"),
    ("erofs", 1024, b"\xe2\xe1\xf5\xe0"),
    ("squashfs", 0, b"hsqs"),
    ("LUKS", 0, b"LUKS\xba\xbe"),
    ("an LVM volume", 512, b"LABELONE"),
    ("an LVM volume", 536, b"LVM2 001"),
    ("swap", 4086, b"SWAPSPACE2"),
    ("an ISO image", 32_769, b"CD001"),
    ("a UDF volume", 32_769, b"BEA01"),
    ("a partition table", 512, b"EFI PART"),
    ("a RAID member", 4096, b"\xfc\x4e\x2b\xa9"),
    ("ntfs", 3, b"NTFS    "),
    ("dm-verity hashes", 0, b"verity\0\0"),
    // FAT, and anything else with a boot sector or an MBR.
    ("a boot sector", 510, b"\x55\xaa"),
];

/// Judges the first [`WINDOW`] bytes of a device (fewer when it is smaller).
#[must_use]
pub fn probe(head: &[u8]) -> Content {
    if let Some(ext) = head.get(1024..).and_then(superblock) {
        return Content::Ext(ext);
    }
    let other = OTHERS.iter().find(|(_, at, magic)| head.get(*at..*at + magic.len()) == Some(*magic));
    match other {
        Some((name, ..)) => Content::Other(name),
        None if head.iter().all(|byte| *byte == 0) => Content::Blank,
        None => Content::Unknown,
    }
}

/// Reads an ext superblock, of which the first 1024 bytes count; `None` when it is none.
pub(super) fn superblock(bytes: &[u8]) -> Option<Ext> {
    let block = bytes.get(..1024)?;
    let u32_at = |at: usize| u64::from(u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]));
    if block[56..58] != [0x53, 0xef] {
        return None;
    }
    // A damaged exponent must not shift a size out of its type; the file system's own check will refuse it.
    let block_size = 1024_u64 << u32_at(24).min(6);
    let label = block[120..136].split(|byte| *byte == 0).next().unwrap_or_default();
    // The upper half of the number counts only with the feature `64bit`.
    let high = if u32_at(96) & WIDE == 0 { 0 } else { u32_at(336) << 32 };
    let state = u16::from_le_bytes([block[58], block[59]]);
    let clean = state & (VALID | ERROR) == VALID && u32_at(96) & RECOVER == 0;
    Some(Ext { label: String::from_utf8_lossy(label).into_owned(), block_size, blocks: u32_at(4) | high, clean })
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zeros_are_blank_and_noise_is_not() {
        assert_eq!(probe(&[0; WINDOW]), Content::Blank);
        let mut noise = vec![0; WINDOW];
        noise[100_000] = 1;
        assert_eq!(probe(&noise), Content::Unknown);
    }

    #[test]
    fn other_formats_are_recognised() {
        for (name, at, magic) in OTHERS {
            let mut head = vec![0; WINDOW];
            head[at..at + magic.len()].copy_from_slice(magic);
            assert_eq!(probe(&head), Content::Other(name));
        }
    }

    #[test]
    fn what_mke2fs_makes_is_recognised() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(16 << 20).unwrap();
        let made = Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-L", "steppe-state"])
            .arg(file.path())
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .status();
        assert!(made.is_ok_and(|status| status.success()), "mke2fs is needed by this test (package e2fsprogs)");
        let bytes = fs::read(file.path()).unwrap();
        let ext = Ext { label: "steppe-state".into(), block_size: 4096, blocks: 4096, clean: true };
        assert_eq!(probe(&bytes[..WINDOW]), Content::Ext(ext));
        for (at, value) in [(1024 + 58, 0), (1024 + 58, 3), (1024 + 96, bytes[1024 + 96] | 4)] {
            let mut unclean = bytes[..WINDOW].to_vec();
            unclean[at] = value;
            assert!(matches!(probe(&unclean), Content::Ext(Ext { clean: false, .. })), "{at} {value}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let blank = bytes.iter().all(|byte| *byte == 0);
            prop_assert_eq!(probe(&bytes) == Content::Blank, blank);
        }

        #[test]
        fn any_superblock_is_judged(mut bytes in proptest::collection::vec(any::<u8>(), 2048)) {
            bytes[1080..1082].copy_from_slice(&[0x53, 0xef]);
            prop_assert!(matches!(probe(&bytes), Content::Ext(_)));
        }
    }
}
