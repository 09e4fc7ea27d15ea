//! A volume of a few clusters, damaged in every way that a power cut leaves.

use std::io::Cursor;

use proptest::prelude::*;

use super::{
    fall_back::{self, FallBackError},
    records::tests::records,
    *,
};
use crate::slots::config;

const CLUSTER: usize = 512;
const LAST: u32 = 40;
/// One boot sector, one with the numbers, two tables.
const DATA: usize = 4 * 512;
const IN_USE: usize = 65;

/// A volume whose directories are the root (2), `EFI` (3), `EFI/Linux` (4) and `b` (5).
struct Fixture {
    bytes: Vec<u8>,
}

impl Fixture {
    fn new() -> Self {
        let mut bytes = vec![0; DATA + (LAST as usize - 1) * CLUSTER];
        bytes[11..13].copy_from_slice(&512_u16.to_le_bytes());
        (bytes[13], bytes[14], bytes[16], bytes[36], bytes[44], bytes[48]) = (1, 2, 2, 1, 2, 1);
        let sectors = u32::try_from(bytes.len() / 512).unwrap();
        bytes[32..36].copy_from_slice(&sectors.to_le_bytes());
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        bytes[512..516].copy_from_slice(b"RRaA");
        bytes[996..1000].copy_from_slice(b"rrAa");
        let mut volume = Self { bytes };
        volume.link(0, 0x0fff_fff8);
        volume.link(1, 0x0fff_ffff);
        (2..6).for_each(|directory| volume.link(directory, END));
        volume.put(2, 0, &[records("", b"EFI        ", 0x10, 3, 0), records("b", b"B          ", 0x10, 5, 0)].concat());
        // Used before, so that what comes later is looked at.
        (0..CLUSTER / RECORD).for_each(|place| volume.put(4, place, &[DELETED]));
        volume.put(3, 0, &records("Linux", b"LINUX      ", 0x10, 4, 0));
        volume
    }

    fn link(&mut self, cluster: u32, to: u32) {
        for table in [1024, 1536] {
            let at = table + cluster as usize * 4;
            self.bytes[at..at + 4].copy_from_slice(&to.to_le_bytes());
        }
    }

    fn chain(&mut self, clusters: &[u32]) {
        for pair in clusters.windows(2) {
            self.link(pair[0], pair[1]);
        }
        self.link(*clusters.last().unwrap(), END);
    }

    /// Puts records into the directory in a cluster, after so many others.
    fn put(&mut self, directory: u32, after: usize, records: &[u8]) {
        let at = DATA + (directory as usize - 2) * CLUSTER + after * RECORD;
        self.bytes[at..at + records.len()].copy_from_slice(records);
    }

    fn entry(&mut self, after: usize, name: &str, first: u32, clusters: u32) {
        let short = format!("STEPPE~{after}EFI");
        let short = format!("{short:<11}").into_bytes()[..11].try_into().unwrap();
        let size = clusters * u32::try_from(CLUSTER).unwrap();
        self.put(4, after, &records(name, &short, 0x20, first, size));
    }

    fn check(&mut self) -> Result<Report, FatError> {
        let size = self.bytes.len() as u64;
        check(&mut Cursor::new(&mut self.bytes), size, Slot::B)
    }

    fn dropped(&mut self) -> Vec<String> {
        let report = self.check().unwrap();
        // What is in order stays as it is.
        let before = self.bytes.clone();
        assert_eq!(self.check().unwrap(), Report::default());
        assert!(self.bytes == before);
        report.dropped
    }

    fn free(&self) -> u32 {
        u32::from_le_bytes(self.bytes[1000..1004].try_into().unwrap())
    }
}

const RUNNING: &str = "steppe-0000000001-a.efi";
const IDLE: &str = "steppe-0000000002-b+3.efi";

#[test]
fn what_nothing_leads_to_is_free() {
    let mut volume = Fixture::new();
    volume.chain(&[10, 11, 14]);
    volume.entry(0, RUNNING, 10, 3);
    volume.chain(&[20, 21, 22]);
    // The second table is that of before, and the volume was in use.
    volume.bytes[1536 + 80] = 7;
    volume.bytes[IN_USE] = 1;
    volume.link(1, 0x07ff_ffff);
    let report = volume.check().unwrap();
    assert_eq!(report, Report { dropped: vec![], freed: 3 });
    assert!(volume.bytes[1024..1536] == volume.bytes[1536..2048]);
    assert_eq!((volume.bytes[IN_USE], volume.bytes[1031] & 0xc), (0, 0xc));
    assert_eq!(volume.free(), LAST - 1 - 4 - 3);
    assert_eq!(report.to_string(), "3 clusters were nobody's");
}

#[test]
fn damaged_files_of_the_idle_slot_go() {
    // Too short, too long, into nothing, into the running slot's.
    for chain in [&[20, 21][..], &[20, 21, 22, 23], &[20, 21, 0], &[20, 21, 11]] {
        let mut volume = Fixture::new();
        volume.chain(&[10, 11, 14]);
        volume.entry(0, RUNNING, 10, 3);
        for pair in chain.windows(2) {
            volume.link(pair[0], pair[1]);
        }
        if chain.last() != Some(&11) && chain.last() != Some(&0) {
            volume.link(*chain.last().unwrap(), END);
        }
        volume.entry(3, IDLE, 20, 3);
        volume.put(5, 0, &records("vmlinuz", b"VMLINUZ    ", 0x20, 21, 100));
        let before = volume.bytes.clone();
        assert_eq!(
            volume.dropped(),
            ["efi/linux/steppe-0000000002-b+3.efi", "b/vmlinuz"][..if chain.len() == 2 { 1 } else { 2 }],
            "{chain:?}"
        );
        assert!(volume.bytes[1024 + 40..1024 + 60] == before[1024 + 40..1024 + 60], "the chain of the running slot");
    }
}

#[test]
fn of_two_names_for_one_file_the_later_stays() {
    for (names, gone) in [
        (["steppe-0000000001-a+2-1.efi", RUNNING], "steppe-0000000001-a+2-1.efi"),
        (["steppe-0000000003-a.efi", RUNNING], RUNNING),
        (["steppe-0000000002-b+3.efi", "steppe-0000000002-b+2-1.efi"], "steppe-0000000002-b+3.efi"),
        (["update.part", IDLE], "update.part"),
    ] {
        let mut volume = Fixture::new();
        volume.chain(&[10, 11]);
        volume.entry(0, names[0], 10, 2);
        volume.entry(4, names[1], 10, 2);
        assert_eq!(volume.dropped(), [format!("efi/linux/{gone}")], "{names:?}");
    }
}

#[test]
fn pieces_of_names_and_empty_entries_go() {
    let mut volume = Fixture::new();
    volume.chain(&[10, 11]);
    volume.entry(0, RUNNING, 10, 2);
    volume.entry(3, "steppe-0000000001-a+1-1.efi", 0, 0);
    volume.entry(7, IDLE, 20, 1);
    volume.link(20, END);
    // The first piece of the name of the idle slot's entry is lost.
    volume.put(4, 7, &[DELETED]);
    assert_eq!(volume.dropped(), ["efi/linux/steppe-0000000001-a+1-1.efi", "efi/linux/steppe~7.efi"]);
    // What may be the running system is kept.
    volume = Fixture::new();
    volume.entry(7, RUNNING, 20, 1);
    volume.link(20, END);
    volume.put(4, 7, &[DELETED]);
    assert_eq!(volume.dropped(), [""; 0]);
}

#[test]
fn nothing_is_changed_when_the_running_slot_is_damaged() {
    let mut volume = Fixture::new();
    volume.chain(&[10, 11]);
    volume.entry(0, RUNNING, 10, 3);
    volume.chain(&[20, 21]);
    let before = volume.bytes.clone();
    let why = volume.check().unwrap_err().to_string();
    assert!(why.starts_with("efi/linux/steppe-0000000001-a.efi on the EFI system partition is damaged"), "{why}");
    volume.link(3, 5);
    assert!(volume.check().unwrap_err().to_string().starts_with("the directory /b on"));
    volume.link(3, END);
    assert!(volume.bytes == before);
    volume.bytes[510] = 0;
    assert!(matches!(volume.check(), Err(FatError::Volume("it has no boot sector of FAT32"))));
}

impl Fixture {
    /// A volume that BIOS boots too, with a proven system in slot a, which is started, and this entry beside it.
    fn bootable(other: &str) -> Self {
        let mut volume = Self::new();
        [6, 7, 10, 20].into_iter().for_each(|cluster| volume.link(cluster, END));
        volume.put(2, 3, &records("syslinux", b"SYSLINUX   ", 0x10, 6, 0));
        let text = config::syslinux(Slot::A, "");
        volume.put(6, 0, &records("syslinux.cfg", b"SYSLINUXCFG", 0x20, 7, u32::try_from(text.len()).unwrap()));
        volume.put(7, 0, text.as_bytes());
        // The directory of the entries has a second cluster, and a name that lies in both.
        volume.chain(&[4, 8]);
        volume.entry(0, other, 20, 1);
        let mut name = records(RUNNING, b"STEPPE~9EFI", 0x20, 10, u32::try_from(CLUSTER).unwrap());
        let second = name.split_off(RECORD);
        volume.put(4, 15, &name);
        volume.put(8, 0, &second);
        volume
    }

    fn fall_back(&mut self) -> Result<(), FallBackError> {
        let size = self.bytes.len() as u64;
        let mut disk = Cursor::new(&mut self.bytes);
        Ok(fall_back::plan(&mut disk, size, Slot::A)?.write(&mut disk)?)
    }

    fn names(&mut self) -> Vec<String> {
        let size = self.bytes.len() as u64;
        let entries = fall_back::entries(&mut Cursor::new(&mut self.bytes), size).unwrap();
        entries.iter().map(ToString::to_string).collect()
    }

    fn default(&self) -> Option<Slot> {
        config::default_of(std::str::from_utf8(&self.bytes[DATA + 5 * CLUSTER..][..100]).unwrap())
    }
}

const PROVEN: &str = "steppe-0000000002-b.efi";

#[test]
fn the_other_slot_boots_by_both_firmwares_and_nothing_else_is_touched() {
    let mut volume = Fixture::bootable(PROVEN);
    assert_eq!((volume.names(), volume.default()), (vec![PROVEN.into(), RUNNING.into()], Some(Slot::A)));
    let before = volume.bytes.clone();
    volume.fall_back().unwrap();
    assert_eq!(volume.names(), [PROVEN, "steppe-0000000000-a.efi"]);
    assert_eq!(volume.default(), Some(Slot::B));
    // The last digit of the generation, and the letter.
    let changed = before.iter().zip(&volume.bytes).filter(|(before, after)| before != after).count();
    assert_eq!(changed, 2);
    assert_eq!(volume.check().unwrap(), Report::default());
    // What was cut off is done by another try.
    volume.fall_back().unwrap();
    assert_eq!(volume.names(), [PROVEN, "steppe-0000000000-a.efi"]);
}

#[test]
fn every_digit_of_a_generation_is_found() {
    let mut volume = Fixture::bootable(PROVEN);
    volume.bytes.splice(DATA + 2 * CLUSTER..DATA + 3 * CLUSTER, [0xe5; CLUSTER]);
    volume.entry(0, PROVEN, 20, 1);
    volume.entry(5, "steppe-9876543219-a+2-1.efi", 10, 1);
    volume.fall_back().unwrap();
    assert_eq!(volume.names(), [PROVEN, "steppe-0000000000-a+2-1.efi"]);
}

#[test]
fn nothing_boots_that_never_worked() {
    for (other, why) in [
        ("steppe-0000000002-b+3.efi", "never became healthy"),
        ("steppe-0000000002-b+0-3.efi", "never became healthy"),
        ("steppe-0000000000-b.efi", "could not be read"),
        ("update.part", "slot b is empty"),
    ] {
        let mut volume = Fixture::bootable(other);
        let before = volume.bytes.clone();
        let refused = volume.fall_back().unwrap_err().to_string();
        assert!(refused.contains(why), "{other}: {refused}");
        assert!(volume.bytes == before);
    }
}

#[test]
fn a_disk_for_uefi_alone_falls_back_as_well_and_a_damaged_text_is_refused() {
    let mut volume = Fixture::bootable(PROVEN);
    let at = DATA + 5 * CLUSTER + "DEFAULT ".len();
    volume.bytes[at..at + 5].copy_from_slice(b"WRONG");
    assert!(volume.fall_back().unwrap_err().to_string().starts_with("syslinux/syslinux.cfg on the EFI"));
    volume.put(2, 3, &[DELETED]);
    volume.put(2, 4, &[DELETED]);
    volume.fall_back().unwrap();
    assert_eq!(volume.names(), [PROVEN, "steppe-0000000000-a.efi"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever is wrong with it: no panic, and nothing else is written than letters in its directories and its text.
    #[test]
    fn any_damage_is_refused_or_the_other_slot_boots(
        links in prop::collection::vec((2..=LAST, 0..=LAST + 4), 0..4),
        bytes in prop::collection::vec((0..DATA + 8 * CLUSTER, any::<u8>()), 0..4),
    ) {
        let mut volume = Fixture::bootable(PROVEN);
        for (from, to) in links {
            volume.link(from, if to > LAST { END } else { to });
        }
        for (at, byte) in bytes {
            volume.bytes[at] = byte;
        }
        let before = volume.bytes.clone();
        match volume.fall_back() {
            Ok(()) => {
                let changed = before.iter().zip(&volume.bytes).filter(|(before, after)| before != after);
                prop_assert!(changed.clone().all(|(_, after)| matches!(after, b'0' | b'b')) && changed.count() <= 22);
                prop_assert!(volume.names().iter().all(|name| !name.contains("-a") || name.contains("-0000000000-a")));
            }
            Err(_) => prop_assert!(volume.bytes == before),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever stands in the tables and the directories: no panic, the chain of a file that stays is as it was, and twice is as good as
    /// once.
    #[test]
    fn any_damage_is_refused_or_put_in_order(
        links in prop::collection::vec((6..=LAST, 0..=LAST + 4), 0..60),
        files in prop::collection::vec((0..6_usize, 0..=LAST + 2, 0..6_u32), 0..5),
        bytes in prop::collection::vec((0..DATA + 4 * CLUSTER, any::<u8>()), 0..4),
    ) {
        let mut volume = Fixture::new();
        volume.chain(&[10, 11, 14]);
        for (from, to) in links {
            if ![10, 11, 14].contains(&from) {
                volume.link(from, if to > LAST { END } else { to });
            }
        }
        volume.entry(0, RUNNING, 10, 3);
        for (number, (kind, first, clusters)) in files.into_iter().enumerate() {
            let name = [IDLE, "update.part", "steppe-0000000001-a+2-1.efi", "other.efi", "steppe-0000000003-b.efi", ""][kind];
            volume.entry(3 + 3 * number, name, first, clusters);
        }
        let sound = bytes.is_empty();
        for (at, byte) in bytes {
            volume.bytes[at] = byte;
        }
        let before = volume.bytes.clone();
        match volume.check() {
            Ok(_) => {
                let once = volume.bytes.clone();
                volume.check().unwrap();
                prop_assert!(volume.bytes == once);
                if sound {
                    prop_assert!(once[1024 + 40..1024 + 48] == before[1024 + 40..1024 + 48] && once[1024 + 56..1024 + 60] == before[1024 + 56..1024 + 60]);
                }
                // No byte of a file is touched.
                prop_assert!(once[DATA + 4 * CLUSTER..] == before[DATA + 4 * CLUSTER..] || !sound);
            }
            Err(_) => prop_assert!(volume.bytes == before),
        }
    }

    #[test]
    fn any_bytes_are_a_volume_or_not(mut bytes in prop::collection::vec(any::<u8>(), 512..4096), known in 0..90_usize) {
        bytes[..known].copy_from_slice(&Fixture::new().bytes[..known]);
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        let size = bytes.len() as u64;
        let _ = check(&mut Cursor::new(&mut bytes), size, Slot::A);
    }
}
