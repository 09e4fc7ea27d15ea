//! Every format of a disk boots by both firmwares, each behind another controller, with `STEPPE_SLOW=1` behind all of them; the ISO
//! boots from a CD and as a stick by both.

use std::{
    fs::{self, File},
    io::BufWriter,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use agent::facts::Role;
use anyhow::{Context as _, ensure};
use builder::{disk::Disk, manifest::Kind, qcow2, vhd, vmdk};
use qemu::{
    BootFiles, MachineSpec,
    vm::{DiskBus, DiskFormat, clock_arguments},
    volume::SeedMedium,
};
use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};
use tests::{
    cluster::{Cluster, LONE_SERVER_DATA},
    esp::Esp,
    images::Image,
    suite,
};

/// Enough for one machine to come up.
const BOOT: Duration = Duration::from_secs(25);
const NAME: &str = "server-vm-0";

fn main() -> ExitCode {
    suite::run(
        || Ok(()),
        &[
            ("a_qcow2_disk_boots_by_both_firmwares_behind_virtio", qcow2_disk),
            ("a_vmdk_disk_boots_by_both_firmwares_behind_nvme_and_scsi", vmdk_disk),
            ("a_vhd_disk_boots_by_both_firmwares_behind_scsi_and_sata", vhd_disk),
            ("the_iso_boots_from_a_cd_by_uefi_to_a_healthy_server", iso_by_uefi),
            ("the_iso_boots_as_a_stick_by_uefi_and_both_ways_by_bios", iso_otherwise),
        ],
    )
}

/// The disk of the image, whose command line under BIOS has the words that the other ways to boot get from QEMU; from a raw file, which is
/// mostly holes.
fn disk(folder: &Path) -> anyhow::Result<Disk> {
    let (esp, _) = Esp::told_of_the_clock(&Image::find(Role::Server)?.path(Kind::Raw)?, &folder.join("disk.raw"))?;
    let file = File::open(esp.disk())?;
    let size = file.metadata()?.len();
    let (mut extents, mut at) = (Vec::new(), 0);
    loop {
        let start = match seek(&file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(Disk { size, extents }),
            Err(error) => return Err(error.into()),
        };
        at = seek(&file, SeekFrom::Hole(start))?;
        let mut bytes = vec![0; usize::try_from(at - start)?];
        file.read_exact_at(&mut bytes, start)?;
        extents.push((start, bytes));
    }
}

/// Boots a disk in a format until its root is mounted, which takes its boot loader, its partition table and thousands of its blocks: by
/// UEFI and by BIOS, behind these controllers, or with `STEPPE_SLOW=1` behind all.
fn boots(path: &Path, format: DiskFormat, uefi: DiskBus, bios: DiskBus) -> anyhow::Result<()> {
    let by_uefi = |bus| BootFiles::uefi(path, format).on(bus);
    let by_bios = |bus| BootFiles::bios(path, format).on(bus);
    let all = [DiskBus::Virtio, DiskBus::Scsi, DiskBus::Nvme, DiskBus::Ahci];
    let mut pairs = vec![(uefi, bios)];
    if std::env::var_os("STEPPE_SLOW").is_some_and(|value| value == "1") {
        pairs = all.map(|bus| (bus, bus)).to_vec();
    }
    for (uefi, bios) in pairs {
        let boots = [("uefi", by_uefi(uefi)), ("bios", by_bios(bios))];
        let cluster = Cluster::start(boots.map(|(name, boot)| MachineSpec::new(name, boot).medium(SeedMedium::None)))?;
        for name in cluster.names() {
            cluster.wait_console(&name, "phase root at", cluster.limit(2 * BOOT))?;
        }
    }
    Ok(())
}

fn in_folder(name: &str) -> anyhow::Result<(tempfile::TempDir, PathBuf, File)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(name);
    let file = File::create_new(&path)?;
    Ok((folder, path, file))
}

fn qcow2_disk((): &mut ()) -> anyhow::Result<()> {
    let (folder, path, file) = in_folder("d.qcow2")?;
    let options = qcow2::Options { compression: qcow2::Compression::Zstd, ..Default::default() };
    qcow2::write_from(&mut &disk(folder.path())?, &file, &path, options)?;
    boots(&path, DiskFormat::Qcow2, DiskBus::Virtio, DiskBus::Virtio)
}

fn vmdk_disk((): &mut ()) -> anyhow::Result<()> {
    let (folder, path, file) = in_folder("d.vmdk")?;
    vmdk::write(&disk(folder.path())?, &mut BufWriter::new(file))?;
    boots(&path, DiskFormat::Vmdk, DiskBus::Nvme, DiskBus::Scsi)
}

fn vhd_disk((): &mut ()) -> anyhow::Result<()> {
    let (folder, path, mut file) = in_folder("d.vhd")?;
    vhd::write(&disk(folder.path())?, Image::find(Role::Server)?.manifest().epoch, &mut file)?;
    boots(&path, DiskFormat::Vpc, DiskBus::Scsi, DiskBus::Ahci)
}

fn iso() -> anyhow::Result<PathBuf> {
    Image::find(Role::Server)?.path(Kind::Iso)
}

/// The whole system is in memory, and its state on a disk that was blank.
fn iso_by_uefi((): &mut ()) -> anyhow::Result<()> {
    let boot = BootFiles::uefi(iso()?, DiskFormat::Raw).on(DiskBus::Cdrom);
    let mut spec = MachineSpec::new(NAME, boot).user_data(LONE_SERVER_DATA);
    spec.memory_mib = 768;
    spec.blank_disk = Some(2 << 30);
    let cluster = Cluster::start([spec])?;
    cluster.wait_console(NAME, "READY role=server", cluster.limit(3 * BOOT))?;
    Ok(())
}

/// A copy of the ISO whose command line under BIOS has the words that the other ways to boot get from QEMU, in the place of words that only harden.
fn iso_told_of_the_clock(folder: &Path) -> anyhow::Result<PathBuf> {
    const LESS: [&str; 5] =
        ["randomize_kstack_offset=on", "vsyscall=none", "slab_nomerge", "page_alloc.shuffle=1", "debugfs=off"];
    let mut bytes = fs::read(iso()?)?;
    let key = b"APPEND ";
    let start = bytes.windows(key.len()).position(|part| part == key).context("no command line for BIOS")? + key.len();
    let length = bytes[start..].iter().position(|byte| *byte == b'\n').context("it has no end")?;
    let line = std::str::from_utf8(&bytes[start..start + length])?;
    let words: Vec<&str> = line.split(' ').filter(|word| !LESS.contains(word)).collect();
    let told = format!("{} {}", words.join(" "), clock_arguments());
    ensure!(told.len() <= length, "no room for {told:?} in place of {line:?}");
    bytes[start..start + length].copy_from_slice(format!("{told:length$}").as_bytes());
    let path = folder.join("told.iso");
    fs::write(&path, bytes)?;
    Ok(path)
}

fn iso_otherwise((): &mut ()) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let stick = BootFiles::uefi(iso()?, DiskFormat::Raw);
    let bios = BootFiles::bios(iso_told_of_the_clock(folder.path())?, DiskFormat::Raw);
    let boots = [("stick", stick), ("cd-bios", bios.clone().on(DiskBus::Cdrom)), ("stick-bios", bios)];
    for (name, boot) in boots {
        let mut spec = MachineSpec::new(name, boot).medium(SeedMedium::None);
        spec.memory_mib = 768;
        let cluster = Cluster::start([spec])?;
        let line = cluster.wait_console(name, "Kernel command line: ", cluster.limit(2 * BOOT))?;
        ensure!(line.contains("BOOT_IMAGE=/boot/vmlinuz") == name.ends_with("bios"), "{line}");
        cluster.wait_console(name, "phase root at", cluster.limit(2 * BOOT))?;
    }
    Ok(())
}
