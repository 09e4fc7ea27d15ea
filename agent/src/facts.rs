//! What an image says about itself: written by the builder, read by the agent.

use std::{fmt, fs, io, path::Path, str::FromStr};

use serde::{Deserialize, Serialize};

/// What a node made from the image promises to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Keeps cluster state, never runs workloads.
    Server,
    /// Runs workloads, never schedules.
    Client,
    /// Either or both; for one machine on a desk.
    Dev,
}

impl Role {
    /// The word in recipes, file names and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Dev => "dev",
        }
    }

    /// Whether the role allows `server { enabled = true }`.
    #[must_use]
    pub const fn allows_server(self) -> bool {
        matches!(self, Self::Server | Self::Dev)
    }

    /// Whether the role allows `client { enabled = true }`.
    #[must_use]
    pub const fn allows_client(self) -> bool {
        matches!(self, Self::Client | Self::Dev)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = FactsError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "server" => Ok(Self::Server),
            "client" => Ok(Self::Client),
            "dev" => Ok(Self::Dev),
            other => Err(FactsError::UnknownRole(other.to_owned())),
        }
    }
}

/// Where the Nomad in an image comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NomadSource {
    /// A file that the user named.
    Path,
    /// The official release, checksum and signature checked.
    Release,
    /// Not Nomad: the project's stand-in, for tests.
    StandIn,
}

/// The Nomad in an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NomadFacts {
    /// `2.0.5`, without the leading `v`.
    pub version: String,
    /// Where it comes from.
    pub source: NomadSource,
    /// SHA-256 of the program in the image, in hexadecimal.
    pub sha256: String,
}

/// The profile of an image or update from before there were others.
pub const FIRST_PROFILE: &str = "cloud";

fn cloud() -> String {
    FIRST_PROFILE.to_owned()
}

/// What an image says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageFacts {
    /// Version of this file's format.
    pub format: u32,
    /// Name of the recipe.
    pub name: String,
    /// Version of Steppe that built it.
    pub version: String,
    /// Version of the image itself, when its recipe names one: numbers with dots between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_version: Option<String>,
    /// The image's promise.
    pub role: Role,
    /// The machines that it is for: `cloud` or `metal`.
    #[serde(default = "cloud")]
    pub profile: String,
    /// `x86_64`.
    pub architecture: String,
    /// Kernel release, as `uname -r` prints it.
    pub kernel: String,
    /// The Nomad inside.
    pub nomad: NomadFacts,
    /// Terminals (`ttyS0`) on which the interactive console runs without being asked for on the command line.
    #[serde(default)]
    pub consoles: Vec<String>,
    /// The platform it was built for, when it was built for one only: nothing else is looked for then.
    #[serde(default)]
    pub platform: Option<String>,
    /// Seconds since 1970: the clock is never set to before this.
    pub epoch: u64,
}

impl ImageFacts {
    /// The format that this program writes and reads.
    pub const FORMAT: u32 = 1;

    /// The version by which updates are ordered: the image's own, else that of the Steppe that built it.
    #[must_use]
    pub fn image_version(&self) -> &str {
        self.image_version.as_deref().unwrap_or(&self.version)
    }

    /// Parses the JSON text.
    ///
    /// # Errors
    /// When the text is not the format this program knows.
    pub fn parse(text: &str) -> Result<Self, FactsError> {
        let facts: Self = serde_json::from_str(text).map_err(FactsError::Parse)?;
        if facts.format == Self::FORMAT { Ok(facts) } else { Err(FactsError::Format(facts.format)) }
    }

    /// Reads the file [`crate::paths::IMAGE_FACTS`] below `root`.
    ///
    /// # Errors
    /// When the file cannot be read or parsed.
    pub fn read(root: &Path) -> Result<Self, FactsError> {
        let path = root.join(crate::paths::IMAGE_FACTS.trim_start_matches('/'));
        let text = fs::read_to_string(&path)
            .map_err(|source| FactsError::Read { path: path.display().to_string(), source })?;
        Self::parse(&text)
    }
}

/// Why the facts of an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The file cannot be read.
    #[error("failed to read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The text is not what this program knows.
    #[error("failed to parse the image facts: {0}")]
    Parse(serde_json::Error),
    /// A later version of the format.
    #[error("image facts have format {0}, this program knows {known}", known = ImageFacts::FORMAT)]
    Format(u32),
    /// Not a role.
    #[error("unknown role {0:?}: use server, client or dev")]
    UnknownRole(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> ImageFacts {
        ImageFacts {
            format: ImageFacts::FORMAT,
            name: "server".into(),
            version: "0.1.0".into(),
            image_version: None,
            role: Role::Server,
            profile: "metal".into(),
            architecture: "x86_64".into(),
            kernel: "6.12.1-cloud".into(),
            nomad: NomadFacts { version: "2.0.5".into(), source: NomadSource::StandIn, sha256: "00".into() },
            consoles: vec![],
            platform: None,
            epoch: 1,
        }
    }

    #[test]
    fn round_trip() {
        let text = serde_json::to_string(&facts()).unwrap();
        assert!(text.contains("\"stand-in\""));
        assert_eq!(ImageFacts::parse(&text).unwrap(), facts());
        let older = text.replace("\"profile\":\"metal\",", "");
        assert_eq!(ImageFacts::parse(&older).unwrap().profile, "cloud");
    }

    #[test]
    fn another_format_is_named() {
        let text = serde_json::to_string(&ImageFacts { format: 9, ..facts() }).unwrap();
        assert!(ImageFacts::parse(&text).unwrap_err().to_string().contains("format 9"));
    }
}
