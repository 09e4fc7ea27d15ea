//! Three servers: elections, losses, returns and leaves.

use std::time::Duration;

use tests::contract::{Agent, Signal, Site, jobs, turn};
use tests::wait::until;

/// Elections take seconds; these are bounds for a machine that is busy with other things.
const ELECTION: Duration = Duration::from_secs(40);
const SOON: Duration = Duration::from_secs(60);

/// Three servers that join each other, with a user's file; they lead or will lead soon.
fn three(site: &Site, hcl: &str) -> [Agent; 3] {
    let setups = ["s1", "s2", "s3"].map(|name| site.server(name, 3).hcl(hcl));
    let addresses: Vec<_> = setups.iter().map(|setup| setup.ip).collect();
    let mut servers = setups.map(|setup| setup.join(&addresses).launch());
    for server in &mut servers {
        server.answers();
    }
    servers
}

/// Waits until all name one leader; returns its index.
fn leader(servers: &[Agent; 3]) -> usize {
    let address = until("one leader for all", ELECTION, || {
        let said = servers.iter().map(|s| s.api.leader()).collect::<Result<Vec<_>, _>>()?;
        if said.iter().all(|l| *l == said[0]) { Ok(said[0].clone()) } else { Err(format!("{said:?}")) }
    })
    .unwrap();
    servers.iter().position(|s| address == format!("{}:4647", s.ip)).expect("a leader among the three")
}

/// Waits until `asked` sees these members (name and status, `.global` left out).
fn members(asked: &Agent, expected: [(&str, &str); 3], limit: Duration) {
    until(&format!("{expected:?}"), limit, || {
        let members = asked.api.members()?;
        let same = members.iter().map(|(n, s)| (&**n, &**s)).eq(expected.map(|(n, s)| (n, s)));
        if same { Ok(()) } else { Err(format!("{members:?}")) }
    })
    .unwrap();
}

/// Waits until Raft has `voters` voters.
fn voters(asked: &Agent, voters: usize, limit: Duration) {
    until(&format!("{voters} voters"), limit, || {
        let peers = asked.api.raft_peers()?;
        if peers.len() == voters && peers.iter().all(|p| p.2) { Ok(()) } else { Err(format!("{peers:?}")) }
    })
    .unwrap();
}

const ALIVE: [(&str, &str); 3] = [("s1.global", "alive"), ("s2.global", "alive"), ("s3.global", "alive")];

#[test]
fn c104_three_fresh_servers_elect_a_leader() {
    let _turn = turn();
    let site = Site::new();
    let servers = three(&site, "");
    let first = leader(&servers);
    for server in &servers {
        members(server, ALIVE, SOON);
        voters(server, 3, SOON);
        let peers = server.api.get("/v1/status/peers").unwrap();
        assert_eq!(peers.as_array().map(Vec::len), Some(3), "{peers}");
    }
    // Every server's table names the same leader, once.
    let table = servers[2].cli(["server", "members"]).out();
    let leads: Vec<_> = table.lines().filter(|line| line.contains(" true ")).collect();
    assert!(leads.len() == 1 && leads[0].starts_with(&servers[first].name), "{table}");
    let peers = servers[1].cli(["operator", "raft", "list-peers"]).out();
    assert_eq!((peers.matches(" leader ").count(), peers.matches(" follower ").count()), (1, 2), "{peers}");
}

#[test]
fn c105_a_client_that_comes_after_the_keyring_is_ready_at_once() {
    let _turn = turn();
    let site = Site::new();
    let servers = three(&site, "");
    servers[0].takes_clients(ELECTION);
    let client = site.client("c1", &servers.each_ref().map(|s| s.ip)).start();
    servers[1].node("c1", "ready", Duration::from_secs(12));
    let known = client.api.get("/v1/agent/servers").unwrap();
    assert!(known.as_array().is_some_and(|list| !list.is_empty()), "{known}");
}

#[test]
#[cfg_attr(not(steppe_slow), ignore = "takes up to 40 s: STEPPE_SLOW=1 runs it")]
fn c105_a_cluster_started_in_one_instant_has_its_client_in_the_end() {
    let _turn = turn();
    let site = Site::new();
    let setups = ["s1", "s2", "s3"].map(|name| site.server(name, 3));
    let addresses: Vec<_> = setups.iter().map(|setup| setup.ip).collect();
    let client = site.client("c1", &addresses).launch();
    let servers = setups.map(|setup| setup.join(&addresses).launch());
    until("the client", Duration::from_secs(90), || {
        let nodes = servers[0].api.nodes()?;
        if nodes.iter().any(|n| n.2 == "ready") { Ok(()) } else { Err(format!("{nodes:?}")) }
    })
    .unwrap();
    drop(client);
}

#[test]
fn c106_a_killed_leader_is_replaced_and_c108_returns() {
    let _turn = turn();
    let site = Site::new();
    let mut servers = three(&site, "");
    let first = leader(&servers);
    servers[0].api.register(&jobs::service("kept", 1, "exec sleep 1000")).unwrap();
    let other = (first + 1) % 3;
    let old = servers[other].api.leader().unwrap();
    servers[first].crash();
    let new = until("another leader", ELECTION, || {
        let now = servers[other].api.leader()?;
        if now == old { Err(now) } else { Ok(now) }
    })
    .unwrap();
    assert_ne!(new, old);
    // What was written is kept, and more can be.
    assert_eq!(servers[other].api.get("/v1/job/kept").unwrap()["ID"], "kept");
    servers[other].api.register(&jobs::service("more", 1, "exec sleep 1000")).unwrap();

    servers[first].restart();
    leader(&servers);
    until("what it missed", SOON, || servers[first].api.get("/v1/job/more?stale")).unwrap();
    members(&servers[first], ALIVE, SOON);
    voters(&servers[other], 3, SOON);
}

#[test]
fn c109_a_server_that_leaves_is_left_and_returns_as_a_voter() {
    let _turn = turn();
    let site = Site::new();
    let mut servers = three(&site, "leave_on_terminate = true");
    let leader = leader(&servers);
    members(&servers[leader], ALIVE, SOON);
    voters(&servers[leader], 3, SOON);
    let (leaver, asked) = ((leader + 1) % 3, leader);
    servers[leaver].signal(Signal::TERM);
    assert_eq!(servers[leaver].ends(Duration::from_secs(30)).0, 0);
    let mut expected = ALIVE;
    expected[leaver].1 = "left";
    members(&servers[asked], expected, SOON);
    voters(&servers[asked], 2, SOON);
    servers[leaver].restart();
    members(&servers[asked], ALIVE, SOON);
    // A non-voter first, for the time that autopilot wants to see it stable.
    voters(&servers[asked], 3, SOON);
}

#[test]
fn c109_a_leader_that_leaves_hands_over() {
    let _turn = turn();
    let site = Site::new();
    let mut servers = three(&site, "leave_on_terminate = true");
    let first = leader(&servers);
    voters(&servers[first], 3, SOON);
    let other = (first + 1) % 3;
    let old = servers[first].api.leader().unwrap();
    servers[first].signal(Signal::TERM);
    assert_eq!(servers[first].ends(Duration::from_secs(30)).0, 0);
    until("another leader", ELECTION, || {
        let now = servers[other].api.leader()?;
        if now == old { Err(now) } else { Ok(()) }
    })
    .unwrap();
    voters(&servers[other], 2, SOON);
}

#[test]
fn c110_one_of_three_answers_stale_reads_only() {
    let _turn = turn();
    let site = Site::new();
    let mut servers = three(&site, "");
    leader(&servers);
    servers[0].api.register(&jobs::service("kept", 1, "exec sleep 1000")).unwrap();
    until("the job on s1", SOON, || servers[0].api.get("/v1/job/kept?stale")).unwrap();
    servers[1].crash();
    servers[2].crash();
    let survivor = &servers[0];
    until("no leader", ELECTION, || match survivor.api.send("GET", "/v1/jobs", "")? {
        answer if answer.status == 500 && answer.body == "No cluster leader" => Ok(()),
        answer => Err(format!("{answer:?}")),
    })
    .unwrap();
    assert_eq!(survivor.api.get("/v1/job/kept?stale").unwrap()["ID"], "kept");
    for path in ["/v1/agent/self", "/v1/agent/members", "/v1/metrics"] {
        survivor.api.get(path).unwrap();
    }
    let stale = survivor.cli(["operator", "raft", "list-peers", "-stale"]).out();
    assert_eq!(stale.lines().count(), 4, "{stale}");
    // One peer is enough to be a cluster again.
    servers[1].restart();
    until("a leader", ELECTION, || servers[0].api.leader()).unwrap();
    assert_eq!(servers[0].api.get("/v1/job/kept").unwrap()["ID"], "kept");
}

#[test]
fn c098_all_servers_killed_and_started_again_lead_with_their_state() {
    let _turn = turn();
    let site = Site::new();
    let mut servers = three(&site, "");
    leader(&servers);
    servers[1].api.register(&jobs::service("kept", 1, "exec sleep 1000")).unwrap();
    for server in &mut servers {
        server.crash();
    }
    for server in &mut servers {
        server.restart();
    }
    leader(&servers);
    assert_eq!(servers[2].api.get("/v1/job/kept").unwrap()["ID"], "kept");
}

#[test]
#[cfg_attr(not(steppe_slow), ignore = "takes more than 40 s: STEPPE_SLOW=1 runs it")]
fn c107_a_dead_server_fails_late_and_c113_can_be_forced_out() {
    let _turn = turn();
    let site = Site::new();
    let mut servers = three(&site, "");
    let first = leader(&servers);
    voters(&servers[first], 3, SOON);
    let dead = (first + 1) % 3;
    servers[dead].crash();
    assert!(servers[first].api.members().unwrap().iter().all(|m| m.1 == "alive"), "a failure is seen late");
    let mut expected = ALIVE;
    expected[dead].1 = "failed";
    members(&servers[first], expected, Duration::from_secs(120));
    // Autopilot takes it out by itself.
    voters(&servers[first], 2, SOON);
    let name = format!("{}.global", servers[dead].name);
    assert_eq!(servers[first].cli(["server", "force-leave", &name]).code, 0);
    expected[dead].1 = "left";
    members(&servers[first], expected, SOON);
    servers[dead].restart();
    voters(&servers[first], 3, Duration::from_secs(90));
}

#[test]
#[cfg_attr(not(steppe_slow), ignore = "takes more than 40 s: STEPPE_SLOW=1 runs it")]
fn c112_after_a_change_of_leader_a_dead_client_looks_ready_for_minutes() {
    let _turn = turn();
    let site = Site::new();
    let mut server = site.server("s1", 1).start();
    server.takes_clients(ELECTION);
    let client = site.client("c1", &[server.ip]).start();
    server.node("c1", "ready", SOON);
    drop(client);
    // A new reign: every node is given five minutes. Without it the node were down after 30 s at most.
    server.crash();
    server.restart();
    server.leader(ELECTION);
    let down = until("the node to go down", Duration::from_secs(45), || {
        let nodes = server.api.nodes()?;
        if nodes.iter().any(|n| n.2 == "down") { Ok(()) } else { Err(format!("{nodes:?}")) }
    });
    assert!(down.is_err());
    assert_eq!(server.api.nodes().unwrap()[0].2, "ready");
}
