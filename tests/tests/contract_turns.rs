//! Locks on variables, by which nodes take turns to restart, and the words that they leave in others.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::acl;
use tests::api::Answer;
use tests::contract::{Agent, Site, pair};
use tests::wait::until;

/// Nomad counts the time of a lock by its id alone: each test has its own.
const A: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const B: &str = "bbbbbbbb-0000-4000-8000-000000000002";
const C: &str = "cccccccc-0000-4000-8000-000000000003";
const D: &str = "dddddddd-0000-4000-8000-000000000004";
const E: &str = "eeeeeeee-0000-4000-8000-000000000005";
const F: &str = "ffffffff-0000-4000-8000-000000000006";

fn put(agent: &Agent, path: &str, what: &str, body: &Value) -> Answer {
    agent.api.send("PUT", &format!("/v1/var/{path}?{what}"), &body.to_string()).unwrap()
}

fn read(agent: &Agent, path: &str) -> Value {
    let answer = agent.api.send("GET", &format!("/v1/var/{path}"), "").unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// With the shortest time to live, and no delay before the next one gets it.
fn wanted(id: &str) -> Value {
    json!({ "Lock": { "ID": id, "TTL": "10s", "LockDelay": "1s" }, "Items": { "holder": &id[..1] } })
}

fn named(id: &str) -> Value {
    json!({ "Lock": { "ID": id } })
}

#[track_caller]
fn is(answer: &Answer, status: u16, body: &str) {
    assert!(answer.status == status && answer.body.trim_end() == body, "not {status} {body}: {answer:?}");
}

#[test]
fn c122_a_lock_on_a_variable_is_one_holders() {
    let server = &pair().server;
    let path = "steppe/update/test-0";
    let missing = server.api.send("GET", &format!("/v1/var/{path}"), "").unwrap();
    is(&missing, 404, "variable not found");
    is(&put(server, path, "lock-renew", &named(A)), 404, "variable doesn't exist");
    is(&put(server, path, "lock-release", &named(A)), 500, "variable doesn't exist");

    let had = put(server, path, "lock-acquire", &wanted(A));
    assert_eq!(had.status, 200, "{had:?}");
    assert_eq!(had.json()["Lock"], json!({ "ID": A, "TTL": "10s", "LockDelay": "1s" }));
    let seen = read(server, path);
    assert_eq!((&seen["Items"], &seen["Path"]), (&json!({ "holder": "a" }), &json!(path)), "{seen}");
    // Its holder may ask again.
    for what in ["lock-renew", "lock-acquire"] {
        assert_eq!(put(server, path, what, &wanted(A)).status, 200, "{what}");
    }

    // Nobody else does anything to it.
    let nothing = json!({ "CreateIndex": 0, "CreateTime": 0, "ModifyIndex": 0, "ModifyTime": 0, "Namespace": "default", "Path": path });
    for (what, body) in [("lock-acquire", wanted(B)), ("lock-release", named(B))] {
        let refused = put(server, path, what, &body);
        assert_eq!((refused.status, refused.json()), (409, nothing.clone()), "{what}");
    }
    is(&put(server, path, "lock-renew", &named(B)), 409, "attempting to modify locked variable");
    let items = "RPC Error:: 400,lock release operation doesn't take variable items";
    is(&put(server, path, "lock-release", &wanted(A)), 400, items);
    assert_eq!(put(server, path, "", &json!({ "Items": { "holder": "c" } })).status, 409);
    assert_eq!(server.api.send("DELETE", &format!("/v1/var/{path}"), "").unwrap().status, 409);

    // Released, it is the other's; what it was is news to who waits for it.
    let index = read(server, path)["ModifyIndex"].as_u64().unwrap();
    assert_eq!(put(server, path, "lock-release", &named(A)).status, 200);
    let asked = Instant::now();
    let news = server.api.send("GET", &format!("/v1/var/{path}?index={index}&wait=8s"), "").unwrap();
    assert!(asked.elapsed() < Duration::from_secs(8) && news.json()["Lock"].is_null(), "{news:?}");
    is(&put(server, path, "lock-release", &named(A)), 500, "variable doesn't hold a lock");
    is(&put(server, path, "lock-renew", &named(A)), 409, "variable doesn't hold a lock");
    assert_eq!(put(server, path, "lock-acquire", &wanted(B)).status, 200);
    assert_eq!(put(server, path, "lock-release", &named(B)).status, 200);
    assert_eq!(server.api.send("DELETE", &format!("/v1/var/{path}"), "").unwrap().status, 204);
}

#[test]
fn c123_a_lock_that_nobody_renews_is_lost_after_twice_its_time() {
    let server = &pair().server;
    let path = "steppe/update/test-1";
    let taken = Instant::now();
    assert_eq!(put(server, path, "lock-acquire", &wanted(C)).status, 200);
    let index = read(server, path)["ModifyIndex"].as_u64().unwrap();
    // Who would have it too does not make it longer.
    assert_eq!(put(server, path, "lock-acquire", &wanted(D)).status, 409);
    let lost = loop {
        let news = server.api.send("GET", &format!("/v1/var/{path}?index={index}&wait=8s"), "").unwrap().json();
        if news["Lock"].is_null() {
            break taken.elapsed();
        }
        assert!(taken.elapsed() < Duration::from_secs(90), "{news}");
    };
    assert!(lost > Duration::from_secs(20) && lost < Duration::from_secs(60), "{lost:?}");
    assert_eq!(put(server, path, "lock-acquire", &wanted(D)).status, 200);
    assert_eq!(put(server, path, "lock-release", &named(D)).status, 200);
    let short = json!({ "Lock": { "ID": C, "TTL": "5s" } });
    is(
        &put(server, path, "lock-acquire", &short),
        400,
        "RPC Error:: 400,1 error occurred:\n\t* TTL must be between 10 seconds and 24 hours",
    );
}

#[test]
fn c124_a_variable_is_written_by_who_has_read_it_last() {
    let server = &pair().server;
    let path = "steppe/update/test";
    let write = |cas: &str, items: Value| put(server, path, cas, &json!({ "Items": items }));
    assert_eq!(write("cas=0", json!({ "1.5": "a" })).status, 200);
    let first = read(server, path);
    assert_eq!(first["Items"], json!({ "1.5": "a" }));
    let index = first["ModifyIndex"].as_u64().unwrap();
    // Who thinks that it is not there yet, or has seen something else.
    for late in ["cas=0".to_owned(), format!("cas={}", index + 7)] {
        let refused = write(&late, json!({ "1.6": "b" }));
        assert_eq!((refused.status, refused.json()["ModifyIndex"].as_u64()), (409, Some(index)), "{late}");
    }
    assert_eq!(write(&format!("cas={index}"), json!({ "1.5": "a", "1.6": "b" })).status, 200);
    let second = read(server, path);
    assert_eq!(second["Items"], json!({ "1.5": "a", "1.6": "b" }));
    assert!(second["ModifyIndex"].as_u64().unwrap() > index);
    is(&write("cas=1", json!({})), 400, "variable missing required Items object");
    assert_eq!(server.api.send("DELETE", &format!("/v1/var/{path}"), "").unwrap().status, 204);
    let gone = server.api.send("GET", &format!("/v1/var/{path}"), "").unwrap();
    is(&gone, 404, "variable not found");
    // What is gone is not there yet.
    assert_eq!(write(&format!("cas={index}"), json!({ "1.5": "a" })).status, 409);
}

/// The policy of the README, and the node's own secret: with them a node does all that it has to, and nothing else.
#[test]
fn c125_with_acls_a_policy_for_variables_and_a_nodes_secret_are_enough() {
    let _turn = tests::contract::turn();
    let site = Site::new();
    let acl_on = "acl {\n enabled = true\n}";
    let setup = site.server("s1", 1).hcl(acl_on);
    let ip = setup.ip;
    let server = setup.launch();
    until("the API", Duration::from_secs(40), || server.api.send("GET", "/v1/regions", "")).unwrap();
    server.takes_clients(Duration::from_secs(60));
    let client = site.client("c1", &[ip]).hcl(acl_on).launch();
    let operator = acl::bootstrap(&server.api).unwrap();
    let nodes = server.api.with_token(acl::TOKEN);
    let through_the_client = client.api.with_token(acl::TOKEN);
    let health = "/v1/operator/autopilot/health";

    // A token that is not made yet, and one without rights.
    let unknown = nodes.send("GET", "/v1/var/steppe/update/server", "").unwrap();
    assert_eq!(unknown.status, 403, "{unknown:?}");
    acl::grant(&operator, "operator { policy = \"read\" }").unwrap();
    let refused = nodes.send("GET", "/v1/var/steppe/update/server", "").unwrap();
    is(&refused, 403, "Permission denied");
    assert_eq!(nodes.send("GET", health, "").unwrap().status, 200);

    acl::grant(&operator, &acl::policy()).unwrap();
    assert_eq!(nodes.send("GET", health, "").unwrap().status, 200);
    // A client's node asks its own Nomad, which may know the policy a little later.
    until("the token's rights on the client", Duration::from_secs(60), || {
        let answer = through_the_client.send("GET", "/v1/var/steppe/update/client", "")?;
        if answer.status == 404 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .unwrap();
    for (api, role, id) in [(&nodes, "server", E), (&through_the_client, "client", F)] {
        let word = format!("/v1/var/steppe/update/{role}");
        let ask = |method: &str, path: &str, body: Value| {
            api.send(method, path, &if body.is_null() { String::new() } else { body.to_string() }).unwrap().status
        };
        assert_eq!(ask("GET", &word, Value::Null), 404);
        assert_eq!(ask("PUT", &format!("{word}?cas=0"), json!({ "Items": { "1.5": "failed" } })), 200);
        assert_eq!(ask("GET", &word, Value::Null), 200);
        for (what, body) in [("acquire", wanted(id)), ("renew", named(id)), ("release", named(id))] {
            assert_eq!(ask("PUT", &format!("{word}-0?lock-{what}"), body), 200, "{role}: {what}");
        }
        // Not what an operator does, nor anything else.
        assert_eq!(ask("DELETE", &word, Value::Null), 403);
        for path in ["/v1/var/nomad/jobs/x", "/v1/var/steppe/other", "/v1/jobs", "/v1/nodes", "/v1/acl/tokens"] {
            assert_eq!(ask("GET", path, Value::Null), 403, "{path}");
        }
        assert_eq!(operator.send("DELETE", &word, "").unwrap().status, 204);
    }

    // The node's secret is for its node.
    let nodes = until("the node", Duration::from_secs(60), || {
        let nodes = operator.nodes()?;
        if nodes.iter().any(|(_, _, status, _)| status == "ready") { Ok(nodes) } else { Err(format!("{nodes:?}")) }
    });
    let id = nodes.unwrap().remove(0).1;
    let secret = std::fs::read_to_string(client.data("client/secret-id")).unwrap();
    let own = client.api.with_token(secret.trim());
    let path = format!("/v1/node/{id}");
    let drain = json!({ "DrainSpec": { "Deadline": 60_000_000_000_u64 }, "Meta": { "message": "for an update" } });
    own.put(&format!("{path}/drain"), &drain).unwrap();
    let drained = until("the end of the drain", Duration::from_secs(60), || {
        let node = own.get(&path)?;
        if node["Drain"] == false { Ok(node) } else { Err(node["DrainStrategy"].to_string()) }
    });
    let drained = drained.unwrap();
    assert_eq!(drained["SchedulingEligibility"], "ineligible");
    assert_eq!(drained["LastDrain"]["Meta"]["message"], "for an update");
    let last =
        |node: &Value| node["Events"].as_array().unwrap().last().unwrap()["Message"].as_str().unwrap().to_owned();
    assert_eq!(last(&drained), "Node drain complete");
    // What an operator takes away of a node that has nothing leaves no trace; else it is an event.
    let eligibility = format!("{path}/eligibility");
    for (wanted, trace) in [("ineligible", false), ("eligible", true), ("ineligible", true)] {
        operator.put(&eligibility, &json!({ "Eligibility": wanted })).unwrap();
        let said = last(&own.get(&path).unwrap());
        let event = format!("Node marked as {wanted} for scheduling");
        assert_eq!(said == event, trace, "{wanted}: {said}");
    }
    assert_eq!(own.send("PUT", &eligibility, &json!({ "Eligibility": "eligible" }).to_string()).unwrap().status, 403);
    own.put(&format!("{path}/drain"), &json!({ "DrainSpec": null, "MarkEligible": true })).unwrap();
    assert_eq!(own.get(&path).unwrap()["SchedulingEligibility"], "eligible");
}
