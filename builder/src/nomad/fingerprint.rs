//! Fingerprints of OpenPGP keys (RFC 9580, 5.5.4).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The fingerprint of a primary key: 40 upper-case hexadecimal digits, or 64 for keys of version 6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Reads the digits, in either case, with or without spaces between them.
    ///
    /// # Errors
    /// A text that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let digits: String = text.split_whitespace().collect();
        if matches!(digits.len(), 40 | 64) && digits.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Ok(Self(digits.to_ascii_uppercase()));
        }
        Err(format!("{text:?} is not the fingerprint of an OpenPGP key: write its 40 hexadecimal digits"))
    }

    /// Of a key that was read.
    pub(super) fn of(key: &impl pgp::types::KeyDetails) -> Self {
        Self(format!("{:X}", key.fingerprint()))
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last eight digits, which the vendor puts into the names of signatures.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[self.0.len() - 8..]
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn as_people_print_them() {
        let parsed = Fingerprint::parse("c874 011F 0AB4 0511 0D02  1055 3436 5D94 72D7 468F").unwrap();
        assert_eq!(parsed.as_str(), "C874011F0AB405110D02105534365D9472D7468F");
        assert_eq!(parsed.short(), "72D7468F");
        assert!(Fingerprint::parse("72D7468F").unwrap_err().contains("40 hexadecimal digits"));
    }

    proptest! {
        #[test]
        fn what_is_read_can_be_a_file_name(text in "\\PC{0,80}|[0-9a-f/. ]{38,66}") {
            if let Ok(read) = Fingerprint::parse(&text) {
                prop_assert!(read.as_str().bytes().all(|c| c.is_ascii_digit() || (b'A'..=b'F').contains(&c)));
            }
        }
    }
}
