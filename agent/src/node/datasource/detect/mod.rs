//! Which cloud or hypervisor this is, by what the firmware, the hypervisor and the command line say. Nobody is asked.

mod decide;
mod table;
#[cfg(test)]
mod tests;

use std::{fs, path::Path};

pub use decide::Explicit;
pub use table::{LABELS, Pattern, Row, Signal, TABLE, Weight, canonical};

use super::Platform;

/// A row that fits, with the value it fits on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The platform.
    pub platform: &'static str,
    /// How much it says.
    pub weight: Weight,
    /// What was seen, for people: `system-manufacturer "Hetzner"`.
    pub seen: String,
}

/// What the hypervisor shows beside the firmware's values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The hypervisor's signature.
    pub hypervisor: Option<String>,
    /// `/sys/hypervisor/uuid`.
    pub xen_uuid: Option<String>,
    /// Names of the ports of virtio consoles.
    pub virtio_ports: Vec<String>,
    /// Names of the files of `fw_cfg` that a person gave to QEMU.
    pub fw_cfg: Vec<String>,
}

impl Surroundings {
    /// Reads the files below `root`; the processor is asked only on the machine itself.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let line = |path: &Path| {
            let text = fs::read_to_string(path).ok()?.trim().to_owned();
            (!text.is_empty()).then_some(text)
        };
        let entries = |dir: &str| {
            let mut paths: Vec<_> =
                fs::read_dir(root.join(dir)).into_iter().flatten().filter_map(|e| Some(e.ok()?.path())).collect();
            paths.sort();
            paths
        };
        let fw_cfg = entries("sys/firmware/qemu_fw_cfg/by_key").into_iter().filter_map(|path| line(&path.join("name")));
        Self {
            hypervisor: (root == Path::new("/")).then(crate::node::sys::hypervisor).flatten(),
            xen_uuid: line(&root.join("sys/hypervisor/uuid")),
            virtio_ports: entries("sys/class/virtio-ports").iter().filter_map(|p| line(&p.join("name"))).collect(),
            fw_cfg: fw_cfg.filter(|name| name.starts_with("opt/")).collect(),
        }
    }
}

/// All rows that fit.
#[must_use]
pub fn matches(platform: &Platform) -> Vec<Match> {
    let Platform { dmi, surroundings, cmdline, .. } = platform;
    let values = |signal: Signal| -> Vec<&str> {
        match signal {
            Signal::Dmi(name) => dmi.get(name).into_iter().collect(),
            Signal::XenUuid => surroundings.xen_uuid.as_deref().into_iter().collect(),
            Signal::Hypervisor => surroundings.hypervisor.as_deref().into_iter().collect(),
            Signal::Word => cmdline.keys().collect(),
            Signal::VirtioPort => surroundings.virtio_ports.iter().map(String::as_str).collect(),
            Signal::FwCfg => surroundings.fw_cfg.iter().map(String::as_str).collect(),
        }
    };
    let one = |row: &Row| {
        let value = values(row.signal).into_iter().find(|value| row.pattern.fits(value))?;
        let seen = match row.signal {
            Signal::Dmi(name) => format!("{name} {value:?}"),
            Signal::XenUuid => format!("the Xen UUID {value}"),
            Signal::Hypervisor => format!("the hypervisor {value}"),
            Signal::Word => format!("{value:?} on the command line"),
            Signal::VirtioPort => format!("the virtio port {value}"),
            Signal::FwCfg => format!("the fw_cfg file {value}"),
        };
        Some(Match { platform: row.platform, weight: row.weight, seen })
    };
    TABLE.iter().filter_map(one).collect()
}
