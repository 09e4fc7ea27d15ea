//! Which disk holds the state, and which one may be used for it.
//!
//! A mistake here loses the state of a node or writes over somebody's disk, so whatever cannot be read counts as if it
//! could be the one.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use nix::sys::stat::{major, minor};

use crate::{
    init::{
        disks::{self, Disk},
        gpt::{self, GptError, Guid, Partition, Table},
    },
    paths, warning,
};

use super::{StateError, backup, table};

/// A state partition and the disk it lies on.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) disk: Disk,
    pub(super) table: Table,
    pub(super) partition: Partition,
}

/// The state partition of this machine; `None` when every disk was read and none has one.
///
/// # Errors
/// When it is not certain which one it is, or whether there is one.
pub(super) fn state() -> Result<Option<Found>, StateError> {
    choose(disks::list(Path::new("/sys")), root_disk().as_ref(), Disk::table)
}

/// Picks the state partition: the one on the root's disk, else the only one.
fn choose(
    disks: Vec<Disk>,
    root: Option<&Disk>,
    read: impl Fn(&Disk) -> Result<Table, GptError>,
) -> Result<Option<Found>, StateError> {
    let mut all = Vec::new();
    let mut unreadable = None;
    for disk in disks {
        match read(&disk) {
            Ok(table) => {
                let partition = state_partition(&table).cloned();
                all.extend(partition.map(|partition| Found { disk, table, partition }));
            }
            // One that is too small for a table ends early.
            Err(GptError::Read(source)) if source.kind() != io::ErrorKind::UnexpectedEof => {
                unreadable.get_or_insert(StateError::Unreadable { disk: disk.name, source });
            }
            // It was read and holds no table.
            Err(_) => {}
        }
    }
    let names = all.iter().map(|found| found.disk.name.as_str()).collect::<Vec<_>>().join(", ");
    let on_root = all.iter().position(|found| root == Some(&found.disk));
    match (all.len(), on_root, unreadable) {
        (count, Some(at), _) => {
            if count > 1 {
                warning!("more than one disk has a state partition: {names}; using the one of the root's disk");
            }
            Ok(Some(all.swap_remove(at)))
        }
        (0, None, Some(unreadable)) => Err(unreadable),
        (0 | 1, ..) => Ok(all.pop()),
        _ => Err(StateError::Several(names)),
    }
}

fn state_partition(table: &Table) -> Option<&Partition> {
    table.partitions.iter().find(|partition| is_state(partition))
}

fn is_state(partition: &Partition) -> bool {
    Some(partition.type_guid) == Guid::parse(paths::STATE_TYPE_GUID) && partition.name == paths::STATE_LABEL
}

/// The disk that the root file system is on; none when it came with the initramfs.
pub(super) fn root_disk() -> Option<Disk> {
    let device = fs::metadata("/").ok()?.dev();
    disks::of_device(Path::new("/sys"), major(device), minor(device))
}

/// A disk that holds nothing at all and has room for the state.
///
/// # Errors
/// When a disk cannot be read.
pub(super) fn blank_disk() -> Result<Option<Disk>, StateError> {
    for disk in disks::list(Path::new("/sys")) {
        if disk.read_only || disk.size < table::SMALLEST + (4 << 20) {
            continue;
        }
        match File::open(disk.node()).and_then(|mut file| is_blank(&mut file, disk.sector)) {
            Ok(true) => return Ok(Some(disk)),
            Ok(false) => {}
            Err(source) => return Err(StateError::Unreadable { disk: disk.name, source }),
        }
    }
    Ok(None)
}

/// Whether a disk holds nothing: only zero bytes at its start, at its end and in samples all over it, and no backup of a
/// file system's superblock. A table without partitions is nothing.
fn is_blank(disk: &mut (impl Read + Seek), sector: u64) -> io::Result<bool> {
    const EDGE: u64 = 1 << 20;
    const SAMPLES: u64 = 64;
    const SAMPLE: u64 = 64 << 10;
    let size = disk.seek(SeekFrom::End(0))?;
    let edges = [(0, EDGE), (size.saturating_sub(EDGE), EDGE)];
    for (at, length) in edges.into_iter().chain((1..SAMPLES).map(|n| (size / SAMPLES * n, SAMPLE))) {
        let mut bytes = Vec::new();
        disk.seek(SeekFrom::Start(at))?;
        disk.take(length).read_to_end(&mut bytes)?;
        if at == 0 {
            clear_mbr(&mut bytes);
            clear_table(&mut bytes, 0, 1, sector);
        } else if at == size.saturating_sub(EDGE) {
            clear_table(&mut bytes, at, (size / sector).saturating_sub(1), sector);
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(backup::find(disk)?.is_none())
}

/// Clears a protective MBR in the first bytes of a disk, or as much as there is of one. It is not written in one piece.
fn clear_mbr(head: &mut [u8]) {
    if let Some(mbr) = head.first_chunk_mut::<512>().filter(|mbr| matches!(mbr[450], 0 | 0xee)) {
        mbr[446..462].fill(0);
        if mbr[510..] == [0x55, 0xaa] {
            mbr[510..].fill(0);
        }
    }
}

/// Clears in bytes of a disk, which begin at `at`, what a claim leaves there that was cut off: the header of a table, which lies in sector
/// `lba`, and in the backup the entry that the first table does not have yet.
fn clear_table(edge: &mut [u8], at: u64, lba: u64, sector: u64) {
    let place = |lba: u64| usize::try_from(lba.checked_mul(sector)?.checked_sub(at)?).ok();
    let Some(from) = place(lba) else { return };
    let Some(Ok(header)) = edge.get(from..).map(|bytes| gpt::parse_header(bytes, lba)) else { return };
    let Some(entries) = place(header.entries_lba) else { return };
    let Some(bytes) = edge.get_mut(entries..entries.saturating_add(gpt::entries_size(&header))) else { return };
    if lba != 1 && gpt::parse_entry(1, bytes).is_some_and(|entry| is_state(&entry)) {
        bytes[..gpt::ENTRY].fill(0);
    }
    edge[from..from + gpt::HEADER].fill(0);
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::init::{gpt::tests::disk as bytes, state::table::tests::Failing};

    fn disk(name: &str) -> Disk {
        Disk { name: name.into(), size: 2 << 20, sector: 512, read_only: false }
    }

    /// `a...` has a state partition, `b...` holds nothing, `x...` cannot be read.
    fn read(disk: &Disk) -> Result<Table, GptError> {
        match &disk.name[..1] {
            "a" => gpt::read(&mut Cursor::new(bytes()), 512),
            "b" => Err(GptError::None),
            _ => Err(GptError::Read(io::ErrorKind::Other.into())),
        }
    }

    fn choice(names: &[&str], root: Option<&str>) -> Result<Option<String>, String> {
        let all = names.iter().map(|name| disk(name)).collect();
        let found = choose(all, root.map(disk).as_ref(), read).map_err(|why| why.to_string())?;
        Ok(found.map(|found| found.disk.name))
    }

    #[test]
    fn the_state_is_the_root_disks_or_the_only_one() {
        assert_eq!(choice(&[], None), Ok(None));
        assert_eq!(choice(&["b1", "b2"], None), Ok(None));
        assert_eq!(choice(&["b1", "a1"], None), Ok(Some("a1".into())));
        assert_eq!(choice(&["b1", "a1"], Some("b1")), Ok(Some("a1".into())));
        assert_eq!(choice(&["a1", "a2"], Some("a2")), Ok(Some("a2".into())));
    }

    #[test]
    fn two_states_beside_the_root_are_refused_by_name() {
        for root in [None, Some("b1")] {
            let why = choice(&["a1", "b1", "a2"], root).unwrap_err();
            assert!(why.contains("a1, a2"), "{why}");
        }
    }

    #[test]
    fn a_disk_that_cannot_be_read_may_hold_the_state() {
        let why = choice(&["b1", "x1"], Some("b1")).unwrap_err();
        assert!(why.contains("x1"), "{why}");
        assert_eq!(choice(&["x1", "a1"], None), Ok(Some("a1".into())), "the state is found: nothing to fear");
    }

    /// The state of a disk decides what the next boot does, so every one that a cut can leave is looked at: it is finished, or blank, and
    /// then it can be claimed.
    #[test]
    fn a_claim_that_a_power_cut_ends_is_made_again() {
        const SIZE: usize = 70 << 20;
        let claim = |disk: &mut Failing| {
            table::initialise(disk, 512, Guid([1; 16]))?;
            table::add_state(disk, 512, Guid([2; 16]))
        };
        let has_state = |disk: &mut Cursor<Vec<u8>>| gpt::read(disk, 512).is_ok_and(|t| state_partition(&t).is_some());
        let (mut last, mut seen, mut finished) = (Vec::new(), 0, 0);
        // From inside the MBR to behind the last byte.
        for cut in (0..80).chain((80..220_000).step_by(512)) {
            let mut disk = Failing(Cursor::new(vec![0; SIZE]), cut, 512);
            let done = claim(&mut disk).is_ok();
            let bytes = disk.0.get_ref();
            let edges = [&bytes[..40 << 10], &bytes[SIZE - (40 << 10)..]].concat();
            if edges == last {
                continue;
            }
            (last, seen) = (edges, seen + 1);
            if has_state(&mut disk.0) {
                finished += 1;
                continue;
            }
            assert!(!done && is_blank(&mut disk.0, 512).unwrap(), "{cut}");
            disk.1 = usize::MAX;
            claim(&mut disk).unwrap();
            assert!(has_state(&mut disk.0), "{cut}");
        }
        assert!(seen > 8 && finished > 1, "{seen} {finished}");
    }

    #[test]
    fn a_table_with_a_partition_is_somebodys() {
        let mut disk = Failing(Cursor::new(vec![0; 70 << 20]), usize::MAX, 1);
        table::initialise(&mut disk, 512, Guid([1; 16])).unwrap();
        let mut disk = disk.0;
        assert!(is_blank(&mut disk, 512).unwrap());
        let end = disk.get_ref().len();
        for at in [0, 440, 450, 462, 512 + 24, 512 + 100, 1024, end - 33 * 512, end - 500, end - 1] {
            let byte = std::mem::replace(&mut disk.get_mut()[at], 7);
            assert!(!is_blank(&mut disk, 512).unwrap(), "{at}");
            disk.get_mut()[at] = byte;
        }
        table::add_state(&mut disk, 512, Guid([2; 16])).unwrap();
        assert!(!is_blank(&mut disk, 512).unwrap(), "the state itself");
    }

    #[test]
    fn one_byte_in_a_sample_or_at_an_edge_is_somebodys_data() {
        let size = 68 << 20;
        let mut disk = Cursor::new(vec![0; size]);
        assert!(is_blank(&mut disk, 512).unwrap());
        for at in [0, (1 << 20) - 1, size / 64, size / 2 + 1000, size / 64 * 63, size - (1 << 20), size - 1] {
            disk.get_mut()[at] = 1;
            assert!(!is_blank(&mut disk, 512).unwrap(), "{at}");
            disk.get_mut()[at] = 0;
        }
        disk.get_mut()[8193 * 1024 + 56..][..2].copy_from_slice(&[0x53, 0xef]);
        assert!(!is_blank(&mut disk, 512).unwrap(), "the backup of a file system");
    }
}
