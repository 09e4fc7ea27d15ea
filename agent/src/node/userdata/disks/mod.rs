//! The keys about disks: `disk_setup`, `fs_setup`, `mounts`, `mount_default_fields`, `swap` and `device_aliases`
//! (`cc_disk_setup.py`, `cc_mounts.py`).
//!
//! What cloud-init formats anew by default (`partition: none`) is formatted here only when nothing is on it, or with
//! `overwrite`: an instance id that changes must not cost anybody a volume.

mod format;
mod mount;
mod swap;

use serde::Serialize;

pub use format::{FileSystem, FsSetup, Layout, Slot, TableSetup};
pub use mount::{Mount, Source};
pub use swap::{Size, Swap};

use super::{
    finding::{Finding, Verdict},
    keys::nearest,
    yaml::Node,
};

/// What becomes of the machine's other disks; in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Disks {
    /// Partition tables.
    pub tables: Vec<TableSetup>,
    /// File systems.
    pub file_systems: Vec<FsSetup>,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// A file that memory is moved out to.
    pub swap: Option<Swap>,
}

impl Disks {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A device as a person names it: `/dev/sdb`, `sdb1`, `/dev/disk/by-id/...`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Device(pub String);

pub(super) fn disks(config: Option<&Node>, findings: &mut Vec<Finding>) -> Disks {
    let aliases = aliases(config, findings);
    Disks {
        tables: format::tables(config, &aliases, findings),
        file_systems: format::file_systems(config, &aliases, findings),
        mounts: mount::mounts(config, &aliases, findings),
        swap: swap::swap(config, findings),
    }
}

/// Names that other keys may use.
type Aliases = Vec<(String, String)>;

fn aliases(config: Option<&Node>, findings: &mut Vec<Finding>) -> Aliases {
    let Some(node) = config.and_then(|c| c.get("device_aliases")).filter(|node| !node.is_null()) else { return vec![] };
    let entry = |(name, device): &(Node, Node)| Some((name.text()?.to_owned(), device.text()?.to_owned()));
    let read = node.mapping().and_then(|entries| entries.iter().map(entry).collect());
    if read.is_none() {
        refuse(findings, node, "device_aliases", "must be a map of names to devices");
    }
    read.unwrap_or_default()
}

/// The device of a name.
///
/// # Errors
/// When it is none that can be found.
fn device(name: &str, aliases: &Aliases) -> Result<Device, String> {
    let name = aliases.iter().find(|(alias, _)| alias == name).map_or(name, |(_, device)| device);
    let plain = name.strip_prefix("/dev/").unwrap_or(name);
    let legal = |c: char| c.is_ascii_alphanumeric() || "_-.:+/@=".contains(c);
    let parts_are_plain = plain.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if plain.is_empty() || !plain.chars().all(legal) || !parts_are_plain || (name.starts_with('/') && plain == name) {
        return Err(format!("{name:?} is not a device"));
    }
    if ["swap", "ephemeral", "root"].iter().any(|word| plain.starts_with(word)) {
        return Err(format!("{name:?}: the datasource names no such device: write its path"));
    }
    Ok(Device(format!("/dev/{plain}")))
}

fn refuse(findings: &mut Vec<Finding>, node: &Node, key: &str, message: impl Into<String>) {
    findings.push(Finding::new(Verdict::Refused, node.at, key, message));
}

/// Refuses keys that are none of `known`.
fn known_keys(node: &Node, path: &str, known: &[&str], findings: &mut Vec<Finding>) {
    for (key, _) in node.mapping().unwrap_or_default() {
        let name = key.text().unwrap_or("");
        if !known.contains(&name) {
            let hint = nearest(name, known.iter().copied()).map(|near| format!("; did you mean {near}?"));
            refuse(findings, key, &format!("{path}.{name}"), format!("unknown key{}", hint.unwrap_or_default()));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::userdata::yaml;

    pub(super) fn read(text: &str) -> (Disks, Vec<String>) {
        let mut findings = Vec::new();
        let disks = disks(yaml::load(text).unwrap().root.as_ref(), &mut findings);
        (disks, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn names_of_devices() {
        let aliases = vec![("data".to_owned(), "/dev/sdb".to_owned())];
        let name = |text: &str| device(text, &aliases).map(|device| device.0);
        for (text, want) in [
            ("sdb1", "/dev/sdb1"),
            ("/dev/vdb", "/dev/vdb"),
            ("data", "/dev/sdb"),
            ("/dev/disk/by-id/a-b", "/dev/disk/by-id/a-b"),
        ] {
            assert_eq!(name(text).as_deref(), Ok(want));
        }
        for text in ["", "/etc/x", "/dev/../etc/x", "/dev/", "a b", "ephemeral0"] {
            assert!(name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_volume_as_people_write_it() {
        let text = "disk_setup:\n  /dev/sdb: {table_type: gpt, layout: [50, [50, 82]], overwrite: false}\nfs_setup:\n- {label: data, \
                    filesystem: ext4, device: /dev/sdb, partition: 1}\n- {filesystem: swap, device: /dev/sdb, partition: 2}\n\
                    mounts:\n- [/dev/sdb1, /opt/nomad, auto, 'defaults,noatime']\n- [LABEL=x, /srv/x]\n- [sdb2, none, swap, sw, 0, 0]\n\
                    swap: {filename: /swap.img, size: 1G}\n";
        let (disks, findings) = read(text);
        assert_eq!(findings, [""; 0]);
        assert_eq!((disks.tables.len(), disks.file_systems.len(), disks.mounts.len()), (1, 2, 3));
        assert_eq!(disks.swap.unwrap().size, Size::Bytes(1 << 30));
    }

    proptest! {
        #[test]
        fn any_configuration_is_read(text in "(disk_setup|fs_setup|mounts|swap|: |\n|- |  |/dev/sdb|layout|\\[|\\]|50|,|device|auto|\\{|\\}|size|true){0,30}") {
            if let Ok(document) = yaml::load(&text) {
                let _ = disks(document.root.as_ref(), &mut Vec::new());
            }
        }
    }
}
