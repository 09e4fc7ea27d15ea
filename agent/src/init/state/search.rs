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
        gpt::{GptError, Guid, Partition, Table},
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
    let type_guid = Guid::parse(paths::STATE_TYPE_GUID);
    table.partitions.iter().find(|p| Some(p.type_guid) == type_guid && p.name == paths::STATE_LABEL)
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
        match File::open(disk.node()).and_then(|mut file| is_blank(&mut file)) {
            Ok(true) => return Ok(Some(disk)),
            Ok(false) => {}
            Err(source) => return Err(StateError::Unreadable { disk: disk.name, source }),
        }
    }
    Ok(None)
}

/// Whether a disk holds nothing: only zero bytes at its start, at its end and in samples all over it, and no backup of a
/// file system's superblock.
fn is_blank(disk: &mut (impl Read + Seek)) -> io::Result<bool> {
    const EDGE: u64 = 1 << 20;
    const SAMPLES: u64 = 64;
    const SAMPLE: u64 = 64 << 10;
    let size = disk.seek(SeekFrom::End(0))?;
    let edges = [(0, EDGE), (size.saturating_sub(EDGE), EDGE)];
    for (at, length) in edges.into_iter().chain((1..SAMPLES).map(|n| (size / SAMPLES * n, SAMPLE))) {
        let mut bytes = Vec::new();
        disk.seek(SeekFrom::Start(at))?;
        disk.take(length).read_to_end(&mut bytes)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(backup::find(disk)?.is_none())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::init::gpt::{self, tests::disk as bytes};

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

    #[test]
    fn one_byte_in_a_sample_or_at_an_edge_is_somebodys_data() {
        let size = 68 << 20;
        let mut disk = Cursor::new(vec![0; size]);
        assert!(is_blank(&mut disk).unwrap());
        for at in [0, (1 << 20) - 1, size / 64, size / 2 + 1000, size / 64 * 63, size - (1 << 20), size - 1] {
            disk.get_mut()[at] = 1;
            assert!(!is_blank(&mut disk).unwrap(), "{at}");
            disk.get_mut()[at] = 0;
        }
        disk.get_mut()[8193 * 1024 + 56..][..2].copy_from_slice(&[0x53, 0xef]);
        assert!(!is_blank(&mut disk).unwrap(), "the backup of a file system");
    }
}
