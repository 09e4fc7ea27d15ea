//! Locks on variables, by which nodes take turns to restart.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::api::Answer;
use tests::contract::{Agent, pair};

/// Nomad counts the time of a lock by its id alone: each test has its own.
const A: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const B: &str = "bbbbbbbb-0000-4000-8000-000000000002";
const C: &str = "cccccccc-0000-4000-8000-000000000003";
const D: &str = "dddddddd-0000-4000-8000-000000000004";

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
