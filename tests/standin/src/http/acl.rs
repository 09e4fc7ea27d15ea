//! Access control as far as it goes here: off, or on with one management token, and others with policies about variables and operators.

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Request, Response};
use crate::agent::Agent;
use crate::clock;
use crate::server::Server;
use crate::server::state::{Change, State};

const DENIED: &str = "Permission denied";
/// What a client asks a server about in a caller's name.
const METHOD: &str = "of-method";
const PATH: &str = "of-path";

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

/// Why the request is refused; nothing when its token has the right.
pub(super) async fn refusal(agent: &Arc<Agent>, request: &Request) -> Option<String> {
    match (&agent.server, &agent.client) {
        (Some(server), _) => judge(&server.state.read(), &request.token, &request.method, &request.path),
        (None, Some(client)) => {
            // A client knows no tokens; what it asks for in the caller's name is judged by a server.
            let query =
                [(METHOD.to_owned(), request.method.clone()), (PATH.to_owned(), request.path.clone())].into_iter();
            let ask = Request {
                method: "GET".into(),
                path: "/v1/acl/token/self".to_owned(),
                query: query.collect(),
                body: String::new(),
                token: request.token.clone(),
            };
            let answer = client.forward(ask).await;
            (answer.status != 200).then_some(answer.body)
        }
        (None, None) => Some(DENIED.to_owned()),
    }
}

/// Why a token may not do this. A node's secret is one for its node; what other tokens may, their policies say.
fn judge(state: &State, token: &str, method: &str, path: &str) -> Option<String> {
    if !state.token.is_empty() && state.token == token {
        return None;
    }
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    if let ["v1", "node", id] | ["v1", "node", id, "drain"] = parts[..]
        && state.nodes.get(id).is_some_and(|node| !token.is_empty() && node.secret == token)
    {
        return None;
    }
    let denied = Some(DENIED.to_owned());
    let Some(policies) = state.tokens.get(token) else {
        return if token.is_empty() { denied } else { Some("ACL token not found".into()) };
    };
    let mut rules = policies.iter().filter_map(|name| state.policies.get(name)).map(|rules| Rules::read(rules));
    let (reads, deletes) = (method == "GET", method == "DELETE");
    let may = match &parts[..] {
        ["v1", "acl", "token", "self"] => true,
        ["v1", "var", path @ ..] => {
            let capability = if reads { "read" } else { ["write", "destroy"][usize::from(deletes)] };
            rules.any(|rules| rules.variables(&path.join("/"), capability))
        }
        ["v1", "operator", ..] => rules.any(|rules| rules.operator == "write" || reads && rules.operator == "read"),
        _ => false,
    };
    if may { None } else { denied }
}

/// What of a policy's rules is known here.
struct Rules {
    /// What may be done with the variables of the namespace `default` below a path, which may end in `*`.
    paths: Vec<(String, Vec<String>)>,
    /// `read` or `write`, or nothing.
    operator: String,
}

impl Rules {
    fn read(text: &str) -> Self {
        // Policies are in the first version of the language, in which a block in a line may have another one in it.
        let text = text.replace('{', "{\n").replace('}', "\n}\n");
        let rules: Value = hcl::from_str(&text).unwrap_or_default();
        let paths = rules["namespace"]["default"]["variables"]["path"].as_object().cloned().unwrap_or_default();
        let paths = paths
            .into_iter()
            .map(|(path, rule)| (path, serde_json::from_value(rule["capabilities"].clone()).unwrap_or_default()));
        Self { paths: paths.collect(), operator: rules["operator"]["policy"].as_str().unwrap_or_default().to_owned() }
    }

    fn variables(&self, path: &str, capability: &str) -> bool {
        let below = |rule: &str| rule.strip_suffix('*').map_or(rule == path, |folder| path.starts_with(folder));
        self.paths.iter().any(|(rule, capabilities)| below(rule) && capabilities.iter().any(|one| one == capability))
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
            let asked = [request.query(METHOD), request.query(PATH)];
            let [method, path] = if asked[1].is_empty() { [request.method.as_str(), &request.path] } else { asked };
            match judge(&state, &request.token, method, path) {
                Some(why) => Response::error(403, why),
                None if state.token == request.token => Response::json(&token(&state.token)),
                None => Response::json(&client_token(&request.token, state.tokens.get(&request.token))),
            }
        }
        "/v1/acl/token" if request.writes() => make_token(server, request).await,
        path if path.starts_with("/v1/acl/policy/") && request.writes() => make_policy(server, request).await,
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

/// Makes a policy, or another one of it.
async fn make_policy(server: &Arc<Server>, request: &Request) -> Response {
    let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
    let (name, rules) = (body["Name"].as_str().unwrap_or_default(), body["Rules"].as_str().unwrap_or_default());
    if request.path.rsplit('/').next() != Some(name) {
        return Response::error(400, "ACL policy name does not match request path");
    }
    let change = Change::Policy(name.to_owned(), rules.to_owned());
    match server.decide(|_| Ok((vec![change], ()))).await {
        Ok((index, ())) => Response::empty(200).with("x-nomad-index", index),
        Err(error) => Response::error(500, error),
    }
}

/// Makes a token with policies: its secret may be the caller's choice, beside an accessor.
async fn make_token(server: &Arc<Server>, request: &Request) -> Response {
    let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
    let chosen = |key: &str| body[key].as_str().filter(|text| !text.is_empty());
    let secret = match (chosen("AccessorID"), chosen("SecretID")) {
        (None, _) => Uuid::new_v4().to_string(),
        (Some(accessor), Some(secret)) if Uuid::parse_str(accessor).is_ok() && Uuid::parse_str(secret).is_ok() => {
            secret.to_owned()
        }
        (Some(accessor), _) => return Response::error(400, format!("RPC Error:: 400,cannot find token {accessor}")),
    };
    if body["Type"] != "client" {
        return Response::error(501, "tokens that are not of type client are not supported by the stand-in");
    }
    let policies: Vec<String> = serde_json::from_value(body["Policies"].clone()).unwrap_or_default();
    let change = Change::ClientToken(secret.clone(), policies.clone());
    match server.decide(|_| Ok((vec![change], ()))).await {
        Ok((index, ())) => Response::json(&client_token(&secret, Some(&policies))).with("x-nomad-index", index),
        Err(error) => Response::error(500, error),
    }
}

fn client_token(secret: &str, policies: Option<&Vec<String>>) -> Value {
    json!({
        "AccessorID": Uuid::new_v5(&Uuid::NAMESPACE_OID, secret.as_bytes()), "SecretID": secret, "Name": "", "Type": "client", "Policies": policies,
        "Roles": null, "Global": false,
    })
}

fn token(secret: &str) -> Value {
    json!({
        "AccessorID": Uuid::new_v5(&Uuid::NAMESPACE_OID, secret.as_bytes()), "SecretID": secret, "Name": "Bootstrap Token", "Type": "management", "Policies": null,
        "Roles": null, "Global": true, "CreateTime": clock::precise(clock::now()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_say_what_a_token_may() {
        let rules = Rules::read(
            "namespace \"default\" { variables { path \"a/b/*\" { capabilities = [\"read\"] } } }\n\
             operator { policy = \"read\" }   # servers",
        );
        assert_eq!(rules.operator, "read");
        assert!(rules.variables("a/b/c", "read"));
        assert!(!rules.variables("a/b/c", "write") && !rules.variables("a/c", "read"));
        assert!(!Rules::read("no rules {").variables("a/b/c", "read"));
    }
}
