//! The API: one server on the HTTP port, answered here, by the leader, or by the client that has the allocation.

mod acl;
mod agent;
mod jobs;
mod reads;
mod serve;
mod vars;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::Agent;
use crate::rpc::RpcError;
use crate::server::{Leader, NO_LEADER, Server};

pub(crate) use serve::serve;

/// A request, as it is passed on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Method.
    pub(crate) method: String,
    /// Path.
    pub(crate) path: String,
    /// Query.
    pub(crate) query: BTreeMap<String, String>,
    /// Body.
    pub(crate) body: String,
    /// Token, from whichever header it came.
    #[serde(default)]
    pub(crate) token: String,
}

/// An answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Response {
    /// Status.
    pub(crate) status: u16,
    /// Headers besides those that every answer has.
    pub(crate) headers: Vec<(String, String)>,
    /// Body.
    pub(crate) body: String,
}

impl Request {
    /// The path's parts, decoded.
    #[must_use]
    pub(crate) fn parts(&self) -> Vec<String> {
        self.path.trim_start_matches('/').split('/').map(decode).collect()
    }

    /// Whether a query key is there, whatever its value, except `false`.
    #[must_use]
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.query.get(key).is_some_and(|value| value != "false")
    }

    /// A query value.
    #[must_use]
    pub(crate) fn query(&self, key: &str) -> &str {
        self.query.get(key).map_or("", String::as_str)
    }

    fn writes(&self) -> bool {
        matches!(self.method.as_str(), "PUT" | "POST" | "DELETE")
    }
}

impl Response {
    /// JSON.
    #[must_use]
    pub(crate) fn json(value: &impl Serialize) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type".into(), "application/json".into())],
            body: serde_json::to_string(value).unwrap_or_default(),
        }
    }

    /// An error, as bare text.
    #[must_use]
    pub(crate) fn error(status: u16, text: impl Into<String>) -> Self {
        Self { status, headers: vec![("content-type".into(), "text/plain; charset=utf-8".into())], body: text.into() }
    }

    /// Nothing.
    #[must_use]
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// With a header.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }
}

/// Undoes percent encoding.
#[must_use]
pub(crate) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Answers a request that came in on this agent's port.
pub(crate) async fn handle(agent: &Arc<Agent>, request: Request) -> Response {
    if request.path == "/" {
        return Response { body: "<a href=\"/ui/\">Temporary Redirect</a>.\n\n".into(), ..Response::empty(307) }
            .with("content-type", "text/html; charset=utf-8")
            .with("location", "/ui/");
    }
    if request.path.starts_with("/ui/") {
        return Response {
            body: "<!DOCTYPE html><title>stand-in</title><p>The stand-in has no web UI.</p>".into(),
            ..Response::empty(200)
        }
        .with("content-type", "text/html; charset=utf-8");
    }
    if agent.settings.acl.enabled
        && !acl::open(&request)
        && let Some(why) = acl::refusal(agent, &request).await
    {
        return Response::error(403, why);
    }
    if let Some(response) = agent::local(agent, &request).await {
        return response;
    }
    if !known(&request) {
        return Response::empty(404);
    }
    let pretty = request.flag("pretty");
    let mut response = match (&agent.server, &agent.client) {
        (Some(server), _) => server_side(server, request).await,
        (None, Some(client)) => client.forward(request).await,
        (None, None) => Response::empty(404),
    };
    if pretty
        && response.status == 200
        && let Ok(value) = serde_json::from_str::<Value>(&response.body)
    {
        response.body = indent(&value);
    }
    response
}

/// JSON with four spaces of indent.
#[must_use]
pub(crate) fn indent(value: &Value) -> String {
    let mut out = Vec::new();
    let mut writer =
        serde_json::Serializer::with_formatter(&mut out, serde_json::ser::PrettyFormatter::with_indent(b"    "));
    let _ = value.serialize(&mut writer);
    String::from_utf8(out).unwrap_or_default()
}

/// Whether a server knows the path at all.
fn known(request: &Request) -> bool {
    let parts = request.parts();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        [".well-known", "jwks.json"] => true,
        ["v1", "node" | "job" | "evaluation" | "allocation" | "deployment" | "acl" | "var", ..] => true,
        ["v1", one] => {
            ["nodes", "jobs", "evaluations", "allocations", "deployments", "regions", "namespaces", "search", "vars"]
                .contains(one)
        }
        ["v1", "operator", rest @ ..] => matches!(
            rest,
            ["raft", "configuration" | "peer"]
                | ["autopilot", "health" | "configuration"]
                | ["scheduler", "configuration"]
                | ["snapshot"]
        ),
        ["v1", rest @ ..] => matches!(
            rest,
            ["status", "leader" | "peers"]
                | ["jobs", "parse" | "statuses"]
                | ["validate", "job"]
                | ["system", "gc"]
                | ["system", "reconcile", "summaries"]
        ),
        _ => false,
    }
}

/// Answers on a server, or passes on to the leader.
pub(crate) async fn server_side(server: &Arc<Server>, request: Request) -> Response {
    let region = request.query("region");
    if !region.is_empty() && region != server.settings.region {
        return Response::error(500, "No path to region");
    }
    if let Some(early) = reads::early(&request) {
        return early;
    }
    if request.flag("stale") && !request.writes() {
        let known = server.leader().is_some();
        return reads::answer(server, &request).await.with_stale(known);
    }
    match server.await_leader().await {
        Err(_) => Response::error(500, NO_LEADER),
        Ok(Leader::Other(address)) => {
            let wait = Duration::from_secs(660);
            match tokio::time::timeout(wait, server.calls.call::<_, Response>(&address, "Http", &request)).await {
                Ok(Ok(response)) => response,
                Ok(Err(RpcError::Remote(text))) => Response::error(500, text),
                Ok(Err(error)) => Response::error(500, format!("rpc error: {error}")),
                Err(_) => Response::error(500, "rpc error: timeout"),
            }
        }
        Ok(Leader::Me) if request.writes() => writes::answer(server, &request).await,
        Ok(Leader::Me) => reads::answer(server, &request).await,
    }
}

impl Response {
    /// Marks the answer to a stale read.
    #[must_use]
    fn with_stale(mut self, known_leader: bool) -> Self {
        for (name, value) in &mut self.headers {
            if name == "x-nomad-knownleader" {
                *value = known_leader.to_string();
            }
            if name == "x-nomad-lastcontact" && !known_leader {
                *value = "9223372036854".into();
            }
        }
        self
    }
}
