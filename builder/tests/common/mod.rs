//! A small made-up world for a whole build without network: packages in the cache, a lock file that names them, a
//! recipe, programs.

#![allow(dead_code, reason = "each test uses its part of the world")]

#[path = "../../src/fixture.rs"]
pub(crate) mod fixture;
#[path = "../../src/nomad/fixture.rs"]
pub(crate) mod nomad_fixture;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Output,
};

use agent::{facts::Role, update::manifest::Manifest as UpdateManifest};
use assert_cmd::Command;
use builder::{
    cache::Cache,
    content::Digest,
    embedded,
    lock::{Lock, Locked},
    modules::ModuleLists,
    recipe::{Profile, Recipe},
    update, verity,
};
use fixture::Member;

pub(crate) const EPOCH: u64 = 1_700_000_000;
/// The version of every package.
pub(crate) const VERSION: &str = "1.0";
pub(crate) const KERNEL: &str = "6.1.0-cloud-amd64";

/// Every format.
pub(crate) const ALL: [&str; 4] =
    ["--format", "raw,qcow2,qcow2-zstd,vmdk,vhd,ova,gce,iso,netboot,update", "--compress", "none,zstd,gzip,xz"];

/// What an update of these parts says of itself.
pub(crate) fn update_manifest(hashes: &verity::Tree, parts: &update::Parts<'_>) -> UpdateManifest {
    UpdateManifest {
        role: Role::Server,
        profile: "cloud".into(),
        architecture: "x86_64".into(),
        version: "2.1".parse().unwrap(),
        root_hash: *hashes.root_hash.bytes(),
        cmdline: "quiet".into(),
        parts: update::describe(parts),
    }
}

/// Everything below one temporary folder.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    /// The name of its images.
    pub(crate) image: &'static str,
    pub(crate) recipe: PathBuf,
    pub(crate) agent: PathBuf,
    pub(crate) nomad: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::of(Profile::Cloud)
    }

    /// A world whose recipe is for servers of one's own: another kernel, firmware.
    pub(crate) fn metal() -> Self {
        Self::of(Profile::Metal)
    }

    fn of(profile: Profile) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_path_buf();
        let recipe = path.join("test.toml");
        let text = "[root]\nlevel = 3\n[disk]\nsize = \"160MiB\"\nesp = \"40MiB\"\nslot = \"16MiB\"\n";
        fs::write(&recipe, format!("extends = \"server\"\nname = \"test\"\nprofile = \"{profile}\"\n{text}")).unwrap();
        let (agent, nomad) = (path.join("agent"), path.join("nomad"));
        program(&agent, &fixture::elf(None, &[]));
        let mut bytes = nomad_fixture::program("Nomad v2.0.5\n");
        // Large enough that its blocks are compressed beforehand, on several threads.
        bytes.extend((0..400_000u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 20).to_le_bytes()));
        program(&nomad, &bytes);
        let image = if profile == Profile::Metal { "test-metal" } else { "test" };
        let world = Self { folder, image, recipe, agent, nomad };
        world.add_packages(profile);
        // Where apt goes through a proxy, the servers of tests are asked all the same.
        fs::write(world.path("apt.conf"), "Acquire::http::Proxy::127.0.0.1 \"DIRECT\";\n").unwrap();
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    fn add_packages(&self, profile: Profile) {
        let cache = Cache::open(&self.cache(), || ()).unwrap();
        let mut packages = Vec::new();
        let kernel = kernel(profile);
        for (name, bytes) in packages_of_world(profile, &kernel) {
            let sha256 = Digest::of(&bytes);
            fs::write(cache.package(sha256), &bytes).unwrap();
            packages.push(Locked {
                name,
                version: VERSION.to_owned(),
                sha256,
                size: bytes.len() as u64,
                licences: vec!["MIT".to_owned()],
            });
        }
        packages.sort();
        let kernel = format!("linux-image-{kernel}");
        let lock = Lock { suite: "trixie".into(), kernel, nomad: None, packages };
        fs::write(self.recipe.with_extension("lock"), lock.text()).unwrap();
    }

    /// The builder with everything named but the output.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("builder"));
        command.env_clear().env("HOME", "/nonexistent").env("PATH", "/usr/bin:/bin");
        command.env("APT_CONFIG", self.path("apt.conf"));
        self.arguments(&mut command);
        command
    }

    pub(crate) fn arguments(&self, command: &mut Command) {
        command.args(["build", "--locked", "--recipe"]).arg(&self.recipe);
        command.arg("--cache").arg(self.cache()).arg("--agent").arg(&self.agent).arg("--nomad").arg(&self.nomad);
    }

    /// Signs an update by a key that is made for it.
    pub(crate) fn sign(&self, update: &Path) {
        let key = self.path("key");
        for arguments in [&[Path::new("key"), &key][..], &[Path::new("sign"), update, Path::new("--key"), &key]] {
            let done = Command::new(assert_cmd::cargo::cargo_bin!("builder")).args(arguments).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
    }

    pub(crate) fn build(&self, output: &Path, more: &[&str]) -> Output {
        self.command().arg("--output").arg(output).args(more).output().unwrap()
    }
}

/// A vendor on the loopback interface, who serves the key that the recipe pins.
pub(crate) struct Vendor {
    server: nomad_fixture::Server,
    signer: nomad_fixture::Signer,
}

impl Vendor {
    pub(crate) fn new(world: &World) -> Self {
        let vendor = Self { server: nomad_fixture::Server::start(), signer: nomad_fixture::Signer::new(false) };
        let mut recipe = fs::read_to_string(&world.recipe).unwrap();
        recipe.push_str(&format!("[nomad]\nkey = \"{}\"\n", vendor.signer.fingerprint()));
        fs::write(&world.recipe, recipe).unwrap();
        vendor.serve("/.well-known/pgp-key.txt", vendor.signer.public().into_bytes());
        vendor
    }

    /// Releases this program as Nomad 2.0.5.
    pub(crate) fn publish(&self, program: &[u8]) {
        let zip = nomad_fixture::zip(&[("nomad", program)]);
        let sums = format!("{}  nomad_2.0.5_linux_amd64.zip\n", Digest::of(&zip)).into_bytes();
        self.serve("/nomad/2.0.5/nomad_2.0.5_SHA256SUMS.sig", self.signer.sign(&sums, 10));
        self.serve("/nomad/2.0.5/nomad_2.0.5_SHA256SUMS", sums);
        self.serve("/nomad/2.0.5/nomad_2.0.5_linux_amd64.zip", zip);
    }

    /// Serves other bytes for a file of Nomad 2.0.5.
    pub(crate) fn replace(&self, name: &str, bytes: Vec<u8>) {
        self.serve(&format!("/nomad/2.0.5/{name}"), bytes);
    }

    fn serve(&self, path: &str, bytes: Vec<u8>) {
        self.server.set(path, nomad_fixture::Reply::Body(bytes));
    }

    /// A build with what is published.
    pub(crate) fn build(&self, world: &World, more: &[&str]) -> Output {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("builder"));
        command.env_clear().env("HOME", "/nonexistent").env("PATH", "/usr/bin:/bin").args(["build", "--recipe"]);
        command.arg(&world.recipe).arg("--cache").arg(world.cache()).arg("--agent").arg(&world.agent);
        command.arg("--nomad-mirror").arg(self.server.url()).arg("--output").arg(world.path("out")).args(more);
        command.output().unwrap()
    }
}

fn program(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn kernel(profile: Profile) -> String {
    match profile {
        Profile::Cloud => KERNEL.to_owned(),
        Profile::Metal => KERNEL.replace("-cloud", ""),
    }
}

fn packages_of_world(profile: Profile, kernel: &str) -> Vec<(String, Vec<u8>)> {
    let lists = ModuleLists::parse("m", embedded::module_list(profile.as_str()).unwrap()).unwrap();
    let module = fixture::xz(&fixture::kernel_module(
        "license=GPL\0alias=pci:v*\0alias=cpu:type:x86,ven*fam*mod*:feature:*013D*\0depends=\0firmware=maker/firmware-bnx2.fw\0",
    ));
    let lists = [lists.initramfs, lists.root];
    let names = lists.iter().flat_map(|wanted| {
        let asked = wanted.asked.iter().flat_map(|(name, before)| before.iter().chain([name]));
        wanted.always.iter().chain(&wanted.devices).chain(asked)
    });
    let paths: BTreeSet<String> =
        names.map(|name| format!("usr/lib/modules/{kernel}/kernel/{}.ko.xz", name.trim_start_matches('?'))).collect();
    let image = format!("boot/vmlinuz-{kernel}");
    let mut of_kernel = vec![Member::File(&image, 0o644, &[0x4b; 9000])];
    of_kernel.extend(paths.iter().map(|path| Member::File(path, 0o644, &module)));
    let tool = fixture::elf(Some("/lib64/ld-linux-x86-64.so.2"), &["libext2fs.so.2", "libc.so.6"]);
    let library = |needs: &[&str]| fixture::elf(None, needs);
    let (ext2fs, libc, ld) =
        (library(&["libcom_err.so.2", "libc.so.6"]), library(&["ld-linux-x86-64.so.2"]), library(&[]));
    let lib = "usr/lib/x86_64-linux-gnu";
    let at = |name: &str| format!("{lib}/{name}");
    let one = |name: &str, library: &str, bytes: &[u8]| {
        fixture::package(name, VERSION, ".xz", EPOCH - 5, &[Member::File(&at(library), 0o644, bytes)])
    };
    let recipe = Recipe::embedded(Role::Server, Some(profile)).unwrap();
    let firmware = recipe.packages.names.into_iter().filter(|name| name.starts_with("firmware-")).map(|name| {
        let file = format!("usr/lib/firmware/maker/{name}.fw");
        let members = [Member::File(&file, 0o644, b"a program for a card")];
        let package = fixture::package(&name, VERSION, ".xz", EPOCH - 5, &members);
        (name, package)
    });
    let name = format!("linux-image-{kernel}");
    let image = fixture::package(&name, VERSION, ".xz", EPOCH - 9, &of_kernel);
    let image = (name, image);
    let others = vec![
        (
            "ca-certificates",
            fixture::package(
                "ca-certificates",
                VERSION,
                ".xz",
                EPOCH,
                &[
                    Member::File("usr/share/ca-certificates/mozilla/B.crt", 0o644, b"second"),
                    Member::File("usr/share/ca-certificates/mozilla/A.crt", 0o644, b"first\n"),
                ],
            ),
        ),
        (
            "e2fsprogs",
            fixture::package(
                "e2fsprogs",
                VERSION,
                ".zst",
                EPOCH - 5,
                &[
                    Member::File("usr/sbin/mke2fs", 0o755, &tool),
                    Member::File("usr/sbin/e2fsck", 0o755, &tool),
                    Member::File("usr/sbin/debugfs", 0o755, &tool),
                    Member::File("etc/mke2fs.conf", 0o644, b"[defaults]\n"),
                ],
            ),
        ),
        (
            "isolinux",
            fixture::package(
                "isolinux",
                VERSION,
                ".xz",
                EPOCH - 5,
                &[
                    Member::File("usr/lib/ISOLINUX/isolinux.bin", 0o644, &[0x90; 3000]),
                    Member::File("usr/lib/ISOLINUX/isohdpfx.bin", 0o644, &[0x90; 432]),
                ],
            ),
        ),
        ("libblkid1", one("libblkid1", "libblkid.so.1", &ld)),
        (
            "libc6",
            fixture::package(
                "libc6",
                VERSION,
                ".xz",
                EPOCH - 5,
                &[
                    Member::File(&at("libc.so.6"), 0o755, &libc),
                    Member::File(&at("ld-linux-x86-64.so.2"), 0o755, &ld),
                    Member::Symlink("usr/lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
                ],
            ),
        ),
        (
            "libcom-err2",
            fixture::package(
                "libcom-err2",
                VERSION,
                ".xz",
                EPOCH - 5,
                &[
                    Member::File(&at("libcom_err.so.2.1"), 0o644, &library(&["libc.so.6"])),
                    Member::Symlink(&at("libcom_err.so.2"), "libcom_err.so.2.1"),
                ],
            ),
        ),
        ("libext2fs2t64", one("libext2fs2t64", "libext2fs.so.2", &ext2fs)),
        ("libuuid1", one("libuuid1", "libuuid.so.1", &ld)),
        (
            "syslinux",
            fixture::package(
                "syslinux",
                VERSION,
                ".xz",
                EPOCH - 5,
                &[
                    Member::File("usr/bin/syslinux", 0o755, &fixture::syslinux()),
                    Member::File("usr/lib/SYSLINUX/gptmbr.bin", 0o644, &[0x90; 440]),
                ],
            ),
        ),
        (
            "systemd-boot-efi",
            fixture::package(
                "systemd-boot-efi",
                VERSION,
                ".xz",
                EPOCH - 5,
                &[
                    Member::File("usr/lib/systemd/boot/efi/linuxx64.efi.stub", 0o644, &fixture::stub()),
                    Member::File("usr/lib/systemd/boot/efi/systemd-bootx64.efi", 0o644, b"systemd-boot"),
                ],
            ),
        ),
        (
            "tzdata",
            fixture::package(
                "tzdata",
                VERSION,
                ".xz",
                EPOCH - 5,
                &[Member::File("usr/share/zoneinfo/Europe/Berlin", 0o644, b"TZif2")],
            ),
        ),
    ];
    let others = others.into_iter().map(|(name, bytes)| (name.to_owned(), bytes));
    others.chain([image]).chain(firmware).collect()
}

/// Both streams of a program, for messages of failed tests.
pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
