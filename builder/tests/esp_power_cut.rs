//! Power cuts while the EFI system partition is written: any part of what was on its way is on the medium, and the agent's check makes
//! a partition of it that boots the running system, takes the next update, and in which `fsck.vfat` finds nothing.

mod common;

use std::{
    env,
    io::{self, Cursor, Read, Seek, SeekFrom, Write},
    process::Command,
};

use agent::{
    slots::{self, Slot, entry::Entry},
    update::fat,
};
use builder::{
    architecture::Architecture,
    fat::{File, Identity, Volume},
};
use fatfs::{FileSystem, FsOptions};
use proptest::prelude::*;

const SIZE: u64 = 35 << 20;
const SECTOR: usize = 512;
/// More than a third of the volume: what is lost of one update and not freed leaves no room for two more.
const UKI: usize = 12 << 20;

/// A disk that keeps what it was told to write, sector by sector.
struct Recorder {
    disk: Cursor<Vec<u8>>,
    written: Vec<(usize, Vec<u8>)>,
}

impl Read for Recorder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.read(buffer)
    }
}

impl Write for Recorder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let start = usize::try_from(self.disk.position()).unwrap() / SECTOR;
        let count = self.disk.write(bytes)?;
        let end = usize::try_from(self.disk.position()).unwrap().div_ceil(SECTOR);
        for sector in start..end {
            self.written.push((sector, self.disk.get_ref()[sector * SECTOR..][..SECTOR].to_vec()));
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Recorder {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.disk.seek(to)
    }
}

fn running() -> Vec<(String, Vec<u8>)> {
    let entry = format!("{}/{}", slots::ENTRIES, Entry::new(1, Slot::A));
    let files = [
        (Architecture::X86_64.removable(), 9000),
        (slots::LOADER_CONF, 30),
        (&entry, 50_000),
        (slots::LDLINUX_SYS, 60_000),
        (slots::SYSLINUX_CFG, 100),
        (Slot::A.kernel(), 40_000),
        (Slot::A.initrd(), 20_000),
        (Slot::A.syslinux_cfg(), 70),
    ];
    files.map(|(path, length)| (path.to_owned(), path.bytes().cycle().take(length).collect())).to_vec()
}

/// The volume as the builder makes it, with a slot b that is empty.
fn volume() -> Vec<u8> {
    let running = running();
    let mut files: Vec<File<'_>> = running.iter().map(|(path, bytes)| File::new(path, bytes)).collect();
    files.push(File::new(Slot::B.syslinux_cfg(), b"# empty\n"));
    Volume::make(SIZE, Identity { label: *b"STEPPE-ESP ", id: 7 }, &files).unwrap().bytes
}

/// What an update writes to slot b, as [`agent::update::install`] does it; gives the sectors in the order in which they were written.
fn update(disk: Vec<u8>, generation: u64) -> (Vec<u8>, Vec<(usize, Vec<u8>)>) {
    let mut recorder = Recorder { disk: Cursor::new(disk), written: Vec::new() };
    {
        let fs = FileSystem::new(&mut recorder, FsOptions::new()).unwrap();
        let root = fs.root_dir();
        let part = format!("{}/update.part", slots::ENTRIES);
        let entries = root.open_dir(slots::ENTRIES).unwrap();
        let names: Vec<String> = entries.iter().map(|entry| entry.unwrap().file_name()).collect();
        for name in names.iter().filter(|name| Entry::parse(name).is_some_and(|entry| entry.slot == Slot::B)) {
            entries.remove(name).unwrap();
        }
        for path in [part.as_str(), Slot::B.kernel(), Slot::B.initrd()] {
            let _ = root.remove(path);
        }
        for (path, length) in [(part.as_str(), UKI), (Slot::B.kernel(), 30_000), (Slot::B.initrd(), 5000)] {
            let mut file = root.create_file(path).unwrap();
            let bytes = vec![generation.to_le_bytes()[0]; 1 << 20];
            for at in (0..length).step_by(bytes.len()) {
                file.write_all(&bytes[..bytes.len().min(length - at)]).unwrap();
            }
        }
        let new = format!("{}.new", Slot::B.syslinux_cfg());
        let _ = root.remove(&new);
        root.create_file(&new).unwrap().write_all(b"LABEL b\n").unwrap();
        let _ = root.remove(Slot::B.syslinux_cfg());
        root.rename(&new, &root, Slot::B.syslinux_cfg()).unwrap();
        let entry = Entry::new(generation, Slot::B).on_trial(slots::entry::Tries::NEW);
        root.rename(&part, &root, &format!("{}/{entry}", slots::ENTRIES)).unwrap();
    }
    (recorder.disk.into_inner(), recorder.written)
}

fn read(disk: &mut [u8], path: &str) -> Option<Vec<u8>> {
    let fs = FileSystem::new(Cursor::new(disk), FsOptions::new()).unwrap();
    let mut bytes = Vec::new();
    fs.root_dir().open_file(path).ok()?.read_to_end(&mut bytes).unwrap();
    Some(bytes)
}

/// The agent's check, after which `fsck.vfat` finds nothing, and the running system is as it was.
fn in_order(disk: &mut Vec<u8>) -> fat::Report {
    let report = fat::check(&mut Cursor::new(&mut *disk), SIZE, Slot::B).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &disk).unwrap();
    let path = format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default());
    let said = Command::new("fsck.vfat").args(["-n", "-v"]).arg(file.path()).env("PATH", path).output();
    let said = said.expect("fsck.vfat (package dosfstools)");
    assert!(said.status.success(), "{report:?}\n{}", String::from_utf8_lossy(&said.stdout));
    // The library counts clusters where it mounts, and notes it.
    let mut copy = disk.clone();
    for (path, bytes) in running() {
        assert!(read(&mut copy, &path) == Some(bytes), "{path}");
    }
    report
}

/// Whether a sector reaches the medium, of those that were on their way.
fn arrives(seed: u64, number: usize) -> bool {
    let mixed = (seed ^ number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 63 == 0
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if env::var("STEPPE_SLOW").is_ok_and(|value| value == "1") { 64 } else { 8 }) })]

    /// Several cuts in a row: of each update a part is on the medium, in the order of the writes or in none at all.
    #[test]
    fn a_cut_at_any_place_leaves_what_boots_and_can_be_updated(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), any::<bool>()), 1..4),
    ) {
        let mut disk = volume();
        for (generation, (at, seed, in_order_of_writes)) in (2..).zip(cuts) {
            let (_, written) = update(disk.clone(), generation);
            let end = at.index(written.len() + 1);
            for (number, (sector, bytes)) in written.iter().enumerate() {
                if if in_order_of_writes { number < end } else { arrives(seed, number) } {
                    disk[sector * SECTOR..][..SECTOR].copy_from_slice(bytes);
                }
            }
            in_order(&mut disk);
        }
        let (mut disk, _) = update(disk, 99);
        prop_assert_eq!(in_order(&mut disk), fat::Report::default());
        let uki = read(&mut disk, "EFI/Linux/steppe-0000000099-b+3.efi");
        prop_assert!(uki.is_some_and(|uki| uki.len() == UKI && uki.iter().all(|byte| *byte == 99)));
    }
}

/// Without the check an update finds no room: that is what it is for.
#[test]
fn lost_clusters_pile_up_otherwise() {
    let mut disk = volume();
    for generation in 2..5 {
        let before = disk.clone();
        let fs = FileSystem::new(Cursor::new(&mut disk[..]), FsOptions::new()).unwrap();
        let stats = fs.stats().unwrap();
        if u64::from(stats.free_clusters()) * u64::from(stats.cluster_size()) < UKI as u64 {
            drop(fs);
            let report = in_order(&mut disk);
            assert!(report.freed as usize * SECTOR > 2 * UKI, "{report:?}");
            update(disk, generation);
            return;
        }
        drop(fs);
        // The tables reach the medium, and the directories do not.
        let (after, _) = update(before.clone(), generation);
        let tables = usize::from(u16::from_le_bytes([before[14], before[15]])) * SECTOR;
        let length = usize::try_from(u32::from_le_bytes(before[36..40].try_into().unwrap())).unwrap() * SECTOR;
        disk = before;
        disk[..tables + 2 * length].copy_from_slice(&after[..tables + 2 * length]);
    }
    panic!("three updates found room");
}
