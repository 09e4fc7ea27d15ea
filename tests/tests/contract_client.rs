//! Clients: what survives them, who they are, and what they do without servers.

use std::time::Duration;

use serde_json::json;
use tests::api::Alloc;
use tests::contract::{Agent, Signal, Site, jobs, turn};
use tests::wait::until;

/// For what takes a second or two, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// A server and a client of its own, for tests that end one of them.
struct Own {
    server: Agent,
    client: Agent,
    node: String,
}

/// With the user's file of the client.
fn own(hcl: &str) -> Own {
    let site = Site::new();
    let server = site.server("s1", 1).start();
    server.takes_clients(SOON);
    let client = site.client("c1", &[server.ip]).hcl(hcl).start();
    let node = server.node("c1", "ready", SOON);
    Own { server, client, node }
}

impl Own {
    /// Registers a job of one task that writes its pid, and waits until it runs: the allocation and the pid.
    fn task(&self) -> (Alloc, String) {
        self.server.api.register(&jobs::service("j", 1, "echo $$; exec sleep 1000")).unwrap();
        let alloc = until("the task", SOON, || self.server.api.running("j", 1)).unwrap().remove(0);
        let pid = until("its pid", SOON, || self.pids(&alloc).map(|pids| pids[0].clone())).unwrap();
        (alloc, pid)
    }

    /// The pids of all starts of the task.
    fn pids(&self, alloc: &Alloc) -> Result<Vec<String>, String> {
        let log = self.client.data(&format!("alloc/{}/alloc/logs/main.stdout.0", alloc.id));
        let text = std::fs::read_to_string(log).map_err(|why| why.to_string())?;
        if text.is_empty() { Err("nothing yet".into()) } else { Ok(text.lines().map(str::to_owned).collect()) }
    }
}

fn lives(pid: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"sleep"))
}

#[test]
fn c032_a_client_is_healthy_even_if_it_never_reached_a_server() {
    let site = Site::new();
    let client = site.client("c1", &[site.address()]).start();
    let health = client.api.get("/v1/agent/health").unwrap();
    assert_eq!(health["client"]["ok"], true, "{health}");
}

#[test]
fn c048_requests_to_a_client_without_servers_hang() {
    let site = Site::new();
    let client = site.client("c1", &[site.address()]).start();
    // 15 s is the limit of every request of the suite.
    let why = client.api.get("/v1/nodes").unwrap_err();
    assert!(why.contains("timeout"), "{why}");
}

#[test]
fn c075_a_client_registers_when_its_server_comes() {
    let _turn = turn();
    let site = Site::new();
    let setup = site.server("s1", 1);
    let mut client = site.client("c1", &[setup.ip]).start();
    until("a refusal", SOON, || {
        let log = client.stdout();
        if log.contains("error registering") { Ok(()) } else { Err(log) }
    })
    .unwrap();
    assert!(client.is_running());
    let server = setup.start();
    server.node("c1", "ready", Duration::from_secs(90));
}

#[test]
fn c085_tasks_survive_a_client_that_is_stopped_or_crashes() {
    let _turn = turn();
    let mut own = own("");
    let (alloc, pid) = own.task();
    for signal in [Signal::TERM, Signal::KILL] {
        own.client.signal(signal);
        own.client.ends(SOON);
        assert!(lives(&pid), "the task ended with its client after {signal:?}");
        own.client.restart();
        own.server.node("c1", "ready", SOON);
        // The client that is back knows the task, and has not started another.
        let same = until("the task again", SOON, || own.server.api.running("j", 1)).unwrap().remove(0);
        assert_eq!(same, alloc);
        until("reattachment", SOON, || {
            let log =
                own.client.cli(["alloc", "exec", "-i=false", "-t=false", &alloc.id, "/bin/sh", "-c", "echo here"]);
            if log.code == 0 && log.stdout == "here\n" { Ok(()) } else { Err(format!("{log:?}")) }
        })
        .unwrap();
        assert_eq!((own.pids(&alloc).unwrap(), lives(&pid)), (vec![pid.clone()], true));
    }
    // A task that the client took over again is still its to stop.
    assert_eq!(own.server.cli(["job", "stop", "-detach", "j"]).code, 0);
    until("the end of the task", SOON, || if lives(&pid) { Err("it lives".into()) } else { Ok(()) }).unwrap();
}

#[test]
fn c086_a_task_is_the_child_of_an_executor_in_a_session_of_its_own() {
    let _turn = turn();
    let own = own("");
    let (_, pid) = own.task();
    // Fields after the name: state, parent, process group, session.
    let stat = |pid: &str| -> Vec<String> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
        stat.rsplit(") ").next().expect("fields").split(' ').map(str::to_owned).collect()
    };
    let task = stat(&pid);
    let (executor, agent) = (stat(&task[1]), stat(&own.client.pid().to_string()));
    assert_eq!(task[2], pid, "the task leads its process group");
    assert_eq!(executor[3], task[1], "the executor leads its session");
    assert_ne!(executor[3], agent[3]);
}

#[test]
fn c090_a_client_that_was_stopped_looks_ready() {
    let _turn = turn();
    for hcl in ["", "leave_on_terminate = true"] {
        let mut own = own(hcl);
        own.client.signal(Signal::TERM);
        own.client.ends(SOON);
        let nodes = own.server.api.nodes().unwrap();
        assert_eq!((&*nodes[0].1, &*nodes[0].2), (&*own.node, "ready"), "{hcl}: {nodes:?}");
    }
}

#[test]
fn c019_a_drain_ends_with_a_node_that_is_ineligible() {
    let _turn = turn();
    let own = own("");
    own.task();
    let out = own.server.cli(["node", "drain", "-enable", "-yes", "-deadline", "3s", &own.node]).out();
    assert!(out.contains(&format!("Drain complete for node {}", own.node)), "{out}");
    let nodes = own.server.api.get("/v1/nodes").unwrap();
    assert_eq!(
        (&nodes[0]["Drain"], &nodes[0]["SchedulingEligibility"]),
        (&false.into(), &"ineligible".into()),
        "{nodes}"
    );
    let node = own.server.api.get(&format!("/v1/node/{}", own.node)).unwrap();
    assert_eq!(node["LastDrain"]["Status"], "complete");
    assert_eq!(own.server.cli(["node", "eligibility", &own.node]).code, 1);
    assert_eq!(own.server.cli(["node", "eligibility", "-enable", &own.node]).code, 0);
    assert_eq!(own.server.api.nodes().unwrap()[0].3, "eligible");
    // The job finds its place again.
    until("the task", SOON, || own.server.api.running("j", 1)).unwrap();
}

/// What tells a drain that an operator ended from one that is complete.
#[test]
fn c126_a_drain_that_an_operator_ends_is_canceled() {
    let _turn = turn();
    let own = own("");
    // It has nowhere to go, so that the drain lasts.
    own.task();
    let path = format!("/v1/node/{}", own.node);
    let drain = json!({ "DrainSpec": { "Deadline": 600_000_000_000_u64 }, "Meta": { "message": "for an update" } });
    let node = || own.server.api.get(&path).unwrap();
    for (flag, eligibility) in [("-yes", "eligible"), ("-keep-ineligible", "ineligible")] {
        own.server.api.put(&format!("{path}/drain"), &drain).unwrap();
        let draining = node();
        assert_eq!((&draining["Drain"], &draining["LastDrain"]["Status"]), (&true.into(), &"draining".into()));
        assert_eq!(own.server.cli(["node", "drain", "-disable", "-yes", flag, &own.node]).code, 0);
        let ended = node();
        assert_eq!((&ended["Drain"], &ended["SchedulingEligibility"]), (&false.into(), &eligibility.into()), "{flag}");
        let last = &ended["LastDrain"];
        assert_eq!(
            (&last["Status"], &last["Meta"]["message"]),
            (&"canceled".into(), &"for an update".into()),
            "{last}"
        );
        let events = ended["Events"].as_array().unwrap();
        assert_eq!(events.last().unwrap()["Message"], "Node drain disabled");
    }
}

#[test]
fn c089_a_node_that_drained_on_shutdown_stays_ineligible() {
    let _turn = turn();
    let mut own = own("leave_on_terminate = true\nclient {\n drain_on_shutdown {\n deadline = \"3s\"\n }\n}");
    own.task();
    own.client.signal(Signal::TERM);
    // Nobody else can take the task, so the drain lasts until its deadline.
    assert_eq!(own.client.ends(SOON).0, 0);
    own.client.restart();
    own.server.node("c1", "ready", SOON);
    let nodes = own.server.api.nodes().unwrap();
    assert_eq!((&*nodes[0].1, &*nodes[0].3), (&*own.node, "ineligible"), "{nodes:?}");
}

#[test]
fn c097_a_client_is_known_by_the_files_of_its_data_directory() {
    let _turn = turn();
    let mut own = own("");
    let id = || std::fs::read_to_string(own.client.data("client/client-id")).unwrap();
    assert_eq!(id(), own.node);
    // state.db alone may go.
    own.client.crash();
    std::fs::remove_file(own.client.data("client/state.db")).unwrap();
    own.client.restart();
    assert_eq!(own.server.node("c1", "ready", SOON), own.node);
    // Without all of it, it is another node.
    own.client.crash();
    std::fs::remove_dir_all(own.client.data("client")).unwrap();
    own.client.restart();
    until("a second node", SOON, || {
        let nodes = own.server.api.nodes()?;
        let other = nodes.iter().any(|n| n.1 != own.node && n.2 == "ready");
        if other && nodes.len() == 2 { Ok(()) } else { Err(format!("{nodes:?}")) }
    })
    .unwrap();
}

#[test]
fn c098_damaged_state_of_a_client_is_fatal() {
    let site = Site::new();
    let setup = site.client("c1", &[site.address()]);
    site.write("c1/client/state.db", [0x55; 4096]);
    assert_eq!(setup.refused().code, 1);
}

#[test]
#[cfg_attr(not(steppe_slow), ignore = "takes more than 40 s: STEPPE_SLOW=1 runs it")]
fn c111_a_dead_client_goes_down_and_its_tasks_move() {
    let _turn = turn();
    let mut own = own("");
    let second = own.client.site().client("c2", &[own.server.ip]).start();
    own.server.node("c2", "ready", SOON);
    own.server.api.register(&jobs::service("j", 2, "exec sleep 1000")).unwrap();
    let before = until("both tasks", SOON, || own.server.api.running("j", 2)).unwrap();
    own.client.crash();
    own.server.node("c1", "down", Duration::from_secs(90));
    let after = until("the replacements", SOON, || own.server.api.running("j", 2)).unwrap();
    assert!(after.iter().all(|a| a.node == second.name), "{after:?}");
    let lost = |a: &Alloc| a.node == "c1" && a.client_status == "lost";
    assert!(before.iter().all(|a| a.node != "c1") || own.server.api.allocs("j").unwrap().iter().any(lost));
    own.client.restart();
    own.server.node("c1", "ready", SOON);
    until("only the replacements run", SOON, || own.server.api.running("j", 2)).unwrap();
}
