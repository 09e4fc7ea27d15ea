//! `nomad node status | eligibility | drain`

use std::time::Duration;

use serde_json::{Value, json};

use super::table::{bytes, columns, id, or_none, pairs, row, text};
use super::{Command, Done, Failure, command, doing};
use crate::clock;
use crate::http::indent;

/// `nomad node status`
pub(super) fn status(args: &[String]) -> Done {
    let switches = ["verbose", "self", "json", "short", "stats", "allocs", "quiet"];
    let command = command("node status", args, &switches, &["filter", "per-page", "page-token", "os"])?;
    let on_self = command.flags.switch("self");
    if command.flags.rest.is_empty() && !on_self {
        return list(&command);
    }
    let prefix = if on_self {
        let stats = command.api.get("/v1/agent/self").map_err(doing("Error querying agent info"))?;
        match stats["stats"]["client"]["node_id"].as_str() {
            Some(id) => id.to_owned(),
            None => return Err(Failure::new("Nomad not running in client mode")),
        }
    } else {
        command.argument("node status", "node-id")?
    };
    let node = find(&command, &prefix)?;
    if command.flags.switch("json") {
        println!("{}", indent(&node));
        return Ok(0);
    }
    show(&command, &node)
}

fn list(command: &Command) -> Done {
    let nodes = command.api.get("/v1/nodes").map_err(doing("Error querying node status"))?;
    let nodes = nodes.as_array().cloned().unwrap_or_default();
    if command.flags.switch("json") {
        println!("{}", indent(&nodes.into()));
        return Ok(0);
    }
    if nodes.is_empty() {
        return Ok(0);
    }
    let verbose = command.flags.switch("verbose");
    if command.flags.switch("quiet") {
        for node in &nodes {
            println!("{}", text(node, "ID"));
        }
        return Ok(0);
    }
    let allocs = command.flags.switch("allocs");
    let mut head = row(&["ID", "Node Pool", "DC", "Name", "Class"]);
    if verbose {
        head.extend(row(&["Address", "Version"]));
    }
    head.extend(row(&["Drain", "Eligibility", "Status"]));
    if allocs {
        head.push("Running Allocs".into());
    }
    let mut rows = vec![head];
    for node in &nodes {
        let mut cells = vec![
            id(node, "ID", verbose),
            text(node, "NodePool"),
            text(node, "Datacenter"),
            text(node, "Name"),
            or_none(text(node, "NodeClass")),
        ];
        if verbose {
            cells.extend([text(node, "Address"), text(node, "Version")]);
        }
        cells.extend([text(node, "Drain"), text(node, "SchedulingEligibility"), text(node, "Status")]);
        if allocs {
            let list = command
                .api
                .get(&format!("/v1/node/{}/allocations", text(node, "ID")))
                .map_err(doing("Error querying node allocations"))?;
            cells.push(
                list.as_array()
                    .into_iter()
                    .flatten()
                    .filter(|alloc| alloc["ClientStatus"] == "running")
                    .count()
                    .to_string(),
            );
        }
        rows.push(cells);
    }
    println!("{}", columns(&rows));
    command.api.hint("View and manage Nomad clients", "clients");
    Ok(0)
}

fn find(command: &Command, prefix: &str) -> Result<Value, Failure> {
    if let Some(bad) = prefix.chars().find(|char| !char.is_ascii_hexdigit() && *char != '-') {
        return Err(Failure::new(format!(
            "Error querying node info: Unexpected response code: 500 (node lookup failed: index error: Invalid UUID: encoding/hex: invalid byte: U+{:04X} {bad:?})",
            u32::from(bad)
        )));
    }
    let nodes = command.api.get(&format!("/v1/nodes?prefix={prefix}")).map_err(doing("Error querying node info"))?;
    let nodes = nodes.as_array().cloned().unwrap_or_default();
    match nodes.as_slice() {
        [] => Err(Failure::new(format!("No node(s) with prefix {prefix:?} found"))),
        [node] => command.api.get(&format!("/v1/node/{}", text(node, "ID"))).map_err(doing("Error querying node info")),
        many => {
            let mut rows = vec![row(&["ID", "Name", "Status"])];
            rows.extend(many.iter().map(|node| vec![id(node, "ID", false), text(node, "Name"), text(node, "Status")]));
            println!("Prefix matched multiple nodes\n\n{}", columns(&rows));
            Err(Failure::new(""))
        }
    }
}

fn show(command: &Command, node: &Value) -> Done {
    let verbose = command.flags.switch("verbose");
    let short = command.flags.switch("short");
    let drivers: Vec<&str> = node["Drivers"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, driver)| driver["Healthy"] == true)
        .map(|(name, _)| name.as_str())
        .collect();
    let none = || "<none>".to_owned();
    let mut list = vec![
        ("ID", text(node, "ID")),
        ("Name", text(node, "Name")),
        ("Node Pool", text(node, "NodePool")),
        ("Class", or_none(text(node, "NodeClass"))),
        ("DC", text(node, "Datacenter")),
        ("Drain", text(node, "Drain")),
        ("Eligibility", text(node, "SchedulingEligibility")),
        ("Status", text(node, "Status")),
        ("CSI Controllers", none()),
        ("CSI Drivers", none()),
    ];
    let volumes: Vec<String> =
        node["HostVolumes"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    if !verbose {
        list.extend([("Host Volumes", or_none(volumes.join(","))), ("Host Networks", none()), ("CSI Volumes", none())]);
        list.push((if short { "Drivers" } else { "Driver Status" }, drivers.join(",")));
    }
    println!("{}", pairs(&list));
    let node_id = text(node, "ID");
    let allocs = command
        .api
        .get(&format!("/v1/node/{node_id}/allocations"))
        .map_err(doing("Error querying node allocations"))?;
    let allocs = allocs.as_array().cloned().unwrap_or_default();
    if !short {
        if verbose {
            let mut rows = vec![row(&["Driver", "Detected", "Healthy", "Message", "Time"])];
            for (name, driver) in node["Drivers"].as_object().into_iter().flatten() {
                let time = text(driver, "UpdateTime");
                rows.push(vec![
                    name.clone(),
                    text(driver, "Detected"),
                    text(driver, "Healthy"),
                    text(driver, "HealthDescription"),
                    format!("{}Z", time.split('.').next().unwrap_or_default()),
                ]);
            }
            println!("\nDrivers\n{}", columns(&rows));
        }
        let mut rows = vec![row(if verbose {
            &["Time", "Subsystem", "Message", "Details"]
        } else {
            &["Time", "Subsystem", "Message"]
        })];
        for event in node["Events"].as_array().into_iter().flatten().rev() {
            let mut cells = vec![text(event, "Timestamp"), text(event, "Subsystem"), text(event, "Message")];
            if verbose {
                cells.push("<none>".into());
            }
            rows.push(cells);
        }
        println!("\nNode Events\n{}", columns(&rows));
        let live: Vec<&Value> = allocs
            .iter()
            .filter(|alloc| matches!(alloc["ClientStatus"].as_str(), Some("running" | "pending")))
            .collect();
        let sum = |path: [&str; 2]| -> u64 {
            live.iter()
                .flat_map(|alloc| alloc["AllocatedResources"]["Tasks"].as_object().into_iter().flatten())
                .filter_map(|(_, task)| task[path[0]][path[1]].as_u64())
                .sum()
        };
        let disk: u64 = live.iter().filter_map(|alloc| alloc["AllocatedResources"]["Shared"]["DiskMB"].as_u64()).sum();
        let total = &node["NodeResources"];
        let megabytes = |value: &Value| bytes(value.as_u64().unwrap_or(0) << 20);
        let rows = vec![
            row(&["CPU", "Memory", "Disk", "Alloc Count"]),
            vec![
                format!("{}/{} MHz", sum(["Cpu", "CpuShares"]), total["Cpu"]["CpuShares"]),
                format!("{}/{}", bytes(sum(["Memory", "MemoryMB"]) << 20), megabytes(&total["Memory"]["MemoryMB"])),
                format!("{}/{}", bytes(disk << 20), megabytes(&total["Disk"]["DiskMB"])),
                live.len().to_string(),
            ],
        ];
        println!("\nAllocated Resources\n{}", columns(&rows));
    }
    println!("\nAllocations");
    if allocs.is_empty() {
        println!("No allocations placed");
    } else {
        println!("{}", columns(&super::job_status::alloc_rows(&allocs, verbose, true)));
    }
    if verbose {
        for (title, key) in [("Attributes", "Attributes"), ("Meta", "Meta")] {
            let map: Vec<(&str, String)> = node[key]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default().to_owned()))
                .collect();
            println!("\n{title}\n{}", pairs(&map));
        }
    }
    command.api.hint("View client details and metrics", &format!("clients/{node_id}"));
    Ok(0)
}

/// The node that the arguments mean: one id, or `-self`.
fn chosen(command: &Command, name: &str) -> Result<Value, Failure> {
    if command.flags.switch("self") {
        let stats = command.api.get("/v1/agent/self").map_err(doing("Error querying agent info"))?;
        let id = stats["stats"]["client"]["node_id"]
            .as_str()
            .ok_or_else(|| Failure::new("Nomad not running in client mode"))?
            .to_owned();
        return find(command, &id);
    }
    let [prefix] = command.flags.rest.as_slice() else {
        return Err(Failure::new(format!(
            "Node ID must be specified if -self isn't being used\nFor additional help try 'nomad {name} -help'"
        )));
    };
    find(command, prefix)
}

/// `nomad node eligibility`
pub(super) fn eligibility(args: &[String]) -> Done {
    let command = command("node eligibility", args, &["enable", "disable", "self"], &[])?;
    let (enable, disable) = (command.flags.switch("enable"), command.flags.switch("disable"));
    if enable == disable {
        return Err(Failure::new(
            "Either the '-enable' or '-disable' flag must be set\nFor additional help try 'nomad node eligibility -help'",
        ));
    }
    let node = chosen(&command, "node eligibility")?;
    let wanted = if enable { "eligible" } else { "ineligible" };
    let path = format!("/v1/node/{}/eligibility", text(&node, "ID"));
    command
        .api
        .put(&path, &json!({ "NodeID": text(&node, "ID"), "Eligibility": wanted }))
        .map_err(doing("Error updating scheduling eligibility"))?;
    println!(
        "Node {:?} scheduling eligibility set: {} for scheduling",
        text(&node, "ID"),
        if enable { "eligible" } else { "ineligible" }
    );
    Ok(0)
}

/// `nomad node drain`
pub(super) fn drain(args: &[String]) -> Done {
    let switches = [
        "enable",
        "disable",
        "self",
        "yes",
        "force",
        "detach",
        "monitor",
        "no-deadline",
        "ignore-system",
        "keep-ineligible",
    ];
    let mut command = command("node drain", args, &switches, &["deadline", "m", "meta"])?;
    let (enable, disable) = (command.flags.switch("enable"), command.flags.switch("disable"));
    if enable == disable {
        return Err(Failure::new(
            "Either the '-enable' or '-disable' flag must be set, unless using '-monitor'\nFor additional help try 'nomad node drain -help'",
        ));
    }
    let node = chosen(&command, "node drain")?;
    let id = text(&node, "ID");
    let path = format!("/v1/node/{id}/drain");
    if disable {
        let body = json!({ "DrainSpec": null, "MarkEligible": !command.flags.switch("keep-ineligible") });
        command.api.put(&path, &body).map_err(doing("Error updating drain specification"))?;
        println!("Node {id:?} drain strategy unset");
        return Ok(0);
    }
    let deadline = match command.flags.value("deadline") {
        Some(text) => crate::config::duration::parse(&text).ok_or_else(|| {
            Failure::new(format!("Failed to parse deadline {text:?}: time: invalid duration {text:?}"))
        })?,
        None => Duration::from_secs(3600),
    };
    let nanos = if command.flags.switch("force") { -1 } else { clock::nanos(deadline) };
    let body = json!({ "DrainSpec": { "Deadline": nanos, "IgnoreSystemJobs": command.flags.switch("ignore-system") }, "MarkEligible": false });
    command.api.put(&path, &body).map_err(doing("Error updating drain specification"))?;
    let say = |text: &str| println!("{}: {text}", clock::rfc3339(clock::now()));
    if command.flags.switch("detach") {
        println!("Node {id:?} drain strategy set");
        return Ok(0);
    }
    say("Ctrl-C to stop monitoring: will not cancel the node drain");
    say(&format!("Node {id:?} drain strategy set"));
    let mut seen: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    let mut complete = false;
    loop {
        let node = command.api.get(&format!("/v1/node/{id}")).map_err(doing("Error monitoring node"))?;
        if node["Drain"] == false && !complete {
            complete = true;
            say(&format!("Drain complete for node {id}"));
        }
        let allocs =
            command.api.get(&format!("/v1/node/{id}/allocations")).map_err(doing("Error monitoring allocations"))?;
        let mut busy = false;
        for alloc in allocs.as_array().into_iter().flatten() {
            let (alloc_id, status) = (text(alloc, "ID"), text(alloc, "ClientStatus"));
            let ended = matches!(status.as_str(), "complete" | "failed" | "lost");
            busy |= !ended;
            let news = if ended {
                format!("status {} -> {status}", seen.get(&alloc_id).map_or("running", String::as_str))
            } else if alloc["DesiredStatus"] == "stop" {
                "draining".into()
            } else {
                continue;
            };
            if (seen.contains_key(&alloc_id) || !ended) && seen.get(&alloc_id) != Some(&status) {
                say(&format!("Alloc {alloc_id:?} {news}"));
                seen.insert(alloc_id, status);
            }
        }
        if complete && !busy {
            say(&format!("All allocations on node {id:?} have stopped"));
            return Ok(0);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
