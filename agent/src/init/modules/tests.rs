use std::{cell::RefCell, os::unix::fs::symlink};

use proptest::prelude::*;

use super::*;

#[test]
fn comments_blanks_and_marks() {
    let text = "# needed for the root\nkernel/fs/squashfs/squashfs.ko.xz\n\n ?kernel/drivers/a.ko # maybe\n?\n";
    let entries: Vec<_> = parse(text).collect();
    assert_eq!(
        entries,
        [
            Entry { path: "kernel/fs/squashfs/squashfs.ko.xz", optional: false },
            Entry { path: "kernel/drivers/a.ko", optional: true },
        ]
    );
}

#[test]
fn no_list_means_no_modules() {
    let dir = tempfile::tempdir().unwrap();
    let mut loader = Loader::new(dir.path(), "6.12");
    assert_eq!((loader.always().unwrap(), loader.present(dir.path()).unwrap()), (0, 0));
}

#[test]
fn a_missing_module_is_named() {
    let why = insert::insert(Path::new("/nonexistent/virtio_blk.ko.xz")).unwrap_err().to_string();
    assert!(why.starts_with("failed to open module /nonexistent/virtio_blk.ko.xz: "), "{why}");
}

thread_local! {
    /// The machine that [`kernel`] plays: its sysfs, and what was loaded.
    static MACHINE: RefCell<(PathBuf, Vec<String>)> = const { RefCell::new((PathBuf::new(), Vec::new())) };
}

/// Takes the place of the kernel: the driver of the bus `vmbus` finds a network card on it, and one module is not for
/// this machine.
fn kernel(path: &Path) -> Result<bool, ModuleError> {
    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
    if name == "broken" {
        return Err(ModuleError::Load { path: path.to_owned(), source: Errno::ENODEV });
    }
    MACHINE.with_borrow_mut(|(sys, loaded)| {
        if name == "hv_vmbus" {
            device(sys, "vmbus", "nic", "vmbus:635161f83edfc546913ff2d2f965ed0e");
        }
        let new = !loaded.contains(&name);
        if new {
            loaded.push(name);
        }
        Ok(new)
    })
}

fn device(sys: &Path, bus: &str, name: &str, modalias: &str) {
    let real = sys.join("devices").join(name);
    fs::create_dir_all(&real).unwrap();
    fs::write(real.join("modalias"), format!("{modalias}\n")).unwrap();
    let folder = sys.join("bus").join(bus).join("devices");
    fs::create_dir_all(&folder).unwrap();
    symlink(&real, folder.join(name)).unwrap();
}

const DRIVERS: &str = "module k/hv_netvsc.ko\nneeds k/hv_vmbus.ko\nalias vmbus:635161f83edfc546913ff2d2f965ed0e\n\
    module k/hv_vmbus.ko\nalias acpi*:VMBUS:*\n\
    module k/ena.ko\nneeds ?k/broken.ko\nalias pci:v00001D0Fd0000EC20sv*\n\
    module k/bonding.ko\nname bonding\nneeds k/tls.ko\n\
    module k/broken.ko\nname broken\nbuiltin dm_mod\n";

/// A root with this list, an empty sysfs, and a loader that gives modules to [`kernel`].
fn machine() -> (tempfile::TempDir, Loader, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join(paths::DRIVERS_LIST.trim_start_matches('/'));
    fs::create_dir_all(list.parent().unwrap()).unwrap();
    fs::write(list, DRIVERS).unwrap();
    let sys = dir.path().join("sys");
    MACHINE.set((sys.clone(), Vec::new()));
    let mut loader = Loader::new(dir.path(), "6.12");
    loader.insert = kernel;
    (dir, loader, sys)
}

fn loaded() -> Vec<String> {
    MACHINE.with_borrow(|(_, loaded)| loaded.clone())
}

#[test]
fn a_bus_that_its_driver_fills_brings_the_next_drivers() {
    let (_dir, mut loader, sys) = machine();
    assert_eq!(loader.present(&sys).unwrap(), 0);
    device(&sys, "acpi", "VMBUS:00", "acpi:VMBUS:");
    device(&sys, "acpi", "PNP0C0A:00", "acpi:PNP0C0A:");
    assert_eq!(loader.present(&sys).unwrap(), 1);
    assert_eq!(loader.present(&sys).unwrap(), 1);
    assert_eq!(loaded(), ["hv_vmbus", "hv_netvsc"]);
    assert_eq!(loader.present(&sys).unwrap(), 0, "nothing is tried twice");
}

#[test]
fn a_device_that_appears_gets_its_driver() {
    let (_dir, mut loader, sys) = machine();
    let event = |action: &str, modalias: Option<&str>| Uevent {
        action: action.into(),
        modalias: modalias.map(str::to_owned),
        ..Uevent::default()
    };
    let ena = "pci:v00001D0Fd0000EC20sv0sd0bc02sc00i00";
    loader.events(&sys, &[event("remove", Some(ena)), event("add", None)]);
    assert!(loaded().is_empty());
    // What it would like to have fails, which is no reason to go without a network.
    loader.events(&sys, &[event("add", Some(ena))]);
    assert_eq!(loaded(), ["ena"]);
    // Events were lost: what is there is looked at.
    device(&sys, "acpi", "VMBUS:00", "acpi:VMBUS:");
    loader.events(&sys, &[event("overrun", None)]);
    assert_eq!(loaded(), ["ena", "hv_vmbus"]);
}

/// `/sys/devices/system/cpu/modalias` of an Intel Xeon (family 6, model A7), a guest of KVM.
const XEON: &str = include_str!("tests/cpu-xeon.modalias");
/// The same of `-cpu max` of QEMU 7.2, emulated: vectors, and no SHA instructions.
const EMULATED: &str = include_str!("tests/cpu-emulated.modalias");

#[test]
fn only_processors_with_sha_instructions_get_their_sha256() {
    const LIST: &str = "module k/sha256-ssse3.ko\nalias cpu:type:x86,ven*fam*mod*:feature:*013D*\n";
    // What the module would be loaded for by itself: AVX2.
    const ALL: &str = "module k/sha256-ssse3.ko\nalias cpu:type:x86,ven*fam*mod*:feature:*0125*\n";
    for (processor, list, want) in [(XEON, LIST, 1), (EMULATED, LIST, 0), (EMULATED, ALL, 1), (XEON, DRIVERS, 0)] {
        let (dir, mut loader, sys) = machine();
        fs::write(dir.path().join(paths::DRIVERS_LIST.trim_start_matches('/')), list).unwrap();
        fs::create_dir_all(sys.join("devices/system/cpu")).unwrap();
        fs::write(sys.join("devices/system/cpu/modalias"), processor).unwrap();
        // Processors have no file of this name of their own.
        fs::create_dir_all(sys.join("bus/cpu/devices/cpu0")).unwrap();
        assert_eq!(loader.present(&sys).unwrap(), want, "{list}");
    }
}

#[test]
fn only_what_the_list_offers_is_loaded_by_name() {
    let (_dir, mut loader, _) = machine();
    loader.named("bonding").unwrap();
    loader.named("bonding").unwrap();
    loader.named("dm-mod").unwrap();
    assert_eq!(loaded(), ["tls", "bonding"]);
    let why = loader.named("ena").unwrap_err().to_string();
    assert_eq!(why, "this image has no module \"ena\" to load on demand; it has bonding, broken, dm_mod");
    assert!(loader.named("../bonding").is_err());
    assert!(loader.named("broken").unwrap_err().to_string().contains("failed to load module"));
}

proptest! {
    #[test]
    fn any_text_parses(text: String) {
        prop_assert!(parse(&text).all(|entry| !entry.path.is_empty() && !entry.path.contains('#')));
    }
}
