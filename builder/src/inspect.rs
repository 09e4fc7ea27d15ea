//! What is inside an image, read from the image itself: partition table, boot partition, unified kernel images, root file
//! system, hash tree. A manifest says the same from the builder's side; [`against`] says where the two differ.
//!
//! [`volume`] makes a disk of every format. What is no disk (`iso`, `update`, and the files for a start over the network) has a
//! file of its own here.

pub mod against;
mod bare;
pub mod boot;
mod disk;
pub mod files;
mod iso;
pub mod map;
pub mod parts;
pub mod shown;
pub mod table;
pub mod text;
mod unpack;
mod update;
pub mod verity;
pub mod volume;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use agent::facts::ImageFacts;
use serde::Serialize;
use uuid::Uuid;

pub use self::update::Update;
use self::{
    boot::BootFile,
    files::{Found, Initramfs},
    parts::{Part, Stored},
    table::Partition,
    verity::Verity,
    volume::Volume,
};
use crate::{
    content::Digest,
    manifest::{Kind, Manifest, ManifestError},
};

/// An image, read.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Image {
    /// Where it is.
    pub path: PathBuf,
    /// Of disks `raw`, `qcow2`, `vmdk`, `vhd`, `ova` or `gce`; else `iso`, `update`, `ipxe`, `initramfs`, `uki`, `kernel` or
    /// `squashfs`.
    pub format: &'static str,
    /// What the file is compressed with as a whole: `zstd`, `gzip` or `xz`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packing: Option<&'static str>,
    /// Bytes of the file.
    pub file_size: u64,
    /// Digest of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// Bytes of the disk, or of whatever it is, not compressed as a whole any more.
    pub size: u64,
    /// Identifier of the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// Its partitions, in their order.
    pub partitions: Vec<Partition>,
    /// Files of the boot partition, or what else boots.
    pub boot: Vec<BootFile>,
    /// The kernel's command line, when it is in no unified kernel image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// What an update file says about itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<Update>,
    /// What the root says about itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<ImageFacts>,
    /// Whether the root comes with the initramfs, and so is in memory.
    pub in_memory: bool,
    /// The root hash that follows from the root's bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_hash: Option<Digest>,
    /// The root's hash tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verity: Option<Verity>,
    /// How many bytes are for what.
    pub parts: Vec<Part>,
    /// Files of the root.
    pub files: Vec<Found>,
    /// Files of the initramfs in the first unified kernel image.
    pub initramfs: Vec<Found>,
    /// The initramfs of what is no disk.
    #[serde(skip)]
    pub loaded: Option<Loaded>,
    /// What could not be read, a sentence each.
    pub wrong: Vec<String>,
}

/// An initramfs, by its digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    /// All of it.
    pub whole: Digest,
    /// What lies in front of the archive with the root, which is the initramfs of disks; else all of it.
    pub own: Digest,
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
    /// Reads an image, and the manifest beside it if there is one; or a manifest, and the first image that it names and that is
    /// there.
    ///
    /// # Errors
    /// When the file is neither, or damaged so that nothing can be said.
    pub fn read(path: &Path) -> Result<Self, InspectError> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(Manifest::SUFFIX) {
            let manifest = Manifest::read(path)?;
            let image = IMAGES.into_iter().filter_map(|kind| manifest.path(kind)).find(|image| image.exists());
            let image = image.map(|image| Image::read(&image)).transpose()?;
            return Ok(Self { image, manifest: Some(manifest) });
        }
        let image = Image::read(path)?;
        let manifest = beside(path).map(|path| Manifest::read(&path)).transpose()?;
        Ok(Self { image: Some(image), manifest })
    }
}

/// Files of a build that have a whole system in them, those that are read quickest first.
const IMAGES: [Kind; 14] = [
    Kind::Raw,
    Kind::Vhd,
    Kind::Qcow2,
    Kind::Qcow2Zstd,
    Kind::Vmdk,
    Kind::Ova,
    Kind::RawZstd,
    Kind::RawGzip,
    Kind::Gce,
    Kind::RawXz,
    Kind::Update,
    Kind::Iso,
    Kind::NetbootInitrd,
    Kind::Uki,
];

/// The manifest that names the artefact at `path`, if one stands beside it.
pub(crate) fn beside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    // The part before the suffix has dots of its own: the version.
    let stems = name.match_indices('.').map(|(at, _)| &name[..at]);
    stems.rev().map(|stem| path.with_file_name(format!("{stem}{}", Manifest::SUFFIX))).find(|path| path.exists())
}

/// Bytes of the start of a file that tell what it is.
const START: u64 = 64 << 10;

impl Image {
    /// Reads an image.
    ///
    /// # Errors
    /// When the file cannot be read, or has nothing that is known. What is wrong further in goes to [`Image::wrong`].
    pub fn read(path: &Path) -> Result<Self, InspectError> {
        let fail = |source| InspectError::Read { path: path.to_path_buf(), source };
        let mut volume = Volume::open(path).map_err(fail)?;
        let (sha256, file_size) = File::open(path).and_then(Digest::of_reader).map_err(fail)?;
        let mut image = Self {
            path: path.to_path_buf(),
            format: volume.format,
            packing: volume.packing,
            file_size,
            sha256: Some(sha256),
            size: volume.size,
            ..Self::default()
        };
        image.fill(&mut volume).map_err(fail)?;
        Ok(image)
    }

    fn fill(&mut self, volume: &mut Volume) -> io::Result<()> {
        let start = volume.bytes(0, volume.size.min(START))?;
        let mut whole = || volume.bytes(0, volume.size);
        match &start[..] {
            [b'M', b'Z', ..] => bare::program(self, &whole()?),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [b'0', b'7', b'0', b'7', b'0', b'1', ..] => bare::initramfs(self, &whole()?),
            [b'h', b's', b'q', b's', ..] => bare::squashfs(self, whole()?),
            [b'#', b'!', b'i', b'p', b'x', b'e', ..] => bare::script(self, &start)?,
            _ if update::is(&start) => update::read(self, volume)?,
            _ if iso::is(&start) => iso::read(self, volume, &start)?,
            _ => disk::read(self, volume)?,
        }
        Ok(())
    }

    /// Takes the initramfs apart; what is wrong with it is noted.
    fn take_initramfs(&mut self, bytes: &[u8]) -> Initramfs {
        let found = files::initramfs(bytes).unwrap_or_else(|error| {
            self.wrong.push(format!("initramfs: {error}"));
            Initramfs::default()
        });
        self.initramfs.clone_from(&found.files);
        found
    }

    /// Takes what a system that is all in an initramfs consists of from that.
    fn take_system(&mut self, initramfs: &[u8]) {
        let mut found = self.take_initramfs(initramfs);
        let root = found.root.take();
        self.in_memory = root.is_some();
        let used = root.as_ref().map_or(0, Vec::len) as u64;
        let own = initramfs.get(..found.before_root).filter(|_| self.in_memory).unwrap_or(initramfs);
        self.loaded = Some(Loaded { whole: Digest::of(initramfs), own: Digest::of(own) });
        self.root_hash = root.as_deref().map(verity::root_hash);
        let root = root.map(files::root).transpose().unwrap_or_else(|error| {
            self.wrong.push(format!("root: {error}"));
            None
        });
        let root = root.unwrap_or_default();
        self.parts = parts::of(&Stored { boot: &self.boot, initramfs: &found, root: (&root.stored, used), tree: 0 });
        (self.files, self.facts) = (root.files, root.facts);
    }

    /// The command line of the first unified kernel image, or of what takes its place.
    #[must_use]
    pub fn cmdline(&self) -> Option<&str> {
        let uki = self.boot.iter().find_map(|file| Some(file.uki.as_ref()?.cmdline.as_str()));
        uki.or(self.arguments.as_deref())
    }
}

/// Why nothing can be said about a file.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// It cannot be read, or is no image.
    #[error("failed to read {path} as an image: {source}")]
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
