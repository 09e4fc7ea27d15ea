//! What the builder writes by hand or by library, judged by other people's programs.

#[path = "common/referee.rs"]
mod referee;

mod common;

use std::{
    fs::{self, File},
    path::Path,
};

use builder::{
    architecture::Architecture,
    cpio,
    disk::{Disk, Layout},
    esp::{self, Esp},
    fat::{Identity, Volume},
    qcow2, raw,
    size::Size,
    squashfs,
    syslinux::{self, Installer},
    tree::{Origin, Tree},
    verity,
};
use referee::{approves, referee, text};

/// A partition with everything that an image has there.
fn system_partition(size: u64) -> Esp {
    let uki: Vec<u8> = (0..3_000_000u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let installer = Installer::parse(&common::fixture::syslinux()).unwrap();
    let loaders = esp::Loaders {
        architecture: Architecture::X86_64,
        systemd_boot: &[6; 100_000],
        syslinux: Some((&installer, &[7; 440])),
    };
    let system = esp::System { uki: &uki, kernel: &uki[..2_000_001], initrd: &uki[..400_000], cmdline: "quiet" };
    esp::build(size, 7, &loaders, &system).unwrap()
}

fn disk() -> Disk {
    let root: Vec<u8> = (0..2_500_000u32).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
    let tree = verity::tree(&root, &verity::Parameters::of(&root));
    Disk::build(
        Layout { size: Size(128 << 20), slot: Size(8 << 20), architecture: Architecture::X86_64 },
        system_partition(36 << 20),
        root,
        &tree,
    )
    .unwrap()
}

#[test]
fn disks_in_both_formats_are_valid_and_equal() {
    let folder = tempfile::tempdir().unwrap();
    let (raw_path, qcow2_path) = (folder.path().join("d.raw"), folder.path().join("d.qcow2"));
    let disk = disk();
    raw::write(&disk, &mut File::create(&raw_path).unwrap()).unwrap();
    let options = qcow2::Options { compression: qcow2::Compression::Zlib, ..qcow2::Options::default() };
    qcow2::write_from(&mut &disk, &File::create(&qcow2_path).unwrap(), &qcow2_path, options).unwrap();
    approves("qemu-img", &["check", "-f", "qcow2", text(&qcow2_path)]);
    approves("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", text(&raw_path), text(&qcow2_path)]);
    if let Some(said) = approves("sgdisk", &["-v", text(&raw_path)]) {
        assert!(said.contains("No problems found"), "{said}");
    }
    if let Some(said) = approves("sgdisk", &["-A", "1:show", text(&raw_path)]) {
        assert!(said.contains("1:2 ") || said.contains("(legacy BIOS bootable)"), "{said}");
    }
    // Compression counts, and so do zeros.
    assert!(fs::metadata(&qcow2_path).unwrap().len() < 6 << 20);
}

#[test]
fn the_system_partition_is_clean_and_its_names_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("esp");
    fs::write(&path, system_partition(64 << 20).bytes).unwrap();
    if let Some(said) = approves("fsck.vfat", &["-n", "-v", text(&path)]) {
        assert!(said.contains("18 files") && !said.contains("differences"), "{said}");
    }
    let Some(said) = approves("mdir", &["-i", text(&path), "-/", "-b", "-a", "::"]) else { return };
    let mut names: Vec<&str> = said.lines().filter(|line| !line.ends_with('/')).collect();
    names.sort_unstable();
    let wanted = [
        "::/EFI/BOOT/BOOTX64.EFI",
        "::/EFI/Linux/steppe-0000000001-a.efi",
        "::/a/initrd",
        "::/a/slot.cfg",
        "::/a/vmlinuz",
        "::/b/slot.cfg",
        "::/ldlinux.sys",
        "::/loader/loader.conf",
        "::/syslinux/ldlinux.c32",
        "::/syslinux/syslinux.cfg",
    ];
    assert_eq!(names, wanted);
}

/// syslinux's own installer, on the same file system, writes the same programs.
#[test]
fn syslinux_is_installed_as_by_its_installer() {
    if referee("syslinux", &["--version"]).is_none() {
        return;
    }
    let paths = std::env::var("PATH").unwrap();
    let program = std::env::split_paths(&paths).map(|folder| folder.join("syslinux")).find(|path| path.exists());
    let parts = Installer::parse(&fs::read(program.unwrap()).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("esp");
    let ours = Volume::make(36 << 20, Identity { label: *b"REFEREE    ", id: 1 }, &[]).unwrap();
    fs::write(&path, &ours.bytes).unwrap();
    approves("mmd", &["-i", text(&path), "::syslinux"]);
    approves("syslinux", &["--install", "--directory", "/syslinux", text(&path)]);
    let theirs = fs::read(&path).unwrap();
    let start = theirs.windows(20).position(|window| window == &parts.loader[..20]).unwrap();
    let installed = syslinux::install(&parts, u32::try_from(start / 512).unwrap(), "/syslinux").unwrap();
    let differs = installed.loader.iter().zip(&theirs[start..]).position(|(ours, theirs)| ours != theirs);
    assert_eq!(differs, None, "ldlinux.sys");
    let record = agent::slots::boot_once::vector("").unwrap();
    assert!(theirs[start + installed.loader.len()..].starts_with(&record));
    let mut ours = ours;
    ours.set_boot_code(&installed.boot_sector);
    let differs = ours.bytes[..512].iter().zip(&theirs).position(|(ours, theirs)| ours != theirs);
    assert_eq!(differs, None, "the boot sector");
    let module = theirs.windows(20).position(|window| window == &parts.module[..20]).unwrap();
    assert!(theirs[module..].starts_with(&parts.module));
}

fn tree() -> Tree {
    let mut tree = Tree::new();
    tree.file("usr/bin/tool", 0o755, vec![5; 300_000], Origin::Builder);
    tree.file("etc/secret", 0o600, *b"x\n", Origin::Builder);
    tree.file("etc/empty", 0o644, *b"", Origin::Builder);
    tree.symlink("bin", "usr/bin", Origin::Builder);
    tree.directory("dev", 0o755);
    tree
}

#[test]
fn the_root_unpacks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.squashfs");
    let options = squashfs::Options { level: 5, block: 128 << 10, time: 1_700_000_000 };
    fs::write(&path, squashfs::write(&tree(), &options, []).unwrap()).unwrap();
    let to = folder.path().join("root");
    let Some(said) = approves("unsquashfs", &["-lln", "-d", text(&to), text(&path)]) else { return };
    let secret = said.lines().find(|line| line.ends_with("etc/secret")).unwrap_or_else(|| panic!("{said}"));
    assert!(secret.starts_with("-rw------- 0/0 ") && secret.contains(" 2 2023-11-14 "), "{secret}");
    approves("unsquashfs", &["-n", "-d", text(&to), text(&path)]);
    assert_eq!(fs::read(to.join("usr/bin/tool")).unwrap(), vec![5; 300_000]);
    assert_eq!(fs::read_link(to.join("bin")).unwrap(), Path::new("usr/bin"));
}

#[test]
fn the_initramfs_unpacks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.cpio");
    fs::write(&path, cpio::write(&tree(), 0).unwrap()).unwrap();
    let to = folder.path().join("to");
    fs::create_dir(&to).unwrap();
    let script = format!("cd '{}' && cpio -idm < '{}'", text(&to), text(&path));
    if referee("cpio", &["--version"]).is_none() {
        return;
    }
    approves("sh", &["-c", &script]);
    assert_eq!(fs::read(to.join("usr/bin/tool")).unwrap(), vec![5; 300_000]);
    assert_eq!(fs::read_link(to.join("bin")).unwrap(), Path::new("usr/bin"));
}

/// The tree that `veritysetup` would make, and its judgement of ours.
#[test]
fn the_hash_tree_is_veritysetups() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (data, ours, theirs) = (at("data"), at("ours"), at("theirs"));
    // One block, one block of hashes, two levels, and three.
    for blocks in [1, 128, 700, 16_500] {
        let bytes: Vec<u8> = (0..blocks * verity::BLOCK).map(|n| u8::try_from(n / 7 % 251).unwrap()).collect();
        let parameters = verity::Parameters::of(&bytes);
        let tree = verity::tree(&bytes, &parameters);
        fs::write(&data, &bytes).unwrap();
        fs::write(&ours, &tree.bytes).unwrap();
        let salt: String = builder::content::hex(&parameters.salt);
        let uuid = parameters.uuid.to_string();
        let blocks_of = ["--data-block-size", "4096", "--hash-block-size", "4096"];
        let format = [&["format", "--hash", "sha256", "--salt", &salt, "--uuid", &uuid], &blocks_of[..]].concat();
        let Some(said) = approves("veritysetup", &[&format[..], &[text(&data), text(&theirs)]].concat()) else {
            return;
        };
        assert!(said.contains(&tree.root_hash.hex()), "{said}");
        assert!(fs::read(&theirs).unwrap() == tree.bytes, "another tree for {blocks} blocks");
        let _ = fs::remove_file(&theirs);

        let root_hash = tree.root_hash.hex();
        let verify = ["verify", text(&data), text(&ours), &root_hash];
        approves("veritysetup", &verify);
        let refuses = |what: &str| {
            let output = referee("veritysetup", &verify).unwrap();
            assert!(!output.status.success(), "veritysetup accepts {what} among {blocks} blocks");
        };
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        fs::write(&data, &flipped).unwrap();
        refuses("a flipped byte of the data");
        fs::write(&data, &bytes).unwrap();
        if blocks > 1 {
            let mut flipped = tree.bytes.clone();
            flipped[verity::BLOCK + 3] ^= 1;
            fs::write(&ours, &flipped).unwrap();
            refuses("a flipped byte of the tree");
        }
    }
}
