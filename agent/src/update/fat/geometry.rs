//! Where things are in a FAT32 volume, by its boot sector (Microsoft, "FAT: General Overview of On-Disk Format" 1.03).

use std::io::{Read, Seek};

use super::FatError;

/// Bytes of a boot sector, and the least that a disk writes.
pub const SECTOR: usize = 512;
/// The number of the first cluster; the first two places of the table hold something else.
pub const FIRST: u32 = 2;
/// The bits of a place in the table that count.
pub const MASK: u32 = 0x0fff_ffff;
/// From here on a value is the end of a chain; the one below says that a cluster is bad.
pub const END: u32 = 0x0fff_fff8;
/// A cluster that cannot be used.
pub const BAD: u32 = 0x0fff_fff7;
/// A longer table is not read, in bytes: that of an ESP of some GiB is shorter.
const LONGEST: u64 = 16 << 20;

/// Places in bytes from the beginning of the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a cluster.
    pub cluster: u64,
    /// Where the first table is.
    pub table: u64,
    /// Bytes of a table.
    pub length: u64,
    /// How many there are; the first one counts.
    pub tables: u64,
    /// Where the first cluster is.
    pub data: u64,
    /// The number of the last cluster.
    pub last: u32,
    /// The first cluster of the root directory.
    pub root: u32,
    /// Where the number of free clusters is, if it is anywhere.
    pub info: Option<u64>,
}

impl Geometry {
    /// Reads that of a volume of `size` bytes.
    ///
    /// # Errors
    /// Those of the disk; and when it is no FAT32.
    pub fn read(disk: &mut (impl Read + Seek), size: u64) -> Result<Self, FatError> {
        let mut sector = [0; SECTOR];
        super::read_at(disk, 0, &mut sector)?;
        Self::parse(&sector, size).map_err(FatError::Volume)
    }

    /// Reads the boot sector of a volume of `size` bytes.
    ///
    /// # Errors
    /// In what it is not the boot sector of a FAT32.
    pub fn parse(sector: &[u8; SECTOR], size: u64) -> Result<Self, &'static str> {
        let u16_at = |at: usize| u64::from(u16::from_le_bytes([sector[at], sector[at + 1]]));
        let u32_at = |at: usize| u32::from_le_bytes([sector[at], sector[at + 1], sector[at + 2], sector[at + 3]]);
        if sector[510..] != [0x55, 0xaa] || u16_at(17) != 0 || u16_at(22) != 0 {
            return Err("it has no boot sector of FAT32");
        }
        let (bytes, per_cluster) = (u16_at(11), u64::from(sector[13]));
        if !matches!(bytes, 512 | 1024 | 2048 | 4096) || !per_cluster.is_power_of_two() {
            return Err("its sectors or clusters have an impossible size");
        }
        let (reserved, tables, length) = (u16_at(14), u64::from(sector[16]), u64::from(u32_at(36)) * bytes);
        // Bit 7: the tables are not copies of each other.
        if reserved == 0 || !matches!(tables, 1 | 2) || u16_at(40) & 0x80 != 0 || length > LONGEST {
            return Err("its tables are not those of a small volume");
        }
        let data = reserved * bytes + tables * length;
        let total = u64::from(u32_at(32)) * bytes;
        let cluster = bytes * per_cluster;
        let count = total.saturating_sub(data) / cluster;
        let last = u32::try_from(count + 1).ok().filter(|last| *last < BAD);
        let last = last.ok_or("it has too many clusters")?;
        if total > size || count == 0 || length < (u64::from(last) + 1) * 4 {
            return Err("its parts do not fit into each other");
        }
        let root = u32_at(44);
        if !(FIRST..=last).contains(&root) {
            return Err("its root directory is nowhere");
        }
        let info = Some(u16_at(48)).filter(|at| (1..reserved).contains(at)).map(|at| at * bytes);
        Ok(Self { cluster, table: reserved * bytes, length, tables, data, last, root, info })
    }

    /// Where a cluster is.
    #[must_use]
    pub fn place(&self, cluster: u32) -> u64 {
        self.data + u64::from(cluster - FIRST) * self.cluster
    }

    /// Whether a value of the table is a cluster's number.
    #[must_use]
    pub fn has(&self, cluster: u32) -> bool {
        (FIRST..=self.last).contains(&cluster)
    }

    /// Clusters that a file of this size takes.
    #[must_use]
    pub fn clusters(&self, size: u32) -> u64 {
        u64::from(size).div_ceil(self.cluster)
    }
}
