//! A job as the API carries it: the part of the specification that the stand-in carries out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A job.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Job {
    /// Identifier.
    #[serde(rename = "ID")]
    pub(crate) id: String,
    /// Name.
    pub(crate) name: String,
    /// Region.
    pub(crate) region: String,
    /// Namespace.
    pub(crate) namespace: String,
    /// `service`, `batch` or `system`.
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    /// 1 to 100.
    pub(crate) priority: i64,
    /// Where it may run; `*` for anywhere.
    pub(crate) datacenters: Vec<String>,
    /// Pool of nodes.
    pub(crate) node_pool: String,
    /// Constraints on nodes.
    #[serde(deserialize_with = "nullable")]
    pub(crate) constraints: Vec<Constraint>,
    /// Groups.
    #[serde(deserialize_with = "nullable")]
    pub(crate) task_groups: Vec<TaskGroup>,
    /// Update strategy of groups that have none.
    pub(crate) update: Option<Update>,
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub(crate) meta: BTreeMap<String, String>,
    /// Whether it has been stopped.
    pub(crate) stop: bool,
    /// `pending`, `running` or `dead`.
    pub(crate) status: String,
    /// Counts the changes of the specification.
    pub(crate) version: u64,
    /// Whether a deployment of this version was successful.
    pub(crate) stable: bool,
    /// Nanoseconds.
    pub(crate) submit_time: i64,
    /// Index of creation.
    pub(crate) create_index: u64,
    /// Index of the last change.
    pub(crate) modify_index: u64,
    /// Index of the last change of the specification.
    pub(crate) job_modify_index: u64,
}

/// A group: what is placed together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct TaskGroup {
    /// Name.
    pub(crate) name: String,
    /// How many.
    pub(crate) count: Option<i64>,
    /// Constraints.
    #[serde(deserialize_with = "nullable")]
    pub(crate) constraints: Vec<Constraint>,
    /// Tasks.
    #[serde(deserialize_with = "nullable")]
    pub(crate) tasks: Vec<Task>,
    /// What to do when a task ends.
    pub(crate) restart_policy: Option<Restart>,
    /// What to do when an allocation failed.
    pub(crate) reschedule_policy: Option<Reschedule>,
    /// Update strategy.
    pub(crate) update: Option<Update>,
    /// Ports.
    #[serde(deserialize_with = "nullable")]
    pub(crate) networks: Vec<Network>,
    /// Disk.
    pub(crate) ephemeral_disk: Option<Disk>,
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub(crate) meta: BTreeMap<String, String>,
}

/// A task: one process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Task {
    /// Name.
    pub(crate) name: String,
    /// Driver.
    pub(crate) driver: String,
    /// User to run as.
    pub(crate) user: String,
    /// The driver's configuration.
    #[serde(deserialize_with = "nullable")]
    pub(crate) config: Map<String, Value>,
    /// Environment.
    #[serde(deserialize_with = "nullable")]
    pub(crate) env: BTreeMap<String, String>,
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub(crate) meta: BTreeMap<String, String>,
    /// Constraints.
    #[serde(deserialize_with = "nullable")]
    pub(crate) constraints: Vec<Constraint>,
    /// What it needs.
    pub(crate) resources: Option<Resources>,
    /// What to fetch before.
    #[serde(deserialize_with = "nullable")]
    pub(crate) artifacts: Vec<Artifact>,
    /// Nanoseconds between signal and kill.
    pub(crate) kill_timeout: Option<i64>,
    /// First signal of a stop.
    pub(crate) kill_signal: String,
    /// Restart policy of its own.
    pub(crate) restart_policy: Option<Restart>,
    /// Whether the group ends with it.
    pub(crate) leader: bool,
}

/// A condition on a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Constraint {
    /// Left side, such as `${attr.kernel.name}`.
    #[serde(rename = "LTarget")]
    pub(crate) left: String,
    /// Right side.
    #[serde(rename = "RTarget")]
    pub(crate) right: String,
    /// Operator.
    #[serde(rename = "Operand")]
    pub(crate) operand: String,
}

/// Resources of a task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Resources {
    /// MHz.
    #[serde(rename = "CPU")]
    pub(crate) cpu: Option<u64>,
    /// MB.
    #[serde(rename = "MemoryMB")]
    pub(crate) memory: Option<u64>,
}

/// Where to fetch something from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Artifact {
    /// URL.
    #[serde(rename = "GetterSource")]
    pub(crate) source: String,
    /// Where to put it, relative to the task's directory.
    #[serde(rename = "RelativeDest")]
    pub(crate) destination: String,
    /// `any`, `file` or `dir`.
    #[serde(rename = "GetterMode")]
    pub(crate) mode: String,
    /// Options, such as `checksum` and `archive`.
    #[serde(rename = "GetterOptions", deserialize_with = "nullable")]
    pub(crate) options: BTreeMap<String, String>,
}

/// When to restart a task. Times are nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Restart {
    /// How often within the interval.
    pub(crate) attempts: Option<u64>,
    /// The interval.
    pub(crate) interval: Option<i64>,
    /// Pause before a restart.
    pub(crate) delay: Option<i64>,
    /// `fail` or `delay`.
    pub(crate) mode: Option<String>,
}

/// When to replace a failed allocation. Times are nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Reschedule {
    /// How often within the interval.
    pub(crate) attempts: Option<u64>,
    /// The interval.
    pub(crate) interval: Option<i64>,
    /// Pause before a replacement.
    pub(crate) delay: Option<i64>,
    /// How the pause grows.
    pub(crate) delay_function: Option<String>,
    /// Longest pause.
    pub(crate) max_delay: Option<i64>,
    /// Whether `attempts` does not count.
    pub(crate) unlimited: Option<bool>,
}

/// How a new version replaces an old one. Times are nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Update {
    /// How many at once.
    pub(crate) max_parallel: Option<i64>,
    /// How long an allocation must run to be healthy.
    pub(crate) min_healthy_time: Option<i64>,
    /// Until when it must be healthy.
    pub(crate) healthy_deadline: Option<i64>,
    /// Until when the next one must be healthy.
    pub(crate) progress_deadline: Option<i64>,
    /// Whether a failed deployment goes back to the last stable version.
    pub(crate) auto_revert: Option<bool>,
    /// `checks`, `task_states` or `manual`.
    pub(crate) health_check: Option<String>,
}

/// Ports of a group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Network {
    /// Only `host` or nothing.
    pub(crate) mode: String,
    /// Ports that the node chooses.
    #[serde(deserialize_with = "nullable")]
    pub(crate) dynamic_ports: Vec<Port>,
    /// Ports that the job chooses.
    #[serde(deserialize_with = "nullable")]
    pub(crate) reserved_ports: Vec<Port>,
}

/// One port.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Port {
    /// Label.
    pub(crate) label: String,
    /// Number; 0 until it is placed.
    pub(crate) value: u16,
    /// Port inside, which is the same here.
    pub(crate) to: i64,
    /// Network of the node.
    pub(crate) host_network: String,
}

/// Disk of a group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Disk {
    /// MB.
    #[serde(rename = "SizeMB")]
    pub(crate) size: Option<u64>,
    /// Whether its content goes along.
    #[serde(rename = "Migrate")]
    pub(crate) migrate: Option<bool>,
    /// Whether it stays on its node.
    #[serde(rename = "Sticky")]
    pub(crate) sticky: Option<bool>,
}

/// `null` is what the API writes for "nothing".
fn nullable<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl TaskGroup {
    /// How many are wanted.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        usize::try_from(self.count.unwrap_or(1)).unwrap_or(0)
    }

    /// MHz of all tasks.
    #[must_use]
    pub(crate) fn cpu(&self) -> u64 {
        self.tasks.iter().map(|task| task.resources.as_ref().and_then(|need| need.cpu).unwrap_or(100)).sum()
    }

    /// MB of all tasks.
    #[must_use]
    pub(crate) fn memory(&self) -> u64 {
        self.tasks.iter().map(|task| task.resources.as_ref().and_then(|need| need.memory).unwrap_or(300)).sum()
    }

    /// Whether running allocations can stay as they are when `self` becomes `other`.
    #[must_use]
    pub(crate) fn same_tasks(&self, other: &Self) -> bool {
        self.tasks == other.tasks
            && self.networks == other.networks
            && self.meta == other.meta
            && self.ephemeral_disk == other.ephemeral_disk
    }
}

const SECOND: i64 = 1_000_000_000;

impl Job {
    /// Fills in the defaults.
    pub(crate) fn canonicalize(&mut self) {
        let default = |field: &mut String, value: &str| {
            if field.is_empty() {
                value.clone_into(field);
            }
        };
        if self.name.is_empty() {
            self.name = self.id.clone();
        }
        default(&mut self.region, "global");
        default(&mut self.namespace, "default");
        default(&mut self.kind, "service");
        default(&mut self.node_pool, "default");
        if self.datacenters.is_empty() {
            self.datacenters = vec!["*".into()];
        }
        if self.priority == 0 {
            self.priority = 50;
        }
        let (service, batch) = (self.kind == "service", self.kind == "batch");
        for group in &mut self.task_groups {
            group.count.get_or_insert(1);
            let restart = group.restart_policy.get_or_insert_default();
            restart.attempts.get_or_insert(if batch { 3 } else { 2 });
            restart.interval.get_or_insert(if batch { 86400 * SECOND } else { 1800 * SECOND });
            restart.delay.get_or_insert(15 * SECOND);
            restart.mode.get_or_insert_with(|| "fail".into());
            let restart = restart.clone();
            if service || batch {
                let again = group.reschedule_policy.get_or_insert_default();
                again.attempts.get_or_insert(u64::from(batch));
                again.interval.get_or_insert(if batch { 86400 * SECOND } else { 0 });
                again.delay.get_or_insert(if batch { 5 * SECOND } else { 30 * SECOND });
                again.delay_function.get_or_insert_with(|| if batch { "constant" } else { "exponential" }.into());
                again.max_delay.get_or_insert(if batch { 0 } else { 3600 * SECOND });
                again.unlimited.get_or_insert(service);
            }
            if service {
                let own = group.update.clone().or_else(|| self.update.clone()).unwrap_or_default();
                group.update = Some(Update {
                    max_parallel: own.max_parallel.or(Some(1)),
                    min_healthy_time: own.min_healthy_time.or(Some(10 * SECOND)),
                    healthy_deadline: own.healthy_deadline.or(Some(300 * SECOND)),
                    progress_deadline: own.progress_deadline.or(Some(600 * SECOND)),
                    auto_revert: own.auto_revert.or(Some(false)),
                    health_check: own.health_check.or_else(|| Some("checks".into())),
                });
            } else {
                group.update = None;
            }
            let disk = group.ephemeral_disk.get_or_insert_default();
            disk.size.get_or_insert(300);
            disk.migrate.get_or_insert(false);
            disk.sticky.get_or_insert(false);
            for task in &mut group.tasks {
                let need = task.resources.get_or_insert_default();
                need.cpu.get_or_insert(100);
                need.memory.get_or_insert(300);
                task.kill_timeout.get_or_insert(5 * SECOND);
                let own = task.restart_policy.get_or_insert_with(|| restart.clone());
                own.attempts = own.attempts.or(restart.attempts);
                own.interval = own.interval.or(restart.interval);
                own.delay = own.delay.or(restart.delay);
                own.mode = own.mode.clone().or_else(|| restart.mode.clone());
                for artifact in &mut task.artifacts {
                    default(&mut artifact.mode, "any");
                    default(&mut artifact.destination, "local/");
                }
            }
        }
    }

    /// Everything that is wrong with it.
    #[must_use]
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |text: String| faults.push(text);
        if self.id.contains([' ', '\0']) {
            fault("Job ID contains a space".into());
        }
        if !["service", "batch", "system"].contains(&self.kind.as_str()) {
            let known = self.kind == "sysbatch";
            fault(if known {
                "job type \"sysbatch\" is not supported by the stand-in".into()
            } else {
                format!("Invalid job type: {:?}", self.kind)
            });
        }
        if !(1..=100).contains(&self.priority) {
            fault("Job priority must be between [1, 100]".into());
        }
        if self.task_groups.is_empty() {
            fault("Missing job task groups".into());
        }
        for (at, group) in self.task_groups.iter().enumerate() {
            if group.name.is_empty() {
                fault(format!("Job task group {} missing name", at + 1));
            }
            if self.task_groups[..at].iter().any(|other| other.name == group.name) {
                fault(format!("Job task group {} redefines {:?} from an earlier group", at + 1, group.name));
            }
            if group.count.is_some_and(i64::is_negative) {
                fault(format!("Task group {} validation failed: Task group count can't be negative", group.name));
            }
            if group.tasks.is_empty() {
                fault(format!("Task group {} validation failed: Missing tasks for task group", group.name));
            }
            for network in &group.networks {
                if !matches!(network.mode.as_str(), "" | "host") {
                    fault(format!("network mode {:?} is not supported by the stand-in", network.mode));
                }
            }
            for task in &group.tasks {
                let place =
                    format!("Task group {} validation failed: Task {} validation failed", group.name, task.name);
                if task.name.is_empty() {
                    fault(format!("Task group {} validation failed: Task missing name", group.name));
                }
                if task.driver.is_empty() {
                    fault(format!("{place}: Missing task driver"));
                }
                if task.driver == "raw_exec" && !task.config.contains_key("command") {
                    fault(format!("{place}: failed to validate raw_exec driver config: missing command"));
                }
            }
        }
        faults
    }
}

/// Faults in the form in which the API and the command line print them.
#[must_use]
pub(crate) fn multi(faults: &[String]) -> String {
    let what = if faults.len() == 1 { "error" } else { "errors" };
    let list: String = faults.iter().map(|fault| format!("\t* {fault}\n")).collect();
    format!("{} {what} occurred:\n{list}\n", faults.len())
}
