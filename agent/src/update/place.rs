//! Where an update goes: the partitions of the idle slot, on the disk that the running root is on.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use nix::sys::stat::{major, minor};

use crate::{
    cmdline::Cmdline,
    init::{
        disks::{self, Disk},
        gpt::{Guid, Partition, Table},
        verity::RootHash,
    },
    slots::{ESP_LABEL, Slot},
};

/// The partitions that matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The slot that runs.
    pub running: Slot,
    /// The idle slot's partition for the root.
    pub root: Partition,
    /// The idle slot's partition for the hash tree.
    pub verity: Partition,
    /// The EFI system partition.
    pub esp: Partition,
    /// Size of a sector in bytes.
    pub sector: u64,
}

/// Why there is no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Booted from the network or a CD.
    #[error("this system runs from no disk with slots: boot a newer image instead")]
    NoDisk,
    /// A disk from before slots, or from elsewhere.
    #[error("the disk has no partition {0:?}: it was not made for updates")]
    NoPartition(&'static str),
    /// Both slots have the identifier of the running root.
    #[error("both slots hold the same system: it is not certain which one runs")]
    Ambiguous,
}

/// The identifier of the partition that the running root is on, by the kernel's command line.
#[must_use]
pub fn root_guid(cmdline: &Cmdline) -> Option<Guid> {
    (cmdline.value("roothash").and_then(RootHash::parse).map(|hash| hash.data))
        .or_else(|| cmdline.value("root").and_then(|root| root.strip_prefix("PARTUUID=")).and_then(Guid::parse))
}

/// The disk with the running root, and the place on it.
///
/// # Errors
/// When there is none.
pub fn find(sys: &Path, cmdline: &Cmdline) -> Result<(Disk, Place), PlaceError> {
    let guid = root_guid(cmdline).ok_or(PlaceError::NoDisk)?;
    let device = fs::metadata("/").map_err(|_| PlaceError::NoDisk)?.dev();
    let disk = disks::of_device(sys, major(device), minor(device)).ok_or(PlaceError::NoDisk)?;
    let table = disk.table().map_err(|_| PlaceError::NoDisk)?;
    let place = on(&table, guid)?;
    Ok((disk, place))
}

/// The slot that runs, by the names of the partitions below the device of the root.
#[must_use]
pub fn running(sys: &Path) -> Option<Slot> {
    let device = fs::metadata("/").ok()?.dev();
    let names = disks::partition_names(sys, major(device), minor(device));
    Slot::ALL.into_iter().find(|slot| names.iter().any(|name| slot.root_label() == name))
}

/// The place on a disk whose root partition with the identifier `guid` runs.
///
/// # Errors
/// When the disk is not made for updates.
pub fn on(table: &Table, guid: Guid) -> Result<Place, PlaceError> {
    let named = |name: &'static str| {
        table.partitions.iter().find(|partition| partition.name == name).ok_or(PlaceError::NoPartition(name))
    };
    let runs = |slot: Slot| named(slot.root_label()).map(|partition| partition.guid == guid);
    let running = match (runs(Slot::A)?, runs(Slot::B)?) {
        (true, false) => Slot::A,
        (false, true) => Slot::B,
        (true, true) => return Err(PlaceError::Ambiguous),
        (false, false) => return Err(PlaceError::NoDisk),
    };
    let idle = running.other();
    Ok(Place {
        running,
        root: named(idle.root_label())?.clone(),
        verity: named(idle.verity_label())?.clone(),
        esp: named(ESP_LABEL)?.clone(),
        sector: table.sector,
    })
}

/// Size of a partition in bytes.
#[must_use]
pub const fn size(partition: &Partition, sector: u64) -> u64 {
    (partition.last - partition.first + 1) * sector
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::gpt::Header;

    fn table() -> Table {
        let partition = |number: u32, name: &str| Partition {
            number,
            type_guid: Guid([1; 16]),
            guid: Guid([u8::try_from(number).unwrap(); 16]),
            first: u64::from(number) * 100,
            last: u64::from(number) * 100 + 99,
            name: name.into(),
        };
        let names = ["steppe-esp", "steppe-root-a", "steppe-verity-a", "steppe-root-b", "steppe-verity-b"];
        Table {
            sector: 512,
            header: Header::default(),
            partitions: (1..).zip(names).map(|(number, name)| partition(number, name)).collect(),
        }
    }

    #[test]
    fn the_slot_beside_the_running_one_is_the_place() {
        let place = on(&table(), Guid([2; 16])).unwrap();
        assert_eq!((place.running, place.root.number, place.verity.number, place.esp.number), (Slot::A, 4, 5, 1));
        assert_eq!(size(&place.root, 512), 51_200);
        let place = on(&table(), Guid([4; 16])).unwrap();
        assert_eq!((place.running, place.root.number, place.verity.number), (Slot::B, 2, 3));
    }

    #[test]
    fn when_it_is_not_certain_nothing_is_the_place() {
        assert_eq!(on(&table(), Guid([5; 16])), Err(PlaceError::NoDisk));
        let mut same = table();
        same.partitions[3].guid = Guid([2; 16]);
        assert_eq!(on(&same, Guid([2; 16])), Err(PlaceError::Ambiguous));
        let mut old = table();
        old.partitions.pop();
        assert_eq!(on(&old, Guid([2; 16])), Err(PlaceError::NoPartition("steppe-verity-b")));
    }

    #[test]
    fn the_root_is_known_by_the_command_line() {
        let hash = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        let guid = Guid::parse("00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(root_guid(&Cmdline::parse(&format!("quiet roothash={hash}"))), guid);
        assert_eq!(root_guid(&Cmdline::parse("root=PARTUUID=00010203-0405-0607-0809-0a0b0c0d0e0f")), guid);
        assert_eq!(root_guid(&Cmdline::parse("root=/dev/vda2 roothash=1")), None);
    }
}
