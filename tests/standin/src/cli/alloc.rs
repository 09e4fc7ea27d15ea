//! `nomad alloc status | logs | stop | signal | restart`

use std::io::{Read, Write};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::http::encode;
use super::table::{ago, columns, id, or_none, pairs, row, text};
use super::{Command, Done, Failure, command, doing};
use crate::clock;
use crate::http::indent;

fn find(command: &Command, prefix: &str) -> Result<Value, Failure> {
    let missing = || Failure::new(format!("No allocation(s) with prefix or id {prefix:?} found"));
    if prefix.len() < 2 {
        return Err(Failure::new("Identifier must contain at least two characters."));
    }
    let list = command
        .api
        .get(&format!("/v1/allocations?prefix={}", encode(prefix)))
        .map_err(doing("Error querying allocation"))?;
    match list.as_array().map(Vec::as_slice) {
        Some([alloc]) => command
            .api
            .get(&format!("/v1/allocation/{}", text(alloc, "ID")))
            .map_err(doing("Error querying allocation")),
        Some([_, ..]) => Err(Failure::new(format!("Prefix {prefix:?} matched multiple allocations"))),
        _ => Err(missing()),
    }
}

/// `nomad alloc status`
pub(super) fn status(args: &[String]) -> Done {
    let command = command("alloc status", args, &["verbose", "short", "stats", "json"], &[])?;
    let [prefix] = command.flags.rest.as_slice() else {
        return Err(Failure::new(
            "This command takes one of the following argument conditions:\n * A single <allocation>\n * No arguments, with output format specified\nFor additional help try 'nomad alloc status -help'",
        ));
    };
    let alloc = find(&command, prefix)?;
    let (verbose, short) = (command.flags.switch("verbose"), command.flags.switch("short"));
    if command.flags.switch("json") {
        println!("{}", indent(&alloc));
        return Ok(0);
    }
    let time = |key: &str| {
        let nanos = alloc[key].as_i64().unwrap_or(0);
        if verbose { clock::rfc3339(nanos) } else { ago(nanos) }
    };
    if short {
        println!(
            "{}",
            pairs(&[
                ("ID", text(&alloc, "ID")),
                ("Name", text(&alloc, "Name")),
                ("Created", time("CreateTime")),
                ("Modified", time("ModifyTime"))
            ])
        );
        let mut rows = vec![row(&["Name", "State", "Last Event", "Time", "Lifecycle"])];
        for (name, state) in alloc["TaskStates"].as_object().into_iter().flatten() {
            let last = state["Events"].as_array().and_then(|events| events.last()).cloned().unwrap_or_default();
            rows.push(vec![
                name.clone(),
                text(state, "State"),
                text(&last, "Type"),
                clock::rfc3339(last["Time"].as_i64().unwrap_or(0)),
                "main".into(),
            ]);
        }
        println!("\nTasks\n{}", columns(&rows));
    } else {
        let health = match alloc["DeploymentStatus"]["Healthy"].as_bool() {
            Some(true) => "healthy",
            Some(false) => "unhealthy",
            None => "unset",
        };
        let mut list = vec![
            ("ID", text(&alloc, "ID")),
            ("Eval ID", id(&alloc, "EvalID", verbose)),
            ("Name", text(&alloc, "Name")),
            ("Node ID", id(&alloc, "NodeID", verbose)),
            ("Node Name", text(&alloc, "NodeName")),
            ("Job ID", text(&alloc, "JobID")),
            ("Job Version", text(&alloc["Job"], "Version")),
            ("Client Status", text(&alloc, "ClientStatus")),
            ("Client Description", or_none(text(&alloc, "ClientDescription"))),
            ("Desired Status", text(&alloc, "DesiredStatus")),
            ("Desired Description", or_none(text(&alloc, "DesiredDescription"))),
            ("Created", time("CreateTime")),
            ("Modified", time("ModifyTime")),
        ];
        if !text(&alloc, "DeploymentID").is_empty() {
            list.push(("Deployment ID", id(&alloc, "DeploymentID", verbose)));
            list.push(("Deployment Health", health.into()));
        }
        let next = text(&alloc, "NextAllocation");
        if !next.is_empty() {
            list.push(("Replacement Alloc ID", id(&alloc, "NextAllocation", verbose)));
        }
        println!("{}", pairs(&list));
        ports(&alloc);
        for (name, state) in alloc["TaskStates"].as_object().into_iter().flatten() {
            task(&alloc, name, state);
        }
    }
    command.api.hint("View allocation details", &format!("allocations/{}", text(&alloc, "ID")));
    Ok(0)
}

fn ports(alloc: &Value) {
    let ports = alloc["AllocatedResources"]["Shared"]["Ports"].as_array().cloned().unwrap_or_default();
    if ports.is_empty() {
        return;
    }
    let mut rows = vec![row(&["Label", "Dynamic", "Address"])];
    rows.extend(ports.iter().map(|port| {
        vec![
            format!("*{}", text(port, "Label")),
            "yes".into(),
            format!("{}:{}", text(port, "HostIP"), text(port, "Value")),
        ]
    }));
    println!("\nAllocation Addresses:\n{}", columns(&rows));
}

fn task(alloc: &Value, name: &str, state: &Value) {
    let need = &alloc["AllocatedResources"]["Tasks"][name];
    println!("\nTask {name:?} is {:?}\nTask Resources:", text(state, "State"));
    let disk = &alloc["AllocatedResources"]["Shared"]["DiskMB"];
    let cells = vec![
        format!("{} MHz", need["Cpu"]["CpuShares"]),
        format!("{} MiB", need["Memory"]["MemoryMB"]),
        format!("{disk} MiB"),
        String::new(),
    ];
    println!("{}", columns(&[row(&["CPU", "Memory", "Disk", "Addresses"]), cells]));
    let when = |key: &str| {
        let time = text(state, key);
        if time.is_empty() {
            "N/A".to_owned()
        } else {
            format!("{}Z", time.split(['.', 'Z']).next().unwrap_or_default())
        }
    };
    println!(
        "\nTask Events:\n{}",
        pairs(&[
            ("Started At", when("StartedAt")),
            ("Finished At", when("FinishedAt")),
            ("Total Restarts", text(state, "Restarts")),
            ("Last Restart", when("LastRestart"))
        ])
    );
    let mut rows = vec![row(&["Time", "Type", "Description"])];
    for event in state["Events"].as_array().into_iter().flatten().rev() {
        rows.push(vec![
            clock::rfc3339(event["Time"].as_i64().unwrap_or(0)),
            text(event, "Type"),
            text(event, "DisplayMessage"),
        ]);
    }
    println!("\nRecent Events:\n{}", columns(&rows));
}

/// `nomad alloc logs`
pub(super) fn logs(args: &[String]) -> Done {
    let mut command =
        command("alloc logs", args, &["stderr", "stdout", "verbose", "f", "job", "tail"], &["task", "n", "c"])?;
    let Some(first) = command.flags.rest.first().cloned() else {
        return Err(Failure::new("An allocation ID is required\nFor additional help try 'nomad alloc logs -help'"));
    };
    let alloc = if command.flags.switch("job") {
        let allocs = command
            .api
            .get(&format!("/v1/job/{}/allocations", encode(&first)))
            .map_err(doing("Error querying job allocations"))?;
        let running = allocs.as_array().into_iter().flatten().find(|alloc| alloc["ClientStatus"] == "running").cloned();
        running.ok_or_else(|| Failure::new(format!("No allocations found for job {first:?}")))?
    } else {
        find(&command, &first)?
    };
    let task = command.flags.value("task").or_else(|| command.flags.rest.get(1).cloned()).unwrap_or_default();
    let kind = if command.flags.switch("stderr") { "stderr" } else { "stdout" };
    let path = format!("/v1/client/fs/logs/{}?task={}&type={kind}&plain=true", text(&alloc, "ID"), encode(&task));
    let mut seen = 0;
    loop {
        let all = command
            .api
            .send("GET", &path, None)
            .map_err(|error| Failure::new(format!("Failed to read {kind} file: error reading file: {error}")))?;
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(all.as_bytes().get(seen..).unwrap_or_default()).and_then(|()| out.flush());
        seen = all.len();
        if !command.flags.switch("f") {
            return Ok(0);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// `nomad alloc stop`
pub(super) fn stop(args: &[String]) -> Done {
    let command = command("alloc stop", args, &["detach", "verbose", "no-shutdown-delay"], &[])?;
    let alloc = find(&command, &command.argument("alloc stop", "alloc-id")?)?;
    let reply = command
        .api
        .put(&format!("/v1/allocation/{}/stop", text(&alloc, "ID")), &json!({}))
        .map_err(doing("Error stopping allocation"))?;
    let eval = text(&reply, "EvalID");
    if command.flags.switch("detach") {
        println!("{eval}");
        return Ok(0);
    }
    super::job_run::monitor(&command.api, &eval, command.flags.switch("verbose"))
}

/// `nomad alloc signal`
pub(super) fn signal(args: &[String]) -> Done {
    let mut command = command("alloc signal", args, &["verbose"], &["s", "task"])?;
    let Some(prefix) = command.flags.rest.first().cloned() else {
        return Err(Failure::new(
            "This command takes up to two arguments: <alloc-id> <task>\nFor additional help try 'nomad alloc signal -help'",
        ));
    };
    let alloc = find(&command, &prefix)?;
    let task = command.flags.value("task").or_else(|| command.flags.rest.get(1).cloned()).unwrap_or_default();
    let body = json!({ "Signal": command.flags.value("s").unwrap_or_else(|| "SIGKILL".into()), "Task": task });
    command
        .api
        .put(&format!("/v1/client/allocation/{}/signal", text(&alloc, "ID")), &body)
        .map_err(doing("Error signalling allocation"))?;
    Ok(0)
}

/// `nomad alloc restart`
pub(super) fn restart(args: &[String]) -> Done {
    let mut command = command("alloc restart", args, &["verbose", "all-tasks"], &["task"])?;
    let Some(prefix) = command.flags.rest.first().cloned() else {
        return Err(Failure::new(
            "This command takes one or two arguments: <alloc-id> <task-name>\nFor additional help try 'nomad alloc restart -help'",
        ));
    };
    let alloc = find(&command, &prefix)?;
    let task = command.flags.value("task").or_else(|| command.flags.rest.get(1).cloned()).unwrap_or_default();
    command
        .api
        .put(&format!("/v1/client/allocation/{}/restart", text(&alloc, "ID")), &json!({ "TaskName": task }))
        .map_err(doing("Failed to restart allocation"))?;
    Ok(0)
}

/// `nomad alloc exec`
///
/// Standard input is read to its end before the command starts: enough for scripts, not for a terminal.
pub(super) fn exec(args: &[String]) -> Done {
    let mut command = command("alloc exec", args, &["i", "t", "job"], &["task", "e"])?;
    if command.flags.switch("job") {
        return Err(Failure::new("-job of alloc exec is not supported by the stand-in"));
    }
    let (prefix, words) = match command.flags.rest.as_slice() {
        [] => {
            return Err(Failure::new("An allocation ID is required\nFor additional help try 'nomad alloc exec -help'"));
        }
        [_] => return Err(Failure::new("A command is required\nFor additional help try 'nomad alloc exec -help'")),
        [first, words @ ..] => (first.clone(), words.to_vec()),
    };
    let alloc = find(&command, &prefix)?;
    let interactive = command.flags.value("i").is_none_or(|value| value == "true");
    let mut input = Vec::new();
    if interactive && !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        std::io::stdin()
            .read_to_end(&mut input)
            .map_err(|error| Failure::new(format!("failed to read stdin: {error}")))?;
    }
    let body = json!({ "Task": command.flags.value("task").unwrap_or_default(), "Command": words, "Stdin": BASE64.encode(input) });
    let path = format!("/v1/client/allocation/{}/exec", text(&alloc, "ID"));
    let reply = command.api.put(&path, &body).map_err(doing("failed to exec into task"))?;
    let decode = |key: &str| BASE64.decode(text(&reply, key)).unwrap_or_default();
    let error = text(&reply, "Error");
    if !error.is_empty() {
        return Err(Failure::new(format!("failed to exec into task: rpc error: code = Unknown desc = {error}")));
    }
    let _ = std::io::stdout().write_all(&decode("Stdout"));
    let _ = std::io::stderr().write_all(&decode("Stderr"));
    Ok(reply["Code"].as_u64().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
