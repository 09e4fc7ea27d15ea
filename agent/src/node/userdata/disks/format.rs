//! `disk_setup` and `fs_setup`.

use serde::Serialize;

use super::{Aliases, Device, device, known_keys, refuse};
use crate::node::userdata::{
    finding::{Finding, Verdict},
    keys::flag,
    yaml::{Kind, Node, Value},
};

/// A partition table to be made on a disk that has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableSetup {
    /// The disk.
    pub device: Device,
    /// Its partitions.
    pub layout: Layout,
    /// Whether what is on the disk is given up when it does not fit.
    pub overwrite: bool,
}

/// The partitions of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// One over the whole disk.
    Whole,
    /// Parts of the disk in percent, with whether each is for swap; the last one takes what is left.
    Parts(Vec<(u8, bool)>),
}

impl Layout {
    /// Shares of the disk, in percent.
    #[must_use]
    pub fn parts(&self) -> Vec<(u8, bool)> {
        match self {
            Self::Whole => vec![(100, false)],
            Self::Parts(parts) => parts.clone(),
        }
    }
}

/// What a file system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileSystem {
    /// ext2.
    Ext2,
    /// ext3.
    Ext3,
    /// ext4.
    Ext4,
    /// Space for memory.
    Swap,
}

impl FileSystem {
    /// The kernel's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ext2 => "ext2",
            Self::Ext3 => "ext3",
            Self::Ext4 => "ext4",
            Self::Swap => "swap",
        }
    }
}

/// Where on a device a file system goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    /// The device itself.
    Itself,
    /// Its partition of this number.
    Partition(u32),
    /// What has the label and the kind by now, else the first partition, else the device.
    Found,
}

/// A file system to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FsSetup {
    /// The disk or partition.
    pub device: Device,
    /// Where on it.
    pub slot: Slot,
    /// What.
    pub file_system: FileSystem,
    /// Its label.
    pub label: Option<String>,
    /// Whether what is there is given up.
    pub overwrite: bool,
    /// Further arguments of `mke2fs`.
    pub options: Vec<String>,
}

pub(super) fn tables(config: Option<&Node>, aliases: &Aliases, findings: &mut Vec<Finding>) -> Vec<TableSetup> {
    let Some(node) = config.and_then(|c| c.get("disk_setup")).filter(|node| !node.is_null()) else { return vec![] };
    let Some(entries) = node.mapping() else {
        refuse(findings, node, "disk_setup", format!("must be a map of devices, not {}", node.describe()));
        return vec![];
    };
    entries.iter().filter_map(|(key, value)| table(key, value, aliases, findings)).collect()
}

fn table(key: &Node, value: &Node, aliases: &Aliases, findings: &mut Vec<Finding>) -> Option<TableSetup> {
    let name = key.text().unwrap_or("");
    let path = format!("disk_setup.{name}");
    let before = findings.len();
    known_keys(value, &path, &["layout", "overwrite", "table_type"], findings);
    let device = match device(name, aliases) {
        Ok(device) => device,
        Err(why) => {
            refuse(findings, key, &path, why);
            return None;
        }
    };
    match value.get("table_type").and_then(Node::text) {
        None | Some("gpt") => {}
        Some(_) => refuse(findings, value, &format!("{path}.table_type"), "this image makes GPT only: write gpt"),
    }
    let overwrite = flag(Some(value), "overwrite", findings).unwrap_or(false);
    let layout = value.get("layout").filter(|layout| !layout.is_null());
    let parts = match layout.map(|layout| (layout, &layout.value)) {
        None => None,
        Some((_, Value::Scalar(scalar))) => match scalar.kind {
            Kind::Bool(true) => Some(Layout::Whole),
            Kind::Bool(false) => None,
            _ if scalar.text == "remove" => {
                let message =
                    "a partition table is not taken away: partitions are made on blank disks, or with overwrite";
                refuse(findings, value, &format!("{path}.layout"), message);
                None
            }
            _ => {
                refuse(findings, value, &format!("{path}.layout"), "must be true, false, or a list of percentages");
                None
            }
        },
        Some((layout, Value::Sequence(items))) => match items.iter().map(part).collect::<Option<Vec<_>>>() {
            Some(parts)
                if !parts.is_empty() && parts.iter().map(|(share, _)| u32::from(*share)).sum::<u32>() <= 100 =>
            {
                Some(Layout::Parts(parts))
            }
            _ => {
                let message = "must be a list of percentages, at most 100 together, each alone or with a type";
                refuse(findings, layout, &format!("{path}.layout"), message);
                None
            }
        },
        Some((layout, Value::Mapping(_))) => {
            refuse(findings, layout, &format!("{path}.layout"), "must be true, false, or a list of percentages");
            None
        }
    };
    if findings[before..].iter().any(|f| f.verdict == Verdict::Refused) {
        return None;
    }
    let Some(layout) = parts else {
        findings.push(Finding::new(Verdict::Ignored, key.at, path, "asks for no partitions"));
        return None;
    };
    Some(TableSetup { device, layout, overwrite })
}

/// `33`, or `[33, 82]`.
fn part(item: &Node) -> Option<(u8, bool)> {
    let share = |node: &Node| node.text()?.parse().ok().filter(|share| (1..=100).contains(share));
    match &item.value {
        Value::Sequence(pair) => match pair.as_slice() {
            [size, kind] => Some((share(size)?, matches!(kind.text()?, "82" | "8200" | "swap"))),
            [size] => Some((share(size)?, false)),
            _ => None,
        },
        _ => Some((share(item)?, false)),
    }
}

const FS_KEYS: [&str; 8] =
    ["cmd", "device", "extra_opts", "filesystem", "label", "overwrite", "partition", "replace_fs"];

pub(super) fn file_systems(config: Option<&Node>, aliases: &Aliases, findings: &mut Vec<Finding>) -> Vec<FsSetup> {
    let Some(node) = config.and_then(|c| c.get("fs_setup")).filter(|node| !node.is_null()) else { return vec![] };
    let Some(items) = node.sequence() else {
        refuse(findings, node, "fs_setup", format!("must be a list, not {}", node.describe()));
        return vec![];
    };
    items.iter().enumerate().filter_map(|(n, item)| file_system(n, item, aliases, findings)).collect()
}

fn file_system(n: usize, item: &Node, aliases: &Aliases, findings: &mut Vec<Finding>) -> Option<FsSetup> {
    let path = format!("fs_setup[{n}]");
    let before = findings.len();
    if item.mapping().is_none() {
        refuse(findings, item, &path, format!("must be a map with a device, not {}", item.describe()));
        return None;
    }
    known_keys(item, &path, &FS_KEYS, findings);
    let text = |key: &str| item.get(key).filter(|node| !node.is_null()).and_then(Node::text);
    let name = text("device").unwrap_or("");
    // `alias.2` names a partition.
    let (name, suffix) = match name.rsplit_once('.') {
        Some((name, number)) if !name.starts_with('/') && (number.parse::<u32>().is_ok() || number == "auto") => {
            (name, Some(number))
        }
        _ => (name, None),
    };
    let device = device(name, aliases);
    if let Err(why) = &device {
        refuse(findings, item, &format!("{path}.device"), why.clone());
    }
    let slot = match suffix.or(text("partition")) {
        None | Some("none") => Some(Slot::Itself),
        Some("auto" | "any") => Some(Slot::Found),
        Some(number) => number.parse().ok().filter(|number| (1..=128).contains(number)).map(Slot::Partition),
    };
    if slot.is_none() {
        refuse(findings, item, &format!("{path}.partition"), "must be auto, any, none or a number");
    }
    let file_system = match text("filesystem") {
        Some("ext4") => Some(FileSystem::Ext4),
        Some("ext3") => Some(FileSystem::Ext3),
        Some("ext2") => Some(FileSystem::Ext2),
        Some("swap") => Some(FileSystem::Swap),
        Some(_) => None,
        None => None,
    };
    if file_system.is_none() {
        refuse(
            findings,
            item,
            &format!("{path}.filesystem"),
            "must be ext4, ext3, ext2 or swap: this image makes no other",
        );
    }
    if item.get("cmd").is_some_and(|cmd| !cmd.is_null()) {
        refuse(findings, item, &format!("{path}.cmd"), "no command is run: name a filesystem");
    }
    let options = match item.get("extra_opts").filter(|node| !node.is_null()).map(|node| &node.value) {
        None => Vec::new(),
        Some(Value::Sequence(items)) => items.iter().filter_map(Node::text).map(str::to_owned).collect(),
        Some(Value::Scalar(scalar)) => scalar.text.split_whitespace().map(str::to_owned).collect(),
        Some(Value::Mapping(_)) => {
            refuse(findings, item, &format!("{path}.extra_opts"), "must be a list");
            Vec::new()
        }
    };
    let label = text("label").map(str::to_owned);
    if label.as_ref().is_some_and(|label| label.len() > 16) {
        refuse(findings, item, &format!("{path}.label"), "a label has at most 16 bytes");
    }
    let overwrite = flag(Some(item), "overwrite", findings).unwrap_or(false);
    if findings[before..].iter().any(|f| f.verdict == Verdict::Refused) {
        return None;
    }
    Some(FsSetup { device: device.ok()?, slot: slot?, file_system: file_system?, label, overwrite, options })
}

#[cfg(test)]
mod tests {
    use super::{super::tests::read, *};

    #[test]
    fn layouts() {
        let layout = |text: &str| {
            read(&format!("disk_setup: {{/dev/vdb: {{layout: {text}}}}}")).0.tables.first().map(|t| t.layout.clone())
        };
        assert_eq!(layout("true"), Some(Layout::Whole));
        assert_eq!(layout("[33, [33, 82], 34]"), Some(Layout::Parts(vec![(33, false), (33, true), (34, false)])));
        assert_eq!(layout("false"), None);
    }

    #[test]
    fn places_and_labels_of_file_systems() {
        let text = "device_aliases: {data: /dev/vdb}\nfs_setup:\n- {device: data.1, filesystem: ext4, label: a, extra_opts: '-m 0'}\n\
                    - {device: /dev/vdc, filesystem: ext4}\n- {device: vdd, partition: auto, filesystem: ext3, overwrite: yes}\n";
        let (disks, findings) = read(text);
        assert_eq!(findings, [""; 0]);
        let slots: Vec<Slot> = disks.file_systems.iter().map(|fs| fs.slot).collect();
        assert_eq!(slots, [Slot::Partition(1), Slot::Itself, Slot::Found]);
        assert_eq!((disks.file_systems[0].device.0.as_str(), disks.file_systems[0].options.len()), ("/dev/vdb", 2));
        assert!(disks.file_systems[2].overwrite);
    }

    #[test]
    fn what_cannot_be_made_is_refused() {
        for (text, want) in [
            ("disk_setup: [a]", "disk_setup: must be a map"),
            ("disk_setup: {/dev/vdb: {table_type: mbr, layout: true}}", "this image makes GPT only"),
            ("disk_setup: {/dev/vdb: {layout: remove}}", "is not taken away"),
            ("disk_setup: {/dev/vdb: {layout: [60, 60]}}", "at most 100 together"),
            ("disk_setup: {ephemeral0: {layout: true}}", "the datasource names no such device"),
            ("disk_setup: {/dev/vdb: {layouts: true}}", "did you mean layout?"),
            ("fs_setup: {a: b}", "fs_setup: must be a list"),
            ("fs_setup: [{device: /dev/vdb, filesystem: xfs}]", "must be ext4"),
            ("fs_setup: [{device: /dev/vdb, filesystem: ext4, cmd: mkfs}]", "fs_setup[0].cmd"),
            ("fs_setup: [{device: /dev/vdb, filesystem: ext4, label: aaaaaaaaaaaaaaaaa}]", "at most 16 bytes"),
            ("fs_setup: [{filesystem: ext4}]", "fs_setup[0].device"),
        ] {
            let (disks, findings) = read(text);
            assert!(findings.iter().any(|f| f.starts_with("refused") && f.contains(want)), "{text}: {findings:?}");
            assert!(disks.tables.is_empty() && disks.file_systems.is_empty());
        }
    }
}
