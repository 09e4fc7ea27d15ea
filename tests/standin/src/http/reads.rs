//! Reading endpoints, answered from this server's state.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::jobs;
use super::{Request, Response};
use crate::config::duration;
use crate::server::objects::{Alloc, Node};
use crate::server::state::State;
use crate::server::{Leader, NO_LEADER, Server};

/// What is wrong with a request before it goes anywhere.
pub(super) fn early(request: &Request) -> Option<Response> {
    if !request.query("index").is_empty() && request.query("index").parse::<u64>().is_err() {
        return Some(Response::error(400, "Invalid index"));
    }
    if !request.query("wait").is_empty() && duration::parse(request.query("wait")).is_none() {
        return Some(Response::error(400, "Invalid wait time"));
    }
    let parts = request.parts();
    let parts: Vec<&str> = parts.iter().skip(1).map(String::as_str).collect();
    let (method, get) = (request.method.as_str(), request.method == "GET");
    let allowed = match parts.as_slice() {
        ["jobs"] | ["job", _] | ["node", ..] => {
            matches!(method, "GET" | "PUT" | "POST") || parts[0] == "job" && method == "DELETE"
        }
        ["jobs", "parse"] => {
            return Some(if request.writes() { jobs::parse(request) } else { Response::error(405, "Invalid method") });
        }
        ["validate", "job"] => {
            return Some(if request.writes() {
                jobs::validate(request)
            } else {
                Response::error(405, "Invalid method")
            });
        }
        ["job", _, "plan" | "evaluate"] | ["search"] | ["system", ..] => request.writes(),
        ["operator", "raft", "peer"] => method == "DELETE",
        ["operator", "autopilot" | "scheduler", "configuration"] => get || request.writes(),
        ["allocation", _, "stop"] => request.writes(),
        ["acl" | "var", ..] => true,
        ["operator", "snapshot"] => return Some(Response::error(501, "snapshots are not supported by the stand-in")),
        _ => get,
    };
    (!allowed).then(|| Response::error(405, "Invalid method"))
}

/// The index that a blocking read waits to see passed: of the one thing that it reads, or of everything.
fn index_of(state: &State, request: &Request) -> u64 {
    let parts = request.parts();
    let one = match parts.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["v1", "node", id] => state.nodes.get(*id).map(|node| node.modify_index),
        ["v1", "var", path @ ..] => state.variables.get(&path.join("/")).map(|variable| variable.modify_index),
        _ => None,
    };
    one.unwrap_or(state.index)
}

/// Answers a read, waiting first if it is a blocking one.
pub(super) async fn answer(server: &Arc<Server>, request: &Request) -> Response {
    if request.path.starts_with("/v1/acl/") {
        return super::acl::answer(server, request).await;
    }
    let index: u64 = request.query("index").parse().unwrap_or(0);
    if index > 0 {
        let wait = duration::parse(request.query("wait"))
            .filter(|wait| !wait.is_zero())
            .unwrap_or(Duration::from_secs(300))
            .min(Duration::from_secs(600));
        let until = Instant::now() + wait + wait / 32;
        let mut changes = server.state.watch();
        while index_of(&server.state.read(), request) <= index {
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep_until(until) => break,
            }
        }
    }
    let parts = request.parts();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["v1", "status", "leader"] => match server.leader() {
            Some(Leader::Me) => Response::json(&server.gossip.me().rpc()),
            Some(Leader::Other(address)) => Response::json(&address),
            None => Response::error(500, NO_LEADER),
        },
        ["v1", "status", "peers"] => {
            let metrics = server.raft.metrics().borrow().clone();
            let peers: Vec<String> =
                metrics.membership_config.membership().nodes().map(|(_, node)| node.addr.clone()).collect();
            Response::json(&peers)
        }
        ["v1", "operator", "raft", "configuration"] => Response::json(&raft(server)),
        ["v1", "operator", "autopilot", "health"] => {
            let (body, healthy) = server.autopilot_health();
            if healthy { Response::json(&body) } else { Response { status: 429, ..Response::json(&body) } }
        }
        ["v1", "operator", "autopilot", "configuration"] => Response::json(&json!({
            "LastContactThreshold": "200ms", "ServerStabilizationTime": "10s", "CleanupDeadServers": true, "MaxTrailingLogs": 250, "MinQuorum": 0,
            "EnableRedundancyZones": false, "DisableUpgradeMigration": false, "EnableCustomUpgrades": false, "CreateIndex": 4, "ModifyIndex": 4,
        })),
        [".well-known", "jwks.json"] => {
            let key = server.state.read().keyring.clone();
            let keys: Vec<Value> = if key.is_empty() {
                vec![]
            } else {
                vec![json!({ "use": "sig", "kty": "RSA", "alg": "RS256", "kid": key, "n": "stand-in", "e": "AQAB" })]
            };
            Response::json(&json!({ "keys": keys }))
        }
        ["v1", rest @ ..] => {
            let state = server.state.read();
            let response = of_state(&state, rest, request);
            let index = state.index;
            drop(state);
            response.with("x-nomad-index", index).with("x-nomad-knownleader", "true").with("x-nomad-lastcontact", 0)
        }
        _ => Response::empty(404),
    }
}

fn of_state(state: &State, parts: &[&str], request: &Request) -> Response {
    let prefix = request.query("prefix");
    let namespace = request.query("namespace");
    let elsewhere = !matches!(namespace, "" | "default" | "*");
    let none = Vec::<Value>::new();
    match parts {
        ["scheduler", "configuration"] | ["operator", "scheduler", "configuration"] => {
            Response::json(&json!({ "SchedulerConfig": { "SchedulerAlgorithm": "stand-in" } }))
        }
        ["nodes"] => Response::json(
            &sorted(state.nodes.values().filter(|node| node.id.starts_with(prefix)), |node| node.create_index)
                .iter()
                .map(|node| node_stub(node, request.flag("resources")))
                .collect::<Vec<_>>(),
        ),
        ["node", id, rest @ ..] => {
            if let Err(reason) = uuid(id) {
                return Response::error(500, format!("node lookup failed: index error: {reason}"));
            }
            match (state.nodes.get(*id), rest) {
                (_, ["allocations"]) => Response::json(
                    &state.allocs.values().filter(|alloc| alloc.node_id == *id).map(jobs::alloc).collect::<Vec<_>>(),
                ),
                (None, []) => Response::error(404, "node not found"),
                (Some(node), []) => Response::json(&node_full(node)),
                _ => Response::empty(404),
            }
        }
        _ if elsewhere => match parts {
            [_] => Response::json(&none),
            [what, _] => Response::error(
                404,
                format!(
                    "{} not found",
                    if *what == "allocation" {
                        "alloc"
                    } else if *what == "evaluation" {
                        "eval"
                    } else {
                        what
                    }
                ),
            ),
            _ => Response::json(&none),
        },
        ["namespaces"] => Response::json(
            &json!([{ "Name": "default", "Description": "Default shared namespace", "CreateIndex": 1, "ModifyIndex": 1 }]),
        ),
        ["jobs"] => Response::json(
            &state
                .jobs
                .values()
                .filter(|job| job.id.starts_with(prefix))
                .map(|job| jobs::stub(state, job))
                .collect::<Vec<_>>(),
        ),
        ["job", id] => state
            .jobs
            .get(*id)
            .map_or_else(|| Response::error(404, "job not found"), |job| Response::json(&jobs::full(job))),
        ["job", id, "allocations"] => Response::json(
            &sorted(state.allocs_of(id), |alloc| std::cmp::Reverse(alloc.create_index))
                .into_iter()
                .map(jobs::alloc_stub)
                .collect::<Vec<_>>(),
        ),
        ["job", id, "evaluations"] => {
            Response::json(&sorted(state.evals.values().filter(|eval| eval.job_id == *id), |eval| {
                std::cmp::Reverse(eval.create_index)
            }))
        }
        ["job", id, "deployments"] => {
            Response::json(&sorted(state.deployments.values().filter(|one| one.job_id == *id), |one| {
                std::cmp::Reverse(one.create_index)
            }))
        }
        ["job", id, "deployment"] => Response::json(&state.latest_deployment(id)),
        ["job", id, "summary"] => state
            .jobs
            .get(*id)
            .map_or_else(|| Response::error(404, "job not found"), |job| Response::json(&jobs::summary(state, job))),
        ["job", id, "versions"] => match state.versions.get(*id) {
            Some(versions) => Response::json(
                &json!({ "Versions": versions.iter().map(jobs::full).collect::<Vec<_>>(), "Diffs": null }),
            ),
            None => Response::error(404, "job versions not found"),
        },
        ["evaluations"] => {
            Response::json(&sorted(state.evals.values().filter(|eval| eval.id.starts_with(prefix)), |eval| {
                std::cmp::Reverse(eval.create_index)
            }))
        }
        ["evaluation", id, rest @ ..] => match (state.evals.get(*id), rest) {
            (_, ["allocations"]) => Response::json(
                &state.allocs.values().filter(|alloc| alloc.eval_id == *id).map(jobs::alloc_stub).collect::<Vec<_>>(),
            ),
            (Some(eval), []) => Response::json(eval),
            (None, []) => bad_id(id, "eval").unwrap_or_else(|| Response::error(404, "eval not found")),
            _ => Response::empty(404),
        },
        ["allocations"] => {
            let list = state.allocs.values().filter(|alloc| alloc.id.starts_with(prefix));
            Response::json(
                &sorted(list, |alloc: &Alloc| std::cmp::Reverse(alloc.create_index))
                    .into_iter()
                    .map(jobs::alloc_stub)
                    .collect::<Vec<_>>(),
            )
        }
        ["allocation", id] => match state.allocs.get(*id) {
            Some(alloc) => Response::json(&jobs::alloc(alloc)),
            None => bad_id(id, "alloc").unwrap_or_else(|| Response::error(404, "alloc not found")),
        },
        ["vars"] => super::vars::list(state.variables.values(), prefix),
        ["var", path @ ..] => super::vars::read(state.variables.get(&path.join("/"))),
        ["deployments"] => {
            Response::json(&sorted(state.deployments.values().filter(|one| one.id.starts_with(prefix)), |one| {
                std::cmp::Reverse(one.create_index)
            }))
        }
        ["deployment", "allocations", id] => Response::json(
            &state.allocs.values().filter(|alloc| alloc.deployment_id == *id).map(jobs::alloc_stub).collect::<Vec<_>>(),
        ),
        ["deployment", id] => match state.deployments.get(*id) {
            Some(deployment) => Response::json(deployment),
            None => bad_id(id, "deployment").unwrap_or_else(|| Response::error(404, "deployment not found")),
        },
        _ => Response::empty(404),
    }
}

fn sorted<'a, T, K: Ord>(items: impl Iterator<Item = &'a T>, key: impl Fn(&T) -> K) -> Vec<&'a T> {
    let mut items: Vec<&T> = items.collect();
    items.sort_by_key(|item| key(item));
    items
}

fn uuid(id: &str) -> Result<(), &'static str> {
    if id.len() == 36 { Ok(()) } else { Err("UUID must be 36 characters") }
}

fn bad_id(id: &str, what: &str) -> Option<Response> {
    uuid(id).err().map(|reason| Response::error(500, format!("{what} lookup failed: index error: {reason}")))
}

fn raft(server: &Server) -> Value {
    let metrics = server.raft.metrics().borrow().clone();
    let membership = metrics.membership_config.membership().clone();
    let voters: Vec<_> = membership.voter_ids().collect();
    let members = server.gossip.members();
    let servers: Vec<Value> = membership
        .nodes()
        .map(|(id, node)| {
            let member = members.iter().find(|member| member.tag("id") == id.to_string());
            json!({
                "ID": id, "Node": member.map_or("(unknown)", |member| &member.name), "Address": node.addr, "Leader": metrics.current_leader == Some(*id),
                "Voter": voters.contains(id), "RaftProtocol": "3",
            })
        })
        .collect();
    json!({ "Servers": servers, "Index": 0 })
}

fn node_stub(node: &Node, resources: bool) -> Value {
    let mut out = json!({
        "Address": node.http_addr.rsplit_once(':').map_or("", |(ip, _)| ip), "ID": node.id, "Datacenter": node.datacenter, "Name": node.name,
        "NodeClass": node.node_class, "NodePool": node.node_pool, "Version": crate::VERSION, "Drain": node.drain,
        "SchedulingEligibility": node.scheduling_eligibility, "Status": node.status, "StatusDescription": "", "Drivers": node.drivers,
        "HostVolumes": node.host_volumes, "LastDrain": node.last_drain, "CreateIndex": node.create_index, "ModifyIndex": node.modify_index,
    });
    if resources {
        out["NodeResources"] = node_resources(node);
    }
    out
}

fn node_resources(node: &Node) -> Value {
    json!({
        "Cpu": { "CpuShares": node.cpu, "TotalCpuCores": 1, "ReservableCpuCores": [0] }, "Memory": { "MemoryMB": node.memory }, "Disk": { "DiskMB": node.disk },
        "Networks": [{ "Mode": "host", "Device": "", "IP": node.address, "CIDR": format!("{}/32", node.address), "MBits": 1000 }], "Devices": null,
        "MinDynamicPort": node.ports.0, "MaxDynamicPort": node.ports.1,
    })
}

fn node_full(node: &Node) -> Value {
    json!({
        "ID": node.id, "SecretID": "", "Name": node.name, "Datacenter": node.datacenter, "NodeClass": node.node_class, "NodePool": node.node_pool,
        "HTTPAddr": node.http_addr, "TLSEnabled": false, "Attributes": node.attributes, "Meta": node.meta, "Drivers": node.drivers, "Status": node.status,
        "StatusDescription": "", "StatusUpdatedAt": node.status_updated_at, "SchedulingEligibility": node.scheduling_eligibility, "Drain": node.drain,
        "DrainStrategy": node.drain_strategy, "LastDrain": node.last_drain, "Events": node.events, "HostVolumes": node.host_volumes, "HostNetworks": null,
        "CSIControllerPlugins": {}, "CSINodePlugins": {}, "Links": {}, "ComputedClass": "stand-in", "NodeResources": node_resources(node),
        "ReservedResources": { "Cpu": { "CpuShares": 0 }, "Memory": { "MemoryMB": 0 }, "Disk": { "DiskMB": 0 }, "Networks": { "ReservedHostPorts": "" } },
        "CreateIndex": node.create_index, "ModifyIndex": node.modify_index,
    })
}
