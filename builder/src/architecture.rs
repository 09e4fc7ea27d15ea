//! Processor architectures: what each of them is called by everybody who has a name for it.
//!
//! An architecture is a value that comes from the recipe, or from the image that is read. What differs between two of them is
//! here, and nowhere else.

use std::{fmt, str::FromStr};

use object::elf::{EM_AARCH64, EM_X86_64};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// What the machines of an image have for a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// 64-bit x86.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl Architecture {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// The kernel's name (`uname -m`): in recipes, manifests, and names of files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// Debian's name (`dpkg --print-architecture`): of the archive's lists and packages.
    #[must_use]
    pub const fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// The word in the names of Nomad's releases: Go's (`GOARCH`).
    #[must_use]
    pub const fn nomad(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// Rust's name of the target that static programs are compiled for (`rustc --print target-list`).
    #[must_use]
    pub const fn static_target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-musl",
            Self::Aarch64 => "aarch64-unknown-linux-musl",
        }
    }

    /// Where Debian puts libraries: a folder named after the GNU triplet (`dpkg-architecture -qDEB_HOST_MULTIARCH`). `ld.so`
    /// looks there without being told.
    #[must_use]
    pub const fn libraries(self) -> &'static str {
        match self {
            Self::X86_64 => "usr/lib/x86_64-linux-gnu",
            Self::Aarch64 => "usr/lib/aarch64-linux-gnu",
        }
    }

    /// The dynamic linker of programs for the GNU C library, as they name it (the processor supplements of the System V ABI).
    #[must_use]
    pub const fn interpreter(self) -> &'static str {
        match self {
            Self::X86_64 => "/lib64/ld-linux-x86-64.so.2",
            Self::Aarch64 => "/lib/ld-linux-aarch64.so.1",
        }
    }

    /// Whether a file of the root, by its path, is a shared library or the linker of them.
    #[must_use]
    pub fn has_library(self, path: &str) -> bool {
        let path = path.trim_start_matches('/');
        path.strip_prefix(self.libraries()).is_some_and(|rest| rest.starts_with('/'))
            || path.strip_prefix("usr") == Some(self.interpreter())
    }

    /// `e_machine` of its programs (the generic System V ABI).
    #[must_use]
    pub const fn elf_machine(self) -> u16 {
        match self {
            Self::X86_64 => EM_X86_64.0,
            Self::Aarch64 => EM_AARCH64.0,
        }
    }

    /// The one whose 64-bit programs have this `e_machine`.
    #[must_use]
    pub fn of_elf_machine(machine: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.elf_machine() == machine)
    }

    /// The file that firmware starts from a medium when it was told of no other (UEFI specification 2.10, section 3.5.1.1).
    #[must_use]
    pub const fn removable(self) -> &'static str {
        match self {
            Self::X86_64 => "EFI/BOOT/BOOTX64.EFI",
            Self::Aarch64 => "EFI/BOOT/BOOTAA64.EFI",
        }
    }

    /// The EFI stub in Debian's package `systemd-boot-efi`, with the suffix of that name (systemd-stub(7)).
    #[must_use]
    pub const fn stub(self) -> &'static str {
        match self {
            Self::X86_64 => "usr/lib/systemd/boot/efi/linuxx64.efi.stub",
            Self::Aarch64 => "usr/lib/systemd/boot/efi/linuxaa64.efi.stub",
        }
    }

    /// systemd-boot in that package (systemd-boot(7)).
    #[must_use]
    pub const fn systemd_boot(self) -> &'static str {
        match self {
            Self::X86_64 => "usr/lib/systemd/boot/efi/systemd-bootx64.efi",
            Self::Aarch64 => "usr/lib/systemd/boot/efi/systemd-bootaa64.efi",
        }
    }

    /// The type of a partition with a root (Discoverable Partitions Specification, `SD_GPT_ROOT_*`).
    #[must_use]
    pub const fn root_type(self) -> Uuid {
        Uuid::from_u128(match self {
            Self::X86_64 => 0x4f68_bce3_e8cd_4db1_96e7_fbca_f984_b709,
            Self::Aarch64 => 0xb921_b045_1df0_41c3_af44_4c6f_280d_3fae,
        })
    }

    /// The type of a partition with the hash tree of a root (the same, `SD_GPT_ROOT_*_VERITY`).
    #[must_use]
    pub const fn verity_type(self) -> Uuid {
        Uuid::from_u128(match self {
            Self::X86_64 => 0x2c73_57ed_ebd2_46d9_aec1_23d4_37ec_2bf5,
            Self::Aarch64 => 0xdf33_00ce_d69f_4c92_978c_9bfb_0f38_d820,
        })
    }

    /// The word for a type of partition that is its own: `root-x86-64`, `root-arm64-verity` (`Type=` of repart.d(5)).
    #[must_use]
    pub fn type_name(self, kind: Uuid) -> Option<&'static str> {
        let [root, verity] = match self {
            Self::X86_64 => ["root-x86-64", "root-x86-64-verity"],
            Self::Aarch64 => ["root-arm64", "root-arm64-verity"],
        };
        [(self.root_type(), root), (self.verity_type(), verity)]
            .into_iter()
            .find_map(|(of, name)| (of == kind).then_some(name))
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Architecture {
    type Err = UnknownArchitecture;

    fn from_str(name: &str) -> Result<Self, UnknownArchitecture> {
        Self::ALL.into_iter().find(|one| one.as_str() == name).ok_or_else(|| UnknownArchitecture(name.to_owned()))
    }
}

impl Serialize for Architecture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Architecture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A name that no architecture has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("architecture {0:?} is not known: use {known}", known = Architecture::ALL.map(Architecture::as_str).join(" or "))]
pub struct UnknownArchitecture(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for one in Architecture::ALL {
            assert_eq!(one.to_string().parse(), Ok(one));
            let json = serde_json::to_string(&one).unwrap();
            assert_eq!(json, format!("\"{one}\""));
            assert_eq!(serde_json::from_str::<Architecture>(&json).unwrap(), one);
            assert_eq!(Architecture::of_elf_machine(one.elf_machine()), Some(one));
        }
        assert_eq!(Architecture::of_elf_machine(243), None);
    }

    #[test]
    fn an_unknown_name_is_said_with_the_known_ones() {
        for name in ["arm64", "amd64", "X86_64", ""] {
            let said = name.parse::<Architecture>().unwrap_err().to_string();
            assert_eq!(said, format!("architecture {name:?} is not known: use x86_64 or aarch64"));
        }
    }

    /// A value that one has from the other would send an image to the wrong machines.
    #[test]
    fn nothing_is_shared() {
        let [one, other] = Architecture::ALL;
        let names = |of: Architecture| {
            let words = [of.as_str(), of.debian(), of.static_target(), of.libraries(), of.interpreter()];
            [&words[..], &[of.removable(), of.stub(), of.systemd_boot()]].concat()
        };
        assert!(names(one).iter().zip(names(other)).all(|(one, other)| *one != other));
        let types = [one.root_type(), one.verity_type(), other.root_type(), other.verity_type()];
        for kind in types {
            let named = Architecture::ALL.into_iter().filter_map(|of| of.type_name(kind)).count();
            assert_eq!((types.iter().filter(|one| **one == kind).count(), named), (1, 1), "{kind}");
        }
    }

    #[test]
    fn identifiers_are_those_of_the_specification() {
        let arm = Architecture::Aarch64;
        assert_eq!(arm.root_type().to_string(), "b921b045-1df0-41c3-af44-4c6f280d3fae");
        assert_eq!(arm.verity_type().to_string(), "df3300ce-d69f-4c92-978c-9bfb0f38d820");
        assert_eq!(arm.type_name(arm.verity_type()), Some("root-arm64-verity"));
        let x86 = Architecture::X86_64;
        assert_eq!(x86.root_type().to_string(), "4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
        assert_eq!(x86.verity_type().to_string(), "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5");
        assert_eq!(x86.type_name(arm.root_type()), None);
    }

    #[test]
    fn libraries_are_known_by_their_places() {
        let (x86, arm) = (Architecture::X86_64, Architecture::Aarch64);
        assert!(
            x86.has_library("usr/lib/x86_64-linux-gnu/libc.so.6") && x86.has_library("/usr/lib64/ld-linux-x86-64.so.2")
        );
        assert!(
            arm.has_library("/usr/lib/aarch64-linux-gnu/libc.so.6") && arm.has_library("usr/lib/ld-linux-aarch64.so.1")
        );
        for path in
            ["/usr/lib/x86_64-linux-gnu.conf", "/usr/lib/aarch64-linux-gnu/libc.so.6", "/usr/lib/os-release", ""]
        {
            assert!(!x86.has_library(path), "{path}");
        }
    }
}
