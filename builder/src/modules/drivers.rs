//! The modules that one file system of an image has, and the list of those that are loaded when they are wanted.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::Module;

/// A module that is loaded when a device or node asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driver {
    /// Below `/usr/lib/modules/<release>/`.
    pub path: String,
    /// What is loaded before it, in order.
    pub needs: Vec<Module>,
    /// Names by which node may ask for it.
    pub names: Vec<String>,
    /// Patterns of the devices that it drives.
    pub aliases: Vec<String>,
}

/// What one file system of an image has of a kernel's modules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Loaded at every boot, in order.
    pub always: Vec<Module>,
    /// Loaded when they are wanted.
    pub drivers: Vec<Driver>,
    /// May be asked for by name, and are part of the kernel.
    pub builtin: Vec<String>,
    /// Files of firmware that any of the modules may ask for, as it names them.
    pub firmware: Vec<String>,
}

impl Selection {
    /// The path of every module, each once.
    #[must_use]
    pub fn paths(&self) -> Vec<&str> {
        let of_drivers = self
            .drivers
            .iter()
            .flat_map(|driver| driver.needs.iter().map(|module| module.path.as_str()).chain([driver.path.as_str()]));
        let mut paths: Vec<&str> = self.always.iter().map(|module| module.path.as_str()).chain(of_drivers).collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// The text of `/usr/lib/steppe/drivers`; the agent's `init::modules::drivers` has the format.
    #[must_use]
    pub fn drivers_text(&self) -> String {
        let mut text = String::new();
        let mut line = |word: &str, value: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{word} {value}");
        };
        for driver in &self.drivers {
            line("module", &driver.path);
            driver.names.iter().for_each(|name| line("name", name));
            driver.needs.iter().for_each(|module| line("needs", &module.line()));
            driver.aliases.iter().for_each(|alias| line("alias", alias));
        }
        self.builtin.iter().for_each(|name| line("builtin", name));
        text
    }
}

/// The bus of an alias, if it is one whose devices the agent looks at: these are named in sysfs as in the alias. Others are of
/// device trees, or of what other modules make.
pub(super) fn bus(alias: &str) -> Option<&str> {
    const BUSES: [&str; 11] =
        ["acpi", "auxiliary", "cpu", "hid", "pci", "platform", "scsi", "usb", "virtio", "vmbus", "xen"];
    let bus = alias.split_once(':')?.0.trim_end_matches('*');
    BUSES.contains(&bus).then_some(bus)
}

#[cfg(test)]
mod tests {
    use agent::init::modules::drivers::Drivers;

    use super::*;

    #[test]
    fn the_agent_reads_what_is_written() {
        let needs = [("k/failover.ko", false), ("k/extra.ko", true)];
        let needs = needs.map(|(path, optional)| Module { path: path.into(), optional }).to_vec();
        let drivers = vec![
            Driver { path: "k/virtio_net.ko".into(), needs, names: vec![], aliases: vec!["virtio:d00000001v*".into()] },
            Driver {
                path: "k/isofs.ko".into(),
                needs: vec![],
                names: vec!["iso9660".into(), "isofs".into()],
                aliases: vec![],
            },
        ];
        let selection = Selection { always: vec![], drivers, builtin: vec!["dm_mod".into()], firmware: vec![] };
        let text = selection.drivers_text();
        let read = Drivers::parse(&text);
        assert_eq!(read.entries.len(), 2);
        assert_eq!(read.entries[0].needs, ["k/failover.ko", "?k/extra.ko"]);
        assert_eq!(read.entries[0].aliases, ["virtio:d00000001v*"]);
        assert_eq!(read.names().collect::<Vec<_>>(), ["iso9660", "isofs", "dm_mod"]);
        assert_eq!(selection.paths(), ["k/extra.ko", "k/failover.ko", "k/isofs.ko", "k/virtio_net.ko"]);
    }

    #[test]
    fn buses_are_told_from_other_aliases() {
        let of_buses = ["pci:v*", "acpi*:VMBUS:*", "scsi:t-0x00*", "auxiliary:mlx4_core.eth", "cpu:type:x86,ven*fam*"];
        assert_eq!(of_buses.map(bus).map(Option::unwrap), ["pci", "acpi", "scsi", "auxiliary", "cpu"]);
        assert!(["of:N*T*Cqemu", "fs-vfat", "block-major-7-*"].iter().all(|alias| bus(alias).is_none()));
    }
}
