//! Doing what `runcmd` and `bootcmd` ask for, and looking at Nomad's files once more behind it.

use std::path::Path;

use super::Steward;
use crate::{
    node::{
        files::{
            Accounts,
            steps::{self, Machine},
        },
        net::Address,
        nomad::check,
        seed::Metadata,
        userdata::{
            Plan, Verdict,
            commands::{Step, Value},
        },
    },
    notice, warning,
};

impl Steward {
    /// Does what `runcmd` asks for, once there is an address; nothing when it asks for nothing. The error holds what is
    /// wrong with Nomad's configuration as the commands, or the servers that files came from, left it.
    pub(super) fn run_commands(&mut self, plan: &mut Plan, metadata: &Metadata) -> Result<(), Vec<String>> {
        if !plan.commands.late.is_empty() {
            self.await_address();
            self.run_steps(&plan.commands.late, metadata);
            let count = plan.commands.late.len();
            notice!("runcmd: {count} {} done", if count == 1 { "step" } else { "steps" });
        } else if plan.files.iter().all(|file| file.source.is_none()) {
            return Ok(());
        }
        let report = check::check(&self.files_of_nomad(plan), &plan.launch, self.facts.role);
        plan.nomad = report.summary;
        let refused: Vec<_> = report.findings.iter().filter(|f| f.verdict == Verdict::Refused).collect();
        // What the plan refused as well has been weighed already.
        if refused.iter().any(|finding| finding.role) || (!refused.is_empty() && plan.refused().next().is_none()) {
            return Err(refused.iter().map(ToString::to_string).collect());
        }
        Ok(())
    }

    pub(super) fn run_steps(&mut self, list: &[Step], metadata: &Metadata) {
        let accounts = Accounts::read(&self.root);
        let root = self.root.clone();
        let look_up = |value: &Value| self.value(value, metadata);
        let load_module = |name: &str| load_module(&root, name);
        let machine = Machine { root: &root, accounts: &accounts, look_up: &look_up, load_module: &load_module };
        for note in steps::run(&machine, list) {
            let note = format!("{}: {}", note.path, note.message);
            warning!("{note}");
            self.report.update(|status| status.findings.push(note));
        }
    }

    fn value(&self, value: &Value, metadata: &Metadata) -> Option<String> {
        let view = self.shared.view();
        match value {
            Value::Address => view.primary().map(|primary| primary.address.to_string()),
            Value::InterfaceAddress(name) => {
                let on = |address: &&Address| address.interface == *name && !address.is_link_local();
                view.addresses.iter().find(on).map(|address| address.address.to_string())
            }
            Value::PublicAddress => metadata.public_ipv4.clone(),
            Value::Hostname | Value::Fqdn => self.report.status().hostname.clone(),
            Value::InstanceId => metadata.instance_id.clone(),
            Value::AvailabilityZone => metadata.availability_zone.clone(),
            Value::Region => metadata.region.clone(),
        }
    }

    /// Nomad's configuration as it lies there now.
    fn files_of_nomad(&self, plan: &Plan) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        for config in &plan.launch.config {
            let place = self.root.join(config.trim_start_matches('/'));
            if place.is_file() {
                files.extend(std::fs::read(&place).map(|content| (config.clone(), content)));
                continue;
            }
            let Ok(entries) = std::fs::read_dir(&place) else { continue };
            let mut names: Vec<String> =
                entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort_unstable();
            for name in names {
                let path = format!("{config}/{name}");
                if plan.launch.reads(&path) {
                    files.extend(std::fs::read(place.join(&name)).map(|content| (path, content)));
                }
            }
        }
        files
    }
}

/// Asks init, unless the module is there by now.
pub(super) fn load_module(root: &Path, name: &str) -> Result<(), String> {
    if root.join("sys/module").join(name).exists() {
        return Ok(());
    }
    let socket = root.join(crate::paths::NOTIFY_SOCKET.trim_start_matches('/'));
    crate::notify::load_module(&socket, name).map_err(|why| why.to_string())
}
