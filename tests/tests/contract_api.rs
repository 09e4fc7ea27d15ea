//! The HTTP API: statuses, bodies and headers, with a leader and without one.

use std::time::Duration;

use serde_json::{Value, json};
use tests::api::Answer;
use tests::contract::{Agent, Site, jobs, leaderless, pair};

const AT_ONCE: Duration = Duration::from_secs(4);

/// A client that has no server lets requests hang; none here does.
fn get(agent: &Agent, path: &str) -> Answer {
    send(agent, "GET", path, "")
}

fn send(agent: &Agent, method: &str, path: &str, body: &str) -> Answer {
    agent.api.send(method, path, body).unwrap()
}

fn ok(agent: &Agent, path: &str) -> Value {
    let answer = get(agent, path);
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

fn is(answer: &Answer, status: u16, body: &str) {
    assert!(answer.status == status && answer.body == body, "not {status} {body}: {answer:?}");
}

/// A leader-bound question to a server that has none.
fn no_leader(path: &str) -> Answer {
    let answer = get(leaderless(), path);
    assert_eq!(answer.status, 500, "{path}: {answer:?}");
    assert!(answer.took > Duration::from_secs(4) && answer.took < Duration::from_secs(14), "{path}: {answer:?}");
    answer
}

#[test]
fn c027_bodies_are_compact_json_and_errors_are_text() {
    let server = &pair().server;
    let answer = get(server, "/v1/status/peers");
    is(&answer, 200, &format!("[\"{}:4647\"]", server.ip));
    assert_eq!(answer.header("content-type"), "application/json");
    let pretty = get(server, "/v1/status/peers?pretty");
    assert!(pretty.body.contains("\n    \""), "{pretty:?}");
    let error = get(server, "/v1/job/nosuch");
    is(&error, 404, "job not found");
    assert_eq!(error.header("content-type"), "text/plain; charset=utf-8");
}

#[test]
fn c028_the_leader_is_an_rpc_address() {
    let pair = pair();
    let leader = json!(format!("{}:4647", pair.server.ip));
    assert_eq!(ok(&pair.server, "/v1/status/leader"), leader);
    // A client asks its server.
    assert_eq!(ok(&pair.client, "/v1/status/leader"), leader);
    assert_eq!(ok(&pair.client, "/v1/status/peers"), json!([leader]));
}

#[test]
fn c028_without_a_leader_it_is_an_error_after_a_while() {
    std::thread::scope(|scope| {
        for path in
            ["/v1/status/leader", "/v1/status/peers", "/v1/nodes", "/v1/jobs", "/v1/operator/raft/configuration"]
        {
            scope.spawn(move || assert_eq!(no_leader(path).body, "No cluster leader", "{path}"));
        }
    });
}

#[test]
fn c029_health_has_a_key_for_each_role() {
    let pair = pair();
    assert_eq!(ok(&pair.server, "/v1/agent/health"), json!({ "server": { "message": "ok", "ok": true } }));
    assert_eq!(ok(&pair.client, "/v1/agent/health"), json!({ "client": { "message": "ok", "ok": true } }));
}

#[test]
fn c029_a_combined_agent_has_both_keys() {
    let site = Site::new();
    let both = site.server("b1", 1).hcl("client {\n enabled = true\n network_interface = \"lo\"\n}").start();
    both.node("b1", "ready", Duration::from_secs(90));
    let ok = json!({ "message": "ok", "ok": true });
    assert_eq!(both.api.get("/v1/agent/health").unwrap(), json!({ "client": ok, "server": ok }));
}

#[test]
fn c030_health_without_a_leader_is_an_error_with_json() {
    let answer = no_leader("/v1/agent/health");
    assert_eq!(answer.json(), json!({ "server": { "ok": false, "message": "No cluster leader" } }));
    assert!(answer.header("content-type").starts_with("text/plain"), "{answer:?}");
}

#[test]
fn c031_health_of_a_role_that_the_agent_has_not() {
    let pair = pair();
    for (agent, role) in [(&pair.server, "client"), (&pair.client, "server")] {
        let answer = get(agent, &format!("/v1/agent/health?type={role}"));
        assert_eq!(answer.status, 500, "{answer:?}");
        assert_eq!(answer.json(), json!({ role: { "ok": false, "message": format!("{role} not enabled") } }));
        assert_eq!(ok(agent, "/v1/agent/health?type=bogus"), json!({}));
    }
}

#[test]
fn c033_self_works_at_once_without_a_leader() {
    for agent in [leaderless(), &pair().server, &pair().client] {
        let answer = get(agent, "/v1/agent/self");
        assert!(answer.status == 200 && answer.took < AT_ONCE, "{answer:?}");
        for key in ["config", "member", "stats"] {
            assert!(answer.json()[key].is_object(), "{key}: {answer:?}");
        }
    }
}

#[test]
fn c033_a_client_finds_its_own_node_and_whether_it_is_ready() {
    let pair = pair();
    let own = ok(&pair.client, "/v1/agent/self");
    assert_eq!(own["stats"]["client"]["node_id"], json!(pair.node), "{own}");
    assert_eq!(ok(&pair.client, &format!("/v1/node/{}", pair.node))["Status"], "ready");
}

#[test]
fn c034_members_have_names_statuses_and_tags_of_text() {
    for (agent, expect) in [(leaderless(), "expect"), (&pair().server, "bootstrap")] {
        let members = ok(agent, "/v1/agent/members");
        let list = members["Members"].as_array().expect("Members");
        assert_eq!(list.len(), 1, "{members}");
        let (name, status, address) = (&list[0]["Name"], &list[0]["Status"], &list[0]["Addr"]);
        assert_eq!((name, status, address), (&json!("s1.global"), &json!("alive"), &json!(agent.ip)), "{members}");
        let tags = list[0]["Tags"].as_object().expect("Tags");
        assert!(tags.values().all(Value::is_string), "{tags:?}");
        for key in ["build", "dc", expect, "id", "port", "raft_vsn", "region", "role", "rpc_addr", "vsn"] {
            assert!(tags.contains_key(key), "{key}: {tags:?}");
        }
        assert_eq!((&tags["role"], &tags["port"]), (&json!("nomad"), &json!("4647")));
    }
}

#[test]
fn c034_the_servers_of_an_agent_are_known_to_clients_only() {
    let pair = pair();
    assert_eq!(ok(&pair.client, "/v1/agent/servers"), json!([format!("{}:4647", pair.server.ip)]));
    is(&get(&pair.server, "/v1/agent/servers"), 501, "Invalid method");
}

#[test]
fn c035_nodes_tell_name_status_and_eligibility() {
    let pair = pair();
    let nodes = ok(&pair.server, "/v1/nodes");
    let node = &nodes[0];
    let expected = json!({
        "ID": pair.node, "Name": "c1", "Status": "ready", "SchedulingEligibility": "eligible", "Drain": false,
        "Datacenter": "dc1", "NodePool": "default", "Address": pair.client.ip,
    });
    for (key, value) in expected.as_object().expect("object") {
        assert_eq!(&node[key], value, "{key}: {nodes}");
    }
    assert_eq!(node["Drivers"]["raw_exec"]["Healthy"], true, "{nodes}");
    assert_eq!(ok(leaderless(), "/v1/nodes?stale"), json!([]));
}

#[test]
fn c036_a_node_is_asked_for_by_its_full_id() {
    let pair = pair();
    let node = ok(&pair.server, &format!("/v1/node/{}", pair.node));
    assert_eq!((&node["Name"], &node["Meta"]["rack"]), (&json!("c1"), &json!("r1")), "{node}");
    assert_eq!(node["Attributes"]["kernel.name"], "linux", "{node}");
    let prefix = get(&pair.server, &format!("/v1/node/{}", &pair.node[..8]));
    assert!(prefix.status == 500 && prefix.body.contains("UUID must be 36 characters"), "{prefix:?}");
    is(&get(&pair.server, "/v1/node/00000000-0000-0000-0000-000000000000"), 404, "node not found");
    assert_eq!(ok(&pair.server, &format!("/v1/node/{}/allocations", pair.node)), json!([]));
}

#[test]
fn c037_an_unknown_job_is_missing_but_its_lists_are_empty() {
    let server = &pair().server;
    is(&get(server, "/v1/job/nosuch"), 404, "job not found");
    for list in ["allocations", "evaluations", "deployments"] {
        is(&get(server, &format!("/v1/job/nosuch/{list}")), 200, "[]");
    }
}

#[test]
fn c038_a_job_that_is_none_is_refused() {
    let server = &pair().server;
    for method in ["PUT", "POST"] {
        for body in ["", "{}", "not json"] {
            let answer = send(server, method, "/v1/jobs", body);
            assert_eq!(answer.status, 400, "{body}: {answer:?}");
        }
        let answer = send(server, method, "/v1/jobs", r#"{"Job":{"ID":"x","Name":"x","Type":"service"}}"#);
        assert!(answer.status == 500 && answer.body.contains("Missing job task groups"), "{answer:?}");
    }
}

#[test]
fn c024_a_join_counts_whom_it_reached() {
    let server = &pair().server;
    let join = |query: &str| send(server, "PUT", &format!("/v1/agent/join?{query}"), "");
    let nobody = join("address=127.255.255.1");
    assert_eq!((nobody.status, &nobody.json()["num_joined"]), (200, &json!(0)), "{nobody:?}");
    assert!(nobody.json()["error"].as_str().is_some_and(|e| e.contains("connection refused")), "{nobody:?}");
    // One of several is enough; the port is that of gossip.
    let some = join(&format!("address=127.255.255.1&address={}:4648", server.ip));
    assert_eq!((some.status, &some.json()["num_joined"]), (200, &json!(1)), "{some:?}");
}

#[test]
fn c039_validation_answers_200_for_an_invalid_job() {
    let server = &pair().server;
    let put = |job: &Value| send(server, "PUT", "/v1/validate/job", &json!({ "Job": job }).to_string());
    let invalid = put(&json!({ "ID": "x", "Name": "x", "Type": "service" }));
    assert_eq!(invalid.status, 200, "{invalid:?}");
    assert_eq!(invalid.json()["ValidationErrors"], json!(["Missing job task groups"]));
    let valid = put(&jobs::service("x", 1, "exit 0"));
    assert!(valid.status == 200 && valid.json()["ValidationErrors"].is_null(), "{valid:?}");
}

#[test]
fn c039_jobs_are_parsed_from_hcl() {
    let server = &pair().server;
    let parse =
        |hcl: &str| send(server, "PUT", "/v1/jobs/parse", &json!({ "JobHCL": hcl, "Canonicalize": true }).to_string());
    let job = parse(&jobs::hcl("example", 2, "exit 0", "", "")).json();
    assert_eq!((&job["ID"], &job["TaskGroups"][0]["Count"]), (&json!("example"), &json!(2)), "{job}");
    let task = &job["TaskGroups"][0]["Tasks"][0];
    assert_eq!((&task["Driver"], &task["Resources"]["MemoryMB"]), (&json!("raw_exec"), &json!(32)), "{job}");
    let bad = parse("job \"x\" {");
    assert!(bad.status == 400 && bad.body.starts_with("Failed to parse job: "), "{bad:?}");
    is(&send(server, "PUT", "/v1/jobs/parse", "{}"), 400, "Job spec is empty");
}

#[test]
fn c039_wrong_methods_and_unknown_paths() {
    let server = &pair().server;
    is(&send(server, "DELETE", "/v1/jobs", ""), 405, "Invalid method");
    is(&get(server, "/v1/jobs/parse"), 405, "Invalid method");
    is(&get(server, "/v1/nosuch"), 404, "");
    let root = get(server, "/");
    assert_eq!((root.status, root.header("location")), (307, "/ui/"), "{root:?}");
}

#[test]
fn c040_reads_carry_the_consistency_headers() {
    let server = &pair().server;
    for path in ["/v1/nodes", "/v1/jobs", "/v1/job/nosuch", "/v1/allocations"] {
        let answer = get(server, path);
        assert!(answer.header("x-nomad-index").parse::<u64>().is_ok(), "{path}: {answer:?}");
        assert_eq!(answer.header("x-nomad-knownleader"), "true", "{path}: {answer:?}");
        assert_eq!(answer.header("x-nomad-lastcontact"), "0", "{path}: {answer:?}");
    }
    for path in ["/v1/agent/self", "/v1/agent/members", "/v1/status/leader"] {
        assert_eq!(get(server, path).header("x-nomad-index"), "", "{path}");
    }
}

#[test]
fn c041_a_blocking_query_returns_after_the_wait() {
    let server = &pair().server;
    // A node may still be reporting something; then the index is a newer one and the question is asked again.
    tests::wait::until("a node that rests", Duration::from_secs(40), || {
        let index = get(server, "/v1/nodes").header("x-nomad-index").to_owned();
        let same = get(server, &format!("/v1/nodes?index={index}&wait=2s"));
        assert_eq!(same.status, 200, "{same:?}");
        if same.header("x-nomad-index") != index {
            return Err(format!("{same:?}"));
        }
        assert!(same.took >= Duration::from_secs(2) && same.took < Duration::from_secs(6), "{same:?}");
        Ok(())
    })
    .unwrap();
    let past = get(server, "/v1/nodes?index=1&wait=10s");
    assert!(past.status == 200 && past.took < AT_ONCE, "{past:?}");
    for bad in ["index=abc", "index=5&wait=abc"] {
        assert_eq!(get(server, &format!("/v1/jobs?{bad}")).status, 400, "{bad}");
    }
}

#[test]
fn c042_a_stale_read_knows_that_there_is_no_leader() {
    let answer = get(leaderless(), "/v1/jobs?stale");
    is(&answer, 200, "[]");
    assert_eq!(answer.header("x-nomad-knownleader"), "false");
    assert_eq!(answer.header("x-nomad-lastcontact"), "9223372036854");
}

#[test]
fn c043_unknown_regions_and_namespaces() {
    let server = &pair().server;
    is(&get(server, "/v1/jobs?region=nowhere"), 500, "No path to region");
    is(&get(server, "/v1/jobs?namespace=nowhere"), 200, "[]");
    is(&get(server, "/v1/regions"), 200, "[\"global\"]");
}

#[test]
fn c044_raft_peers() {
    let server = &pair().server;
    let peers = ok(server, "/v1/operator/raft/configuration");
    let id = std::fs::read_to_string(server.data("server/node-id")).expect("node-id");
    let expected = json!([{
        "Address": format!("{}:4647", server.ip), "ID": id, "Leader": true, "Node": "s1.global", "RaftProtocol": "3",
        "Voter": true,
    }]);
    assert_eq!(peers["Servers"], expected);
}

#[test]
fn c045_autopilot_says_healthy() {
    let server = &pair().server;
    let health =
        tests::wait::until("autopilot", Duration::from_secs(40), || server.api.get("/v1/operator/autopilot/health"));
    let health = health.unwrap();
    assert_eq!((&health["Healthy"], &health["FailureTolerance"]), (&json!(true), &json!(0)), "{health}");
}

#[test]
fn c046_metrics_are_json_unless_prometheus_is_on() {
    let server = &pair().server;
    is(&get(server, "/v1/metrics?format=prometheus"), 415, "Prometheus is not enabled");
    assert!(ok(server, "/v1/metrics")["Gauges"].is_array());
    assert!(ok(leaderless(), "/v1/metrics")["Gauges"].is_array());
}

#[test]
fn c047_tokens_are_ignored_while_acls_are_off() {
    let server = &pair().server;
    is(&get(server, "/v1/acl/tokens"), 400, "ACL support disabled");
    is(&send(server, "PUT", "/v1/acl/bootstrap", "{}"), 400, "ACL support disabled");
}

#[test]
fn c121_the_keyring_is_the_sign_that_clients_can_come() {
    let keys = ok(&pair().server, "/.well-known/jwks.json");
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(1), "{keys}");
    assert_eq!(no_leader("/.well-known/jwks.json").body, "No cluster leader");
}

#[test]
fn c117_with_acls_some_paths_stay_open_and_clients_register() {
    let site = Site::new();
    let setup = site.server("s1", 1).hcl("acl {\n enabled = true\n}");
    let ip = setup.ip;
    let server = setup.launch();
    // The API answers, but not what it is usually asked first.
    tests::wait::until("the API", Duration::from_secs(40), || server.api.send("GET", "/v1/regions", "")).unwrap();
    server.takes_clients(Duration::from_secs(60));
    let client = site.client("c1", &[ip]).hcl("acl {\n enabled = true\n}").launch();
    for path in ["/v1/status/leader", "/v1/status/peers", "/v1/agent/health", "/v1/regions", "/v1/metrics"] {
        ok(&server, path);
    }
    for path in ["/v1/agent/self", "/v1/agent/members", "/v1/nodes", "/v1/jobs", "/v1/operator/raft/configuration"] {
        is(&get(&server, path), 403, "Permission denied");
    }
    tests::wait::until("the client's registration", Duration::from_secs(60), || {
        let log = client.stdout();
        if log.contains("node registration complete") { Ok(()) } else { Err(log) }
    })
    .unwrap();
    assert_eq!(get(&client, "/v1/agent/health?type=client").status, 200);
}
