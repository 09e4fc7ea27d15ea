//! Writing an update into the idle slot.
//!
//! Wherever it is interrupted, the running system is untouched and boots next: the idle slot loses its boot entry before a byte of it
//! is written, and gets its new one as the last step but the boot-once record of BIOS. The next try begins anew.

use std::io::{self, Read, Seek, SeekFrom, Write};

use sha2::{Digest as _, Sha256};

use super::{
    esp::{self, Esp, EspError},
    manifest::{self, Manifest, ManifestError, PARTS, Part},
    place::{self, Place},
    signature::{self, SignatureError},
    ustar::{Archive, UstarError},
    version::Version,
};
use crate::{
    facts::Role,
    init::{
        gpt::{Guid, Partition},
        state::table::{self, TableError},
        verity::RootHash,
    },
    slots::{self, choice, config},
};

/// The file under which the UKI is written before it gets its name as a boot entry.
pub(super) const UKI_PART: &str = "EFI/Linux/update.part";
/// Bytes that are read back at a time.
const PIECE: usize = 1 << 16;

/// What this node takes.
#[derive(Debug, Clone)]
pub struct Own {
    /// The public key that updates are signed with.
    pub key: String,
    /// The role of the running image.
    pub role: Role,
    /// The machines that it is for.
    pub profile: String,
    /// `x86_64`.
    pub architecture: String,
    /// The version of the running image.
    pub version: Version,
    /// Whether an operator asked for an older version.
    pub older: bool,
    /// The version that a channel named.
    pub named: Option<Version>,
    /// Identifier of the running root.
    pub root: Guid,
}

/// Why there is no update.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// The archive.
    #[error(transparent)]
    Ustar(#[from] UstarError),
    /// Its description.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Its signature.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// None at all.
    #[error("the update is not signed: sign it with `builder sign`")]
    Unsigned,
    /// A member that is not where it belongs.
    #[error("the update has {found:?} where {wanted} belongs")]
    Order {
        /// What is there.
        found: String,
        /// What belongs there.
        wanted: &'static str,
    },
    /// For other machines.
    #[error("the update is for {what} {theirs}, this node is {what} {own}: build and sign one for {own}")]
    Other {
        /// Role, profile or architecture.
        what: &'static str,
        /// The update's.
        theirs: String,
        /// The node's.
        own: String,
    },
    /// A version before this one.
    #[error("the update has version {theirs}, which is older than {own}: use `update --older` if that is wanted")]
    Older {
        /// The update's.
        theirs: Version,
        /// The running one.
        own: Version,
    },
    /// Not what the channel says.
    #[error("the update has version {theirs}, its channel says {named}")]
    Named {
        /// The update's.
        theirs: Version,
        /// The channel's.
        named: Version,
    },
    /// What runs.
    #[error("the update holds the very system that runs")]
    Same,
    /// The running system has not proven itself.
    #[error("the running system is on trial itself: `bless` it first, or let the trial end")]
    OnTrial,
    /// Nothing would boot the running system again.
    #[error("the running system in slot {0} has no boot entry: nothing could be fallen back to")]
    NoEntry(slots::Slot),
    /// Too large for the slot.
    #[error("{name} of the update has {size} bytes, its partition has room for {room}")]
    Large {
        /// The part.
        name: &'static str,
        /// Its size.
        size: u64,
        /// The partition's.
        room: u64,
    },
    /// Changed on the way.
    #[error("{0} of the update has a wrong checksum")]
    Hash(&'static str),
    /// Changed on the disk.
    #[error("{0} is not on the disk as it was written: the disk is failing")]
    ReadBack(&'static str),
    /// The disk.
    #[error("failed to write {name} to the disk: {source}")]
    Disk {
        /// The part.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The partition table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The EFI system partition.
    #[error(transparent)]
    Esp(#[from] EspError),
}

/// The disk and where on it the update goes. `flush` of the disk waits until everything is on the medium, and what is read after it comes
/// from there.
#[derive(Debug)]
pub struct Installer<D> {
    /// The whole disk.
    pub disk: D,
    /// The mounted EFI system partition of it.
    pub esp: Esp,
    /// The partitions.
    pub place: Place,
}

/// The steps after all parts are written, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The partitions get the identifiers that the root hash says.
    Identify,
    /// syslinux learns of the slot.
    Syslinux,
    /// The boot entry gets its name.
    Entry,
    /// syslinux boots the slot once.
    Once,
}

impl Step {
    pub(super) const ALL: [Self; 4] = [Self::Identify, Self::Syslinux, Self::Entry, Self::Once];
}

impl<D: Read + Write + Seek> Installer<D> {
    /// Reads an update from `input` and installs it. `cleared` is called when nothing boots the idle slot any more, before anything is
    /// written to it; `written` when all of it is on the disk, before anything boots it.
    ///
    /// # Errors
    /// When it is not for this node, or something fails. The running system is not touched in any case.
    pub fn install(
        &mut self,
        input: impl Read,
        own: &Own,
        cleared: impl FnOnce(),
        written: impl FnOnce(&Manifest),
    ) -> Result<Manifest, UpdateError> {
        self.install_up_to(input, own, cleared, written, Step::ALL.len())
    }

    /// The same with the first `steps` of the last steps, for tests of power cuts.
    pub(super) fn install_up_to(
        &mut self,
        input: impl Read,
        own: &Own,
        cleared: impl FnOnce(),
        written: impl FnOnce(&Manifest),
        steps: usize,
    ) -> Result<Manifest, UpdateError> {
        let mut archive = Archive::new(input);
        let text = small(&mut archive, manifest::MANIFEST)?;
        let signature = small(&mut archive, manifest::SIGNATURE).map_err(|why| match why {
            UpdateError::Order { .. } => UpdateError::Unsigned,
            why => why,
        })?;
        signature::verify(&own.key, &text, &String::from_utf8_lossy(&signature))?;
        let manifest = Manifest::parse(&text)?;
        own.accepts(&manifest)?;
        self.check(&manifest)?;
        self.prepare()?;
        cleared();
        for (name, part) in PARTS.into_iter().zip(&manifest.parts) {
            self.part(&mut archive, name, part)?;
        }
        // An input that knows how long it is, and its hash, judges them at its end.
        archive.end()?;
        self.disk.flush().map_err(|source| UpdateError::Disk { name: "the update", source })?;
        for (name, part) in PARTS.into_iter().zip(&manifest.parts) {
            if let Some(partition) = self.partition(name) {
                let start = partition.first * self.place.sector;
                self.read_back(name, start, part)?;
            }
        }
        written(&manifest);
        for step in &Step::ALL[..steps] {
            self.step(*step, &manifest)?;
        }
        Ok(manifest)
    }

    /// Everything that can be known before something is changed.
    fn check(&self, manifest: &Manifest) -> Result<(), UpdateError> {
        let running = self.place.running;
        let entry = choice::of(&self.esp.entries()?, running).ok_or(UpdateError::NoEntry(running))?;
        if entry.is_on_trial() {
            return Err(UpdateError::OnTrial);
        }
        for (name, part) in PARTS.into_iter().zip(&manifest.parts) {
            let room = self.partition(name).map_or(u64::MAX, |partition| place::size(partition, self.place.sector));
            if part.size > room {
                return Err(UpdateError::Large { name, size: part.size, room });
            }
        }
        Ok(())
    }

    /// The partition that a part goes to; the others are files on the ESP.
    fn partition(&self, name: &str) -> Option<&Partition> {
        match name {
            "root.squashfs" => Some(&self.place.root),
            "root.verity" => Some(&self.place.verity),
            _ => None,
        }
    }

    /// Where a part goes on the ESP.
    fn file(&self, name: &str) -> &'static str {
        let idle = self.place.running.other();
        match name {
            "vmlinuz" => idle.kernel(),
            "initrd" => idle.initrd(),
            _ => UKI_PART,
        }
    }

    /// From here on nothing boots the idle slot any more.
    fn prepare(&mut self) -> Result<(), UpdateError> {
        let (running, idle) = (self.place.running, self.place.running.other());
        self.esp.boot_once("")?;
        self.esp.set_default(running)?;
        for entry in self.esp.entries()?.into_iter().filter(|entry| entry.slot == idle) {
            self.esp.remove(&format!("{}/{entry}", slots::ENTRIES))?;
        }
        // They make room for the new ones.
        for name in PARTS.into_iter().filter(|name| self.partition(name).is_none()) {
            self.esp.remove(self.file(name))?;
        }
        Ok(())
    }

    /// Writes one part to its place.
    fn part(&mut self, archive: &mut Archive<impl Read>, name: &'static str, part: &Part) -> Result<(), UpdateError> {
        let header = archive.next_header()?;
        if header.as_ref().is_none_or(|header| header.name != name || header.size != part.size) {
            let found = header.map_or_else(|| "its end".to_owned(), |header| header.name);
            return Err(UpdateError::Order { found, wanted: name });
        }
        let mut hash = Sha256::new();
        let failed = |source| UpdateError::Disk { name, source };
        if let Some(partition) = self.partition(name) {
            let start = partition.first * self.place.sector;
            self.disk.seek(SeekFrom::Start(start)).map_err(failed)?;
            archive.member(part.size, |piece| {
                hash.update(piece);
                self.disk.write_all(piece).map_err(failed)
            })?;
        } else {
            let path = self.file(name);
            let mut file = self.esp.create(path)?;
            archive.member(part.size, |piece| {
                hash.update(piece);
                file.write_all(piece).map_err(failed)
            })?;
            esp::finish(&file, path)?;
        }
        if hash.finalize()[..] == part.sha256[..] { Ok(()) } else { Err(UpdateError::Hash(name)) }
    }

    /// Reads what was written, from the medium.
    fn read_back(&mut self, name: &'static str, start: u64, part: &Part) -> Result<(), UpdateError> {
        let failed = |source| UpdateError::Disk { name, source };
        self.disk.seek(SeekFrom::Start(start)).map_err(failed)?;
        let mut hash = Sha256::new();
        let mut piece = vec![0; PIECE];
        let mut left = part.size;
        while left > 0 {
            let length = PIECE.min(usize::try_from(left).unwrap_or(PIECE));
            self.disk.read_exact(&mut piece[..length]).map_err(failed)?;
            hash.update(&piece[..length]);
            left -= length as u64;
        }
        if hash.finalize()[..] == part.sha256[..] { Ok(()) } else { Err(UpdateError::ReadBack(name)) }
    }

    fn step(&mut self, step: Step, manifest: &Manifest) -> Result<(), UpdateError> {
        let idle = self.place.running.other();
        match step {
            Step::Identify => {
                let hash = root_hash(manifest)?;
                let guids = [(self.place.root.number, hash.data), (self.place.verity.number, hash.hashes)];
                table::identify(&mut self.disk, self.place.sector, &guids)?;
            }
            Step::Syslinux => {
                if self.esp.has_syslinux() {
                    self.esp.replace(idle.syslinux_cfg(), &config::slot(idle, &manifest.cmdline))?;
                }
            }
            Step::Entry => {
                let entry = choice::update(&self.esp.entries()?, idle);
                self.esp.rename(UKI_PART, &format!("{}/{entry}", slots::ENTRIES))?;
            }
            Step::Once => self.esp.boot_once(&config::trial(idle))?,
        }
        Ok(())
    }
}

impl Own {
    /// Whether an update is for this node.
    fn accepts(&self, manifest: &Manifest) -> Result<(), UpdateError> {
        let pairs = [
            ("role", manifest.role.as_str(), self.role.as_str()),
            ("profile", manifest.profile.as_str(), self.profile.as_str()),
            ("architecture", manifest.architecture.as_str(), self.architecture.as_str()),
        ];
        for (what, theirs, own) in pairs {
            if theirs != own {
                return Err(UpdateError::Other { what, theirs: theirs.to_owned(), own: own.to_owned() });
            }
        }
        if let Some(named) = self.named.as_ref().filter(|named| **named != manifest.version) {
            return Err(UpdateError::Named { theirs: manifest.version.clone(), named: named.clone() });
        }
        if manifest.version < self.version && !self.older {
            return Err(UpdateError::Older { theirs: manifest.version.clone(), own: self.version.clone() });
        }
        if root_hash(manifest)?.data == self.root {
            return Err(UpdateError::Same);
        }
        Ok(())
    }
}

/// The root hash, and the identifiers of partitions that it makes.
fn root_hash(manifest: &Manifest) -> Result<RootHash, ManifestError> {
    RootHash::parse(&manifest::hex(&manifest.root_hash)).ok_or(ManifestError::Key("root_hash"))
}

/// Reads a member that is kept in memory.
fn small(archive: &mut Archive<impl Read>, wanted: &'static str) -> Result<Vec<u8>, UpdateError> {
    let header = archive.next_header()?;
    let Some(header) = header.filter(|header| header.name == wanted && header.size <= manifest::MOST) else {
        return Err(UpdateError::Order { found: "another member".to_owned(), wanted });
    };
    let mut bytes = Vec::new();
    archive.member(header.size, |piece| {
        bytes.extend_from_slice(piece);
        Ok::<(), UpdateError>(())
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
