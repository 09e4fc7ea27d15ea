//! `/v1/client/...`: logs, files, signals and statistics, answered by the client that has the allocation.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Component, Path};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::fingerprint::meminfo;
use super::task::signal_by_name;
use crate::agent::Agent;
use crate::clock;
use crate::http::{Request, Response};

/// Answers, or passes on to the agent that can.
pub(crate) async fn answer(agent: &Arc<Agent>, request: &Request, parts: &[&str]) -> Response {
    if let ["v1", "client", "stats"] = parts {
        return match &agent.client {
            Some(_) if request.query("node_id").is_empty() || agent.server.is_none() => Response::json(&stats()),
            _ => Response::error(501, "statistics of another node are not supported by the stand-in"),
        };
    }
    let id = match parts {
        ["v1", "client", "fs", _, id] => id,
        ["v1", "client", "allocation", id, _] => id,
        _ => return Response::error(501, format!("{} is not supported by the stand-in", request.path)),
    };
    if let Some(client) = &agent.client
        && client.runner(id).is_some()
    {
        if let [_, _, "allocation", _, "exec"] = parts {
            return exec(client, request, id).await;
        }
        return here(client, request, parts, id);
    }
    pass_on(agent, request, id).await
}

/// Asks the agent of the node that has the allocation, at its advertised address.
async fn pass_on(agent: &Arc<Agent>, request: &Request, id: &str) -> Response {
    let ask = |path: String| Request {
        method: "GET".into(),
        path,
        query: BTreeMap::new(),
        body: String::new(),
        token: String::new(),
    };
    let find = async |path: String| -> Option<Value> {
        let response = match (&agent.server, &agent.client) {
            (Some(server), _) => crate::http::server_side(server, ask(path)).await,
            (None, Some(client)) => client.forward(ask(path)).await,
            (None, None) => return None,
        };
        serde_json::from_str(&response.body).ok().filter(|_| response.status == 200)
    };
    let Some(alloc) = find(format!("/v1/allocation/{id}")).await else {
        return Response::error(404, format!("Unknown allocation {id:?}"));
    };
    let node = alloc["NodeID"].as_str().unwrap_or_default();
    let Some(address) =
        find(format!("/v1/node/{node}")).await.and_then(|node| node["HTTPAddr"].as_str().map(str::to_owned))
    else {
        return Response::error(404, "Unknown node");
    };
    if address == agent.advertise.http {
        return Response::error(404, format!("Unknown allocation {id:?}"));
    }
    let request = request.clone();
    let sent = tokio::task::spawn_blocking(move || crate::cli::http::raw(&format!("http://{address}"), &request)).await;
    match sent {
        Ok(Ok((status, body))) => Response { status, body, ..Response::default() },
        Ok(Err(error)) => Response::error(500, error),
        Err(error) => Response::error(500, error.to_string()),
    }
}

/// Runs a command beside a task. The body and the answer are the stand-in's own: its command line is the only one that asks.
async fn exec(client: &super::Client, request: &Request, id: &str) -> Response {
    let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
    let Some(runner) = client.runner(id) else { return Response::error(404, "alloc not found") };
    let task = body["Task"]
        .as_str()
        .filter(|task| !task.is_empty())
        .map_or_else(|| runner.only_task().unwrap_or_default(), str::to_owned);
    let Some(task) = runner.task(&task) else { return Response::error(400, format!("unknown task name {task:?}")) };
    let words: Vec<String> =
        body["Command"].as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect();
    let input = BASE64.decode(body["Stdin"].as_str().unwrap_or_default()).unwrap_or_default();
    match tokio::task::spawn_blocking(move || task.exec(&words, &input)).await {
        Ok(Ok(out)) => {
            let code = out.status.code().unwrap_or_else(|| 128 + out.status.signal().unwrap_or(0));
            Response::json(
                &json!({ "Code": code, "Stdout": BASE64.encode(out.stdout), "Stderr": BASE64.encode(out.stderr) }),
            )
        }
        Ok(Err(error)) => Response::json(&json!({ "Error": error })),
        Err(error) => Response::error(500, error.to_string()),
    }
}

fn here(client: &super::Client, request: &Request, parts: &[&str], id: &str) -> Response {
    let Some(runner) = client.runner(id) else { return Response::error(404, "alloc not found") };
    let task = match request.query("task") {
        "" => runner.only_task().unwrap_or_default(),
        task => task.to_owned(),
    };
    match parts {
        [_, _, "fs", "logs", _] => {
            let kind = request.query("type");
            if !matches!(kind, "stdout" | "stderr") {
                return Response::error(400, "Log type must be stdout or stderr");
            }
            if runner.task(&task).is_none() {
                return Response::error(400, format!("unknown task name {task:?}"));
            }
            let text = fs::read(runner.dir().join(format!("alloc/logs/{task}.{kind}.0"))).unwrap_or_default();
            Response { body: String::from_utf8_lossy(&text).into_owned(), ..Response::empty(200) }
                .with("content-type", "text/plain; charset=utf-8")
        }
        [_, _, "fs", what @ ("ls" | "cat" | "stat"), _] => {
            let wanted = Path::new(request.query("path").trim_start_matches('/'));
            if wanted.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
                return Response::error(500, "Path escapes the alloc directory");
            }
            let path = runner.dir().join(wanted);
            let missing = |error: std::io::Error| {
                Response::error(404, format!("{what} {}: {}", path.display(), crate::config::words(&error)))
            };
            match *what {
                "cat" => fs::read(&path).map_or_else(missing, |bytes| Response {
                    body: String::from_utf8_lossy(&bytes).into_owned(),
                    ..Response::empty(200)
                }),
                "stat" => fs::metadata(&path).map_or_else(missing, |meta| Response::json(&entry(&path, &meta))),
                _ => match fs::read_dir(&path) {
                    Ok(list) => {
                        let mut all: Vec<Value> =
                            list.flatten().filter_map(|one| Some(entry(&one.path(), &one.metadata().ok()?))).collect();
                        all.sort_by_key(|one| one["Name"].as_str().unwrap_or_default().to_owned());
                        Response::json(&all)
                    }
                    Err(error) => missing(error),
                },
            }
        }
        [_, _, "allocation", _, "signal"] if request.method != "GET" => {
            let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
            let name = body["Signal"].as_str().unwrap_or("SIGKILL");
            let Some(signal) = signal_by_name(name) else {
                return Response::error(400, format!("invalid signal {name:?}"));
            };
            let only = body["Task"].as_str().filter(|task| !task.is_empty());
            for task in runner.alloc().task_states.keys().filter(|task| only.is_none_or(|only| only == task.as_str())) {
                if let Some(task) = runner.task(task) {
                    task.signal(&runner, signal);
                }
            }
            Response::json(&json!({}))
        }
        [_, _, "allocation", _, "restart"] if request.method != "GET" => {
            let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
            let only = body["TaskName"].as_str().filter(|task| !task.is_empty());
            for task in runner.alloc().task_states.keys().filter(|task| only.is_none_or(|only| only == task.as_str())) {
                if let Some(task) = runner.task(task) {
                    task.restart();
                }
            }
            Response::json(&json!({}))
        }
        [_, _, "allocation", _, what] => {
            Response::error(501, format!("{what} of an allocation is not supported by the stand-in"))
        }
        _ => Response::error(501, format!("{} is not supported by the stand-in", request.path)),
    }
}

fn entry(path: &Path, meta: &fs::Metadata) -> Value {
    let mode = meta.permissions().mode();
    let bits: String =
        (0..9).rev().map(|bit| if mode >> bit & 1 == 1 { ['x', 'w', 'r'][bit % 3] } else { '-' }).collect();
    let time =
        meta.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok()).map_or(0, clock::nanos);
    json!({
        "Name": path.file_name().map(|name| name.to_string_lossy()), "IsDir": meta.is_dir(), "Size": meta.len(),
        "FileMode": format!("{}{bits}", if meta.is_dir() { "d" } else { "-" }), "ModTime": clock::rfc3339(time), "ContentType": "",
    })
}

fn stats() -> Value {
    let (total, available, free) = (meminfo("MemTotal") << 10, meminfo("MemAvailable") << 10, meminfo("MemFree") << 10);
    let uptime = fs::read_to_string("/proc/uptime")
        .ok()
        .and_then(|text| text.split('.').next()?.parse::<u64>().ok())
        .unwrap_or(0);
    json!({
        "Memory": { "Total": total, "Available": available, "Used": total.saturating_sub(available), "Free": free }, "CPU": [], "DiskStats": [],
        "Uptime": uptime, "Timestamp": clock::now(), "CPUTicksConsumed": 0.0,
    })
}
