//! The EFI system partition of a new disk: boot loaders for UEFI and BIOS, and the system of slot a.
//!
//! What lies where, and how it is called, is [`agent::slots`], by which updates change it later.

use agent::slots::{self, Slot, boot_once, config, entry::Entry};

use crate::{
    architecture::Architecture,
    fat::{FatError, File, Identity, Volume},
    syslinux::{self, Installer, SyslinuxError},
};

/// The volume's name.
const LABEL: [u8; 11] = *b"STEPPE-ESP ";
/// Directory entries and the like that a second system needs besides its files.
const SLACK: u64 = 64 << 10;

/// What boots.
#[derive(Debug, Clone, Copy)]
pub struct System<'a> {
    /// The unified kernel image, for UEFI.
    pub uki: &'a [u8],
    /// Its kernel, for BIOS.
    pub kernel: &'a [u8],
    /// Its initramfs, for BIOS.
    pub initrd: &'a [u8],
    /// Its command line, for BIOS.
    pub cmdline: &'a str,
}

/// The boot loaders.
#[derive(Debug, Clone, Copy)]
pub struct Loaders<'a> {
    /// What they are for: firmware looks for them by a name that has it.
    pub architecture: Architecture,
    /// systemd-boot.
    pub systemd_boot: &'a [u8],
    /// syslinux and its code for the first sector of the disk, if the disk is to boot by BIOS.
    pub syslinux: Option<(&'a Installer, &'a [u8])>,
}

/// The partition, and what belongs to it elsewhere on the disk.
#[derive(Debug)]
pub struct Esp {
    /// The bytes of the partition.
    pub bytes: Vec<u8>,
    /// Code for the first sector of the disk, which starts this partition's boot sector.
    pub mbr: Option<Vec<u8>>,
}

/// Makes a partition of `size` bytes.
///
/// # Errors
/// When it has no room for two systems, or syslinux cannot be installed.
pub fn build(size: u64, id: u32, loaders: &Loaders<'_>, system: &System<'_>) -> Result<Esp, EspError> {
    let System { uki, kernel, initrd, cmdline } = *system;
    let entry = format!("{}/{}", slots::ENTRIES, Entry::new(1, Slot::A));
    let mut files = vec![
        File::new(loaders.architecture.removable(), loaders.systemd_boot),
        File::new(slots::LOADER_CONF, config::LOADER.as_bytes()),
        File::new(&entry, uki),
    ];
    let (configuration, slot) = (config::syslinux(Slot::A, cmdline), config::slot(Slot::A, cmdline));
    // Long enough for any answer, and right: an empty command fits.
    let record = boot_once::vector("").unwrap_or([0; boot_once::SIZE]);
    let with_record = loaders.syslinux.map(|(parts, _)| [&parts.loader[..], &record].concat());
    if let (Some((parts, _)), Some(loader)) = (loaders.syslinux, &with_record) {
        files.extend([
            File { path: slots::LDLINUX_SYS, bytes: loader, system: true },
            File { path: syslinux::MODULE, bytes: &parts.module, system: true },
            File::new(slots::SYSLINUX_CFG, configuration.as_bytes()),
            File::new(Slot::A.kernel(), kernel),
            File::new(Slot::A.initrd(), initrd),
            File::new(Slot::A.syslinux_cfg(), slot.as_bytes()),
            File::new(Slot::B.syslinux_cfg(), config::EMPTY_SLOT.as_bytes()),
        ]);
    }
    let mut volume = Volume::make(size, Identity { label: LABEL, id }, &files)?;
    let of_bios = if loaders.syslinux.is_some() { kernel.len() + initrd.len() } else { 0 };
    let second = (uki.len() + of_bios) as u64 + SLACK;
    if volume.free < second {
        let least = (size - volume.free + second).div_ceil(1 << 20);
        return Err(EspError::Room { size, second, least });
    }
    if let Some((parts, _)) = loaders.syslinux {
        let place = volume.place(slots::LDLINUX_SYS).unwrap_or_default();
        let first = u32::try_from(place.start / 512).unwrap_or(u32::MAX);
        let directory = format!("/{}", syslinux::MODULE.split_once('/').unwrap_or_default().0);
        let installed = syslinux::install(parts, first, &directory)?;
        volume.bytes[place][..installed.loader.len()].copy_from_slice(&installed.loader);
        volume.set_boot_code(&installed.boot_sector);
    }
    Ok(Esp { bytes: volume.bytes, mbr: loaders.syslinux.map(|(_, mbr)| mbr.to_vec()) })
}

/// What the kernel image says about itself to systemd-boot: the text of os-release without the fields that would count in the order
/// of entries before their names do (`src/boot/boot.c`, `boot_entry_compare`, and `bootspec_pick_name_version_sort_key`, systemd 257).
/// A rollback is a higher generation of an older version, so the generation in the name must decide alone.
#[must_use]
pub fn os_release(text: &str) -> String {
    const SORTING: [&str; 6] = ["ID", "IMAGE_ID", "VERSION", "VERSION_ID", "IMAGE_VERSION", "BUILD_ID"];
    let sorts = |line: &&str| SORTING.iter().any(|key| line.split('=').next() == Some(key));
    text.lines().filter(|line| !sorts(line)).fold(String::new(), |text, line| text + line + "\n")
}

/// Why the partition cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EspError {
    /// As a FAT.
    #[error("failed to make the EFI system partition: {0}: change disk.esp")]
    Fat(#[from] FatError),
    /// An update could not be installed beside what is there.
    #[error(
        "an EFI system partition of {size} bytes has no room for a second system, which takes {second}: raise disk.esp to {least}MiB or more"
    )]
    Room {
        /// Bytes of the partition.
        size: u64,
        /// Bytes of a second system.
        second: u64,
        /// MiB that are enough.
        least: u64,
    },
    /// No boot by BIOS.
    #[error(transparent)]
    Syslinux(#[from] SyslinuxError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    const SYSTEM: System<'_> =
        System { uki: &[1; 700_000], kernel: &[2; 500_000], initrd: &[3; 70_000], cmdline: "quiet" };

    const LOADERS: Loaders<'_> =
        Loaders { architecture: Architecture::X86_64, systemd_boot: b"loader", syslinux: None };

    fn make(size: u64, syslinux: Option<(&Installer, &[u8])>) -> Result<Esp, EspError> {
        build(size, 7, &Loaders { syslinux, ..LOADERS }, &SYSTEM)
    }

    fn read(esp: &Esp, path: &str) -> Option<Vec<u8>> {
        use std::io::Read as _;
        let volume = std::io::Cursor::new(esp.bytes.clone());
        let volume = fatfs::FileSystem::new(volume, fatfs::FsOptions::new()).unwrap();
        let mut bytes = Vec::new();
        volume.root_dir().open_file(path).ok()?.read_to_end(&mut bytes).unwrap();
        Some(bytes)
    }

    #[test]
    fn both_firmwares_find_their_files() {
        let installer = Installer::parse(&fixture::syslinux()).unwrap();
        let esp = make(40 << 20, Some((&installer, b"code"))).unwrap();
        assert_eq!(read(&esp, "EFI/BOOT/BOOTX64.EFI").unwrap(), b"loader");
        assert_eq!(read(&esp, "EFI/Linux/steppe-0000000001-a.efi").unwrap(), SYSTEM.uki);
        assert_eq!(read(&esp, "a/vmlinuz").unwrap(), SYSTEM.kernel);
        assert_eq!(read(&esp, "a/initrd").unwrap(), SYSTEM.initrd);
        let configuration = String::from_utf8(read(&esp, "syslinux/syslinux.cfg").unwrap()).unwrap();
        assert_eq!(config::default_of(&configuration), Some(Slot::A));
        for included in configuration.lines().filter_map(|line| line.strip_prefix("INCLUDE /")) {
            assert!(read(&esp, included).is_some(), "{included}");
        }
        let loader = read(&esp, "ldlinux.sys").unwrap();
        assert_eq!(boot_once::command(&loader[loader.len() - boot_once::SIZE..]), Ok(None));
        assert_eq!(esp.mbr.as_deref(), Some(&b"code"[..]));

        let esp = make(40 << 20, None).unwrap();
        assert_eq!((read(&esp, "a/vmlinuz"), read(&esp, "ldlinux.sys"), esp.mbr.is_none()), (None, None, true));
    }

    #[test]
    fn firmware_of_another_architecture_finds_its_file() {
        let loaders = Loaders { architecture: Architecture::Aarch64, ..LOADERS };
        let esp = build(40 << 20, 7, &loaders, &SYSTEM).unwrap();
        assert_eq!(read(&esp, "EFI/BOOT/BOOTAA64.EFI").unwrap(), b"loader");
        assert_eq!(read(&esp, "EFI/BOOT/BOOTX64.EFI"), None);
    }

    #[test]
    fn the_boot_sector_leads_to_the_loader_and_the_loader_to_itself() {
        let installer = Installer::parse(&fixture::syslinux()).unwrap();
        let esp = make(40 << 20, Some((&installer, b"code"))).unwrap();
        let word = |at: usize| u32::from_le_bytes(esp.bytes[at..at + 4].try_into().unwrap());
        let first = usize::try_from(word(fixture::SECTOR_POINTER)).unwrap() * 512;
        let loader = &esp.bytes[first..first + installer.loader.len()];
        assert!(loader.starts_with(b"\r\nSYSLINUX"));
        let sum = loader.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).fold(0, u32::wrapping_add);
        assert_eq!(sum, 0x3eb2_02fe);
        // The FAT's own parameters are still there.
        assert_eq!((word(36), esp.bytes[510..512].to_vec()), (word(6 * 512 + 36), vec![0x55, 0xaa]));
        assert!(read(&esp, "ldlinux.sys").unwrap().starts_with(loader));
    }

    #[test]
    fn a_second_system_must_fit() {
        let large = System { uki: &[1; 12 << 20], ..SYSTEM };
        let of = |size| build(size, 7, &LOADERS, &large);
        assert!(of(36 << 20).is_ok());
        let larger = System { uki: &[1; 20 << 20], ..SYSTEM };
        let error = build(36 << 20, 7, &LOADERS, &larger).unwrap_err();
        assert!(error.to_string().contains("raise disk.esp to 41MiB"), "{error}");
        assert!(build(41 << 20, 7, &LOADERS, &larger).is_ok());
        assert!(make(16 << 20, None).unwrap_err().to_string().contains("change disk.esp"));
    }

    #[test]
    fn nothing_but_the_name_orders_an_entry() {
        let text = "NAME=Steppe\nID=steppe\nVERSION_ID=1\nPRETTY_NAME=\"Steppe 1 (server)\"\nVARIANT_ID=server\n\
                    IMAGE_ID=steppe-x\nIMAGE_VERSION=1\nSTEPPE_NOMAD_VERSION=2.0.5\n";
        let wanted = "NAME=Steppe\nPRETTY_NAME=\"Steppe 1 (server)\"\nVARIANT_ID=server\nSTEPPE_NOMAD_VERSION=2.0.5\n";
        assert_eq!(os_release(text), wanted);
    }
}
