//! The command line against agents that answer, that have no leader, and that are not there.

use std::net::Ipv4Addr;
use std::time::Duration;

use tests::contract::{Ran, Site, jobs, leaderless, pair};

/// More than a command takes that does not wait for anything, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(4);

/// Words of a table's line.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn no_leader(ran: &Ran) {
    assert!(ran.code == 1 && ran.stderr.contains("No cluster leader"), "{ran:#?}");
    assert!(ran.took > Duration::from_secs(4) && ran.took < Duration::from_secs(20), "{ran:#?}");
}

#[test]
fn c001_version_is_one_plain_line() {
    let site = Site::new();
    let version = site.run(["version"]).out();
    let number = version.strip_prefix("Nomad v").and_then(|v| v.strip_suffix('\n')).expect("Nomad v...");
    assert_eq!(number.split('.').count(), 3, "{number}");
    assert!(number.split('.').take(2).all(|n| n.parse::<u32>().is_ok()), "{number}");
    for args in [&["-version"][..], &["--version"], &["version", "-json"]] {
        assert_eq!(site.run(args).out(), version, "{args:?}");
    }
}

#[test]
fn c002_without_a_command_the_usage_and_exit_127() {
    let site = Site::new();
    for args in [&[][..], &["nosuch"]] {
        let ran = site.run(args);
        assert!(ran.code == 127 && ran.stdout.starts_with("Usage: nomad") && ran.stderr.is_empty(), "{ran:#?}");
    }
}

#[test]
fn c003_an_unknown_flag_is_named() {
    let site = Site::new();
    for args in [&["server", "members", "-nosuch"][..], &["agent", "-nosuch"], &["job", "status", "-nosuch"]] {
        let ran = site.run(args);
        assert!(ran.code == 1 && ran.stderr.contains("flag provided but not defined: -nosuch"), "{ran:#?}");
    }
}

#[test]
fn c004_an_agent_that_is_not_there_is_an_error_at_once() {
    let site = Site::new();
    let nobody = site.address();
    let job = site.write("job.hcl", jobs::hcl("example", 1, "exit 0", "", ""));
    let job = job.to_str().expect("path");
    let cases: &[(&[&str], i32, &str, &str)] = &[
        (&["server", "members"], 1, "Error querying servers: Get", "/v1/agent/members"),
        (&["node", "status"], 1, "Error querying node status: Get", "/v1/nodes"),
        (&["job", "status"], 1, "Error querying jobs: Get", "/v1/jobs"),
        (&["status"], 1, "Error querying jobs: Get", "/v1/jobs"),
        (&["operator", "raft", "list-peers"], 1, "Failed to retrieve raft configuration: Get", "/v1/operator/raft/"),
        (&["agent-info"], 1, "failed querying self endpoint: Get", "/v1/agent/self"),
        (&["job", "run", "-detach", job], 1, "Error submitting job: Put", "/v1/jobs"),
        (&["job", "stop", "example"], 1, "Error querying job prefix \"example\": Get", "/v1/jobs"),
        (&["system", "gc"], 1, "Error running system garbage-collection: Put", "/v1/system/gc"),
        (&["alloc", "status", "abcdef12"], 1, "Error querying allocation: Get", "/v1/allocations"),
        (&["server", "join", "127.0.0.9"], 1, "Error joining: failed joining: Put", "/v1/agent/join"),
        (&["job", "plan", job], 255, "Error during plan: Put", "/v1/job/example/plan"),
    ];
    for (args, code, doing, path) in cases {
        let mut command = site.nomad();
        command.env("NOMAD_ADDR", format!("http://{nobody}:4646")).args(*args);
        let ran = site.finish(command);
        ran.fails(*code, doing);
        assert!(ran.stderr.contains(&format!("http://{nobody}:4646{path}")), "{ran:#?}");
        assert!(ran.stderr.contains(&format!("dial tcp {nobody}:4646: connect: connection refused")), "{ran:#?}");
        assert!(ran.took < AT_ONCE, "{ran:#?}");
    }
}

#[test]
fn c004_a_job_is_validated_without_an_agent() {
    let site = Site::new();
    let job = site.write("job.hcl", jobs::hcl("example", 1, "exit 0", "", ""));
    let address = format!("-address=http://{}:4646", site.address());
    let ran = site.run(["job", "validate", &address, job.to_str().expect("path")]);
    assert!(ran.code == 0 && ran.stdout.contains("Job validation successful"), "{ran:#?}");
    // Nobody needs to be asked to see that an argument is missing.
    site.run(["alloc", "status", &address]).fails(1, "This command takes one of the following argument conditions");
}

#[test]
fn c005_an_answer_of_the_api_is_in_the_error() {
    pair().server.cli(["node", "status", "zz"]).fails(1, "Unexpected response code: 500 (");
}

#[test]
fn c006_without_a_leader_commands_fail_after_a_while() {
    let agent = leaderless();
    std::thread::scope(|scope| {
        for args in [&["job", "status"][..], &["node", "status"], &["operator", "raft", "list-peers"]] {
            scope.spawn(move || no_leader(&agent.cli(args)));
        }
    });
}

#[test]
fn c007_members_are_listed_without_a_leader_and_it_is_a_failure() {
    let ran = leaderless().cli(["server", "members"]);
    no_leader(&ran);
    assert!(ran.stderr.contains("Error determining leaders:"), "{ran:#?}");
    let member = ran.stdout.lines().find(|line| line.starts_with("s1.global ")).expect("the server itself");
    assert!(words(member).contains(&"alive"), "{ran:#?}");
}

#[test]
fn c008_agent_info_needs_no_leader() {
    let info = leaderless().cli(["agent-info"]).out();
    assert!(info.contains("\n  leader_addr = \n") && info.contains("\n  state = Follower\n"), "{info}");
}

#[test]
fn c009_the_address_flag_beats_the_variable() {
    let server = &pair().server;
    let mut command = server.site().nomad();
    let address = format!("-address={}", server.api.base());
    command.env("NOMAD_ADDR", "http://127.0.0.250:4646").args(["server", "members", &address]);
    assert!(server.site().finish(command).out().contains("s1.global"));
}

#[test]
fn c009_an_address_needs_its_scheme() {
    let site = Site::new();
    let mut command = site.nomad();
    command.env("NOMAD_ADDR", "127.0.0.250:4646").args(["server", "members"]);
    site.finish(command).fails(1, "Error initializing client: invalid address");
}

#[test]
fn c010_hints_never_reach_standard_output() {
    let server = &pair().server;
    for shown in ["false", "0"] {
        let mut command = server.site().nomad();
        command.env("NOMAD_ADDR", server.api.base()).env("NOMAD_CLI_SHOW_HINTS", shown).args(["job", "status"]);
        let ran = server.site().finish(command);
        assert!(ran.code == 0 && ran.stderr.is_empty(), "{ran:#?}");
    }
    let ran = server.cli(["job", "status"]);
    assert!(!ran.stdout.contains("==> View"), "{ran:#?}");
}

#[test]
fn c011_server_members_has_these_columns() {
    let server = &pair().server;
    let table = server.cli(["server", "members"]).out();
    let mut lines = table.lines();
    let header = words(lines.next().expect("header"));
    let columns = ["Name", "Address", "Port", "Status", "Leader", "Raft", "Version", "Build", "Datacenter", "Region"];
    assert_eq!(header, columns, "{table}");
    let row = words(lines.next().expect("row"));
    assert_eq!(row[..6], ["s1.global", &server.ip.to_string(), "4648", "alive", "true", "3"], "{table}");
    assert_eq!(row[7..], ["dc1", "global"], "{table}");
    assert_eq!(lines.next(), None);
}

#[test]
fn c012_node_status_has_these_columns() {
    let pair = pair();
    let table = pair.server.cli(["node", "status"]).out();
    let mut lines = table.lines();
    let header = words(lines.next().expect("header"));
    assert_eq!(header, ["ID", "Node", "Pool", "DC", "Name", "Class", "Drain", "Eligibility", "Status"]);
    let row = words(lines.next().expect("row"));
    assert_eq!(row, [&pair.node[..8], "default", "dc1", "c1", "<none>", "false", "eligible", "ready"], "{table}");
    assert_eq!(lines.next(), None);

    let verbose = pair.server.cli(["node", "status", "-verbose"]).out();
    let row = words(verbose.lines().nth(1).expect("row"));
    assert_eq!((row[0], row[3], row[5]), (&*pair.node, "c1", &*pair.client.ip.to_string()), "{verbose}");
}

#[test]
fn c012_a_node_is_found_by_the_start_of_its_id() {
    let pair = pair();
    let status = pair.server.cli(["node", "status", &pair.node[..8]]).out();
    for (key, value) in [("ID", &*pair.node), ("Name", "c1"), ("Status", "ready"), ("Eligibility", "eligible")] {
        let line = format!("{key:15} = {value}");
        assert!(status.lines().any(|l| l == line), "{line}: {status}");
    }
    pair.server.cli(["node", "status", "00000000"]).fails(1, "No node(s) with prefix \"00000000\" found");
}

#[test]
fn c012_self_is_a_client_or_an_error() {
    let pair = pair();
    pair.server.cli(["node", "status", "-self"]).fails(1, "Nomad not running in client mode");
    let own = pair.client.cli(["node", "status", "-self"]).out();
    assert!(own.contains(&format!("= {}", pair.node)), "{own}");
}

#[test]
fn c013_no_jobs_and_unknown_jobs() {
    let server = &pair().server;
    assert_eq!(server.cli(["job", "status"]).out(), "No running jobs\n");
    for command in ["status", "stop"] {
        server.cli(["job", command, "nosuch"]).fails(1, "No job(s) with prefix or ID \"nosuch\" found");
    }
}

#[test]
fn c016_job_init_never_overwrites() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new();
    let first = site.run(["job", "init", "-short"]).out();
    assert!(first.contains("Example job file written to example.nomad.hcl"), "{first}");
    let path = site.dir().join("example.nomad.hcl");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777 & !0o640, 0, "mode {mode:o}");
    std::fs::write(&path, "mine").unwrap();
    site.run(["job", "init", "-short"]).fails(1, "Job 'example.nomad.hcl' already exists");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn c020_raft_peers_are_a_table_only() {
    let server = &pair().server;
    let table = server.cli(["operator", "raft", "list-peers"]).out();
    let mut lines = table.lines();
    assert_eq!(words(lines.next().expect("header")), ["Node", "ID", "Address", "State", "Voter", "RaftProtocol"]);
    let row = words(lines.next().expect("row"));
    assert_eq!((row[0], row[1].len(), row[2]), ("s1.global", 36, &*format!("{}:4647", server.ip)), "{table}");
    assert_eq!(row[3..], ["leader", "true", "3"], "{table}");
    let json = server.cli(["operator", "raft", "list-peers", "-json"]);
    assert!(json.code == 1 && json.stderr.contains("flag provided but not defined: -json"), "{json:#?}");
}

#[test]
fn c020_a_stale_list_of_peers_needs_no_leader() {
    let ran = leaderless().cli(["operator", "raft", "list-peers", "-stale"]);
    assert!(ran.code == 0 && ran.took < AT_ONCE && ran.stdout.contains("RaftProtocol"), "{ran:#?}");
}

#[test]
fn c021_autopilot_tells_of_its_health() {
    let server = &pair().server;
    // Right after an election the list of servers is empty for a moment.
    tests::wait::until("autopilot", Duration::from_secs(40), || {
        let ran = server.cli(["operator", "autopilot", "health"]);
        let healthy = ran.code == 0 && ran.stdout.starts_with("Healthy: true\n") && ran.stdout.contains("s1.global");
        if healthy { Ok(()) } else { Err(format!("{ran:#?}")) }
    })
    .unwrap();
}

#[test]
fn c023_to_force_out_an_unknown_server_is_no_error() {
    let ran = pair().server.cli(["server", "force-leave", "nosuch.global"]);
    assert!(ran.code == 0 && ran.stdout.is_empty() && ran.stderr.is_empty(), "{ran:#?}");
}

#[test]
fn c024_a_join_to_nobody_fails() {
    let pair = pair();
    let nobody = Ipv4Addr::new(127, 255, 255, 1);
    let ran = pair.server.cli(["server", "join", &nobody.to_string()]);
    ran.fails(1, "Error joining: failed joining: 1 error occurred:");
    assert!(ran.stderr.contains(&format!("dial tcp {nobody}:4648: connect: connection refused")), "{ran:#?}");
    pair.client.cli(["server", "join", "127.0.0.9"]).fails(1, "501 (Invalid method)");
    assert_eq!(
        pair.server.cli(["server", "join", &pair.server.ip.to_string()]).out(),
        "Joined 1 servers successfully\n"
    );
    assert_eq!(pair.server.cli(["system", "gc"]).out(), "");
}

#[test]
fn c028_the_api_is_at_hand_on_the_command_line() {
    let server = &pair().server;
    let leader = server.cli(["operator", "api", "/v1/status/leader"]).out();
    assert_eq!(leader.trim_end(), format!("\"{}:4647\"", server.ip));
}
