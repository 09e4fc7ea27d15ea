//! What the servers agree on besides jobs: nodes, allocations, evaluations, deployments.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::job::spec::{Job, Port};

/// A client as the servers know it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Node {
    /// Identifier.
    #[serde(rename = "ID")]
    pub(crate) id: String,
    /// Proof of identity; never shown.
    #[serde(rename = "SecretID")]
    pub(crate) secret: String,
    /// Name.
    pub(crate) name: String,
    /// Datacenter.
    pub(crate) datacenter: String,
    /// Class.
    pub(crate) node_class: String,
    /// Pool.
    pub(crate) node_pool: String,
    /// Address of its API.
    #[serde(rename = "HTTPAddr")]
    pub(crate) http_addr: String,
    /// Fingerprinted attributes.
    pub(crate) attributes: BTreeMap<String, String>,
    /// Metadata.
    pub(crate) meta: BTreeMap<String, String>,
    /// Drivers by name.
    pub(crate) drivers: BTreeMap<String, Value>,
    /// `initializing`, `ready` or `down`.
    pub(crate) status: String,
    /// `eligible` or `ineligible`.
    pub(crate) scheduling_eligibility: String,
    /// Whether it is being drained.
    pub(crate) drain: bool,
    /// How it is being drained.
    pub(crate) drain_strategy: Option<Value>,
    /// The last drain.
    pub(crate) last_drain: Option<Value>,
    /// MHz that tasks may use.
    pub(crate) cpu: u64,
    /// MB that tasks may use.
    pub(crate) memory: u64,
    /// MB of disk.
    pub(crate) disk: u64,
    /// First and last dynamic port.
    pub(crate) ports: (u16, u16),
    /// Ports that no task gets.
    pub(crate) reserved_ports: Vec<u16>,
    /// Address that tasks get.
    pub(crate) address: String,
    /// Host volumes by name.
    pub(crate) host_volumes: BTreeMap<String, Value>,
    /// What happened to it.
    pub(crate) events: Vec<Value>,
    /// Unix seconds of the last change of status.
    pub(crate) status_updated_at: i64,
    /// Index of creation.
    pub(crate) create_index: u64,
    /// Index of the last change.
    pub(crate) modify_index: u64,
}

impl Node {
    /// Whether the scheduler may place something here.
    #[must_use]
    pub(crate) fn takes_work(&self) -> bool {
        self.status == "ready" && self.scheduling_eligibility == "eligible" && !self.drain
    }
}

/// An allocation: one copy of a group on one node.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Alloc {
    /// Identifier.
    #[serde(rename = "ID")]
    pub(crate) id: String,
    /// Evaluation that made or last changed it.
    #[serde(rename = "EvalID")]
    pub(crate) eval_id: String,
    /// `job.group[index]`
    pub(crate) name: String,
    /// Namespace.
    pub(crate) namespace: String,
    /// Node.
    #[serde(rename = "NodeID")]
    pub(crate) node_id: String,
    /// The node's name.
    pub(crate) node_name: String,
    /// Job.
    #[serde(rename = "JobID")]
    pub(crate) job_id: String,
    /// The job as it was placed.
    pub(crate) job: Job,
    /// Group.
    pub(crate) task_group: String,
    /// `run` or `stop`.
    pub(crate) desired_status: String,
    /// Why.
    pub(crate) desired_description: String,
    /// `pending`, `running`, `complete`, `failed` or `lost`.
    pub(crate) client_status: String,
    /// Why.
    pub(crate) client_description: String,
    /// States by task.
    pub(crate) task_states: BTreeMap<String, TaskState>,
    /// Deployment.
    #[serde(rename = "DeploymentID")]
    pub(crate) deployment_id: String,
    /// Health within the deployment.
    pub(crate) deployment_status: Option<Health>,
    /// The allocation that it replaces.
    pub(crate) previous_allocation: String,
    /// The allocation that replaces it.
    pub(crate) next_allocation: String,
    /// How often it has been replaced after a failure.
    pub(crate) reschedules: u64,
    /// Unix nanoseconds of its failure.
    pub(crate) failed_at: i64,
    /// Ports.
    pub(crate) ports: Vec<Port>,
    /// Address of the ports.
    pub(crate) address: String,
    /// Unix nanoseconds.
    pub(crate) create_time: i64,
    /// Unix nanoseconds.
    pub(crate) modify_time: i64,
    /// Index of creation.
    pub(crate) create_index: u64,
    /// Index of the last change.
    pub(crate) modify_index: u64,
    /// Index of the last change by a server, which is what its client waits for.
    pub(crate) alloc_modify_index: u64,
}

impl Alloc {
    /// Whether it has ended on its node.
    #[must_use]
    pub(crate) fn ended(&self) -> bool {
        matches!(self.client_status.as_str(), "complete" | "failed" | "lost")
    }

    /// Whether it holds resources, or will.
    #[must_use]
    pub(crate) fn live(&self) -> bool {
        self.desired_status == "run" && !self.ended()
    }

    /// Its number within the group.
    #[must_use]
    pub(crate) fn number(&self) -> usize {
        self.name.rsplit_once('[').and_then(|(_, rest)| rest.trim_end_matches(']').parse().ok()).unwrap_or(0)
    }
}

/// Health of an allocation in a deployment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Health {
    /// Whether; nothing until it is known.
    pub(crate) healthy: Option<bool>,
    /// RFC 3339.
    pub(crate) timestamp: String,
    /// Never, here.
    pub(crate) canary: bool,
    /// Index of the last change.
    pub(crate) modify_index: u64,
}

/// State of one task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct TaskState {
    /// `pending`, `running` or `dead`.
    pub(crate) state: String,
    /// Whether it failed.
    pub(crate) failed: bool,
    /// How often it was restarted.
    pub(crate) restarts: u64,
    /// RFC 3339, or nothing.
    pub(crate) last_restart: Option<String>,
    /// RFC 3339, or nothing.
    pub(crate) started_at: Option<String>,
    /// RFC 3339, or nothing.
    pub(crate) finished_at: Option<String>,
    /// The last ten events.
    pub(crate) events: Vec<TaskEvent>,
}

/// Something that happened to a task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct TaskEvent {
    /// Type.
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    /// Unix nanoseconds.
    pub(crate) time: i64,
    /// For people.
    pub(crate) display_message: String,
    /// Exit code.
    pub(crate) exit_code: i32,
    /// Signal.
    pub(crate) signal: i32,
}

/// A reason for the scheduler to look at a job.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Eval {
    /// Identifier.
    #[serde(rename = "ID")]
    pub(crate) id: String,
    /// Namespace.
    pub(crate) namespace: String,
    /// Priority.
    pub(crate) priority: i64,
    /// The job's type.
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    /// Reason.
    pub(crate) triggered_by: String,
    /// Job.
    #[serde(rename = "JobID")]
    pub(crate) job_id: String,
    /// Index of the job.
    pub(crate) job_modify_index: u64,
    /// Node.
    #[serde(rename = "NodeID")]
    pub(crate) node_id: String,
    /// Deployment.
    #[serde(rename = "DeploymentID")]
    pub(crate) deployment_id: String,
    /// `pending`, `blocked`, `complete` or `failed`.
    pub(crate) status: String,
    /// Why.
    pub(crate) status_description: String,
    /// Unix nanoseconds before which it is not looked at.
    pub(crate) wait_until: i64,
    /// The evaluation before this one.
    pub(crate) previous_eval: String,
    /// The evaluation that waits for room.
    pub(crate) blocked_eval: String,
    /// What could not be placed, by group.
    #[serde(rename = "FailedTGAllocs")]
    pub(crate) failed: BTreeMap<String, Metric>,
    /// What waits, by group.
    pub(crate) queued_allocations: BTreeMap<String, u64>,
    /// Unix nanoseconds.
    pub(crate) create_time: i64,
    /// Unix nanoseconds.
    pub(crate) modify_time: i64,
    /// Index of creation.
    pub(crate) create_index: u64,
    /// Index of the last change.
    pub(crate) modify_index: u64,
}

/// Why a group could not be placed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Metric {
    /// Nodes that were looked at.
    pub(crate) nodes_evaluated: u64,
    /// Nodes that did not qualify.
    pub(crate) nodes_filtered: u64,
    /// Nodes that were full.
    pub(crate) nodes_exhausted: u64,
    /// Nodes in the pool.
    pub(crate) nodes_in_pool: u64,
    /// Nodes by datacenter.
    pub(crate) nodes_available: BTreeMap<String, u64>,
    /// Filtered by which constraint.
    pub(crate) constraint_filtered: BTreeMap<String, u64>,
    /// Exhausted in what.
    pub(crate) dimension_exhausted: BTreeMap<String, u64>,
    /// Further copies that failed for the same reason.
    pub(crate) coalesced_failures: u64,
}

/// A variable: values that jobs and operators keep in the servers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Variable {
    /// Path.
    pub(crate) id: String,
    /// Values.
    pub(crate) items: BTreeMap<String, String>,
    /// Who alone may change it.
    pub(crate) lock: Option<Lock>,
    /// Unix nanoseconds.
    pub(crate) create_time: i64,
    /// Unix nanoseconds.
    pub(crate) modify_time: i64,
    /// Index of creation.
    pub(crate) create_index: u64,
    /// Index of the last change.
    pub(crate) modify_index: u64,
}

/// A lock on a variable.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Lock {
    /// What its holder proves itself by.
    pub(crate) id: String,
    /// How long it lives after a renewal, as it was said.
    pub(crate) ttl: String,
    /// How long nobody gets it after it was lost, as it was said.
    pub(crate) delay: String,
}

/// The roll-out of one version of a service.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Deployment {
    /// Identifier.
    #[serde(rename = "ID")]
    pub(crate) id: String,
    /// Namespace.
    pub(crate) namespace: String,
    /// Job.
    #[serde(rename = "JobID")]
    pub(crate) job_id: String,
    /// The job's version.
    pub(crate) job_version: u64,
    /// Index of the job.
    pub(crate) job_modify_index: u64,
    /// Index of the specification.
    pub(crate) job_spec_modify_index: u64,
    /// Index of the job's creation.
    pub(crate) job_create_index: u64,
    /// Progress by group.
    pub(crate) task_groups: BTreeMap<String, Progress>,
    /// `running`, `successful`, `failed` or `cancelled`.
    pub(crate) status: String,
    /// Why.
    pub(crate) status_description: String,
    /// Unix nanoseconds.
    pub(crate) create_time: i64,
    /// Index of creation.
    pub(crate) create_index: u64,
    /// Index of the last change.
    pub(crate) modify_index: u64,
}

impl Deployment {
    /// Whether it still goes on.
    #[must_use]
    pub(crate) fn active(&self) -> bool {
        self.status == "running"
    }
}

/// Progress of a group.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Progress {
    /// Wanted.
    pub(crate) desired_total: u64,
    /// Placed.
    pub(crate) placed_allocs: u64,
    /// Healthy.
    pub(crate) healthy_allocs: u64,
    /// Unhealthy.
    pub(crate) unhealthy_allocs: u64,
    /// Nanoseconds.
    pub(crate) progress_deadline: i64,
    /// RFC 3339.
    pub(crate) require_progress_by: String,
    /// Whether a failure goes back a version.
    pub(crate) auto_revert: bool,
    /// Canaries wanted.
    pub(crate) desired_canaries: u64,
}
