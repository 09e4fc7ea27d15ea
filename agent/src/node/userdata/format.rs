//! What kind of user-data a payload is, by its first line.

/// Payloads larger than this, in bytes, are refused (the datasource's own cap is the same).
pub(super) const MAX_BYTES: usize = 4 << 20;

/// A payload that this program reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format<'a> {
    /// Nothing but white space.
    Empty,
    /// `#cloud-config` and YAML below it; the text is whole, so that lines count as in the file.
    CloudConfig(&'a str),
}

/// Why a payload is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A format of cloud-init that this program does not read.
    #[error("{name} is not supported: {hint}")]
    Unsupported {
        /// What it is.
        name: &'static str,
        /// The way out.
        hint: &'static str,
    },
    /// Not a format of cloud-init.
    #[error("the first line must be `#cloud-config`; this begins with {0:?}")]
    Unknown(String),
    /// Not text.
    #[error("not UTF-8 text: byte {0} does not fit")]
    NotText(usize),
    /// Too long.
    #[error("{0} bytes are more than the {MAX_BYTES} that are read")]
    TooLong(usize),
}

const SCRIPT: &str =
    "there is no shell in this image; put files into `write_files` of a #cloud-config, Nomad starts by itself";
const REWRITE: &str = "write one #cloud-config file";

/// Known beginnings, compared without regard to case after leading white space.
const UNSUPPORTED: &[(&str, &str, &str)] = &[
    ("#!", "a script (`#!`)", SCRIPT),
    ("#ps1", "a PowerShell script", SCRIPT),
    ("#cloud-boothook", "`#cloud-boothook`", SCRIPT),
    ("#part-handler", "`#part-handler`", SCRIPT),
    ("#include", "`#include`", REWRITE),
    ("## template: jinja", "a jinja template", REWRITE),
    ("#cloud-config-archive", "`#cloud-config-archive`", REWRITE),
    ("#cloud-config-jsonp", "`#cloud-config-jsonp`", REWRITE),
    ("content-type:", "a MIME archive", "pass the #cloud-config part alone (Terraform: without `cloudinit_config`)"),
    ("mime-version:", "a MIME archive", "pass the #cloud-config part alone (Terraform: without `cloudinit_config`)"),
    ("from ", "a MIME archive", "pass the #cloud-config part alone"),
    ("{\"ignition\"", "an Ignition configuration", REWRITE),
    ("ignition:", "a Butane configuration", REWRITE),
];

impl<'a> Format<'a> {
    /// Looks at a payload.
    ///
    /// # Errors
    /// When the payload is of a kind that this program does not read.
    pub fn detect(payload: &'a [u8]) -> Result<Self, FormatError> {
        if payload.len() > MAX_BYTES {
            return Err(FormatError::TooLong(payload.len()));
        }
        if payload.starts_with(&[0x1f, 0x8b]) {
            return Err(FormatError::Unsupported { name: "gzip", hint: "pass the user-data uncompressed" });
        }
        let text = std::str::from_utf8(payload).map_err(|e| FormatError::NotText(e.valid_up_to()))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let body = text.trim_start();
        if body.is_empty() {
            return Ok(Self::Empty);
        }
        let first = body.lines().next().unwrap_or("").trim_end();
        if first.eq_ignore_ascii_case("#cloud-config") {
            return Ok(Self::CloudConfig(text));
        }
        let lower = first.to_ascii_lowercase();
        let compact: String = body.chars().filter(|c| !c.is_whitespace()).take(16).collect();
        let hit = UNSUPPORTED.iter().find(|(prefix, ..)| lower.starts_with(prefix) || compact.starts_with(prefix));
        if let Some((_, name, hint)) = hit {
            return Err(FormatError::Unsupported { name, hint });
        }
        Err(FormatError::Unknown(body.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_header_must_be_the_whole_line() {
        assert!(matches!(Format::detect(b"#cloud-config\nhostname: a\n"), Ok(Format::CloudConfig(_))));
        assert!(matches!(Format::detect(b"\xef\xbb\xbf#Cloud-Config \r\na: 1"), Ok(Format::CloudConfig(_))));
        assert_eq!(Format::detect(b" \n\n"), Ok(Format::Empty));
        for text in ["# cloud-config\na: 1", "#cloud-configfoo\n", "hostname: a\n"] {
            let error = Format::detect(text.as_bytes()).unwrap_err();
            assert!(matches!(&error, FormatError::Unknown(head) if text.starts_with(head.as_str())), "{error}");
        }
    }

    #[test]
    fn known_formats_are_refused_by_name() {
        for (text, name) in [
            (&b"#!/bin/bash\necho"[..], "script"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"Content-Type: multipart/mixed; boundary=x\nMIME-Version: 1.0\n", "MIME"),
            (b"{\n  \"ignition\": {}}", "Ignition"),
            (b"#cloud-config-archive\n- a", "archive"),
        ] {
            let message = Format::detect(text).unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
        }
    }

    #[test]
    fn at_most_forty_characters_are_shown() {
        let text = "ä".repeat(100);
        assert_eq!(Format::detect(text.as_bytes()), Err(FormatError::Unknown("ä".repeat(40))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_told(bytes: Vec<u8>) {
            let _ = Format::detect(&bytes);
        }
    }
}
