//! What the fuzz targets of `builder/fuzz` begin with: small inputs by our own writers, each of which its reader takes. With
//! `STEPPE_SEEDS` they are left there, in a folder for each target (`make fuzz`).

mod common;

use std::{
    fs::{self, File},
    io::{Cursor, Read as _, Write as _},
    path::Path,
};

use builder::{
    architecture::Architecture,
    channel,
    compress::{self, Compression},
    cpio,
    deb::Deb,
    disk::Disk,
    elf, embedded, gce, initramfs,
    inspect::{self, Image, boot, files, volume::Volume},
    lock::Lock,
    manifest::Manifest,
    modules::Catalogue,
    ova, qcow2,
    recipe::{Profile, Recipe},
    squashfs,
    syslinux::Installer,
    tree::{Origin, Tree},
    uki, update, verity, vhd, vmdk,
};
use common::{
    fixture::{self, Member},
    nomad_fixture::{self, Signer},
};

/// Leaves seeds, and holds their size down.
fn leave(target: &str, seeds: &[(&str, Vec<u8>)]) {
    for (name, bytes) in seeds {
        assert!((1..300_000).contains(&bytes.len()), "{target} {name}: {} bytes", bytes.len());
        if let Some(folder) = std::env::var_os("STEPPE_SEEDS") {
            let folder = Path::new(&folder).join(target);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("seed-{name}")), bytes).unwrap();
        }
    }
}

/// What `write` leaves in a file.
fn written(write: impl FnOnce(&mut File)) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write(&mut File::create_new(&path).unwrap());
    fs::read(path).unwrap()
}

/// Two inputs in one, as the targets take them apart.
fn both(first: &[u8], second: &[u8]) -> Vec<u8> {
    [&u16::try_from(first.len()).unwrap().to_le_bytes(), first, second].concat()
}

fn tree() -> Tree {
    let mut tree = Tree::new();
    tree.file("usr/bin/tool", 0o755, b"tool".repeat(1200), Origin::Agent);
    tree.file("etc/small", 0o600, *b"x", Origin::Builder);
    tree.symlink("bin", "usr/bin", Origin::Builder);
    tree
}

fn root() -> Vec<u8> {
    squashfs::write(&tree(), &squashfs::Options { level: 3, block: 4096, time: 1 }, []).unwrap()
}

/// A volume too small for [`builder::fat`], by another author's writer.
fn fat() -> Vec<u8> {
    let mut bytes = Cursor::new(vec![0; 48 << 10]);
    fatfs::format_volume(&mut bytes, fatfs::FormatVolumeOptions::new()).unwrap();
    let fs = fatfs::FileSystem::new(&mut bytes, fatfs::FsOptions::new()).unwrap();
    fs.root_dir().create_dir("loader").unwrap();
    for (path, content) in [("loader/loader.conf", &b"timeout 0\n"[..]), ("KERNEL", &[7; 3000])] {
        fs.root_dir().create_file(path).unwrap().write_all(content).unwrap();
    }
    drop(fs);
    bytes.into_inner()
}

fn unified(initrd: &[u8]) -> Vec<u8> {
    let mut linux = vec![0; 0x240];
    linux[0x202..0x206].copy_from_slice(b"HdrS");
    linux[0x20e] = 0x30;
    linux[0x230..0x238].copy_from_slice(b"6.1-x ab");
    let parts = uki::Parts { os_release: "ID=x\n", cmdline: "quiet", uname: "6.1", initrd, linux: &linux, time: 1 };
    uki::assemble(&fixture::stub(), &parts).unwrap()
}

#[test]
fn packages() {
    let members = [
        Member::File("usr/share/zoneinfo/Europe/Berlin", 0o644, b"TZif2x"),
        Member::Symlink("usr/share/zoneinfo/Europe/Busingen", "Berlin"),
        Member::HardLink("usr/bin/again", "usr/share/zoneinfo/Europe/Berlin"),
        Member::File("usr/share/doc/p/copyright", 0o644, b"Format: x\nLicense: MIT\n"),
    ];
    let packages = ["", ".xz", ".zst", ".gz"].map(|kind| fixture::deb(kind, 1, &members));
    for package in &packages {
        let path = tempfile::NamedTempFile::new().unwrap();
        fs::write(path.path(), package).unwrap();
        assert_eq!(Deb::read(path.path(), "p", "1", &|_| true).unwrap().licences, ["MIT"]);
    }
    let [plain, xz, zst, gz] = packages;
    let (control, data) =
        (fixture::tar(&[Member::File("control", 0o644, b"Package: p\nVersion: 1\n")]), fixture::tar(&members));
    leave("package", &[("plain", plain), ("xz", xz), ("zst", zst), ("gz", gz), ("control", control), ("data", data)]);
}

#[test]
fn programs() {
    let program = fixture::elf(Some("/lib64/ld.so.2"), &["libc.so.6"]);
    assert_eq!(elf::needs("x", &program, Architecture::X86_64).unwrap().libraries, ["libc.so.6"]);
    let module = fixture::kernel_module("depends=c\0softdep=pre: d post: e\0alias=pci:v*\0alias=fs-x\0firmware=x/y\0");
    let packed = fixture::xz(&fixture::kernel_module("depends=\0"));
    for (suffix, bytes) in [("", &module), (".xz", &packed)] {
        let mut tree = Tree::new();
        tree.file(&format!("usr/lib/modules/1/a.ko{suffix}"), 0o644, bytes.clone(), Origin::Builder);
        tree.file("usr/lib/modules/1/modules.builtin", 0o644, *b"c.ko\nd.ko\n", Origin::Builder);
        assert_eq!(Catalogue::new(&tree, "1").resolve(&["a".to_owned()], &[]).unwrap().len(), 1);
    }
    let installer = fixture::syslinux();
    builder::syslinux::install(&Installer::parse(&installer).unwrap(), 5000, "/syslinux").unwrap();
    let image = unified(b"initrd");
    assert_eq!(boot::uki(&image).unwrap().cmdline, "quiet");
    let stored = zstd::encode_all(&module[..], 1).unwrap();
    leave(
        "programs",
        &[
            ("program", program),
            ("library", fixture::elf(None, &["ld.so.2"])),
            ("module", module),
            ("module-xz", packed),
            ("module-zst", stored),
            ("builtin", b"kernel/x/c.ko\nkernel/x/nvme.ko\n".to_vec()),
            ("syslinux", installer),
            ("stub", fixture::stub()),
            ("uki", image),
        ],
    );
}

const MANIFEST: &str = r#"{"format":1,"name":"server","profile":"cloud","version":"0.1.0","role":"server","architecture":"x86_64",
"standin":false,"nomad":{"version":"2.0.5","source":"release","sha256":"SUM"},"kernel":"6.1","epoch":1,"cmdline":"roothash=SUM quiet",
"root_hash":"SUM","partitions":[],"parts":{"kernel":1,"initramfs":2,"root":3,"nomad":4,"libraries":5},
"artefacts":[{"kind":"raw","file":"a.raw","size":1,"sha256":"SUM"}],
"packages":[{"name":"libc6","version":"1","sha256":"SUM","size":1}],
"files":[{"path":"/a","mode":"0644","size":1,"sha256":"SUM","origin":{"package":{"name":"libc6","version":"1"}}}],
"initramfs":[{"path":"/init","mode":"0755","size":0,"target":"a","origin":"agent"}]}"#;

#[test]
fn texts() {
    let recipe = format!("extends = \"one\"\n---\nextends = \"server\"\n---\n{}", embedded::recipe("server").unwrap());
    let whole = "extends = \"server\"\n[kernel]\nadd = [\"a\"]\n[[files]]\nsource = \"x\"\npath = \"/usr/share/x\"\n";
    Recipe::parse("r.toml", whole, None, &mut |_| None).unwrap();
    let lock: Lock = Lock::embedded(Profile::Cloud).unwrap();
    let lock = Lock { packages: lock.packages[..3].to_vec(), ..lock }.text();
    Lock::parse("l", &lock).unwrap();
    let manifest = MANIFEST.replace("SUM", &"0f".repeat(32));
    Manifest::parse(Path::new("m"), &manifest).unwrap();
    let digest = "0f".repeat(32);
    let texts = [
        ("recipe", recipe),
        ("own", whole.to_owned()),
        ("base", embedded::recipe("base").unwrap().to_owned()),
        ("lock", lock),
        ("manifest", manifest),
        ("modules", "[initramfs]\nalways = [\"a\"]\ndevices = []\n[root]\nalways = []\ndevices = []\n[root.asked]\nb = [\"c\"]\n".to_owned()),
        ("stanza", format!("Package: libc6\nVersion: 2.41\nDepends: a (= 1) | b, c:any\nSize: 12\nSHA256: {digest}\n\nPackage: x\n")),
        ("list", "deb [arch=amd64 signed-by=/k] http://m.example/debian/ trixie main\n".to_owned()),
        ("sources", "Types: deb\nURIs: http://m.example/debian\n http://n.example/debian\nEnabled: no\n\nURIs: x\n".to_owned()),
        ("configuration", "Acquire::http::Proxy \"http://p\";\nAPT::Update::Post-Invoke:: \"x\";\n".to_owned()),
        ("sums", format!("{digest}  nomad_2.0.5_linux_arm64.zip\n{digest} *nomad_2.0.5_linux_amd64.zip\n")),
        ("version", "Nomad v2.0.5\n".to_owned()),
        ("fingerprint", "C874 011F 0AB4 0511 0D02  1055 3436 5D94 72D7 468F".to_owned()),
        ("size", "1.5GiB".to_owned()),
        ("script", "#!/bin/sh\nset -e\nA=1\ncat > /etc/x <<EOF\n$A\nEOF\nchmod 600 /etc/x\nhostname h\n".to_owned()),
    ];
    leave("texts", &texts.map(|(name, text)| (name, text.into_bytes())));
}

#[test]
fn updates() {
    let image = unified(&initramfs::pack(&tree(), 3, 1).unwrap());
    let mut root = root();
    root.resize(root.len().next_multiple_of(verity::BLOCK), 0);
    let hashes = verity::tree(&root, &verity::Parameters::of(&root));
    let parts: update::Parts<'_> = [&image, b"vmlinuz", b"initrd", &root, &hashes.bytes];
    let manifest = common::update_manifest(&hashes, &parts);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.key");
    update::generate(&path).unwrap();
    let key = update::read_key(&path).unwrap();
    let unsigned = update::build(&manifest, &parts).unwrap();
    let signed = update::sign(&unsigned, &key).unwrap();
    channel::of(&signed, "x.update").unwrap();
    let file = folder.path().join("x.update");
    fs::write(&file, &signed).unwrap();
    assert_eq!(Image::read(&file).unwrap().wrong, Vec::<String>::new());
    let mut pieces = both(manifest.to_json().as_bytes(), &[]);
    pieces.extend(both(b"untrusted comment: x\n", &[]));
    parts.iter().for_each(|part| pieces.extend(both(part, &[])));
    leave("update", &[("unsigned", unsigned), ("signed", signed), ("pieces", pieces)]);
}

#[test]
fn releases() {
    let (one, two) = (Signer::new(false), Signer::new(true));
    let archive = nomad_fixture::zip(&[("LICENSE.txt", b"text"), ("nomad", b"program")]);
    leave(
        "release",
        &[
            ("zip", archive),
            ("program", nomad_fixture::program("Nomad v2.0.5\n")),
            ("key", one.public().into_bytes()),
            ("revoked", two.clone().revoked().public().into_bytes()),
            ("signature", both(one.public().as_bytes(), &one.sign(b"text", 10))),
            ("by-subkey", both(two.public().as_bytes(), &two.sign_by_subkey(b"text", 10))),
            ("ending", both(one.clone().ending_after(5).public().as_bytes(), &one.sign(b"text", 10))),
        ],
    );
}

#[test]
fn containers() {
    let disk = Disk {
        size: 1 << 20,
        extents: vec![(0, vec![1; 700]), (70_000, (0..90).collect()), ((1 << 20) - 512, vec![3; 9])],
    };
    let raw = written(|file| builder::raw::write(&disk, file).unwrap());
    let qcow2 = |compression| {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("raw"), folder.path().join("qcow2"));
        // Small, since the tables of small clusters are large.
        fs::write(&from, &raw[..100_000]).unwrap();
        qcow2::write(&from, &to, qcow2::Options { compression, cluster_bits: 9 }).unwrap();
        fs::read(to).unwrap()
    };
    let packed = |compression| written(|file| compress::write(&disk, compression, file).unwrap());
    let google = written(|file| gce::write(&disk, 1, file).unwrap());
    let mut archive = Vec::new();
    flate2::read::GzDecoder::new(&google[..]).read_to_end(&mut archive).unwrap();
    let about = ova::About { name: "x", version: "1", epoch: 1 };
    let seeds = [
        ("qcow2", qcow2(qcow2::Compression::None)),
        ("qcow2-zlib", qcow2(qcow2::Compression::Zlib)),
        ("qcow2-zstd", qcow2(qcow2::Compression::Zstd)),
        ("vmdk", written(|file| assert!(vmdk::write(&disk, file).unwrap() > 0))),
        ("ova", written(|file| ova::write(&disk, &about, tempfile::tempfile().unwrap(), file).unwrap())),
        ("gce", google),
        ("raw-zstd", packed(Compression::Zstd)),
        ("raw-gzip", packed(Compression::Gzip)),
        ("raw-xz", packed(Compression::Xz)),
    ];
    for (name, bytes) in &seeds {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        let volume = Volume::open(file.path()).unwrap();
        let format = format!("{}{}", volume.format, volume.packing.map(|p| format!("-{p}")).unwrap_or_default());
        assert!(name.starts_with(&format), "{name}: {format}");
    }
    leave("container", &seeds);
    // The end of a VHD alone, and an archive without its compressor, as the target puts them in.
    let footer = written(|file| vhd::write(&Disk { size: 1 << 20, extents: vec![] }, 1, file).unwrap());
    leave("container", &[("vhd", footer[footer.len() - 1024..].to_vec()), ("archive", archive)]);
}

#[test]
fn file_systems_and_disks() {
    let root = root();
    assert_eq!(files::root(root.clone()).unwrap().files.len(), 3);
    let found = boot::read(&fat()).unwrap().files;
    assert_eq!(found.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["KERNEL", "loader/loader.conf"]);
    let packed = initramfs::pack(&tree(), 3, 1).unwrap();
    let plain = cpio::write(&tree(), 1).unwrap();
    assert_eq!(files::initramfs(&packed).unwrap().files, files::initramfs(&plain).unwrap().files);
    let with_root = [&packed[..], &initramfs::embed_root(&root, 1).unwrap()].concat();
    assert!(files::initramfs(&with_root).unwrap().root.is_some());
    let hashes = verity::tree(&root, &verity::Parameters::of(&root));
    assert!(inspect::verity::superblock(&hashes.bytes).is_some());
    leave(
        "filesystem",
        &[
            ("fat", fat()),
            ("squashfs", root.clone()),
            ("initramfs", packed.clone()),
            ("initramfs-root", with_root.clone()),
            ("cpio", plain),
            ("verity", both(&hashes.bytes, &root)),
        ],
    );

    // As the target has it: first sectors and lengths, then what lies from the first sector that a partition may have on.
    let mut volume = fat();
    volume.truncate(40 << 10);
    let place = |at: usize| u8::try_from(at / 512).unwrap();
    let mut body = volume.clone();
    let mut places = vec![0, place(volume.len()) - 1];
    for part in [&root, &hashes.bytes] {
        places.extend([place(body.len()), place(part.len().next_multiple_of(512)) - 1]);
        body.extend(part);
        body.resize(body.len().next_multiple_of(512), 0);
    }
    places.extend([0, 0]);
    let table = [places, body].concat();
    // A medium whose partition for UEFI lies behind its descriptor.
    let mut medium = vec![0; 34 << 10];
    medium[446 + 4] = 0xef;
    medium[446 + 8..][..4].copy_from_slice(&68u32.to_le_bytes());
    medium[446 + 12..][..4].copy_from_slice(&u32::try_from(fat().len() / 512).unwrap().to_le_bytes());
    medium[(32 << 10) + 1..][..5].copy_from_slice(b"CD001");
    medium.extend(fat());
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &medium).unwrap();
    let image = Image::read(file.path()).unwrap();
    assert_eq!((image.format, image.boot.len()), ("iso", 2));
    leave("disk", &[("table", table), ("iso", medium), ("uki", unified(&with_root)), ("squashfs", root)]);
}

#[test]
fn names_of_files() {
    let names =
        "EFI/BOOT/BOOTX64.EFI\nloader/loader.conf\nloader/entries/a long name.conf\nsyslinux/ldlinux.sys\nA~1\n";
    leave(
        "fat_tree",
        &[
            ("names", names.as_bytes().to_vec()),
            ("many", (0..40).map(|n| format!("d/name {n}.x\n")).collect::<String>().into_bytes()),
        ],
    );
}
