//! How servers find each other, and when they do not.

use std::time::Duration;

use serde_json::json;
use tests::contract::{Site, turn};
use tests::wait::until;

/// For what takes a few seconds, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn c066_servers_that_disagree_on_their_number_never_elect() {
    let _turn = turn();
    let site = Site::new();
    let one = site.server("s1", 3).start();
    let two = site.server("s2", 5).join(&[one.ip]).start();
    until("the conflict", SOON, || {
        let logs = one.stdout() + &two.stdout();
        if logs.contains("peer has a conflicting expect value") { Ok(()) } else { Err(logs) }
    })
    .unwrap();
    assert!(one.api.leader().is_err());
}

#[test]
fn c072_a_server_keeps_trying_names_that_nobody_has() {
    let _turn = turn();
    let site = Site::new();
    let setup = site.server("s1", 1);
    let later = site.server("s2", 1);
    // The other one is not there yet; neither is the name that will never be.
    let one = setup.join(&[later.ip]).hcl("server {\n server_join {\n retry_max = 0\n }\n}").start();
    until("a failed join", SOON, || if one.stdout().contains("join failed") { Ok(()) } else { Err(one.stdout()) })
        .unwrap();
    let two = later.start();
    until("both members", SOON, || {
        let members = two.api.members()?;
        if members.len() == 2 { Ok(()) } else { Err(format!("{members:?}")) }
    })
    .unwrap();
}

#[test]
fn c074_a_server_that_reached_only_itself_never_tries_again_but_can_be_told() {
    let _turn = turn();
    let site = Site::new();
    let setups = ["s1", "s2"].map(|name| site.server(name, 3));
    let addresses = setups.each_ref().map(|setup| setup.ip);
    let [first, second] = setups;
    let one = first.join(&addresses).start();
    until("the join", SOON, || {
        let log = one.stdout();
        if log.contains("retry join completed") { Ok(()) } else { Err(log) }
    })
    .unwrap();
    // The second joins nobody by itself. The first retries every second if it retries at all; asked for by its log.
    let two = second.start();
    let alone = until("a second member", Duration::from_secs(5), || match one.api.members()?.len() {
        1 => Err("still alone".to_owned()),
        more => Ok(more),
    });
    assert!(alone.is_err(), "{alone:?}");
    // What the agent's join guard does.
    let told = one.api.put(&format!("/v1/agent/join?address={}", two.ip), &json!({})).unwrap();
    assert_eq!((&told["num_joined"], &told["error"]), (&json!(1), &json!("")), "{told}");
    until(
        "a second member",
        SOON,
        || if one.api.members()?.len() == 2 { Ok(()) } else { Err("still alone".to_owned()) },
    )
    .unwrap();
}
