//! Where things are in a FAT32 volume.

use super::FatError;

/// Bytes of a sector: what every boot program of a PC expects.
pub(super) const SECTOR: u64 = 512;
/// Sectors before the first table: boot sector, information, and their backups.
pub(super) const RESERVED: u64 = 32;
/// The sector with the backup of the boot sector.
pub(super) const BACKUP: usize = 6;
/// Copies of the table.
pub(super) const TABLES: u64 = 2;
/// The first cluster, which is the root directory's.
pub(super) const ROOT: u32 = 2;
/// The fewest clusters of a FAT32. Firmware tells the kind from their number, whatever the boot sector says.
pub(super) const FAT32_CLUSTERS: u64 = 65_525;

/// Sizes, in sectors where nothing else is said.
pub(super) struct Layout {
    pub(super) sectors: u32,
    pub(super) per_cluster: u32,
    pub(super) per_table: u32,
    /// Number of clusters.
    pub(super) clusters: u32,
}

impl Layout {
    /// The largest cluster with which it still is FAT32: fewer entries for the firmware to walk.
    pub(super) fn of(size: u64) -> Result<Self, FatError> {
        let sectors = u32::try_from(size / SECTOR).map_err(|_| FatError::Large(size))?;
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
            .ok_or(FatError::Small(size))
    }

    /// Where a copy of the table is.
    pub(super) fn table(&self, number: u64) -> usize {
        index((RESERVED + number * u64::from(self.per_table)) * SECTOR)
    }

    pub(super) fn cluster_size(&self) -> u64 {
        u64::from(self.per_cluster) * SECTOR
    }

    /// Clusters that so many bytes take.
    pub(super) fn clusters_of(&self, bytes: usize) -> u64 {
        (bytes as u64).div_ceil(self.cluster_size())
    }

    /// Where a cluster is.
    pub(super) fn cluster(&self, number: u32) -> usize {
        self.table(TABLES) + index(u64::from(number - ROOT) * self.cluster_size())
    }
}

/// Volumes are in memory, so places in them fit.
pub(super) fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
