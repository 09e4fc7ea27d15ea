//! Tests of [`super`] with keys made here.

use super::*;
use crate::nomad::fixture::{CREATED, Signer};

fn key(text: &str) -> Result<Key, NomadError> {
    Key::parse("test.asc", text.as_bytes())
}

fn verdict(signer: &Signer, data: &[u8], signature: &[u8]) -> Result<(), NomadError> {
    key(&signer.public()).unwrap().verify(data, signature, "https://example.org/SUMS.sig")
}

#[test]
fn the_fingerprint_is_computed() {
    let signer = Signer::new(true);
    assert_eq!(key(&signer.public()).unwrap().fingerprint().as_str(), signer.fingerprint());
}

#[test]
fn primary_key_and_subkey_sign() {
    let signer = Signer::new(true);
    verdict(&signer, b"data", &signer.sign(b"data", 10)).unwrap();
    verdict(&signer, b"data", &signer.sign_by_subkey(b"data", 10)).unwrap();
}

#[test]
fn armored_signatures_and_several_copies_of_a_key() {
    let signer = Signer::new(false);
    let mut twice = signer.public();
    twice.push_str(&signer.public());
    let key = key(&twice).unwrap();
    assert_eq!(key.copies.len(), 2);
    let signature = DetachedSignature::from_bytes(&signer.sign(b"data", 10)[..]).unwrap();
    let armored = signature.to_armored_string(pgp::composed::ArmorOptions::default()).unwrap();
    key.verify(b"data", armored.as_bytes(), "u").unwrap();
}

#[test]
fn changed_data_does_not_fit() {
    let signer = Signer::new(false);
    let error = verdict(&signer, b"dbta", &signer.sign(b"data", 10)).unwrap_err();
    assert!(matches!(&error, NomadError::Signature { .. }), "{error}");
    assert!(error.to_string().contains("https://example.org/SUMS.sig"), "{error}");
}

#[test]
fn a_stranger_is_named() {
    let (signer, stranger) = (Signer::new(false), Signer::new(false));
    let error = verdict(&signer, b"data", &stranger.sign(b"data", 10)).unwrap_err();
    assert!(matches!(&error, NomadError::OtherKey { signer: who, .. } if *who == stranger.fingerprint()), "{error}");
}

#[test]
fn what_is_no_signature_is_said_to_be_none() {
    let signer = Signer::new(false);
    // Tag, length, version, type, algorithm, hash.
    let mut weak = signer.sign(b"data", 10);
    assert_eq!(weak[5], u8::from(HashAlgorithm::Sha512));
    weak[5] = u8::from(HashAlgorithm::Sha1);
    for bytes in [&b""[..], b"<html>", b"\x00\x01", &weak] {
        let error = verdict(&signer, b"data", bytes).unwrap_err();
        assert!(error.to_string().contains(NO_SIGNATURE), "{error}");
    }
}

#[test]
fn a_signature_counts_when_the_key_was_valid_then() {
    // Both keys ended years ago by any clock.
    let signer = Signer::new(true).ending_after(1000);
    verdict(&signer, b"data", &signer.sign(b"data", 999)).unwrap();
    verdict(&signer, b"data", &signer.sign_by_subkey(b"data", 999)).unwrap();
    for late in [signer.sign(b"data", 1000), signer.sign_by_subkey(b"data", 1000)] {
        let error = verdict(&signer, b"data", &late).unwrap_err();
        let end = u64::from(CREATED) + 1000;
        assert!(
            matches!(error, NomadError::NotValidThen { made, until, .. } if made == end && until == end),
            "{error}"
        );
    }
    assert_eq!(key(&signer.public()).unwrap().expires(), Some(u64::from(CREATED) + 1000));
}

#[test]
fn a_renewed_copy_counts_beside_the_old_one() {
    let old = Signer::new(false).ending_after(1000);
    let signature = old.sign(b"data", 2000);
    let old_text = old.public();
    let both = old_text + &old.ending_after(5000).public();
    let both = key(&both).unwrap();
    both.verify(b"data", &signature, "u").unwrap();
    key(&both.armored().unwrap()).unwrap().verify(b"data", &signature, "u").unwrap();
}

#[test]
fn what_is_revoked_signs_nothing() {
    let revoked = Signer::new(false).revoked();
    let error = verdict(&revoked, b"data", &revoked.sign(b"data", 10)).unwrap_err();
    assert!(matches!(error, NomadError::KeyRevoked { .. }), "{error}");
    let signer = Signer::new(true).subkey_revoked();
    assert!(verdict(&signer, b"data", &signer.sign_by_subkey(b"data", 10)).is_err());
    verdict(&signer, b"data", &signer.sign(b"data", 10)).unwrap();
}

#[test]
fn files_that_are_no_key() {
    let two = Signer::new(false).public() + &Signer::new(false).public();
    for (text, reason) in [("", "no public key"), ("hello", "no public key"), (&two, "more than one key")] {
        let error = key(text).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("test.asc") && error.contains("--nomad-key"), "{error}");
    }
    assert!(matches!(Key::read(Path::new("/nowhere.asc")), Err(NomadError::Key { .. })));
}
