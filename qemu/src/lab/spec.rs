//! The machines of a lab, as data.

use crate::services::metadata::Cloud;
use crate::switch::Mac;
use crate::vm::{DiskBus, DiskFormat, NicModel, Smbios};
use crate::volume::{Seed, SeedMedium, Volume};
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// What a kind of machine boots from; all of it stays as it is, each machine gets copies of what it writes.
#[derive(Clone, Debug)]
pub struct BootFiles {
    /// How it starts.
    pub method: BootMethod,
    /// The image of its disk, if it has one.
    pub disk: Option<BaseDisk>,
}

/// How a machine starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootMethod {
    /// QEMU loads kernel and initramfs. Under TCG the lab appends the processor's frequency to the command line.
    Kernel {
        /// A bzImage.
        kernel: PathBuf,
        /// The initial RAM file system.
        initrd: Option<PathBuf>,
        /// The kernel's command line.
        cmdline: String,
    },
    /// UEFI firmware boots from the disk, as in a cloud.
    Uefi,
    /// A PC BIOS boots from the disk.
    Bios,
}

/// A disk image that is never written; each machine has an overlay over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseDisk {
    /// The image.
    pub path: PathBuf,
    /// How it is encoded.
    pub format: DiskFormat,
    /// How the machine reaches it.
    pub bus: DiskBus,
    /// The disk's size in bytes, when it is to be larger than the image.
    pub size: Option<u64>,
}

impl BootFiles {
    /// Direct kernel boot without a disk.
    #[must_use]
    pub fn kernel(kernel: impl Into<PathBuf>, initrd: impl Into<PathBuf>, cmdline: impl Into<String>) -> Self {
        let method = BootMethod::Kernel { kernel: kernel.into(), initrd: Some(initrd.into()), cmdline: cmdline.into() };
        Self { method, disk: None }
    }

    /// A disk booted by UEFI firmware.
    #[must_use]
    pub fn uefi(disk: impl Into<PathBuf>, format: DiskFormat) -> Self {
        Self { method: BootMethod::Uefi, disk: None }.with_disk(disk, format)
    }

    /// A disk booted by a PC BIOS.
    #[must_use]
    pub fn bios(disk: impl Into<PathBuf>, format: DiskFormat) -> Self {
        Self { method: BootMethod::Bios, disk: None }.with_disk(disk, format)
    }

    /// With a disk behind virtio-blk.
    #[must_use]
    pub fn with_disk(self, path: impl Into<PathBuf>, format: DiskFormat) -> Self {
        Self { disk: Some(BaseDisk { path: path.into(), format, bus: DiskBus::Virtio, size: None }), ..self }
    }

    /// With another controller for the disk.
    #[must_use]
    pub fn on(self, bus: DiskBus) -> Self {
        Self { disk: self.disk.map(|disk| BaseDisk { bus, ..disk }), ..self }
    }

    /// With a disk of this many bytes.
    #[must_use]
    pub fn with_disk_size(self, bytes: u64) -> Self {
        Self { disk: self.disk.map(|disk| BaseDisk { size: Some(bytes), ..disk }), ..self }
    }
}

/// A network interface of a machine, on the lab's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NicSpec {
    /// Its station; by default made of the machine's address and the interface's number.
    pub mac: Option<Mac>,
    /// What DHCP gives it.
    pub lease: NicLease,
    /// What kind of card it is.
    pub model: NicModel,
}

/// What DHCP gives a network interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NicLease {
    /// The machine's address, and its name.
    #[default]
    Machine,
    /// Another address.
    Address(Ipv4Addr),
    /// No answer.
    Nothing,
}

impl NicSpec {
    /// An interface with the usual station.
    #[must_use]
    pub fn new(lease: NicLease) -> Self {
        Self { mac: None, lease, model: NicModel::default() }
    }
}

/// One machine of a lab.
#[derive(Clone, Debug)]
pub struct MachineSpec {
    /// Its name, which DHCP gives it and DNS knows.
    pub name: String,
    /// Its address; by default .10 and on for `server-vm-N`, .20 and on for `client-vm-N`, .100 and on for others.
    pub address: Option<Ipv4Addr>,
    /// What it boots from.
    pub boot: BootFiles,
    /// Virtual processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// What it is told to be.
    pub seed: Seed,
    /// How it is told.
    pub medium: SeedMedium,
    /// What is attached besides the seed.
    pub volumes: Vec<Volume>,
    /// What the firmware says about it.
    pub smbios: Smbios,
    /// Its network interfaces, in the order in which it finds them.
    pub nics: Vec<NicSpec>,
    /// A wholly blank second disk of this many bytes.
    pub blank_disk: Option<u64>,
    /// Its hardware clock at power-on; see [`crate::VmConfig::clock`].
    pub clock: Option<String>,
    /// Whether it is powered on with the lab.
    pub autostart: bool,
    /// Whether DHCP and DNS know it from the beginning.
    pub registered: bool,
    /// Further arguments for QEMU.
    pub extra: Vec<OsString>,
}

impl MachineSpec {
    /// A machine with one processor and 384 MiB, whose seed has an instance-id and nothing else, powered on with the lab.
    #[must_use]
    pub fn new(name: impl Into<String>, boot: BootFiles) -> Self {
        let name = name.into();
        let meta_data = Some(format!("instance-id: i-{name}\n").into_bytes());
        Self {
            name,
            address: None,
            boot,
            cpus: 1,
            memory_mib: 384,
            seed: Seed { meta_data, ..Seed::default() },
            medium: SeedMedium::default(),
            volumes: Vec::new(),
            smbios: Smbios::default(),
            nics: vec![NicSpec::new(NicLease::Machine)],
            blank_disk: None,
            clock: None,
            autostart: true,
            registered: true,
            extra: Vec::new(),
        }
    }

    /// With this user-data.
    #[must_use]
    pub fn user_data(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.seed.user_data = Some(text.into());
        self
    }

    /// With this meta-data in place of the one with the instance-id.
    #[must_use]
    pub fn meta_data(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.seed.meta_data = Some(text.into());
        self
    }

    /// With this network-config.
    #[must_use]
    pub fn network_config(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.seed.network_config = Some(text.into());
        self
    }

    /// With its seed on this medium.
    #[must_use]
    pub fn medium(self, medium: SeedMedium) -> Self {
        Self { medium, ..self }
    }

    /// With what this cloud says and attaches, and without another seed. Its services are the lab's; see
    /// [`crate::services::metadata::install`].
    #[must_use]
    pub fn of_cloud(mut self, cloud: &(impl Cloud + ?Sized)) -> Self {
        self.smbios = cloud.smbios();
        self.volumes.extend(cloud.volume());
        self.medium(SeedMedium::None)
    }

    /// With interfaces that get this from DHCP.
    #[must_use]
    pub fn nics(self, leases: impl IntoIterator<Item = NicLease>) -> Self {
        Self { nics: leases.into_iter().map(NicSpec::new).collect(), ..self }
    }

    /// With network cards of this kind.
    #[must_use]
    pub fn cards(mut self, model: NicModel) -> Self {
        self.nics.iter_mut().for_each(|nic| nic.model = model);
        self
    }

    /// With this much memory.
    #[must_use]
    pub fn memory_mib(self, memory_mib: u32) -> Self {
        Self { memory_mib, ..self }
    }

    /// Powered on by the test.
    #[must_use]
    pub fn powered_off(self) -> Self {
        Self { autostart: false, ..self }
    }

    /// Unknown to DHCP and DNS until [`crate::Lab::register`].
    #[must_use]
    pub fn unregistered(self) -> Self {
        Self { registered: false, ..self }
    }
}

/// The addresses of machines: the number in a name of the reference cluster decides, others follow in order.
pub(crate) fn addresses(specs: &[MachineSpec]) -> Vec<Ipv4Addr> {
    let mut next = 100;
    let address = |spec: &MachineSpec| {
        let known = |prefix: &str, first: u8| {
            let number: u8 = spec.name.strip_prefix(prefix)?.parse().ok().filter(|number| *number < 10)?;
            Some(first + number)
        };
        let last = known("server-vm-", 10).or_else(|| known("client-vm-", 20));
        let last = last.unwrap_or_else(|| {
            next += 1;
            next - 1
        });
        spec.address.unwrap_or(Ipv4Addr::new(10, 0, 5, last))
    };
    specs.iter().map(address).collect()
}

/// The station of the machine with an address.
pub(crate) fn mac(address: Ipv4Addr) -> Mac {
    let [_, _, third, last] = address.octets();
    Mac::of_machine(u16::from_be_bytes([third, last]))
}

/// The station of one of its interfaces.
pub(crate) fn nic_mac(address: Ipv4Addr, number: usize) -> Mac {
    let mut mac = mac(address);
    mac.0[2] = u8::try_from(number).unwrap_or(u8::MAX);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_cluster_has_fixed_addresses() {
        let boot = BootFiles { method: BootMethod::Bios, disk: None };
        let names = ["client-vm-2", "server-vm-0", "other", "server-vm-x", "server-vm-1"];
        let mut specs: Vec<MachineSpec> = names.iter().map(|name| MachineSpec::new(*name, boot.clone())).collect();
        specs[4].address = Some(Ipv4Addr::new(10, 0, 5, 77));
        let last: Vec<u8> = addresses(&specs).iter().map(|address| address.octets()[3]).collect();
        assert_eq!(last, [22, 10, 100, 101, 77]);
        let address = Ipv4Addr::new(10, 0, 5, 77);
        assert_eq!(mac(address).to_string(), "52:54:00:05:05:4d");
        assert_eq!(
            (nic_mac(address, 0), nic_mac(address, 2).to_string().as_str()),
            (mac(address), "52:54:02:05:05:4d")
        );
    }
}
