//! The two slots of an updatable image, and what boot loaders are told of them.
//!
//! A disk has two root partitions, `steppe-root-a` and `steppe-root-b`, each with the hash partition of its dm-verity. One of
//! them runs, the other is idle: an update writes the idle one and makes it the next to boot, *on trial*. Everything that decides
//! which slot boots lies on the EFI system partition:
//!
//! - For UEFI, systemd-boot chooses among the names in `EFI/Linux` ([`entry`], [`choice`]). The name carries the counter of
//!   tries, and the boot loader counts it down.
//! - For BIOS, syslinux boots the default of its configuration ([`config`]), or, once, what the boot-once record says
//!   ([`boot_once`]). A slot has one try there.
//!
//! The names in `EFI/Linux` are kept under BIOS too: they are the one place that says which slot is proven.
//!
//! Shared by the agent and the builder; nothing here touches a disk.

use std::fmt;

pub mod boot_once;
pub mod choice;
pub mod config;
pub mod entry;

/// The GPT name of the EFI system partition.
pub const ESP_LABEL: &str = "steppe-esp";
/// systemd-boot's configuration: [`config::LOADER`].
pub const LOADER_CONF: &str = "loader/loader.conf";
/// The directory of the unified kernel images; their names are [`entry::Entry`]s.
pub const ENTRIES: &str = "EFI/Linux";
/// The configuration of syslinux: [`config::syslinux`].
pub const SYSLINUX_CFG: &str = "syslinux/syslinux.cfg";
/// The program of syslinux, in the root of the file system. The boot-once record is its last 1024 bytes, and the loader knows
/// their sectors: they are written in place, and the file is never replaced.
pub const LDLINUX_SYS: &str = "ldlinux.sys";

/// One of the two places for a system on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The first one; a new disk boots it.
    A,
    /// The second one, empty on a new disk.
    B,
}

impl Slot {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// `a` or `b`, as in every name.
    #[must_use]
    pub const fn letter(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The slot of that letter.
    #[must_use]
    pub fn parse(letter: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|slot| slot.letter() == letter)
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The GPT name of the partition with the root file system.
    #[must_use]
    pub const fn root_label(self) -> &'static str {
        match self {
            Self::A => "steppe-root-a",
            Self::B => "steppe-root-b",
        }
    }

    /// The GPT name of the partition with the hash tree of the root.
    #[must_use]
    pub const fn verity_label(self) -> &'static str {
        match self {
            Self::A => "steppe-verity-a",
            Self::B => "steppe-verity-b",
        }
    }

    /// The kernel that syslinux boots, on the ESP.
    #[must_use]
    pub const fn kernel(self) -> &'static str {
        match self {
            Self::A => "a/vmlinuz",
            Self::B => "b/vmlinuz",
        }
    }

    /// The initramfs that syslinux loads, on the ESP.
    #[must_use]
    pub const fn initrd(self) -> &'static str {
        match self {
            Self::A => "a/initrd",
            Self::B => "b/initrd",
        }
    }

    /// The slot's part of the configuration of syslinux, on the ESP: [`config::slot`].
    #[must_use]
    pub const fn syslinux_cfg(self) -> &'static str {
        match self {
            Self::A => "a/slot.cfg",
            Self::B => "b/slot.cfg",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.letter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_slot_carries_its_letter() {
        for slot in Slot::ALL {
            let letter = slot.letter();
            assert_eq!(Slot::parse(letter), Some(slot));
            assert_eq!(slot.other().other(), slot);
            assert!(slot.root_label().ends_with(&format!("-{letter}")));
            assert!(slot.verity_label().ends_with(&format!("-{letter}")));
            for path in [slot.kernel(), slot.initrd(), slot.syslinux_cfg()] {
                assert!(path.starts_with(&format!("{letter}/")), "{path}");
            }
        }
        assert_eq!(Slot::parse("A"), None);
    }
}
