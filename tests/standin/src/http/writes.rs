//! Writing endpoints, answered by the leader.

use std::sync::Arc;

use serde_json::{Value, json};

use super::jobs;
use super::{Request, Response};
use crate::clock;
use crate::job::spec::{Job, multi};
use crate::server::objects::Eval;
use crate::server::state::{Change, State};
use crate::server::{Server, eval, event, plan};

/// Answers a write.
pub(super) async fn answer(server: &Arc<Server>, request: &Request) -> Response {
    let parts = request.parts();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let result = match parts.as_slice() {
        ["v1", "acl", ..] => return super::acl::answer(server, request).await,
        ["v1", "jobs"] => register(server, request, None).await,
        ["v1", "job", id] if request.method == "DELETE" => deregister(server, id, request).await,
        ["v1", "job", id] => register(server, request, Some(id)).await,
        ["v1", "job", id, "plan"] => return plan_job(server, request, id),
        ["v1", "job", id, "evaluate"] => evaluate(server, id).await,
        ["v1", "node", id, "eligibility"] => eligibility(server, id, request).await,
        ["v1", "node", id, "drain"] => drain(server, id, request).await,
        ["v1", "var", path @ ..] => super::vars::write(server, &path.join("/"), request).await,
        ["v1", "allocation", id, "stop"] => stop(server, id).await,
        ["v1", "system", "gc"] => {
            server.decide(|state| Ok((garbage(state), Value::Null))).await.map(|(_, _)| Response::empty(200))
        }
        ["v1", "system", ..] => Ok(Response::empty(200)),
        ["v1", "operator", "raft", "peer"] => {
            let id = request.query("id").parse().map_err(|_| "no server with that id".to_owned());
            match id {
                Ok(id) => server.remove_peer(id).await.map(|()| Response::empty(200)),
                Err(error) => Err(error),
            }
        }
        _ => {
            return Response::error(
                501,
                format!("{} {} is not supported by the stand-in", request.method, request.path),
            );
        }
    };
    result.unwrap_or_else(|error| Response::error(500, error))
}

fn written(index: u64, mut body: Value) -> Response {
    body["Index"] = json!(index);
    Response::json(&body).with("x-nomad-index", index)
}

async fn register(server: &Server, request: &Request, path: Option<&str>) -> Result<Response, String> {
    let (mut job, body) = match jobs::body(request) {
        Ok(both) => both,
        Err(response) => return Ok(response),
    };
    if path.is_some_and(|path| path != job.id) {
        return Ok(Response::error(400, "Job ID does not match name"));
    }
    job.canonicalize();
    let faults = job.faults();
    if !faults.is_empty() {
        return Err(multi(&faults).trim_end_matches('\n').to_owned() + "\n\n");
    }
    let check = body["EnforceIndex"] == true;
    let wanted = body["JobModifyIndex"].as_u64().unwrap_or(0);
    let (index, (eval, modified)) = server
        .decide(|state| {
            let old = state.jobs.get(&job.id);
            let current = old.map_or(0, |old| old.job_modify_index);
            if check && wanted != current {
                let text = if wanted == 0 { format!("job already exists: Enforcing job modify index {wanted}: job exists with conflicting job modify index: {current}") } else { format!("Enforcing job modify index {wanted}: job exists with conflicting job modify index: {current}") };
                return Err(text);
            }
            let same = old.is_some_and(|old| same_spec(old, &job));
            let mut changes = Vec::new();
            if let Some(old) = old {
                job.version = if same { old.version } else { old.version + 1 };
                job.status.clone_from(&old.status);
                job.stable = same && old.stable;
                job.submit_time = if same { old.submit_time } else { clock::now() };
            } else {
                job.submit_time = clock::now();
            }
            if job.status.is_empty() || job.status == "dead" {
                job.status = "pending".into();
            }
            let eval = eval(&job, "job-register");
            let id = eval.id.clone();
            if !same {
                changes.push(Change::Job(Box::new(job)));
            }
            changes.push(Change::Eval(Box::new(eval)));
            Ok((changes, (id, same.then_some(current))))
        })
        .await?;
    let modified = modified.unwrap_or(index);
    Ok(written(
        index,
        json!({ "EvalID": eval, "EvalCreateIndex": index, "JobModifyIndex": modified, "Warnings": "", "LastContact": 0, "KnownLeader": false, "NextToken": "" }),
    ))
}

/// Whether two jobs ask for the same.
fn same_spec(old: &Job, new: &Job) -> bool {
    let bare = |job: &Job| Job {
        version: 0,
        stable: false,
        submit_time: 0,
        create_index: 0,
        modify_index: 0,
        job_modify_index: 0,
        status: String::new(),
        ..job.clone()
    };
    bare(old) == bare(new)
}

async fn deregister(server: &Server, id: &str, request: &Request) -> Result<Response, String> {
    let purge = request.flag("purge");
    let (index, eval) = server
        .decide(|state| {
            let Some(job) = state.jobs.get(id) else { return Err("job not found".into()) };
            let eval = eval(job, "job-deregister");
            let eval_id = eval.id.clone();
            let first = if purge {
                Change::DropJob(id.to_owned())
            } else {
                Change::Job(Box::new(Job { stop: true, ..job.clone() }))
            };
            Ok((vec![first, Change::Eval(Box::new(eval))], eval_id))
        })
        .await?;
    Ok(written(
        index,
        json!({ "EvalID": eval, "EvalCreateIndex": index, "JobModifyIndex": index, "VolumeEvalID": "", "VolumeEvalIndex": 0, "LastContact": 0, "KnownLeader": false, "NextToken": "" }),
    ))
}

async fn evaluate(server: &Server, id: &str) -> Result<Response, String> {
    let (index, eval) = server
        .decide(|state| {
            let Some(job) = state.jobs.get(id) else { return Err("job not found".into()) };
            let eval = eval(job, "job-eval");
            let eval_id = eval.id.clone();
            Ok((vec![Change::Eval(Box::new(eval))], eval_id))
        })
        .await?;
    Ok(written(index, json!({ "EvalID": eval, "EvalCreateIndex": index, "JobModifyIndex": 0 })))
}

/// What registering the job would do, without doing it.
fn plan_job(server: &Server, request: &Request, path: &str) -> Response {
    let mut job = match jobs::body(request) {
        Ok((job, _)) => job,
        Err(response) => return response,
    };
    if path != job.id {
        return Response::error(400, "Job ID does not match name");
    }
    job.canonicalize();
    let faults = job.faults();
    if !faults.is_empty() {
        return Response::error(500, multi(&faults));
    }
    let state = server.state.read();
    let old = state.jobs.get(&job.id);
    let same = old.is_some_and(|old| same_spec(old, &job));
    let index = old.map_or(0, |old| old.job_modify_index);
    if let Some(old) = old {
        job.version = if same { old.version } else { old.version + 1 };
        job.create_index = old.create_index;
    }
    let mut next: State = state.clone();
    next.jobs.insert(job.id.clone(), job.clone());
    let (mut placed, mut stopped, mut changed) = (0_u64, 0_u64, 0_u64);
    let mut failed = json!(null);
    for change in plan(&next, &eval(&job, "job-plan"), clock::now()) {
        match change {
            Change::Alloc(alloc) => match state.allocs.get(&alloc.id) {
                None => placed += 1,
                Some(_) if alloc.desired_status == "stop" => stopped += 1,
                Some(_) => changed += 1,
            },
            Change::Eval(eval) if eval.status == "complete" && !eval.failed.is_empty() => failed = json!(eval.failed),
            _ => {}
        }
    }
    let kind = if same {
        "None"
    } else if old.is_some() {
        "Edited"
    } else {
        "Added"
    };
    let groups: serde_json::Map<String, Value> = job
        .task_groups
        .iter()
        .map(|group| {
            let ignore = state.allocs_of(&job.id).filter(|alloc| alloc.task_group == group.name && alloc.live()).count();
            let ignore = u64::try_from(ignore).unwrap_or(0).saturating_sub(stopped + changed);
            (group.name.clone(), json!({ "Ignore": ignore, "Place": placed, "Stop": stopped, "InPlaceUpdate": changed, "DestructiveUpdate": 0, "Migrate": 0, "Canary": 0, "Preemptions": 0 }))
        })
        .collect();
    Response::json(&json!({
        "Annotations": { "DesiredTGUpdates": groups, "PreemptedAllocs": null }, "FailedTGAllocs": failed, "JobModifyIndex": index, "CreatedEvals": null,
        "Diff": { "Type": kind, "ID": job.id, "Fields": null, "Objects": null, "TaskGroups": null }, "NextPeriodicLaunch": null, "Warnings": "", "Index": index,
    }))
    .with("x-nomad-index", index)
}

async fn eligibility(server: &Server, id: &str, request: &Request) -> Result<Response, String> {
    let body: Value = serde_json::from_str(&request.body).map_err(|error| error.to_string())?;
    let wanted = body["Eligibility"].as_str().unwrap_or_default().to_owned();
    if !matches!(wanted.as_str(), "eligible" | "ineligible") {
        return Err(format!("invalid scheduling eligibility {wanted:?}"));
    }
    let (index, ()) = server
        .decide(|state| {
            let Some(node) = state.nodes.get(id) else { return Err("node not found".into()) };
            if node.drain && wanted == "eligible" {
                return Err("can not set node's scheduling eligibility to eligible while it is draining".into());
            }
            let mut node = node.clone();
            let news = node.scheduling_eligibility != wanted;
            if news {
                event(&mut node, &format!("Node marked as {wanted} for scheduling"));
            }
            node.scheduling_eligibility.clone_from(&wanted);
            let mut changes = vec![Change::Node(Box::new(node))];
            if news && wanted == "eligible" {
                changes.extend(crate::server::evals_of_node(state, id));
            }
            Ok((changes, ()))
        })
        .await?;
    Ok(written(index, json!({ "EvalIDs": null, "EvalCreateIndex": 0, "NodeModifyIndex": 0 })))
}

async fn drain(server: &Server, id: &str, request: &Request) -> Result<Response, String> {
    let body: Value = serde_json::from_str(&request.body).map_err(|error| error.to_string())?;
    let spec = body["DrainSpec"].clone();
    let (index, ()) = server
        .decide(|state| {
            let Some(node) = state.nodes.get(id) else { return Err("node not found".into()) };
            let mut node = node.clone();
            let now = clock::rfc3339(clock::now());
            if spec.is_object() {
                let news = if node.drain { "Node drain strategy updated" } else { "Node drain strategy set" };
                event(&mut node, news);
                node.drain = true;
                node.scheduling_eligibility = "ineligible".into();
                let deadline = spec["Deadline"].as_i64().unwrap_or(0);
                let mut strategy = spec.clone();
                if deadline != 0 {
                    strategy["ForceDeadline"] = json!(clock::rfc3339(clock::now() + deadline.max(0)));
                }
                node.drain_strategy = Some(strategy);
                node.last_drain = Some(json!({ "StartedAt": now, "UpdatedAt": now, "Status": "draining", "AccessorID": "token:acls-disabled", "Meta": body["Meta"] }));
            } else {
                if node.drain {
                    event(&mut node, "Node drain disabled");
                }
                if let Some(last) = node.last_drain.as_mut().filter(|_| node.drain) {
                    last["Status"] = json!("canceled");
                }
                node.drain = false;
                node.drain_strategy = None;
                if body["MarkEligible"] == true {
                    node.scheduling_eligibility = "eligible".into();
                }
            }
            let mut changes = vec![Change::Node(Box::new(node))];
            changes.extend(crate::server::evals_of_node(state, id));
            Ok((changes, ()))
        })
        .await?;
    Ok(written(index, json!({ "EvalIDs": null, "EvalCreateIndex": index, "NodeModifyIndex": index })))
}

/// Stops one allocation; its job gets another one.
async fn stop(server: &Server, id: &str) -> Result<Response, String> {
    let (index, eval) = server
        .decide(|state| {
            let Some(alloc) = state.allocs.get(id) else { return Err("alloc not found".into()) };
            let mut alloc = alloc.clone();
            alloc.desired_status = "stop".into();
            alloc.desired_description = "alloc was stopped by a user".into();
            alloc.modify_time = clock::now();
            let eval: Eval = eval(&alloc.job, "alloc-stop");
            let eval_id = eval.id.clone();
            Ok((vec![Change::Alloc(Box::new(alloc)), Change::Eval(Box::new(eval))], eval_id))
        })
        .await?;
    Ok(written(index, json!({ "EvalID": eval })))
}

/// What nobody needs any more.
fn garbage(state: &State) -> Vec<Change> {
    let mut changes = Vec::new();
    let dead = |id: &str| state.jobs.get(id).is_none_or(|job| job.status == "dead");
    changes.extend(
        state
            .allocs
            .values()
            .filter(|alloc| alloc.ended() && alloc.desired_status == "stop" || alloc.ended() && dead(&alloc.job_id))
            .map(|alloc| Change::DropAlloc(alloc.id.clone())),
    );
    changes.extend(
        state
            .evals
            .values()
            .filter(|eval| matches!(eval.status.as_str(), "complete" | "cancelled" | "failed") && dead(&eval.job_id))
            .map(|eval| Change::DropEval(eval.id.clone())),
    );
    changes.extend(
        state
            .deployments
            .values()
            .filter(|one| !one.active() && dead(&one.job_id))
            .map(|one| Change::DropDeployment(one.id.clone())),
    );
    let used = |id: &str| state.allocs.values().any(|alloc| alloc.job_id == id && !alloc.ended());
    changes.extend(
        state
            .jobs
            .values()
            .filter(|job| job.status == "dead" && !used(&job.id))
            .map(|job| Change::DropJob(job.id.clone())),
    );
    let hosts = |id: &str| state.allocs.values().any(|alloc| alloc.node_id == id && !alloc.ended());
    changes.extend(
        state
            .nodes
            .values()
            .filter(|node| node.status == "down" && !hosts(&node.id))
            .map(|node| Change::DropNode(node.id.clone())),
    );
    changes
}
