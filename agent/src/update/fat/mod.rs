//! Puts the EFI system partition in order after a power cut, while it is not mounted.
//!
//! A FAT has no journal. What a cut leaves: clusters that no file has, until there is no room for an update; a file of the idle slot
//! whose chain ends too soon, or runs into another's; one file under two names, from the middle of a renaming; pieces of long names;
//! a wrong number of free clusters, by which the kernel refuses to write; the mark that the volume was in use.
//!
//! Only what cannot hurt is changed. Chains are never altered, and clusters are freed only when nothing leads to them: so every file that
//! stays has the bytes that it had. Of names, only these go: a damaged file of the idle slot, which the next update writes anew, and
//! the lesser of two names in one directory for one file. When a file that the running slot needs is damaged itself, nothing is
//! changed at all. A power cut in the middle of this is as good as one before it.

pub mod fall_back;
pub mod geometry;
pub mod records;

use std::{
    collections::VecDeque,
    fmt,
    io::{self, Read, Seek, SeekFrom, Write},
};

use self::{
    geometry::{BAD, END, Geometry, MASK, SECTOR},
    records::{DELETED, RECORD, Record},
};
use super::{esp::PART, install::UKI_PART};
use crate::slots::{self, Slot, entry::Entry};

/// The mark in the boot sector that the volume is in use.
const IN_USE_AT: u64 = 65;
/// The bits of the second place of the table that say that it is not, and that the disk had no errors.
const IN_ORDER: u32 = 0x0c00_0000;
/// No directory of an ESP is longer, in bytes.
const LONGEST: u64 = 1 << 20;

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum FatError {
    /// The disk.
    #[error("failed to read or write the EFI system partition: {0}")]
    Disk(#[from] io::Error),
    /// Another file system, or none.
    #[error("the EFI system partition cannot be checked: {0}")]
    Volume(&'static str),
    /// Something that the running system needs to boot again.
    #[error("{0} on the EFI system partition is damaged: check the partition with fsck.vfat, from another system")]
    Damaged(String),
}

/// What was put in order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// Files that are gone.
    pub dropped: Vec<String>,
    /// Clusters that nothing led to.
    pub freed: u32,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} clusters were nobody's", self.freed)?;
        if self.dropped.is_empty() { Ok(()) } else { write!(f, ", and {} not whole", self.dropped.join(", ")) }
    }
}

/// A file, and where its names are.
#[derive(Debug)]
struct Node {
    directory: String,
    record: Record,
    /// Clusters of its directory.
    clusters: Vec<u32>,
}

/// Whose chain is right when two files have the same cluster, first of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// The machine boots by it.
    Needed,
    /// An update writes it anew.
    Idle,
    /// Nobody knows what it is.
    Other,
}

/// Why a chain is not that of a whole file.
#[derive(Debug, PartialEq, Eq)]
enum Broken {
    /// It has other lengths than the file, or leads nowhere.
    Chain,
    /// It is that of another file, from its first cluster on.
    Twice,
}

struct Check<'a, D> {
    disk: &'a mut D,
    geometry: Geometry,
    table: Vec<u32>,
    /// For each cluster, the first cluster of the chain that it is in; 0 for none.
    owner: Vec<u32>,
    /// Files that are whole.
    whole: Vec<Node>,
    /// Places of records to delete, in bytes.
    deleted: Vec<u64>,
    report: Report,
}

/// Checks a volume of `size` bytes, and puts it in order. `idle` is the slot whose files may go.
///
/// # Errors
/// When it is no FAT32, a file that is needed is damaged, or the disk fails. Only in the last case something may have been changed.
pub fn check<D: Read + Write + Seek>(disk: &mut D, size: u64, idle: Slot) -> Result<Report, FatError> {
    let geometry = Geometry::read(disk, size)?;
    let table = read_table(disk, &geometry, 0)?;
    let owner = vec![0; table.len()];
    let (whole, deleted, report) = (Vec::new(), Vec::new(), Report::default());
    let mut check = Check { disk, geometry, table, owner, whole, deleted, report };
    check.walk(idle)?;
    check.write()?;
    Ok(check.report)
}

fn read_at(disk: &mut (impl Read + Seek), at: u64, bytes: &mut [u8]) -> io::Result<()> {
    disk.seek(SeekFrom::Start(at))?;
    disk.read_exact(bytes)
}

fn write_at(disk: &mut (impl Write + Seek), at: u64, bytes: &[u8]) -> io::Result<()> {
    disk.seek(SeekFrom::Start(at))?;
    disk.write_all(bytes)
}

fn read_table(disk: &mut (impl Read + Seek), geometry: &Geometry, number: u64) -> io::Result<Vec<u32>> {
    let mut bytes = vec![0; usize::try_from(geometry.length).unwrap_or(0)];
    read_at(disk, geometry.table + number * geometry.length, &mut bytes)?;
    Ok(bytes.chunks_exact(4).map(|place| u32::from_le_bytes([place[0], place[1], place[2], place[3]])).collect())
}

fn read_clusters(disk: &mut (impl Read + Seek), geometry: &Geometry, clusters: &[u32]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for cluster in clusters {
        let mut piece = vec![0; usize::try_from(geometry.cluster).unwrap_or(0)];
        read_at(disk, geometry.place(*cluster), &mut piece)?;
        bytes.append(&mut piece);
    }
    Ok(bytes)
}

/// Where a byte of what these clusters hold is, counted from the beginning of the volume.
fn byte_at(geometry: &Geometry, clusters: &[u32], offset: usize) -> Option<u64> {
    let offset = offset as u64;
    let cluster = clusters.get(usize::try_from(offset / geometry.cluster).ok()?)?;
    Some(geometry.place(*cluster) + offset % geometry.cluster)
}

fn index(cluster: u32) -> usize {
    cluster as usize
}

impl<D: Read + Write + Seek> Check<'_, D> {
    /// Finds out whose each cluster is: directories first, then the files in the order of their ranks.
    fn walk(&mut self, idle: Slot) -> Result<(), FatError> {
        let mut files = Vec::new();
        let mut open = VecDeque::from([(String::new(), self.geometry.root)]);
        while let Some((directory, first)) = open.pop_front() {
            let (clusters, end) = self.claim(first, None);
            if end.is_err() || clusters.len() as u64 * self.geometry.cluster > LONGEST {
                return Err(FatError::Damaged(format!("the directory /{directory}")));
            }
            let listing = records::parse(&read_clusters(self.disk, &self.geometry, &clusters)?);
            for place in listing.stray {
                self.delete(&clusters, place);
            }
            for record in listing.records {
                if record.directory {
                    let separator = if directory.is_empty() { "" } else { "/" };
                    open.push_back((format!("{directory}{separator}{}", record.name), record.first));
                } else {
                    files.push(Node { directory: directory.clone(), record, clusters: clusters.clone() });
                }
            }
        }
        files.sort_by_cached_key(|node| node.order(idle));
        for node in files {
            let (clusters, end) = self.claim(node.record.first, Some(node.record.size));
            let rank = node.rank(idle);
            let drop = match &end {
                // A renaming makes the new name first, and what it stands for then.
                Ok(()) if node.record.size == 0 => node.entry().is_some() || node.is_alias(),
                // One without its long name is nobody's, unless the running system has no other.
                Ok(()) => node.is_alias() && self.whole.iter().any(|other| other.is_entry_of(idle.other())),
                Err(Broken::Twice) => rank == Rank::Idle || self.whole.iter().any(|other| other.is_twin(&node)),
                Err(Broken::Chain) => rank == Rank::Idle,
            };
            if drop {
                clusters.iter().for_each(|cluster| self.owner[index(*cluster)] = 0);
                node.record.places.iter().for_each(|place| self.delete(&node.clusters, *place));
                self.report.dropped.push(node.path());
            } else if end.is_ok() {
                self.whole.push(node);
            } else if rank == Rank::Needed {
                return Err(FatError::Damaged(node.path()));
            }
        }
        Ok(())
    }

    /// Follows a chain and takes its clusters, up to those that are taken. `size` is that of a file.
    fn claim(&mut self, first: u32, size: Option<u32>) -> (Vec<u32>, Result<(), Broken>) {
        let mut clusters = Vec::new();
        let wanted = size.map(|size| self.geometry.clusters(size));
        if wanted == Some(0) && first == 0 {
            return (clusters, Ok(()));
        }
        let mut next = first;
        while self.geometry.has(next) {
            match self.owner[index(next)] {
                0 => self.owner[index(next)] = first,
                owner if owner == first && clusters.is_empty() => return (clusters, Err(Broken::Twice)),
                _ => return (clusters, Err(Broken::Chain)),
            }
            clusters.push(next);
            next = self.table[index(next)] & MASK;
        }
        let whole = next >= END && wanted.is_none_or(|wanted| wanted == clusters.len() as u64);
        (clusters, if whole { Ok(()) } else { Err(Broken::Chain) })
    }

    /// Notes a record of the directory that these clusters are.
    fn delete(&mut self, clusters: &[u32], place: usize) {
        self.deleted.extend(byte_at(&self.geometry, clusters, place * RECORD));
    }

    /// Writes what differs: the names, then the tables, then the marks that all is well.
    fn write(&mut self) -> io::Result<()> {
        let deleted = std::mem::take(&mut self.deleted);
        for at in deleted {
            write_at(self.disk, at, &[DELETED])?;
        }
        self.disk.flush()?;
        let mut free = 0_u32;
        for (value, owner) in self.table.iter_mut().zip(&self.owner).take(index(self.geometry.last) + 1).skip(2) {
            if *owner == 0 && *value & MASK != BAD {
                self.report.freed += u32::from(*value & MASK != 0);
                *value = 0;
                free += 1;
            }
        }
        if let Some(second) = self.table.get_mut(1) {
            *second |= IN_ORDER;
        }
        for number in 0..self.geometry.tables {
            let old = read_table(self.disk, &self.geometry, number)?;
            let at = self.geometry.table + number * self.geometry.length;
            let places = SECTOR / 4;
            for (sector, (old, new)) in (0_u64..).zip(old.chunks(places).zip(self.table.chunks(places))) {
                if old != new {
                    let bytes: Vec<u8> = new.iter().flat_map(|value| value.to_le_bytes()).collect();
                    write_at(self.disk, at + sector * SECTOR as u64, &bytes)?;
                }
            }
        }
        if let Some(info) = self.geometry.info {
            let mut sector = [0; SECTOR];
            read_at(self.disk, info, &mut sector)?;
            // Signatures at the beginning and before the numbers: what is free, and where to look for it.
            if sector[..4] == *b"RRaA" && sector[484..488] == *b"rrAa" && sector[488..492] != free.to_le_bytes() {
                sector[488..492].copy_from_slice(&free.to_le_bytes());
                write_at(self.disk, info, &sector)?;
            }
        }
        self.disk.flush()?;
        let mut in_use = [0];
        read_at(self.disk, IN_USE_AT, &mut in_use)?;
        if in_use[0] & 1 != 0 {
            write_at(self.disk, IN_USE_AT, &[in_use[0] & !1])?;
        }
        self.disk.flush()
    }
}

impl Node {
    fn path(&self) -> String {
        if self.directory.is_empty() {
            self.record.name.clone()
        } else {
            format!("{}/{}", self.directory, self.record.name)
        }
    }

    /// The boot entry that it is.
    fn entry(&self) -> Option<Entry> {
        let here = self.directory.eq_ignore_ascii_case(slots::ENTRIES);
        here.then(|| Entry::parse(&self.record.name))?
    }

    fn is_entry_of(&self, slot: Slot) -> bool {
        self.entry().is_some_and(|entry| entry.slot == slot)
    }

    /// Whether it is the same file under another name.
    fn is_twin(&self, other: &Self) -> bool {
        self.record.first == other.record.first
            && self.record.size == other.record.size
            && self.directory == other.directory
    }

    fn rank(&self, idle: Slot) -> Rank {
        if let Some(entry) = self.entry() {
            return if entry.slot == idle { Rank::Idle } else { Rank::Needed };
        }
        let path = self.path();
        let is = |known: &str| path.eq_ignore_ascii_case(known);
        let own = |slot: Slot| [slot.kernel(), slot.initrd(), slot.syslinux_cfg()].into_iter().any(is);
        if path.ends_with(PART) || is(UKI_PART) || own(idle) || self.is_alias() {
            Rank::Idle
        } else if matches!(self.directory.as_str(), "efi/boot" | "loader" | "syslinux")
            || is(slots::LDLINUX_SYS)
            || own(idle.other())
        {
            Rank::Needed
        } else {
            Rank::Other
        }
    }

    /// Whether it is the short name of a boot entry, or of the UKI of an update, whose long name is not there.
    fn is_alias(&self) -> bool {
        self.directory.eq_ignore_ascii_case(slots::ENTRIES) && self.record.name.contains('~')
    }

    /// Among names of one file the one stays that it was to have: a boot entry rather than none, of the highest generation, and
    /// proven rather than on trial, with fewer tries left.
    fn order(&self, idle: Slot) -> (Rank, u64, u64, String) {
        let entry = self.entry();
        let generation = entry.map_or(u64::MAX, |entry| Entry::MAX.saturating_sub(entry.generation()));
        let left = entry.and_then(|entry| entry.tries).map_or(0, |tries| u64::from(tries.left) + 1);
        (self.rank(idle), generation, left, self.path())
    }
}

#[cfg(test)]
mod tests;
