//! What the agent reports about itself: JSON files in `/run/steppe`, read by the console, by tools and by tests.

use serde::{Deserialize, Serialize};

/// Where a unit is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitState {
    /// Nobody asked for it yet.
    Waiting,
    /// Runs, has not said that it is ready.
    Starting,
    /// Runs and is ready.
    Ready,
    /// Was asked to stop and has not ended.
    Stopping,
    /// Ended as asked.
    Stopped,
    /// Ended by itself; will be started again after a pause.
    BackOff,
    /// Kept ending; started again at long intervals, and the node says so.
    Degraded,
}

/// One unit, as init knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitStatus {
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: UnitState,
    /// Its process, while it has one.
    pub pid: Option<i32>,
    /// How often it was started again since boot.
    pub restarts: u32,
    /// How it ended last: `exit 1`, `signal 9`.
    pub last_exit: Option<String>,
    /// What it said of itself (`STATUS=`).
    pub message: Option<String>,
}

/// One point of the boot's timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// What was reached: `root`, `network`, `plan`, `nomad`, `healthy`.
    pub phase: String,
    /// Milliseconds since the kernel started (`CLOCK_BOOTTIME`).
    pub at_ms: u64,
}

/// What init reports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitStatus {
    /// All units.
    pub units: Vec<UnitStatus>,
    /// The boot, phase by phase.
    pub timeline: Vec<Mark>,
}

/// What node reports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Role of the image.
    pub role: String,
    /// Host name, once known.
    pub hostname: Option<String>,
    /// Addresses with prefix, by interface.
    pub addresses: Vec<(String, Vec<String>)>,
    /// What is wrong with the network, by interface.
    #[serde(default)]
    pub network: Vec<String>,
    /// Where metadata came from: `nocloud (/dev/vdb)`.
    pub datasource: Option<String>,
    /// Instance id, once known.
    pub instance_id: Option<String>,
    /// Version of Nomad in the image.
    pub nomad_version: String,
    /// What the node waits for, when it waits.
    pub awaits: Option<String>,
    /// Verdicts worth a person's eye: what was refused, what was ignored.
    pub findings: Vec<String>,
    /// Whether Nomad is healthy in its role.
    pub healthy: bool,
    /// Address of the cluster's leader, as Nomad reports it (servers).
    pub leader: Option<String>,
    /// What becomes of the channel of updates that the node follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<String>,
    /// Milliseconds since the kernel started when the node first was healthy.
    pub ready_at_ms: Option<u64>,
}
