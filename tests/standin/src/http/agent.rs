//! `/v1/agent/...`, `/v1/client/...` and metrics: what this very agent answers.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Request, Response, server_side};
use crate::agent::Agent;
use crate::server::gossip::Member;
use crate::{VERSION, clock};

/// The answer, if the path is one of this agent's own.
pub(super) async fn local(agent: &Arc<Agent>, request: &Request) -> Option<Response> {
    let parts = request.parts();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let get = request.method == "GET";
    let invalid = || Response::error(405, "Invalid method");
    Some(match parts.as_slice() {
        ["v1", "agent", "self"] if get => Response::json(&agent_self(agent)),
        ["v1", "agent", "health"] if get => health(agent, request).await,
        ["v1", "agent", "members"] if get => match (&agent.server, &agent.client) {
            (Some(server), _) => {
                let me = server.gossip.me();
                let members: Vec<Value> = server.gossip.members().iter().map(member).collect();
                let name = me.name.strip_suffix(&format!(".{}", me.tag("region"))).unwrap_or(&me.name);
                Response::json(
                    &json!({ "ServerName": name, "ServerRegion": me.tag("region"), "ServerDC": me.tag("dc"), "Members": members }),
                )
            }
            (None, Some(client)) => client.forward(request.clone()).await,
            (None, None) => return None,
        },
        ["v1", "agent", "servers"] => match &agent.client {
            Some(client) if get => Response::json(&client.servers()),
            Some(_) => Response::error(405, "changing the servers of a client is not supported by the stand-in"),
            None => Response::error(501, "Invalid method"),
        },
        ["v1", "agent", "join"] => match &agent.server {
            Some(server) if request.writes() => {
                let names: Vec<String> = vec![request.query("address").to_owned()];
                let (count, errors) = server.join(&names).await;
                let list: String = errors.iter().map(|error| format!("\t* {error}\n")).collect();
                let text = if errors.is_empty() {
                    String::new()
                } else {
                    format!("{} error{} occurred:\n{list}\n", errors.len(), if errors.len() == 1 { "" } else { "s" })
                };
                Response::json(&json!({ "num_joined": count, "error": text, "warning": "" }))
            }
            Some(_) => invalid(),
            None => Response::error(501, "Invalid method"),
        },
        ["v1", "agent", "force-leave"] => match &agent.server {
            Some(server) if request.writes() => {
                server.gossip.force_leave(request.query("node")).await;
                Response::empty(200)
            }
            Some(_) => invalid(),
            None => Response::error(501, "Invalid method"),
        },
        ["v1", "regions"] if get => Response::json(&[agent.settings.region.as_str()]),
        ["v1", "metrics"] if get => metrics(agent, request),
        ["v1", "agent", "self" | "health" | "members"] | ["v1", "regions" | "metrics"] => invalid(),
        ["v1", "client", ..] => crate::client::api::answer(agent, request, &parts).await,
        _ => return None,
    })
}

async fn health(agent: &Arc<Agent>, request: &Request) -> Response {
    let wanted = request.query("type");
    let all = wanted.is_empty();
    let mut body = Map::new();
    let mut ok = true;
    let mut put = |key: &str, good: bool, message: String| {
        ok &= good;
        body.insert(key.to_owned(), json!({ "ok": good, "message": message }));
    };
    if wanted == "client" || all && agent.client.is_some() {
        let enabled = agent.client.is_some();
        put("client", enabled, if enabled { "ok" } else { "client not enabled" }.into());
    }
    if wanted == "server" || all && agent.server.is_some() {
        match &agent.server {
            Some(server) => {
                let ask = Request {
                    method: "GET".into(),
                    path: "/v1/status/leader".into(),
                    query: std::collections::BTreeMap::new(),
                    body: String::new(),
                    token: String::new(),
                };
                let response = server_side(server, ask).await;
                let good = response.status == 200;
                put("server", good, if good { "ok".into() } else { response.body });
            }
            None => put("server", false, "server not enabled".into()),
        }
    }
    // The error carries JSON and calls it text: that is the contract.
    let text = Value::Object(body).to_string();
    if ok { Response { body: text, ..Response::json(&Value::Null) } } else { Response::error(500, text) }
}

/// A member as the API shows it.
pub(super) fn member(member: &Member) -> Value {
    json!({
        "Name": member.name, "Addr": member.address.ip(), "Port": member.address.port(), "Tags": member.tags, "Status": member.status.name(),
        "ProtocolMin": 1, "ProtocolMax": 5, "ProtocolCur": 2, "DelegateMin": 2, "DelegateMax": 5, "DelegateCur": 4,
    })
}

fn agent_self(agent: &Agent) -> Value {
    let settings = &agent.settings;
    let none = json!({
        "Name": "", "Addr": null, "Port": 0, "Tags": null, "Status": "none", "ProtocolMin": 0, "ProtocolMax": 0, "ProtocolCur": 0, "DelegateMin": 0,
        "DelegateMax": 0, "DelegateCur": 0,
    });
    let mut stats = Map::new();
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).to_string();
    stats.insert("runtime".into(), json!({ "arch": "amd64", "cpu_count": cpus, "goroutines": "1", "kernel.name": "linux", "max_procs": cpus, "version": "stand-in" }));
    if let Some(server) = &agent.server {
        let metrics = server.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership().clone();
        let leader = server.leader();
        let leads = leader == Some(crate::server::Leader::Me);
        let address = match leader {
            Some(crate::server::Leader::Me) => server.gossip.me().rpc(),
            Some(crate::server::Leader::Other(address)) => address,
            None => String::new(),
        };
        let voters: Vec<_> = membership.voter_ids().collect();
        let list: Vec<String> = membership
            .nodes()
            .map(|(id, node)| {
                format!(
                    "{{Suffrage:{} ID:{id} Address:{}}}",
                    if voters.contains(id) { "Voter" } else { "Nonvoter" },
                    node.addr
                )
            })
            .collect();
        let number = |index: Option<u64>| index.unwrap_or(0).to_string();
        let members = server.gossip.members();
        let count = |status| members.iter().filter(|member| member.status == status).count().to_string();
        stats.insert(
            "nomad".into(),
            json!({ "server": "true", "leader": leads.to_string(), "leader_addr": address, "bootstrap": (settings.server.bootstrap_expect == 1).to_string(), "known_regions": "1" }),
        );
        stats.insert(
            "raft".into(),
            json!({
                "applied_index": number(metrics.last_applied.map(|id| id.index)), "commit_index": number(metrics.last_applied.map(|id| id.index)), "fsm_pending": "0",
                "last_contact": if leads { "0" } else { "never" }, "last_log_index": number(metrics.last_log_index), "last_log_term": metrics.current_term.to_string(),
                "last_snapshot_index": number(metrics.snapshot.map(|id| id.index)), "last_snapshot_term": number(metrics.snapshot.map(|id| id.leader_id.term)),
                "latest_configuration": format!("[{}]", list.join(" ")), "latest_configuration_index": "0", "logstore_backend": "stand-in",
                "num_peers": list.len().saturating_sub(1).to_string(), "protocol_version": "3", "protocol_version_max": "3", "protocol_version_min": "0",
                "snapshot_version_max": "1", "snapshot_version_min": "0",
                "state": if leads { "Leader" } else if metrics.state == openraft::ServerState::Candidate { "Candidate" } else { "Follower" },
                "term": metrics.current_term.to_string(),
            }),
        );
        stats.insert(
            "serf".into(),
            json!({
                "coordinate_resets": "0", "encrypted": "false", "event_queue": "0", "event_time": "1", "failed": count(crate::server::gossip::Status::Failed),
                "health_score": "0", "intent_queue": "0", "left": count(crate::server::gossip::Status::Left), "member_time": "1", "members": members.len().to_string(),
                "query_queue": "0", "query_time": "1",
            }),
        );
    }
    if let Some(client) = &agent.client {
        stats.insert("client".into(), client.stats());
    }
    let join = |join: Option<&crate::config::Join>| {
        let join = join.cloned().unwrap_or_default();
        json!({ "RetryJoin": join.retry_join, "StartJoin": join.start_join, "RetryMaxAttempts": join.retry_max, "RetryInterval": clock::nanos(join.retry_interval) })
    };
    let volumes: Vec<Value> = settings
        .client
        .host_volume
        .iter()
        .map(|(name, volume)| json!({ "Name": name, "Path": volume["path"], "ReadOnly": volume["read_only"] == true }))
        .collect();
    let addresses = |all: &crate::config::Addresses| json!({ "HTTP": all.http, "RPC": all.rpc, "Serf": all.serf });
    json!({
        "config": {
            "Region": settings.region, "Datacenter": settings.datacenter, "NodeName": settings.name, "DataDir": settings.data_dir, "LogLevel": crate::log::level_name(),
            "BindAddr": settings.bind_addr, "Ports": { "HTTP": settings.ports.http, "RPC": settings.ports.rpc, "Serf": settings.ports.serf },
            "Addresses": addresses(&settings.addresses), "AdvertiseAddrs": addresses(&agent.advertise), "ACL": { "Enabled": settings.acl.enabled },
            "Server": { "Enabled": settings.server.enabled, "BootstrapExpect": settings.server.bootstrap_expect, "RaftMultiplier": settings.server.raft_multiplier },
            "Client": {
                "Enabled": settings.client.enabled, "Servers": settings.client.servers, "Meta": settings.client.meta, "Options": settings.client.options,
                "Reserved": {
                    "CPU": settings.client.reserved.cpu, "MemoryMB": settings.client.reserved.memory, "DiskMB": settings.client.reserved.disk,
                    "ReservedPorts": settings.client.reserved.reserved_ports,
                },
                "ServerJoin": join(settings.client.server_join.as_ref()), "HostVolumes": volumes,
                "NodeClass": settings.client.node_class, "NodePool": settings.client.node_pool, "NetworkInterface": settings.client.network_interface,
            },
            "Limits": {
                "HTTPMaxConnsPerClient": settings.limits.http_max_conns_per_client, "HTTPSHandshakeTimeout": settings.limits.https_handshake_timeout,
                "RPCMaxConnsPerClient": settings.limits.rpc_max_conns_per_client, "RPCHandshakeTimeout": settings.limits.rpc_handshake_timeout,
            },
            "LeaveOnInt": settings.leave_on_interrupt, "LeaveOnTerm": settings.leave_on_terminate, "Files": agent.files, "DisableUpdateCheck": true,
            "Version": { "Version": VERSION, "VersionPrerelease": "", "VersionMetadata": "stand-in", "Revision": "", "BuildDate": null },
        },
        "member": agent.server.as_ref().map_or(none, |server| member(&server.gossip.me())),
        "stats": stats,
    })
}

fn metrics(agent: &Agent, request: &Request) -> Response {
    let leads = agent.server.as_ref().is_some_and(|server| server.leads());
    if request.query("format") == "prometheus" {
        if !agent.settings.telemetry.prometheus_metrics {
            return Response::error(415, "Prometheus is not enabled");
        }
        let body = format!("# TYPE nomad_stand_in_leader gauge\nnomad_stand_in_leader {}\n", u8::from(leads));
        return Response { body, ..Response::empty(200) }
            .with("content-type", "text/plain; version=0.0.4; charset=utf-8");
    }
    let gauge = json!({ "Name": "nomad.stand_in.leader", "Labels": {}, "Value": u8::from(leads) });
    let stamp = format!("{} +0000 UTC", clock::rfc3339(clock::now()).replace('T', " ").trim_end_matches('Z'));
    Response::json(
        &json!({ "Timestamp": stamp, "Gauges": [gauge], "Counters": [], "Points": [], "PrecisionGauges": [], "Samples": [] }),
    )
}
