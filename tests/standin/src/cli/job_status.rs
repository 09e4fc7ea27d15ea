//! `nomad job status`, and the tables that other commands share with it.

use serde_json::Value;

use super::table::{ago, columns, id, pairs, row, text};
use super::{Command, Done, Failure, command, doing};
use crate::clock;
use crate::http::indent;

/// `nomad job status`
pub(super) fn main(args: &[String]) -> Done {
    let command = command("job status", args, &["verbose", "short", "evals", "all-allocs", "json"], &[])?;
    let Some(prefix) = command.flags.rest.first() else { return list(&command) };
    let job = find(&command, prefix, "Error querying job")?;
    show(&command, &job)
}

/// The job with this id, or with this prefix.
pub(super) fn find(command: &Command, prefix: &str, what: &str) -> Result<Value, Failure> {
    let jobs = command.api.get(&format!("/v1/jobs?prefix={}", super::http::encode(prefix))).map_err(doing(what))?;
    let jobs = jobs.as_array().cloned().unwrap_or_default();
    let exact = jobs.iter().find(|job| text(job, "ID") == prefix);
    let chosen = match (exact, jobs.as_slice()) {
        (Some(job), _) | (None, [job]) => text(job, "ID"),
        (None, []) => return Err(Failure::new(format!("No job(s) with prefix or ID {prefix:?} found"))),
        (None, many) => {
            return Err(Failure::new(format!(
                "Prefix {prefix:?} matched multiple jobs\n\n{}",
                columns(&list_rows(many))
            )));
        }
    };
    command.api.get(&format!("/v1/job/{}", super::http::encode(&chosen))).map_err(doing(what))
}

fn shown_status(job: &Value) -> String {
    let status = text(job, "Status");
    if job["Stop"] == true { format!("{status} (stopped)") } else { status }
}

fn list_rows(jobs: &[Value]) -> Vec<Vec<String>> {
    let mut rows = vec![row(&["ID", "Type", "Priority", "Status", "Submit Date"])];
    rows.extend(jobs.iter().map(|job| {
        vec![
            text(job, "ID"),
            text(job, "Type"),
            text(job, "Priority"),
            shown_status(job),
            clock::rfc3339(job["SubmitTime"].as_i64().unwrap_or(0)),
        ]
    }));
    rows
}

fn list(command: &Command) -> Done {
    let jobs = command.api.get("/v1/jobs").map_err(doing("Error querying jobs"))?;
    let jobs = jobs.as_array().cloned().unwrap_or_default();
    if command.flags.switch("json") {
        println!("{}", indent(&jobs.into()));
        return Ok(0);
    }
    if jobs.is_empty() {
        println!("No running jobs");
    } else {
        println!("{}", columns(&list_rows(&jobs)));
    }
    command.api.hint("View and manage Nomad jobs", "jobs");
    Ok(0)
}

fn show(command: &Command, job: &Value) -> Done {
    let id = text(job, "ID");
    let path = |what: &str| format!("/v1/job/{}/{what}", super::http::encode(&id));
    let get = |what: &str| {
        command.api.get(&path(what)).map_err(|error| Failure::new(format!("Error querying job {what}: {error}")))
    };
    if command.flags.switch("json") {
        let out = serde_json::json!([{ "Allocations": get("allocations")?, "Evaluations": get("evaluations")?, "LatestDeployment": get("deployment")?, "Summary": get("summary")? }]);
        println!("{}", indent(&out));
        return Ok(0);
    }
    let datacenters: Vec<&str> =
        job["Datacenters"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    println!(
        "{}",
        pairs(&[
            ("ID", id.clone()),
            ("Name", text(job, "Name")),
            ("Submit Date", clock::rfc3339(job["SubmitTime"].as_i64().unwrap_or(0))),
            ("Type", text(job, "Type")),
            ("Priority", text(job, "Priority")),
            ("Datacenters", datacenters.join(",")),
            ("Namespace", text(job, "Namespace")),
            ("Node Pool", text(job, "NodePool")),
            ("Status", shown_status(job)),
            ("Periodic", "false".into()),
            ("Parameterized", "false".into()),
        ])
    );
    if !command.flags.switch("short") {
        details(command, job, &get)?;
    }
    command.api.hint("View job details and metrics", &format!("jobs/{id}@default"));
    Ok(0)
}

fn details(command: &Command, job: &Value, get: &dyn Fn(&str) -> Result<Value, Failure>) -> Result<(), Failure> {
    let verbose = command.flags.switch("verbose");
    let summary = get("summary")?;
    let mut rows = vec![row(&["Task Group", "Queued", "Starting", "Running", "Failed", "Complete", "Lost", "Unknown"])];
    for (group, counts) in summary["Summary"].as_object().into_iter().flatten() {
        let mut cells = vec![group.clone()];
        cells.extend(
            ["Queued", "Starting", "Running", "Failed", "Complete", "Lost", "Unknown"].map(|key| text(counts, key)),
        );
        rows.push(cells);
    }
    println!("\nSummary\n{}", columns(&rows));
    let evals = get("evaluations")?;
    let evals = evals.as_array().cloned().unwrap_or_default();
    if (verbose || command.flags.switch("evals")) && !evals.is_empty() {
        let mut rows = vec![row(&["ID", "Priority", "Triggered By", "Status", "Placement Failures"])];
        for eval in &evals {
            let failures = match eval["Status"].as_str() {
                Some("blocked") => "N/A - In Progress".to_owned(),
                _ => eval["FailedTGAllocs"].as_object().is_some_and(|failed| !failed.is_empty()).to_string(),
            };
            rows.push(vec![
                self::id(eval, "ID", verbose),
                text(eval, "Priority"),
                text(eval, "TriggeredBy"),
                text(eval, "Status"),
                failures,
            ]);
        }
        println!("\nEvaluations\n{}", columns(&rows));
    }
    let latest = evals.iter().find(|eval| eval["Status"] == "complete");
    let blocked = evals.iter().any(|eval| eval["Status"] == "blocked");
    if let Some(failed) =
        latest.and_then(|eval| eval["FailedTGAllocs"].as_object()).filter(|failed| !failed.is_empty() && blocked)
    {
        println!("\nPlacement Failure");
        for (group, metric) in failed {
            println!("Task Group {group:?}:\n{}", failure(metric, "  "));
        }
    }
    let deployment = get("deployment")?;
    if deployment.is_object() {
        println!(
            "\nLatest Deployment\n{}",
            pairs(&[
                ("ID", self::id(&deployment, "ID", verbose)),
                ("Status", text(&deployment, "Status")),
                ("Description", text(&deployment, "StatusDescription"))
            ])
        );
        println!("\nDeployed\n{}", deployed(&deployment));
    }
    let allocs = get("allocations")?;
    let allocs = allocs.as_array().cloned().unwrap_or_default();
    println!("\nAllocations");
    if allocs.is_empty() {
        println!("No allocations placed");
    } else {
        println!("{}", columns(&alloc_rows(&allocs, verbose, true)));
    }
    let _ = job;
    Ok(())
}

/// Why something could not be placed.
pub(super) fn failure(metric: &Value, indent: &str) -> String {
    let mut lines = Vec::new();
    if metric["NodesInPool"] == 0 {
        lines.push("No nodes are available in the node pool".to_owned());
    }
    if metric["NodesEvaluated"] == 0 {
        lines.push("No nodes were eligible for evaluation".to_owned());
    }
    let each = |key: &str| metric[key].as_object().cloned().unwrap_or_default();
    for (constraint, count) in each("ConstraintFiltered") {
        lines.push(format!("Constraint {constraint:?}: {count} nodes excluded by filter"));
    }
    if metric["NodesExhausted"].as_u64().unwrap_or(0) > 0 {
        lines.push(format!("Resources exhausted on {} nodes", metric["NodesExhausted"]));
    }
    for (dimension, count) in each("DimensionExhausted") {
        lines.push(format!("Dimension {dimension:?} exhausted on {count} nodes"));
    }
    lines.iter().map(|line| format!("{indent}* {line}")).collect::<Vec<_>>().join("\n")
}

/// The table of a deployment's progress.
pub(super) fn deployed(deployment: &Value) -> String {
    let mut rows = vec![row(&["Task Group", "Desired", "Placed", "Healthy", "Unhealthy", "Progress Deadline"])];
    for (group, progress) in deployment["TaskGroups"].as_object().into_iter().flatten() {
        let by = text(progress, "RequireProgressBy");
        rows.push(vec![
            group.clone(),
            text(progress, "DesiredTotal"),
            text(progress, "PlacedAllocs"),
            text(progress, "HealthyAllocs"),
            text(progress, "UnhealthyAllocs"),
            if by.is_empty() { "N/A".into() } else { by },
        ]);
    }
    columns(&rows)
}

/// The table of allocations.
pub(super) fn alloc_rows(allocs: &[Value], verbose: bool, node: bool) -> Vec<Vec<String>> {
    let mut head = vec!["ID".to_owned()];
    if verbose {
        head.push("Eval ID".into());
    }
    if node {
        head.push("Node ID".into());
    }
    if verbose {
        head.push("Node Name".into());
    }
    head.extend(row(&["Task Group", "Version", "Desired", "Status", "Created", "Modified"]));
    let mut rows = vec![head];
    for alloc in allocs {
        let mut cells = vec![id(alloc, "ID", verbose)];
        if verbose {
            cells.push(text(alloc, "EvalID"));
        }
        if node {
            cells.push(id(alloc, "NodeID", verbose));
        }
        if verbose {
            cells.push(text(alloc, "NodeName"));
        }
        let version =
            if alloc["JobVersion"].is_null() { text(&alloc["Job"], "Version") } else { text(alloc, "JobVersion") };
        let time = |key: &str| {
            let nanos = alloc[key].as_i64().unwrap_or(0);
            if verbose { clock::rfc3339(nanos) } else { ago(nanos) }
        };
        cells.extend([
            text(alloc, "TaskGroup"),
            version,
            text(alloc, "DesiredStatus"),
            text(alloc, "ClientStatus"),
            time("CreateTime"),
            time("ModifyTime"),
        ]);
        rows.push(cells);
    }
    rows
}

/// `nomad job allocs`
pub(super) fn allocs(args: &[String]) -> Done {
    let command = command("job allocs", args, &["verbose", "all", "json"], &[])?;
    let job = find(&command, &command.argument("job allocs", "job")?, "Error querying job")?;
    let allocs = command
        .api
        .get(&format!("/v1/job/{}/allocations", super::http::encode(&text(&job, "ID"))))
        .map_err(doing("Error retrieving allocations"))?;
    if command.flags.switch("json") {
        println!("{}", indent(&allocs));
        return Ok(0);
    }
    match allocs.as_array().cloned().unwrap_or_default().as_slice() {
        [] => println!("No allocations placed"),
        list => println!("{}", columns(&alloc_rows(list, command.flags.switch("verbose"), true))),
    }
    Ok(0)
}

/// `nomad job deployments`
pub(super) fn deployments(args: &[String]) -> Done {
    let command = command("job deployments", args, &["verbose", "latest", "all", "json"], &[])?;
    let job = find(&command, &command.argument("job deployments", "job")?, "Error querying job")?;
    let list = command
        .api
        .get(&format!("/v1/job/{}/deployments", super::http::encode(&text(&job, "ID"))))
        .map_err(doing("Error retrieving deployments"))?;
    if command.flags.switch("json") {
        println!("{}", indent(&list));
        return Ok(0);
    }
    let verbose = command.flags.switch("verbose");
    let mut rows = vec![row(&["ID", "Job ID", "Job Version", "Status", "Description"])];
    for one in list.as_array().into_iter().flatten() {
        rows.push(vec![
            id(one, "ID", verbose),
            text(one, "JobID"),
            text(one, "JobVersion"),
            text(one, "Status"),
            text(one, "StatusDescription"),
        ]);
    }
    println!("{}", if rows.len() == 1 { "No deployments found".into() } else { columns(&rows) });
    Ok(0)
}
