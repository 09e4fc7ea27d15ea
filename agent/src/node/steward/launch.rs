//! From a plan that is applied to a Nomad that runs: address, names, time, configuration, the gate, the unit.

use std::{fs, path::Path, time::Duration};

use super::{Steward, belongings};
use crate::{
    node::{
        clock,
        files::{Accounts, FileError, Owner, write_atomically},
        net::Address,
        nomad::{
            config::{Facts, agent_json},
            durable,
            gate::{self, Gate},
            guard::is_address,
            unit::unit,
        },
        report::Waiting,
        userdata::Plan,
    },
    notice,
    notify::Message,
    paths, warning,
};

/// Time that a client waits for the servers before it starts anyway.
const GATE: Duration = Duration::from_secs(90);

/// Time that the other links get for their addresses after the first one has its own.
const SETTLE: Duration = Duration::from_secs(2);

/// What to say when Nomad's own configuration names an interface that is not below `class`, with which Nomad ends at once:
/// often it has a name of udev's, which is not here, while an interface that a network configuration names has its name.
fn missing_interface(class: &Path, plan: &Plan, there: &str) -> Option<String> {
    let (place, name) = plan.nomad.interface.as_ref().filter(|_| plan.nomad.client)?;
    let missing = !class.join(name).exists();
    missing.then(|| {
        format!(
            "{place}: network_interface: this machine has no {name:?}, and Nomad does not start without it: remove the line \
             (it is {there:?} then), or give an interface that name in the network configuration"
        )
    })
}

impl Steward {
    /// Starts Nomad; waits for an address as long as it takes.
    pub(super) fn launch(&mut self, plan: &Plan) {
        let address = self.await_address();
        let hostname = self.hostname(plan);
        if plan.hostname.is_none() {
            self.set_hostname(&hostname);
        }
        self.write_hosts(plan, &hostname);
        self.set_clock(plan);
        self.report.phase("time");
        let mut waiting = Waiting::default();
        while let Err(error) = self.configure(plan, &hostname, &address) {
            warning!("{error}");
            waiting.tick("a place for Nomad's configuration and data");
            self.shared.wait(Duration::from_secs(5), |_| None::<()>);
        }
        if let Some(note) = missing_interface(&self.below_root("/sys/class/net"), plan, &address.interface) {
            warning!("{note}");
            self.report.update(|status| status.findings.push(note));
        }
        if plan.nomad.client && !plan.nomad.server {
            self.hold_back(plan);
        }
        self.report.tell(&[Message::Start("nomad".into()), Message::Phase("nomad-started".into())]);
    }

    pub(super) fn await_address(&mut self) -> Address {
        let mut waiting = Waiting::default();
        let found = loop {
            let found = self.shared.wait(Duration::from_secs(1), |view| view.primary().cloned());
            if let Some(found) = found {
                break found;
            }
            let what = self.shared.view().describe_wait();
            self.report.awaits(Some(&what));
            waiting.tick(&what);
        };
        // The address goes into Nomad's configuration: it must be the same at every boot.
        self.shared.wait(SETTLE, |view| view.is_settled().then_some(()));
        let found = self.shared.view().primary().cloned().unwrap_or(found);
        self.report.awaits(None);
        self.report_addresses();
        found
    }

    pub(super) fn report_addresses(&mut self) {
        let view = self.shared.view();
        let mut addresses: Vec<(String, Vec<String>)> = Vec::new();
        for address in view.addresses.iter().filter(|address| !address.is_link_local()) {
            let text = format!("{}/{}", address.address, address.prefix);
            match addresses.iter_mut().find(|(name, _)| *name == address.interface) {
                Some((_, list)) => list.push(text),
                None => addresses.push((address.interface.clone(), vec![text])),
            }
        }
        self.report.update(|status| (status.addresses, status.network) = (addresses, view.notes));
    }

    pub(super) fn configure(&self, plan: &Plan, hostname: &str, address: &Address) -> Result<(), FileError> {
        let accounts = Accounts::read(&self.root);
        // A client needs root for its drivers, so a machine that is both runs as root.
        let root_owner = Owner { uid: 0, gid: 0 };
        let owner = if plan.nomad.client { root_owner } else { accounts.owner("nomad", "nomad").unwrap_or(root_owner) };
        let data = plan.nomad.data_dir.as_deref().unwrap_or(paths::NOMAD_DATA);
        if self.report.status().ready_at_ms.is_none() {
            let torn = durable::discard_torn(&self.places(plan));
            for path in torn.map_err(FileError::io("read Nomad's identity in", &self.below_root(data)))? {
                warning!("{} was empty after a power cut: removed, Nomad makes a new one", path.display());
            }
        }
        belongings::data_dir(&self.below_root(data), owner, if plan.nomad.client { 0o700 } else { 0o755 })?;
        for config in &plan.launch.config {
            for path in belongings::open_to(&self.below_root(config), owner)? {
                notice!("{}: opened to Nomad's group, so that it can be read", path.display());
            }
        }
        if let Some(token) = &plan.intro_token {
            let dir = self.below_root(data).join("client");
            fs::create_dir_all(&dir).map_err(FileError::io("create the directory", &dir))?;
            write_atomically(&dir.join("intro_token.jwt"), &token.0, 0o600)?;
        }
        let config = agent_json(&Facts {
            hostname,
            address: address.address,
            interface: &address.interface,
            raft_multiplier: self.options.raft_multiplier,
            user: &plan.nomad,
        });
        let path = self.below_root(paths::NOMAD_AGENT_CONFIG);
        let dir = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(dir).map_err(FileError::io("create the directory", dir))?;
        write_atomically(&path, &serde_json::to_vec_pretty(&config).unwrap_or_default(), 0o600)?;
        belongings::give(&path, owner)?;
        let units = self.below_root(paths::UNITS_DIR);
        fs::create_dir_all(&units).map_err(FileError::io("create the directory", &units))?;
        let spec = unit(&self.root, plan.nomad.client, owner, &plan.launch);
        // Its environment and its arguments may be tokens and keys. init reads it, as root.
        write_atomically(&units.join("nomad.json"), &serde_json::to_vec_pretty(&spec).unwrap_or_default(), 0o600)
    }

    pub(super) fn below_root(&self, path: &str) -> std::path::PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Holds a client's start back until a server can register it.
    fn hold_back(&mut self, plan: &Plan) {
        if self.report.status().ready_at_ms.is_some() {
            // This process was started again; Nomad runs.
            return;
        }
        // Not the discovery strings, which may hold secrets.
        let names: Vec<&str> = plan.nomad.servers.iter().filter(|name| is_address(name)).map(String::as_str).collect();
        let what = format!("a server that can register clients: {}", names.join(", "));
        let mut waiting = Waiting::default();
        let start = clock::now();
        self.report.awaits(Some(&what));
        let result = if plan.nomad.http_tls {
            // Its servers speak TLS as well, which the agent cannot.
            Gate::Unknown
        } else {
            gate::wait(&plan.nomad.servers, plan.nomad.http_port, GATE, |_| waiting.tick(&what))
        };
        self.report.awaits(None);
        match result {
            Gate::Open(after) if after > Duration::from_secs(1) => {
                notice!("the servers were ready after {:.1} s", after.as_secs_f64());
            }
            Gate::Open(_) | Gate::Unknown => {}
            Gate::TimedOut => {
                warning!("no server is ready after {} s: starting anyway", (clock::now() - start).as_secs());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_is_told_with_the_way_out() {
        let class = tempfile::tempdir().unwrap();
        let mut plan = Plan::default();
        assert_eq!(missing_interface(class.path(), &plan, "eth0"), None);
        plan.nomad.interface = Some(("/etc/nomad.d/client.hcl:3:3".into(), "ens3".into()));
        // Nomad reads the block of a client only.
        assert_eq!(missing_interface(class.path(), &plan, "eth0"), None);
        plan.nomad.client = true;
        let note = missing_interface(class.path(), &plan, "eth0").unwrap();
        assert!(
            note.starts_with("/etc/nomad.d/client.hcl:3:3: network_interface: this machine has no \"ens3\""),
            "{note}"
        );
        fs::create_dir(class.path().join("ens3")).unwrap();
        assert_eq!(missing_interface(class.path(), &plan, "eth0"), None);
    }
}
