//! The first backup of an ext superblock: what is left of a file system whose own superblock is damaged.
//!
//! A state partition without a superblock looks like a new one. Before it is formatted, this module looks where the
//! first backup would lie: at the beginning of block group 1, whose place depends on the size of a block alone.

use std::io::{self, Read, Seek, SeekFrom, Write};

use super::probe::{self, Ext};

/// Size of a superblock in bytes.
const SUPERBLOCK: u64 = 1024;

/// Where a backup lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Size of a block in bytes.
    pub block_size: u64,
    /// The block that it begins, counted from 0.
    pub block: u64,
}

impl Place {
    /// Distance from the beginning of the file system, in bytes.
    const fn offset(self) -> u64 {
        self.block * self.block_size
    }
}

/// The places by block size: a group has eight blocks for every byte of a block, and with blocks of 1 KiB the first
/// group begins at block 1.
pub const PLACES: [Place; 3] = [
    Place { block_size: 4096, block: 32_768 },
    Place { block_size: 1024, block: 8193 },
    Place { block_size: 2048, block: 16_384 },
];

/// The backup of a file system with this size of a block, judged from the bytes at its place.
#[must_use]
pub fn parse(bytes: &[u8], block_size: u64) -> Option<Ext> {
    probe::superblock(bytes).filter(|ext| ext.block_size == block_size)
}

/// Looks for a backup on a device. A place behind the end of the device holds none.
///
/// # Errors
/// When the device cannot be read.
pub fn find(device: &mut (impl Read + Seek)) -> io::Result<Option<(Place, Ext)>> {
    for place in PLACES {
        let mut bytes = Vec::new();
        device.seek(SeekFrom::Start(place.offset()))?;
        device.take(SUPERBLOCK).read_to_end(&mut bytes)?;
        if let Some(ext) = parse(&bytes, place.block_size) {
            return Ok(Some((place, ext)));
        }
    }
    Ok(None)
}

/// Clears every place in a new partition, which begins at `start` and has `length` bytes: what lay there before it was
/// made is nobody's.
///
/// # Errors
/// When the disk cannot be written.
pub fn clear(disk: &mut (impl Write + Seek), start: u64, length: u64) -> io::Result<()> {
    for place in PLACES.into_iter().filter(|place| place.offset() + SUPERBLOCK <= length) {
        disk.seek(SeekFrom::Start(start + place.offset()))?;
        disk.write_all(&[0; SUPERBLOCK as usize])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Cursor, os::unix::fs::FileExt as _, process::Command};

    use proptest::prelude::*;

    use super::*;
    use crate::init::state::probe::{Content, WINDOW, probe};

    /// A real file system whose own superblock is gone.
    fn damaged(place: Place, label: &str) -> File {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(2 * place.offset()).unwrap();
        let made = Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-b", &place.block_size.to_string(), "-L", label])
            .arg(file.path())
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .status();
        assert!(made.is_ok_and(|status| status.success()), "mke2fs is needed by this test (package e2fsprogs)");
        let file = file.reopen().unwrap();
        file.write_all_at(&[0; 1024], 1024).unwrap();
        file
    }

    #[test]
    fn a_file_system_without_its_superblock_is_found_by_its_backup() {
        for place in PLACES {
            let mut file = damaged(place, "steppe-state");
            let mut head = vec![0; WINDOW];
            file.read_exact_at(&mut head, 0).unwrap();
            assert!(matches!(probe(&head), Content::Blank | Content::Unknown), "the case that was formatted");
            let (at, ext) = find(&mut file).unwrap().expect("a backup");
            assert_eq!((at, ext.label.as_str()), (place, "steppe-state"));
            let length = file.metadata().unwrap().len();
            clear(&mut file, 0, length).unwrap();
            assert_eq!(find(&mut file).unwrap(), None);
        }
    }

    #[test]
    fn the_label_of_an_unfinished_one_is_in_its_backup_too() {
        let (_, ext) = find(&mut damaged(PLACES[1], probe::UNFINISHED_LABEL)).unwrap().expect("a backup");
        assert_eq!(ext.label, probe::UNFINISHED_LABEL);
    }

    #[test]
    fn a_small_device_has_none_and_nothing_behind_it_is_cleared() {
        assert_eq!(find(&mut Cursor::new(vec![0; 4096])).unwrap(), None);
        let mut disk = Cursor::new(vec![1; 10 << 20]);
        clear(&mut disk, 0, 8193 * 1024).unwrap();
        assert!(disk.get_ref().iter().all(|byte| *byte == 1));
        clear(&mut disk, 1024, 8194 * 1024).unwrap();
        assert_eq!(disk.get_ref().iter().filter(|byte| **byte == 0).count(), 1024);
        assert_eq!(disk.get_ref()[8194 * 1024], 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..2048), size: u64) {
            prop_assert!(parse(&bytes, size).is_none_or(|ext| ext.block_size == size));
        }
    }
}
