//! `nomad job run | plan | validate`, and the monitor of evaluations and deployments.

use std::io::Read;
use std::time::Duration;

use serde_json::{Value, json};

use super::http::{Api, encode};
use super::job_status::{deployed, failure};
use super::table::{id, pairs, text};
use super::{Command, Done, Failure, command, doing};
use crate::clock;
use crate::job::hcl;
use crate::job::spec::{Job, multi};

/// Between two looks of the monitor.
const LOOK: Duration = Duration::from_millis(500);

/// Reads a job from a file, or from standard input for `-`.
fn read(path: &str, as_json: bool) -> Result<Value, Failure> {
    let fail = |reason: String| Failure::new(format!("Error getting job struct: {reason}"));
    let text = if path == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|error| fail(format!("Error reading stdin: {error}")))?;
        text
    } else {
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.into());
        std::fs::read_to_string(path).map_err(|error| {
            fail(format!(
                "Error getting jobfile from {path:?}: source path error: stat {}: {}",
                whole.display(),
                crate::config::words(&error)
            ))
        })?
    };
    if as_json {
        let body: Value =
            serde_json::from_str(&text).map_err(|error| fail(format!("Failed to parse JSON job: {error}")))?;
        return Ok(if body["Job"].is_object() { body["Job"].clone() } else { body });
    }
    let mut job = hcl::parse(&text).map_err(|error| {
        fail(format!("Error parsing job file from {path}:\n{}", error.replacen("input.hcl", path, 1)))
    })?;
    job.canonicalize();
    serde_json::to_value(job).map_err(|error| fail(error.to_string()))
}

/// `nomad job run`
pub(super) fn run(args: &[String]) -> Done {
    let switches = [
        "detach",
        "verbose",
        "json",
        "output",
        "hcl2-strict",
        "preserve-counts",
        "preserve-resources",
        "policy-override",
    ];
    let mut command = command("job run", args, &switches, &["check-index", "eval-priority"])?;
    let path = command.argument("job run", "path")?;
    let job = read(&path, command.flags.switch("json"))?;
    if command.flags.switch("output") {
        println!("{}", crate::http::indent(&json!({ "Job": job })));
        return Ok(0);
    }
    let mut body = json!({ "Job": job });
    if let Some(index) = command.flags.value("check-index") {
        let index: u64 =
            index.parse().map_err(|_| Failure::new(format!("Error parsing check-index value {index:?}")))?;
        body["EnforceIndex"] = json!(true);
        body["JobModifyIndex"] = json!(index);
    }
    let reply = command
        .api
        .put("/v1/jobs", &body)
        .map_err(|error| Failure::new(format!("Error submitting job: {}", error.replace("\n\n)", ")"))))?;
    let eval = text(&reply, "EvalID");
    let hint = || command.api.hint("View this job", &format!("jobs/{}@default", text(&job, "ID")));
    if command.flags.switch("detach") {
        println!("Job registration successful\nEvaluation ID: {eval}");
        hint();
        return Ok(0);
    }
    let code = monitor(&command.api, &eval, command.flags.switch("verbose"))?;
    hint();
    Ok(code)
}

fn say(text: &str) {
    println!("    {}: {text}", clock::rfc3339(clock::now()));
}

fn head(text: &str) {
    println!("==> {}: {text}", clock::rfc3339(clock::now()));
}

/// Follows an evaluation to its end, and then its deployment.
pub(super) fn monitor(api: &Api, eval: &str, verbose: bool) -> Done {
    let short = |whole: &str| -> String { if verbose { whole.to_owned() } else { whole.chars().take(8).collect() } };
    head(&format!("Monitoring evaluation {:?}", short(eval)));
    let mut first = true;
    let (done, deployment) = loop {
        let state = api.get(&format!("/v1/evaluation/{eval}")).map_err(doing("Error reading evaluation"))?;
        if first {
            say(&format!("Evaluation triggered by job {:?}", text(&state, "JobID")));
            first = false;
        }
        let status = text(&state, "Status");
        if matches!(status.as_str(), "complete" | "failed" | "cancelled") {
            let deployment = text(&state, "DeploymentID");
            if !deployment.is_empty() {
                say(&format!("Evaluation within deployment: {:?}", short(&deployment)));
            }
            let allocs =
                api.get(&format!("/v1/evaluation/{eval}/allocations")).map_err(doing("Error reading allocations"))?;
            for alloc in allocs.as_array().into_iter().flatten().filter(|alloc| alloc["DesiredStatus"] == "run") {
                let what = if alloc["CreateIndex"] == alloc["ModifyIndex"] || alloc["ClientStatus"] == "pending" {
                    "created"
                } else {
                    "modified"
                };
                say(&format!(
                    "Allocation {:?} {what}: node {:?}, group {:?}",
                    id(alloc, "ID", verbose),
                    id(alloc, "NodeID", verbose),
                    text(alloc, "TaskGroup")
                ));
            }
            say(&format!("Evaluation status changed: \"pending\" -> {status:?}"));
            break (state, deployment);
        }
        std::thread::sleep(LOOK / 5);
    };
    let status = text(&done, "Status");
    let failed = done["FailedTGAllocs"].as_object().cloned().unwrap_or_default();
    if failed.is_empty() {
        head(&format!("Evaluation {:?} finished with status {status:?}", short(eval)));
    } else {
        head(&format!(
            "Evaluation {:?} finished with status {status:?} but failed to place all allocations:",
            short(eval)
        ));
        for (group, metric) in &failed {
            let count = metric["CoalescedFailures"].as_u64().unwrap_or(0) + 1;
            say(&format!(
                "Task Group {group:?} (failed to place {count} allocation{}):",
                if count == 1 { "" } else { "s" }
            ));
            println!("{}", failure(metric, "      "));
        }
        let blocked = text(&done, "BlockedEval");
        if !blocked.is_empty() {
            say(&format!("Evaluation {:?} waiting for additional capacity to place remainder", short(&blocked)));
        }
    }
    if deployment.is_empty() {
        return Ok(if failed.is_empty() && status == "complete" { 0 } else { 2 });
    }
    watch_deployment(api, &deployment, verbose)
}

fn watch_deployment(api: &Api, deployment: &str, verbose: bool) -> Done {
    let short: String = if verbose { deployment.to_owned() } else { deployment.chars().take(8).collect() };
    head(&format!("Monitoring deployment {short:?}"));
    let mut last = String::new();
    loop {
        let state = api.get(&format!("/v1/deployment/{deployment}")).map_err(doing("Error fetching deployment"))?;
        let status = text(&state, "Status");
        let body = format!(
            "{}\n\nDeployed\n{}",
            pairs(&[
                ("ID", short.clone()),
                ("Job ID", text(&state, "JobID")),
                ("Job Version", text(&state, "JobVersion")),
                ("Status", status.clone()),
                ("Description", text(&state, "StatusDescription")),
            ]),
            deployed(&state)
        );
        if body != last {
            println!("    \n{}\n{body}", clock::rfc3339(clock::now()));
            last = body;
        }
        match status.as_str() {
            "successful" => return Ok(0),
            "failed" | "cancelled" => return Ok(1),
            _ => {}
        }
        std::thread::sleep(LOOK);
    }
}

/// `nomad job validate`
pub(super) fn validate(args: &[String]) -> Done {
    let command = command("job validate", args, &["json", "hcl2-strict"], &[])?;
    let path = command.argument("job validate", "path")?;
    let job = read(&path, command.flags.switch("json"))?;
    let errors = match command.api.put("/v1/validate/job", &json!({ "Job": job })) {
        Ok(reply) => text(&reply, "Error"),
        Err(error) if error.contains("dial tcp") => {
            println!("Job validated locally: no Nomad agent could be reached. {error}");
            let job: Job = serde_json::from_value(job).map_err(|error| Failure::new(error.to_string()))?;
            let faults = job.faults();
            if faults.is_empty() { String::new() } else { multi(&faults) }
        }
        Err(error) => return Err(Failure::new(format!("Error validating job: {error}"))),
    };
    if errors.is_empty() {
        println!("Job validation successful");
        return Ok(0);
    }
    Err(Failure::new(format!("Job validation errors:\n{}", errors.trim_end_matches('\n'))))
}

/// `nomad job plan`
pub(super) fn plan(args: &[String]) -> Done {
    let broken = |failure: Failure| Failure { code: 255, ..failure };
    let command = command("job plan", args, &["diff", "verbose", "json", "hcl2-strict", "policy-override"], &[])
        .map_err(broken)?;
    let path = command.argument("job plan", "path").map_err(broken)?;
    let job = read(&path, command.flags.switch("json")).map_err(broken)?;
    show_plan(&command, &path, &job)
}

fn show_plan(command: &Command, path: &str, job: &Value) -> Done {
    let id = text(job, "ID");
    let reply = command
        .api
        .put(&format!("/v1/job/{}/plan", encode(&id)), &json!({ "Job": job, "Diff": true }))
        .map_err(|error| Failure::code(format!("Error during plan: {error}"), 255))?;
    let kind = text(&reply["Diff"], "Type");
    let sign = match kind.as_str() {
        "Added" => "+ ",
        "Edited" => "+/- ",
        _ => "",
    };
    println!("{sign}Job: {id:?}");
    let mut changes = false;
    for (group, counts) in reply["Annotations"]["DesiredTGUpdates"].as_object().into_iter().flatten() {
        let parts: Vec<String> =
            [("Place", "create"), ("Stop", "destroy"), ("InPlaceUpdate", "in-place update"), ("Ignore", "ignore")]
                .iter()
                .filter_map(|(key, word)| {
                    counts[*key].as_u64().filter(|count| *count > 0).map(|count| format!("{count} {word}"))
                })
                .collect();
        changes |= ["Place", "Stop", "InPlaceUpdate"].iter().any(|key| counts[*key].as_u64().unwrap_or(0) > 0);
        println!("{sign}Task Group: {group:?} ({})", parts.join(", "));
        let groups = job["TaskGroups"].as_array().into_iter().flatten();
        for task in groups
            .filter(|one| one["Name"] == group.as_str())
            .flat_map(|group| group["Tasks"].as_array().into_iter().flatten())
        {
            println!("  {sign}Task: {:?}{}", text(task, "Name"), if sign == "+ " { " (forces create)" } else { "" });
        }
    }
    println!("\nScheduler dry-run:");
    let failed = reply["FailedTGAllocs"].as_object().cloned().unwrap_or_default();
    if failed.is_empty() {
        println!("- All tasks successfully allocated.");
    } else {
        println!("- WARNING: Failed to place all allocations.");
        for (group, metric) in &failed {
            let count = metric["CoalescedFailures"].as_u64().unwrap_or(0) + 1;
            println!(
                "  Task Group {group:?} (failed to place {count} allocation{}):\n{}",
                if count == 1 { "" } else { "s" },
                failure(metric, "    ")
            );
        }
    }
    let index = &reply["JobModifyIndex"];
    println!(
        "\nJob Modify Index: {index}\nTo submit the job with version verification run:\n\nnomad job run -check-index {index} {path}\n"
    );
    println!(
        "When running the job with the check-index flag, the job will only be run if the\njob modify index given matches the server-side version. If the index has\nchanged, another user has modified the job and the plan's results are\npotentially invalid."
    );
    Ok(u8::from(changes || kind != "None"))
}
