//! One machine of a lab, over all its power cycles.

use crate::lab::LabError;
use crate::lab::spec::{BootMethod, MachineSpec, NicLease, nic_mac};
use crate::switch::Mac;
use crate::vm::{
    Boot, Console, Disk, DiskBus, DiskFormat, Firmware, Nic, NicModel, Smbios, Vm, VmConfig, clock_arguments,
    create_empty, create_overlay,
};
use crate::volume::{self, Seed, SeedMedium, VolumeFormat};
use crate::{Accelerator, Deadline};
use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A network interface of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineNic {
    /// The name of its port on the switch: that of the machine for the first, and `NAME.1` and on for others.
    pub port: String,
    /// Its station.
    pub mac: Mac,
    /// What DHCP gives it.
    pub lease: NicLease,
    /// What kind of card it is.
    pub model: NicModel,
    socket: PathBuf,
}

impl MachineNic {
    /// The socket of its port.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

/// What the systemd stub from version 254 on appends to the command line in the unified kernel image.
const STUB_CMDLINE: &str = "io.systemd.stub.kernel-cmdline-extra=";

/// A machine, on or off. It keeps its disks and its console over power cycles.
#[derive(Debug)]
pub struct Machine {
    spec: MachineSpec,
    address: Ipv4Addr,
    nics: Vec<MachineNic>,
    accelerator: Accelerator,
    directory: PathBuf,
    /// Where the seed is when it comes by HTTP.
    seed_url: String,
    console: Console,
    seed: Mutex<Seed>,
    vm: Mutex<Option<Arc<Vm>>>,
}

impl Machine {
    pub(crate) fn new(
        spec: MachineSpec,
        address: Ipv4Addr,
        accelerator: Accelerator,
        run: &Path,
        seed_base: &str,
    ) -> Result<Self, LabError> {
        let directory = run.join(&spec.name);
        let prepare = |source| LabError::Prepare { path: directory.clone(), source };
        std::fs::create_dir(&directory).map_err(prepare)?;
        let log = File::create(directory.join("console.log")).map_err(prepare)?;
        if let Some(base) = &spec.boot.disk {
            create_overlay(&directory.join("disk.qcow2"), &base.path, base.format, base.size)?;
        }
        if let Some(size) = spec.blank_disk {
            create_empty(&directory.join("blank.qcow2"), size)?;
        }
        let nics = spec.nics.iter().enumerate().map(|(number, nic)| {
            let name = |first: &str, other: &str| {
                if number == 0 { first.to_owned() } else { format!("{first}{other}{number}") }
            };
            MachineNic {
                port: name(&spec.name, "."),
                mac: nic.mac.unwrap_or_else(|| nic_mac(address, number)),
                lease: nic.lease,
                model: nic.model,
                socket: directory.join(name("net", "")),
            }
        });
        Ok(Self {
            address,
            nics: nics.collect(),
            accelerator,
            seed_url: format!("{seed_base}/{}/", spec.name),
            console: Console::new(&spec.name, Some(log)),
            seed: Mutex::new(spec.seed.clone()),
            vm: Mutex::new(None),
            directory,
            spec,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its address, as DHCP gives it.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its network interfaces.
    #[must_use]
    pub fn nics(&self) -> &[MachineNic] {
        &self.nics
    }

    /// How it was described.
    #[must_use]
    pub fn spec(&self) -> &MachineSpec {
        &self.spec
    }

    /// Its console, the same one over all power cycles.
    #[must_use]
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Its directory: `console.log`, `disk.qcow2`, `qemu.log`, `replay.sh`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its disk: an overlay over the image.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.directory.join("disk.qcow2")
    }

    /// What it is told to be.
    #[must_use]
    pub fn seed(&self) -> Seed {
        self.seed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells it something else from the next power-on on (by HTTP: at once; see [`crate::Lab::reseed`]).
    pub(crate) fn set_seed(&self, seed: Seed) {
        *self.seed.lock().unwrap_or_else(PoisonError::into_inner) = seed;
    }

    /// Powers it on.
    ///
    /// # Errors
    /// When it is on already, or QEMU refuses.
    pub fn power_on(&self) -> Result<Arc<Vm>, LabError> {
        let mut slot = self.slot();
        if let Some(vm) = slot.as_ref()
            && vm.is_running()?
        {
            return Err(LabError::AlreadyOn(self.name().to_owned()));
        }
        let vm = Arc::new(Vm::start(self.config()?, &self.directory, &self.console)?);
        *slot = Some(Arc::clone(&vm));
        Ok(vm)
    }

    /// The running machine.
    ///
    /// # Errors
    /// When it is off.
    pub fn vm(&self) -> Result<Arc<Vm>, LabError> {
        let slot = self.slot();
        match slot.as_ref() {
            Some(vm) if vm.is_running()? => Ok(Arc::clone(vm)),
            _ => Err(LabError::Off(self.name().to_owned())),
        }
    }

    /// Whether it is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.vm().is_ok()
    }

    /// Pulls the plug; see [`Vm::kill`].
    ///
    /// # Errors
    /// When it is off.
    pub fn kill(&self) -> Result<ExitStatus, LabError> {
        Ok(self.vm()?.kill()?)
    }

    /// Presses the power button and waits until it is off.
    ///
    /// # Errors
    /// When it is off already, or still on at the deadline.
    pub fn shut_down(&self, deadline: &Deadline) -> Result<ExitStatus, LabError> {
        let vm = self.vm()?;
        vm.powerdown()?;
        Ok(vm.wait_exit(deadline)?)
    }

    /// Pulls the plug and powers it on again from its own disk.
    ///
    /// # Errors
    /// As [`Machine::kill`] and [`Machine::power_on`].
    pub fn power_cycle(&self) -> Result<Arc<Vm>, LabError> {
        self.kill()?;
        self.power_on()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Vm>>> {
        self.vm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What QEMU is started with.
    fn config(&self) -> Result<VmConfig, LabError> {
        let spec = &self.spec;
        let mut smbios = spec.smbios.clone();
        let mut disks = Vec::new();
        if let Some(base) = &spec.boot.disk {
            disks.push(Disk::new(self.disk(), DiskFormat::Qcow2).on(base.bus).with_serial("root"));
        }
        if spec.blank_disk.is_some() {
            disks.push(Disk::new(self.directory.join("blank.qcow2"), DiskFormat::Qcow2).with_serial("blank"));
        }
        disks.extend(self.seed_volume(&mut smbios)?);
        for (number, volume) in spec.volumes.iter().enumerate() {
            let path = self.directory.join(format!("volume{number}"));
            volume::save(&path, volume.image())?;
            let disk = Disk::new(path, DiskFormat::Raw);
            disks.push(match volume.format {
                VolumeFormat::Vfat => disk.with_serial(format!("volume{number}")).read_only(),
                VolumeFormat::Iso => disk.on(DiskBus::Cdrom),
            });
        }
        let boot = self.boot(&mut smbios)?;
        Ok(VmConfig {
            cpus: spec.cpus,
            memory_mib: spec.memory_mib,
            disks,
            nics: self
                .nics
                .iter()
                .map(|nic| Nic { socket: nic.socket.clone(), mac: nic.mac, model: nic.model })
                .collect(),
            smbios,
            clock: spec.clock.clone(),
            extra: spec.extra.clone(),
            ..VmConfig::new(self.name(), self.accelerator, boot)
        })
    }

    fn boot(&self, smbios: &mut Smbios) -> Result<Boot, LabError> {
        let tcg = self.accelerator == Accelerator::Tcg;
        Ok(match &self.spec.boot.method {
            BootMethod::Kernel { kernel, initrd, cmdline } => {
                let mut cmdline = cmdline.clone();
                if tcg {
                    cmdline = format!("{cmdline} {}", clock_arguments());
                }
                Boot::Kernel { kernel: kernel.clone(), initrd: initrd.clone(), cmdline }
            }
            BootMethod::Uefi => {
                if tcg {
                    let words = clock_arguments();
                    // It reads the first one only.
                    match smbios.oem.iter_mut().find(|text| text.starts_with(STUB_CMDLINE)) {
                        Some(text) => *text = format!("{text} {words}"),
                        None => smbios.oem.push(format!("{STUB_CMDLINE}{words}")),
                    }
                }
                Boot::Uefi(Firmware::for_machine(self.directory.join("efivars.fd"))?)
            }
            BootMethod::Bios => Boot::Bios,
        })
    }

    /// Writes the seed anew and gives the drive with it.
    fn seed_volume(&self, smbios: &mut Smbios) -> Result<Option<Disk>, LabError> {
        let seed = self.seed();
        Ok(match self.spec.medium {
            SeedMedium::Vfat => {
                let path = self.directory.join("seed.img");
                volume::save(&path, volume::vfat(volume::LABEL, &seed.files()))?;
                Some(Disk::new(path, DiskFormat::Raw).with_serial("seed").read_only())
            }
            SeedMedium::Iso => {
                let path = self.directory.join("seed.iso");
                volume::save(&path, volume::iso9660(volume::LABEL, &seed.files()))?;
                Some(Disk::new(path, DiskFormat::Raw).on(DiskBus::Cdrom))
            }
            SeedMedium::Http => {
                smbios.serial.get_or_insert_with(|| format!("ds=nocloud;s={}", self.seed_url));
                None
            }
            SeedMedium::None => None,
        })
    }
}
