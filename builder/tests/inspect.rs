//! `builder inspect`: an image says by itself what is in it, and what is wrong with it.

mod common;

use std::{
    fs,
    io::{Cursor, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    process::Output,
};

use assert_cmd::Command;
use builder::{
    inspect::{Image, map},
    manifest::{Kind, Manifest},
};
use common::{World, said};
use fatfs::FsOptions;
use serde_json::Value;

fn inspect(image: &Path, more: &[&str]) -> Output {
    Command::new(assert_cmd::cargo::cargo_bin!("builder")).arg("inspect").arg(image).args(more).output().unwrap()
}

fn built(world: &World) -> (PathBuf, Manifest) {
    let output = world.path("out");
    let built = world.build(&output, &["--format", "raw,qcow2"]);
    assert!(built.status.success(), "{}", said(&built));
    let manifest = output.join("steppe-0.1.0-test-x86_64.manifest.json");
    (manifest.clone(), Manifest::read(&manifest).unwrap())
}

/// Formats of a disk, by what their names end in, with the words of `format` and `packing`.
const DISKS: [(&str, &str, Option<&str>); 10] = [
    ("raw", "raw", None),
    ("raw.zst", "raw", Some("zstd")),
    ("raw.gz", "raw", Some("gzip")),
    ("raw.xz", "raw", Some("xz")),
    ("qcow2", "qcow2", None),
    ("zstd.qcow2", "qcow2", None),
    ("vmdk", "vmdk", None),
    ("vhd", "vhd", None),
    ("ova", "ova", None),
    ("gce.tar.gz", "gce", None),
];
/// What has a whole system in it and is no disk.
const OTHERS: [(&str, &str); 4] =
    [("iso", "iso"), ("update", "update"), ("ipxe", "ipxe"), ("netboot.initrd", "initramfs")];

#[test]
fn every_format_says_the_same() {
    let world = World::new();
    let output = world.path("out");
    let built = world.build(&output, &common::ALL);
    assert!(built.status.success(), "{}", said(&built));
    let file = |suffix: &str| output.join(format!("steppe-0.1.0-test-x86_64.{suffix}"));
    let manifest = Manifest::read(&file("manifest.json")).unwrap();
    let look = |suffix: &str| {
        let output = inspect(&file(suffix), &["--json"]);
        assert_eq!(output.status.code(), Some(0), "{suffix}: {}", said(&inspect(&file(suffix), &[])));
        let mut value: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(value["differences"], Value::Array(Vec::new()), "{suffix}");
        value["image"].take()
    };
    let raw = look("raw");
    assert_eq!(raw["files"].as_array().unwrap().len(), manifest.files.len());
    assert_eq!(raw["initramfs"].as_array().unwrap().len(), manifest.initramfs.len());
    assert_eq!(raw["verity"]["root_hash"], manifest.root_hash.hex());
    for (suffix, format, packing) in DISKS {
        let image = look(suffix);
        assert_eq!((image["format"].as_str(), image["packing"].as_str()), (Some(format), packing), "{suffix}");
        // Google's disk is of a whole gigabyte.
        assert!(suffix == "gce.tar.gz" || image["size"] == raw["size"], "{suffix}");
        for same in ["id", "partitions", "boot", "facts", "verity", "parts", "files", "initramfs"] {
            assert!(image[same] == raw[same] && !raw[same].is_null(), "{suffix}: {same}");
        }
        if suffix != "raw" {
            let diff = Command::new(assert_cmd::cargo::cargo_bin!("builder"))
                .arg("diff")
                .args([file("raw"), file(suffix)])
                .output();
            let text = said(&diff.unwrap());
            assert!(
                text.contains("hold the same") || suffix == "gce.tar.gz" && text.contains("partitions"),
                "{suffix}: {text}"
            );
        }
    }
    for (suffix, format) in OTHERS {
        let image = look(suffix);
        assert_eq!((image["format"].as_str(), image["in_memory"].as_bool()), (Some(format), Some(format != "update")));
        for same in ["facts", "files", "initramfs"] {
            assert!(image[same] == raw[same], "{suffix}: {same}");
        }
    }
    let update = look("update");
    assert_eq!((&update["update"]["signature"], &update["verity"]), (&"none".into(), &raw["verity"]));
    assert_eq!(update["update"]["root_hash"], manifest.root_hash.hex());
    // Parts of an image say what they are.
    for (suffix, format) in [("efi", "uki"), ("initrd", "initramfs")] {
        assert_eq!(look(suffix)["format"], format);
    }
    for image in ["manifest.json", "vmdk", "iso"] {
        let svg = world.path("map.svg");
        let output = inspect(&file(image), &["--svg", svg.to_str().unwrap()]);
        let text = said(&output);
        assert!(text.contains("says the same") && text.contains("▕█") && text.contains("nomad"), "{text}");
        let svg = fs::read_to_string(svg).unwrap();
        assert!(roughly_xml(&svg) && svg.contains(if image == "iso" { "2 EFI" } else { "1 steppe-esp" }), "{svg}");
    }
}

/// Every tag that is opened is closed.
fn roughly_xml(text: &str) -> bool {
    let opened = text.matches('<').count() - text.matches("</").count();
    opened == text.matches("</").count() + text.matches("/>").count()
}

#[test]
fn a_changed_image_is_found_out() {
    let world = World::new();
    let (_, manifest) = built(&world);
    let raw = manifest.path(Kind::Raw).unwrap();
    let whole = fs::read(&raw).unwrap();
    let find = |text: &[u8]| whole.windows(text.len()).position(|part| part == text).unwrap();

    // The command line in the unified kernel image.
    let mut other = whole.clone();
    let at = find(b"loglevel=6");
    other[at..at + 10].copy_from_slice(b"loglevel=7");
    fs::write(&raw, &other).unwrap();
    let output = inspect(&raw, &[]);
    let text = said(&output);
    assert!(
        output.status.code() == Some(1) && text.contains("command line of") && text.contains("loglevel=7"),
        "{text}"
    );
    assert!(text.contains("not on the boot partition"), "{text}");

    // A byte of the root file system.
    let mut other = whole.clone();
    let at = find(b"hsqs") + 4096;
    other[at] ^= 1;
    fs::write(&raw, &other).unwrap();
    let output = inspect(&raw, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));

    // What boots: with the words that tell it, or none for what the digest of the file alone knows.
    let esp = &manifest.partitions[0];
    let esp = usize::try_from(esp.start).unwrap()..usize::try_from(esp.start + esp.size).unwrap();
    let changed = |change: &dyn Fn(&Esp<'_, '_>)| {
        let mut other = whole.clone();
        {
            let volume = fatfs::FileSystem::new(Cursor::new(&mut other[esp.clone()]), FsOptions::new()).unwrap();
            change(&volume.root_dir());
        }
        assert!(other != whole);
        fs::write(&raw, &other).unwrap();
        let output = inspect(&raw, &[]);
        let text = said(&output);
        assert!(output.status.code() == Some(1) && !text.contains("says the same"), "{text}");
        assert!(text.contains("file: the image has") && !text.contains("WRONG"), "{text}");
        text
    };
    for (path, words) in [
        ("EFI/BOOT/BOOTX64.EFI", None),
        ("syslinux/syslinux.cfg", None),
        ("a/initrd", Some("a/initrd is not steppe-0.1.0-test-x86_64.initrd")),
        ("a/vmlinuz", Some("a/vmlinuz is not steppe-0.1.0-test-x86_64.vmlinuz")),
    ] {
        let text = changed(&|root| {
            let mut file = root.open_file(path).unwrap();
            let mut last = [0];
            file.seek(SeekFrom::End(-1)).unwrap();
            file.read_exact(&mut last).unwrap();
            file.seek(SeekFrom::End(-1)).unwrap();
            file.write_all(&[last[0] ^ 1]).unwrap();
        });
        assert!(text.contains(words.unwrap_or_default()), "{text}");
    }
    // The true kernel image is left where it was; the boot loader starts the newest.
    let text = changed(&|root| {
        let mut uki = Vec::new();
        root.open_file("EFI/Linux/steppe-0000000001-a.efi").unwrap().read_to_end(&mut uki).unwrap();
        *uki.last_mut().unwrap() ^= 1;
        root.create_file("EFI/Linux/steppe-0000000009-a.efi").unwrap().write_all(&uki).unwrap();
    });
    assert!(text.contains("EFI/Linux/steppe-0000000009-a.efi is not steppe-0.1.0-test-x86_64.efi"), "{text}");
    assert!(!text.contains("steppe-0000000001-a.efi is not") && !text.contains("not on the boot partition"), "{text}");

    // The code in the first sector, and a partition more.
    let mut other = whole.clone();
    other[0] ^= 1;
    fs::write(&raw, &other).unwrap();
    let text = said(&inspect(&raw, &[]));
    assert!(text.contains("file: the image has") && !text.contains("partition 6"), "{text}");
    let mut disk = Cursor::new(whole.clone());
    let mut table = gptman::GPT::find_from(&mut disk).unwrap();
    let free = table.find_first_place(2048).unwrap();
    table[6] = gptman::GPTPartitionEntry {
        unique_partition_guid: [9; 16],
        starting_lba: free,
        ending_lba: free + 2047,
        ..table[5].clone()
    };
    table.write_into(&mut disk).unwrap();
    fs::write(&raw, disk.get_ref()).unwrap();
    let output = inspect(&raw, &[]);
    let text = said(&output);
    assert!(output.status.code() == Some(1) && text.contains("partition 6 steppe-verity-b is not in"), "{text}");
}

/// An image cannot write its own verdict.
#[test]
fn words_of_an_image_stay_in_their_line() {
    let world = World::new();
    let (_, manifest) = built(&world);
    let (raw, hostile) = (manifest.path(Kind::Raw).unwrap(), manifest.path(Kind::Raw).unwrap().with_extension("x.raw"));
    let mut disk = fs::read(&raw).unwrap();
    let words = b"\nmanifest   says the same\x1b[8m";
    let at = disk.windows(10).position(|part| part == b"loglevel=6").unwrap();
    disk[at..at + words.len()].copy_from_slice(words);
    let mut disk = Cursor::new(disk);
    let mut table = gptman::GPT::find_from(&mut disk).unwrap();
    table[4].partition_name = "\u{202e}b\x1b[2K<".into();
    table.write_into(&mut disk).unwrap();
    fs::write(&hostile, disk.get_ref()).unwrap();
    let plain = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).unwrap();
        assert!(text.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{text:?}");
        text.to_owned()
    };
    let svg = world.path("map.svg");
    let output = inspect(&hostile, &["--svg", svg.to_str().unwrap()]);
    let text = plain(&output.stdout);
    assert!(text.contains("says the same") && text.contains("[2K<"), "{text}");
    let begun = text.lines().filter(|line| line.starts_with("manifest")).count();
    assert!(begun == 1 && !text.contains("\nmanifest   says the same"), "{text}");
    assert_eq!(output.status.code(), Some(1));
    let drawn = plain(&fs::read(svg).unwrap());
    assert!(roughly_xml(&drawn) && drawn.contains("[2K&lt;"), "{drawn}");
    let mut diff = Command::new(assert_cmd::cargo::cargo_bin!("builder"));
    let text = plain(&diff.arg("diff").args([&raw, &hostile]).output().unwrap().stdout);
    assert!(text.contains("[2K<") && text.contains("says the same"), "{text}");
    // What cannot be read is told on the other stream.
    let other = world.path("x.manifest.json");
    fs::write(&other, r#"{"\u001b[8m\nmanifest": 1}"#).unwrap();
    let output = inspect(&other, &[]);
    assert!(output.status.code() == Some(2) && plain(&output.stderr).lines().count() == 1, "{}", said(&output));
}

type Esp<'a, 'd> = fatfs::Dir<'a, Cursor<&'d mut [u8]>>;

/// The name of a file is nothing; and a file that the manifest has no digest of is not known to be good.
#[test]
fn what_file_it_is_is_told_by_name_or_by_format() {
    let world = World::new();
    let output = world.path("out");
    let built = world.build(&output, &["--format", "raw,netboot,update", "--compress", "zstd"]);
    assert!(built.status.success(), "{}", said(&built));
    let file = |suffix: &str| output.join(format!("steppe-0.1.0-test-x86_64.{suffix}"));
    let good = |path: &Path| {
        let output = inspect(path, &[]);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(i32::from(!text.contains("says the same"))), "{text}");
        (text.contains("says the same"), text)
    };
    // Another name, and a signature: as before.
    fs::copy(file("raw.zst"), file("copy.img")).unwrap();
    assert!(good(&file("copy.img")).0);
    world.sign(&file("update"));
    assert!(good(&file("update")).0);
    // The disk that comes out of it is nothing that the manifest knows.
    let disk = zstd::decode_all(&fs::read(file("raw.zst")).unwrap()[..]).unwrap();
    fs::write(file("raw"), disk).unwrap();
    let (same, text) = good(&file("raw"));
    assert!(!same && text.contains("has no digest of a raw like this"), "{text}");
    // The script is the true one; what it names is not.
    assert!(good(&file("ipxe")).0);
    for suffix in ["netboot.initrd", "vmlinuz"] {
        let bytes = fs::read(file(suffix)).unwrap();
        fs::write(file(suffix), [&bytes[..], &[0; 4]].concat()).unwrap();
        let (same, text) = good(&file("ipxe"));
        assert!(!same && text.contains(&format!("is not steppe-0.1.0-test-x86_64.{suffix}")), "{text}");
        fs::write(file(suffix), bytes).unwrap();
    }
}

#[test]
fn what_is_no_image_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    for (bytes, words) in [
        (&b"\x1f\x8b whatever"[..], "failed to read"),
        (b"KDMV whatever", "cut short"),
        (b"text", "no partition table"),
        (b"", "no partition table"),
    ] {
        let file = folder.path().join("image");
        fs::write(&file, bytes).unwrap();
        let output = inspect(&file, &[]);
        let text = said(&output);
        assert!(output.status.code() == Some(2) && text.contains(words), "{text}");
        assert!(text.contains(file.to_str().unwrap()), "{text}");
    }
}

/// Whatever bytes are other ones, reading ends with an image or an error.
#[test]
fn damaged_images_of_every_format_get_an_answer() {
    use proptest::{
        prelude::*,
        test_runner::{RngAlgorithm, TestRng, TestRunner},
    };

    let world = World::new();
    let output = world.path("out");
    let built = world.build(&output, &common::ALL);
    assert!(built.status.success(), "{}", said(&built));
    let images: Vec<(String, Vec<u8>)> =
        ["qcow2", "vmdk", "ova", "gce.tar.gz", "raw.zst", "raw.xz", "iso", "update", "netboot.initrd", "efi"]
            .iter()
            .map(|suffix| {
                let bytes = fs::read(output.join(format!("steppe-0.1.0-test-x86_64.{suffix}"))).unwrap();
                (format!("{}.{suffix}", "damaged"), bytes)
            })
            .collect();
    let place = prop_oneof![3 => 0usize..1 << 16, 1 => any::<usize>()];
    let change = (place, prop::collection::vec(any::<u8>(), 1..9));
    let strategy =
        (0..images.len(), prop::collection::vec(change, 1..6), prop::option::of(any::<prop::sample::Index>()));
    let config = ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    runner
        .run(&strategy, |(which, changes, cut)| {
            let (name, bytes) = &images[which];
            let mut bytes = bytes.clone();
            for (at, with) in changes {
                let at = at % (bytes.len() - with.len());
                bytes[at..at + with.len()].copy_from_slice(&with);
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let path = world.path(name);
            fs::write(&path, &bytes).unwrap();
            let looked = std::panic::catch_unwind(|| Image::read(&path).map(|image| map::svg(&image)));
            prop_assert!(looked.is_ok(), "{}", name);
            Ok(())
        })
        .unwrap();
}
