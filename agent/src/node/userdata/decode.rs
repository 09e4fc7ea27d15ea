//! Base64 and gzip, and what `write_files` calls them.

use std::io::Read as _;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use flate2::read::MultiGzDecoder;

/// A file that unpacks to more than this, in bytes, is refused.
const MAX_UNPACKED: usize = 16 << 20;

/// How the content of a file is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Base64,
    Gzip,
    GzipBase64,
}

impl Encoding {
    /// cloud-init's names, in any case.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name.trim().to_ascii_lowercase().as_str() {
            "" | "text/plain" => Self::Plain,
            "b64" | "base64" => Self::Base64,
            "gz" | "gzip" => Self::Gzip,
            "gz+b64" | "gz+base64" | "gzip+b64" | "gzip+base64" => Self::GzipBase64,
            _ => return None,
        })
    }
}

/// Padding may be absent: users cut it off, and what is meant stays clear.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Undoes base64; white space and line ends between the characters do not count.
pub(in crate::node) fn base64(text: &str) -> Result<Vec<u8>, String> {
    let compact: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    BASE64.decode(compact).map_err(|error| format!("not base64: {error}"))
}

/// Undoes `encoding`.
pub(super) fn decode(content: Vec<u8>, encoding: Encoding) -> Result<Vec<u8>, String> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| "not base64: not text".to_owned());
    match encoding {
        Encoding::Plain => Ok(content),
        Encoding::Base64 => base64(&text(content)?),
        Encoding::Gzip => gunzip(&content, MAX_UNPACKED),
        Encoding::GzipBase64 => gunzip(&base64(&text(content)?)?, MAX_UNPACKED),
    }
}

/// Undoes gzip, up to `limit` bytes.
pub(in crate::node) fn gunzip(bytes: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let read = MultiGzDecoder::new(bytes).take(limit as u64 + 1).read_to_end(&mut out);
    read.map_err(|error| format!("not gzip: {error}"))?;
    if out.len() > limit { Err(format!("unpacks to more than {limit} bytes")) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_bomb_is_refused() {
        let bomb = gzip(&vec![0; MAX_UNPACKED + 1]);
        assert!(decode(bomb, Encoding::Gzip).unwrap_err().contains("more than"));
    }

    #[test]
    fn base64_may_be_folded_and_unpadded() {
        assert_eq!(base64("aGVs\n bG8").unwrap(), b"hello");
        assert!(base64("a*").is_err());
    }

    proptest! {
        #[test]
        fn all_encodings_come_back(bytes: Vec<u8>) {
            let encoded = BASE64.encode(gzip(&bytes));
            prop_assert_eq!(decode(encoded.into_bytes(), Encoding::GzipBase64).unwrap(), bytes);
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes: Vec<u8>) {
            for encoding in [Encoding::Base64, Encoding::Gzip, Encoding::GzipBase64] {
                let _ = decode(bytes.clone(), encoding);
            }
        }
    }
}
