//! A throw-away guest made of a kernel, some of its modules, and busybox.

use std::path::{Path, PathBuf};
use std::process::Command;

/// In the order of their dependencies; those that the kernel has built in are left out.
const MODULES: [&str; 22] = [
    "virtio_blk",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio-rng",
    "scsi_common",
    "scsi_mod",
    "cdrom",
    "sr_mod",
    "libata",
    "libahci",
    "ahci",
    "isofs",
    "fat",
    "vfat",
    "nls_ascii",
    "nls_cp437",
    "sd_mod",
    "virtio_scsi",
    "nvme-auth",
    "nvme-core",
    "nvme",
];

/// What the guest is made of.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    /// The initramfs lives here.
    _directory: tempfile::TempDir,
}

impl Guest {
    /// The guest that the environment names, or nothing, and then it is printed why.
    pub(crate) fn from_environment(test: &str) -> Option<Self> {
        if std::env::var_os("STEPPE_VM_TESTS").is_none_or(|value| value != "1") {
            println!(
                "skipped: {test} boots machines; set STEPPE_VM_TESTS=1 and the variables of qemu/tests/guest/mod.rs"
            );
            return None;
        }
        let path = |name: &str| PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set")));
        let (kernel, modules, busybox) =
            (path("STEPPE_TEST_KERNEL"), path("STEPPE_TEST_MODULES"), path("STEPPE_TEST_BUSYBOX"));
        let directory = tempfile::tempdir().unwrap();
        let initrd = directory.path().join("initrd");
        std::fs::write(&initrd, initramfs(&modules, &busybox)).unwrap();
        Some(Self { kernel, initrd, _directory: directory })
    }
}

/// `modules` is a directory with `*.ko.xz` somewhere below it, `busybox` a static one.
fn initramfs(modules: &Path, busybox: &Path) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut add = |name: &str, mode: u32, content: &[u8]| newc(&mut archive, name, mode, content);
    for directory in ["bin", "dev", "proc", "etc", "mnt", "modules", "www"] {
        add(directory, 0o40755, &[]);
    }
    add("init", 0o100_755, include_bytes!("init.sh"));
    add("udhcpc.sh", 0o100_755, include_bytes!("udhcpc.sh"));
    add("bin/busybox", 0o100_755, &std::fs::read(busybox).unwrap());
    add("www/big", 0o100_644, &vec![b'x'; 8 << 20]);
    let mut list = String::new();
    for name in MODULES {
        let found = Command::new("find").arg(modules).args(["-name", &format!("{name}.ko.xz")]).output().unwrap();
        if let Some(path) = String::from_utf8(found.stdout).unwrap().lines().next() {
            let module = Command::new("xz").args(["-dc", path]).output().unwrap();
            add(&format!("modules/{name}.ko"), 0o100_644, &module.stdout);
            list.push_str(&format!("{name}.ko\n"));
        }
    }
    add("modules/list", 0o100_644, list.as_bytes());
    add("TRAILER!!!", 0, &[]);
    archive
}

/// One entry of a cpio archive as the kernel reads it (Documentation/driver-api/early-userspace/buffer-format.rst).
fn newc(archive: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
    let fields = [0, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
    archive.extend(b"070701");
    fields.iter().for_each(|field| archive.extend(format!("{field:08x}").bytes()));
    archive.extend(name.bytes().chain([0]));
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(4), 0);
}
