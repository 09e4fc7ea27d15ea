//! Whether a boot that cannot go on should end in a reboot: when there is another system that the boot loader may fall back to.

use std::{fs::File, io::Read as _, path::Path};

use crate::{cmdline::Cmdline, slots::Slot};

use super::{disks, gpt, rootfs::RootSpec, verity::RootHash};

/// Whether the other slot holds a root. A boot loader that counts tries comes to it by itself, when this one is restarted often
/// enough; without one, restarting would only take the last words away.
pub(super) fn exists() -> bool {
    let text = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let Ok(RootSpec::Verity(ours)) = super::rootfs::spec(&Cmdline::parse(&text), false) else { return false };
    disks::list(Path::new("/sys")).iter().any(|disk| {
        let numbers = disk.table().map(|table| candidates(&table, &ours)).unwrap_or_default();
        numbers.into_iter().any(|number| {
            let mut magic = [0; 4];
            let read = File::open(disk.partition_node(number)).and_then(|mut file| file.read_exact(&mut magic));
            read.is_ok() && magic == *b"hsqs"
        })
    })
}

/// The numbers of a disk's root partitions that are not ours, when one is: another disk's slots are not the loader's choice.
fn candidates(table: &gpt::Table, ours: &RootHash) -> Vec<u32> {
    let roots = || table.partitions.iter().filter(|p| Slot::ALL.iter().any(|slot| slot.root_label() == p.name));
    if !roots().any(|partition| partition.guid == ours.data) {
        return Vec::new();
    }
    roots().filter(|partition| partition.guid != ours.data).map(|partition| partition.number).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn only_the_other_slot_of_the_same_disk_counts() {
        let hash = |byte: u8| RootHash::parse(&format!("{byte:02x}").repeat(32)).unwrap();
        let mut disk = Cursor::new(vec![0; 2 << 20]);
        let mut table = gptman::GPT::new_from(&mut disk, 512, [7; 16]).unwrap();
        for (number, name, guid) in
            [(1, "steppe-esp", 9), (2, "steppe-root-a", 1), (3, "steppe-verity-a", 8), (4, "steppe-root-b", 2)]
        {
            table[number] = gptman::GPTPartitionEntry {
                partition_type_guid: [5; 16],
                unique_partition_guid: [guid; 16],
                starting_lba: 2048 + u64::from(number) * 100,
                ending_lba: 2057 + u64::from(number) * 100,
                attribute_bits: 0,
                partition_name: name.into(),
            };
        }
        table.write_into(&mut disk).unwrap();
        let table = gpt::read(&mut disk, 512).unwrap();
        assert_eq!(candidates(&table, &hash(1)), [4]);
        assert_eq!(candidates(&table, &hash(2)), [2]);
        assert!(candidates(&table, &hash(3)).is_empty());
    }
}
