//! Debian with systemd and cloud-init, tuned by an expert: what somebody would use in place of the image.
//!
//! The archive's packages are put together by `mmdebstrap`, without loop devices, as root or where the kernel gives users
//! name spaces of their own; `debian/tune.sh` says what the expert does. Nomad and the user-data are those of the image that
//! it is held against. The result is kept in the user's cache.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use builder::{cache::Cache, content::Digest, mirror};
use qemu::{BootFiles, MachineSpec, vm::DiskFormat};

use crate::{
    cluster::LONE_SERVER_DATA,
    images::{self, Image},
};

const TUNE: &str = include_str!("debian/tune.sh");

/// The suite that the image takes its own packages from.
const SUITE: &str = "trixie";

/// What is installed on top of the essential packages; nothing that is only recommended.
const PACKAGES: &str = "systemd,systemd-sysv,systemd-resolved,systemd-timesyncd,systemd-repart,udev,dbus,\
                        linux-image-cloud-amd64,initramfs-tools,zstd,cloud-init,netbase,ca-certificates,iproute2,openssh-server";

/// The kernel's command line: as little on the console as there can be.
const CMDLINE: &str = "root=/dev/vda1 rw quiet console=ttyS0 fsck.mode=skip";

/// Memory in MiB. More than the image has: Python and Nomad together are not to read the disk twice.
const MEMORY: u32 = 1024;

/// The machine, with the name and so the address that the image's machine has. `cache` is the user's, which keeps it.
///
/// # Errors
/// When it has to be made and cannot be.
pub fn machine(image: &Image, name: &str, disk: u64, cache: &Path, scratch: &Path) -> anyhow::Result<MachineSpec> {
    let folder = folder(image, cache, scratch)?;
    let boot = BootFiles::kernel(folder.join("vmlinuz"), folder.join("initrd"), CMDLINE)
        .with_disk(folder.join("disk.raw"), DiskFormat::Raw)
        .with_disk_size(disk);
    Ok(MachineSpec::new(name, boot).user_data(LONE_SERVER_DATA).memory_mib(MEMORY))
}

/// Where kernel, initramfs and disk are; made when the cache does not have them for this Nomad and this kernel.
fn folder(image: &Image, cache: &Path, scratch: &Path) -> anyhow::Result<PathBuf> {
    let manifest = image.manifest();
    let key = [TUNE, SUITE, PACKAGES, &manifest.kernel, &manifest.nomad.sha256].join("\0");
    let cache = Cache::open(cache, || eprintln!("waiting for another build"))?;
    cache.step("debian-peer", Digest::of(key.as_bytes()), |made| {
        eprintln!("making the Debian to compare with");
        // mmdebstrap may be another user in a name space, so it works where everybody may write.
        let work = scratch.join("debian");
        fs::create_dir(&work).and_then(|()| {
            fs::set_permissions(scratch, fs::Permissions::from_mode(0o755))?;
            fs::set_permissions(&work, fs::Permissions::from_mode(0o777))
        })?;
        fs::write(work.join("tune.sh"), TUNE)?;
        let nomad = images::take_nomad(image, &work)?;
        make(&work, &nomad)?;
        for file in ["vmlinuz", "initrd", "disk.raw"] {
            move_file(&work.join(file), &made.join(file))?;
        }
        Ok(())
    })
}

/// Runs `mmdebstrap`, which runs `tune.sh` at its end.
fn make(work: &Path, nomad: &Path) -> anyhow::Result<()> {
    let mirror = mirror::of_host(Path::new("/")).context("this machine's apt configuration names no Debian archive")?;
    let hook = format!("sh {0}/tune.sh \"$1\" {1} {0}", work.display(), nomad.display());
    let mut command = Command::new("mmdebstrap");
    command.args(["--variant=minbase", "--architectures=amd64", "--format=null"]);
    command.arg(format!("--include={PACKAGES}")).arg(format!("--customize-hook={hook}"));
    for option in acquire_options()? {
        command.arg(format!("--aptopt={option}"));
    }
    let output = command.args([SUITE, "/dev/null", &mirror]).output();
    let output = output.context("failed to run mmdebstrap (package mmdebstrap)")?;
    ensure!(output.status.success(), "mmdebstrap: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// How this machine's apt reaches the network: proxies and the like.
fn acquire_options() -> anyhow::Result<Vec<String>> {
    let dump = Command::new("apt-config").arg("dump").output().context("failed to run apt-config")?;
    let text = String::from_utf8_lossy(&dump.stdout).into_owned();
    let wanted = |line: &&str| line.starts_with("Acquire::http");
    Ok(text.lines().filter(wanted).map(|line| line.trim_end_matches(';').to_owned()).collect())
}

/// Moves a file, over the border of file systems too, with its holes.
fn move_file(from: &Path, to: &Path) -> anyhow::Result<()> {
    if fs::rename(from, to).is_ok() {
        return Ok(());
    }
    let status = Command::new("cp").arg("--sparse=always").args([from, to]).status().context("failed to run cp")?;
    ensure!(status.success(), "failed to copy {} to {}", from.display(), to.display());
    Ok(fs::remove_file(from)?)
}
