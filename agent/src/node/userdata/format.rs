//! What kind of user-data a payload is, by its first line or by the content type that somebody gave it.

/// Payloads larger than this, in bytes, are refused (the datasource's own cap is the same).
pub(super) const MAX_BYTES: usize = 4 << 20;

/// A kind of payload that this program reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Nothing but white space.
    Empty,
    /// `#cloud-config` and YAML below it.
    CloudConfig,
    /// `#cloud-config-archive` and a YAML list of parts below it.
    Archive,
    /// `#include` or `#include-once` and addresses.
    Include,
    /// `## template: jinja` and a `#cloud-config` to fill in.
    Template,
    /// A MIME message (RFC 2045), most often of several parts.
    Mime,
    /// RFC 1952.
    Gzip,
}

/// Why a payload is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A format that this program knows and does not read.
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
    /// A content type that no format of cloud-init has.
    #[error("unknown content type {0:?}: a part of text/cloud-config is what this image reads")]
    UnknownType(String),
}

const SCRIPT: &str = "there is no shell in this image; `builder convert` makes a #cloud-config of its files, and Nomad starts by \
                      itself";
const REWRITE: &str = "write a #cloud-config";
const HEADER: &str = "the first line must be exactly `#cloud-config`";

const A_SCRIPT: (&str, &str) = ("a script (`#!`)", SCRIPT);
const A_BOOTHOOK: (&str, &str) = ("`#cloud-boothook`", SCRIPT);
const A_HANDLER: (&str, &str) = ("`#part-handler`", SCRIPT);
const A_PATCH: (&str, &str) =
    ("`#cloud-config-jsonp`", "write what it would give into a #cloud-config, with `merge_how` where parts must join");

/// Known beginnings, compared without regard to case after leading white space.
const UNSUPPORTED: &[(&str, (&str, &str))] = &[
    ("#!", A_SCRIPT),
    ("#ps1", ("a PowerShell script (`#ps1`)", SCRIPT)),
    ("#cloud-boothook", A_BOOTHOOK),
    ("#part-handler", A_HANDLER),
    ("#upstart-job", ("`#upstart-job`", SCRIPT)),
    ("#cloud-config-jsonp", A_PATCH),
    ("# cloud-config", ("a header with a blank in it (`# cloud-config`)", HEADER)),
    ("#cloud-init", ("`#cloud-init`", HEADER)),
    ("#cloud-config", ("a header with something behind `#cloud-config`", HEADER)),
    ("#include", ("a header with something behind `#include`", "the first line must be `#include` or `#include-once`")),
    ("variant:", ("a Butane configuration", REWRITE)),
    ("ignition:", ("an Ignition configuration", REWRITE)),
];
/// The same, without any white space.
const UNSUPPORTED_COMPACT: &[(&str, (&str, &str))] = &[
    ("{\"ignition\"", ("an Ignition configuration", REWRITE)),
    ("##template:", ("a template with this header", "the first line must be exactly `## template: jinja`")),
];

/// What a content type says of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Declared {
    /// Nothing: the first line decides.
    Guess,
    /// A script, when the first line does not say otherwise: producers give this type to everything.
    Script,
    /// Exactly this.
    As(Format),
}

/// Content types of compressed parts (`user_data.py`).
const GZIP_TYPES: [&str; 8] = [
    "application/gzip",
    "application/gzip-compressed",
    "application/gzipped",
    "application/x-compress",
    "application/x-compressed",
    "application/x-gunzip",
    "application/x-gzip",
    "application/x-gzip-compressed",
];

impl Declared {
    /// Reads a content type, in lower case and without parameters.
    ///
    /// # Errors
    /// When the type says that the payload is of a kind that this program does not read.
    pub(super) fn parse(content_type: &str) -> Result<Self, FormatError> {
        let refuse = |(name, hint)| Err(FormatError::Unsupported { name, hint });
        match content_type {
            "text/plain" | "text/x-not-multipart" => Ok(Self::Guess),
            "text/x-shellscript" => Ok(Self::Script),
            "text/cloud-config" => Ok(Self::As(Format::CloudConfig)),
            "text/cloud-config-archive" => Ok(Self::As(Format::Archive)),
            "text/x-include-url" | "text/x-include-once-url" => Ok(Self::As(Format::Include)),
            "text/jinja2" => Ok(Self::As(Format::Template)),
            "text/x-shellscript-per-boot" | "text/x-shellscript-per-instance" | "text/x-shellscript-per-once" => {
                refuse(("a script (text/x-shellscript-per-...)", SCRIPT))
            }
            "text/cloud-boothook" => refuse(A_BOOTHOOK),
            "text/part-handler" => refuse(A_HANDLER),
            "text/cloud-config-jsonp" => refuse(A_PATCH),
            "text/upstart-job" => refuse(("an upstart job", SCRIPT)),
            name if name.starts_with("multipart/") => Ok(Self::As(Format::Mime)),
            name if GZIP_TYPES.contains(&name) => Ok(Self::As(Format::Gzip)),
            name => Err(FormatError::UnknownType(shorten(name.as_bytes()))),
        }
    }

    /// What the payload is.
    ///
    /// # Errors
    /// As [`Format::detect`].
    pub(super) fn format(self, payload: &[u8]) -> Result<Format, FormatError> {
        match self {
            Self::As(format) => Ok(format),
            Self::Guess => Format::detect(payload),
            Self::Script => Format::detect(payload).map_err(|error| match error {
                FormatError::Unknown(_) => FormatError::Unsupported { name: A_SCRIPT.0, hint: A_SCRIPT.1 },
                other => other,
            }),
        }
    }
}

impl Format {
    /// Looks at the beginning of a payload.
    ///
    /// # Errors
    /// When the payload is of a kind that this program does not read.
    pub fn detect(payload: &[u8]) -> Result<Self, FormatError> {
        if payload.starts_with(&[0x1f, 0x8b]) {
            return Ok(Self::Gzip);
        }
        let body = without_bom(payload).trim_ascii_start();
        if body.is_empty() {
            return Ok(Self::Empty);
        }
        let first = body.split(|b| *b == b'\n').next().unwrap_or_default();
        let first = String::from_utf8_lossy(first[..first.len().min(256)].trim_ascii_end()).to_ascii_lowercase();
        match first.as_str() {
            "#cloud-config" => return Ok(Self::CloudConfig),
            "#cloud-config-archive" => return Ok(Self::Archive),
            "## template: jinja" => return Ok(Self::Template),
            _ => {}
        }
        if matches!(first.split_ascii_whitespace().next(), Some("#include" | "#include-once")) {
            return Ok(Self::Include);
        }
        if is_mime(body) {
            return Ok(Self::Mime);
        }
        let compact: String =
            body.iter().take(256).filter(|b| !b.is_ascii_whitespace()).take(16).map(|b| char::from(*b)).collect();
        let compact = compact.to_ascii_lowercase();
        let named = UNSUPPORTED.iter().find(|(prefix, _)| first.starts_with(prefix));
        let named = named.or_else(|| UNSUPPORTED_COMPACT.iter().find(|(prefix, _)| compact.starts_with(prefix)));
        Err(match named {
            Some((_, (name, hint))) => FormatError::Unsupported { name, hint },
            None => FormatError::Unknown(shorten(body)),
        })
    }
}

/// A payload without the byte order mark that some editors put in front.
pub(super) fn without_bom(payload: &[u8]) -> &[u8] {
    payload.strip_prefix("\u{feff}".as_bytes()).unwrap_or(payload)
}

/// Whether a payload begins with a block of header lines that says what a MIME message says. cloud-init searches the
/// first 4 KiB for `mime-version:`, and takes any text that only mentions it for a message.
fn is_mime(body: &[u8]) -> bool {
    let mut mime = false;
    for (n, line) in body.split(|b| *b == b'\n').take(64).enumerate() {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            break;
        }
        if (n == 0 && line.starts_with(b"From ")) || (n > 0 && line.starts_with(b" ")) || line.starts_with(b"\t") {
            continue;
        }
        let Some(colon) = line.iter().position(|b| *b == b':') else { return false };
        let name = &line[..colon];
        if !name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-') {
            return false;
        }
        mime |= name.eq_ignore_ascii_case(b"mime-version") || name.eq_ignore_ascii_case(b"content-type");
    }
    mime
}

/// The first forty characters, for people; what is no text is escaped.
fn shorten(bytes: &[u8]) -> String {
    match std::str::from_utf8(&bytes[..bytes.len().min(200)]) {
        Ok(text) => text.chars().take(40).collect(),
        Err(error) if error.valid_up_to() >= 40 => {
            String::from_utf8_lossy(&bytes[..error.valid_up_to()]).chars().take(40).collect()
        }
        Err(_) => bytes[..bytes.len().min(40)].escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_header_must_be_the_whole_line() {
        for (text, format) in [
            (&b"#cloud-config\nhostname: a\n"[..], Format::CloudConfig),
            (b"\xef\xbb\xbf#Cloud-Config \r\na: 1", Format::CloudConfig),
            (b" \n\n", Format::Empty),
            (b"#cloud-config-archive\n- a", Format::Archive),
            (b"#include\nhttp://h/a", Format::Include),
            (b"#include-once http://h/a", Format::Include),
            (b"## template: jinja\n#cloud-config", Format::Template),
            (b"\x1f\x8b\x08", Format::Gzip),
        ] {
            assert_eq!(Format::detect(text), Ok(format), "{}", text.escape_ascii());
        }
        for text in ["hostname: a\n", "cloud-config\n", "# my file\n#cloud-config\n"] {
            let error = Format::detect(text.as_bytes()).unwrap_err();
            assert!(matches!(&error, FormatError::Unknown(head) if text.starts_with(head.as_str())), "{error}");
        }
    }

    #[test]
    fn known_formats_are_refused_by_name_with_the_way_out() {
        for (text, name, way_out) in [
            ("#!/bin/bash\necho", "script", "builder convert"),
            ("#ps1_sysnative\n", "PowerShell", "builder convert"),
            ("#cloud-boothook\n", "boothook", "builder convert"),
            ("#part-handler\n", "part-handler", "builder convert"),
            ("#cloud-config-jsonp\n[]", "jsonp", "merge_how"),
            ("{\n  \"ignition\": {}}", "Ignition", "#cloud-config"),
            ("variant: flatcar\n", "Butane", "#cloud-config"),
            ("# cloud-config\na: 1", "blank", "exactly `#cloud-config`"),
            ("#cloud-init\na: 1", "#cloud-init", "exactly `#cloud-config`"),
            ("#cloud-configfoo\n", "behind", "exactly `#cloud-config`"),
            ("##template:jinja\n#cloud-config", "template", "exactly `## template: jinja`"),
            ("## template: jinja2\n#cloud-config", "template", "exactly `## template: jinja`"),
        ] {
            let message = Format::detect(text.as_bytes()).unwrap_err().to_string();
            assert!(message.contains(name) && message.contains(way_out), "{message}");
        }
    }

    #[test]
    fn mime_is_told_by_its_header_block_alone() {
        for text in [
            "Content-Type: multipart/mixed; boundary=x\nMIME-Version: 1.0\n\n",
            "From nobody Fri Jan  1 00:00:00 2021\nmime-version: 1.0\n",
            "X-A: b\n c\r\nMime-Version: 1.0\r\n\r\n",
        ] {
            assert_eq!(Format::detect(text.as_bytes()), Ok(Format::Mime), "{text}");
        }
        for text in ["X: y\n\nMIME-Version: 1.0\n", "see mime-version: 1.0\n", "a\nContent-Type: text/plain\n"] {
            assert!(matches!(Format::detect(text.as_bytes()), Err(FormatError::Unknown(_))), "{text}");
        }
        assert_eq!(Format::detect(b"#cloud-config\n# mime-version: 1.0\n"), Ok(Format::CloudConfig));
    }

    #[test]
    fn content_types() {
        assert_eq!(Declared::parse("text/cloud-config"), Ok(Declared::As(Format::CloudConfig)));
        assert_eq!(Declared::parse("text/plain").unwrap().format(b"#cloud-config\n"), Ok(Format::CloudConfig));
        assert_eq!(Declared::parse("text/x-shellscript").unwrap().format(b"#cloud-config\n"), Ok(Format::CloudConfig));
        let scripts =
            [Declared::Script.format(b"echo"), Declared::parse("text/x-shellscript-per-boot").map(|_| Format::Empty)];
        for error in scripts.map(Result::unwrap_err) {
            assert!(error.to_string().contains("script"), "{error}");
        }
        assert!(Declared::parse("image/png").unwrap_err().to_string().contains("\"image/png\""));
    }

    #[test]
    fn at_most_forty_characters_are_shown() {
        let text = "ä".repeat(100);
        assert_eq!(Format::detect(text.as_bytes()), Err(FormatError::Unknown("ä".repeat(40))));
        assert_eq!(Format::detect(b"\xff\x00a"), Err(FormatError::Unknown("\\xff\\x00a".into())));
    }

    proptest! {
        #[test]
        fn any_bytes_are_told(bytes: Vec<u8>) {
            let _ = Format::detect(&bytes);
        }
    }
}
