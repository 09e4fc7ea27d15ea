//! The images that `make image` left, and what a machine boots of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use agent::facts::Role;
use anyhow::{Context as _, bail};
use builder::{
    manifest::{Kind, Manifest},
    recipe::Profile,
};
use qemu::{BootFiles, vm::DiskFormat};

use crate::suite;

/// What the suites add to every command line: all of the kernel's messages (the clock's calibration among them), elections
/// that a busy host does not disturb, and a console to type on.
pub const CMDLINE: &str = "loglevel=7 steppe.raft_multiplier=5 steppe.console=ttyS0";

/// The size of every machine's disk in bytes: more than the image, so that there is room for state.
pub const DISK_SIZE: u64 = 4 << 30;

/// The image of one role.
#[derive(Debug, Clone)]
pub struct Image {
    manifest: Manifest,
}

impl Image {
    /// The newest image of `role` for the cloud in the directory that `STEPPE_IMAGES` names.
    ///
    /// # Errors
    /// When the variable is not set or there is no such image.
    pub fn find(role: Role) -> anyhow::Result<Self> {
        Self::find_for(role, Profile::Cloud)
    }

    /// As [`Self::find`], for other machines.
    ///
    /// # Errors
    /// Those of [`Self::find`].
    pub fn find_for(role: Role, profile: Profile) -> anyhow::Result<Self> {
        let directory = suite::images_directory().with_context(|| format!("{} is not set", suite::IMAGES_VARIABLE))?;
        Self::find_in(&directory, role, profile)
    }

    fn find_in(directory: &Path, role: Role, profile: Profile) -> anyhow::Result<Self> {
        let entries = fs::read_dir(directory).with_context(|| format!("failed to list {}", directory.display()))?;
        let mut found: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.to_string_lossy().ends_with(Manifest::SUFFIX))
            .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, Manifest::read(&path).ok()?)))
            .filter(|(_, manifest)| manifest.role == role && manifest.profile == profile)
            .collect();
        found.sort_by_key(|(written, _)| *written);
        match found.pop() {
            Some((_, manifest)) => Ok(Self { manifest }),
            None => bail!("no {role} image for {profile} in {}: run `make image`", directory.display()),
        }
    }

    /// What the builder says about it.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// One of its files.
    ///
    /// # Errors
    /// When the build did not make it.
    pub fn path(&self, kind: Kind) -> anyhow::Result<PathBuf> {
        self.manifest.path(kind).with_context(|| format!("the {} image has no {kind:?}", self.manifest.role))
    }

    fn text(&self, kind: Kind) -> anyhow::Result<String> {
        let path = self.path(kind)?;
        let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// The disk with its kernel, initramfs and command line loaded by QEMU: the quick way, and one that lets a test add to the
    /// command line.
    ///
    /// # Errors
    /// When one of the files is missing.
    pub fn direct(&self, more: &str) -> anyhow::Result<BootFiles> {
        let cmdline = format!("{} {CMDLINE} {more}", self.text(Kind::Cmdline)?);
        Ok(BootFiles::kernel(self.path(Kind::Kernel)?, self.path(Kind::Initrd)?, cmdline.trim())
            .with_disk(self.path(Kind::Raw)?, DiskFormat::Raw)
            .with_disk_size(DISK_SIZE))
    }

    /// The disk as a cloud boots it: firmware, ESP, unified kernel image.
    ///
    /// # Errors
    /// When there is no raw disk.
    pub fn uefi(&self) -> anyhow::Result<BootFiles> {
        Ok(BootFiles::uefi(self.path(Kind::Raw)?, DiskFormat::Raw).with_disk_size(DISK_SIZE))
    }

    /// The netboot pair, without the image's disk. `more` is added to the command line.
    ///
    /// # Errors
    /// When one of the files is missing.
    pub fn netboot(&self, more: &str) -> anyhow::Result<BootFiles> {
        let cmdline = format!("{} {CMDLINE} {more}", self.text(Kind::NetbootCmdline)?);
        Ok(BootFiles::kernel(self.path(Kind::Kernel)?, self.path(Kind::NetbootInitrd)?, cmdline.trim()))
    }
}

/// A file of a root file system, as `unsquashfs` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootFile {
    /// Absolute path.
    pub path: String,
    /// Permission bits, with set-uid, set-gid and sticky.
    pub mode: u32,
    /// User and group, as numbers.
    pub owner: String,
}

/// The regular files of an image's root, listed by a program that is not ours from the partition of the raw disk.
///
/// # Errors
/// When `unsquashfs` fails or the disk has no root partition.
pub fn root_listing(image: &Image) -> anyhow::Result<Vec<RootFile>> {
    let listing = unsquashfs(image, &["-lln"], &[])?;
    Ok(String::from_utf8_lossy(&listing).lines().filter_map(parse_listing).collect())
}

/// Takes Nomad out of an image's root, into `folder`, and gives its path there.
///
/// # Errors
/// When `unsquashfs` fails or the disk has no root partition.
pub fn take_nomad(image: &Image, folder: &Path) -> anyhow::Result<PathBuf> {
    let target = folder.join("nomad-of-image");
    unsquashfs(image, &["-no-xattrs", "-dest", &target.to_string_lossy()], &["usr/bin/nomad"])?;
    Ok(target.join("usr/bin/nomad"))
}

/// The bytes of a file of an image's root, by its path without a slash in front.
///
/// # Errors
/// Those of [`root_listing`].
pub fn root_file(image: &Image, path: &str) -> anyhow::Result<Vec<u8>> {
    let bytes = unsquashfs(image, &["-cat"], &[path])?;
    anyhow::ensure!(!bytes.is_empty(), "the root has no {path}");
    Ok(bytes)
}

/// Runs `unsquashfs` on the root of an image, and gives what it printed.
fn unsquashfs(image: &Image, options: &[&str], files: &[&str]) -> anyhow::Result<Vec<u8>> {
    /// Root partition of x86-64 (Discoverable Partitions Specification).
    const ROOT_TYPE: &str = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
    let disk = image.path(Kind::Raw)?;
    let mut file = fs::File::open(&disk).with_context(|| format!("failed to open {}", disk.display()))?;
    let table = gptman::GPT::find_from(&mut file).context("failed to read the partition table")?;
    let root = table.iter().find(|(_, entry)| guid(&entry.partition_type_guid) == ROOT_TYPE);
    let (_, root) = root.with_context(|| format!("{} has no root partition", disk.display()))?;
    let offset = (root.starting_lba * table.sector_size).to_string();
    let output = std::process::Command::new("unsquashfs")
        .args(["-o", &offset])
        .args(options)
        .arg(&disk)
        .args(files)
        .output()
        .context("failed to run unsquashfs (package squashfs-tools)")?;
    anyhow::ensure!(output.status.success(), "unsquashfs: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

/// A GUID on disk: the first three fields are little-endian (UEFI specification, appendix A).
fn guid(b: &[u8; 16]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let swap = |bytes: &[u8]| hex(&bytes.iter().rev().copied().collect::<Vec<_>>());
    format!("{}-{}-{}-{}-{}", swap(&b[0..4]), swap(&b[4..6]), swap(&b[6..8]), hex(&b[8..10]), hex(&b[10..16]))
}

/// `-rwxr-xr-x 0/0    123 2026-01-01 00:00 squashfs-root/usr/bin/nomad`; only regular files.
fn parse_listing(line: &str) -> Option<RootFile> {
    let mut words = line.split_whitespace();
    let (permissions, owner) = (words.next()?, words.next()?);
    let path = line.split_once("squashfs-root")?.1;
    let symbols = permissions.strip_prefix('-').filter(|symbols| symbols.len() == 9)?;
    let mut mode = 0;
    for (place, symbol) in symbols.chars().enumerate() {
        let bit = 1 << (8 - place);
        let special = [0o4000, 0o2000, 0o1000][place / 3];
        mode |= match symbol {
            '-' => 0,
            's' | 't' => bit | special,
            'S' | 'T' => special,
            _ => bit,
        };
    }
    Some(RootFile { path: path.to_owned(), mode, owner: owner.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_of_unsquashfs_are_understood() {
        let line = "-rwsr-x--t 0/990             110625136 2026-01-01 00:00 squashfs-root/usr/bin/a program";
        let file = parse_listing(line).unwrap();
        assert_eq!(file, RootFile { path: "/usr/bin/a program".into(), mode: 0o5751, owner: "0/990".into() });
        for other in ["drwxr-xr-x 0/0 3 2026-01-01 00:00 squashfs-root/usr", "", "Parallel unsquashfs: Using 2"] {
            assert_eq!(parse_listing(other), None);
        }
    }

    #[test]
    fn a_guid_reads_as_the_specifications_write_it() {
        let esp = [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
        assert_eq!(guid(&esp), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    }
}
