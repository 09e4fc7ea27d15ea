//! Variables and the locks on them, as far as nodes that take turns need them: the namespace `default`, values as they are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Request, Response};
use crate::clock;
use crate::config::duration;
use crate::server::Server;
use crate::server::objects::{Lock, Variable};
use crate::server::state::Change;

/// What a lock has when its maker does not say.
const DELAY: &str = "15s";
const TTL: &str = "15s";
/// Shortest and longest time to live.
const BOUNDS: [Duration; 2] = [Duration::from_secs(10), Duration::from_hours(24)];

/// `GET /v1/vars`
pub(super) fn list<'a>(variables: impl Iterator<Item = &'a Variable>, prefix: &str) -> Response {
    let found = variables.filter(|variable| variable.id.starts_with(prefix));
    Response::json(&found.map(|variable| shown(variable, false)).collect::<Vec<_>>())
}

/// `GET /v1/var/PATH`
pub(super) fn read(variable: Option<&Variable>) -> Response {
    variable
        .map_or_else(|| Response::error(404, "variable not found"), |variable| Response::json(&shown(variable, true)))
}

/// What a decision was.
enum Decision {
    /// Done; the variable with its values, or without.
    Done(Option<bool>),
    /// Somebody else has the lock.
    Conflict,
    /// Another index than the one that the change was for; the variable as it is.
    Outdated(Option<Box<Variable>>),
    /// In words, with the status of the answer.
    Refused(u16, &'static str),
}

/// `PUT` and `DELETE` of `/v1/var/PATH`.
pub(super) async fn write(server: &Arc<Server>, path: &str, request: &Request) -> Result<Response, String> {
    let namespace = request.query("namespace");
    if !matches!(namespace, "" | "default") {
        return Ok(Response::error(501, format!("the namespace {namespace:?} is not supported by the stand-in")));
    }
    let body: Value = if request.method == "DELETE" {
        Value::Null
    } else {
        serde_json::from_str(&request.body).map_err(|error| error.to_string())?
    };
    let id = body["Lock"]["ID"].as_str().unwrap_or_default();
    if request.query.contains_key("lock-renew") {
        return Ok(renew(server, path, id));
    }
    let acquire = request.query.contains_key("lock-acquire");
    let ttl = body["Lock"]["TTL"].as_str().unwrap_or(TTL);
    if acquire && duration::parse(ttl).is_none_or(|ttl| ttl < BOUNDS[0] || ttl > BOUNDS[1]) {
        let text = "RPC Error:: 400,1 error occurred:\n\t* TTL must be between 10 seconds and 24 hours\n\n";
        return Ok(Response::error(400, text));
    }
    let release = request.query.contains_key("lock-release");
    if release && body["Items"].is_object() {
        let text = "RPC Error:: 400,lock release operation doesn't take variable items";
        return Ok(Response::error(400, text));
    }
    if !acquire
        && !release
        && request.method != "DELETE"
        && body["Items"].as_object().is_none_or(serde_json::Map::is_empty)
    {
        return Ok(Response::error(400, "variable missing required Items object"));
    }
    let wanted = match request.query("cas") {
        "" => None,
        text => match text.parse::<u64>() {
            Ok(index) => Some(index),
            Err(why) => return Ok(Response::error(400, format!("can not parse cas: {why}"))),
        },
    };
    let (index, decision) = server
        .decide(|state| {
            let old = state.variables.get(path);
            let holder = old.and_then(|old| old.lock.as_ref()).map(|lock| lock.id.as_str());
            let put = |lock: Option<Lock>, items: Option<BTreeMap<String, String>>| {
                let mut new =
                    old.cloned().unwrap_or_else(|| Variable { create_time: clock::now(), ..Variable::default() });
                path.clone_into(&mut new.id);
                new.lock = lock;
                new.items = items.unwrap_or(new.items);
                new.modify_time = clock::now();
                vec![Change::Variable(Box::new(new))]
            };
            let items = serde_json::from_value(body["Items"].clone()).ok();
            Ok(if release {
                match (old, holder) {
                    (None, _) => (Vec::new(), Decision::Refused(500, "variable doesn't exist")),
                    (_, None) => (Vec::new(), Decision::Refused(500, "variable doesn't hold a lock")),
                    (_, Some(holder)) if holder != id => (Vec::new(), Decision::Conflict),
                    _ => (put(None, None), Decision::Done(Some(false))),
                }
            } else if acquire {
                if holder.is_some_and(|holder| holder != id) {
                    (Vec::new(), Decision::Conflict)
                } else {
                    let id = if id.is_empty() { uuid::Uuid::new_v4().to_string() } else { id.to_owned() };
                    let delay = body["Lock"]["LockDelay"].as_str().unwrap_or(DELAY).to_owned();
                    (put(Some(Lock { id, ttl: ttl.to_owned(), delay }), items), Decision::Done(Some(true)))
                }
            } else if holder.is_some_and(|holder| holder != id) {
                (Vec::new(), Decision::Conflict)
            } else if wanted.is_some_and(|wanted| wanted != old.map_or(0, |old| old.modify_index)) {
                (Vec::new(), Decision::Outdated(old.cloned().map(Box::new)))
            } else if request.method == "DELETE" {
                (vec![Change::DropVariable(path.to_owned())], Decision::Done(None))
            } else {
                (put(old.and_then(|old| old.lock.clone()), items), Decision::Done(Some(true)))
            })
        })
        .await?;
    Ok(match decision {
        Decision::Conflict => conflict(path),
        Decision::Outdated(None) => conflict(path),
        Decision::Outdated(Some(known)) => Response { status: 409, ..Response::json(&shown(&known, true)) },
        Decision::Refused(status, words) => Response::error(status, words),
        Decision::Done(None) => Response::empty(204).with("x-nomad-index", index),
        Decision::Done(Some(values)) => {
            let state = server.state.read();
            let variable = state.variables.get(path);
            server.locks.note(path, variable);
            variable
                .map_or_else(|| Response::empty(204), |variable| Response::json(&shown(variable, values)))
                .with("x-nomad-index", index)
        }
    })
}

/// The leader alone counts the time of a lock: nothing is written.
fn renew(server: &Server, path: &str, id: &str) -> Response {
    let state = server.state.read();
    let Some(variable) = state.variables.get(path) else { return Response::error(404, "variable doesn't exist") };
    match &variable.lock {
        None => Response::error(409, "variable doesn't hold a lock"),
        Some(lock) if lock.id != id => Response::error(409, "attempting to modify locked variable"),
        Some(_) => {
            server.locks.note(path, Some(variable));
            Response::json(&shown(variable, false))
        }
    }
}

fn conflict(path: &str) -> Response {
    Response { status: 409, ..Response::json(&shown(&Variable { id: path.to_owned(), ..Variable::default() }, false)) }
}

fn shown(variable: &Variable, values: bool) -> Value {
    let mut out = json!({
        "CreateIndex": variable.create_index, "CreateTime": variable.create_time, "ModifyIndex": variable.modify_index,
        "ModifyTime": variable.modify_time, "Namespace": "default", "Path": variable.id,
    });
    if values && !variable.items.is_empty() {
        out["Items"] = json!(variable.items);
    }
    if let Some(lock) = &variable.lock {
        out["Lock"] = json!({ "TTL": lock.ttl, "LockDelay": lock.delay, "ID": lock.id });
    }
    out
}
