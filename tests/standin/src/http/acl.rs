//! Access control as far as it goes here: off, or on with one management token. Policies are not supported.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Request, Response};
use crate::agent::Agent;
use crate::clock;
use crate::server::Server;
use crate::server::state::Change;

/// Paths that stay open to everybody.
pub(super) fn open(request: &Request) -> bool {
    matches!(
        request.path.as_str(),
        "/v1/status/leader"
            | "/v1/status/peers"
            | "/v1/agent/health"
            | "/v1/regions"
            | "/v1/metrics"
            | "/.well-known/jwks.json"
            | "/v1/acl/bootstrap"
    )
}

/// Whether the request carries the management token.
pub(super) async fn allowed(agent: &Arc<Agent>, request: &Request) -> bool {
    if request.token.is_empty() {
        return false;
    }
    match (&agent.server, &agent.client) {
        (Some(server), _) => server.state.read().token == request.token,
        (None, Some(client)) => {
            // A client knows no tokens; what it asks for in the caller's name is judged by a server.
            let path = "/v1/acl/token/self".to_owned();
            let ask = Request {
                method: "GET".into(),
                path,
                query: BTreeMap::new(),
                body: String::new(),
                token: request.token.clone(),
            };
            client.forward(ask).await.status == 200
        }
        (None, None) => false,
    }
}

/// `/v1/acl/...` on the leader.
pub(super) async fn answer(server: &Arc<Server>, request: &Request) -> Response {
    if !server.settings.acl.enabled {
        return Response::error(400, "ACL support disabled");
    }
    match request.path.as_str() {
        "/v1/acl/bootstrap" if request.writes() => bootstrap(server, request).await,
        "/v1/acl/token/self" => {
            let state = server.state.read();
            if !state.token.is_empty() && state.token == request.token {
                Response::json(&token(&state.token))
            } else {
                Response::error(403, "Permission denied")
            }
        }
        path => Response::error(501, format!("{path} is not supported by the stand-in")),
    }
}

async fn bootstrap(server: &Arc<Server>, request: &Request) -> Response {
    let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
    let secret = match body["BootstrapSecret"].as_str() {
        None | Some("") => Uuid::new_v4().to_string(),
        Some(chosen) if Uuid::parse_str(chosen).is_ok() => chosen.to_owned(),
        Some(_) => return Response::error(400, "invalid acl token"),
    };
    let decided = server.decide(|state| {
        if state.token.is_empty() {
            Ok((vec![Change::Token(secret.clone())], ()))
        } else {
            Err(format!("ACL bootstrap already done (reset index: {})", state.token_index))
        }
    });
    match decided.await {
        Ok((index, ())) => Response::json(&token(&secret)).with("x-nomad-index", index),
        Err(error) => Response::error(400, error),
    }
}

fn token(secret: &str) -> Value {
    json!({
        "AccessorID": Uuid::new_v5(&Uuid::NAMESPACE_OID, secret.as_bytes()), "SecretID": secret, "Name": "Bootstrap Token", "Type": "management", "Policies": null,
        "Roles": null, "Global": true, "CreateTime": clock::precise(clock::now()),
    })
}
