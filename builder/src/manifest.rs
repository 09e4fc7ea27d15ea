//! The manifest: what an image is made of, and which files a build left.
//!
//! It stands beside the image as `<name>.manifest.json` and is as reproducible as the image: no times, no paths of the
//! machine that built it.

use std::{
    io,
    path::{Path, PathBuf},
};

use agent::facts::{NomadFacts, Role};
use serde::{Deserialize, Serialize};

use crate::{
    architecture::Architecture, bounded, content::Digest, disk::Partition, lock::Locked, recipe::Profile,
    tree::FileRecord,
};

/// Bytes that a manifest may have. Those of images have a few hundred kilobytes.
const MOST: u64 = 64 << 20;

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A raw disk.
    Raw,
    /// A raw disk, compressed with Zstandard.
    RawZstd,
    /// A raw disk, compressed with gzip.
    RawGzip,
    /// A raw disk, compressed with xz.
    RawXz,
    /// A qcow2 disk.
    Qcow2,
    /// A qcow2 disk with clusters compressed by Zstandard.
    Qcow2Zstd,
    /// A stream-optimized VMDK disk.
    Vmdk,
    /// A fixed VHD disk.
    Vhd,
    /// A virtual machine with its disk.
    Ova,
    /// A disk for Google Compute Engine.
    Gce,
    /// A CD or USB stick.
    Iso,
    /// The kernel.
    Kernel,
    /// The initramfs that belongs to a disk.
    Initrd,
    /// The kernel command line that belongs to a disk, in one line.
    Cmdline,
    /// The unified kernel image of the disk.
    Uki,
    /// The initramfs with the root in it.
    NetbootInitrd,
    /// The kernel command line without a disk.
    NetbootCmdline,
    /// The iPXE script.
    Ipxe,
    /// The lock file.
    Lock,
    /// The update file, without a signature.
    Update,
    /// The bill of materials, SPDX 2.3.
    Spdx,
    /// The bill of materials, CycloneDX 1.6.
    #[serde(rename = "cyclonedx")]
    CycloneDx,
}

/// A file that a build left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artefact {
    /// What it is for.
    pub kind: Kind,
    /// Its name, beside the manifest.
    pub file: String,
    /// Bytes. Of a raw disk most may be holes.
    pub size: u64,
    /// Digest.
    pub sha256: Digest,
}

/// Compressed bytes of the image by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// The kernel.
    pub kernel: u64,
    /// The initramfs.
    pub initramfs: u64,
    /// The root file system, all of it.
    pub root: u64,
    /// Of the root: Nomad.
    pub nomad: u64,
    /// Of the root: the shared libraries and their loader.
    pub libraries: u64,
}

impl Parts {
    /// Compressed bytes of everything but Nomad and its libraries.
    #[must_use]
    pub const fn without_nomad(&self) -> u64 {
        let rest = self.root.saturating_sub(self.nomad.saturating_add(self.libraries));
        self.kernel.saturating_add(self.initramfs).saturating_add(rest)
    }
}

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this file's format.
    pub format: u32,
    /// Name of the image.
    pub name: String,
    /// The machines that it is for.
    #[serde(default)]
    pub profile: Profile,
    /// Version of Steppe.
    pub version: String,
    /// The image's own version, where its recipe names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_version: Option<String>,
    /// The image's promise.
    pub role: Role,
    /// The processors of these machines.
    pub architecture: Architecture,
    /// Whether a stand-in takes Nomad's place. Such an image is for tests.
    pub standin: bool,
    /// Nomad.
    pub nomad: NomadFacts,
    /// The kernel's release.
    pub kernel: String,
    /// Seconds since 1970: every time in the image.
    pub epoch: u64,
    /// The kernel command line for disks.
    pub cmdline: String,
    /// The root hash of the root file system's hash tree, as the command line of disks names it.
    pub root_hash: Digest,
    /// The partitions of disks; none when the build made no disk.
    pub partitions: Vec<Partition>,
    /// Compressed bytes by what they are for.
    pub parts: Parts,
    /// Files that the build left.
    pub artefacts: Vec<Artefact>,
    /// Packages that it was made from; which of them it has files of is in the bills of materials.
    pub packages: Vec<Locked>,
    /// Files of the root.
    pub files: Vec<FileRecord>,
    /// Files of the initramfs.
    pub initramfs: Vec<FileRecord>,
    /// Where the manifest is.
    #[serde(skip)]
    pub(crate) folder: PathBuf,
}

impl Manifest {
    /// The format that this program writes and reads.
    pub const FORMAT: u32 = 1;
    /// What the name of a manifest ends in.
    pub const SUFFIX: &str = ".manifest.json";

    /// Reads a manifest.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a manifest that this program knows.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        let fail = |source| ManifestError::Read { path: path.to_path_buf(), source };
        Self::parse(path, &bounded::text(path, MOST).map_err(fail)?)
    }

    /// Parses the text of the manifest at `path`.
    ///
    /// # Errors
    /// When it is not a manifest that this program knows.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ManifestError> {
        let fail = |why| ManifestError::Parse { path: path.to_path_buf(), why };
        let mut manifest: Self = serde_json::from_str(text).map_err(|error| fail(error.to_string()))?;
        if manifest.format != Self::FORMAT {
            return Err(fail(format!("it has format {}, this program knows {}", manifest.format, Self::FORMAT)));
        }
        manifest.folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Ok(manifest)
    }

    /// The text of the file.
    #[must_use]
    pub fn text(&self) -> String {
        // Strings, numbers and lists of them always are JSON.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// The version of the image: its own, or Steppe's when its recipe names none.
    #[must_use]
    pub fn image_version(&self) -> &str {
        self.image_version.as_deref().unwrap_or(&self.version)
    }

    /// The artefact of a kind.
    #[must_use]
    pub fn artefact(&self, kind: Kind) -> Option<&Artefact> {
        self.artefacts.iter().find(|artefact| artefact.kind == kind)
    }

    /// Where the artefact of a kind is.
    #[must_use]
    pub fn path(&self, kind: Kind) -> Option<PathBuf> {
        self.artefact(kind).map(|artefact| self.folder.join(&artefact.file))
    }
}

/// Why a manifest cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read.
    #[error("failed to read manifest {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not one.
    #[error("failed to parse manifest {path}: {why}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}
