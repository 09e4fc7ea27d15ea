//! From a machine's description to QEMU's arguments. Nothing newer than QEMU 7.2.

use crate::vm::config::{Boot, Disk, DiskBus, NicModel, VmConfig};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The program.
pub const QEMU: &str = "qemu-system-x86_64";

/// Limit of TCG's translation cache in MiB: six machines with the default of up to 1 GiB each do not fit everywhere.
const TRANSLATION_CACHE_MIB: u32 = 512;

/// Where a machine's console, monitor and network go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// To sockets on which the harness listens before QEMU starts, so that no byte is lost.
    Harness {
        /// The serial console, both directions.
        console: PathBuf,
        /// The monitor.
        qmp: PathBuf,
    },
    /// To the terminal and QEMU's own user network: what one starts by hand to look at a machine that failed.
    Standalone,
}

/// QEMU's arguments, without the program.
#[must_use]
pub fn argv(config: &VmConfig, wiring: &Wiring) -> Vec<OsString> {
    let mut args = Args::default();
    args.plain(["-nodefaults", "-no-user-config"]).pair("-display", "none");
    args.pair("-name", value(&config.name)).pair("-machine", "q35");
    args.pair("-cpu", config.accelerator.processor());
    args.pair("-accel", config.accelerator.argument(TRANSLATION_CACHE_MIB));
    args.pair("-smp", config.cpus.to_string()).pair("-m", format!("{}M", config.memory_mib));
    args.pair("-action", "reboot=reset,shutdown=poweroff,panic=exit-failure");
    match &config.clock {
        Some(time) => args.pair("-rtc", format!("base={},clock=vm", value(time))),
        None => args.pair("-rtc", "base=utc"),
    };
    args.boot(&config.boot);
    args.smbios(config);
    args.wiring(wiring);
    args.disks(config);
    args.nics(config, wiring);
    args.pair("-device", "virtio-rng-pci");
    if config.pvpanic {
        args.pair("-device", "pvpanic-pci");
    }
    args.0.extend(config.extra.iter().cloned());
    args.0
}

/// A shell script that starts the same machine with its console on the terminal.
#[must_use]
pub fn replay_script(config: &VmConfig) -> String {
    let quoted = argv(config, &Wiring::Standalone).into_iter().map(|arg| {
        let text = arg.to_string_lossy().replace('\'', r"'\''");
        let plain =
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=,./:+".contains(&byte));
        if plain { text } else { format!("'{text}'") }
    });
    let mut script = format!(
        "#!/bin/sh\n# Starts {} with the disks as the test left them, its console on this terminal (Ctrl-A X ends it)\n\
         # and QEMU's user network in place of the test's.\nexec {QEMU}",
        config.name
    );
    for arg in quoted {
        // One option a line, with its value.
        script.push_str(if arg.starts_with('-') { " \\\n  " } else { " " });
        script.push_str(&arg);
    }
    script.push('\n');
    script
}

/// Doubles commas, which separate the parts of an option's value.
fn value(text: &str) -> String {
    text.replace(',', ",,")
}

fn path_value(path: &Path) -> String {
    value(&path.to_string_lossy())
}

#[derive(Default)]
struct Args(Vec<OsString>);

impl Args {
    fn plain<const N: usize>(&mut self, args: [&str; N]) -> &mut Self {
        self.0.extend(args.map(OsString::from));
        self
    }

    fn pair(&mut self, option: &str, value: impl Into<OsString>) -> &mut Self {
        self.0.push(option.into());
        self.0.push(value.into());
        self
    }

    fn boot(&mut self, boot: &Boot) {
        match boot {
            Boot::Kernel { kernel, initrd, cmdline } => {
                self.pair("-kernel", kernel);
                if let Some(initrd) = initrd {
                    self.pair("-initrd", initrd);
                }
                self.pair("-append", cmdline);
            }
            Boot::Uefi(firmware) => self.firmware(firmware),
            Boot::UefiKernel { firmware, kernel } => {
                self.firmware(firmware);
                self.pair("-kernel", kernel);
            }
            Boot::Bios => {}
        }
    }

    fn firmware(&mut self, firmware: &crate::vm::Firmware) {
        let code = path_value(&firmware.code);
        self.pair("-drive", format!("if=pflash,unit=0,format=raw,readonly=on,file={code}"));
        self.pair("-drive", format!("if=pflash,unit=1,format=raw,file={}", path_value(&firmware.variables)));
    }

    fn smbios(&mut self, config: &VmConfig) {
        let smbios = &config.smbios;
        let system = [
            ("manufacturer", &smbios.manufacturer),
            ("product", &smbios.product),
            ("version", &smbios.version),
            ("serial", &smbios.serial),
            ("uuid", &smbios.uuid),
        ];
        let system: String =
            system.iter().filter_map(|(key, text)| Some(format!(",{key}={}", value(text.as_ref()?)))).collect();
        if !system.is_empty() {
            self.pair("-smbios", format!("type=1{system}"));
        }
        if let Some(tag) = &smbios.asset_tag {
            self.pair("-smbios", format!("type=3,asset={}", value(tag)));
        }
        for text in &smbios.oem {
            self.pair("-smbios", format!("type=11,value={}", value(text)));
        }
    }

    fn wiring(&mut self, wiring: &Wiring) {
        match wiring {
            Wiring::Harness { console, qmp } => {
                self.pair("-chardev", format!("socket,id=console,path={},server=off", path_value(console)));
                self.pair("-serial", "chardev:console");
                self.pair("-chardev", format!("socket,id=qmp,path={},server=off", path_value(qmp)));
                self.pair("-mon", "chardev=qmp,mode=control");
            }
            Wiring::Standalone => {
                self.pair("-serial", "mon:stdio");
            }
        }
    }

    fn disks(&mut self, config: &VmConfig) {
        for (bus, controller) in [
            (DiskBus::Scsi, "virtio-scsi-pci,id=scsi"),
            (DiskBus::MegaRaid, "megasas,id=raid"),
            (DiskBus::Sas, "mptsas1068,id=sas"),
            (DiskBus::Usb, "qemu-xhci,id=usb"),
        ] {
            if config.disks.iter().any(|disk| disk.bus == bus) {
                self.pair("-device", controller);
            }
        }
        let (mut scsi, mut sata) = (0, 0);
        for (index, disk) in config.disks.iter().enumerate() {
            let cdrom = disk.bus == DiskBus::Cdrom;
            // The image is thrown away after the test: QEMU need not wait for the host's disk. What the guest flushes reaches the
            // host's page cache all the same, so that killing QEMU is a power loss and not a corruption of the overlay.
            let mut drive = format!(
                "if=none,id=disk{index},format={},file={},cache=unsafe,discard=unmap",
                disk.format.driver(),
                path_value(&disk.path)
            );
            if disk.read_only || cdrom {
                drive.push_str(",readonly=on");
            }
            self.pair("-drive", drive);
            let place = |number: &mut u32| {
                *number += 1;
                *number - 1
            };
            let device = match disk.bus {
                DiskBus::Virtio => "virtio-blk-pci".to_owned(),
                DiskBus::Scsi => format!("scsi-hd,bus=scsi.0,scsi-id={}", place(&mut scsi)),
                DiskBus::MegaRaid => format!("scsi-hd,bus=raid.0,scsi-id={}", place(&mut scsi)),
                // The adapter tells a drive by its SAS address alone, and QEMU gives a drive none by itself.
                DiskBus::Sas => {
                    let place = place(&mut scsi);
                    format!("scsi-hd,bus=sas.0,scsi-id={place},wwn=0x5000c5000000{place:04x}")
                }
                DiskBus::Usb => "usb-storage,bus=usb.0,removable=on".to_owned(),
                DiskBus::Nvme => "nvme".to_owned(),
                DiskBus::Ahci => format!("ide-hd,bus=ide.{}", place(&mut sata)),
                DiskBus::Cdrom => format!("ide-cd,bus=ide.{}", place(&mut sata)),
            };
            self.pair(
                "-device",
                format!("{device},drive=disk{index}{}{}", boot_index(config, index), serial(disk, index)),
            );
        }
    }

    fn nics(&mut self, config: &VmConfig, wiring: &Wiring) {
        for (index, nic) in config.nics.iter().enumerate() {
            let socket = path_value(&nic.socket);
            self.pair(
                "-netdev",
                match wiring {
                    Wiring::Harness { .. } => {
                        format!("stream,id=net{index},server=off,addr.type=unix,addr.path={socket}")
                    }
                    Wiring::Standalone => format!("user,id=net{index}"),
                },
            );
            // Without an option ROM the firmware does not try to boot from the network.
            let queue = if nic.model == NicModel::Virtio { ",rx_queue_size=1024" } else { "" };
            let device = format!("{},netdev=net{index},mac={},romfile={queue}", nic.model.device(), nic.mac);
            self.pair("-device", device);
        }
    }
}

/// Only firmware that boots from disks cares for their order.
fn boot_index(config: &VmConfig, index: usize) -> String {
    match config.boot {
        Boot::Uefi(_) | Boot::Bios => format!(",bootindex={index}"),
        Boot::Kernel { .. } | Boot::UefiKernel { .. } => String::new(),
    }
}

fn serial(disk: &Disk, index: usize) -> String {
    match (&disk.serial, disk.bus) {
        (Some(serial), _) => format!(",serial={}", value(serial)),
        // QEMU refuses an NVMe drive without one.
        (None, DiskBus::Nvme) => format!(",serial=nvme{index}"),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests;
