//! MIME messages (RFC 2045, 2046), as much of them as user-data has: headers, parts, transfer encodings. Lenient where
//! the parser of cloud-init (Python's `email`) is lenient.

use std::borrow::Cow;

use crate::node::userdata::decode::base64;

/// A message or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::node::userdata) struct Entity<'a> {
    /// Names in lower case, and unfolded values.
    headers: Vec<(String, String)>,
    /// What follows the empty line.
    body: &'a [u8],
}

/// The parts of a multipart body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Multipart<'a> {
    /// In document order.
    pub(super) parts: Vec<&'a [u8]>,
    /// Whether the closing boundary is there.
    pub(super) closed: bool,
}

impl<'a> Entity<'a> {
    /// Splits headers from the body. A line that is no header ends the block, as in Python.
    #[must_use]
    pub(in crate::node::userdata) fn parse(bytes: &'a [u8]) -> Self {
        let mut headers: Vec<(String, String)> = Vec::new();
        let mut rest = bytes;
        let mut first = true;
        while let Some((line, after)) = next_line(rest) {
            let text = String::from_utf8_lossy(trim_line_end(line));
            if text.is_empty() {
                rest = after;
                break;
            }
            if text.starts_with([' ', '\t'])
                && let Some((_, value)) = headers.last_mut()
            {
                value.push(' ');
                value.push_str(text.trim());
            } else if let Some((name, value)) = text.split_once(':').filter(|(name, _)| is_name(name)) {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            } else if !(first && text.starts_with("From ")) {
                break;
            }
            first = false;
            rest = after;
        }
        Self { headers, body: rest }
    }

    /// The value of a header: the first, when it stands more than once. `name` is in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Type and subtype, in lower case; `text/plain` when there is none, or none that can be read.
    pub(super) fn content_type(&self) -> String {
        let value = self.header("content-type").unwrap_or_default();
        let essence = value.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let well_formed =
            essence.split_once('/').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty() && !b.contains('/'));
        if well_formed { essence } else { "text/plain".into() }
    }

    /// The name of the part's file: from the disposition, else from the type.
    pub(super) fn filename(&self) -> Option<String> {
        let from = |header: &str, name: &str| parameter(self.header(header)?, name);
        from("content-disposition", "filename").or_else(|| from("content-type", "name"))
    }

    /// The body as it was before it was sent.
    ///
    /// # Errors
    /// When it is not of the encoding that it says, or of one that nobody uses.
    pub(super) fn decoded(&self) -> Result<Cow<'a, [u8]>, String> {
        let encoding = self.header("content-transfer-encoding").unwrap_or("").to_ascii_lowercase();
        let body = match encoding.as_str() {
            "" | "7bit" | "8bit" | "binary" => Cow::Borrowed(self.body),
            "base64" => {
                let text = std::str::from_utf8(self.body).map_err(|_| "not base64: not text".to_owned())?;
                Cow::Owned(base64(text)?)
            }
            "quoted-printable" => Cow::Owned(quoted_printable(self.body)),
            other => {
                let name: String = other.chars().take(40).collect();
                return Err(format!(
                    "unknown Content-Transfer-Encoding {name:?}: use base64, quoted-printable, 7bit or 8bit"
                ));
            }
        };
        let charset = self.header("content-type").and_then(|value| parameter(value, "charset")).unwrap_or_default();
        let known = ["", "utf-8", "utf8", "us-ascii", "ascii"].contains(&charset.to_ascii_lowercase().as_str());
        if !known && self.content_type().starts_with("text/") && !body.is_ascii() {
            let name: String = charset.chars().take(40).collect();
            return Err(format!("text in the character set {name:?}: use UTF-8"));
        }
        Ok(body)
    }

    /// The parts between the boundaries.
    ///
    /// # Errors
    /// When the type names no boundary, or none stands in the body.
    pub(super) fn multipart(&self) -> Result<Multipart<'a>, String> {
        let boundary = self.header("content-type").and_then(|value| parameter(value, "boundary"));
        let boundary = boundary.filter(|boundary| !boundary.is_empty()).ok_or("a multipart type needs a boundary")?;
        let mut found = Multipart { parts: Vec::new(), closed: false };
        let mut start = None;
        let mut at = 0;
        while let Some((line, _)) = next_line(&self.body[at..]) {
            if let Some(end) = is_boundary(line, boundary.as_bytes()) {
                if let Some(start) = start {
                    // The line end in front of a boundary belongs to it.
                    found.parts.push(trim_line_end(&self.body[start..at.max(start)]));
                }
                start = Some(at + line.len());
                if end {
                    found.closed = true;
                    return Ok(found);
                }
            }
            at += line.len();
        }
        match start {
            Some(start) => found.parts.push(&self.body[start..]),
            None => return Err("no boundary of the type stands in the body: is the user-data whole?".into()),
        }
        Ok(found)
    }
}

/// `Some(true)` for the closing one.
fn is_boundary(line: &[u8], boundary: &[u8]) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?;
    let (rest, end) = rest.strip_prefix(b"--").map_or((rest, false), |rest| (rest, true));
    rest.trim_ascii().is_empty().then_some(end)
}

/// A line with its end, and what follows.
fn next_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    if bytes.is_empty() {
        return None;
    }
    let end = bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |at| at + 1);
    Some(bytes.split_at(end))
}

fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic())
}

/// A parameter of a header: `value; name=token; name="quoted \"string\""`.
fn parameter(value: &str, wanted: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim_matches([' ', '\t', ';']);
        let after = after.trim_start();
        let (found, end) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(found);
        }
        rest = end.split_once(';')?.1;
    }
}

/// A quoted string whose first quote is gone, and what follows the last one.
fn unquote(text: &str) -> (String, &str) {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (out, &text[at + 1..]),
            '\\' => out.extend(chars.next().map(|(_, c)| c)),
            c => out.push(c),
        }
    }
    (out, "")
}

/// Undoes quoted-printable (RFC 2045, 6.7). As in Python, an equals sign that begins nothing stays.
fn quoted_printable(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((line, after)) = next_line(rest) {
        rest = after;
        let text = trim_line_end(line);
        let end = &line[text.len()..];
        let text = if end.is_empty() { text } else { text.trim_ascii_end() };
        let (text, end) = text.strip_suffix(b"=").map_or((text, end), |text| (text, &[]));
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            let hex = |n: usize| text.get(at + n).and_then(|b| char::from(*b).to_digit(16));
            match (byte, hex(1), hex(2)) {
                (b'=', Some(high), Some(low)) => {
                    out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                    at += 3;
                }
                _ => {
                    out.push(byte);
                    at += 1;
                }
            }
        }
        out.extend_from_slice(end);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MESSAGE: &str = "Content-Type: multipart/mixed;\n boundary=\"a \\\"b\"\r\nMIME-Version: 1.0\n\npreamble\n--a \"b\n\
        Content-Type: text/cloud-config; charset=\"us-ascii\"\nContent-Disposition: attachment; filename=\"a;b.yaml\"\n\
        X-Merge-Type: list(append)\n\n#cloud-config\na: 1\n\n--a \"b  \r\n\nplain\n--a \"bc\n--a \"b--\nepilogue\n";

    #[test]
    fn a_message_falls_into_its_parts() {
        let message = Entity::parse(MESSAGE.as_bytes());
        assert_eq!(message.content_type(), "multipart/mixed");
        let found = message.multipart().unwrap();
        assert!(found.closed);
        let parts: Vec<Entity> = found.parts.iter().map(|part| Entity::parse(part)).collect();
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0].content_type(), "text/cloud-config");
        assert_eq!(parts[0].filename().as_deref(), Some("a;b.yaml"));
        assert_eq!(parts[0].header("x-merge-type"), Some("list(append)"));
        assert_eq!(&*parts[0].decoded().unwrap(), b"#cloud-config\na: 1\n");
        assert_eq!(
            (parts[1].content_type().as_str(), &*parts[1].decoded().unwrap()),
            ("text/plain", &b"plain\n--a \"bc"[..])
        );
    }

    #[test]
    fn a_message_that_was_cut_off_is_told() {
        let cut = &MESSAGE.as_bytes()[..MESSAGE.find("plain").unwrap() + 3];
        let message = Entity::parse(cut);
        let found = message.multipart().unwrap();
        assert_eq!((found.parts.len(), found.closed), (2, false));
        let error = Entity::parse(b"Content-Type: multipart/mixed; boundary=x\n\nbody").multipart().unwrap_err();
        assert!(error.contains("no boundary"), "{error}");
        let error = Entity::parse(b"Content-Type: multipart/mixed\n\n--x\n").multipart().unwrap_err();
        assert!(error.contains("needs a boundary"), "{error}");
    }

    #[test]
    fn transfer_encodings() {
        let body = |encoding: &str, body: &str| {
            let text = format!("Content-Transfer-Encoding: {encoding}\n\n{body}");
            Entity::parse(text.as_bytes()).decoded().map(Cow::into_owned)
        };
        assert_eq!(body("Base64", "aGVs\r\nbG8=\n").unwrap(), b"hello");
        assert_eq!(body("quoted-printable", "a=3Db=C3=A4 \r\nc=\nd = e=zz").unwrap(), "a=bä\r\ncd = e=zz".as_bytes());
        assert_eq!(body("8bit", "ä").unwrap(), "ä".as_bytes());
        assert!(body("base64", "?").unwrap_err().contains("not base64"));
        assert!(body("x-uuencode", "").unwrap_err().contains("x-uuencode"));
    }

    #[test]
    fn other_character_sets_are_refused_where_they_matter() {
        let of = |text: &[u8]| Entity::parse(text).decoded().map(drop);
        assert!(of(b"Content-Type: text/plain; charset=iso-8859-1\n\n\xe4").unwrap_err().contains("UTF-8"));
        assert!(of(b"Content-Type: text/plain; charset=iso-8859-1\n\na").is_ok());
        assert!(of(b"Content-Type: application/gzip; charset=x\n\n\xe4").is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message(bytes: Vec<u8>) {
            let message = Entity::parse(&bytes);
            let _ = (message.decoded(), message.multipart(), message.filename());
        }

        #[test]
        fn parts_come_back(parts in proptest::collection::vec("[a-z\n=]{0,30}", 1..5)) {
            let mut text = "Content-Type: multipart/mixed; boundary=BOUNDARY\n\n".to_owned();
            for part in &parts {
                text.push_str(&format!("--BOUNDARY\n\n{part}\n"));
            }
            text.push_str("--BOUNDARY--\n");
            let message = Entity::parse(text.as_bytes());
            let found = message.multipart().unwrap();
            let bodies: Vec<_> = found.parts.iter().map(|part| Entity::parse(part).decoded().unwrap().into_owned()).collect();
            prop_assert_eq!(bodies, parts.iter().map(|part| part.as_bytes().to_vec()).collect::<Vec<_>>());
        }

        #[test]
        fn quoted_printable_comes_back(bytes: Vec<u8>) {
            let encoded: String = bytes.iter().map(|byte| format!("={byte:02X}=\n")).collect();
            prop_assert_eq!(quoted_printable(encoded.as_bytes()), bytes);
        }
    }
}
