//! The reference cluster: three servers and three clients, booted from the images as `make image` leaves them, with the
//! two user-data files of `images/examples` and nothing else. Names come by DHCP and DNS.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use tests::{
    api::{Alloc, Api},
    cluster::Cluster,
    suite, wait,
};

const SERVERS: [&str; 3] = ["server-vm-0", "server-vm-1", "server-vm-2"];
const CLIENTS: [&str; 3] = ["client-vm-0", "client-vm-1", "client-vm-2"];
const JOB: &str = include_str!("../../images/examples/example.nomad.hcl");
const KILLER: &str = include_str!("../fixtures/killer.nomad.hcl");

fn main() -> ExitCode {
    suite::run(
        Cluster::reference,
        &[
            ("three_servers_one_leader_three_ready_clients", forms),
            ("the_clock_of_every_machine_runs_right", clocks),
            ("one_ready_line_per_boot", ready_lines),
            ("operator_commands_answer_through_a_forwarded_port", commands_from_the_host),
            ("operator_commands_answer_on_a_server_console", commands_on_the_console),
            ("the_example_job_runs_on_the_clients_only", example_job),
            ("nomad_killed_ten_times_keeps_its_tasks", killed_ten_times),
            ("a_killed_leader_is_replaced_and_comes_back_as_itself", leader_killed),
            ("a_power_cycled_client_is_the_same_node_with_its_allocations", client_power_cycled),
            ("a_client_powers_off_in_order_and_leaves_a_clean_disk", client_powers_off),
            ("a_server_powers_off_in_order_and_leaves_a_clean_disk", server_powers_off),
        ],
    )
}

fn forms(cluster: &mut Cluster) -> anyhow::Result<()> {
    let limit = cluster.limit(Duration::from_secs(45));
    for name in SERVERS {
        let api = cluster.api(name);
        let members = wait::until(&format!("three servers in the eyes of {name}"), limit, || {
            let members = api.members()?;
            if members.len() == 3 && members.iter().all(|(_, status)| status == "alive") {
                Ok(members)
            } else {
                Err(format!("{members:?}"))
            }
        })?;
        let names: Vec<_> = members.iter().map(|(name, _)| name.as_str()).collect();
        ensure!(names == SERVERS.map(|name| format!("{name}.global")), "{names:?}");
    }
    let leaders: BTreeSet<String> = SERVERS
        .iter()
        .map(|name| wait::until("a leader", limit, || cluster.api(name).leader()))
        .collect::<anyhow::Result<_>>()?;
    ensure!(leaders.len() == 1, "servers disagree on the leader: {leaders:?}");
    let peers = cluster.any_server().raft_peers().map_err(anyhow::Error::msg)?;
    ensure!(peers.len() == 3 && peers.iter().all(|(_, _, voter)| *voter), "{peers:?}");

    let nodes = ready_clients(cluster, limit)?;
    ensure!(nodes.keys().map(String::as_str).eq(CLIENTS), "no server may be a client: {nodes:?}");
    Ok(())
}

/// Waits until exactly the three clients are known, ready and eligible: id by name.
fn ready_clients(cluster: &Cluster, limit: Duration) -> anyhow::Result<BTreeMap<String, String>> {
    wait::until("three ready clients", limit, || {
        let nodes = cluster.any_server().nodes()?;
        let ready = nodes.iter().filter(|(_, _, status, eligible)| status == "ready" && eligible == "eligible");
        let ready: BTreeMap<_, _> = ready.map(|(name, id, ..)| (name.clone(), id.clone())).collect();
        if ready.len() == 3 && nodes.len() == 3 { Ok(ready) } else { Err(format!("{nodes:?}")) }
    })
}

fn clocks(cluster: &mut Cluster) -> anyhow::Result<()> {
    for name in cluster.names() {
        cluster.check_clock(&name)?;
    }
    Ok(())
}

fn ready_lines(cluster: &mut Cluster) -> anyhow::Result<()> {
    let limit = cluster.limit(Duration::from_secs(15));
    for (name, role) in SERVERS.map(|n| (n, "server")).into_iter().chain(CLIENTS.map(|n| (n, "client"))) {
        let expected = format!("READY role={role} name={name} address={} nomad=", cluster.address(name));
        cluster.wait_console(name, &expected, limit)?;
        let lines = cluster.console_lines(name).into_iter().filter(|line| line.contains("READY role=")).count();
        ensure!(lines == 1, "{name} printed {lines} READY lines");
    }
    Ok(())
}

/// The four commands of an operator, with what each must show.
fn check_output(command: &str, output: &str) -> anyhow::Result<()> {
    let line_of = |name: &str| output.lines().find(|line| line.split_whitespace().any(|word| word == name));
    match command {
        "server members" => {
            for server in SERVERS {
                let line = line_of(&format!("{server}.global")).with_context(|| format!("{server} in:\n{output}"))?;
                ensure!(line.contains("alive"), "{line}");
            }
            let leaders = output.lines().filter(|line| line.split_whitespace().any(|word| word == "true")).count();
            ensure!(leaders == 1, "{leaders} leaders in:\n{output}");
        }
        "node status" => {
            for client in CLIENTS {
                let line = line_of(client).with_context(|| format!("{client} in:\n{output}"))?;
                ensure!(line.contains("eligible") && line.contains("ready"), "{line}");
            }
            ensure!(!output.contains("server-vm"), "a server among the clients:\n{output}");
        }
        "job status" => ensure!(output.contains("No running jobs") || output.contains("example"), "{output}"),
        "job status -verbose example" => {
            for part in
                ["ID            = example", "Status        = running", "Allocations", "Latest Deployment", "web"]
            {
                ensure!(output.contains(part), "no {part:?} in:\n{output}");
            }
        }
        other => anyhow::bail!("no expectation for {other}"),
    }
    Ok(())
}

fn commands_from_the_host(cluster: &mut Cluster) -> anyhow::Result<()> {
    for command in ["server members", "node status", "job status"] {
        check_output(command, &cluster.nomad("server-vm-0", command)?)?;
    }
    Ok(())
}

fn commands_on_the_console(cluster: &mut Cluster) -> anyhow::Result<()> {
    for command in ["server members", "node status", "job status"] {
        let output = cluster.console_command("server-vm-1", &format!("nomad {command}"))?;
        check_output(command, &output)?;
    }
    Ok(())
}

fn run_example(cluster: &Cluster) -> anyhow::Result<Vec<Alloc>> {
    wait::until("three running allocations", cluster.limit(Duration::from_secs(30)), || {
        let running = cluster.any_server().running("example", 3)?;
        let nodes: Vec<_> = running.iter().map(|alloc| alloc.node.as_str()).collect();
        if nodes == CLIENTS { Ok(running) } else { Err(format!("on {nodes:?}")) }
    })
}

fn example_job(cluster: &mut Cluster) -> anyhow::Result<()> {
    let output = cluster.run_job("server-vm-0", JOB)?;
    ensure!(output.contains("successful") || output.contains("complete"), "{output}");
    run_example(cluster)?;
    check_output("job status -verbose example", &cluster.nomad("server-vm-0", "job status -verbose example")?)?;
    let output = cluster.console_command("server-vm-2", "nomad job status -verbose example")?;
    check_output("job status -verbose example", &output)
}

/// A job on client-vm-0 kills Nomad there ten times; the job itself has to survive that too.
fn killed_ten_times(cluster: &mut Cluster) -> anyhow::Result<()> {
    let before = run_example(cluster)?;
    cluster.run_job("server-vm-0", KILLER)?;
    let limit = cluster.limit(Duration::from_secs(75));
    wait::until("ten kills", limit, || {
        let allocs = cluster.any_server().allocs("killer")?;
        match allocs.as_slice() {
            [only] if only.client_status == "complete" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })?;
    let restarts = cluster.console_command("client-vm-0", "status")?;
    ensure!(restarts.contains("started again 10 times"), "{restarts}");
    let after = run_example(cluster)?;
    ensure!(before == after, "tasks did not survive Nomad: {before:?} became {after:?}");
    ensure!(after.iter().all(|alloc| alloc.restarts == 0), "{after:?}");
    Ok(())
}

fn server_ids(api: &Api) -> Result<BTreeMap<String, String>, String> {
    let peers = api.raft_peers()?;
    let voters = peers.iter().filter(|(_, _, voter)| *voter);
    let ids: BTreeMap<_, _> = voters.map(|(name, id, _)| (name.clone(), id.clone())).collect();
    if ids.len() == 3 && peers.len() == 3 { Ok(ids) } else { Err(format!("{peers:?}")) }
}

fn leader_killed(cluster: &mut Cluster) -> anyhow::Result<()> {
    let running = run_example(cluster)?;
    let ids = server_ids(&cluster.any_server()).map_err(anyhow::Error::msg)?;
    let leader = cluster.leader_name()?;
    let survivor = *SERVERS.iter().find(|name| **name != leader).context("a survivor")?;
    let old = cluster.api(survivor).leader().map_err(anyhow::Error::msg)?;
    cluster.pull_the_plug(&leader)?;
    let limit = cluster.limit(Duration::from_secs(15));
    wait::until("another leader", limit, || match cluster.api(survivor).leader()? {
        new if new != old => Ok(()),
        same => Err(format!("still {same}")),
    })?;
    ensure!(run_example(cluster)? == running, "the job noticed the loss of the leader");

    cluster.power_on(&leader)?;
    let limit = cluster.limit(Duration::from_secs(45));
    let returned = wait::until("three voters again", limit, || server_ids(&cluster.api(survivor)))?;
    ensure!(returned == ids, "server ids changed: {ids:?} became {returned:?}");
    wait::until("three servers alive", limit, || {
        let members = cluster.api(survivor).members()?;
        if members.len() == 3 && members.iter().all(|(_, status)| status == "alive") {
            Ok(())
        } else {
            Err(format!("{members:?}"))
        }
    })
}

fn client_power_cycled(cluster: &mut Cluster) -> anyhow::Result<()> {
    let limit = cluster.limit(Duration::from_secs(45));
    let before = ready_clients(cluster, limit)?;
    let mark = cluster.mark("client-vm-1");
    cluster.pull_the_plug("client-vm-1")?;
    cluster.power_on("client-vm-1")?;
    cluster.wait_console_after("client-vm-1", mark, "READY role=client", limit)?;
    let after = ready_clients(cluster, limit)?;
    ensure!(before == after, "node ids changed: {before:?} became {after:?}");
    run_example(cluster)?;
    Ok(())
}

fn client_powers_off(cluster: &mut Cluster) -> anyhow::Result<()> {
    cluster.power_button("client-vm-2")
}

fn server_powers_off(cluster: &mut Cluster) -> anyhow::Result<()> {
    cluster.power_button("server-vm-2")
}
