//! Jobs, allocations and their summaries as the API shows them; parsing and validating.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Request, Response};
use crate::job::hcl;
use crate::job::spec::{Job, multi};
use crate::server::objects::Alloc;
use crate::server::state::State;

/// A job, with the fields that the stand-in never fills.
pub(super) fn full(job: &Job) -> Value {
    let mut out = serde_json::to_value(job).unwrap_or_default();
    for key in
        ["Affinities", "Multiregion", "ParameterizedJob", "Periodic", "Payload", "Spreads", "Migrate", "Reschedule"]
    {
        out[key] = Value::Null;
    }
    for key in ["Constraints", "Meta"] {
        if out[key].as_array().is_some_and(Vec::is_empty) || out[key].as_object().is_some_and(serde_json::Map::is_empty)
        {
            out[key] = Value::Null;
        }
    }
    for (key, value) in [
        ("AllAtOnce", json!(false)),
        ("Dispatched", json!(false)),
        ("ParentID", json!("")),
        ("StatusDescription", json!("")),
        ("NomadTokenID", json!("")),
    ] {
        out[key] = value;
    }
    out
}

/// Counts of a job's allocations.
pub(super) fn summary(state: &State, job: &Job) -> Value {
    let mut groups: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    let zero = || {
        ["Queued", "Complete", "Failed", "Running", "Starting", "Lost", "Unknown"]
            .map(|key| (key, 0))
            .into_iter()
            .collect::<BTreeMap<_, _>>()
    };
    for group in &job.task_groups {
        groups.insert(&group.name, zero());
    }
    for alloc in state.allocs_of(&job.id) {
        let key = match alloc.client_status.as_str() {
            "pending" => "Starting",
            "running" => "Running",
            "complete" => "Complete",
            "failed" => "Failed",
            "lost" => "Lost",
            _ => "Unknown",
        };
        *groups.entry(&alloc.task_group).or_insert_with(zero).entry(key).or_default() += 1;
    }
    let blocked = state
        .evals
        .values()
        .filter(|eval| eval.job_id == job.id && eval.status == "complete")
        .max_by_key(|eval| eval.modify_index);
    for (group, count) in blocked.iter().flat_map(|eval| &eval.queued_allocations) {
        if let Some(counts) = groups.get_mut(group.as_str()) {
            counts.insert("Queued", *count);
        }
    }
    json!({ "JobID": job.id, "Namespace": job.namespace, "Summary": groups, "Children": { "Pending": 0, "Running": 0, "Dead": 0 }, "CreateIndex": job.create_index, "ModifyIndex": job.modify_index })
}

pub(super) fn stub(state: &State, job: &Job) -> Value {
    json!({
        "ID": job.id, "ParentID": "", "Name": job.name, "Namespace": job.namespace, "Datacenters": job.datacenters, "NodePool": job.node_pool, "Multiregion": null,
        "Type": job.kind, "Priority": job.priority, "Periodic": false, "ParameterizedJob": false, "Stop": job.stop, "Status": job.status, "StatusDescription": "",
        "JobSummary": summary(state, job), "CreateIndex": job.create_index, "ModifyIndex": job.modify_index, "JobModifyIndex": job.job_modify_index,
        "SubmitTime": job.submit_time, "Meta": job.meta, "Version": job.version,
    })
}

fn common(alloc: &Alloc) -> Value {
    json!({
        "ID": alloc.id, "EvalID": alloc.eval_id, "Name": alloc.name, "Namespace": alloc.namespace, "NodeID": alloc.node_id, "NodeName": alloc.node_name,
        "JobID": alloc.job_id, "TaskGroup": alloc.task_group, "DesiredStatus": alloc.desired_status, "DesiredDescription": alloc.desired_description,
        "ClientStatus": alloc.client_status, "ClientDescription": alloc.client_description, "TaskStates": alloc.task_states,
        "DeploymentStatus": alloc.deployment_status, "FollowupEvalID": "", "NextAllocation": alloc.next_allocation, "PreemptedAllocations": null,
        "PreemptedByAllocation": "", "RescheduleTracker": null, "CreateIndex": alloc.create_index, "ModifyIndex": alloc.modify_index,
        "CreateTime": alloc.create_time, "ModifyTime": alloc.modify_time,
    })
}

/// An allocation in a list.
pub(super) fn alloc_stub(alloc: &Alloc) -> Value {
    let mut out = common(alloc);
    out["JobType"] = json!(alloc.job.kind);
    out["JobVersion"] = json!(alloc.job.version);
    out
}

/// A whole allocation.
pub(super) fn alloc(alloc: &Alloc) -> Value {
    let mut out = common(alloc);
    let ports: Vec<Value> = alloc
        .ports
        .iter()
        .map(|port| json!({ "Label": port.label, "Value": port.value, "To": port.to, "HostIP": alloc.address }))
        .collect();
    let group = alloc.job.task_groups.iter().find(|group| group.name == alloc.task_group);
    let tasks: BTreeMap<&str, Value> = group
        .iter()
        .flat_map(|group| &group.tasks)
        .map(|task| {
            let need = task.resources.clone().unwrap_or_default();
            (task.name.as_str(), json!({ "Cpu": { "CpuShares": need.cpu }, "Memory": { "MemoryMB": need.memory }, "Networks": null, "Devices": null }))
        })
        .collect();
    let disk = group.and_then(|group| group.ephemeral_disk.as_ref()).and_then(|disk| disk.size).unwrap_or(300);
    out["Job"] = full(&alloc.job);
    out["DeploymentID"] = json!(alloc.deployment_id);
    out["PreviousAllocation"] = json!(alloc.previous_allocation);
    out["AllocModifyIndex"] = json!(alloc.alloc_modify_index);
    out["AllocatedResources"] =
        json!({ "Shared": { "DiskMB": disk, "Networks": null, "Ports": ports }, "Tasks": tasks });
    out
}

/// `PUT /v1/jobs/parse`
pub(super) fn parse(request: &Request) -> Response {
    let body: Value = match serde_json::from_str(&request.body) {
        Ok(body) => body,
        Err(error) => return Response::error(400, json_error(&error, &request.body)),
    };
    let text = body["JobHCL"].as_str().unwrap_or_default();
    if text.is_empty() {
        return Response::error(400, "Job spec is empty");
    }
    match hcl::parse(text) {
        Ok(mut job) => {
            if body["Canonicalize"] == true {
                job.canonicalize();
            }
            Response::json(&full(&job))
        }
        Err(error) => Response::error(400, format!("Failed to parse job: {error}")),
    }
}

/// `PUT /v1/validate/job`
pub(super) fn validate(request: &Request) -> Response {
    match body(request) {
        Err(response) => response,
        Ok((mut job, _)) => {
            job.canonicalize();
            let faults = job.faults();
            if faults.is_empty() {
                Response::json(
                    &json!({ "DriverConfigValidated": true, "Error": "", "ValidationErrors": null, "Warnings": "" }),
                )
            } else {
                Response::json(
                    &json!({ "DriverConfigValidated": true, "Error": multi(&faults), "ValidationErrors": faults, "Warnings": "" }),
                )
            }
        }
    }
}

/// The job in the body of a request, and the rest of the body.
pub(super) fn body(request: &Request) -> Result<(Job, Value), Response> {
    let bad = |text: String| Response::error(400, text);
    let body: Value = serde_json::from_str(&request.body).map_err(|error| bad(json_error(&error, &request.body)))?;
    if !body["Job"].is_object() {
        return Err(bad("Job must be specified".into()));
    }
    for key in ["Periodic", "ParameterizedJob", "Multiregion", "Spreads", "Affinities"] {
        if !body["Job"][key].is_null() && body["Job"][key].as_array().is_none_or(|list| !list.is_empty()) {
            return Err(Response::error(500, format!("{key:?} in a job is not supported by the stand-in")));
        }
    }
    let job: Job = serde_json::from_value(body["Job"].clone()).map_err(|error| bad(error.to_string()))?;
    if job.id.is_empty() {
        return Err(bad("Job ID hasn't been provided".into()));
    }
    Ok((job, body))
}

fn json_error(error: &serde_json::Error, text: &str) -> String {
    if error.is_eof() {
        return if text.trim().is_empty() { "EOF".into() } else { "unexpected EOF".into() };
    }
    let char = text
        .lines()
        .nth(error.line().saturating_sub(1))
        .and_then(|line| line.chars().nth(error.column().saturating_sub(1)))
        .unwrap_or(' ');
    if text.trim_start().starts_with('n') {
        format!("invalid character {char:?} in literal null (expecting 'u')")
    } else {
        format!("invalid character {char:?} looking for beginning of value")
    }
}
