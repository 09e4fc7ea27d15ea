//! `nomad operator ...` and `nomad system gc`

use base64::Engine;

use super::table::{columns, pairs, row, text};
use super::{Done, Failure, command, doing};

/// `nomad operator raft list-peers`
pub(super) fn list_peers(args: &[String]) -> Done {
    let command = command("operator raft list-peers", args, &["stale"], &[]).map_err(|failure| Failure {
        text: format!("{}\nFailed to parse args: {}", failure.text, failure.text),
        ..failure
    })?;
    let path = if command.flags.switch("stale") {
        "/v1/operator/raft/configuration?stale"
    } else {
        "/v1/operator/raft/configuration"
    };
    let body = command.api.get(path).map_err(doing("Failed to retrieve raft configuration"))?;
    let mut rows = vec![row(&["Node", "ID", "Address", "State", "Voter", "RaftProtocol"])];
    for server in body["Servers"].as_array().into_iter().flatten() {
        let state = if server["Leader"] == true { "leader" } else { "follower" };
        rows.push(vec![
            text(server, "Node"),
            text(server, "ID"),
            text(server, "Address"),
            state.into(),
            text(server, "Voter"),
            text(server, "RaftProtocol"),
        ]);
    }
    println!("{}", columns(&rows));
    Ok(0)
}

/// `nomad operator autopilot health`
pub(super) fn health(args: &[String]) -> Done {
    let command = command("operator autopilot health", args, &["json"], &[])?;
    let text_body = command
        .api
        .send("GET", "/v1/operator/autopilot/health", None)
        .map_err(doing("Error querying Autopilot configuration"))?;
    if command.flags.switch("json") {
        println!("{text_body}");
        return Ok(0);
    }
    let body: serde_json::Value = serde_json::from_str(&text_body).unwrap_or_default();
    let voters: Vec<&str> =
        body["Voters"].as_array().into_iter().flatten().filter_map(|voter| voter.as_str()).collect();
    println!(
        "Healthy: {}\nFailureTolerance: {}\nLeader: {}\nVoters:  \n\t{}\nServers: ",
        body["Healthy"],
        body["FailureTolerance"],
        text(&body, "Leader"),
        voters.join("\n")
    );
    let keys = [
        "ID",
        "Name",
        "Address",
        "SerfStatus",
        "Version",
        "Leader",
        "Voter",
        "Healthy",
        "LastContact",
        "LastTerm",
        "LastIndex",
    ];
    let mut rows = vec![row(&[
        "ID",
        "Name",
        "Address",
        "SerfStatus",
        "Version",
        "Leader",
        "Voter",
        "Healthy",
        "LastContact",
        "LastTerm",
        "LastIndex",
        "StableSince",
    ])];
    for server in body["Servers"].as_array().into_iter().flatten() {
        let mut cells: Vec<String> = keys.iter().map(|key| text(server, key)).collect();
        cells.push(text(server, "StableSince").replace('T', " ").replace('Z', " +0000 UTC"));
        rows.push(cells);
    }
    println!("{}", columns(&rows));
    Ok(0)
}

/// `nomad operator autopilot get-config`
pub(super) fn get_config(args: &[String]) -> Done {
    let command = command("operator autopilot get-config", args, &["json"], &[])?;
    let raw = command
        .api
        .send("GET", "/v1/operator/autopilot/configuration", None)
        .map_err(doing("Error querying Autopilot configuration"))?;
    if command.flags.switch("json") {
        println!("{raw}");
        return Ok(0);
    }
    let body: serde_json::Value = serde_json::from_str(&raw).unwrap_or_default();
    for key in [
        "CleanupDeadServers",
        "LastContactThreshold",
        "MaxTrailingLogs",
        "MinQuorum",
        "ServerStabilizationTime",
        "EnableRedundancyZones",
        "DisableUpgradeMigration",
        "EnableCustomUpgrades",
    ] {
        println!("{}", pairs(&[(key, text(&body, key))]));
    }
    Ok(0)
}

/// `nomad operator api`
pub(super) fn api(args: &[String]) -> Done {
    let mut command = command("operator api", args, &["verbose", "dryrun"], &["X", "H"])?;
    let path = command.argument("operator api", "path")?;
    let method = command.flags.value("X").unwrap_or_else(|| "GET".into());
    let body = command.api.send(&method, &path, None).map_err(|error| Failure::new(format!("Error: {error}")))?;
    println!("{body}");
    Ok(0)
}

/// `nomad operator gossip keyring generate`
pub(super) fn generate() -> Done {
    let key: Vec<u8> = uuid::Uuid::new_v4().as_bytes().iter().chain(uuid::Uuid::new_v4().as_bytes()).copied().collect();
    println!("{}", base64::engine::general_purpose::STANDARD.encode(key));
    Ok(0)
}

/// `nomad system gc`
pub(super) fn gc(args: &[String]) -> Done {
    let command = command("system gc", args, &[], &[])?;
    command.no_arguments("system gc")?;
    command
        .api
        .put("/v1/system/gc", &serde_json::Value::Null)
        .map_err(doing("Error running system garbage-collection"))?;
    Ok(0)
}

/// `nomad acl bootstrap`
pub(super) fn bootstrap(args: &[String]) -> Done {
    let command = command("acl bootstrap", args, &["json"], &[])?;
    if !command.flags.rest.is_empty() {
        return Err(Failure::new("acl bootstrap with a file is not supported by the stand-in"));
    }
    let body = command.api.put("/v1/acl/bootstrap", &serde_json::json!({})).map_err(doing("Error bootstrapping"))?;
    if command.flags.switch("json") {
        println!("{}", crate::http::indent(&body));
        return Ok(0);
    }
    println!(
        "{}",
        pairs(&[
            ("Accessor ID", text(&body, "AccessorID")),
            ("Secret ID", text(&body, "SecretID")),
            ("Name", text(&body, "Name")),
            ("Type", text(&body, "Type"))
        ])
    );
    Ok(0)
}
