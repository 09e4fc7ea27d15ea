//! What a machine is made of, as data.

use crate::Accelerator;
use std::ffi::OsString;
use std::path::PathBuf;

/// A machine before it is started.
#[derive(Clone, Debug)]
pub struct VmConfig {
    /// Names it in messages, QEMU's process title and its directory.
    pub name: String,
    /// What executes the guest's instructions.
    pub accelerator: Accelerator,
    /// Virtual processors. More than one costs under TCG and gains nothing there.
    pub cpus: u32,
    /// Guest memory in MiB.
    pub memory_mib: u32,
    /// What it starts from.
    pub boot: Boot,
    /// Drives, the first one being the first to boot from.
    pub disks: Vec<Disk>,
    /// Network interfaces, in the order in which the guest finds them.
    pub nics: Vec<Nic>,
    /// What the firmware says about the machine.
    pub smbios: Smbios,
    /// The hardware clock at power-on as `2026-01-31T12:00:00`, for guests that must not know the time; the host's time otherwise.
    pub clock: Option<String>,
    /// A device that tells QEMU of a kernel panic, for guests that have its driver.
    pub pvpanic: bool,
    /// Further arguments, after all others.
    pub extra: Vec<OsString>,
}

impl VmConfig {
    /// One processor, 512 MiB, no disk, no network.
    #[must_use]
    pub fn new(name: impl Into<String>, accelerator: Accelerator, boot: Boot) -> Self {
        Self {
            name: name.into(),
            accelerator,
            cpus: 1,
            memory_mib: 512,
            boot,
            disks: Vec::new(),
            nics: Vec::new(),
            smbios: Smbios::default(),
            clock: None,
            pvpanic: false,
            extra: Vec::new(),
        }
    }
}

/// What a machine starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// QEMU loads the kernel itself: the quickest way.
    Kernel {
        /// A bzImage.
        kernel: PathBuf,
        /// The initial RAM file system.
        initrd: Option<PathBuf>,
        /// The kernel's command line.
        cmdline: String,
    },
    /// UEFI firmware boots from the disks.
    Uefi(crate::vm::Firmware),
    /// UEFI firmware boots a kernel with an EFI stub, or a unified kernel image, that QEMU hands it.
    UefiKernel {
        /// The firmware.
        firmware: crate::vm::Firmware,
        /// The EFI program.
        kernel: PathBuf,
    },
    /// A PC BIOS boots from the disks.
    Bios,
}

/// A drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The image.
    pub path: PathBuf,
    /// How it is encoded.
    pub format: DiskFormat,
    /// How the guest reaches it.
    pub bus: DiskBus,
    /// The serial number that the guest sees, at most 20 characters.
    pub serial: Option<String>,
    /// Whether the guest must not write.
    pub read_only: bool,
}

impl Disk {
    /// A writable virtio drive.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, format: DiskFormat) -> Self {
        Self { path: path.into(), format, bus: DiskBus::Virtio, serial: None, read_only: false }
    }

    /// Behind another controller.
    #[must_use]
    pub fn on(self, bus: DiskBus) -> Self {
        Self { bus, ..self }
    }

    /// With a serial number.
    #[must_use]
    pub fn with_serial(self, serial: impl Into<String>) -> Self {
        Self { serial: Some(serial.into()), ..self }
    }

    /// Write-protected.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self { read_only: true, ..self }
    }
}

/// How a drive's image is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFormat {
    /// The bytes as they are.
    Raw,
    /// QEMU's own format, with a backing file for instance.
    Qcow2,
    /// VMware's.
    Vmdk,
    /// Microsoft's older one, fixed size too.
    Vpc,
}

impl DiskFormat {
    pub(crate) fn driver(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vpc => "vpc",
        }
    }
}

/// How the guest reaches a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskBus {
    /// `vda`: most clouds.
    Virtio,
    /// `sda` behind virtio-scsi: Google, Hetzner, Proxmox.
    Scsi,
    /// `nvme0n1`: Amazon.
    Nvme,
    /// `sda` behind SATA: VirtualBox, old hypervisors.
    Ahci,
    /// `sda` behind a RAID controller of LSI (MegaRAID): a server.
    MegaRaid,
    /// `sda` behind a SAS adapter of LSI (SAS 1068): an older server.
    Sas,
    /// `sda`, a stick on USB.
    Usb,
    /// `sr0` behind SATA, write-protected.
    Cdrom,
}

/// A network interface, connected to whoever listens on a Unix socket; frames are a 32-bit big-endian length and then the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// The listener, a port of a [`crate::Switch`] for instance.
    pub socket: PathBuf,
    /// The address that the guest sees.
    pub mac: crate::switch::Mac,
    /// What kind of card it is.
    pub model: NicModel,
}

/// A kind of network card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NicModel {
    /// virtio: most clouds.
    #[default]
    Virtio,
    /// Intel's 82545EM, old and often emulated.
    E1000,
    /// Intel's 82574L: servers.
    E1000e,
    /// VMware's own.
    Vmxnet3,
    /// Realtek's 8139C+.
    Rtl8139,
}

impl NicModel {
    pub(crate) fn device(self) -> &'static str {
        match self {
            Self::Virtio => "virtio-net-pci",
            Self::E1000 => "e1000",
            Self::E1000e => "e1000e",
            Self::Vmxnet3 => "vmxnet3",
            Self::Rtl8139 => "rtl8139",
        }
    }
}

/// What the firmware says about the machine (`dmidecode`); clouds are recognised by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Smbios {
    /// Type 1, system.
    pub manufacturer: Option<String>,
    /// Type 1, system.
    pub product: Option<String>,
    /// Type 1, system.
    pub version: Option<String>,
    /// Type 1, system. NoCloud reads `ds=nocloud;s=http://...` here.
    pub serial: Option<String>,
    /// Type 1, system.
    pub uuid: Option<String>,
    /// Type 3, chassis.
    pub asset_tag: Option<String>,
    /// Type 11, free text. The systemd stub reads `io.systemd.stub.kernel-cmdline-extra=...` here.
    pub oem: Vec<String>,
}
