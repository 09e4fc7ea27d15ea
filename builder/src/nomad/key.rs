//! The key that releases are signed with, and what its signatures are worth.
//!
//! Rules, in the order in which they are checked:
//! - Whether it is the key that counts is not asked here: see [`super::trust`].
//! - A revoked key or subkey signs nothing, whenever the signature was made.
//! - A signing subkey counts when the primary key binds it and it signs back; signatures use SHA-256 or better.
//! - A signature counts when it was made while the key was valid. That the key, or this copy of it, has expired since is
//!   no reason to refuse: the fingerprint is pinned, so the key cannot be another, and a build must not fail one day
//!   because time has passed. The clock of this machine plays no part.

use std::{fs::File, path::Path};

use pgp::{
    composed::{ArmorOptions, Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey},
    crypto::hash::HashAlgorithm,
    packet::{PublicKey, PublicSubkey, Signature, SignatureType},
    types::{KeyDetails, Tag},
};

use super::{Fingerprint, NomadError, trust::KEY_LIMIT};
use crate::{bounded, content::hex};

/// A key, in all the copies of it that a file holds.
#[derive(Debug)]
pub(super) struct Key {
    origin: String,
    fingerprint: Fingerprint,
    copies: Vec<SignedPublicKey>,
}

impl Key {
    /// The key in the file at `path`.
    pub(super) fn read(path: &Path) -> Result<Self, NomadError> {
        let origin = path.display().to_string();
        // It may come out of a pipe.
        let bytes = File::open(path)
            .and_then(|file| bounded::all(file, KEY_LIMIT))
            .map_err(|e| NomadError::Key { path: origin.clone(), reason: e.to_string() })?;
        Self::parse(&origin, &bytes)
    }

    /// Reads one key, armored or not, from bytes that came from `origin`. Several copies of it (renewals) may follow one
    /// another.
    pub(super) fn parse(origin: &str, bytes: &[u8]) -> Result<Self, NomadError> {
        let wrong = |reason: String| NomadError::Key { path: origin.to_owned(), reason };
        let mut copies = Vec::new();
        for block in blocks(bytes) {
            let (keys, _) = SignedPublicKey::from_reader_many(block).map_err(|e| wrong(e.to_string()))?;
            for key in keys {
                copies.push(key.map_err(|e| wrong(e.to_string()))?);
            }
        }
        let first = copies.first().ok_or_else(|| wrong("there is no public key in it".into()))?;
        let fingerprint = Fingerprint::of(first);
        if copies.iter().any(|key| key.fingerprint() != first.fingerprint()) {
            return Err(wrong("there is more than one key in it".into()));
        }
        Ok(Self { origin: origin.to_owned(), fingerprint, copies })
    }

    /// This key with the copies of `newer`, which is the same key.
    pub(super) fn with(mut self, newer: Self) -> Self {
        self.copies.extend(newer.copies);
        Self { origin: newer.origin, ..self }
    }

    /// The text of a file with all the copies.
    pub(super) fn armored(&self) -> Result<String, NomadError> {
        let wrong = |e: pgp::errors::Error| NomadError::Key { path: self.origin.clone(), reason: e.to_string() };
        self.copies.iter().map(|copy| copy.to_armored_string(ArmorOptions::default()).map_err(wrong)).collect()
    }

    /// Of the primary key.
    pub(super) const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Until when the key signs, by the copy at hand; seconds since 1970. `None`: for ever, or it never did.
    pub(super) fn expires(&self) -> Option<u64> {
        let until = self.signers().iter().map(|signer| signer.until).max()?;
        (until != FOR_EVER).then_some(until)
    }

    /// Checks that `signature`, which came from `url`, was made over `data` with this key while it was valid.
    pub(super) fn verify(&self, data: &[u8], signature: &[u8], url: &str) -> Result<(), NomadError> {
        self.refuse_revoked()?;
        let wrong = |reason: &str| NomadError::Signature { url: url.to_owned(), reason: reason.to_owned() };
        let (signatures, _) = DetachedSignature::from_reader_many(signature).map_err(|_| wrong(NO_SIGNATURE))?;
        let signatures: Vec<_> = signatures.filter_map(Result::ok).map(|detached| detached.signature).collect();
        let signers = self.signers();
        let mut verdict = wrong(NO_SIGNATURE);
        for signature in signatures.iter().filter(|s| is_of_document(s)) {
            let Some(signer) = signers.iter().find(|signer| signer.is_issuer_of(signature)) else {
                let signer = issuer(signature);
                verdict = NomadError::OtherKey { url: url.to_owned(), signer, wanted: self.fingerprint.to_string() };
                continue;
            };
            // Among the copies of one key the most generous counts.
            let fitting = signers.iter().filter(|signer| signer.component.fits(signature, data));
            let Some(signer) = fitting.max_by_key(|signer| signer.until) else {
                verdict = wrong(&format!("the mathematics of {} fail", signer.component.fingerprint()));
                continue;
            };
            let made = signature.created().map_or(0, seconds);
            if (signer.from..signer.until).contains(&made) {
                return Ok(());
            }
            verdict = NomadError::NotValidThen {
                url: url.to_owned(),
                made,
                key: signer.component.fingerprint(),
                from: signer.from,
                until: signer.until,
            };
        }
        Err(verdict)
    }

    fn refuse_revoked(&self) -> Result<(), NomadError> {
        let revoked = self
            .copies
            .iter()
            .any(|key| key.details.revocation_signatures.iter().any(|s| s.verify_key(&key.primary_key).is_ok()));
        if !revoked {
            return Ok(());
        }
        Err(NomadError::KeyRevoked { path: self.origin.clone(), fingerprint: self.fingerprint.to_string() })
    }

    /// The primary keys and subkeys that may sign.
    fn signers(&self) -> Vec<Signer<'_>> {
        let mut signers = Vec::new();
        for copy in &self.copies {
            let Some(own) = newest(self_signatures(copy)) else { continue };
            let from = seconds(copy.primary_key.created_at());
            let until = end(from, own);
            if own.key_flags().sign() {
                signers.push(Signer { component: Component::Primary(&copy.primary_key), from, until });
            }
            for subkey in copy.public_subkeys.iter().filter(|subkey| !self.is_revoked(subkey)) {
                let Some(binding) = newest(bindings(copy, subkey)) else { continue };
                let from = seconds(subkey.key.created_at());
                let until = end(from, binding).min(until);
                signers.push(Signer { component: Component::Subkey(&subkey.key), from, until });
            }
        }
        signers
    }

    /// Whether any copy of the key revokes `subkey`.
    fn is_revoked(&self, subkey: &SignedPublicSubKey) -> bool {
        self.copies.iter().any(|copy| {
            copy.public_subkeys.iter().filter(|other| other.key.fingerprint() == subkey.key.fingerprint()).any(
                |other| {
                    other.signatures.iter().any(|s| {
                        s.typ() == Some(SignatureType::SubkeyRevocation)
                            && s.verify_subkey_binding(&copy.primary_key, &other.key).is_ok()
                    })
                },
            )
        })
    }
}

/// A key or subkey that may sign, and when.
struct Signer<'a> {
    component: Component<'a>,
    from: u64,
    until: u64,
}

enum Component<'a> {
    Primary(&'a PublicKey),
    Subkey(&'a PublicSubkey),
}

impl Signer<'_> {
    /// Whether `signature` names this key as its maker, or nobody.
    fn is_issuer_of(&self, signature: &Signature) -> bool {
        let (id, fingerprint) = match self.component {
            Component::Primary(key) => (key.legacy_key_id(), key.fingerprint()),
            Component::Subkey(key) => (key.legacy_key_id(), key.fingerprint()),
        };
        let (ids, fingerprints) = (signature.issuer_key_id(), signature.issuer_fingerprint());
        (ids.is_empty() && fingerprints.is_empty()) || ids.contains(&&id) || fingerprints.contains(&&fingerprint)
    }
}

impl Component<'_> {
    fn fits(&self, signature: &Signature, data: &[u8]) -> bool {
        match self {
            Self::Primary(key) => signature.verify(*key, data).is_ok(),
            Self::Subkey(key) => signature.verify(*key, data).is_ok(),
        }
    }

    fn fingerprint(&self) -> String {
        match self {
            Self::Primary(key) => format!("{:X}", key.fingerprint()),
            Self::Subkey(key) => format!("{:X}", key.fingerprint()),
        }
    }
}

const FOR_EVER: u64 = u64::MAX;

const NO_SIGNATURE: &str = "it holds no OpenPGP signature of a file with SHA-256 or better";

/// Armored blocks of a text one by one; the bytes themselves when they are no text.
fn blocks(bytes: &[u8]) -> Vec<&[u8]> {
    const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
    let Ok(text) = str::from_utf8(bytes) else { return vec![bytes] };
    let mut starts: Vec<_> = text.match_indices(BEGIN).map(|(at, _)| at).collect();
    starts.push(text.len());
    starts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// Valid statements of the primary key about itself: on a user id, or directly.
fn self_signatures(copy: &SignedPublicKey) -> impl Iterator<Item = &Signature> {
    let on_users = copy.details.users.iter().flat_map(|user| {
        user.signatures.iter().filter(|s| {
            s.typ() != Some(SignatureType::CertRevocation)
                && s.verify_certification(&copy.primary_key, Tag::UserId, &user.id).is_ok()
        })
    });
    let direct = copy.details.direct_signatures.iter().filter(|s| s.verify_key(&copy.primary_key).is_ok());
    on_users.chain(direct)
}

/// Valid statements of the primary key that `subkey` signs for it, with the subkey's consent.
fn bindings<'a>(copy: &'a SignedPublicKey, subkey: &'a SignedPublicSubKey) -> impl Iterator<Item = &'a Signature> {
    subkey.signatures.iter().filter(|s| {
        s.typ() == Some(SignatureType::SubkeyBinding)
            && s.key_flags().sign()
            && s.verify_subkey_binding(&copy.primary_key, &subkey.key).is_ok()
            && s.embedded_signature().is_some_and(|back| {
                is_strong(back) && back.verify_primary_key_binding(&subkey.key, &copy.primary_key).is_ok()
            })
    })
}

fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    signatures.filter(|s| is_strong(s)).max_by_key(|s| s.created())
}

/// When a key made at `from` ends by what `signature` says of it; zero means never (RFC 9580, 5.2.3.13).
fn end(from: u64, signature: &Signature) -> u64 {
    match signature.key_expiration_time().map_or(0, pgp::types::Duration::as_secs) {
        0 => FOR_EVER,
        lifetime => from + u64::from(lifetime),
    }
}

fn is_of_document(signature: &Signature) -> bool {
    matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) && is_strong(signature)
}

fn is_strong(signature: &Signature) -> bool {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha256, Sha384, Sha512};
    matches!(signature.hash_alg(), Some(Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512))
}

fn issuer(signature: &Signature) -> String {
    let fingerprints = signature.issuer_fingerprint();
    let ids = signature.issuer_key_id();
    fingerprints
        .first()
        .map(|fingerprint| format!("{fingerprint:X}"))
        .or_else(|| ids.first().map(|id| hex(id.as_ref()).to_uppercase()))
        .unwrap_or_default()
}

fn seconds(time: pgp::types::Timestamp) -> u64 {
    u64::from(time.as_secs())
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
