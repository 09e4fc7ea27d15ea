//! What one build leaves, judged by other people's programs: every file of a disk is sound and the same disk, and what is on it is
//! what they expect there.

mod common;
#[path = "common/referee.rs"]
mod referee;

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::Command,
};

use builder::{content::Digest, manifest::Manifest};
use common::{ALL, World, said};
use referee::{approves, referee, text};

struct Built {
    world: World,
    manifest: Manifest,
}

impl Built {
    fn new() -> Self {
        let world = World::new();
        let built = world.build(&world.path("out"), &ALL);
        assert!(built.status.success(), "{}", said(&built));
        let manifest = world.path("out/steppe-0.1.0-test-x86_64.manifest.json");
        Self { manifest: Manifest::read(&manifest).unwrap(), world }
    }

    fn file(&self, suffix: &str) -> PathBuf {
        self.world.path(&format!("out/steppe-0.1.0-test-x86_64.{suffix}"))
    }

    /// The bytes of a partition of the raw disk, in a file of their own.
    fn partition(&self, number: u32) -> PathBuf {
        let mut disk = File::open(self.file("raw")).unwrap();
        let table = gptman::GPT::find_from(&mut disk).unwrap();
        let entry = &table[number];
        disk.seek(SeekFrom::Start(entry.starting_lba * table.sector_size)).unwrap();
        let length = (entry.ending_lba + 1 - entry.starting_lba) * table.sector_size;
        let path = self.world.path(&format!("partition-{number}"));
        std::io::copy(&mut disk.take(length), &mut File::create(&path).unwrap()).unwrap();
        path
    }

    fn is_raw(&self, path: &Path) {
        let digest = |path: &Path| Digest::of_reader(File::open(path).unwrap()).unwrap();
        assert_eq!(digest(path), digest(&self.file("raw")), "{}", path.display());
    }
}

#[test]
fn every_disk_of_a_build_is_sound_and_the_same() {
    let built = Built::new();
    let raw = built.file("raw");
    let disks = [("qcow2", "qcow2"), ("zstd.qcow2", "qcow2"), ("vmdk", "vmdk"), ("vhd", "vpc")];
    for (suffix, driver) in disks {
        let path = built.file(suffix);
        if driver != "vpc" {
            approves("qemu-img", &["check", "-f", driver, text(&path)]);
        }
        approves("qemu-img", &["compare", "-f", "raw", "-F", driver, text(&raw), text(&path)]);
    }
    approves("tar", &["-C", text(built.world.folder.path()), "-xf", text(&built.file("ova"))]);
    let vmdk = built.world.path("steppe-0.1.0-test-x86_64.vmdk");
    approves("qemu-img", &["compare", "-f", "raw", "-F", "vmdk", text(&raw), text(&vmdk)]);
    for (suffix, program) in [("raw.zst", "zstd"), ("raw.gz", "gzip"), ("raw.xz", "xz")] {
        if referee(program, &["--version"]).is_none() {
            continue;
        }
        let unpacked = built.world.path(program);
        let (from, to) = (File::open(built.file(suffix)).unwrap(), File::create(&unpacked).unwrap());
        assert!(Command::new(program).arg("-dc").stdin(from).stdout(to).status().unwrap().success(), "{program}");
        built.is_raw(&unpacked);
    }
    // Google's disk is a larger one with the same partitions.
    approves("tar", &["-C", text(built.world.folder.path()), "-xzf", text(&built.file("gce.tar.gz"))]);
    for disk in [raw, built.world.path("disk.raw")] {
        if let Some(said) = approves("sgdisk", &["-v", text(&disk)]) {
            assert!(said.contains("No problems found"), "{said}");
        }
        if let Some(said) = approves("fdisk", &["-l", text(&disk)]) {
            assert!(said.contains("Disklabel type: gpt") && said.matches("Linux root (x86-64)").count() == 2, "{said}");
        }
    }
}

#[test]
fn what_is_on_the_disk_of_a_build_is_sound() {
    let built = Built::new();
    if let Some(said) = approves("fsck.vfat", &["-n", "-v", text(&built.partition(1))]) {
        assert!(!said.contains("differences"), "{said}");
    }
    let (root, tree) = (built.partition(2), built.partition(3));
    let hash = built.manifest.root_hash.hex();
    approves("veritysetup", &["verify", text(&root), text(&tree), &hash]);
    let other = format!("{}{}", if hash.starts_with('0') { '1' } else { '0' }, &hash[1..]);
    assert!(
        referee("veritysetup", &["verify", text(&root), text(&tree), &other]).is_none_or(|out| !out.status.success())
    );
    let to = built.world.path("root");
    if approves("unsquashfs", &["-n", "-no-xattrs", "-d", text(&to), text(&root)]).is_some() {
        for file in built.manifest.files.iter().filter(|file| file.size > 0) {
            let at = to.join(file.path.trim_start_matches('/'));
            assert_eq!(fs::symlink_metadata(&at).map(|data| data.len()).ok(), Some(file.size), "{}", file.path);
        }
        assert!(fs::read(to.join("usr/bin/nomad")).unwrap() == fs::read(&built.world.nomad).unwrap());
    }
    let iso = built.file("iso");
    if let Some(said) = approves("xorriso", &["-indev", text(&iso), "-report_el_torito", "plain"]) {
        assert!(said.contains("boot img :   1  BIOS") && said.contains("boot img :   2  UEFI"), "{said}");
    }
    if let Some(said) = approves("tar", &["-tf", text(&built.file("update"))]) {
        assert!(said.starts_with("update.json\n") && said.ends_with("root.squashfs\nroot.verity\n"), "{said}");
    }
}
