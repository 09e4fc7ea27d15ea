//! The EFI system partition: FAT32 with one file, `EFI/BOOT/BOOTX64.EFI`.
//!
//! Written by hand after Microsoft's "FAT: General Overview of On-Disk Format" 1.03. The tree is always the same and each name
//! has eight letters and three, so there is little to write; and the file lies in one piece, which boot programs like.

const SECTOR: u64 = 512;
const RESERVED: u64 = 32;
const BACKUP: usize = 6;
const TABLES: u64 = 2;
/// The fewest clusters of a FAT32. Firmware tells the kind from their number, whatever the boot sector says.
const FAT32_CLUSTERS: u64 = 65_525;
const END_OF_CHAIN: u32 = 0x0fff_ffff;
const LABEL: &[u8; 11] = b"STEPPE-ESP ";
const DIRECTORY: u8 = 0x10;
const VOLUME_LABEL: u8 = 0x08;
const ARCHIVE: u8 = 0x20;
/// 1 January 1980, the oldest date that the format knows. It has local time without a zone, so none would be right.
const DATE: u16 = 1 << 5 | 1;
/// Clusters of the three directories; the file follows.
const ROOT: u32 = 2;
const EFI: u32 = 3;
const BOOT: u32 = 4;
const FILE: u32 = 5;

/// Where things are in the partition.
struct Layout {
    sectors: u32,
    per_cluster: u32,
    per_table: u32,
    clusters: u32,
}

impl Layout {
    /// The largest cluster with which it still is FAT32: fewer entries for the firmware to walk.
    fn of(size: u64) -> Result<Self, EspError> {
        let sectors = u32::try_from(size / SECTOR).map_err(|_| EspError::Large(size))?;
        [8u32, 4, 2, 1]
            .into_iter()
            .find_map(|per_cluster| {
                let entries = u64::from(sectors / per_cluster) + 2;
                let per_table = entries.div_ceil(SECTOR / 4);
                let data = u64::from(sectors).checked_sub(RESERVED + TABLES * per_table)?;
                let clusters = data / u64::from(per_cluster);
                let per_table = u32::try_from(per_table).ok()?;
                let clusters = u32::try_from(clusters).ok()?;
                // Readers differ by a few clusters in where FAT16 ends.
                (u64::from(clusters) > FAT32_CLUSTERS + 16).then_some(Self {
                    sectors,
                    per_cluster,
                    per_table,
                    clusters,
                })
            })
            .ok_or(EspError::Small(size))
    }

    fn table(&self, number: u64) -> usize {
        index((RESERVED + number * u64::from(self.per_table)) * SECTOR)
    }

    fn cluster_size(&self) -> u64 {
        u64::from(self.per_cluster) * SECTOR
    }

    fn cluster(&self, number: u32) -> usize {
        self.table(TABLES) + index(u64::from(number - ROOT) * self.cluster_size())
    }
}

/// The bytes of a partition of `size` bytes with `image` as its boot program.
///
/// # Errors
/// When the partition is too small for the format or the image.
pub fn build(size: u64, volume_id: u32, image: &[u8]) -> Result<Vec<u8>, EspError> {
    let layout = Layout::of(size)?;
    let full = || EspError::Full { image: image.len() as u64, size };
    let length = u32::try_from(image.len()).map_err(|_| full())?;
    let needed = u32::try_from(u64::from(length).div_ceil(layout.cluster_size())).map_err(|_| full())?;
    // The three directories come first.
    let free = layout.clusters.checked_sub(3 + needed).ok_or_else(full)?;
    let first = if needed == 0 { 0 } else { FILE };

    let mut disk = vec![0; index(size)];
    for at in [0, BACKUP] {
        put(&mut disk, at * 512, &boot_sector(&layout, volume_id));
        put(&mut disk, (at + 1) * 512, &information(free, FILE + needed));
    }
    let mut table: Vec<u32> = vec![0x0fff_fff8, END_OF_CHAIN, END_OF_CHAIN, END_OF_CHAIN, END_OF_CHAIN];
    table.extend((1..=needed).map(|next| if next == needed { END_OF_CHAIN } else { FILE + next }));
    let table: Vec<u8> = table.into_iter().flat_map(u32::to_le_bytes).collect();
    for number in 0..TABLES {
        put(&mut disk, layout.table(number), &table);
    }
    let directories = [
        (ROOT, [entry(LABEL, VOLUME_LABEL, 0, 0), entry(b"EFI        ", DIRECTORY, EFI, 0)].concat()),
        (EFI, [dots(EFI, 0), entry(b"BOOT       ", DIRECTORY, BOOT, 0).to_vec()].concat()),
        (BOOT, [dots(BOOT, EFI), entry(b"BOOTX64 EFI", ARCHIVE, first, length).to_vec()].concat()),
    ];
    for (cluster, bytes) in directories {
        put(&mut disk, layout.cluster(cluster), &bytes);
    }
    put(&mut disk, layout.cluster(FILE), image);
    Ok(disk)
}

fn boot_sector(layout: &Layout, volume_id: u32) -> [u8; 512] {
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
    put(&mut sector, 67, &volume_id.to_le_bytes());
    put(&mut sector, 71, LABEL);
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

fn entry(name: &[u8; 11], attributes: u8, cluster: u32, size: u32) -> [u8; 32] {
    let mut entry = [0; 32];
    put(&mut entry, 0, name);
    entry[11] = attributes;
    for at in [16, 18, 24] {
        put(&mut entry, at, &DATE.to_le_bytes());
    }
    let [low, second, third, high] = cluster.to_le_bytes();
    put(&mut entry, 20, &[third, high]);
    put(&mut entry, 26, &[low, second]);
    put(&mut entry, 28, &size.to_le_bytes());
    entry
}

/// The entries of a directory for itself and the one above, which is zero for the root.
fn dots(itself: u32, above: u32) -> Vec<u8> {
    [entry(b".          ", DIRECTORY, itself, 0), entry(b"..         ", DIRECTORY, above, 0)].concat()
}

fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    to[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Partitions are in memory, so places in them fit.
fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Why the partition cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EspError {
    /// Below what FAT32 needs.
    #[error("an EFI system partition of {0} bytes cannot be FAT32: raise disk.esp to 35MiB or more")]
    Small(u64),
    /// Beyond what the format can name.
    #[error("an EFI system partition of {0} bytes is too large for FAT32: lower disk.esp")]
    Large(u64),
    /// The image does not fit.
    #[error("a boot image of {image} bytes does not fit into an EFI system partition of {size}: raise disk.esp")]
    Full {
        /// Bytes of the image.
        image: u64,
        /// Bytes of the partition.
        size: u64,
    },
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read as _};

    use fatfs::{FatType, FileSystem, FsOptions};

    use super::*;

    #[test]
    fn another_reader_finds_the_file() {
        let image: Vec<u8> = (0..1_000_001u32).map(|n| n.to_le_bytes()[1]).collect();
        for size in [35 << 20, 64 << 20, 300 << 20] {
            let fs = FileSystem::new(Cursor::new(build(size, 7, &image).unwrap()), FsOptions::new()).unwrap();
            assert_eq!((fs.fat_type(), fs.volume_id()), (FatType::Fat32, 7));
            let stats = fs.stats().unwrap();
            assert!(u64::from(stats.total_clusters()) >= FAT32_CLUSTERS);
            let used = 3 + u32::try_from(image.len()).unwrap().div_ceil(stats.cluster_size());
            assert_eq!(stats.free_clusters(), stats.total_clusters() - used);
            let mut read = Vec::new();
            fs.root_dir().open_file("EFI/BOOT/BOOTX64.EFI").unwrap().read_to_end(&mut read).unwrap();
            assert!(read == image);
        }
    }

    #[test]
    fn too_small_and_too_full() {
        assert_eq!(build(16 << 20, 1, b""), Err(EspError::Small(16 << 20)));
        assert!(matches!(build(36 << 20, 1, &vec![0; 36 << 20]), Err(EspError::Full { .. })));
        assert!(build(36 << 20, 1, b"").is_ok());
    }
}
