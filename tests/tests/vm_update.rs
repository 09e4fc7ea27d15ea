//! Updates of running machines: good ones, bad ones that end in the system from before, and power cuts in the middle.

use std::{
    process::{Command, ExitCode},
    sync::Arc,
    time::Duration,
};

use agent::{facts::Role, slots::Slot, update::manifest::Manifest};
use anyhow::{Context as _, ensure};
use qemu::{
    MachineSpec,
    lab::Machine,
    services::{HttpFault, Site},
    vm::Mark,
};
use tests::{
    cluster::{Cluster, LONE_SERVER_DATA, SERVER_DATA, leads},
    suite,
    update::{NEW, OLD, Updates},
    wait,
};

/// Enough for one machine to come up.
const BOOT: Duration = Duration::from_secs(25);
/// Enough to get an update over the network and onto the disk.
const INSTALL: Duration = Duration::from_secs(40);
const NAME: &str = "server-vm-0";
/// Where the harness serves updates.
const PORT: u16 = 8001;

fn main() -> ExitCode {
    suite::run(
        || Updates::make(Role::Server),
        &[
            ("an_update_is_tried_blessed_and_rolled_back", good),
            ("a_bad_update_falls_back_and_says_why", bad),
            ("a_power_cut_during_an_update_changes_nothing", power_cuts),
            ("three_servers_are_updated_one_after_the_other_under_a_leader", three),
            ("uefi_counts_the_tries_of_an_update", uefi),
        ],
    )
}

/// A server, and a place for updates.
struct Server {
    name: String,
    cluster: Arc<Cluster>,
    site: Arc<Site>,
}

impl Server {
    /// Servers of one cluster, which are ready.
    fn start(specs: Vec<MachineSpec>) -> anyhow::Result<Vec<Self>> {
        let site = Arc::new(Site::default());
        let cluster = Cluster::prepare(specs, |lab| {
            lab.services().serve_http(PORT, &site);
        })?;
        let cluster = Arc::new(cluster);
        let server = |name| Self { name, cluster: Arc::clone(&cluster), site: Arc::clone(&site) };
        let servers: Vec<Self> = cluster.names().into_iter().map(server).collect();
        servers.iter().try_for_each(|server| server.ready(Mark::default()))?;
        Ok(servers)
    }

    /// A cluster of one.
    fn lone(spec: MachineSpec) -> anyhow::Result<Self> {
        Self::start(vec![spec.user_data(LONE_SERVER_DATA)])?.pop().context("no machine")
    }

    fn machine(&self) -> &Machine {
        self.cluster.lab().machine(&self.name)
    }

    fn wait(&self, mark: Mark, line: &str, limit: Duration) -> anyhow::Result<String> {
        self.cluster.wait_console_after(&self.name, mark, line, self.cluster.limit(limit))
    }

    fn ready(&self, mark: Mark) -> anyhow::Result<()> {
        self.wait(mark, "READY role=server", BOOT)?;
        Ok(())
    }

    fn mark(&self) -> Mark {
        self.cluster.mark(&self.name)
    }

    fn type_in(&self, command: &str) -> anyhow::Result<String> {
        self.cluster.console_command(&self.name, command)
    }

    /// Types a command after which there may be no prompt any more.
    fn end(&self, command: &str) -> anyhow::Result<()> {
        Ok(self.machine().console().type_line(command)?)
    }

    /// Begins an update.
    fn begin(&self, updates: &Updates, change: impl FnOnce(&mut Manifest)) -> anyhow::Result<Mark> {
        self.site.put_file("/it.update", updates.file("it.update", change)?);
        let mark = self.mark();
        self.type_in(&format!("update http://files:{PORT}/it.update"))?;
        Ok(mark)
    }

    /// Installs an update.
    fn install(&self, updates: &Updates, change: impl FnOnce(&mut Manifest)) -> anyhow::Result<()> {
        let mark = self.begin(updates, change)?;
        self.wait(mark, &format!("{NEW} is in slot b and boots next, on trial"), INSTALL)?;
        Ok(())
    }

    /// Restarts; gives the end of the console before it.
    fn reboot(&self) -> anyhow::Result<Mark> {
        let mark = self.mark();
        self.end("reboot")?;
        self.wait(mark, "shutdown: rebooting", BOOT)?;
        Ok(self.mark())
    }

    /// Which version runs, and how the last update went.
    fn says(&self, lines: &[&str]) -> anyhow::Result<()> {
        let status = self.type_in("status")?;
        for line in lines {
            ensure!(status.contains(line), "no {line:?} in:\n{status}");
        }
        Ok(())
    }

    /// The other slot's trial fails, and this one is healthy again.
    fn falls_back(&self, mark: Mark, why: &str, tries: &str) -> anyhow::Result<()> {
        let line = self.wait(mark, "the update failed, and the machine fell back to slot a", 4 * BOOT)?;
        ensure!(line.contains(&format!("{NEW} in slot b: failed after {tries}")) && line.contains(why), "{line}");
        self.ready(mark)?;
        self.says(&[&format!("version    {OLD} in slot a"), &format!("{NEW} in slot b: failed after {tries}"), why])?;
        leads(&self.cluster, &self.name)
    }
}

fn good(updates: &mut Updates) -> anyhow::Result<()> {
    let lone = Server::lone(updates.bios(NAME))?;
    lone.says(&[&format!("version    {OLD} in slot a")])?;
    lone.install(updates, |_| {})?;
    lone.says(&[&format!("version    {OLD} in slot a"), &format!("{NEW} in slot b: boots next")])?;
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
    ensure!(!said_after(&lone, mark, "on trial"), "a blessed system was on trial");

    let mark = lone.mark();
    lone.end("rollback")?;
    lone.wait(mark, "slot a boots from now on", BOOT)?;
    lone.wait(mark, "shutdown: rebooting", BOOT)?;
    lone.ready(lone.mark())?;
    lone.says(&[&format!("version    {OLD} in slot a"), "rolled back by an operator"])
}

fn said_after(lone: &Server, mark: Mark, text: &str) -> bool {
    let lines = lone.machine().console().lines_after(mark);
    lines.iter().any(|line| line.text.contains(text))
}

fn bad(updates: &mut Updates) -> anyhow::Result<()> {
    let lone = Server::lone(updates.bios(NAME))?;
    lone.machine().console().allow("Kernel panic - not syncing");

    // Not for this machine: nothing happens at all.
    let mark = lone.begin(updates, |manifest| manifest.role = Role::Client)?;
    lone.wait(mark, "update failed: the update is for role client", INSTALL)?;

    // A kernel that panics: it has no first program, and no root that it could find by itself.
    lone.install(updates, |manifest| manifest.cmdline += " rdinit=/none")?;
    let mark = lone.reboot()?;
    lone.wait(mark, "Kernel panic - not syncing", BOOT)?;
    lone.falls_back(mark, "it ended without a word", "1 try")?;

    // Nomad never gets as far as being healthy.
    lone.install(updates, |manifest| manifest.cmdline += " steppe.platform=ec2 steppe.trial=30")?;
    let mark = lone.reboot()?;
    lone.wait(mark, "the trial failed: not blessed within 30 s", 2 * BOOT)?;
    lone.falls_back(mark, "not blessed within 30 s; node", "1 try")?;

    // A byte of the root that is not the one that was signed.
    lone.install(updates, |_| {})?;
    let mark = lone.mark();
    lone.end("poweroff")?;
    lone.wait(mark, "powering off", BOOT)?;
    let machine = lone.machine();
    wait::until("the machine to be off", lone.cluster.limit(BOOT), || {
        if machine.is_on() { Err("it is on".to_owned()) } else { Ok(()) }
    })?;
    let partitions = &updates.manifest().partitions;
    let root = partitions.iter().find(|partition| partition.name == Slot::B.root_label()).context("no slot b")?;
    // The end of a squashfs are its tables, which are read to mount it.
    damage(&lone, root.start, root.size)?;
    let mark = lone.mark();
    lone.cluster.power_on(NAME)?;
    lone.wait(mark, "dm-verity device corrupted", BOOT)?;
    lone.falls_back(mark, "it ended without a word", "1 try")
}

/// Writes a wrong byte into each of many blocks of a partition of a machine that is off.
fn damage(lone: &Server, start: u64, size: u64) -> anyhow::Result<()> {
    let disk = lone.machine().disk();
    let mut command = Command::new("qemu-io");
    command.args(["-f", "qcow2"]);
    for number in 0..64 {
        command.args(["-c", &format!("write -q -P 238 {} 512", start + size / 128 * number)]);
    }
    let output = command.arg(&disk).output().context("failed to run qemu-io (package qemu-utils)")?;
    ensure!(output.status.success(), "qemu-io: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn power_cuts(updates: &mut Updates) -> anyhow::Result<()> {
    let lone = Server::lone(updates.bios(NAME))?;
    let file = updates.file("size.update", |_| {})?;
    let length = std::fs::metadata(file)?.len();
    // The connection ends within the UKI, within the root, and within the last part.
    for part in [8, 2, 1] {
        let cut = usize::try_from(length / part)? - 20_000;
        lone.site.fail("/it.update", HttpFault::CutOff(cut), Some(1));
        let mark = lone.begin(updates, |_| {})?;
        lone.wait(mark, "update failed: failed to read the update", INSTALL)?;
        let mark = lone.mark();
        lone.cluster.pull_the_plug(NAME)?;
        lone.cluster.power_on(NAME)?;
        lone.ready(mark)?;
        lone.says(&[&format!("version    {OLD} in slot a")])?;
    }
    // The power fails just after the last step: the next boot is the trial.
    lone.install(updates, |_| {})?;
    let mark = lone.mark();
    lone.cluster.pull_the_plug(NAME)?;
    lone.cluster.power_on(NAME)?;
    lone.wait(mark, "this system is on trial", BOOT)?;
    lone.wait(mark, "slot b is blessed", 2 * BOOT)?;
    lone.says(&[&format!("version    {NEW} in slot b")])
}

fn three(updates: &mut Updates) -> anyhow::Result<()> {
    let spec = |number: u32| updates.bios(&format!("server-vm-{number}")).user_data(SERVER_DATA);
    let servers = Server::start((0..3).map(spec).collect())?;
    for server in &servers {
        server.install(updates, |_| {})?;
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
    let lone = Server::lone(updates.uefi(NAME))?;
    lone.machine().console().allow("Kernel panic - not syncing");
    lone.install(updates, |_| {})?;
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
