//! Update files: a whole system for the idle slot of a node, and its signature.
//!
//! The format is the agent's ([`agent::update`]): a tape archive that is read from beginning to end. A build leaves it without a
//! signature; `builder sign` puts one behind its first member.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use agent::update::{
    manifest::{MANIFEST, MOST, Manifest, ManifestError, PARTS, Part, SIGNATURE},
    ustar::{self, Archive, BLOCK, UstarError},
};
use minisign::{KeyPair, PublicKeyBox, SecretKey, SecretKeyBox};

use crate::{bounded, content::Digest};

/// Bytes that a file with a key may have. minisign's have two hundred.
const KEY_LIMIT: u64 = 64 << 10;

/// Why there is no update file, or no signature.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// A file.
    #[error("failed to {what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A part is too large for the archive.
    #[error("{0} is too large for an update file")]
    Large(&'static str),
    /// Not an update file.
    #[error(transparent)]
    Archive(#[from] UstarError),
    /// Not its manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// It does not begin as one.
    #[error("this is no update file: it does not begin with {MANIFEST}, or its parts are not in their order")]
    Order,
    /// For a channel.
    #[error("the update is not signed: sign it with `builder sign`")]
    Unsigned,
    /// It was cut, or something was put behind it.
    #[error("the update does not end as one does: build and sign it again")]
    End,
    /// Nodes would not take the channel.
    #[error(transparent)]
    Channel(agent::update::channel::ChannelError),
    /// The key.
    #[error("failed to use the key {path}: {why}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A key is there already.
    #[error("{0} is there already: a key that is lost cannot be made again")]
    Exists(PathBuf),
}

/// The parts, in the order of [`PARTS`].
pub type Parts<'a> = [&'a [u8]; PARTS.len()];

/// Describes parts.
#[must_use]
pub fn describe(parts: &Parts<'_>) -> [Part; PARTS.len()] {
    parts.map(|bytes| Part { size: bytes.len() as u64, sha256: *Digest::of(bytes).bytes() })
}

/// The bytes of an update file without a signature.
///
/// # Errors
/// When a part is too large.
pub fn build(manifest: &Manifest, parts: &Parts<'_>) -> Result<Vec<u8>, UpdateError> {
    let mut file = Vec::new();
    member(&mut file, MANIFEST, manifest.to_json().as_bytes())?;
    for (name, bytes) in PARTS.into_iter().zip(parts) {
        member(&mut file, name, bytes)?;
    }
    file.resize(file.len() + 2 * BLOCK, 0);
    Ok(file)
}

fn member(file: &mut Vec<u8>, name: &'static str, bytes: &[u8]) -> Result<(), UpdateError> {
    file.extend(ustar::header(name, bytes.len() as u64).ok_or(UpdateError::Large(name))?);
    file.extend(bytes);
    file.resize(file.len().next_multiple_of(BLOCK), 0);
    Ok(())
}

/// The update file with a signature by `key`, instead of the one that it has. minisign's signatures have a random part: the same update is not
/// signed with the same bytes twice.
///
/// # Errors
/// When the bytes are no update file.
pub fn sign(file: &[u8], key: &SecretKey) -> Result<Vec<u8>, UpdateError> {
    let (text, rest) = apart(file)?;
    let manifest = Manifest::parse(&text)?;
    let comment = format!("Steppe {} {}", manifest.role, manifest.version);
    let signature = signature(&text, key, &comment, "signature from builder sign")?;
    let mut signed = Vec::with_capacity(file.len() + 4 * BLOCK);
    member(&mut signed, MANIFEST, &text)?;
    member(&mut signed, SIGNATURE, signature.as_bytes())?;
    signed.extend(rest);
    Ok(signed)
}

/// The update file without its signature, as a build leaves it.
///
/// # Errors
/// When the bytes are no update file.
pub fn without_signature(file: &[u8]) -> Result<Vec<u8>, UpdateError> {
    let (text, rest) = apart(file)?;
    let mut bare = Vec::with_capacity(file.len());
    member(&mut bare, MANIFEST, &text)?;
    bare.extend(rest);
    Ok(bare)
}

/// The manifest, and what is behind it and the signature.
fn apart(file: &[u8]) -> Result<(Vec<u8>, &[u8]), UpdateError> {
    let mut rest = file;
    let text = first(&mut rest)?;
    let mut after = rest;
    if let Some(header) = Archive::new(&mut after).next_header()?.filter(|header| header.name == SIGNATURE) {
        Archive::new(&mut after).member(header.size, |_| Ok::<(), UpdateError>(()))?;
        rest = after;
    }
    Ok((text, rest))
}

/// The signature of a text, with a comment that it signs too and one that it does not.
pub(crate) fn signature(text: &[u8], key: &SecretKey, trusted: &str, comment: &str) -> Result<String, UpdateError> {
    let signature = minisign::sign(None, key, text, Some(trusted), Some(comment));
    let failed = |why: minisign::PError| UpdateError::Key { path: PathBuf::new(), why: why.to_string() };
    Ok(signature.map_err(failed)?.into_string())
}

/// Reads the first member, and leaves what follows.
fn first(rest: &mut &[u8]) -> Result<Vec<u8>, UpdateError> {
    let header = Archive::new(&mut *rest).next_header()?;
    let header = header.filter(|header| header.name == MANIFEST && header.size <= MOST).ok_or(UpdateError::Order)?;
    let mut text = Vec::new();
    Archive::new(&mut *rest).member(header.size, |piece| {
        text.extend_from_slice(piece);
        Ok::<(), UpdateError>(())
    })?;
    Ok(text)
}

/// Reads a secret key of minisign or of [`generate`]. One with a password asks for it on the terminal.
///
/// # Errors
/// When it cannot be read, or the password is wrong.
pub fn read_key(path: &Path) -> Result<SecretKey, UpdateError> {
    let failed = |why: String| UpdateError::Key { path: path.to_owned(), why };
    let text = bounded::text(path, KEY_LIMIT).map_err(|source| UpdateError::File {
        what: "read",
        path: path.to_owned(),
        source,
    })?;
    let parse = || SecretKeyBox::from_string(&text).map_err(|why| failed(why.to_string()));
    match parse()?.into_unencrypted_secret_key() {
        Ok(key) => Ok(key),
        Err(_) => parse()?.into_secret_key(None).map_err(|why| failed(why.to_string())),
    }
}

/// Makes a key pair: `path`, which its owner alone may read, and the same name with `.pub`. Gives the public key as recipes have it.
///
/// # Errors
/// When a file is there already, or cannot be written.
pub fn generate(path: &Path) -> Result<String, UpdateError> {
    let failed = |why: minisign::PError| UpdateError::Key { path: path.to_owned(), why: why.to_string() };
    let pair = KeyPair::generate_unencrypted_keypair().map_err(failed)?;
    let secret = pair.sk.to_box(Some("secret key of Steppe updates")).map_err(failed)?;
    let public = pair.pk.to_box().map_err(failed)?;
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    let files = [(path.to_owned(), 0o600, secret.to_string()), (PathBuf::from(name), 0o644, public.to_string())];
    if let Some((path, ..)) = files.iter().find(|(path, ..)| path.exists()) {
        return Err(UpdateError::Exists(path.clone()));
    }
    for (path, mode, text) in &files {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(*mode)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|source| UpdateError::File { what: "write", path: path.clone(), source })?;
    }
    Ok(pair.pk.to_base64())
}

/// The file in an image for a public key as recipes have it; `None` when it is none.
#[must_use]
pub fn public_key(base64: &str) -> Option<String> {
    let text = format!("untrusted comment: updates of this image are signed with this key\n{base64}\n");
    PublicKeyBox::from_string(&text).ok()?.into_public_key().ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use agent::{facts::Role, update::signature};

    use super::*;
    use crate::architecture::Architecture;

    const SYSTEM: Parts<'static> = [b"uki", b"vmlinuz", b"initrd", b"root", b"verity"];

    fn unsigned() -> Vec<u8> {
        let manifest = Manifest {
            role: Role::Client,
            profile: "cloud".into(),
            architecture: Architecture::X86_64.to_string(),
            version: "2.1".parse().unwrap(),
            root_hash: [3; 32],
            cmdline: "quiet".into(),
            parts: describe(&SYSTEM),
        };
        build(&manifest, &SYSTEM).unwrap()
    }

    fn members(mut file: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut archive = Archive::new(&mut file);
        let mut members = Vec::new();
        while let Some(header) = archive.next_header().unwrap() {
            let mut bytes = Vec::new();
            archive
                .member(header.size, |piece| {
                    bytes.extend_from_slice(piece);
                    Ok::<(), UstarError>(())
                })
                .unwrap();
            members.push((header.name, bytes));
        }
        members
    }

    #[test]
    fn a_signature_goes_behind_the_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("update.key");
        let base64 = generate(&path).unwrap();
        assert!(matches!(generate(&path), Err(UpdateError::Exists(_))));
        let key = read_key(&path).unwrap();
        let signed = sign(&unsigned(), &key).unwrap();
        let found = members(&signed);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, [&[MANIFEST, SIGNATURE][..], &PARTS].concat());
        let text = std::str::from_utf8(&found[1].1).unwrap();
        signature::verify(&public_key(&base64).unwrap(), &found[0].1, text).unwrap();
        let again = members(&sign(&signed, &key).unwrap());
        assert_eq!(again.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names, "one signature");
        assert_eq!(again[2..], found[2..]);
        assert_eq!(found[2].1, b"uki");
        for file in [&signed, &unsigned()] {
            assert_eq!(without_signature(file).unwrap(), unsigned());
        }
    }

    #[test]
    fn tar_reads_it_too() {
        let file = unsigned();
        let mut archive = tar::Archive::new(&file[..]);
        let names: Vec<String> =
            archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(names, [&[MANIFEST][..], &PARTS].concat());
    }

    #[test]
    fn what_is_no_update_or_key_is_said() {
        let pair = KeyPair::generate_unencrypted_keypair().unwrap();
        assert!(matches!(sign(&[7; 600], &pair.sk), Err(UpdateError::Archive(_))));
        let mut other = Vec::new();
        member(&mut other, "uki.efi", b"x").unwrap();
        assert!(matches!(sign(&other, &pair.sk), Err(UpdateError::Order)));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert!(read_key(&path).unwrap_err().to_string().contains("failed to read"));
        std::fs::write(&path, "no key").unwrap();
        assert!(read_key(&path).unwrap_err().to_string().contains("failed to use the key"));
        assert_eq!(public_key("RWQ"), None);
    }
}
