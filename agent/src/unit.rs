//! What init is asked to run.
//!
//! `node` writes one [`UnitSpec`], of Nomad, to [`crate::paths::UNITS_DIR`] and asks init, by a datagram
//! ([`crate::notify::Message`]), to start it; init takes no other program from there. Its own units (node, console and the jobs)
//! are made in code.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::confine::Capabilities;

/// A supervised process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitSpec {
    /// Short name: `nomad`. Also the name of its log.
    pub name: String,
    /// Program and arguments; no shell, no search in `PATH`.
    pub argv: Vec<String>,
    /// The whole environment. Nothing is inherited: Nomad's tasks see what Nomad sees.
    pub env: Vec<(String, String)>,
    /// User that the process runs as.
    #[serde(default)]
    pub uid: u32,
    /// Group that the process runs as.
    #[serde(default)]
    pub gid: u32,
    /// Whether it says `READY=1` on `NOTIFY_SOCKET`. Otherwise it is ready once it runs.
    #[serde(default)]
    pub notifies: bool,
    /// Whether it does one job and ends; otherwise it is started again when it ends by itself.
    #[serde(default)]
    pub once: bool,
    /// Signal that asks it to stop, by number; sent to the process only, never to its group.
    pub stop_signal: i32,
    /// Time it gets to stop before it is killed.
    #[serde(with = "millis")]
    pub stop_timeout: Duration,
    /// `oom_score_adj`.
    #[serde(default)]
    pub oom_score_adj: i32,
    /// Open files, soft and hard.
    #[serde(default)]
    pub nofile: Option<u64>,
    /// What it is confined to: these capabilities, no new rights, and no call that [`crate::confine`] refuses. `None`: to
    /// nothing. init decides, whatever a file says.
    #[serde(skip)]
    pub confined: Option<Capabilities>,
}

/// Durations in files are whole milliseconds.
pub mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes milliseconds.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }

    /// Reads milliseconds.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        u64::deserialize(d).map(Duration::from_millis)
    }
}
