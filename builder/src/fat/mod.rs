//! FAT32 volumes with a tree of files, as firmware and boot programs read them.
//!
//! Written by hand after Microsoft's "FAT: General Overview of On-Disk Format" 1.03: each file lies in one piece, which boot
//! programs like and some demand, and the same files always make the same bytes.

mod layout;
mod name;
mod reader;
mod tree;

use std::{collections::BTreeMap, ops::Range};

pub use self::reader::Reader;
use self::{
    layout::{BACKUP, Layout, ROOT, TABLES, index},
    tree::Tree,
};

const END_OF_CHAIN: u32 = 0x0fff_ffff;
const DIRECTORY: u8 = 0x10;
const VOLUME_LABEL: u8 = 0x08;
const ARCHIVE: u8 = 0x20;
const HIDDEN: u8 = 0x02;
const SYSTEM: u8 = 0x04;
/// 1 January 1980, the oldest date that the format knows. It has local time without a zone, so none would be right.
const DATE: u16 = 1 << 5 | 1;

/// A file of a volume.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Its path from the root, without a slash in front. Directories come of themselves.
    pub path: &'a str,
    /// What is in it.
    pub bytes: &'a [u8],
    /// Whether it is the boot program's own: hidden, and not to be moved.
    pub system: bool,
}

impl<'a> File<'a> {
    /// An ordinary file.
    #[must_use]
    pub const fn new(path: &'a str, bytes: &'a [u8]) -> Self {
        Self { path, bytes, system: false }
    }
}

/// A volume's name and number.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// Eleven characters, padded with spaces.
    pub label: [u8; 11],
    /// The number.
    pub id: u32,
}

/// A volume in memory.
#[derive(Debug)]
pub struct Volume {
    /// All of it.
    pub bytes: Vec<u8>,
    /// Bytes that are free.
    pub free: u64,
    places: BTreeMap<String, Range<usize>>,
}

impl Volume {
    /// Makes a volume of `size` bytes.
    ///
    /// # Errors
    /// When the size is none for the format, the files do not fit, or a path cannot be written.
    pub fn make(size: u64, identity: Identity, files: &[File<'_>]) -> Result<Self, FatError> {
        let layout = Layout::of(size)?;
        let tree = Tree::of(files)?;
        if let Some(file) = files.iter().find(|file| u32::try_from(file.bytes.len()).is_err()) {
            return Err(FatError::Path { path: file.path.to_owned(), why: "it has 4 GiB or more" });
        }
        let directories: Vec<_> = tree.directories.iter().map(tree::Directory::records).collect();
        // Directories first, then files, each in one piece.
        let lengths = directories.iter().map(|records| records * 32).chain(files.iter().map(|f| f.bytes.len()));
        let needed: u64 = lengths.clone().map(|length| layout.clusters_of(length)).sum();
        let full = || FatError::Full { needed: needed * layout.cluster_size(), size };
        let free =
            u32::try_from(needed).ok().and_then(|needed| layout.clusters.checked_sub(needed)).ok_or_else(full)?;
        let mut table: Vec<u32> = vec![0x0fff_fff8, END_OF_CHAIN];
        let mut starts = Vec::new();
        for length in lengths {
            let first = u32::try_from(table.len()).map_err(|_| full())?;
            let count = u32::try_from(layout.clusters_of(length)).map_err(|_| full())?;
            starts.push(if count == 0 { 0 } else { first });
            table.extend((1..=count).map(|next| if next == count { END_OF_CHAIN } else { first + next }));
        }

        let mut bytes = vec![0; index(size)];
        let used = layout.clusters - free;
        for at in [0, BACKUP] {
            put(&mut bytes, at * 512, &boot_sector(&layout, identity));
            put(&mut bytes, (at + 1) * 512, &information(free, ROOT + used));
        }
        let table: Vec<u8> = table.into_iter().flat_map(u32::to_le_bytes).collect();
        for number in 0..TABLES {
            put(&mut bytes, layout.table(number), &table);
        }
        let (of_directories, of_files) = starts.split_at(directories.len());
        for (directory, start) in tree.directories.iter().zip(of_directories) {
            put(&mut bytes, layout.cluster(*start), &directory.bytes(identity.label, of_directories, of_files, files));
        }
        let mut places = BTreeMap::new();
        for (file, start) in files.iter().zip(of_files) {
            let at = if *start == 0 { 0 } else { layout.cluster(*start) };
            put(&mut bytes, at, file.bytes);
            places.insert(file.path.to_owned(), at..at + file.bytes.len());
        }
        Ok(Self { bytes, free: u64::from(free) * layout.cluster_size(), places })
    }

    /// Where the bytes of a file are.
    #[must_use]
    pub fn place(&self, path: &str) -> Option<Range<usize>> {
        self.places.get(path).cloned()
    }

    /// Puts the code of a boot program around the volume's parameters, in the boot sector and its backup: `sector` is a whole
    /// boot sector for FAT32, whose own parameters do not count.
    pub fn set_boot_code(&mut self, sector: &[u8; 512]) {
        for at in [0, BACKUP * 512] {
            // The jump over the parameters and the name of the system that wrote them; then what follows the parameters.
            for part in [0..11, 90..510] {
                put(&mut self.bytes, at + part.start, &sector[part]);
            }
        }
    }
}

fn boot_sector(layout: &Layout, identity: Identity) -> [u8; 512] {
    let mut sector = [0; 512];
    // A jump over the parameters to code that there is none of, as every reader expects it.
    put(&mut sector, 0, b"\xeb\x58\x90MSWIN4.1");
    put(&mut sector, 11, &512u16.to_le_bytes());
    sector[13] = layout.per_cluster.to_le_bytes()[0];
    put(&mut sector, 14, &32u16.to_le_bytes());
    sector[16] = 2;
    sector[21] = 0xf8;
    // A geometry for machines that ask; none does.
    put(&mut sector, 24, &63u16.to_le_bytes());
    put(&mut sector, 26, &255u16.to_le_bytes());
    put(&mut sector, 32, &layout.sectors.to_le_bytes());
    put(&mut sector, 36, &layout.per_table.to_le_bytes());
    put(&mut sector, 44, &ROOT.to_le_bytes());
    put(&mut sector, 48, &1u16.to_le_bytes());
    put(&mut sector, 50, &6u16.to_le_bytes());
    sector[64] = 0x80;
    sector[66] = 0x29;
    put(&mut sector, 67, &identity.id.to_le_bytes());
    put(&mut sector, 71, &identity.label);
    put(&mut sector, 82, b"FAT32   ");
    put(&mut sector, 510, &[0x55, 0xaa]);
    sector
}

/// The sector that says how much is free, and where to look for it.
fn information(free: u32, next: u32) -> [u8; 512] {
    let mut sector = [0; 512];
    put(&mut sector, 0, b"RRaA");
    put(&mut sector, 484, b"rrAa");
    put(&mut sector, 488, &free.to_le_bytes());
    put(&mut sector, 492, &next.to_le_bytes());
    put(&mut sector, 510, &[0x55, 0xaa]);
    sector
}

fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    to[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Why a volume cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FatError {
    /// Below what FAT32 needs.
    #[error("{0} bytes are too few for FAT32, which starts at 35MiB")]
    Small(u64),
    /// Beyond what the format can name.
    #[error("{0} bytes are too many for FAT32")]
    Large(u64),
    /// The files do not fit.
    #[error("files of {needed} bytes do not fit into a FAT32 of {size}")]
    Full {
        /// Bytes of the files and directories, in whole clusters.
        needed: u64,
        /// Bytes of the volume.
        size: u64,
    },
    /// A path cannot be written.
    #[error("FAT32 cannot have a file {path:?}: {why}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read as _};

    use fatfs::{FatType, FileSystem, FsOptions};
    use proptest::prelude::*;

    use super::*;

    const NAME: Identity = Identity { label: *b"STEPPE-ESP ", id: 7 };

    /// Bytes that tell a file from others, and its places from each other.
    fn content(seed: u32, length: usize) -> Vec<u8> {
        (0..).map(|n: u32| n.wrapping_mul(2_654_435_761).wrapping_add(seed).to_le_bytes()[3]).take(length).collect()
    }

    /// Another reader finds every file, nothing else, and every cluster accounted for.
    fn read_back(volume: &Volume, files: &[File<'_>]) {
        let fs = FileSystem::new(Cursor::new(volume.bytes.clone()), FsOptions::new()).unwrap();
        assert_eq!((fs.fat_type(), fs.volume_id(), fs.volume_label()), (FatType::Fat32, 7, "STEPPE-ESP".to_owned()));
        let stats = fs.stats().unwrap();
        assert!(u64::from(stats.total_clusters()) >= layout::FAT32_CLUSTERS);
        // The count in the information sector is the one that comes of counting.
        let table = &volume.bytes[32 * 512..];
        let entries = table.chunks(4).take(2 + usize::try_from(stats.total_clusters()).unwrap());
        let empty = entries.filter(|entry| *entry == [0; 4]).count();
        assert_eq!(stats.free_clusters(), u32::try_from(empty).unwrap());
        for file in files {
            let mut read = Vec::new();
            fs.root_dir().open_file(file.path).unwrap().read_to_end(&mut read).unwrap();
            assert!(read == file.bytes, "{}", file.path);
            assert!(&volume.bytes[volume.place(file.path).unwrap()] == file.bytes, "{} is not in one piece", file.path);
        }
        let mut found = Vec::new();
        let mut open = vec![(String::new(), fs.root_dir())];
        while let Some((path, directory)) = open.pop() {
            for entry in directory.iter().map(Result::unwrap).filter(|e| ![".", ".."].contains(&e.file_name().as_str()))
            {
                let path = format!("{path}{}", entry.file_name());
                if entry.is_dir() {
                    open.push((format!("{path}/"), entry.to_dir()));
                } else {
                    found.push(path);
                }
            }
        }
        found.sort();
        let mut wanted: Vec<&str> = files.iter().map(|file| file.path).collect();
        wanted.sort_unstable();
        assert_eq!(found, wanted);
    }

    #[test]
    fn another_reader_finds_the_files() {
        let (program, entry) = (content(1, 124_416), content(2, 1_000_001));
        let files = [
            File::new("EFI/BOOT/BOOTX64.EFI", &program),
            File::new("EFI/Linux/steppe-0000000001-a+3.efi", &entry),
            File::new("loader/loader.conf", b"timeout 0\n"),
            File { path: "syslinux/ldlinux.sys", bytes: &program, system: true },
            File::new("empty", b""),
        ];
        for size in [35 << 20, 64 << 20, 300 << 20] {
            let volume = Volume::make(size, NAME, &files).unwrap();
            assert_eq!(volume.bytes.len() as u64, size);
            read_back(&volume, &files);
        }
    }

    #[test]
    fn a_directory_may_have_more_than_a_cluster() {
        let names: Vec<String> = (0..100).map(|n| format!("directory/a long name, number {n}")).collect();
        let files: Vec<_> = names.iter().map(|name| File::new(name, name.as_bytes())).collect();
        read_back(&Volume::make(35 << 20, NAME, &files).unwrap(), &files);
    }

    #[test]
    fn boot_code_leaves_the_parameters() {
        let mut volume = Volume::make(35 << 20, NAME, &[File::new("a", b"b")]).unwrap();
        let before = volume.bytes.clone();
        volume.set_boot_code(&[0xcc; 512]);
        for at in [0, 6 * 512] {
            assert_eq!(volume.bytes[at + 11..at + 90], before[at + 11..at + 90]);
            assert_eq!(volume.bytes[at + 510..at + 512], [0x55, 0xaa]);
            assert_eq!((volume.bytes[at], volume.bytes[at + 90], volume.bytes[at + 509]), (0xcc, 0xcc, 0xcc));
        }
        read_back(&volume, &[File::new("a", b"b")]);
    }

    #[test]
    fn what_cannot_be_is_named() {
        let make = |size, files: &[File<'_>]| Volume::make(size, NAME, files).unwrap_err();
        assert_eq!(make(16 << 20, &[]), FatError::Small(16 << 20));
        assert_eq!(make(4 << 40, &[]), FatError::Large(4 << 40));
        let large = vec![0; 36 << 20];
        assert!(matches!(make(36 << 20, &[File::new("a", &large)]), FatError::Full { .. }));
        let twice = make(36 << 20, &[File::new("EFI/a", b""), File::new("efi/A", b"")]);
        assert!(twice.to_string().contains("\"efi/A\": it is there twice"), "{twice}");
        let both = make(36 << 20, &[File::new("EFI", b""), File::new("EFI/a", b"")]);
        assert!(both.to_string().contains("a directory of it is a file"), "{both}");
        let both = make(36 << 20, &[File::new("EFI/a", b""), File::new("EFI", b"")]);
        assert!(both.to_string().contains("there twice"), "{both}");
        for path in ["", "/a", "a//b", "a/"] {
            assert!(make(36 << 20, &[File::new(path, b"")]).to_string().contains("empty"), "{path:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn any_tree_is_read_back(
            paths in prop::collection::vec("[a-c][A-C .+~]{0,3}[a-b]{1,20}(/[ab.][B1-3+, -]{0,16}[a-b]){0,2}", 1..24),
            lengths in prop::collection::vec(0usize..5000, 24),
        ) {
            let bytes: Vec<_> = (0..).zip(&lengths).map(|(seed, length)| content(seed, *length)).collect();
            let mut files: Vec<File<'_>> = Vec::new();
            for (path, bytes) in paths.iter().zip(&bytes) {
                files.push(File::new(path, bytes));
                if Tree::of(&files).is_err() {
                    files.pop();
                }
            }
            let volume = Volume::make(35 << 20, NAME, &files).unwrap();
            read_back(&volume, &files);
        }
    }
}
