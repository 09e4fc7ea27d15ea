//! The disk as firmware boots it: by BIOS and by UEFI, and how the boot loaders count tries.

use std::{fs, os::unix::fs::FileExt as _, path::Path, process::ExitCode, time::Duration};

use agent::{
    facts::Role,
    slots::{self, Slot, boot_once, config},
};
use anyhow::{Context as _, ensure};
use builder::manifest::Kind;
use qemu::{
    BootFiles, MachineSpec,
    vm::{DiskBus, DiskFormat},
    volume::SeedMedium,
};
use tests::{
    cluster::{Cluster, LONE_SERVER_DATA, leads},
    esp::Esp,
    images::{self, Image},
    suite,
};

/// Enough for one machine to come up.
const BOOT: Duration = Duration::from_secs(25);
/// On the command line of the system that a test puts into slot b; as long as [`REPLACED`].
const MARK: &str = "steppe.slot-b=yes";
/// A word of every image's command line.
const REPLACED: &str = "printk.devkmsg=on";
/// Where a disk has the first byte of the identifier of its partition 4, slot b's root.
const IDENTIFIER: u64 = 2 * 512 + 3 * 128 + 16;
const NAME: &str = "server-vm-0";

fn main() -> ExitCode {
    suite::run(
        || Ok(()),
        &[
            ("a_bios_boots_the_disk_and_another_slot_once", bios),
            ("both_firmwares_find_the_disk_behind_every_controller", controllers),
            ("uefi_counts_the_newest_generation_down_and_falls_back", uefi),
        ],
    )
}

fn start(boot: BootFiles) -> anyhow::Result<Cluster> {
    let spec = MachineSpec::new(NAME, boot.with_disk_size(images::DISK_SIZE)).user_data(LONE_SERVER_DATA);
    Cluster::start([spec])
}

/// The disk as it is, with the machine off.
fn inspect(cluster: &Cluster, folder: &Path) -> anyhow::Result<Esp> {
    Esp::of_machine(&cluster.lab().machine(NAME).disk(), &folder.join("flat.raw"))
}

/// The disk of the image, for a PC BIOS, and its command line.
fn told_of_the_clock(folder: &Path) -> anyhow::Result<(Esp, String)> {
    Esp::told_of_the_clock(&Image::find(Role::Server)?.path(Kind::Raw)?, &folder.join("disk.raw"))
}

fn bios((): &mut ()) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (esp, cmdline) = told_of_the_clock(folder.path())?;
    // What an update leaves behind.
    esp.write(Slot::B.syslinux_cfg(), config::slot(Slot::B, &format!("{cmdline} {MARK}")).as_bytes())?;
    esp.write(Slot::B.kernel(), &esp.read(Slot::A.kernel())?)?;
    esp.write(Slot::B.initrd(), &esp.read(Slot::A.initrd())?)?;
    esp.boot_once(&config::trial(Slot::B))?;
    esp.check()?;
    // What a power cut leaves behind in the middle of its first table: a PC BIOS does not write it anew from the backup.
    let file = fs::OpenOptions::new().read(true).write(true).open(esp.disk())?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, IDENTIFIER)?;
    file.write_all_at(&[!byte[0]], IDENTIFIER)?;

    // As large as the image is: the backup has to be at its end.
    let spec = MachineSpec::new(NAME, BootFiles::bios(esp.disk(), DiskFormat::Raw)).user_data(LONE_SERVER_DATA);
    let cluster = Cluster::start([spec])?;
    let line = cluster.wait_console(NAME, "Kernel command line: ", cluster.limit(BOOT))?;
    ensure!(line.contains("BOOT_IMAGE=/b/vmlinuz") && line.contains(MARK) && line.contains(config::TRIAL), "{line}");
    cluster.wait_console(NAME, "the partition table of vda was torn: it is whole again", cluster.limit(BOOT))?;
    cluster.wait_console(NAME, "phase root at", cluster.limit(BOOT))?;
    let mark = cluster.mark(NAME);
    cluster.lab().machine(NAME).vm()?.reset()?;
    let line = cluster.wait_console_after(NAME, mark, "Kernel command line: ", cluster.limit(BOOT))?;
    ensure!(line.contains("BOOT_IMAGE=/a/vmlinuz") && !line.contains(config::TRIAL), "{line}");
    cluster.wait_console_after(NAME, mark, "READY role=server", cluster.limit(BOOT))?;
    leads(&cluster, NAME)?;
    cluster.power_button(NAME)?;

    let esp = inspect(&cluster, folder.path())?;
    let loader = esp.read(slots::LDLINUX_SYS)?;
    ensure!(boot_once::command(&loader[loader.len() - boot_once::SIZE..])?.is_none(), "the record was not cleared");
    esp.check()
}

/// As clouds and hypervisors attach disks besides virtio-blk, which the other steps have. The system finds its root there too.
fn controllers((): &mut ()) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (esp, _) = told_of_the_clock(folder.path())?;
    for boot in [BootFiles::bios(esp.disk(), DiskFormat::Raw), BootFiles::uefi(esp.disk(), DiskFormat::Raw)] {
        let on = |(name, bus)| MachineSpec::new(name, boot.clone().on(bus)).medium(SeedMedium::None);
        let cluster =
            Cluster::start([("scsi", DiskBus::Scsi), ("nvme", DiskBus::Nvme), ("ahci", DiskBus::Ahci)].map(on))?;
        for name in cluster.names() {
            cluster.wait_console(&name, "phase root at", cluster.limit(2 * BOOT))?;
        }
    }
    Ok(())
}

fn uefi((): &mut ()) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let image = Image::find(Role::Server)?;
    let esp = Esp::of_copy(&image.path(Kind::Raw)?, &folder.path().join("disk.raw"))?;
    let entries = |esp: &Esp| esp.list(slots::ENTRIES);
    ensure!(entries(&esp)? == ["steppe-0000000001-a.efi"], "{:?}", entries(&esp)?);
    let entry = |name: &str| format!("{}/{name}", slots::ENTRIES);
    let mut uki = esp.read(&entry("steppe-0000000001-a.efi"))?;
    let words = uki.windows(REPLACED.len()).position(|window| window == REPLACED.as_bytes());
    let words = words.with_context(|| format!("the command line lacks {REPLACED}"))?;
    uki[words..words + MARK.len()].copy_from_slice(MARK.as_bytes());
    esp.rename(&entry("steppe-0000000001-a.efi"), "steppe-0000000009-a.efi")?;
    esp.write(&entry("steppe-0000000010-b+2.efi"), &uki)?;
    esp.check()?;

    let cluster = start(BootFiles::uefi(esp.disk(), DiskFormat::Raw))?;
    // A stray key, or noise on the line, must not make systemd-boot show a menu and wait.
    cluster.wait_console(NAME, "BdsDxe: starting", cluster.limit(BOOT))?;
    cluster.lab().machine(NAME).console().type_text("xxxxxxxx")?;
    let mut mark = qemu::vm::Mark::default();
    for (newest, from_b) in [("b+1-1", true), ("b+0-2", true), ("b+0-2", false)] {
        let line = cluster.wait_console_after(NAME, mark, "Kernel command line: ", cluster.limit(BOOT))?;
        ensure!(line.contains(MARK) == from_b, "{line}");
        // Before anything in the system has its say about the entry.
        cluster.wait_console_after(NAME, mark, "phase root at", cluster.limit(BOOT))?;
        cluster.pull_the_plug(NAME)?;
        let esp = inspect(&cluster, folder.path())?;
        let wanted = ["steppe-0000000009-a.efi".to_owned(), format!("steppe-0000000010-{newest}.efi")];
        ensure!(entries(&esp)? == wanted, "{:?}, not {wanted:?}", entries(&esp)?);
        esp.check_file_system()?;
        mark = cluster.mark(NAME);
        if from_b {
            cluster.power_on(NAME)?;
        }
    }
    Ok(())
}
