//! Jobs: how they are registered, run, watched and stopped, with tasks of `raw_exec`.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tests::api::Alloc;
use tests::contract::{FileServer, Pair, jobs, pair};
use tests::wait::until;

/// For what takes a second or two, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

fn running(pair: &Pair, job: &str, count: usize) -> Vec<Alloc> {
    until(job, SOON, || pair.server.api.running(job, count)).unwrap()
}

/// What the task of an allocation wrote to standard output, as the client keeps it.
fn log(pair: &Pair, alloc: &str) -> PathBuf {
    pair.client.data(&format!("alloc/{alloc}/alloc/logs/main.stdout.0"))
}

/// Waits until the first allocation of `job` has written a line that starts with `done`; returns all it wrote.
fn output(pair: &Pair, job: &str) -> String {
    until(&format!("the output of {job}"), SOON, || {
        let allocs = pair.server.api.allocs(job)?;
        let alloc = allocs.first().ok_or("no allocation")?;
        let text = std::fs::read_to_string(log(pair, &alloc.id)).map_err(|why| format!("{why}: {alloc:?}"))?;
        if text.lines().any(|line| line.starts_with("done")) { Ok(text) } else { Err(text) }
    })
    .unwrap()
}

/// Registers a job of one copy, with `change` made to its group, and returns what its task wrote.
fn told(id: &str, script: &str, change: impl FnOnce(&mut Value)) -> String {
    let pair = pair();
    let mut job = jobs::service(id, 1, &format!("{script}; echo done; exec sleep 1000"));
    change(&mut job["TaskGroups"][0]);
    pair.server.api.register(&job).unwrap();
    output(pair, id)
}

fn stop(pair: &Pair, job: &str) {
    assert_eq!(pair.server.cli(["job", "stop", "-purge", "-detach", job]).code, 0);
}

fn path(pair: &Pair, name: &str, text: &str) -> String {
    pair.server.site().write(name, text).display().to_string()
}

#[test]
fn c014_a_detached_run_prints_the_evaluation() {
    let pair = pair();
    let file = path(pair, "detached.hcl", &jobs::hcl("detached", 2, "exec sleep 1000", "", ""));
    let out = pair.server.cli(["job", "run", "-detach", &file]).out();
    let (first, second) = out.trim_end().split_once('\n').expect("two lines");
    assert_eq!(first, "Job registration successful");
    assert_eq!(second.strip_prefix("Evaluation ID: ").map(str::len), Some(36), "{out}");
    let allocs = running(pair, "detached", 2);
    assert!(allocs.iter().all(|a| a.node == "c1" && a.restarts == 0), "{allocs:?}");

    // The columns of the reference cluster's commands.
    let status = pair.server.cli(["job", "status"]).out();
    let row = status.lines().find(|line| line.starts_with("detached ")).expect("row");
    assert_eq!(
        row.split_whitespace().take(4).collect::<Vec<_>>(),
        ["detached", "service", "50", "running"],
        "{status}"
    );
    let status = pair.server.cli(["job", "status", "detached"]).out();
    assert!(status.lines().any(|line| line == "Status        = running"), "{status}");
    let summary = status.lines().find(|line| line.starts_with("web ")).expect("summary");
    assert_eq!(summary.split_whitespace().nth(3), Some("2"), "{status}");
    let verbose = pair.server.cli(["job", "status", "-verbose", "detached"]).out();
    for alloc in &allocs {
        let row = verbose.lines().find(|line| line.starts_with(&alloc.id)).expect("row of the allocation");
        assert!(row.contains(" c1 ") && row.contains(&pair.node), "{verbose}");
    }
    stop(pair, "detached");
}

#[test]
fn c014_a_run_waits_for_the_deployment() {
    let pair = pair();
    let file = path(pair, "deployed.hcl", &jobs::hcl("deployed", 1, "exec sleep 1000", "", ""));
    let out = pair.server.cli(["job", "run", &file]).out();
    for part in
        ["Monitoring evaluation \"", "finished with status \"complete\"", "Monitoring deployment \"", "= successful"]
    {
        assert!(out.contains(part), "{part}\n{out}");
    }
    running(pair, "deployed", 1);
    stop(pair, "deployed");
}

#[test]
fn c015_a_plan_exits_1_when_there_are_changes_and_0_when_there_are_none() {
    let pair = pair();
    let file = path(pair, "planned.hcl", &jobs::hcl("planned", 1, "exec sleep 1000", "", ""));
    let plan = pair.server.cli(["job", "plan", &file]);
    assert!(plan.code == 1 && plan.stdout.contains("All tasks successfully allocated."), "{plan:#?}");
    assert_eq!(pair.server.cli(["job", "run", "-detach", &file]).code, 0);
    running(pair, "planned", 1);
    let plan = pair.server.cli(["job", "plan", &file]);
    assert!(plan.code == 0 && plan.stdout.contains("All tasks successfully allocated."), "{plan:#?}");
    assert_eq!(pair.server.cli(["job", "plan", "/nonexistent.hcl"]).code, 255);
    stop(pair, "planned");
}

#[test]
fn c017_a_stopped_job_is_dead_and_a_purged_one_unknown() {
    let pair = pair();
    pair.server.api.register(&jobs::service("stopped", 1, "exec sleep 1000")).unwrap();
    let alloc = running(pair, "stopped", 1).remove(0);
    let out = pair.server.cli(["job", "stop", "-detach", "stopped"]).out();
    assert_eq!(out.trim_end().len(), 36, "the evaluation and nothing else: {out}");
    until("the end of the task", SOON, || {
        let status = pair.server.api.get(&format!("/v1/allocation/{}", alloc.id))?["ClientStatus"].take();
        if status == "complete" { Ok(()) } else { Err(status.to_string()) }
    })
    .unwrap();
    let status = pair.server.cli(["job", "status", "stopped"]).out();
    assert!(status.lines().any(|line| line.starts_with("Status ") && line.contains("= dead")), "{status}");
    stop(pair, "stopped");
    until("the job to be gone", SOON, || {
        let ran = pair.server.cli(["job", "status", "stopped"]);
        if ran.code == 1 { Ok(()) } else { Err(format!("{ran:?}")) }
    })
    .unwrap();
}

#[test]
fn c038_a_job_is_accepted_by_put_and_post_and_unknown_fields_are_ignored() {
    let pair = pair();
    for method in ["PUT", "POST"] {
        let mut job = jobs::service("accepted", 1, "exec sleep 1000");
        job["NoSuchField"] = json!(1);
        let answer = pair.server.api.send(method, "/v1/jobs", &json!({ "Job": job }).to_string()).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        let told = answer.json();
        assert_eq!(told["EvalID"].as_str().map(str::len), Some(36), "{told}");
        for key in ["EvalCreateIndex", "JobModifyIndex", "Index"] {
            assert!(told[key].as_u64().is_some_and(|n| n > 0), "{key}: {told}");
        }
        assert_eq!((told["Warnings"].as_str(), answer.header("x-nomad-knownleader")), (Some(""), ""), "{answer:?}");
    }
    stop(pair, "accepted");
}

#[test]
fn c018_alloc_exec_and_logs_reach_the_task() {
    let pair = pair();
    pair.server.api.register(&jobs::service("spoken", 1, "echo done here; exec sleep 1000")).unwrap();
    output(pair, "spoken");
    let alloc = running(pair, "spoken", 1).remove(0).id;
    assert_eq!(pair.server.cli(["alloc", "logs", &alloc]).out(), "done here\n");
    let ran = pair.server.cli([
        "alloc",
        "exec",
        "-i=false",
        "-t=false",
        &alloc,
        "/bin/sh",
        "-c",
        "echo out; echo err >&2; exit 7",
    ]);
    assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (7, "out\n", "err\n"));
    let status = pair.server.cli(["alloc", "status", &alloc]).out();
    assert!(status.contains("Client Status       = running") && status.contains("= c1"), "{status}");
    stop(pair, "spoken");
}

#[test]
fn c086_a_task_has_its_environment_and_meta() {
    let out = told("environment", "env", |group| {
        let task = &mut group["Tasks"][0];
        task["Env"] = json!({ "OWN": "of-the-job" });
        task["Meta"] = json!({ "color": "blue" });
    });
    let pair = pair();
    // All of the agent's environment is in there too: the site's mark, for one.
    let mark = format!("STEPPE_CONTRACT={}/", pair.client.site().dir().display());
    for line in [
        "OWN=of-the-job",
        "NOMAD_META_color=blue",
        "NOMAD_JOB_ID=environment",
        "NOMAD_GROUP_NAME=web",
        "NOMAD_TASK_NAME=main",
        "NOMAD_ALLOC_INDEX=0",
        "NOMAD_DC=dc1",
        "NOMAD_REGION=global",
        &mark,
    ] {
        assert!(out.lines().any(|l| l == line), "{line}\n{out}");
    }
    for key in [
        "NOMAD_ALLOC_ID=",
        "NOMAD_TASK_DIR=",
        "NOMAD_ALLOC_DIR=",
        "NOMAD_SECRETS_DIR=",
        "NOMAD_CPU_LIMIT=",
        "NOMAD_MEMORY_LIMIT=",
    ] {
        assert!(out.lines().any(|l| l.starts_with(key)), "{key}\n{out}");
    }
    stop(pair, "environment");
}

#[test]
fn jobs_get_ports_that_they_ask_for() {
    let out = told("ports", "env", |group| {
        group["Networks"] =
            json!([{ "DynamicPorts": [{ "Label": "http" }], "ReservedPorts": [{ "Label": "admin", "Value": 14646 }] }]);
    });
    let value =
        |key: &str| out.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("{key}\n{out}"));
    let dynamic: u16 = value("NOMAD_PORT_http=").parse().expect("port");
    assert!((20000..=32000).contains(&dynamic), "{dynamic}");
    assert_eq!(value("NOMAD_PORT_admin="), "14646");
    let ip = value("NOMAD_IP_http=");
    assert!(ip.parse::<std::net::IpAddr>().is_ok(), "{ip}");
    assert_eq!(value("NOMAD_ADDR_http="), format!("{ip}:{dynamic}"));
    stop(pair(), "ports");
}

#[test]
fn jobs_get_artifacts_before_they_start() {
    let server = FileServer::new(b"#!/bin/sh\necho fetched\n");
    let out = told("artifact", "/bin/sh local/hello.sh", |group| {
        group["Tasks"][0]["Artifacts"] =
            json!([{ "GetterSource": format!("http://{}/hello.sh", server.address), "RelativeDest": "local/" }]);
    });
    assert!(out.starts_with("fetched\n"), "{out}");
    stop(pair(), "artifact");
}

#[test]
fn jobs_may_run_what_they_fetched() {
    let server = FileServer::new(b"#!/bin/sh\necho ran\necho done\nexec sleep 1000\n");
    let out = told("fetched", "", |group| {
        group["Tasks"][0]["Artifacts"] = json!([{
            "GetterSource": format!("http://{}/hello.sh", server.address),
            "GetterMode": "file",
            "RelativeDest": "local/hello",
        }]);
        group["Tasks"][0]["Config"] = json!({ "command": "local/hello" });
    });
    assert!(out.starts_with("ran\n"), "{out}");
    stop(pair(), "fetched");
}

#[test]
fn jobs_find_their_constraints() {
    let constraint = |value: &str| json!([{ "LTarget": "${meta.rack}", "RTarget": value, "Operand": "=" }]);
    let out = told("placed", "echo placed", |group| group["Constraints"] = constraint("r1"));
    assert!(out.contains("placed"), "{out}");
    let pair = pair();
    let mut job = jobs::service("unplaced", 1, "exec sleep 1000");
    job["TaskGroups"][0]["Constraints"] = constraint("r9");
    pair.server.api.register(&job).unwrap();
    until("a blocked evaluation", SOON, || {
        let evals = pair.server.api.get("/v1/job/unplaced/evaluations")?;
        let blocked = evals.as_array().is_some_and(|list| list.iter().any(|e| e["Status"] == "blocked"));
        if blocked { Ok(()) } else { Err(evals.to_string()) }
    })
    .unwrap();
    assert_eq!(pair.server.api.allocs("unplaced").unwrap(), []);
    for job in ["placed", "unplaced"] {
        stop(pair, job);
    }
}

#[test]
fn jobs_of_type_batch_end() {
    let pair = pair();
    let mut job = jobs::service("batch", 1, "echo done; exit 0");
    job["Type"] = json!("batch");
    pair.server.api.register(&job).unwrap();
    until("the batch job to end", SOON, || {
        let status = pair.server.api.get("/v1/job/batch")?["Status"].take();
        let allocs = pair.server.api.allocs("batch")?;
        let complete = allocs.len() == 1 && allocs[0].client_status == "complete";
        if status == "dead" && complete { Ok(()) } else { Err(format!("{status}: {allocs:?}")) }
    })
    .unwrap();
    stop(pair, "batch");
}

#[test]
fn jobs_that_fail_are_restarted() {
    let pair = pair();
    pair.server.api.register(&jobs::service("failing", 1, "exit 3")).unwrap();
    until("a restart", SOON, || {
        let allocs = pair.server.api.allocs("failing")?;
        if allocs.iter().any(|a| a.restarts > 0) { Ok(()) } else { Err(format!("{allocs:?}")) }
    })
    .unwrap();
    stop(pair, "failing");
}

#[test]
fn jobs_of_type_system_run_on_every_client() {
    let pair = pair();
    let mut job = jobs::service("everywhere", 1, "exec sleep 1000");
    job["Type"] = json!("system");
    pair.server.api.register(&job).unwrap();
    running(pair, "everywhere", 1);
    stop(pair, "everywhere");
}
