//! What is inside an image, read from the image itself: partition table, boot partition, unified kernel images, root file
//! system, hash tree. A manifest says the same from the builder's side; [`against`] says where the two differ.

pub mod against;
pub mod boot;
pub mod files;
pub mod map;
pub mod table;
pub mod text;
pub mod verity;
pub mod volume;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use agent::facts::ImageFacts;
use serde::Serialize;
use uuid::Uuid;

use self::{boot::BootFile, files::Found, table::Partition, verity::Verity, volume::Volume};
use crate::manifest::{Kind, Manifest, ManifestError};

/// A disk image, read.
#[derive(Debug, Clone, Serialize)]
pub struct Image {
    /// Where it is.
    pub path: PathBuf,
    /// `raw`, `qcow2` or `vhd`.
    pub format: &'static str,
    /// Bytes of the file.
    pub file_size: u64,
    /// Bytes of the disk.
    pub size: u64,
    /// Identifier of the disk.
    pub id: Uuid,
    /// Its partitions, in their order.
    pub partitions: Vec<Partition>,
    /// Files of the boot partition.
    pub boot: Vec<BootFile>,
    /// What the root says about itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<ImageFacts>,
    /// The root's hash tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verity: Option<Verity>,
    /// Files of the root.
    pub files: Vec<Found>,
    /// Files of the initramfs in the first unified kernel image.
    pub initramfs: Vec<Found>,
    /// What could not be read, a sentence each.
    pub wrong: Vec<String>,
}

/// An image, its manifest, or both.
#[derive(Debug)]
pub struct Subject {
    /// The disk, when there is one.
    pub image: Option<Image>,
    /// The manifest, when there is one.
    pub manifest: Option<Manifest>,
}

impl Subject {
    /// Reads an image, and the manifest beside it if there is one; or a manifest, and the disk that it names if that is
    /// there.
    ///
    /// # Errors
    /// When the file is neither, or damaged so that nothing can be said.
    pub fn read(path: &Path) -> Result<Self, InspectError> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(Manifest::SUFFIX) {
            let manifest = Manifest::read(path)?;
            let disk =
                [Kind::Raw, Kind::Qcow2].into_iter().filter_map(|kind| manifest.path(kind)).find(|disk| disk.exists());
            let image = disk.map(|disk| Image::read(&disk)).transpose()?;
            return Ok(Self { image, manifest: Some(manifest) });
        }
        let image = Image::read(path)?;
        let manifest = beside(path).map(|path| Manifest::read(&path)).transpose()?;
        Ok(Self { image: Some(image), manifest })
    }
}

/// The manifest that names the artefact at `path`, if one stands beside it.
fn beside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    // The part before the suffix has dots of its own: the version.
    let stems = name.match_indices('.').map(|(at, _)| &name[..at]);
    stems.rev().map(|stem| path.with_file_name(format!("{stem}{}", Manifest::SUFFIX))).find(|path| path.exists())
}

impl Image {
    /// Reads a disk image.
    ///
    /// # Errors
    /// When the file cannot be read, or has no partition table. What is wrong further in goes to [`Image::wrong`].
    pub fn read(path: &Path) -> Result<Self, InspectError> {
        let fail = |source| InspectError::Read { path: path.to_path_buf(), source };
        let mut volume = Volume::open(path).map_err(fail)?;
        let (id, partitions) = table::read(&mut volume).map_err(fail)?;
        let mut image = Self {
            path: path.to_path_buf(),
            format: volume.format,
            file_size: fs::metadata(path).map_err(fail)?.len(),
            size: volume.size,
            id,
            partitions,
            boot: Vec::new(),
            facts: None,
            verity: None,
            files: Vec::new(),
            initramfs: Vec::new(),
            wrong: Vec::new(),
        };
        let mut root = None;
        for index in 0..image.partitions.len() {
            if let Err(error) = image.partition(&mut volume, index, &mut root) {
                image.wrong.push(format!("partition {}: {error}", image.partitions[index].number));
            }
        }
        let initrd = image.boot.iter().find_map(|file| Some(file.uki.as_ref()?.initrd.as_slice()));
        match initrd.map(files::initramfs).transpose() {
            Ok(files) => image.initramfs = files.unwrap_or_default(),
            Err(error) => image.wrong.push(format!("initramfs: {error}")),
        }
        Ok(image)
    }

    /// Reads one partition. `root` keeps the first root for the check of its hash tree, which comes behind it.
    fn partition(&mut self, volume: &mut Volume, index: usize, root: &mut Option<(u64, u64)>) -> io::Result<()> {
        let partition = &mut self.partitions[index];
        let (at, size) = (partition.start, partition.size);
        let start = volume.bytes(at, size.min(4096))?;
        if let Some(used) = files::squashfs_size(&start) {
            (partition.content, partition.used) = ("squashfs", used);
            // The disk holds whole blocks of the file system.
            let bytes = volume.bytes(at, used.next_multiple_of(4096).min(size))?;
            let found = files::root(bytes)?;
            if root.is_none() {
                *root = Some((at, size));
                (self.files, self.facts) = (found.files, found.facts);
            }
        } else if let Some(superblock) = verity::superblock(&start) {
            partition.content = "verity";
            partition.used = crate::verity::size(superblock.data);
            let stored = volume.bytes(at, partition.used.min(size))?;
            if let (None, Some((at, size))) = (&self.verity, *root) {
                let data = volume.bytes(at, superblock.data.min(size))?;
                let verity = superblock.check(&data, &stored);
                self.wrong.extend(verity.wrong.iter().cloned());
                self.verity = Some(verity);
            }
        } else if start.get(82..87) == Some(b"FAT32") || start.get(54..57) == Some(b"FAT") {
            partition.content = "fat";
            let (files, used) = boot::read(volume.bytes(at, size)?)?;
            partition.used = used;
            self.boot.extend(files);
        } else if start.get(1080..1082) == Some(&[0x53, 0xef]) {
            (partition.content, partition.used) = ("ext4", size);
        } else if start.iter().all(|&byte| byte == 0) {
            partition.content = "empty";
        } else {
            (partition.content, partition.used) = ("unknown", size);
        }
        Ok(())
    }

    /// The command line of the first unified kernel image.
    #[must_use]
    pub fn cmdline(&self) -> Option<&str> {
        self.boot.iter().find_map(|file| Some(file.uki.as_ref()?.cmdline.as_str()))
    }
}

/// Why nothing can be said about a file.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// It cannot be read, or is no disk image.
    #[error("failed to read {path} as a disk image: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}
