//! Nodes that follow a channel of updates: which ones they take, in which order they restart, and what becomes of their work.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use agent::{facts::Role, update::channel::Channel};
use anyhow::{Context as _, bail, ensure};
use qemu::{services::Site, vm::Mark};
use tests::{
    acl,
    api::Api,
    cluster::{CLIENT_DATA, LONE_SERVER_DATA, SERVER_DATA, machine},
    node::{BOOT, INSTALL, Node},
    suite,
    update::{NEW, OLD, Updates},
    wait,
};

/// How the nodes follow it: as often as they may.
const FOLLOW: &str = "steppe:\n  update:\n    channel: http://files:8001/channel.json\n    every: 10s\n";
/// Where the harness has the channel and the update.
const CHANNEL: &str = "/channel.json";
const UPDATE: &str = "/it.update";
/// How long there may be no leader when a leader restarts (SPECIFICATION.md).
const ELECTION: Duration = Duration::from_secs(15);
/// A version that fails its trial: the new system, told to look for a cloud that is not there, for half a minute.
const BAD: &str = "1.5";
const FAILS: &str = " steppe.platform=ec2 steppe.trial=30";
/// Between two looks at the cluster.
const PAUSE: Duration = Duration::from_millis(500);

/// A task that stays where it is put.
const JOB: &str = r#"
job "stays" {
  group "one" {
    task "sleep" {
      driver = "raw_exec"

      artifact {
        source      = "http://files:8000/busybox"
        destination = "local/busybox"
        mode        = "file"
      }

      config {
        command = "local/busybox"
        args    = ["sleep", "1000000"]
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
"#;

struct Images {
    server: Updates,
    client: Updates,
}

fn main() -> ExitCode {
    suite::run(
        || Ok(Images { server: Updates::make(Role::Server)?, client: Updates::make(Role::Client)? }),
        &[
            ("a_channel_that_offers_nothing_good_is_refused_and_says_why", refused),
            ("three_servers_with_acls_stop_a_bad_version_and_follow_a_good_one_one_after_the_other", three),
            ("a_client_moves_its_work_away_and_takes_some_again", client),
        ],
    )
}

/// Puts a channel on the site that offers an update.
fn publish(site: &Site, updates: &Updates, change: impl FnOnce(&mut Channel)) -> anyhow::Result<()> {
    let file = updates.file("channel.update", |_| {})?;
    let (text, signature) = updates.channel(&file, &UPDATE[1..], change)?;
    site.put_file(UPDATE, file);
    offer(site, &text, &signature);
    Ok(())
}

fn offer(site: &Site, text: &str, signature: &str) {
    // A node that looks in between sees a signature that does not fit, and looks again.
    site.put(&format!("{CHANNEL}.minisig"), signature);
    site.put(CHANNEL, text);
}

fn refused(images: &mut Images) -> anyhow::Result<()> {
    let updates = &images.server;
    let lone = Node::start(vec![updates.bios("server-vm-0").user_data(format!("{LONE_SERVER_DATA}{FOLLOW}"))])?;
    let lone = lone.first().context("no machine")?;
    let says = |mark: Mark, why: &str| {
        lone.wait(mark, &format!("channel: {why}"), INSTALL)?;
        shows(lone, &[why])
    };
    says(Mark::default(), "the channel cannot be read")?;

    // Signed, but something else.
    let file = updates.file("channel.update", |_| {})?;
    lone.site.put_file(UPDATE, &file);
    let (text, signature) = updates.channel(&file, &UPDATE[1..], |_| {})?;
    let mark = lone.mark();
    offer(&lone.site, &text.replace(NEW, "3.0"), &signature);
    says(mark, "the channel is refused: the signature")?;

    let mark = lone.mark();
    publish(&lone.site, updates, |channel| channel.version = "0.9".parse().unwrap())?;
    says(mark, "the channel has version 0.9, which is older than 1.0")?;

    let mark = lone.mark();
    publish(&lone.site, updates, |channel| channel.role = Role::Client)?;
    says(mark, "the channel is for role client, this node is role server")?;

    // Good as an update, but not the one that the channel names.
    let mark = lone.mark();
    publish(&lone.site, updates, |channel| channel.size += 4096)?;
    says(mark, &format!("{NEW} is not installed: failed to read the update: it is shorter than the channel says"))?;

    // Good as a channel, bad as an update. Nobody is there to take over from the only server, so it waits for its operator.
    let bad = updates.file("bad.update", |manifest| manifest.cmdline += FAILS)?;
    let (text, signature) = updates.channel(&bad, &UPDATE[1..], |_| {})?;
    let mark = lone.mark();
    lone.site.put_file(UPDATE, &bad);
    offer(&lone.site, &text, &signature);
    says(
        mark,
        &format!("{NEW} is installed and waits for its turn: a cluster of one server never restarts by itself"),
    )?;
    let mark = lone.reboot()?;
    lone.falls_back(mark, "not blessed within 30 s", "1 try")?;
    // It had no turn, and leaves word all the same.
    lone.wait(mark, &format!("the turn for {NEW} is given back, and the other nodes know that it failed"), BOOT)?;
    says(mark, &format!("{NEW} is not tried again: it failed here"))
}

/// Where a server is in its update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Before,
    Away,
    Done,
}

fn step(server: &Node, mark: Mark) -> Step {
    if server.said_after(mark, &format!("the turn for {NEW} is given back")) {
        Step::Done
    } else if server.said_after(mark, &format!("{NEW} is installed and has its turn")) {
        Step::Away
    } else {
        Step::Before
    }
}

fn three(images: &mut Images) -> anyhow::Result<()> {
    let updates = &images.server;
    // The nodes' token is in the user-data before it is made.
    let data = SERVER_DATA.replace("      server {\n", "      acl { enabled = true }\n      server {\n");
    let data = format!("{data}{FOLLOW}    token: {}\n", acl::TOKEN);
    let spec = |number: u32| updates.bios(&format!("server-vm-{number}")).user_data(data.clone());
    let servers = Node::start((0..3).map(spec).collect())?;
    let first = servers.first().context("no machine")?;
    let apis: Vec<Api> = servers.iter().map(|server| server.cluster.api(&server.name)).collect();
    let apis = bad_version(updates, &servers, &apis)?;
    let marks: Vec<Mark> = servers.iter().map(Node::mark).collect();
    publish(&first.site, updates, |_| {})?;

    let limit = first.cluster.limit(3 * (INSTALL + 4 * BOOT));
    let election = first.cluster.limit(ELECTION);
    let (begin, mut led) = (Instant::now(), Instant::now());
    let mut order: Vec<&str> = Vec::new();
    while order.len() < servers.len() {
        let steps: Vec<Step> = servers.iter().zip(&marks).map(|(server, mark)| step(server, *mark)).collect();
        let away: Vec<&Node> =
            servers.iter().zip(&steps).filter(|(_, step)| **step == Step::Away).map(|(server, _)| server).collect();
        ensure!(away.len() <= 1, "more than one server is away: {steps:?}");
        for (server, step) in servers.iter().zip(&steps) {
            if *step == Step::Done && !order.contains(&server.name.as_str()) {
                order.push(&server.name);
            }
        }
        // Those that are there have a leader, if need be a new one.
        let there = apis.iter().zip(&steps).filter(|(_, step)| **step != Step::Away);
        if there.map(|(api, _)| api.leader()).any(|leader| leader.is_ok()) {
            led = Instant::now();
        }
        ensure!(led.elapsed() < election, "no leader for {:?}: {steps:?}", led.elapsed());
        if begin.elapsed() > limit {
            bail!("after {:?}: {steps:?}, done {order:?}", begin.elapsed());
        }
        std::thread::sleep(PAUSE);
    }
    for server in &servers {
        server.says(&[&format!("version    {NEW} in slot b"), &format!("{NEW} in slot b: good")])?;
    }
    wait::until("three voters", election, || {
        let peers = apis[0].raft_peers()?;
        let voters = peers.iter().filter(|(_, _, voter)| *voter).count();
        if voters == 3 && peers.len() == 3 { Ok(()) } else { Err(format!("{peers:?}")) }
    })
}

/// The status follows the console.
fn shows(server: &Node, lines: &[&str]) -> anyhow::Result<()> {
    wait::until("the same in the status", server.cluster.limit(BOOT), || {
        server.says(lines).map_err(|why| format!("{why:#}"))
    })
}

/// A version that fails is tried by one of the servers, and by no other; gives what the operator asks them by.
fn bad_version(updates: &Updates, servers: &[Node], apis: &[Api]) -> anyhow::Result<Vec<Api>> {
    let first = servers.first().context("no machine")?;
    let bad = updates.file("bad.update", |manifest| {
        manifest.version = BAD.parse().unwrap();
        manifest.cmdline += FAILS;
    })?;
    let (text, signature) = updates.channel(&bad, &UPDATE[1..], |_| {})?;
    let begin: Vec<Mark> = servers.iter().map(Node::mark).collect();
    first.site.put_file(UPDATE, &bad);
    offer(&first.site, &text, &signature);

    // Nobody made the token yet: nothing is read of the update.
    let why = "permission to take turns: steppe.update.token needs a policy with `namespace";
    for (server, mark) in servers.iter().zip(&begin) {
        server.wait(*mark, why, BOOT)?;
        shows(server, &[why])?;
        ensure!(!server.said_after(*mark, &format!("{BAD} is being installed")), "{} did not wait", server.name);
    }
    let operator = acl::bootstrap(&apis[0])?;
    let apis: Vec<Api> = apis.iter().map(acl::as_operator).collect();
    acl::grant(&operator, &acl::policy())?;

    let told = format!("the turn for {BAD} is given back, and the other nodes know that it failed");
    let tried = wait::until("the word of a server", first.cluster.limit(INSTALL + 8 * BOOT), || {
        let tried = servers.iter().zip(&begin).position(|(server, mark)| server.said_after(*mark, &told));
        tried.ok_or_else(|| "nobody says that it failed".to_owned())
    })?;
    let held = format!("{BAD} is held back: it failed on {} at 20", servers[tried].name);
    for (number, (server, mark)) in servers.iter().zip(&begin).enumerate() {
        if number == tried {
            server.wait(*mark, &format!("{BAD} is not tried again: it failed here"), BOOT)?;
            shows(server, &[&format!("version    {OLD} in slot a"), "is not tried again", "failed after 1 try: "])?;
            continue;
        }
        let line = server.wait(*mark, &held, 2 * BOOT)?;
        ensure!(
            line.contains("failed after 1 try: ") && line.contains("nomad var purge steppe/update/server"),
            "{line}"
        );
        ensure!(!server.said_after(*mark, &format!("{BAD} is installed and has its turn")), "{} tried it", server.name);
        // What it had of it does not boot.
        wait::until("nothing to boot next", server.cluster.limit(BOOT), || {
            let status = server.type_in("status").map_err(|why| format!("{why:#}"))?;
            let is_there = [&held[..], &format!("version    {OLD} in slot a")].iter().all(|text| status.contains(text));
            if is_there && !status.contains("boots next") { Ok(()) } else { Err(status) }
        })?;
    }
    Ok(apis)
}

fn client(images: &mut Images) -> anyhow::Result<()> {
    let follower = images.client.bios("client-vm-0").user_data(format!("{CLIENT_DATA}{FOLLOW}")).memory_mib(448);
    let specs = vec![
        machine("server-vm-0", Role::Server, "")?.user_data(LONE_SERVER_DATA),
        follower,
        machine("client-vm-1", Role::Client, "")?,
    ];
    let nodes = Node::start(specs)?;
    let [server, follower, other] = nodes.as_slice() else { bail!("three machines") };
    let api = server.cluster.api(&server.name);
    let running_on = |name: &str, limit: Duration| {
        wait::until(&format!("the task on {name}"), server.cluster.limit(limit), || {
            let allocs = api.running("stays", 1)?;
            if allocs.iter().all(|alloc| alloc.node == name) { Ok(()) } else { Err(format!("{allocs:?}")) }
        })
    };
    // The task begins on the node that follows the channel.
    let eligibility = |name: &str, wanted: &str| -> anyhow::Result<()> {
        let id = node_id(&api, name)?;
        let body = serde_json::json!({ "Eligibility": wanted });
        api.put(&format!("/v1/node/{id}/eligibility"), &body).map_err(anyhow::Error::msg)?;
        Ok(())
    };
    eligibility(&other.name, "ineligible")?;
    server.cluster.run_job(&server.name, JOB)?;
    running_on(&follower.name, BOOT)?;
    eligibility(&other.name, "eligible")?;

    let mark = follower.mark();
    publish(&follower.site, &images.client, |_| {})?;
    follower.wait(mark, &format!("{NEW} is installed and has its turn: draining this client"), INSTALL)?;
    follower.wait(mark, &format!("{NEW} is installed and has its turn: restarting"), 2 * BOOT)?;
    running_on(&other.name, BOOT)?;
    follower.wait(mark, "slot b is blessed", 4 * BOOT)?;
    follower.wait(mark, &format!("the turn for {NEW} is given back, and this client is eligible"), BOOT)?;
    follower.says(&[&format!("version    {NEW} in slot b")])?;

    // It takes work again: it is the same node, and the only other one takes none.
    let body = serde_json::json!({ "DrainSpec": { "Deadline": 60_000_000_000_i64, "IgnoreSystemJobs": false } });
    let id = node_id(&api, &other.name)?;
    api.put(&format!("/v1/node/{id}/drain"), &body).map_err(anyhow::Error::msg)?;
    running_on(&follower.name, 2 * BOOT)?;
    Ok(())
}

fn node_id(api: &Api, name: &str) -> anyhow::Result<String> {
    let nodes = api.get("/v1/nodes").map_err(anyhow::Error::msg)?;
    let node = nodes.as_array().into_iter().flatten().find(|node| node["Name"] == name);
    Ok(node.and_then(|node| node["ID"].as_str()).with_context(|| format!("no {name} in {nodes}"))?.to_owned())
}
