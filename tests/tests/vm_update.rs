//! Updates of running machines, and the way back.

use std::process::ExitCode;

use agent::facts::Role;
use anyhow::ensure;
use tests::{
    cluster::{SERVER_DATA, leads},
    node::{BOOT, Node},
    suite,
    update::{NEW, OLD, Updates},
    wait,
};

const NAME: &str = "server-vm-0";

fn main() -> ExitCode {
    suite::run(
        || Updates::make(Role::Server),
        &[
            ("an_update_is_tried_blessed_and_rolled_back", good),
            ("three_servers_are_updated_one_after_the_other_under_a_leader", three),
            ("uefi_counts_the_tries_of_an_update", uefi),
        ],
    )
}

fn good(updates: &mut Updates) -> anyhow::Result<()> {
    let lone = Node::lone(updates.bios(NAME))?;
    lone.says(&[&format!("version    {OLD} in slot a")])?;
    lone.install(updates.file("it.update", |_| {})?)?;
    lone.says(&[&format!("version    {OLD} in slot a"), &format!("{NEW} in slot b: boots next")])?;
    // Who means the update with it does it no harm.
    let mark = lone.mark();
    lone.type_in("bless")?;
    lone.wait(mark, "slot a is not on trial: nothing is changed", BOOT)?;
    let mark = lone.reboot()?;
    lone.wait(mark, "this system is on trial", BOOT)?;
    lone.ready(mark)?;
    lone.wait(mark, "slot b is blessed", BOOT)?;
    lone.says(&[&format!("version    {NEW} in slot b"), &format!("{NEW} in slot b: good")])?;
    leads(&lone.cluster, NAME)?;

    // It is no longer on trial: the next boot is one like any other.
    let mark = lone.reboot()?;
    lone.ready(mark)?;
    lone.says(&[&format!("version    {NEW} in slot b")])?;
    ensure!(!lone.said_after(mark, "on trial"), "a blessed system was on trial");

    lone.roll_back()?;
    lone.says(&[&format!("version    {OLD} in slot a"), "rolled back by an operator"])
}

fn three(updates: &mut Updates) -> anyhow::Result<()> {
    let spec = |number: u32| updates.bios(&format!("server-vm-{number}")).user_data(SERVER_DATA);
    let servers = Node::start((0..3).map(spec).collect())?;
    for server in &servers {
        server.install(updates.file("it.update", |_| {})?)?;
        let mark = server.reboot()?;
        // While it is away, the two others have a leader, if need be another one.
        for other in servers.iter().filter(|other| other.name != server.name) {
            leads(&other.cluster, &other.name)?;
        }
        server.wait(mark, "slot b is blessed", 4 * BOOT)?;
        server.says(&[&format!("version    {NEW} in slot b"), &format!("{NEW} in slot b: good")])?;
        let limit = server.cluster.limit(2 * BOOT);
        wait::until("three peers", limit, || {
            let peers = server.cluster.api(&server.name).raft_peers()?;
            if peers.len() == 3 { Ok(()) } else { Err(format!("{peers:?}")) }
        })?;
    }
    Ok(())
}

fn uefi(updates: &mut Updates) -> anyhow::Result<()> {
    let lone = Node::lone(updates.uefi(NAME))?;
    lone.machine().console().allow("Kernel panic - not syncing");
    // Without a word of the firmware's, the entry says that it is a trial.
    lone.install(updates.file("it.update", |manifest| manifest.cmdline += " efi=noruntime")?)?;
    let mut mark = lone.reboot()?;
    // Two tries end before the system is healthy.
    for _ in 0..2 {
        lone.wait(mark, "this system is on trial", 2 * BOOT)?;
        mark = lone.mark();
        lone.machine().vm()?.reset()?;
    }
    lone.wait(mark, "slot b is blessed", 3 * BOOT)?;
    lone.says(&[&format!("version    {NEW} in slot b"), &format!("{NEW} in slot b: good")])
}
