//! Images that take updates, and updates for them, good and bad.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use agent::{
    facts::Role,
    update::{
        manifest::{MANIFEST, Manifest as UpdateManifest},
        ustar::{Archive, UstarError},
    },
};
use anyhow::{Context as _, ensure};
use builder::{
    build::{self, Format, NomadSources, Request},
    cache::Cache,
    compress::Compression,
    embedded,
    lock::Lock,
    manifest::{Kind, Manifest},
    packages::Policy,
    progress::Progress,
    recipe::Recipe,
    update,
};
use qemu::{BootFiles, MachineSpec, vm::DiskFormat, vm::clock_arguments};

use crate::images;

/// The version of the disks.
pub const OLD: &str = "1.0";
/// The version of the update.
pub const NEW: &str = "2.0";

/// A disk with the old version, and what updates to the new one are made of.
#[derive(Debug)]
pub struct Updates {
    folder: tempfile::TempDir,
    key: PathBuf,
    disk: PathBuf,
    unsigned: Vec<u8>,
    manifest: Manifest,
}

impl Updates {
    /// Builds both versions of the image of `role`, quickly rather than small, with the programs that the suites use.
    ///
    /// # Errors
    /// When a build fails.
    pub fn make(role: Role) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let key = folder.path().join("update.key");
        let public = update::generate(&key)?;
        let old = built(role, &public, OLD, Format::Raw, folder.path())?;
        let new = built(role, &public, NEW, Format::Update, folder.path())?;
        let unsigned = fs::read(new.path(Kind::Update).context("the build made no update")?)?;
        let disk = old.path(Kind::Raw).context("the build made no disk")?;
        Ok(Self { folder, key, disk, unsigned, manifest: old })
    }

    /// A machine that BIOS boots from the old version's disk.
    #[must_use]
    pub fn bios(&self, name: &str) -> MachineSpec {
        let disk = BootFiles::bios(&self.disk, DiskFormat::Raw).with_disk_size(images::DISK_SIZE);
        MachineSpec::new(name, disk)
    }

    /// A machine that UEFI boots from it.
    #[must_use]
    pub fn uefi(&self, name: &str) -> MachineSpec {
        let disk = BootFiles::uefi(&self.disk, DiskFormat::Raw).with_disk_size(images::DISK_SIZE);
        MachineSpec::new(name, disk)
    }

    /// What the builder says about the old version's disk.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// A signed update whose description was changed before. Under BIOS its command line counts.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn file(&self, name: &str, change: impl FnOnce(&mut UpdateManifest)) -> anyhow::Result<PathBuf> {
        let mut members = members(&self.unsigned)?;
        ensure!(members.remove(0).0 == MANIFEST, "the update does not begin with {MANIFEST}");
        let mut manifest = UpdateManifest::parse(&self.text()?)?;
        change(&mut manifest);
        let parts: Vec<&[u8]> = members.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        let parts = parts.try_into().map_err(|_| anyhow::anyhow!("the update has other parts"))?;
        let signed = update::sign(&update::build(&manifest, &parts)?, &update::read_key(&self.key)?)?;
        let path = self.folder.path().join(name);
        fs::write(&path, signed)?;
        Ok(path)
    }

    fn text(&self) -> anyhow::Result<Vec<u8>> {
        Ok(members(&self.unsigned)?.swap_remove(0).1)
    }
}

fn members(file: &[u8]) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut archive = Archive::new(file);
    let mut members = Vec::new();
    while let Some(header) = archive.next_header()? {
        let mut bytes = Vec::new();
        archive.member(header.size, |piece| {
            bytes.extend_from_slice(piece);
            Ok::<(), UstarError>(())
        })?;
        members.push((header.name, bytes));
    }
    Ok(members)
}

fn built(role: Role, key: &str, version: &str, format: Format, folder: &Path) -> anyhow::Result<Manifest> {
    let named = |variable| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut recipe = Recipe::embedded(role)?;
    recipe.version = Some(version.to_owned());
    recipe.update_key = Some(key.to_owned());
    recipe.root.level = 1;
    recipe.initramfs_level = 1;
    recipe.kernel.cmdline.extend(images::CMDLINE.split(' ').map(str::to_owned));
    recipe.kernel.cmdline.extend(clock_arguments().split(' ').map(str::to_owned));
    let request = Request {
        recipe,
        lock: Some(Lock::parse("base.lock", embedded::LOCK)?),
        policy: Policy::Prefer,
        output: folder.to_owned(),
        formats: vec![format],
        compressions: vec![Compression::None],
        mirror: None,
        cache: Cache::default_folder().context("there is no folder for the builder's cache")?,
        agent: named("STEPPE_AGENT"),
        nomad: NomadSources { path: named("NOMAD"), standin: named("STEPPE_STANDIN"), ..NomadSources::default() },
    };
    Ok(Manifest::read(&build::build(&request, &Progress::silent())?.manifest)?)
}
