//! The image for servers of one's own: its drivers, and boots on the hardware of such servers that QEMU has.

use std::{process::ExitCode, time::Duration};

use agent::facts::Role;
use anyhow::{Context as _, ensure};
use builder::{embedded, manifest::Kind, modules::ModuleLists, recipe::Profile};
use qemu::{
    BootFiles, MachineSpec,
    vm::{DiskBus, DiskFormat, NicModel},
};
use tests::{
    cluster::{Cluster, LONE_SERVER_DATA, leads},
    esp::Esp,
    images::{self, Image},
    suite,
};

/// Enough for the machines to come up one after the other.
const BOOT: Duration = Duration::from_secs(90);
/// Bytes of the image without Nomad and its libraries.
const WITHOUT_NOMAD: u64 = 31_000_000;
/// Bytes of its initramfs.
const INITRAMFS: u64 = 3_700_000;
/// Bytes of the firmware in its root, before the root is compressed.
const FIRMWARE: u64 = 7_000_000;

fn main() -> ExitCode {
    suite::run(
        || Ok(()),
        &[
            ("every_driver_of_the_table_is_in_the_image_and_no_other", drivers),
            ("the_image_for_metal_is_small", sizes),
            ("servers_boot_from_their_own_disks", boots),
        ],
    )
}

fn image() -> anyhow::Result<Image> {
    Image::find_for(Role::Server, Profile::Metal)
}

/// Drivers that reach the disk with the root, and watchdogs.
const DISKS: [(&str, &str); 35] = [
    ("vmd", "NVMe behind Intel's volume management device"),
    ("nvme", "NVMe"),
    ("ahci", "SATA"),
    ("ata_piix", "SATA of old Intel chipsets, IDE of QEMU"),
    ("megaraid_sas", "Broadcom MegaRAID, Dell PERC"),
    ("mpt3sas", "Broadcom SAS 2008 to 3916"),
    ("mpi3mr", "Broadcom SAS 4116 and MegaRAID 9600"),
    ("hpsa", "HPE Smart Array to Gen9"),
    ("smartpqi", "HPE Smart Array from Gen10, Microchip SmartRAID"),
    ("aacraid", "Adaptec RAID to series 8"),
    ("pm80xx", "Adaptec and ATTO SAS"),
    ("arcmsr", "Areca RAID"),
    ("isci", "SAS of Intel's C600"),
    ("mvsas", "Marvell SAS"),
    ("mptsas", "LSI SAS 1068"),
    ("mptspi", "LSI SCSI; VMware, VirtualBox"),
    ("xhci_pci", "USB 3"),
    ("ehci_pci", "USB 2"),
    ("uas", "disks on USB 3"),
    ("usb_storage", "sticks"),
    ("virtio_blk", "KVM"),
    ("virtio_scsi", "KVM"),
    ("vmw_pvscsi", "VMware"),
    ("ipmi_watchdog", "watchdog of the management controller"),
    ("lpc_ich", "has the watchdog of Intel's chipsets"),
    ("i2c_i801", "has the watchdog of Intel's newer chipsets"),
    ("iTCO_wdt", "watchdog of Intel's chipsets"),
    ("sp5100_tco", "watchdog of AMD's chipsets"),
    ("hpwdt", "watchdog of HPE's iLO"),
    ("wdat_wdt", "watchdog that ACPI describes"),
    ("i6300esb", "watchdog of QEMU"),
    ("ipmi_si", "management controllers"),
    ("sd_mod", "every disk that speaks SCSI"),
    ("sha256_ssse3", "verification by SHA instructions"),
    ("virtio_pci", "KVM"),
];

/// Drivers in the root.
const ROOT: [(&str, &str); 45] = [
    ("crc32c_generic", "ext4"),
    ("ext4", "the state"),
    ("evdev", "power button"),
    ("usbhid", "keyboards"),
    ("hid_generic", "keyboards"),
    ("overlay", "file systems of tasks"),
    ("efi_pstore", "last words of the kernel"),
    ("crc32c_intel", "ext4, quicker"),
    ("button", "power button"),
    ("e1000", "Intel 8254x; hypervisors"),
    ("e1000e", "Intel 8257x to I219"),
    ("igb", "Intel 82575 to I350"),
    ("igc", "Intel I225, I226"),
    ("ixgbe", "Intel 82598 to X550"),
    ("ixgbevf", "functions of these"),
    ("i40e", "Intel X710, XL710, X722"),
    ("iavf", "functions of i40e and ice"),
    ("ice", "Intel E810, E82x"),
    ("idpf", "Intel's infrastructure processors"),
    ("tg3", "Broadcom BCM57xx"),
    ("bnx2", "Broadcom BCM5706 to 5716"),
    ("bnx2x", "Broadcom BCM577xx, 578xx"),
    ("bnxt_en", "Broadcom BCM573xx to 576xx"),
    ("mlx4_core", "Mellanox ConnectX-3"),
    ("mlx4_en", "Mellanox ConnectX-3"),
    ("mlx5_core", "Mellanox ConnectX-4 and later"),
    ("qede", "QLogic FastLinQ 41000, 45000"),
    ("atlantic", "Aquantia AQC"),
    ("cxgb4", "Chelsio T4 to T6"),
    ("be2net", "Emulex OneConnect"),
    ("enic", "Cisco UCS"),
    ("sfc", "Solarflare"),
    ("ionic", "AMD Pensando"),
    ("r8169", "Realtek RTL8168, 8125"),
    ("8139cp", "Realtek RTL8139C+; QEMU"),
    ("virtio_net", "KVM"),
    ("virtio_rng", "KVM"),
    ("virtio_balloon", "KVM"),
    ("qemu_fw_cfg", "QEMU's own data"),
    ("vmxnet3", "VMware"),
    ("ena", "AWS, also its machines without a hypervisor"),
    ("sr_mod", "CD drives"),
    ("8021q", "VLANs"),
    ("bonding", "bonds"),
    ("bridge", "bridges"),
];

/// In the root too, for what is plugged in later.
const LATER: [&str; 8] = ["nvme", "xhci_pci", "ehci_pci", "uas", "usb_storage", "virtio_blk", "virtio_scsi", "sd_mod"];

/// A driver of the table is a file of the image or part of the kernel, which the builder sees to; and what the list has, the table
/// has a word for.
fn drivers((): &mut ()) -> anyhow::Result<()> {
    let image = image()?;
    let manifest = image.manifest();
    let lists = ModuleLists::parse("metal", embedded::module_list("metal").context("no list")?)?;
    let places = [
        (&manifest.initramfs, &lists.initramfs, DISKS.to_vec(), &[][..]),
        (&manifest.files, &lists.root, ROOT.to_vec(), &LATER[..]),
    ];
    for (files, wanted, table, later) in places {
        let built_in = ["virtio_pci"];
        let has = |name: &str| {
            built_in.contains(&name) || files.iter().filter_map(|file| module_name(&file.path)).any(|own| own == name)
        };
        let promised: Vec<&str> = table.iter().map(|(name, _)| *name).chain(later.iter().copied()).collect();
        let missing: Vec<_> = promised.iter().filter(|name| !has(name)).collect();
        ensure!(missing.is_empty(), "the image lacks {missing:?}");
        let listed = wanted.always.iter().chain(&wanted.devices);
        let mut listed = listed.map(|name| name.trim_start_matches('?').replace('-', "_"));
        let odd = listed.find(|name| !promised.contains(&name.as_str()) && name != "squashfs");
        ensure!(odd.is_none(), "the table does not say what {odd:?} is for");
    }
    Ok(())
}

/// `/usr/lib/modules/6.12/kernel/drivers/usb/storage/usb-storage.ko` as `usb_storage`.
fn module_name(path: &str) -> Option<String> {
    Some(path.rsplit('/').next()?.strip_suffix(".ko")?.replace('-', "_"))
}

fn sizes((): &mut ()) -> anyhow::Result<()> {
    let image = image()?;
    let (manifest, parts) = (image.manifest(), image.manifest().parts);
    ensure!(parts.without_nomad() <= WITHOUT_NOMAD, "{} bytes without Nomad: {parts:?}", parts.without_nomad());
    ensure!(parts.initramfs <= INITRAMFS, "the initramfs has {} bytes", parts.initramfs);
    let firmware =
        manifest.files.iter().filter(|file| file.path.trim_start_matches('/').starts_with("usr/lib/firmware/"));
    let firmware: u64 = firmware.map(|file| file.size).sum();
    // Without any the cards that need it would be dead.
    ensure!((1..=FIRMWARE).contains(&firmware), "{firmware} bytes of firmware");
    Ok(())
}

/// Each machine with its own controller, card and firmware: its root is found, its state made on the disk with the root although a
/// blank one is there, and Nomad leads and answers, which takes its only card.
fn boots((): &mut ()) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let raw = image()?.path(Kind::Raw)?;
    let (esp, _) = Esp::told_of_the_clock(&raw, &folder.path().join("disk.raw"))?;
    let uefi = BootFiles::uefi(&raw, DiskFormat::Raw);
    let bios = BootFiles::bios(esp.disk(), DiskFormat::Raw);
    let machines = [
        ("nvme", &uefi, DiskBus::Nvme, NicModel::E1000e, "nvme0n1"),
        ("stick", &uefi, DiskBus::Usb, NicModel::Vmxnet3, "sda"),
        ("raid", &bios, DiskBus::MegaRaid, NicModel::E1000, "sda"),
        // Debian's OVMF has no driver for this adapter.
        ("sas", &bios, DiskBus::Sas, NicModel::E1000e, "sda"),
        ("sata", &bios, DiskBus::Ahci, NicModel::Rtl8139, "sda"),
    ];
    let specs = machines.map(|(name, boot, bus, card, _)| {
        let boot = boot.clone().with_disk_size(images::DISK_SIZE).on(bus);
        let mut spec = MachineSpec::new(name, boot).user_data(LONE_SERVER_DATA).cards(card);
        spec.blank_disk = Some(1 << 30);
        spec
    });
    let cluster = Cluster::start(specs)?;
    for (name, _, _, _, disk) in machines {
        cluster.wait_console(name, "READY role=server", cluster.limit(BOOT))?;
        leads(&cluster, name)?;
        let made = format!("made the state partition /dev/{disk}");
        ensure!(cluster.console_lines(name).iter().any(|line| line.contains(&made)), "{name} did not say: {made}");
    }
    Ok(())
}
