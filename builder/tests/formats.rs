//! Every format of a disk, judged by other people's programs: it is sound, and what is in it is the disk.

#[allow(dead_code, reason = "only the stub is used here")]
#[path = "../src/fixture.rs"]
mod fixture;
#[path = "common/referee.rs"]
mod referee;

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use builder::{
    architecture::Architecture,
    compress::{self, Compression},
    content::Digest,
    disk::Disk,
    gce,
    iso::{self, Isolinux, System},
    ova, qcow2, raw,
    runs::reader,
    uki, vhd, vmdk,
};
use referee::{approves, referee, text};
use tempfile::TempDir;

const EPOCH: u64 = 1_700_000_000;

/// A disk and its raw file.
struct Case {
    folder: TempDir,
    disk: Disk,
    raw: PathBuf,
}

impl Case {
    fn new(size: u64) -> Self {
        // Bytes that compress, bytes that do not, zeros in between, and something in the last sector, as disks have it.
        let image: Vec<u8> = (0..3_000_000u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let root: Vec<u8> =
            (0..2_500_000u32).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
        let mut head = vec![0; 1 << 20];
        head[510..600].fill(0xaa);
        let extents = vec![(0, head), (1 << 20, image), (37 << 20, root), (size - 512, vec![0x55; 512])];
        let disk = Disk { size, extents };
        let folder = tempfile::tempdir().unwrap();
        let raw = folder.path().join("disk.raw");
        raw::write(&disk, &mut File::create(&raw).unwrap()).unwrap();
        Self { folder, disk, raw }
    }

    fn file(&self, name: &str) -> (PathBuf, File) {
        let path = self.folder.path().join(name);
        let file = File::create_new(&path).unwrap();
        (path, file)
    }

    /// Whether the file is the raw disk.
    fn is_raw(&self, path: &Path) {
        assert_eq!(
            Digest::of_reader(File::open(path).unwrap()).unwrap(),
            (self.disk.digest().unwrap(), self.disk.size)
        );
    }

    /// Whether `qemu-img` finds the disk in an image, by comparing and by converting it back.
    fn qemu_agrees(&self, path: &Path, driver: &str) {
        let (raw, back) = (text(&self.raw), self.folder.path().join("back.raw"));
        approves("qemu-img", &["compare", "-f", "raw", "-F", driver, raw, text(path)]);
        if approves("qemu-img", &["convert", "-f", driver, "-O", "raw", text(path), text(&back)]).is_some() {
            self.is_raw(&back);
        }
    }
}

#[test]
fn vmdk_is_sound_and_the_same_disk() {
    // More than one table, and one without any.
    for size in [64 << 20, 300 << 20] {
        let case = Case::new(size);
        let (path, mut file) = case.file("d.vmdk");
        let stored = vmdk::write(&case.disk, &mut file).unwrap();
        approves("qemu-img", &["check", "-f", "vmdk", text(&path)]);
        case.qemu_agrees(&path, "vmdk");
        if let Some(said) = approves("qemu-img", &["info", "--output", "json", text(&path)]) {
            let info: serde_json::Value = serde_json::from_str(&said).unwrap();
            let data = &info["format-specific"]["data"];
            assert_eq!((&info["format"], &data["create-type"]), (&"vmdk".into(), &"streamOptimized".into()), "{said}");
            assert_eq!(
                (&info["virtual-size"], &data["extents"][0]["compressed"]),
                (&size.into(), &true.into()),
                "{said}"
            );
        }
        assert!(stored < 8 << 20 && fs::metadata(&path).unwrap().len() < stored);
    }
}

#[test]
fn vhd_is_of_whole_megabytes_and_the_same_disk() {
    let case = Case::new(160 << 20);
    let (path, mut file) = case.file("d.vhd");
    vhd::write(&case.disk, EPOCH, &mut file).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), (160 << 20) + 512);
    case.qemu_agrees(&path, "vpc");
    // A reader that did not believe the size would see a smaller disk.
    if let Some(said) = approves("qemu-img", &["info", "-f", "vpc", "--output", "json", text(&path)]) {
        let info: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!((&info["format"], &info["virtual-size"]), (&"vpc".into(), &(160 << 20).into()), "{said}");
    }
}

#[test]
fn google_gets_one_sparse_file_of_whole_gigabytes() {
    let case = Case::new(1 << 30);
    let (path, mut file) = case.file("d.tar.gz");
    gce::write(&case.disk, EPOCH, &mut file).unwrap();
    assert!(fs::metadata(&path).unwrap().len() < 4 << 20);
    let listed = approves("tar", &["--utc", "-tvzf", text(&path)]).unwrap();
    let words: Vec<&str> = listed.split_whitespace().collect();
    assert_eq!(words, ["-rw-r--r--", "0/0", "1073741824", "2023-11-14", "22:13", "disk.raw"]);
    let to = case.folder.path().join("to");
    fs::create_dir(&to).unwrap();
    approves("tar", &["-C", text(&to), "-xzf", text(&path)]);
    case.is_raw(&to.join("disk.raw"));
    assert!(approves("file", &[text(&path)]).is_none_or(|said| said.contains("gzip")));
}

#[test]
fn an_ova_is_read_front_to_back_and_describes_the_machine() {
    let case = Case::new(64 << 20);
    let (path, mut file) = case.file("d.ova");
    let about = ova::About { name: "steppe-test", version: "1.0", epoch: EPOCH };
    ova::write(&case.disk, &about, tempfile::tempfile().unwrap(), &mut file).unwrap();
    let listed = approves("tar", &["-tf", text(&path)]).unwrap();
    assert_eq!(listed, "steppe-test.ovf\nsteppe-test.mf\nsteppe-test.vmdk\n");
    if let Some(said) = approves("7z", &["t", text(&path)]) {
        assert!(said.contains("Everything is Ok"), "{said}");
    }
    approves("tar", &["-C", text(case.folder.path()), "-xf", text(&path)]);
    let [ovf, mf, vmdk] = ["ovf", "mf", "vmdk"].map(|suffix| case.folder.path().join(format!("steppe-test.{suffix}")));
    case.qemu_agrees(&vmdk, "vmdk");

    // The manifest in the words of sha256sum, which checks it.
    let sums: String = fs::read_to_string(&mf)
        .unwrap()
        .lines()
        .map(|line| {
            let (name, digest) = line.strip_prefix("SHA256(").unwrap().split_once(")= ").unwrap();
            format!("{digest}  {}\n", text(&case.folder.path().join(name)))
        })
        .collect();
    let (sums_path, _) = case.file("sums");
    fs::write(&sums_path, &sums).unwrap();
    assert_eq!(sums.lines().count(), 2);
    approves("sha256sum", &["--strict", "-c", text(&sums_path)]);

    approves("xmllint", &["--noout", text(&ovf)]);
    if referee("xmllint", &["--version"]).is_some() {
        let find = |path: &str| {
            approves("xmllint", &["--xpath", &format!("string({path})"), text(&ovf)]).unwrap().trim().to_owned()
        };
        // Without name spaces, which `xmllint` cannot be told of.
        let item = |kind: u32, element: &str| {
            let item = format!("//*[local-name()='Item'][*[local-name()='ResourceType']={kind}]");
            find(&format!("{item}/*[local-name()='{element}']"))
        };
        let attribute =
            |element: &str, name: &str| find(&format!("//*[local-name()='{element}']/@*[local-name()='{name}']"));
        assert_eq!((item(6, "ResourceSubType"), item(10, "ResourceSubType")), ("VirtualSCSI".into(), "VmxNet3".into()));
        assert_eq!((item(17, "HostResource"), item(17, "Parent")), ("ovf:/disk/disk1".into(), item(6, "InstanceID")));
        let size = fs::metadata(&vmdk).unwrap().len().to_string();
        assert_eq!((attribute("File", "href"), attribute("File", "size")), ("steppe-test.vmdk".into(), size));
        assert_eq!(attribute("Disk", "capacity"), case.disk.size.to_string());
        assert_eq!(attribute("Disk", "fileRef"), attribute("File", "id"));
        assert_eq!(attribute("Disk", "diskId"), "disk1");
        assert_eq!((attribute("Config", "key"), attribute("Config", "value")), ("firmware".into(), "efi".into()));
        assert_eq!(attribute("Network", "name"), item(10, "Connection"));
    }
}

#[test]
fn compressed_raw_disks_unpack() {
    let case = Case::new(128 << 20);
    for (compression, program) in [(Compression::Zstd, "zstd"), (Compression::Gzip, "gzip"), (Compression::Xz, "xz")] {
        let (path, mut file) = case.file(&format!("d.{program}"));
        compress::write(&case.disk, compression, &mut file).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < 4 << 20, "{program}");
        let (back, out) = case.file(&format!("{program}.raw"));
        if referee(program, &["--version"]).is_none() {
            continue;
        }
        let input = File::open(&path).unwrap();
        let status = std::process::Command::new(program).arg("-dc").stdin(input).stdout(out).status().unwrap();
        assert!(status.success(), "{program}");
        case.is_raw(&back);
    }
}

/// Bytes of a file that are stored: of one with holes those between them.
fn stored(path: &Path) -> u64 {
    let data = fs::metadata(path).unwrap();
    data.len().min(data.blocks() * 512)
}

/// The budgets of SPECIFICATION.md: what a format adds to a disk whose contents do not compress, in thousandths. Like a disk that boots
/// by UEFI and by BIOS, this one has a part twice; who looks back far enough stores that once.
#[test]
fn no_format_adds_much_to_what_is_on_the_disk() {
    let noise = |seed: u32, length: u32| -> Vec<u8> {
        let mut state = seed;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            u8::try_from(state >> 24).unwrap()
        };
        (0..length).map(next).collect()
    };
    let (boots, root) = (noise(1, 13_500_000), noise(2, 6_000_000));
    let (once, twice) = ((boots.len() + root.len()) as u64, (2 * boots.len() + root.len()) as u64);
    let extents = vec![(1 << 20, boots.clone()), (15 << 20, boots), (100 << 20, root)];
    let disk = Disk { size: 256 << 20, extents };
    let folder = tempfile::tempdir().unwrap();
    let zlib = qcow2::Options { compression: qcow2::Compression::Zlib, ..Default::default() };
    let zstd = qcow2::Options { compression: qcow2::Compression::Zstd, ..Default::default() };
    let about = ova::About { name: "steppe-test", version: "1.0", epoch: EPOCH };
    type Write<'a> = &'a dyn Fn(&Disk, &mut File, &Path);
    let formats: [(&str, u64, u64, Write<'_>); 10] = [
        ("raw", twice, 2, &|disk, file, _| raw::write(disk, file).unwrap()),
        ("vhd", twice, 2, &|disk, file, _| vhd::write(disk, EPOCH, file).unwrap()),
        ("raw.zst", once, 2, &|disk, file, _| compress::write(disk, Compression::Zstd, file).unwrap()),
        ("raw.xz", once, 4, &|disk, file, _| compress::write(disk, Compression::Xz, file).unwrap()),
        ("raw.gz", twice, 10, &|disk, file, _| compress::write(disk, Compression::Gzip, file).unwrap()),
        ("gce.tar.gz", twice, 2, &|disk, file, _| gce::write(disk, EPOCH, file).unwrap()),
        ("qcow2", twice, 5, &|mut disk, file, path| qcow2::write_from(&mut disk, file, path, zlib).unwrap()),
        ("zstd.qcow2", twice, 5, &|mut disk, file, path| qcow2::write_from(&mut disk, file, path, zstd).unwrap()),
        ("vmdk", twice, 13, &|disk, file, _| assert!(vmdk::write(disk, file).unwrap() > 0)),
        ("ova", twice, 13, &|disk, file, _| ova::write(disk, &about, tempfile::tempfile().unwrap(), file).unwrap()),
    ];
    for (suffix, content, budget, write) in formats {
        let path = folder.path().join(format!("d.{suffix}"));
        let mut file = File::create_new(&path).unwrap();
        write(&disk, &mut file, &path);
        let size = stored(&path);
        assert!(
            size <= content + content * budget / 1000,
            "{suffix}: {size} bytes for {content}, {} permille",
            size * 1000 / content
        );
        assert!(size * 100 >= content * 99, "{suffix}: {size} bytes for {content}: the test has nothing to compress");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn the_stream_is_the_disk() {
    let case = Case::new(64 << 20);
    assert_eq!(
        Digest::of_reader(reader(&case.disk)).unwrap(),
        Digest::of_reader(File::open(&case.raw).unwrap()).unwrap()
    );
}

#[test]
fn the_iso_boots_by_both_and_has_its_files_once() {
    let noise = |seed: u32, length: u32| -> Vec<u8> {
        (0..length).map(|n| u8::try_from((n ^ seed).wrapping_mul(2_654_435_761) >> 24).unwrap()).collect()
    };
    let (linux, initrd) = (noise(1, 3_000_001), noise(2, 9_000_003));
    // The real one where it is installed: xorriso looks whether it is one.
    let read = |name: &str, instead: usize| {
        fs::read(format!("/usr/lib/ISOLINUX/{name}")).unwrap_or_else(|_| vec![0x90; instead])
    };
    let (loader, mbr) = (read("isolinux.bin", 3000), read("isohdpfx.bin", 432));
    let parts = uki::Parts {
        os_release: "ID=steppe\n",
        cmdline: "console=ttyS0",
        uname: "6.1",
        initrd: &initrd,
        linux: &linux,
        time: 42,
    };
    let isolinux = Some(Isolinux { loader: &loader, module: b"module", mbr: &mbr });
    let image =
        iso::build(&System { architecture: Architecture::X86_64, stub: &fixture::stub(), parts, isolinux, id: 7 })
            .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.iso");
    fs::write(&path, &image).unwrap();
    assert!(image.len() < 38 << 20);

    let to = folder.path().join("to");
    let report = ["-report_el_torito", "plain", "-report_system_area", "plain"];
    if let Some(said) = approves("xorriso", &[&["-indev", text(&path)], &report[..]].concat()) {
        for line in [
            "Volume id    : 'STEPPE'",
            "El Torito boot img :   1  BIOS  y   none  0x0000  0x00      4",
            "El Torito boot img :   2  UEFI  y   none  0x0000  0x00",
            "El Torito img opts :   1  boot-info-table isohybrid-suitable",
            "El Torito img path :   1  /isolinux/isolinux.bin",
            "El Torito img path :   2  /boot/efi.img",
            "MBR partition path :   2  /boot/efi.img",
        ] {
            assert!(said.contains(line), "{line:?} is not in\n{said}");
        }
        approves("xorriso", &["-osirrox", "on", "-indev", text(&path), "-extract", "/", text(&to)]);
        let file = |name: &str| fs::read(to.join(name)).unwrap();
        assert!(file("boot/vmlinuz") == linux);
        // With the zeros that fill its last sector.
        assert!(file("boot/initrd")[..initrd.len()] == initrd);
        assert!(String::from_utf8(file("isolinux/isolinux.cfg")).unwrap().ends_with("APPEND console=ttyS0\n"));
        approves("fsck.vfat", &["-n", text(&to.join("boot/efi.img"))]);
        let efi = folder.path().join("BOOTX64.EFI");
        let volume = to.join("boot/efi.img");
        if approves("mcopy", &["-i", text(&volume), "::/EFI/BOOT/BOOTX64.EFI", text(&efi)]).is_some() {
            let image = fs::read(efi).unwrap();
            assert!(image.windows(linux.len()).step_by(512).any(|bytes| bytes == linux));
        }
    }
    if let Some(said) = approves("fdisk", &["-l", text(&path)]) {
        assert!(said.contains("EFI (FAT-12/16/32)"), "{said}");
    }
}
