//! `update.json`: what an update is, and the sizes and hashes of its parts. It is what the signature signs.

use serde_json::{Value, json};

use super::version::Version;
use crate::facts::{FIRST_PROFILE, Role};

/// The members behind `update.json` and its signature, in their order.
pub const PARTS: [&str; 5] = ["uki.efi", "vmlinuz", "initrd", "root.squashfs", "root.verity"];
/// The first member.
pub const MANIFEST: &str = "update.json";
/// The second member: the detached signature of the first one.
pub const SIGNATURE: &str = "update.json.minisig";
/// Longest text of one of these two, in bytes.
pub const MOST: u64 = 64 << 10;
/// The only format there is.
const FORMAT: u64 = 1;
/// The longest command line that a kernel takes on x86, in bytes (`COMMAND_LINE_SIZE` without its end); it cuts off the rest.
pub const LONGEST_CMDLINE: usize = 2047;

/// A part of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

/// What an update is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The role of the image.
    pub role: Role,
    /// The machines that it is for. An update without a word of it is from before there was another than `cloud`.
    pub profile: String,
    /// `x86_64`.
    pub architecture: String,
    /// The version of the image.
    pub version: Version,
    /// The root hash of dm-verity.
    pub root_hash: [u8; 32],
    /// The kernel's command line, for a boot loader that does not find it in the UKI.
    pub cmdline: String,
    /// One for each of [`PARTS`].
    pub parts: [Part; PARTS.len()],
}

/// Why a text is no `update.json`.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON.
    #[error("failed to read {MANIFEST}: {0}")]
    Json(#[from] serde_json::Error),
    /// A later Steppe made it.
    #[error("{MANIFEST} has format {0}, this program knows {FORMAT}: update to a version between the two first")]
    Format(u64),
    /// A key that is missing or has another kind of value.
    #[error("{MANIFEST}: {0} is missing or wrong")]
    Key(&'static str),
}

impl Manifest {
    /// Reads the text.
    ///
    /// # Errors
    /// When something in it is missing or wrong. Unknown keys are passed over: a later Steppe may say more.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        let value: Value = serde_json::from_slice(text)?;
        match value.get("format").and_then(Value::as_u64) {
            Some(FORMAT) => {}
            Some(other) => return Err(ManifestError::Format(other)),
            None => return Err(ManifestError::Key("format")),
        }
        let text = |key: &'static str| value.get(key).and_then(Value::as_str).ok_or(ManifestError::Key(key));
        let part = |name: &'static str| {
            let part = value.get("parts").and_then(|parts| parts.get(name));
            let size = part.and_then(|part| part.get("size")).and_then(Value::as_u64).filter(|size| *size > 0);
            let hash = part.and_then(|part| part.get("sha256")).and_then(Value::as_str).and_then(unhex);
            size.zip(hash).map(|(size, sha256)| Part { size, sha256 }).ok_or(ManifestError::Key(name))
        };
        let cmdline = text("cmdline")?;
        if cmdline.len() > LONGEST_CMDLINE || cmdline.contains(|c: char| c.is_control()) {
            return Err(ManifestError::Key("cmdline"));
        }
        Ok(Self {
            role: text("role")?.parse().map_err(|_| ManifestError::Key("role"))?,
            profile: profile(&value).ok_or(ManifestError::Key("profile"))?,
            architecture: text("architecture")?.to_owned(),
            version: text("version")?.parse().map_err(|_| ManifestError::Key("version"))?,
            root_hash: unhex(text("root_hash")?).ok_or(ManifestError::Key("root_hash"))?,
            cmdline: cmdline.to_owned(),
            parts: [part(PARTS[0])?, part(PARTS[1])?, part(PARTS[2])?, part(PARTS[3])?, part(PARTS[4])?],
        })
    }

    /// The text, always the same for the same update. For the builder.
    #[must_use]
    pub fn to_json(&self) -> String {
        let parts: serde_json::Map<String, Value> = PARTS
            .into_iter()
            .zip(&self.parts)
            .map(|(name, part)| (name.to_owned(), json!({ "size": part.size, "sha256": hex(&part.sha256) })))
            .collect();
        let value = json!({
            "format": FORMAT,
            "role": self.role.as_str(),
            "profile": self.profile,
            "architecture": self.architecture,
            "version": self.version.to_string(),
            "root_hash": hex(&self.root_hash),
            "cmdline": self.cmdline,
            "parts": parts,
        });
        format!("{value:#}\n")
    }
}

/// The profile that an update or channel says; nothing when what it says is none.
pub(super) fn profile(value: &Value) -> Option<String> {
    value.get("profile").map_or(Some(FIRST_PROFILE), Value::as_str).map(str::to_owned)
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The bytes of 64 hexadecimal digits.
#[must_use]
pub fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn manifest() -> Manifest {
        let part = |size| Part { size, sha256: [7; 32] };
        let mut root_hash = [0; 32];
        for (at, byte) in root_hash.iter_mut().enumerate() {
            *byte = u8::try_from(at).unwrap();
        }
        Manifest {
            role: Role::Server,
            profile: "cloud".into(),
            architecture: "x86_64".into(),
            version: "1.2.3".parse().unwrap(),
            root_hash,
            cmdline: "console=ttyS0 roothash=00".into(),
            parts: [part(5000), part(1), part(700), part(4096), part(8192)],
        }
    }

    #[test]
    fn a_manifest_is_read_back() {
        let text = manifest().to_json();
        assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), manifest());
    }

    #[test]
    fn an_update_without_a_profile_is_for_the_cloud() {
        let metal = Manifest { profile: "metal".into(), ..manifest() };
        assert_eq!(Manifest::parse(metal.to_json().as_bytes()).unwrap(), metal);
        let mut value: Value = serde_json::from_str(&metal.to_json()).unwrap();
        value.as_object_mut().unwrap().remove("profile");
        assert_eq!(Manifest::parse(value.to_string().as_bytes()).unwrap(), manifest());
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let whole: Value = serde_json::from_str(&manifest().to_json()).unwrap();
        for key in ["format", "role", "profile", "architecture", "version", "root_hash", "cmdline"] {
            for other in [None, Some(json!(true)), Some(json!("line\nbreak"))] {
                let mut value = whole.clone();
                let object = value.as_object_mut().unwrap();
                match other {
                    Some(_) if key == "architecture" => continue,
                    Some(Value::String(_)) | None if key == "profile" => continue,
                    Some(other) => drop(object.insert(key.into(), other)),
                    None => drop(object.remove(key)),
                }
                let why = Manifest::parse(value.to_string().as_bytes()).unwrap_err().to_string();
                assert!(why.contains(&format!("{key} is missing or wrong")), "{why}");
            }
        }
        for name in PARTS {
            let mut value = whole.clone();
            value["parts"][name]["size"] = json!(0);
            let why = Manifest::parse(value.to_string().as_bytes()).unwrap_err().to_string();
            assert!(why.contains(name), "{why}");
        }
        let mut later = whole;
        later["format"] = json!(2);
        assert!(Manifest::parse(later.to_string().as_bytes()).unwrap_err().to_string().contains("format 2"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_manifest_or_not(bytes: Vec<u8>, at in 0..600_usize, other: u8) {
            let _ = Manifest::parse(&bytes);
            let mut text = manifest().to_json().into_bytes();
            let at = at % text.len();
            text[at] = other;
            let _ = Manifest::parse(&text);
        }

        #[test]
        fn digits_are_read_back(bytes: [u8; 32]) {
            prop_assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        }
    }
}
