//! Machines that are updated, and what a test does with one of them.

use std::{path::PathBuf, sync::Arc, time::Duration};

use agent::facts::Role;
use anyhow::{Context as _, bail, ensure};
use qemu::{MachineSpec, lab::Machine, services::Site, vm::Mark};

use crate::{
    cluster::{Cluster, LONE_SERVER_DATA, leads},
    update::{NEW, OLD},
    wait,
};

/// Enough for one machine to come up.
pub const BOOT: Duration = Duration::from_secs(25);
/// Enough to get an update over the network and onto the disk.
pub const INSTALL: Duration = Duration::from_secs(40);
/// What the console shows when an update is in its slot.
pub const INSTALLED: &str = "is in slot b and boots next, on trial";
/// How often an update is begun while another one ends, which takes it a few hundredths of a second.
const TRIES: u32 = 20;
/// Where the harness serves updates.
const PORT: u16 = 8001;

/// A machine, and a place for updates.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// The machines that it is among.
    pub cluster: Arc<Cluster>,
    /// What it gets its updates from, as `/it.update`.
    pub site: Arc<Site>,
    role: Role,
}

impl Node {
    /// Machines on one network, all of which are ready.
    ///
    /// # Errors
    /// When one is not.
    pub fn start(specs: Vec<MachineSpec>) -> anyhow::Result<Vec<Self>> {
        let site = Arc::new(Site::default());
        let cluster = Cluster::prepare(specs, |lab| {
            lab.services().serve_http(PORT, &site);
        })?;
        let cluster = Arc::new(cluster);
        let node = |name: String| Self {
            role: if name.starts_with("client") { Role::Client } else { Role::Server },
            name,
            cluster: Arc::clone(&cluster),
            site: Arc::clone(&site),
        };
        let nodes: Vec<Self> = cluster.names().into_iter().map(node).collect();
        nodes.iter().try_for_each(|node| node.ready(Mark::default()))?;
        Ok(nodes)
    }

    /// A server that is a cluster of its own.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn lone(spec: MachineSpec) -> anyhow::Result<Self> {
        Self::start(vec![spec.user_data(LONE_SERVER_DATA)])?.pop().context("no machine")
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        self.cluster.lab().machine(&self.name)
    }

    /// Waits for a line of the console behind a mark.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn wait(&self, mark: Mark, line: &str, limit: Duration) -> anyhow::Result<String> {
        self.cluster.wait_console_after(&self.name, mark, line, self.cluster.limit(limit))
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it is not in time.
    pub fn ready(&self, mark: Mark) -> anyhow::Result<()> {
        self.wait(mark, &format!("READY role={}", self.role), BOOT)?;
        Ok(())
    }

    /// The end of its console.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.cluster.mark(&self.name)
    }

    /// Whether the console showed a text behind a mark.
    #[must_use]
    pub fn said_after(&self, mark: Mark, text: &str) -> bool {
        self.machine().console().lines_after(mark).iter().any(|line| line.text.contains(text))
    }

    /// Types a command and gives what it printed.
    ///
    /// # Errors
    /// When the prompt does not come back.
    pub fn type_in(&self, command: &str) -> anyhow::Result<String> {
        self.cluster.console_command(&self.name, command)
    }

    /// Types a command after which there may be no prompt any more.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn end(&self, command: &str) -> anyhow::Result<()> {
        Ok(self.machine().console().type_line(command)?)
    }

    /// Begins an update from a file. The one before may have said that it is there, and not have ended yet.
    ///
    /// # Errors
    /// When it does not begin.
    pub fn begin(&self, file: impl Into<PathBuf>) -> anyhow::Result<Mark> {
        self.site.put_file("/it.update", file);
        for _ in 0..TRIES {
            let mark = self.mark();
            self.type_in(&format!("update http://files:{PORT}/it.update"))?;
            if !self.wait(mark, "steppe: update ", BOOT)?.contains("runs already") {
                return Ok(mark);
            }
        }
        bail!("the update before does not end")
    }

    /// Installs the new version from a file.
    ///
    /// # Errors
    /// When it does not get there.
    pub fn install(&self, file: impl Into<PathBuf>) -> anyhow::Result<()> {
        let mark = self.begin(file)?;
        self.installed(mark)
    }

    /// Waits until an update is in slot b.
    ///
    /// # Errors
    /// When it does not get there.
    pub fn installed(&self, mark: Mark) -> anyhow::Result<()> {
        self.wait(mark, &format!("{NEW} {INSTALLED}"), INSTALL)?;
        Ok(())
    }

    /// Restarts; gives the end of the console before it.
    ///
    /// # Errors
    /// When it does not.
    pub fn reboot(&self) -> anyhow::Result<Mark> {
        let mark = self.mark();
        self.end("reboot")?;
        self.wait(mark, "shutdown: rebooting", BOOT)?;
        Ok(self.mark())
    }

    /// Switches it off in order.
    ///
    /// # Errors
    /// When it stays on.
    pub fn power_off(&self) -> anyhow::Result<()> {
        let mark = self.mark();
        self.end("poweroff")?;
        self.wait(mark, "powering off", BOOT)?;
        wait::until("the machine to be off", self.cluster.limit(BOOT), || {
            if self.machine().is_on() { Err("it is on".to_owned()) } else { Ok(()) }
        })
    }

    /// Cuts its power, and gives it back; gives the end of the console before it.
    ///
    /// # Errors
    /// When it was off.
    pub fn cut_power(&self) -> anyhow::Result<Mark> {
        self.cluster.pull_the_plug(&self.name)?;
        let mark = self.mark();
        self.cluster.power_on(&self.name)?;
        Ok(mark)
    }

    /// Goes back to slot a by hand.
    ///
    /// # Errors
    /// When it does not.
    pub fn roll_back(&self) -> anyhow::Result<()> {
        let mark = self.mark();
        self.end("rollback")?;
        self.wait(mark, "slot a boots from now on", BOOT)?;
        self.wait(mark, "shutdown: rebooting", BOOT)?;
        self.ready(self.mark())
    }

    /// Which version runs, and how the last update went.
    ///
    /// # Errors
    /// When a line is not in the status.
    pub fn says(&self, lines: &[&str]) -> anyhow::Result<()> {
        let status = self.type_in("status")?;
        for line in lines {
            ensure!(status.contains(line), "no {line:?} in:\n{status}");
        }
        Ok(())
    }

    /// The other slot's trial fails, and this one is healthy again.
    ///
    /// # Errors
    /// When it is not, or another reason is given.
    pub fn falls_back(&self, mark: Mark, why: &str, tries: &str) -> anyhow::Result<()> {
        let line = self.wait(mark, "the update failed, and the machine fell back to slot a", 4 * BOOT)?;
        ensure!(line.contains(&format!("{NEW} in slot b: failed after {tries}")) && line.contains(why), "{line}");
        self.ready(mark)?;
        self.says(&[&format!("version    {OLD} in slot a"), &format!("{NEW} in slot b: failed after {tries}"), why])?;
        leads(&self.cluster, &self.name)
    }
}
