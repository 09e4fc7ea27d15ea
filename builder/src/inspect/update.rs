//! Update files: an archive whose manifest says what each part has to be.

use std::io;

use agent::update::{
    manifest::{self, MANIFEST, Manifest, PARTS, SIGNATURE},
    signature,
    ustar::{Archive, UstarError},
};
use serde::Serialize;

use super::{
    Image,
    boot::{self, BootFile},
    files,
    parts::{self, Stored},
    verity,
    volume::Volume,
};
use crate::content::Digest;

/// What an update file says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Update {
    /// The role of the nodes that take it.
    pub role: String,
    /// The machines that it is for.
    pub profile: String,
    /// Their architecture.
    pub architecture: String,
    /// Its version.
    pub version: String,
    /// The root hash.
    pub root_hash: Digest,
    /// Whose signature it has.
    pub signature: Signature,
    /// Digest of the file as a build leaves it, without a signature.
    #[serde(skip)]
    pub unsigned: Option<Digest>,
}

/// The signature of an update. Which keys are to be trusted is for the nodes to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signature {
    /// There is none.
    None,
    /// There is one, and in the update's root there is no key to check it by.
    Unchecked,
    /// It is by the key in the update's root.
    OwnKey,
    /// It is not by the key in the update's root, or what it signs was changed.
    Other,
}

impl Signature {
    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::None => "not signed: no node takes it before `builder sign`",
            Self::Unchecked => "signed; its root has no key to check that by",
            Self::OwnKey => "signed by the key that is in its root",
            Self::Other => "signed, but not by the key that is in its root",
        }
    }
}

/// Whether a file that begins so is one.
pub(super) fn is(start: &[u8]) -> bool {
    start.strip_prefix(MANIFEST.as_bytes()).is_some_and(|rest| rest.starts_with(b"\0"))
        && start.get(257..262) == Some(b"ustar")
}

/// Bytes of a member.
const MOST: u64 = 1 << 30;

/// Reads an update file.
///
/// # Errors
/// When it is no archive, or its manifest is damaged. What is wrong further in is noted.
pub(super) fn read(image: &mut Image, volume: &mut Volume) -> io::Result<()> {
    image.format = "update";
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut archive = Archive::new(&mut *volume);
    let mut next = |most: u64| -> Result<Option<(String, Vec<u8>)>, UstarError> {
        let Some(header) = archive.next_header()? else { return Ok(None) };
        if header.size > most {
            return Err(UstarError::Format("a member is larger than it can be"));
        }
        let mut bytes = Vec::new();
        archive.member(header.size, |piece| {
            bytes.extend_from_slice(piece);
            Ok::<(), UstarError>(())
        })?;
        Ok(Some((header.name, bytes)))
    };
    let text = next(manifest::MOST).map_err(|error| wrong(error.to_string()))?.unwrap_or_default().1;
    let manifest = Manifest::parse(&text).map_err(|error| wrong(error.to_string()))?;
    let (mut signature, mut found) = (None, Vec::new());
    loop {
        match next(MOST) {
            Ok(Some((name, bytes))) if name == SIGNATURE => signature = String::from_utf8(bytes).ok(),
            Ok(Some(member)) if found.len() < PARTS.len() => found.push(member),
            Ok(Some((name, _))) => {
                image.wrong.push(format!("it has a further part, {name}"));
                break;
            }
            Ok(None) => break,
            Err(error) => {
                image.wrong.push(error.to_string());
                break;
            }
        }
    }
    for (name, part) in PARTS.iter().zip(&manifest.parts) {
        match found.iter().find(|(found, _)| found == name) {
            None => image.wrong.push(format!("it has no {name}")),
            Some((_, bytes)) if bytes.len() as u64 != part.size || Digest::of(bytes).bytes() != &part.sha256 => {
                image.wrong.push(format!("{name} is not the one of its manifest"));
            }
            Some(_) => {}
        }
    }
    let take = |name: &str| found.iter().find(|(found, _)| found == name).map(|(_, bytes)| &bytes[..]);
    let [uki, vmlinuz, initrd, root, tree] = PARTS.map(take);
    let bootable = PARTS.iter().zip([uki, vmlinuz, initrd]);
    image.boot = bootable.filter_map(|(name, bytes)| Some(BootFile::new(name, bytes?))).collect();
    check(image, &manifest, root, tree);
    let initramfs = image.take_initramfs(uki.map(boot::initrd).unwrap_or_default());
    let contents = root.map(|root| files::root(root.to_vec())).transpose().unwrap_or_else(|error| {
        image.wrong.push(format!("root: {error}"));
        None
    });
    let contents = contents.unwrap_or_default();
    image.parts = parts::of(&Stored {
        boot: &image.boot,
        initramfs: &initramfs,
        root: (&contents.stored, root.map_or(0, <[u8]>::len) as u64),
        tree: tree.map_or(0, <[u8]>::len) as u64,
    });
    (image.files, image.facts) = (contents.files, contents.facts);
    let signature = match (signature, contents.update_key) {
        (None, _) => Signature::None,
        (Some(_), None) => Signature::Unchecked,
        (Some(signature), Some(key)) => match signature::verify(&key, &text, &signature) {
            Ok(()) => Signature::OwnKey,
            Err(_) => Signature::Other,
        },
    };
    let unsigned = volume.bytes(0, volume.size).ok().and_then(|bytes| crate::update::without_signature(&bytes).ok());
    image.update = Some(Update {
        role: manifest.role.to_string(),
        profile: manifest.profile.clone(),
        architecture: manifest.architecture.clone(),
        version: manifest.version.to_string(),
        root_hash: Digest::from_bytes(manifest.root_hash),
        signature,
        unsigned: unsigned.map(|bytes| Digest::of(&bytes)),
    });
    Ok(())
}

/// Holds root and hash tree against each other, and the root hash.
fn check(image: &mut Image, manifest: &Manifest, root: Option<&[u8]>, tree: Option<&[u8]>) {
    let (Some(root), Some(tree)) = (root, tree) else { return };
    let Some(superblock) = verity::superblock(tree) else {
        return image.wrong.push("its hash tree has no superblock".to_owned());
    };
    let verity = superblock.check(root, tree);
    image.wrong.extend(verity.wrong.iter().cloned());
    if verity.root_hash.bytes() != &manifest.root_hash {
        image.wrong.push("its root has another root hash than its manifest says".to_owned());
    }
    (image.root_hash, image.verity) = (Some(verity.root_hash), Some(verity));
}
