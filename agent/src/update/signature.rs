//! The signature of an update: minisign's format (<https://jedisct1.github.io/minisign/>), ed25519 over BLAKE2b.

use minisign_verify::{PublicKey, Signature};

/// Why a text is not what the key's owner signed.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The image's own key.
    #[error("the public key in this image is damaged")]
    Key,
    /// Not a signature.
    #[error("the signature is damaged")]
    Damaged,
    /// Another key, or another text.
    #[error("the signature is not by the key of this image, or what it signs was changed")]
    Wrong,
}

/// Checks that the owner of `key`, the text of a `.pub` file, signed `bytes`.
///
/// # Errors
/// When that is not so. Signatures of the old kind, without a hash, are not accepted.
pub fn verify(key: &str, bytes: &[u8], signature: &str) -> Result<(), SignatureError> {
    let key = PublicKey::decode(key.trim()).map_err(|_| SignatureError::Key)?;
    let signature = Signature::decode(signature).map_err(|_| SignatureError::Damaged)?;
    key.verify(bytes, &signature, false).map_err(|_| SignatureError::Wrong)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A key pair for tests, and what it signs.
    pub(crate) struct Signer(minisign::KeyPair);

    impl Signer {
        pub(crate) fn new() -> Self {
            Self(minisign::KeyPair::generate_unencrypted_keypair().unwrap())
        }

        pub(crate) fn public(&self) -> String {
            self.0.pk.to_box().unwrap().to_string()
        }

        pub(crate) fn sign(&self, bytes: &[u8]) -> String {
            minisign::sign(None, &self.0.sk, bytes, None, None).unwrap().into_string()
        }
    }

    #[test]
    fn only_the_owners_signature_counts() {
        let (own, other) = (Signer::new(), Signer::new());
        let signature = own.sign(b"text");
        verify(&own.public(), b"text", &signature).unwrap();
        assert!(matches!(verify(&own.public(), b"Text", &signature), Err(SignatureError::Wrong)));
        assert!(matches!(verify(&other.public(), b"text", &signature), Err(SignatureError::Wrong)));
        assert!(matches!(verify("key", b"text", &signature), Err(SignatureError::Key)));
        assert!(matches!(verify(&own.public(), b"text", "signature"), Err(SignatureError::Damaged)));
    }

    proptest! {
        #[test]
        fn any_text_is_a_signature_or_not(text: String, at in 0..300_usize, other in 32..127_u8) {
            let signer = Signer::new();
            prop_assert!(verify(&signer.public(), b"text", &text).is_err());
            // The comment in the first line is signed by nobody.
            let signature = signer.sign(b"text");
            let mut bytes = signature.clone().into_bytes();
            let at = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1 + at % 180;
            if at < bytes.len() && bytes[at] != b'\n' && bytes[at] != other {
                bytes[at] = other;
                prop_assert!(verify(&signer.public(), b"text", std::str::from_utf8(&bytes).unwrap()).is_err());
            }
        }
    }
}
