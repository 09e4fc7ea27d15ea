//! `nomad server members | join | force-leave`

use super::table::{columns, row, text};
use super::{Done, Failure, command, doing};
use crate::http::indent;

/// `nomad server members`
pub(super) fn members(args: &[String]) -> Done {
    let command = command("server members", args, &["verbose", "detailed", "json"], &[])?;
    command.no_arguments("server members")?;
    let body = command.api.get("/v1/agent/members").map_err(doing("Error querying servers"))?;
    let mut members = body["Members"].as_array().cloned().unwrap_or_default();
    members.sort_by_key(|member| (text(&member["Tags"], "region"), text(member, "Name")));
    let leader = command.api.get("/v1/status/leader");
    let address = leader.as_ref().ok().and_then(|leader| leader.as_str()).unwrap_or_default().to_owned();
    let leads = |member: &serde_json::Value| {
        !address.is_empty()
            && format!("{}:{}", text(&member["Tags"], "rpc_addr"), text(&member["Tags"], "port")) == address
    };
    if command.flags.switch("json") {
        for member in &mut members {
            let leads = leads(member).to_string();
            member["Tags"]["Leader"] = leads.into();
        }
        println!("{}", indent(&members.into()));
        return Ok(0);
    }
    let verbose = command.flags.switch("verbose") || command.flags.switch("detailed");
    let mut head = row(&["Name", "Address", "Port", "Status", "Leader"]);
    if verbose {
        head.push("Protocol".into());
    }
    head.extend(row(&["Raft Version", "Build", "Datacenter", "Region"]));
    if verbose {
        head.push("Tags".into());
    }
    let mut rows = vec![head];
    for member in &members {
        let tags = &member["Tags"];
        let mut cells = vec![
            text(member, "Name"),
            text(member, "Addr"),
            text(member, "Port"),
            text(member, "Status"),
            leads(member).to_string(),
        ];
        if verbose {
            cells.push(text(member, "ProtocolCur"));
        }
        cells.extend([text(tags, "raft_vsn"), text(tags, "build"), text(tags, "dc"), text(tags, "region")]);
        if verbose {
            let all: Vec<String> = tags
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
                .collect();
            cells.push(all.join(","));
        }
        rows.push(cells);
    }
    println!("{}", columns(&rows));
    command.api.hint("View and manage Nomad servers", "servers");
    match leader {
        Ok(_) => Ok(0),
        Err(error) => {
            let region = members.first().map_or_else(String::new, |member| text(&member["Tags"], "region"));
            Err(Failure::new(format!("Error determining leaders: 1 error occurred:\n\t* Region {region:?}: {error}\n")))
        }
    }
}

/// `nomad server join`
pub(super) fn join(args: &[String]) -> Done {
    let command = command("server join", args, &[], &[])?;
    if command.flags.rest.is_empty() {
        return Err(Failure::new("One or more server addresses must be given as arguments"));
    }
    let query: Vec<String> =
        command.flags.rest.iter().map(|address| format!("address={}", super::http::encode(address))).collect();
    let mut joined = 0;
    for query in query {
        let body = command
            .api
            .put(&format!("/v1/agent/join?{query}"), &serde_json::Value::Null)
            .map_err(doing("Error joining: failed joining"))?;
        let error = text(&body, "error");
        if !error.is_empty() {
            return Err(Failure::new(format!("Error joining: failed joining: {error}")));
        }
        joined += body["num_joined"].as_u64().unwrap_or(0);
    }
    println!("Joined {joined} servers successfully");
    Ok(0)
}

/// `nomad server force-leave`
pub(super) fn force_leave(args: &[String]) -> Done {
    let command = command("server force-leave", args, &["prune"], &[])?;
    let name = command.argument("server force-leave", "node")?;
    command
        .api
        .put(&format!("/v1/agent/force-leave?node={}", super::http::encode(&name)), &serde_json::Value::Null)
        .map_err(|error| Failure::new(format!("Error force-leaving server {name}: {error}")))?;
    Ok(0)
}
