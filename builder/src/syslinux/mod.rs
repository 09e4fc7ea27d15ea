//! Booting by a PC BIOS: syslinux 6.04 from its Debian package, installed by our own code.
//!
//! Three programs follow each other. `gptmbr.bin` in the first sector of the disk looks for the one partition of the GPT that
//! has attribute bit 2, and starts its boot sector. That is syslinux's, around the parameters of the FAT ([`crate::fat`]); it loads
//! the first sector of `ldlinux.sys`, whose place was written into it. That sector has the places of all the others. Only then
//! is there code that reads the file system: it loads `ldlinux.c32`, reads the configuration, and boots.
//!
//! The package has `gptmbr.bin` as a file; the others are in its installer ([`installer`]). What the installer would write into them
//! is written by [`install`], after `libinstaller/syslxmod.c` and `core/diskstart.inc`.

pub mod install;
pub mod installer;

pub use self::{
    install::{Installed, install},
    installer::Installer,
};

/// The Debian package.
pub const PACKAGE: &str = "syslinux";
/// The installer in it.
pub const INSTALLER: &str = "usr/bin/syslinux";
/// The code for the first sector of the disk in it.
pub const MBR: &str = "usr/lib/SYSLINUX/gptmbr.bin";
/// Bytes of the first sector that code may take: a disk signature and the partition table follow.
pub const MBR_CODE: usize = 440;
/// Where `ldlinux.c32` lies on the ESP: beside the configuration.
pub const MODULE: &str = "syslinux/ldlinux.c32";

/// Why syslinux cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SyslinuxError {
    /// The package is not laid out as it was.
    #[error(
        "failed to take syslinux out of its package: {0}; lock another version, or say bios = false in [disk] for images that boot by UEFI alone"
    )]
    Package(&'static str),
    /// It says where its own parts are, and they are not there.
    #[error("failed to install syslinux: {0} of ldlinux.sys lies outside of it")]
    Outside(&'static str),
    /// More pieces than there is room for.
    #[error("failed to install syslinux: ldlinux.sys has room for {0} pieces of itself, too few")]
    Pieces(usize),
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture;

    #[test]
    fn the_parts_are_taken_out_whole() {
        let parts = Installer::parse(&fixture::syslinux()).unwrap();
        assert_eq!((parts.boot_sector[3..11].to_vec(), parts.loader.len()), (b"SYSLINUX".to_vec(), 1536));
        assert_eq!((&parts.module[..4], parts.module.len()), (&b"\x7fELF"[..], 100));
        let text = Installer::parse(b"#!/bin/sh\n").unwrap_err().to_string();
        assert!(text.contains("is not a program") && text.contains("bios = false"), "{text}");
    }

    proptest! {
        #[test]
        fn a_damaged_installer_never_panics(at in 0usize..2400, value: u8, length in 0usize..2600) {
            let mut program = fixture::syslinux();
            program[at] = value;
            let length = length.min(program.len());
            for program in [&program[..], &program[..length]] {
                if let Ok(parts) = Installer::parse(program) {
                    let _ = install(&parts, 5000, "/syslinux");
                }
            }
        }
    }
}
