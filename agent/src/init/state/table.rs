//! Changes to a partition table: a new partition for the state, and more room for it.
//!
//! A crash at any point leaves at least one sound copy: the backup is written first and reaches the disk before the
//! first table is touched. That one is several sectors; when it is torn, [`restore`] writes it anew from the backup.

use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::{
    init::gpt::{self, GptError, Guid, Partition, Table},
    paths,
};

/// Partitions begin and end at multiples of this, in bytes.
const ALIGN: u64 = 1 << 20;
/// Smallest state partition, in bytes: below it an ext4 with a journal has no room for Nomad's data.
pub const SMALLEST: u64 = 64 << 20;
/// Number of entries in a table that is made here (the usual number).
const ENTRIES: u64 = 128;

/// Why a table could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// What is there is not sound.
    #[error(transparent)]
    Gpt(#[from] GptError),
    /// The disk failed.
    #[error("failed to write the partition table: {0}")]
    Io(#[from] io::Error),
    /// The table does not take the change.
    #[error("failed to change the partition table: {0}")]
    Change(#[from] gptman::Error),
    /// All entries are used.
    #[error("the partition table has no unused entry")]
    Full,
    /// No free space.
    #[error("no free space of {} MiB", SMALLEST >> 20)]
    NoRoom,
}

/// The last sector that partitions may use on a disk of this many sectors, once the backup lies at its end.
fn last_usable(entries: u64, sector: u64, sectors: u64) -> u64 {
    // One header and the entries.
    sectors.saturating_sub(2 + (entries * 128).div_ceil(sector))
}

/// The largest free space of a disk of `sectors` sectors: first and last sector, aligned.
#[must_use]
pub fn largest_gap(table: &Table, sectors: u64) -> Option<(u64, u64)> {
    let align = ALIGN / table.sector;
    let end = last_usable(u64::from(table.header.entries), table.sector, sectors) + 1;
    let mut used: Vec<(u64, u64)> = table.partitions.iter().map(|p| (p.first, p.last)).collect();
    used.push((end, end));
    used.sort_unstable();
    let mut from = table.header.first_usable;
    let mut best = None;
    for (first, last) in used {
        let (start, stop) = (from.next_multiple_of(align), first / align * align);
        if stop > start && best.is_none_or(|(a, b)| stop - start > b - a) {
            best = Some((start, stop));
        }
        from = from.max(last.saturating_add(1));
    }
    best.map(|(start, stop)| (start, stop - 1))
}

/// The sector at which `partition` could end instead, when at least [`ALIGN`] bytes behind it are free.
#[must_use]
pub fn new_end(table: &Table, partition: &Partition, sectors: u64) -> Option<u64> {
    let align = ALIGN / table.sector;
    let end = last_usable(u64::from(table.header.entries), table.sector, sectors) + 1;
    let next = table.partitions.iter().map(|p| p.first).filter(|first| *first > partition.last).min();
    let stop = next.unwrap_or(end).min(end) / align * align;
    (stop > partition.last + align).then(|| stop - 1)
}

/// Writes an empty table to a disk that holds nothing.
///
/// # Errors
/// When the disk cannot be written.
pub fn initialise(disk: &mut (impl Read + Write + Seek), sector: u64, guid: Guid) -> Result<(), TableError> {
    let mut new = gptman::GPT::new_from(disk, sector, guid.0)?;
    gptman::GPT::write_protective_mbr_into(disk, sector)?;
    write(&mut new, disk)
}

/// Adds the state partition in the largest free space and returns it. Moves the backup to the end of a disk that grew.
///
/// # Errors
/// When there is no room, or the disk cannot be read or written.
pub fn add_state(disk: &mut (impl Read + Write + Seek), sector: u64, guid: Guid) -> Result<Partition, TableError> {
    let table = gpt::read(disk, sector)?;
    let sectors = disk.seek(SeekFrom::End(0))? / sector;
    let (first, last) = largest_gap(&table, sectors)
        .filter(|(first, last)| (last - first + 1).saturating_mul(sector) >= SMALLEST)
        .ok_or(TableError::NoRoom)?;
    let used = |number: &u32| table.partitions.iter().any(|p| p.number == *number);
    let number = (1..=table.header.entries).find(|number| !used(number)).ok_or(TableError::Full)?;
    let partition = Partition {
        number,
        type_guid: Guid::parse(paths::STATE_TYPE_GUID).unwrap_or(Guid([0; 16])),
        guid,
        first,
        last,
        name: paths::STATE_LABEL.to_owned(),
    };
    // A file system that once lay in this space must not be taken for the new partition's own.
    disk.seek(SeekFrom::Start(first * sector))?;
    disk.write_all(&vec![0; super::probe::WINDOW])?;
    super::backup::clear(disk, first * sector, (last - first + 1) * sector)?;
    let mut new = gptman::GPT::read_from(disk, sector)?;
    new.header.update_from(disk, sector)?;
    new[number] = gptman::GPTPartitionEntry {
        partition_type_guid: partition.type_guid.0,
        unique_partition_guid: guid.0,
        starting_lba: first,
        ending_lba: last,
        attribute_bits: 0,
        partition_name: paths::STATE_LABEL.into(),
    };
    write(&mut new, disk)?;
    Ok(partition)
}

/// Moves the end of a partition. Moves the backup to the end of a disk that grew.
///
/// # Errors
/// When the disk cannot be read or written.
pub fn extend(disk: &mut (impl Read + Write + Seek), sector: u64, number: u32, last: u64) -> Result<(), TableError> {
    gpt::read(disk, sector)?;
    let mut new = gptman::GPT::read_from(disk, sector)?;
    new.header.update_from(disk, sector)?;
    new[number].ending_lba = last;
    write(&mut new, disk)
}

/// Gives partitions other identifiers.
///
/// # Errors
/// When the disk cannot be read or written.
pub fn identify(
    disk: &mut (impl Read + Write + Seek),
    sector: u64,
    partitions: &[(u32, Guid)],
) -> Result<(), TableError> {
    gpt::read(disk, sector)?;
    let mut new = gptman::GPT::read_from(disk, sector)?;
    for (number, guid) in partitions {
        new[*number].unique_partition_guid = guid.0;
    }
    write(&mut new, disk)
}

/// Writes the first table of a disk from its backup, which [`gpt::read`] had to take.
///
/// # Errors
/// When the backup is not sound, or the disk cannot be read or written.
pub fn restore(disk: &mut (impl Read + Write + Seek), sector: u64) -> Result<(), TableError> {
    let table = gpt::read(disk, sector)?;
    let mut new = gptman::GPT::read_from(disk, sector)?;
    // Both readers have to have taken the same one.
    if new.header.primary_lba != table.header.own_lba {
        return Err(GptError::Header("own position").into());
    }
    write_first(pieces(&mut new)?.0, sector, disk)
}

/// Writes both copies, the backup first.
fn write(table: &mut gptman::GPT, disk: &mut (impl Read + Write + Seek)) -> Result<(), TableError> {
    let sector = table.sector_size;
    let (first, backup) = pieces(table)?;
    for (at, bytes) in backup {
        disk.seek(SeekFrom::Start(at))?;
        disk.write_all(&bytes)?;
    }
    disk.flush()?;
    write_first(first, sector, disk)
}

/// Bytes, and where they go.
type Placed = Vec<(u64, Vec<u8>)>;

/// The first table, and the backup.
fn pieces(table: &mut gptman::GPT) -> Result<(Placed, Placed), TableError> {
    let mut pieces = Pieces::default();
    table.write_into(&mut pieces)?;
    let end = first_end(table.sector_size).max(ALIGN);
    Ok(pieces.0.into_iter().partition(|(at, _)| *at < end))
}

/// The first byte behind a first table of the usual size.
fn first_end(sector: u64) -> u64 {
    sector * (2 + (ENTRIES * 128).div_ceil(sector))
}

/// Writes the first table as one piece.
fn write_first(first: Placed, sector: u64, disk: &mut (impl Read + Write + Seek)) -> Result<(), TableError> {
    let (start, end) = (sector, first_end(sector));
    let length = first.iter().map(|(at, bytes)| at + bytes.len() as u64).max().unwrap_or(end) - start;
    let mut whole = vec![0; usize::try_from(length.next_multiple_of(sector)).unwrap_or(0)];
    disk.seek(SeekFrom::Start(start))?;
    disk.read_exact(&mut whole)?;
    for (at, bytes) in first {
        let at = usize::try_from(at - start).unwrap_or(0);
        whole[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    disk.seek(SeekFrom::Start(start))?;
    disk.write_all(&whole)?;
    disk.flush()?;
    Ok(())
}

/// Takes what `gptman` writes, to be put on the disk in another order.
#[derive(Debug, Default)]
struct Pieces(Placed, u64);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.last_mut() {
            Some((at, last)) if *at + last.len() as u64 == self.1 => last.extend_from_slice(bytes),
            _ => self.0.push((self.1, bytes.to_vec())),
        }
        self.1 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Pieces {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            SeekFrom::Start(at) => self.1 = at,
            SeekFrom::End(_) | SeekFrom::Current(_) => return Err(io::ErrorKind::Unsupported.into()),
        }
        Ok(self.1)
    }
}

/// A block device whose `flush` waits until the bytes are on the medium.
#[derive(Debug)]
pub struct Durable(pub std::fs::File);

impl Read for Durable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Durable {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}

impl Seek for Durable {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn blank(mib: u64) -> Cursor<Vec<u8>> {
        Cursor::new(vec![0; usize::try_from(mib * MIB).unwrap()])
    }

    /// A disk as the builder makes it: one partition of 10 MiB at 1 MiB, and then free space.
    fn image(mib: u64) -> Cursor<Vec<u8>> {
        let mut disk = blank(mib);
        initialise(&mut disk, 512, Guid([1; 16])).unwrap();
        let mut table = gptman::GPT::read_from(&mut disk, 512).unwrap();
        table[2] = gptman::GPTPartitionEntry {
            partition_type_guid: [5; 16],
            unique_partition_guid: [6; 16],
            starting_lba: 2048,
            ending_lba: 2048 * 11 - 1,
            attribute_bits: 0,
            partition_name: "root".into(),
        };
        write(&mut table, &mut disk).unwrap();
        disk
    }

    fn grow(disk: Cursor<Vec<u8>>, mib: u64) -> Cursor<Vec<u8>> {
        let mut bytes = disk.into_inner();
        bytes.resize(usize::try_from(mib * MIB).unwrap(), 0);
        Cursor::new(bytes)
    }

    #[test]
    fn the_state_takes_the_free_space() {
        let mut disk = image(100);
        let partition = add_state(&mut disk, 512, Guid([9; 16])).unwrap();
        assert_eq!((partition.number, partition.first, partition.last), (1, 11 * 2048, 99 * 2048 - 1));
        let table = gpt::read(&mut disk, 512).unwrap();
        assert_eq!(table.partitions[0], partition);
        assert_eq!(table.partitions[1].name, "root");
    }

    #[test]
    fn a_disk_that_grew_is_used_to_its_end() {
        let mut disk = grow(image(20), 200);
        let partition = add_state(&mut disk, 512, Guid([9; 16])).unwrap();
        assert_eq!(partition.last, 199 * 2048 - 1);
        let mut disk = grow(disk, 300);
        let table = gpt::read(&mut disk, 512).unwrap();
        let end = new_end(&table, &partition, 300 * 2048).unwrap();
        extend(&mut disk, 512, partition.number, end).unwrap();
        let table = gpt::read(&mut disk, 512).unwrap();
        assert_eq!(table.partitions[0].last, 299 * 2048 - 1);
        assert_eq!(table.header.other_lba, 300 * 2048 - 1);
        assert_eq!(new_end(&table, &table.partitions[0], 300 * 2048), None);
    }

    #[test]
    fn a_partition_behind_it_keeps_its_place() {
        let mut disk = image(400);
        let first = add_state(&mut disk, 512, Guid([9; 16])).unwrap();
        extend(&mut disk, 512, first.number, 100 * 2048 - 1).unwrap();
        let second = add_state(&mut disk, 512, Guid([8; 16])).unwrap();
        assert_eq!(second.first, 100 * 2048);
        let table = gpt::read(&mut disk, 512).unwrap();
        assert_eq!(new_end(&table, &table.partitions[0], 400 * 2048), None);
    }

    #[test]
    fn too_little_room_is_said() {
        let why = add_state(&mut image(60), 512, Guid([9; 16])).unwrap_err();
        assert_eq!(why.to_string(), "no free space of 64 MiB");
    }

    #[test]
    fn remains_of_an_older_file_system_are_removed_before_the_partition_appears() {
        let mut disk = image(100);
        disk.get_mut()[11 * 1024 * 1024 + 1080] = 0x53;
        let partition = add_state(&mut disk, 512, Guid([9; 16])).unwrap();
        let at = usize::try_from(partition.first * 512).unwrap();
        assert!(disk.get_ref()[at..at + 4096].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_torn_first_table_is_written_from_the_backup() {
        // As an update leaves it: some sectors have what is new, others what was there.
        let (old, mut new) = (image(100), image(100));
        identify(&mut new, 512, &[(2, Guid([8; 16]))]).unwrap();
        let (old, new) = (old.into_inner(), new.into_inner());
        for torn in [1, 2] {
            let mut disk = new.clone();
            disk[torn * 512..][..512].copy_from_slice(&old[torn * 512..][..512]);
            let mut disk = Cursor::new(disk);
            assert_ne!(gpt::read(&mut disk, 512).unwrap().header.own_lba, 1);
            restore(&mut disk, 512).unwrap();
            assert!(disk.get_ref() == &new, "sector {torn}");
        }
    }

    /// Stops taking writes after so many bytes, like a machine that loses power; that many are written at once, or none of them.
    pub(in crate::init::state) struct Failing(
        pub(in crate::init::state) Cursor<Vec<u8>>,
        pub(in crate::init::state) usize,
        pub(in crate::init::state) u64,
    );

    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut size = bytes.len().min(self.1);
            if size < bytes.len() {
                let end = (self.0.position() + size as u64) / self.2 * self.2;
                size = usize::try_from(end.saturating_sub(self.0.position())).unwrap();
                self.1 = size;
            }
            self.1 -= size;
            if size == 0 { Err(io::ErrorKind::Other.into()) } else { self.0.write(&bytes[..size]) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Failing {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Wherever the power fails, the root partition is still found.
        #[test]
        fn a_power_cut_never_loses_the_root(writes in 0_usize..200_000) {
            let mut disk = Failing(grow(image(20), 100), writes, 1);
            let done = add_state(&mut disk, 512, Guid([9; 16]));
            let table = gpt::read(&mut disk.0, 512).unwrap();
            prop_assert!(table.partitions.iter().any(|p| p.name == "root"));
            prop_assert!(done.is_err() || table.partitions.len() == 2);
            restore(&mut disk.0, 512).unwrap();
            let whole = gpt::read(&mut disk.0, 512).unwrap();
            prop_assert_eq!((whole.header.own_lba, whole.partitions), (1, table.partitions));
        }

        /// Free space never overlaps a partition.
        #[test]
        fn gaps_are_free(mut cuts in proptest::collection::vec(34_u64..400_000, 0..12)) {
            cuts.sort_unstable();
            cuts.dedup();
            let mut table = gpt::read(&mut image(20), 512).unwrap();
            table.partitions = cuts.chunks_exact(2).zip(1..).map(|(pair, number)| Partition {
                number, type_guid: Guid([5; 16]), guid: Guid([6; 16]), first: pair[0], last: pair[1] - 1, name: String::new(),
            }).collect();
            if let Some((first, last)) = largest_gap(&table, 400_100) {
                prop_assert!(first <= last && last < 400_100 - 33 && first >= 34);
                prop_assert!(table.partitions.iter().all(|p| last < p.first || p.last < first));
            }
        }
    }
}
