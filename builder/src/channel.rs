//! Channel files: which update the nodes that follow a channel take ([`agent::update::channel`]), and their signatures.

use agent::update::{
    channel::Channel,
    manifest::{MANIFEST, MOST, Manifest, PARTS, SIGNATURE},
    ustar::{Archive, BLOCK},
};
use minisign::SecretKey;

use crate::{
    content::Digest,
    update::{UpdateError, signature},
};

/// What a channel says that offers this update, which is at `file`: an address, or a name beside the channel file.
///
/// # Errors
/// When the bytes are no whole and signed update, or `file` is no address.
pub fn of(update: &[u8], file: &str) -> Result<Channel, UpdateError> {
    let mut rest = update;
    let mut text = Vec::new();
    for name in [MANIFEST, SIGNATURE].into_iter().chain(PARTS) {
        let mut archive = Archive::new(&mut rest);
        let header = archive.next_header()?;
        let Some(header) = header.filter(|header| header.name == name && (name != MANIFEST || header.size <= MOST))
        else {
            return Err(if name == SIGNATURE { UpdateError::Unsigned } else { UpdateError::Order });
        };
        archive.member(header.size, |piece| {
            if name == MANIFEST {
                text.extend_from_slice(piece);
            }
            Ok::<(), UpdateError>(())
        })?;
    }
    // Nodes count on it.
    if rest != [0; 2 * BLOCK] {
        return Err(UpdateError::End);
    }
    let Manifest { role, profile, architecture, version, .. } = Manifest::parse(&text)?;
    let (size, sha256) = (update.len() as u64, *Digest::of(update).bytes());
    let channel = Channel { role, profile, architecture, version, file: file.to_owned(), size, sha256 };
    // Whether nodes take it.
    Channel::parse(channel.to_json().as_bytes()).map_err(UpdateError::Channel)
}

/// The text of the file beside a channel file. minisign's signatures have a random part.
///
/// # Errors
/// When the key cannot sign.
pub fn sign(channel: &Channel, key: &SecretKey) -> Result<String, UpdateError> {
    let comment = format!("Steppe channel {} {}", channel.role, channel.version);
    signature(channel.to_json().as_bytes(), key, &comment, "signature from builder channel")
}

#[cfg(test)]
mod tests {
    use agent::{facts::Role, update::signature};

    use super::*;
    use crate::{
        architecture::Architecture,
        update::{self, Parts},
    };

    const SYSTEM: Parts<'static> = [b"uki", b"vmlinuz", b"initrd", b"root", b"verity"];

    #[test]
    fn a_channel_offers_a_signed_update() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("update.key");
        let public = update::public_key(&update::generate(&path).unwrap()).unwrap();
        let key = update::read_key(&path).unwrap();
        let manifest = Manifest {
            role: Role::Client,
            profile: "cloud".into(),
            architecture: Architecture::Aarch64.to_string(),
            version: "2.1".parse().unwrap(),
            root_hash: [3; 32],
            cmdline: "quiet".into(),
            parts: update::describe(&SYSTEM),
        };
        let unsigned = update::build(&manifest, &SYSTEM).unwrap();
        assert!(matches!(of(&unsigned, "x.update"), Err(UpdateError::Unsigned)));
        let signed = update::sign(&unsigned, &key).unwrap();
        let channel = of(&signed, "x.update").unwrap();
        assert_eq!((channel.role, channel.version.to_string().as_str()), (Role::Client, "2.1"));
        assert_eq!(channel.architecture, "aarch64", "it is the update's");
        assert_eq!((channel.size, channel.sha256), (signed.len() as u64, *Digest::of(&signed).bytes()));
        assert_eq!(of(&signed, "x.update").unwrap().to_json(), channel.to_json(), "always the same");
        signature::verify(&public, channel.to_json().as_bytes(), &sign(&channel, &key).unwrap()).unwrap();

        assert!(of(&signed[..signed.len() - 1], "x.update").is_err());
        assert!(matches!(of(&[&signed[..], &[0; 512]].concat(), "x.update"), Err(UpdateError::End)));
        assert!(of(&[7; 600], "x.update").is_err());
        for file in ["https://h/x.update", "x y.update", ""] {
            assert!(matches!(of(&signed, file), Err(UpdateError::Channel(_))), "{file}");
        }
    }
}
