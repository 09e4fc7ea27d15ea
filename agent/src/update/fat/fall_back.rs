//! Has the other slot boot, without mounting the EFI system partition: for PID 1, when the root that it runs from cannot be read.
//!
//! The initramfs has no driver of the file system, and none is wanted where the system may be broken. A few letters are written in
//! place: the slot that `syslinux.cfg` boots, and zeros as the generation in the name of the running slot's entry. Nothing gets another
//! length, and the short name stays, so that its checksum in the pieces of the long one does. Wherever this is cut, each of the two boot
//! loaders starts one slot or the other; and the running one, if it is started again, does the rest.

use std::io::{Read, Seek, Write};

use super::{FatError, byte_at, geometry::Geometry, read_at, read_clusters, records, write_at};
use crate::slots::{
    self, Slot,
    choice::{self, RollbackError},
    config,
    entry::{Entry, GENERATION},
};

/// Why the other slot does not boot.
#[derive(Debug, thiserror::Error)]
pub enum FallBackError {
    /// The partition.
    #[error(transparent)]
    Fat(#[from] FatError),
    /// It holds nothing that ever worked.
    #[error(transparent)]
    Slot(#[from] RollbackError),
}

/// A letter to write: where, in bytes from the beginning of the volume, and which.
type Letter = (u64, u8);

/// What has to be written so that the slot beside the running one boots.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan(Vec<Letter>);

/// A volume that nobody has mounted.
struct Volume<'a, D> {
    disk: &'a mut D,
    geometry: Geometry,
}

/// A directory, and the clusters that it is made of.
struct Directory {
    clusters: Vec<u32>,
    records: Vec<records::Record>,
}

/// All boot entries of a volume of `size` bytes.
///
/// # Errors
/// When it is no FAT32 that can be read, or has no place for them.
pub fn entries<D: Read + Seek>(disk: &mut D, size: u64) -> Result<Vec<Entry>, FatError> {
    let directory = Volume::open(disk, size)?.directory(slots::ENTRIES)?;
    Ok(directory.records.iter().filter_map(|record| Entry::parse(&record.name)).collect())
}

/// Finds out what has to be written so that the slot beside `running` boots. Nothing is changed.
///
/// # Errors
/// When the other slot's system never proved itself or is lost as well, or the volume of `size` bytes cannot be understood.
pub fn plan<D: Read + Seek>(disk: &mut D, size: u64, running: Slot) -> Result<Plan, FallBackError> {
    let mut volume = Volume::open(disk, size)?;
    let directory = volume.directory(slots::ENTRIES)?;
    let named = || directory.records.iter().filter_map(|record| Some((record, Entry::parse(&record.name)?)));
    let entries: Vec<Entry> = named().map(|(_, entry)| entry).collect();
    choice::rollback(&entries, running)?;
    let mut letters: Vec<Letter> = volume.default(running.other())?.into_iter().collect();
    for (record, _) in named().filter(|(_, entry)| entry.slot == running) {
        let places = GENERATION.map(|digit| byte_at(&volume.geometry, &directory.clusters, record.letter(digit)?));
        letters.extend(places.flatten().map(|place| (place, b'0')));
    }
    Ok(Plan(letters))
}

impl Plan {
    /// Writes it. It is not yet on the medium then.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn write<D: Write + Seek>(&self, disk: &mut D) -> Result<(), FatError> {
        Ok(self.0.iter().try_for_each(|(at, letter)| write_at(disk, *at, &[*letter]))?)
    }
}

impl<'a, D: Read + Seek> Volume<'a, D> {
    fn open(disk: &'a mut D, size: u64) -> Result<Self, FatError> {
        let geometry = Geometry::read(disk, size)?;
        Ok(Self { disk, geometry })
    }

    /// The clusters of a chain that begins with `first`.
    fn chain(&mut self, first: u32) -> Result<Vec<u32>, FatError> {
        let mut clusters = Vec::new();
        let mut next = first;
        while self.geometry.has(next) && clusters.len() as u64 * self.geometry.cluster < super::LONGEST {
            clusters.push(next);
            let mut place = [0; 4];
            read_at(self.disk, self.geometry.table + u64::from(next) * 4, &mut place)?;
            next = u32::from_le_bytes(place) & super::MASK;
        }
        Ok(clusters)
    }

    fn directory(&mut self, path: &str) -> Result<Directory, FatError> {
        let mut first = self.geometry.root;
        let mut names = path.split('/');
        loop {
            let clusters = self.chain(first)?;
            let listing = records::parse(&read_clusters(self.disk, &self.geometry, &clusters)?);
            let Some(name) = names.next() else { return Ok(Directory { clusters, records: listing.records }) };
            let found =
                listing.records.iter().find(|record| record.directory && record.name.eq_ignore_ascii_case(name));
            first = found.ok_or_else(|| FatError::Damaged(path.to_owned()))?.first;
        }
    }

    /// The letter that has syslinux boot `slot`. None on a disk without it.
    fn default(&mut self, slot: Slot) -> Result<Option<Letter>, FatError> {
        let (path, name) = slots::SYSLINUX_CFG.split_once('/').unwrap_or_default();
        let Ok(directory) = self.directory(path) else { return Ok(None) };
        let Some(record) = directory.records.iter().find(|record| record.name == name) else { return Ok(None) };
        let damaged = || FatError::Damaged(slots::SYSLINUX_CFG.to_owned());
        // It is shorter than the smallest cluster.
        let first = [record.first].into_iter().filter(|first| self.geometry.has(*first)).collect::<Vec<_>>();
        let mut bytes = read_clusters(self.disk, &self.geometry, &first)?;
        bytes.truncate(usize::try_from(record.size).unwrap_or(0));
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged())?;
        let (at, _) = config::default_at(text).ok_or_else(damaged)?;
        Ok(byte_at(&self.geometry, &first, at).map(|place| (place, slot.letter().as_bytes()[0])))
    }
}
