//! The environment of a task, and what `${...}` stands for in its configuration.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::job::constraint;
use crate::job::spec::{Task, TaskGroup};
use crate::server::objects::{Alloc, Node};

/// Names and values of a task's environment.
#[must_use]
pub(super) fn variables(
    alloc: &Alloc,
    group: &TaskGroup,
    task: &Task,
    node: &Node,
    dir: &Path,
) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut put = |key: String, value: String| drop(out.insert(key, value));
    let need = task.resources.clone().unwrap_or_default();
    for (key, value) in [
        ("ALLOC_ID", alloc.id.clone()),
        ("SHORT_ALLOC_ID", alloc.id.chars().take(8).collect()),
        ("ALLOC_NAME", alloc.name.clone()),
        ("ALLOC_INDEX", alloc.number().to_string()),
        ("ALLOC_DIR", dir.join("alloc").to_string_lossy().into_owned()),
        ("TASK_DIR", dir.join(&task.name).join("local").to_string_lossy().into_owned()),
        ("SECRETS_DIR", dir.join(&task.name).join("secrets").to_string_lossy().into_owned()),
        ("TASK_NAME", task.name.clone()),
        ("GROUP_NAME", group.name.clone()),
        ("JOB_ID", alloc.job_id.clone()),
        ("JOB_NAME", alloc.job.name.clone()),
        ("DC", node.datacenter.clone()),
        ("REGION", alloc.job.region.clone()),
        ("NAMESPACE", alloc.namespace.clone()),
        ("CPU_LIMIT", need.cpu.unwrap_or(0).to_string()),
        ("MEMORY_LIMIT", need.memory.unwrap_or(0).to_string()),
    ] {
        put(format!("NOMAD_{key}"), value);
    }
    for port in &alloc.ports {
        put(format!("NOMAD_PORT_{}", port.label), port.value.to_string());
        put(format!("NOMAD_HOST_PORT_{}", port.label), port.value.to_string());
        put(format!("NOMAD_IP_{}", port.label), alloc.address.clone());
        put(format!("NOMAD_HOST_IP_{}", port.label), alloc.address.clone());
        put(format!("NOMAD_ADDR_{}", port.label), format!("{}:{}", alloc.address, port.value));
        put(format!("NOMAD_HOST_ADDR_{}", port.label), format!("{}:{}", alloc.address, port.value));
    }
    for (key, value) in alloc.job.meta.iter().chain(&group.meta).chain(&task.meta) {
        let clean: String = key.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '_' }).collect();
        put(format!("NOMAD_META_{clean}"), value.clone());
        put(format!("NOMAD_META_{}", clean.to_uppercase()), value.clone());
    }
    for (key, value) in &task.env {
        let text = interpolate(value, &out, node);
        out.insert(key.clone(), text);
    }
    out
}

/// Replaces `${NOMAD_...}`, `${env["X"]}`, `${attr.x}`, `${meta.x}` and `${node.x}`.
#[must_use]
pub(super) fn interpolate(text: &str, variables: &BTreeMap<String, String>, node: &Node) -> String {
    constraint::interpolate(text, |name| {
        let name = name.strip_prefix("env[\"").and_then(|rest| rest.strip_suffix("\"]")).unwrap_or(name);
        variables
            .get(name)
            .cloned()
            .or_else(|| constraint::value(node, name))
            .or_else(|| name.starts_with("NOMAD_").then(String::new))
    })
}

/// The same in every string of a value.
#[must_use]
pub(super) fn interpolate_all(value: &Value, variables: &BTreeMap<String, String>, node: &Node) -> Value {
    match value {
        Value::String(text) => Value::String(interpolate(text, variables, node)),
        Value::Array(list) => Value::Array(list.iter().map(|item| interpolate_all(item, variables, node)).collect()),
        other => other.clone(),
    }
}
