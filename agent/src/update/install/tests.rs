//! Updates of a disk in memory, whole and cut off.

use std::{
    cell::{Cell, RefCell},
    fs,
    io::Cursor,
    path::Path,
    rc::Rc,
};

use proptest::prelude::*;

use super::*;
use crate::{
    init::gpt,
    slots::Slot,
    update::{
        esp::{fixture, once},
        signature::tests::Signer,
        ustar::{header, padding},
        whole::Whole,
    },
};

const RUNNING: Guid = Guid([0xaa; 16]);
const MIB: u64 = 1 << 20;

/// A disk with slots of 1 MiB, the first of which runs.
fn disk() -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; usize::try_from(8 * MIB).unwrap()]);
    let mut table = gptman::GPT::new_from(&mut disk, 512, [1; 16]).unwrap();
    let names = ["steppe-esp", "steppe-root-a", "steppe-verity-a", "steppe-root-b", "steppe-verity-b"];
    for (number, name) in (1u8..).zip(names) {
        table[u32::from(number)] = gptman::GPTPartitionEntry {
            partition_type_guid: [5; 16],
            unique_partition_guid: if number == 2 { RUNNING.0 } else { [number; 16] },
            starting_lba: u64::from(number) * 2048,
            ending_lba: u64::from(number) * 2048 + 2047,
            attribute_bits: 4,
            partition_name: name.into(),
        };
    }
    table.write_into(&mut disk).unwrap();
    let mut disk = disk.into_inner();
    // What must not change.
    let running = usize::try_from(2 * MIB).unwrap();
    disk[running..running + 2 * usize::try_from(MIB).unwrap()].fill(0x55);
    disk
}

fn bytes_of(name: &str) -> Vec<u8> {
    let length = match name {
        "root.squashfs" => 70_000,
        "root.verity" => 4096,
        "uki.efi" => 3001,
        _ => 700,
    };
    name.bytes().cycle().take(length).collect()
}

fn manifest() -> Manifest {
    let part = |at: usize| {
        let bytes = bytes_of(PARTS[at]);
        Part { size: bytes.len() as u64, sha256: Sha256::digest(&bytes).into() }
    };
    Manifest { parts: [part(0), part(1), part(2), part(3), part(4)], ..crate::update::manifest::tests::manifest() }
}

/// The update file.
fn file(manifest: &Manifest, sign: impl Fn(&[u8]) -> Option<String>) -> Vec<u8> {
    let text = manifest.to_json();
    let mut members = vec![("update.json", text.clone().into_bytes())];
    members.extend(sign(text.as_bytes()).map(|signature| ("update.json.minisig", signature.into_bytes())));
    members.extend(PARTS.map(|name| (name, bytes_of(name))));
    let mut file = Vec::new();
    for (name, bytes) in members {
        file.extend(header(name, bytes.len() as u64).unwrap());
        file.extend(&bytes);
        file.resize(file.len() + usize::try_from(padding(bytes.len() as u64)).unwrap(), 0);
    }
    file.resize(file.len() + 1024, 0);
    file
}

/// Writes what its power lasts for.
struct Mains {
    disk: Cursor<Vec<u8>>,
    power: Rc<Cell<usize>>,
}

impl Read for Mains {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.read(buffer)
    }
}

impl Write for Mains {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let size = bytes.len().min(self.power.get());
        self.power.set(self.power.get() - size);
        if size == 0 { Err(io::ErrorKind::Other.into()) } else { self.disk.write(&bytes[..size]) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Mains {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.disk.seek(to)
    }
}

/// A machine with its disk, whose ESP is a directory.
struct Machine {
    dir: tempfile::TempDir,
    disk: Vec<u8>,
    signer: Signer,
    /// What the last update told, with the boot entries at that time.
    told: Vec<(&'static str, Vec<String>)>,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fixture(dir.path());
        Self { dir, disk: disk(), signer: Signer::new(), told: vec![] }
    }

    fn own(&self) -> Own {
        Own {
            key: self.signer.public(),
            role: Role::Server,
            profile: "cloud".into(),
            architecture: "x86_64".into(),
            version: "1.2".parse().unwrap(),
            older: false,
            named: None,
            root: RUNNING,
        }
    }

    fn signed(&self) -> Vec<u8> {
        file(&manifest(), |text| Some(self.signer.sign(text)))
    }

    /// An update with power for so many bytes, and then for so many of the last steps.
    fn update(&mut self, own: &Own, file: impl Read, power: usize, steps: usize) -> Result<Manifest, UpdateError> {
        let mut disk = Cursor::new(std::mem::take(&mut self.disk));
        let place = place::on(&gpt::read(&mut disk, 512).unwrap(), RUNNING).unwrap();
        let disk = Mains { disk, power: Rc::new(Cell::new(power)) };
        let mut installer = Installer { disk, esp: Esp::at(self.dir.path().to_owned()), place };
        let told = RefCell::new(vec![]);
        let tell = |what| told.borrow_mut().push((what, self.entries()));
        let done = installer.install_up_to(file, own, || tell("cleared"), |_| tell("written"), steps);
        self.told = told.into_inner();
        self.disk = installer.disk.disk.into_inner();
        done
    }

    fn whole(&mut self, own: &Own, file: impl Read) -> Result<Manifest, UpdateError> {
        self.update(own, file, usize::MAX, Step::ALL.len())
    }

    fn entries(&self) -> Vec<String> {
        let esp = Esp::at(self.dir.path().to_owned());
        let mut names: Vec<String> = esp.entries().unwrap().iter().map(ToString::to_string).collect();
        names.sort();
        names
    }

    fn default(&self) -> Slot {
        config::default_of(&fs::read_to_string(self.dir.path().join(slots::SYSLINUX_CFG)).unwrap()).unwrap()
    }

    fn region(&self, mib: u64, length: usize) -> &[u8] {
        &self.disk[usize::try_from(mib * MIB).unwrap()..][..length]
    }

    /// The running system is as it was, and boots next unless the update is whole.
    fn is_sound(&self) {
        let table = gpt::read(&mut Cursor::new(&self.disk), 512).unwrap();
        assert_eq!(table.partitions.len(), 5);
        assert_eq!(table.partitions[1].guid, RUNNING);
        assert!(self.region(2, 2 * usize::try_from(MIB).unwrap()).iter().all(|byte| *byte == 0x55));
        let read = |path: &str| fs::read(self.dir.path().join(path)).unwrap();
        assert_eq!(read("EFI/Linux/steppe-0000000001-a.efi"), b"first uki");
        assert_eq!(read("a/vmlinuz"), b"first kernel");
        assert_eq!(self.default(), Slot::A);
        let entries = Esp::at(self.dir.path().to_owned()).entries().unwrap();
        let once = once(self.dir.path());
        if once.is_some() || choice::next(&entries).unwrap().slot == Slot::B {
            self.is_updated();
        }
    }

    /// Slot b holds the update and its entry is on trial.
    fn is_updated(&self) {
        for (mib, name) in [(4, "root.squashfs"), (5, "root.verity")] {
            let bytes = bytes_of(name);
            assert_eq!(self.region(mib, bytes.len()), bytes);
        }
        let table = gpt::read(&mut Cursor::new(&self.disk), 512).unwrap();
        assert_eq!(table.partitions[3].guid.to_string(), "00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(table.partitions[4].guid.to_string(), "10111213-1415-1617-1819-1a1b1c1d1e1f");
        let read = |path: &Path| fs::read(self.dir.path().join(path)).unwrap();
        assert_eq!(read(Path::new("b/vmlinuz")), bytes_of("vmlinuz"));
        assert_eq!(read(Path::new("b/initrd")), bytes_of("initrd"));
        let config = String::from_utf8(read(Path::new("b/slot.cfg"))).unwrap();
        assert!(config.ends_with("APPEND console=ttyS0 roothash=00\n"), "{config}");
        let entry = self.entries().into_iter().find(|name| name.contains("-b")).unwrap();
        assert_eq!(read(&Path::new(slots::ENTRIES).join(entry)), bytes_of("uki.efi"));
    }
}

#[test]
fn an_update_is_installed_and_boots_next_on_trial() {
    let mut machine = Machine::new();
    let (own, file) = (machine.own(), machine.signed());
    assert_eq!(machine.whole(&own, &file[..]).unwrap(), manifest());
    machine.is_sound();
    machine.is_updated();
    assert_eq!(machine.entries(), ["steppe-0000000001-a.efi", "steppe-0000000002-b+3.efi"]);
    assert_eq!(once(machine.dir.path()).as_deref(), Some("b steppe.on-trial"));
    // Once more, for instance with a corrected version: the entry is replaced.
    machine.whole(&own, &file[..]).unwrap();
    assert_eq!(machine.entries(), ["steppe-0000000001-a.efi", "steppe-0000000002-b+3.efi"]);
}

#[test]
fn what_was_pending_is_told_gone_before_its_place_is_written() {
    let mut machine = Machine::new();
    let (own, file) = (machine.own(), machine.signed());
    machine.whole(&own, &file[..]).unwrap();
    let old = || vec!["steppe-0000000001-a.efi".to_owned()];
    assert_eq!(machine.told, [("cleared", old()), ("written", old())]);
    assert_eq!(machine.entries().len(), 2);
    // Another one, whose connection breaks: at once, in the middle, and before its last byte.
    for bytes in [file.len() - 80_000, file.len() / 2, file.len() - 1025] {
        machine.whole(&own, &file[..]).unwrap();
        assert!(machine.whole(&own, &file[..bytes]).is_err());
        assert_eq!(machine.told, [("cleared", old())], "{bytes}");
        assert_eq!((machine.entries(), once(machine.dir.path())), (old(), None));
    }
}

#[test]
fn what_is_not_for_this_node_changes_nothing() {
    let mut machine = Machine::new();
    let own = machine.own();
    let other = Signer::new();
    let signed = machine.signed();
    let resigned = file(&manifest(), |text| Some(other.sign(text)));
    let unsigned = file(&manifest(), |_| None);
    let large = {
        let mut manifest = manifest();
        manifest.parts[4].size = 2 * MIB;
        file(&manifest, |text| Some(machine.signer.sign(text)))
    };
    let before = machine.disk.clone();
    let client = Own { role: Role::Client, ..own.clone() };
    let metal = Own { profile: "metal".into(), ..own.clone() };
    let arm = Own { architecture: "aarch64".into(), ..own.clone() };
    let newer = Own { version: "1.3".parse().unwrap(), ..own.clone() };
    let same = Own { root: Guid::parse("00010203-0405-0607-0809-0a0b0c0d0e0f").unwrap(), ..own.clone() };
    for (own, file, part) in [
        (&own, &resigned, "not by the key of this image"),
        (&own, &unsigned, "is not signed"),
        (&own, &large, "root.verity of the update has 2097152 bytes, its partition has room for 1048576"),
        (&client, &signed, "is for role server, this node is role client: build and sign one for client"),
        (&metal, &signed, "is for profile cloud, this node is profile metal: build and sign one for metal"),
        (&arm, &signed, "is for architecture x86_64"),
        (&newer, &signed, "older than 1.3"),
        (&same, &signed, "the very system that runs"),
    ] {
        let why = machine.whole(own, &file[..]).unwrap_err().to_string();
        assert!(why.contains(part), "{why}");
        assert!(machine.disk == before);
        assert_eq!(machine.entries(), ["steppe-0000000001-a.efi"]);
        assert_eq!(machine.told, []);
    }
    let other = Own { named: Some("9.9".parse().unwrap()), older: true, ..newer.clone() };
    assert!(matches!(machine.whole(&other, &signed[..]), Err(UpdateError::Named { .. })));
    machine.whole(&Own { older: true, ..newer }, &signed[..]).unwrap();
}

#[test]
fn a_clients_update_a_smaller_slot_and_a_grown_disk() {
    let mut machine = Machine::new();
    let (own, signed) = (machine.own(), machine.signed());
    let client = Own { role: Role::Client, ..own.clone() };
    let update = file(&Manifest { role: Role::Client, ..manifest() }, |text| Some(machine.signer.sign(text)));
    machine.whole(&client, &update[..]).unwrap();
    machine.is_updated();

    // As somebody made the disk who had less room for slot b.
    let mut machine = Machine { signer: machine.signer, ..Machine::new() };
    let mut disk = Cursor::new(&mut machine.disk[..]);
    let mut table = gptman::GPT::find_from(&mut disk).unwrap();
    table[4].ending_lba = table[4].starting_lba + 99;
    table.write_into(&mut disk).unwrap();
    let before = machine.disk.clone();
    let why = machine.whole(&own, &signed[..]).unwrap_err().to_string();
    assert_eq!(why, "root.squashfs of the update has 70000 bytes, its partition has room for 51200");
    assert!(machine.disk == before);
    machine.is_sound();

    // The hypervisor made it larger: the table's copy is no longer at its end.
    let mut machine = Machine { signer: machine.signer, ..Machine::new() };
    machine.disk.resize(machine.disk.len() + usize::try_from(4 * MIB).unwrap(), 0);
    machine.whole(&own, &signed[..]).unwrap();
    machine.is_sound();
    machine.is_updated();
}

#[test]
fn a_system_on_trial_is_not_updated() {
    let mut machine = Machine::new();
    let (own, file) = (machine.own(), machine.signed());
    let entries = machine.dir.path().join(slots::ENTRIES);
    fs::rename(entries.join("steppe-0000000001-a.efi"), entries.join("steppe-0000000001-a+2-1.efi")).unwrap();
    assert!(matches!(machine.whole(&own, &file[..]), Err(UpdateError::OnTrial)));
    fs::remove_file(entries.join("steppe-0000000001-a+2-1.efi")).unwrap();
    assert!(matches!(machine.whole(&own, &file[..]), Err(UpdateError::NoEntry(Slot::A))));
}

#[test]
fn a_good_update_that_is_not_the_one_of_the_channel_is_not_installed() {
    let mut machine = Machine::new();
    let (own, file) = (machine.own(), machine.signed());
    let (size, hash) = (file.len() as u64, Sha256::digest(&file).into());
    for (size, hash, part) in [
        (size + 4096, hash, "shorter than the channel says"),
        (size + 1, hash, "shorter than the channel says"),
        (size - 1, hash, "longer than the channel says"),
        (size - 4096, hash, "longer than the channel says"),
        (size, [7; 32], "its SHA-256 is another"),
    ] {
        let why = machine.whole(&own, Whole::new(&file[..], size, hash, |_| {})).unwrap_err().to_string();
        assert!(why.contains(part), "{size}: {why}");
        assert_eq!(machine.entries(), ["steppe-0000000001-a.efi"]);
        machine.is_sound();
    }
    machine.whole(&own, Whole::new(&file[..], size, hash, |_| {})).unwrap();
    machine.is_updated();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Wherever the power or the connection fails, the running system boots, and the next try works.
    #[test]
    fn a_power_cut_leaves_the_running_system(power in 0..140_000_usize, bytes in 0..90_000_usize, steps in 0..5_usize, earlier: bool) {
        let mut machine = Machine::new();
        let (own, file) = (machine.own(), machine.signed());
        if earlier {
            machine.whole(&own, &file[..]).unwrap();
        }
        // One of three ways to end: the stream, the disk, the last steps.
        let (cut, power) = match steps {
            0 => (&file[..bytes.min(file.len())], usize::MAX),
            1 => (&file[..], power),
            _ => (&file[..], usize::MAX),
        };
        let _ = machine.update(&own, cut, power, if steps < 2 { 4 } else { steps - 1 });
        machine.is_sound();
        machine.whole(&own, &file[..]).unwrap();
        machine.is_sound();
        machine.is_updated();
    }

    /// No changed byte of a part is installed.
    #[test]
    fn a_changed_byte_is_noticed(at: prop::sample::Index, bit in 0..8_u32) {
        let mut machine = Machine::new();
        let (own, mut file) = (machine.own(), machine.signed());
        let at = at.index(file.len());
        file[at] ^= 1_u8 << bit;
        let done = machine.whole(&own, &file[..]);
        machine.is_sound();
        if done.is_ok() {
            // Only what fills up blocks counts for nothing.
            machine.is_updated();
        }
    }
}
