//! The channel file: which update nodes that follow it take. It is signed as updates are, in a file beside it.
//!
//! JSON: `{"channel": 1, "role": "server", "profile": "cloud", "architecture": "x86_64", "version": "1.2.3", "file": "1.2.3.update",
//! "size": 1234, "sha256": "..."}`.

use serde_json::{Value, json};

use super::{
    manifest::{hex, profile, unhex},
    record::{Outcome, Record},
    version::Version,
};
use crate::facts::Role;

/// What the name of the signature has behind that of the file.
pub const SIGNATURE: &str = ".minisig";
/// Longest channel file, and longest signature, in bytes.
pub const MOST: usize = 16 << 10;
/// The only format there is.
const FORMAT: u64 = 1;
/// Longest address of an update, in bytes.
const LONGEST_FILE: usize = 1024;
/// No update is larger, in bytes.
const LARGEST: u64 = 8 << 30;

/// What a channel offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// The role of the image.
    pub role: Role,
    /// The machines that it is for; without a word, `cloud`.
    pub profile: String,
    /// `x86_64`.
    pub architecture: String,
    /// The version of the image.
    pub version: Version,
    /// Where the update is: an address, or one below that of the channel file.
    pub file: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

/// Why a text is no channel file.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// Not JSON.
    #[error("failed to read the channel file: {0}")]
    Json(#[from] serde_json::Error),
    /// A later Steppe made it.
    #[error("the channel file has format {0}, this program knows {FORMAT}")]
    Format(u64),
    /// A key that is missing or has another kind of value.
    #[error("the channel file: {0} is missing or wrong")]
    Key(&'static str),
}

/// Why an update of a channel is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// For other machines.
    #[error("the channel is for {what} {theirs}, this node is {what} {own}: follow one for {own}")]
    Other {
        /// Role, profile or architecture.
        what: &'static str,
        /// The channel's.
        theirs: String,
        /// The node's.
        own: String,
    },
    /// A version never goes backwards by itself.
    #[error("the channel has version {theirs}, which is older than {own}: `update --older` on the console takes it")]
    Older {
        /// The channel's.
        theirs: Version,
        /// The running one.
        own: Version,
    },
    /// It was tried here.
    #[error("{version} is not tried again: it failed here ({why})")]
    Failed {
        /// The version.
        version: Version,
        /// How it ended.
        why: String,
    },
}

impl Channel {
    /// Reads the text.
    ///
    /// # Errors
    /// When something in it is missing or wrong. Unknown keys are passed over: a later Steppe may say more.
    pub fn parse(text: &[u8]) -> Result<Self, ChannelError> {
        let value: Value = serde_json::from_slice(text)?;
        match value.get("channel").and_then(Value::as_u64) {
            Some(FORMAT) => {}
            Some(other) => return Err(ChannelError::Format(other)),
            None => return Err(ChannelError::Key("channel")),
        }
        let text = |key: &'static str| value.get(key).and_then(Value::as_str).ok_or(ChannelError::Key(key));
        let file = text("file")?;
        let plain = !file.is_empty() && file.len() <= LONGEST_FILE && file.bytes().all(|byte| byte.is_ascii_graphic());
        if !plain || (file.contains("://") && !file.starts_with("http://")) {
            return Err(ChannelError::Key("file"));
        }
        let size = value.get("size").and_then(Value::as_u64).filter(|size| (1..=LARGEST).contains(size));
        Ok(Self {
            role: text("role")?.parse().map_err(|_| ChannelError::Key("role"))?,
            profile: profile(&value).ok_or(ChannelError::Key("profile"))?,
            architecture: text("architecture")?.to_owned(),
            version: text("version")?.parse().map_err(|_| ChannelError::Key("version"))?,
            file: file.to_owned(),
            size: size.ok_or(ChannelError::Key("size"))?,
            sha256: unhex(text("sha256")?).ok_or(ChannelError::Key("sha256"))?,
        })
    }

    /// The text, always the same for the same update. For the builder.
    #[must_use]
    pub fn to_json(&self) -> String {
        let value = json!({
            "channel": FORMAT,
            "role": self.role.as_str(),
            "profile": self.profile,
            "architecture": self.architecture,
            "version": self.version.to_string(),
            "file": self.file,
            "size": self.size,
            "sha256": hex(&self.sha256),
        });
        format!("{value:#}\n")
    }

    /// The address of the update, where `channel` is that of the channel file.
    #[must_use]
    pub fn url(&self, channel: &str) -> String {
        if self.file.starts_with("http://") {
            return self.file.clone();
        }
        let plain = channel.split(['?', '#']).next().unwrap_or(channel);
        let host = plain.find("://").map_or(0, |at| at + 3);
        let path = plain[host..].find('/').map_or(plain.len(), |slash| host + slash);
        // Up to the last slash, or up to the end of the host.
        let folder =
            if self.file.starts_with('/') { path } else { plain[path..].rfind('/').map_or(path, |at| path + at) };
        format!("{}/{}", &plain[..folder], self.file.trim_start_matches('/'))
    }

    /// Whether a node takes the update: one of this role, profile, architecture and version, whose last update ended as `last` says.
    ///
    /// # Errors
    /// When it never will. An update to the version that runs is no error, and not taken.
    pub fn is_news(
        &self,
        role: Role,
        profile: &str,
        architecture: &str,
        own: &Version,
        last: Option<&Record>,
    ) -> Result<bool, Refusal> {
        for (what, theirs, own) in [
            ("role", self.role.as_str(), role.as_str()),
            ("profile", &self.profile, profile),
            ("architecture", &self.architecture, architecture),
        ] {
            if theirs != own {
                return Err(Refusal::Other { what, theirs: theirs.into(), own: own.into() });
            }
        }
        if self.version < *own {
            return Err(Refusal::Older { theirs: self.version.clone(), own: own.clone() });
        }
        if self.version == *own {
            return Ok(false);
        }
        match last.filter(|last| last.outcome == Outcome::Failed && last.version == self.version) {
            Some(last) => Err(Refusal::Failed { version: self.version.clone(), why: last.summary() }),
            None => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::slots::Slot;

    fn channel() -> Channel {
        Channel {
            role: Role::Server,
            profile: "cloud".into(),
            architecture: "x86_64".into(),
            version: "1.2.3".parse().unwrap(),
            file: "server-1.2.3.update".into(),
            size: 4096,
            sha256: [7; 32],
        }
    }

    #[test]
    fn a_channel_is_read_back() {
        assert_eq!(Channel::parse(channel().to_json().as_bytes()).unwrap(), channel());
    }

    #[test]
    fn a_channel_without_a_profile_is_for_the_cloud() {
        let mut value: Value = serde_json::from_str(&channel().to_json()).unwrap();
        value.as_object_mut().unwrap().remove("profile");
        assert_eq!(Channel::parse(value.to_string().as_bytes()).unwrap(), channel());
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let whole: Value = serde_json::from_str(&channel().to_json()).unwrap();
        for key in ["channel", "role", "profile", "architecture", "version", "file", "size", "sha256"] {
            for other in [None, Some(json!(true)), Some(json!("line\nbreak"))] {
                let mut value = whole.clone();
                let object = value.as_object_mut().unwrap();
                match other {
                    Some(Value::String(_)) if key == "architecture" => continue,
                    Some(Value::String(_)) | None if key == "profile" => continue,
                    Some(other) => drop(object.insert(key.into(), other)),
                    None => drop(object.remove(key)),
                }
                let why = Channel::parse(value.to_string().as_bytes()).unwrap_err().to_string();
                assert!(why.contains(&format!("{key} is missing or wrong")), "{why}");
            }
        }
        for (key, bad) in
            [("file", json!("https://h/x")), ("file", json!("")), ("size", json!(0)), ("size", json!(u64::MAX))]
        {
            let mut value = whole.clone();
            value[key] = bad;
            assert!(Channel::parse(value.to_string().as_bytes()).is_err(), "{value}");
        }
        let mut later = whole;
        later["channel"] = json!(2);
        assert!(Channel::parse(later.to_string().as_bytes()).unwrap_err().to_string().contains("format 2"));
    }

    #[test]
    fn the_update_is_beside_the_channel_or_where_it_says() {
        for (base, file, want) in [
            ("http://h/a/server.json", "x.update", "http://h/a/x.update"),
            ("http://h/a/server.json?t=1/2", "b/x.update", "http://h/a/b/x.update"),
            ("http://h:80/a/server.json", "/x.update", "http://h:80/x.update"),
            ("http://h", "x.update", "http://h/x.update"),
            ("http://h/a.json", "http://other/x", "http://other/x"),
        ] {
            assert_eq!(Channel { file: file.into(), ..channel() }.url(base), want);
        }
    }

    #[test]
    fn only_what_is_newer_and_not_proven_bad_is_taken() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        let judge =
            |own: &str, last: Option<&Record>| channel().is_news(Role::Server, "cloud", "x86_64", &version(own), last);
        let failed =
            |v: &str| Record { outcome: Outcome::Failed, why: "no leader".into(), ..Record::new(version(v), Slot::B) };
        assert_eq!(judge("1.2", None), Ok(true));
        assert_eq!(judge("1.2.3", None), Ok(false));
        assert!(judge("1.3", None).unwrap_err().to_string().contains("1.2.3, which is older than 1.3"));
        assert_eq!(judge("1.2", Some(&failed("1.2.2"))), Ok(true));
        let why = judge("1.2", Some(&failed("1.2.3"))).unwrap_err().to_string();
        assert!(why.contains("not tried again") && why.contains("no leader"), "{why}");
        let other = |role, profile, architecture| {
            channel().is_news(role, profile, architecture, &version("1"), None).unwrap_err().to_string()
        };
        let why = other(Role::Client, "cloud", "x86_64");
        assert_eq!(why, "the channel is for role server, this node is role client: follow one for client");
        let why = other(Role::Server, "metal", "x86_64");
        assert_eq!(why, "the channel is for profile cloud, this node is profile metal: follow one for metal");
        assert!(other(Role::Server, "cloud", "aarch64").contains("architecture x86_64"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_channel_or_not(bytes: Vec<u8>, at in 0..400_usize, other: u8, base: String) {
            let _ = Channel::parse(&bytes);
            let mut text = channel().to_json().into_bytes();
            let at = at % text.len();
            text[at] = other;
            if let Ok(channel) = Channel::parse(&text) {
                prop_assert_eq!(&Channel::parse(channel.to_json().as_bytes()).unwrap(), &channel);
                let _ = channel.url(&base);
            }
        }
    }
}
