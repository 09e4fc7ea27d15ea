//! Every format of a disk boots, each behind another controller; the ISO boots from a CD by both firmwares.

use std::{
    fs::File,
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
    vm::{DiskBus, DiskFormat},
};
use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};
use tests::{
    cluster::{Cluster, LONE_SERVER_DATA},
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
            ("a_qcow2_disk_boots_behind_virtio_scsi", qcow2_disk),
            ("a_vmdk_disk_boots_behind_nvme", vmdk_disk),
            ("a_vhd_disk_boots_behind_sata", vhd_disk),
            ("the_iso_boots_from_a_cd_by_uefi_to_a_healthy_server", iso_by_uefi),
            ("the_iso_boots_from_a_cd_and_as_a_stick_by_bios", iso_by_bios),
        ],
    )
}

/// The disk of the image, from its raw file, which is mostly holes.
fn disk() -> anyhow::Result<Disk> {
    let path = Image::find(Role::Server)?.path(Kind::Raw)?;
    let file = File::open(&path).with_context(|| format!("failed to open {}", path.display()))?;
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

/// Boots a disk in a format until its root is mounted, which takes its partition table and thousands of its blocks.
fn boots(path: &Path, format: DiskFormat, bus: DiskBus) -> anyhow::Result<()> {
    let boot = Image::find(Role::Server)?.direct("")?.with_disk(path, format).on(bus);
    let cluster = Cluster::start([MachineSpec::new(NAME, boot)])?;
    cluster.wait_console(NAME, "phase root at", cluster.limit(BOOT))?;
    Ok(())
}

fn in_folder(name: &str) -> anyhow::Result<(tempfile::TempDir, PathBuf, File)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(name);
    let file = File::create_new(&path)?;
    Ok((folder, path, file))
}

fn qcow2_disk((): &mut ()) -> anyhow::Result<()> {
    let (_folder, path, file) = in_folder("d.qcow2")?;
    let options = qcow2::Options { compression: qcow2::Compression::Zstd, ..Default::default() };
    qcow2::write_from(&mut &disk()?, &file, &path, options)?;
    boots(&path, DiskFormat::Qcow2, DiskBus::Scsi)
}

fn vmdk_disk((): &mut ()) -> anyhow::Result<()> {
    let (_folder, path, file) = in_folder("d.vmdk")?;
    vmdk::write(&disk()?, &mut BufWriter::new(file))?;
    boots(&path, DiskFormat::Vmdk, DiskBus::Nvme)
}

fn vhd_disk((): &mut ()) -> anyhow::Result<()> {
    let (_folder, path, mut file) = in_folder("d.vhd")?;
    vhd::write(&disk()?, Image::find(Role::Server)?.manifest().epoch, &mut file)?;
    boots(&path, DiskFormat::Vpc, DiskBus::Ahci)
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

fn iso_by_bios((): &mut ()) -> anyhow::Result<()> {
    for bus in [DiskBus::Cdrom, DiskBus::Virtio] {
        let boot = BootFiles::bios(iso()?, DiskFormat::Raw).on(bus);
        let mut spec = MachineSpec::new(NAME, boot);
        spec.memory_mib = 768;
        let cluster = Cluster::start([spec])?;
        let line = cluster.wait_console(NAME, "Kernel command line: ", cluster.limit(BOOT))?;
        ensure!(line.contains("BOOT_IMAGE=/boot/vmlinuz"), "{line}");
        cluster.wait_console(NAME, "phase root at", cluster.limit(BOOT))?;
    }
    Ok(())
}
