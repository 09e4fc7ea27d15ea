//! The part of the plan that needs no network: name and files.

use std::path::Path;

use super::Steward;
use crate::{
    node::{
        files::{self, Accounts, write_atomically},
        seed::Metadata,
        userdata::Plan,
    },
    notice, warning,
};

impl Steward {
    /// Sets the name, when the plan has one, and writes the files.
    pub(super) fn apply(&mut self, plan: &Plan) -> Result<(), String> {
        if let Some(hostname) = &plan.hostname {
            self.set_hostname(hostname);
        }
        self.apply_disks(plan)?;
        self.run_steps(&plan.commands.early, &Metadata::default());
        self.apply_system(plan).map_err(|error| error.to_string())?;
        let notes = files::apply(&self.root, &plan.files, &Accounts::read(&self.root)).map_err(|e| e.to_string())?;
        for note in notes {
            warning!("{}: {}", note.path, note.message);
            self.report.update(|status| status.findings.push(format!("{}: {}", note.path, note.message)));
        }
        if !plan.files.is_empty() {
            notice!("{} {} written", plan.files.len(), if plan.files.len() == 1 { "file" } else { "files" });
        }
        Ok(())
    }

    /// The machine's name: the plan's, else what DHCP says, else one made of the hardware address, which is at least
    /// the same at every boot and another on every machine.
    pub(super) fn hostname(&self, plan: &Plan) -> String {
        let view = self.shared.view();
        let dhcp = || {
            let name = view.primary_lease()?.hostname.as_deref()?;
            name.split('.').next().filter(|label| !label.is_empty() && *label != "localhost").map(str::to_owned)
        };
        let mac = || {
            let mac = view.first_mac.unwrap_or_default();
            format!("node-{:02x}{:02x}{:02x}", mac[3], mac[4], mac[5])
        };
        plan.hostname.clone().or_else(dhcp).unwrap_or_else(mac)
    }

    pub(super) fn set_hostname(&mut self, hostname: &str) {
        // A test or a desk keeps its name.
        if self.root == Path::new("/")
            && let Err(error) = nix::unistd::sethostname(hostname)
        {
            warning!("failed to set the host name to {hostname}: {error}");
        }
        self.shared.set_host_name(hostname);
        let path = self.root.join("etc/hostname");
        if let Err(error) = write_atomically(&path, format!("{hostname}\n").as_bytes(), 0o644) {
            warning!("{error}");
        }
        self.report.update(|status| status.hostname = Some(hostname.to_owned()));
    }

    /// Writes `/etc/hosts`, as the plan wants it.
    pub(super) fn write_hosts(&self, plan: &Plan, hostname: &str) {
        let path = self.root.join("etc/hosts");
        let current = std::fs::read_to_string(&path).unwrap_or_default();
        let address = self.shared.view().primary().map(|primary| primary.address);
        if let Some(text) = plan.hosts.render(&current, hostname, plan.fqdn.as_deref(), address)
            && let Err(error) = write_atomically(&path, text.as_bytes(), 0o644)
        {
            warning!("{error}");
        }
    }
}
