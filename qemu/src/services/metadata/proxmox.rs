//! Proxmox VE: a NoCloud volume whose user-data has the machine's name, and whose network is in version 1.

use super::{Cloud, Instance};
use crate::vm::Smbios;
use crate::volume::{LABEL, Volume, VolumeFormat};
use std::fmt;

/// The hypervisor. There is nothing by which its machines know it.
pub struct Proxmox {
    instance: Instance,
}

/// Shows nothing of the user-data.
impl fmt::Debug for Proxmox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxmox").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl Proxmox {
    /// The hypervisor of a machine with a static address. What its owner gives it is a `#cloud-config` that stands below
    /// what Proxmox writes.
    #[must_use]
    pub fn new(instance: &Instance) -> Self {
        Self { instance: instance.clone() }
    }
}

impl Cloud for Proxmox {
    fn smbios(&self) -> Smbios {
        Smbios::default()
    }

    fn volume(&self) -> Option<Volume> {
        let Instance { id, hostname, address, mac, network, .. } = &self.instance;
        let (mask, router, domain) = (self.instance.netmask(), network.address, &network.domain);
        let own = self.instance.user_data_text();
        let own = own.strip_prefix("#cloud-config\n").unwrap_or(&own);
        let user_data = format!(
            "#cloud-config\nhostname: {hostname}\nmanage_etc_hosts: true\nfqdn: {hostname}.{domain}\nuser: operator\n\
             disable_root: False\npassword: $5$abcdefgh$0123456789012345678901234567890123456789012\n\
             ssh_authorized_keys:\n  - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEFB operator\nchpasswd:\n  expire: False\n\
             users:\n  - default\npackage_upgrade: true\n{own}"
        );
        let network = format!(
            "version: 1\nconfig:\n    - type: physical\n      name: eth0\n      mac_address: '{mac}'\n      subnets:\n\
             \x20     - type: static\n        address: '{address}'\n        netmask: '{mask}'\n        gateway: '{router}'\n\
             \x20   - type: nameserver\n      address:\n      - '{router}'\n      search:\n      - '{domain}'\n"
        );
        let files = [
            ("meta-data", format!("instance-id: {id}\n")),
            ("network-config", network),
            ("user-data", user_data),
            ("vendor-data", String::new()),
        ];
        let files = files.map(|(name, text)| (name.to_owned(), text.into_bytes())).to_vec();
        Some(Volume { label: LABEL.to_owned(), files, format: VolumeFormat::Iso })
    }
}
