//! The files that a build leaves, from the parts that its steps made.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs,
};

use agent::{facts::ImageFacts, update::manifest::Manifest};
use anyhow::{Context as _, Result};

use super::{
    Build, Format,
    formats::{self, About, DiskFormat},
    inputs::Inputs,
    steps::Kernel,
    time,
};
use crate::{
    content::Digest,
    deb::Deb,
    disk::{self, Disk},
    esp, initramfs,
    manifest::{Artefact, Kind},
    netboot,
    output::Output,
    progress, root,
    size::Size,
    syslinux::{self, Installer},
    uki, update, verity,
};

/// The package of systemd's boot programs.
pub(super) const STUB_PACKAGE: &str = "systemd-boot-efi";

/// What is made and has only to be written.
pub(super) struct Made<'a> {
    pub(super) base: &'a str,
    pub(super) facts: &'a ImageFacts,
    pub(super) kernel: &'a Kernel,
    pub(super) initrd: &'a [u8],
    pub(super) root: &'a [u8],
    pub(super) tree: &'a verity::Tree,
}

/// What was written, as the manifest tells it.
pub(super) struct Written {
    pub(super) artefacts: Vec<Artefact>,
    pub(super) cmdline: String,
    pub(super) partitions: Vec<disk::Partition>,
}

impl Build<'_> {
    pub(super) fn write(&self, output: &mut Output, inputs: &Inputs, made: &Made<'_>) -> Result<Written> {
        let recipe = &self.request.recipe;
        let Made { base, kernel, .. } = made;
        let words = recipe.kernel.cmdline.join(" ");
        let cmdline = format!("roothash={} {words}", made.tree.root_hash);
        let mut artefacts = Vec::new();
        let mut partitions = Vec::new();
        let mut add = |output: &mut Output, kind: Kind, suffix: &str, bytes: &[u8]| -> Result<String> {
            let file = format!("{base}.{suffix}");
            output.write_bytes(&file, bytes)?;
            artefacts.push(Artefact { kind, file: file.clone(), size: bytes.len() as u64, sha256: Digest::of(bytes) });
            Ok(file)
        };
        let wants = |format| self.request.formats.contains(&format);
        let vmlinuz = add(output, Kind::Kernel, "vmlinuz", &kernel.image)?;
        add(output, Kind::Lock, "lock", inputs.lock.text().as_bytes())?;
        let mut with_root = Vec::new();
        if wants(Format::Netboot) || wants(Format::Iso) {
            with_root.extend(made.initrd);
            with_root.extend(initramfs::embed_root(made.root, time(kernel.epoch))?);
        }
        if wants(Format::Iso) {
            self.progress.step("iso", || {
                let image = self.iso(inputs, made, &with_root, &words)?;
                add(output, Kind::Iso, "iso", &image)?;
                anyhow::Ok(((), progress::bytes(image.len() as u64)))
            })?;
        }
        if wants(Format::Netboot) {
            self.progress.step("netboot", || {
                let initrd = &with_root;
                let name = add(output, Kind::NetbootInitrd, "netboot.initrd", initrd)?;
                add(output, Kind::NetbootCmdline, "netboot.cmdline", format!("{words}\n").as_bytes())?;
                let script = netboot::script(base, &vmlinuz, &name, &words);
                add(output, Kind::Ipxe, "ipxe", script.as_bytes())?;
                anyhow::Ok(((), progress::bytes(initrd.len() as u64)))
            })?;
        }
        let disks: Vec<_> = formats::disks(&self.request.formats, &self.request.compressions).collect();
        if !disks.is_empty() || wants(Format::Update) {
            add(output, Kind::Initrd, "initrd", made.initrd)?;
            add(output, Kind::Cmdline, "cmdline", format!("{cmdline}\n").as_bytes())?;
            let of = recipe.architecture;
            let [stub, loader] = self.boot_files(inputs, STUB_PACKAGE, [of.stub(), of.systemd_boot()])?;
            let image = self.uki(made, &stub, &cmdline)?;
            add(output, Kind::Uki, "efi", &image)?;
            if wants(Format::Update) {
                self.progress.step("update", || {
                    let bytes = update_file(&image, made, &cmdline)?;
                    add(output, Kind::Update, "update", &bytes)?;
                    anyhow::Ok(((), progress::bytes(bytes.len() as u64)))
                })?;
            }
            let system = esp::System { uki: &image, kernel: &kernel.image, initrd: made.initrd, cmdline: &cmdline };
            let layout = disk::Layout { size: recipe.disk_size, slot: recipe.slot_size, architecture: of };
            partitions = layout.partitions(recipe.esp_size.0, made.root.len() as u64, made.tree)?;
            // Formats that want another size get a disk of that size, and not one with something behind its end.
            let mut of_size: BTreeMap<u64, Disk> = BTreeMap::new();
            for format in disks {
                let size = recipe.disk_size.0.next_multiple_of(format.granule);
                let disk = match of_size.entry(size) {
                    Entry::Occupied(entry) => &*entry.into_mut(),
                    Entry::Vacant(entry) => &*entry.insert(self.disk(size, inputs, &loader, &system, made)?),
                };
                artefacts.push(self.write_disk(output, made, format, disk)?);
            }
        }
        artefacts.sort_by_key(|artefact| artefact.kind);
        Ok(Written { artefacts, cmdline, partitions })
    }

    /// Files of a package that boots the image, by their paths.
    pub(super) fn boot_files<const N: usize>(
        &self,
        inputs: &Inputs,
        name: &'static str,
        paths: [&str; N],
    ) -> Result<[Vec<u8>; N]> {
        let package = inputs.packages.packages.iter().find(|package| package.locked.name == name);
        let package =
            package.with_context(|| format!("packages.names of the recipe lacks {name}, which boots the image"))?;
        inputs.boots.borrow_mut().insert(name);
        let locked = &package.locked;
        let deb = Deb::read(&package.path, &locked.name, &locked.version, &|path| paths.contains(&path))?;
        let mut found = paths.map(|_| Vec::new());
        for (path, to) in paths.into_iter().zip(&mut found) {
            let bytes = deb.tree.bytes(path).with_context(|| format!("{name} {} has no {path}", locked.version))?;
            *to = bytes.to_vec();
        }
        Ok(found)
    }

    fn uki(&self, made: &Made<'_>, stub: &[u8], cmdline: &str) -> Result<Vec<u8>> {
        Ok(uki::assemble(
            stub,
            &uki::Parts {
                os_release: &esp::os_release(&root::os_release(made.facts)),
                cmdline,
                uname: &made.kernel.release,
                initrd: made.initrd,
                linux: &made.kernel.image,
                time: time(made.kernel.epoch),
            },
        )?)
    }

    fn disk(
        &self,
        size: u64,
        inputs: &Inputs,
        loader: &[u8],
        system: &esp::System<'_>,
        made: &Made<'_>,
    ) -> Result<Disk> {
        let recipe = &self.request.recipe;
        let volume = disk::identifier(made.tree.root_hash, "fat").as_fields().0;
        let syslinux = if recipe.bios {
            let [program, mbr] = self.boot_files(inputs, syslinux::PACKAGE, [syslinux::INSTALLER, syslinux::MBR])?;
            Some((Installer::parse(&program)?, mbr))
        } else {
            None
        };
        let syslinux = syslinux.as_ref().map(|(parts, mbr)| (parts, mbr.as_slice()));
        let loaders = esp::Loaders { architecture: recipe.architecture, systemd_boot: loader, syslinux };
        let esp = esp::build(recipe.esp_size.0, volume, &loaders, system)?;
        let layout = disk::Layout { size: Size(size), slot: recipe.slot_size, architecture: recipe.architecture };
        Ok(Disk::build(layout, esp, made.root.to_vec(), made.tree)?)
    }

    fn write_disk(&self, output: &mut Output, made: &Made<'_>, format: &DiskFormat, disk: &Disk) -> Result<Artefact> {
        self.progress.step(format.suffix, || {
            let file = format!("{}.{}", made.base, format.suffix);
            let folder = output.folder().to_owned();
            let scratch = || tempfile::tempfile_in(&folder);
            let about = About {
                base: made.base,
                version: made.facts.image_version(),
                epoch: made.kernel.epoch,
                scratch: &scratch,
            };
            let path = output.write(&file, |file| (format.write)(disk, &about, file))?;
            let size = fs::metadata(path)?.len();
            let sha256 = if format.kind == Kind::Raw { disk.digest()? } else { self.cache.digest(path)? };
            anyhow::Ok((Artefact { kind: format.kind, file, size, sha256 }, progress::bytes(size)))
        })
    }
}

/// The update file of what is made.
fn update_file(uki: &[u8], made: &Made<'_>, cmdline: &str) -> Result<Vec<u8>> {
    // Whole blocks: what an earlier system left behind its end would not be what the hash tree says.
    let mut root = made.root.to_vec();
    root.resize(root.len().next_multiple_of(verity::BLOCK), 0);
    let parts: update::Parts<'_> = [uki, &made.kernel.image, made.initrd, &root, &made.tree.bytes];
    let manifest = Manifest {
        role: made.facts.role,
        profile: made.facts.profile.clone(),
        architecture: made.facts.architecture.clone(),
        version: made.facts.image_version().parse().context("failed to read the image's version")?,
        root_hash: *made.tree.root_hash.bytes(),
        cmdline: cmdline.trim().to_owned(),
        parts: update::describe(&parts),
    };
    Ok(update::build(&manifest, &parts)?)
}
