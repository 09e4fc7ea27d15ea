//! `mounts` and `mount_default_fields`.

use serde::Serialize;

use super::{Aliases, Device, device, refuse};
use crate::node::{
    files::roots,
    userdata::{
        finding::{Finding, Verdict},
        yaml::Node,
    },
};

/// A mount, or swap space that is switched on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// What.
    pub source: Source,
    /// Where; none for swap space.
    pub target: Option<String>,
    /// The kernel's name of the file system; none: what is found there.
    pub kind: Option<String>,
    /// Options as `mount(8)` has them, without those that are for others (`x-systemd...`).
    pub options: Vec<String>,
    /// Whether Nomad starts without it (`nofail`).
    pub optional: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A device by its name.
    Device(Device),
    /// A file system by its label.
    Label(String),
    /// A file system by its UUID.
    Uuid(String),
    /// A partition by its name.
    PartLabel(String),
    /// A partition by its UUID.
    PartUuid(String),
    /// A file system in memory.
    Memory,
}

/// Fields of cloud-init (`cc_mounts.py`) where nobody says others.
const DEFAULTS: [&str; 2] = ["auto", "defaults,nofail"];
/// Kinds that the kernel mounts without a helper.
const KINDS: [&str; 9] = ["auto", "btrfs", "ext2", "ext3", "ext4", "iso9660", "tmpfs", "vfat", "xfs"];

pub(super) fn mounts(config: Option<&Node>, aliases: &Aliases, findings: &mut Vec<Finding>) -> Vec<Mount> {
    let mut defaults = DEFAULTS.map(str::to_owned);
    if let Some(fields) = config.and_then(|c| c.get("mount_default_fields")).and_then(Node::sequence) {
        for (at, default) in [(2, 0), (3, 1)] {
            if let Some(text) = fields.get(at).and_then(Node::text) {
                text.clone_into(&mut defaults[default]);
            }
        }
    }
    let Some(node) = config.and_then(|c| c.get("mounts")).filter(|node| !node.is_null()) else { return vec![] };
    let Some(items) = node.sequence() else {
        refuse(findings, node, "mounts", format!("must be a list of lists, not {}", node.describe()));
        return vec![];
    };
    items.iter().enumerate().filter_map(|(n, item)| mount(n, item, &defaults, aliases, findings)).collect()
}

fn mount(
    n: usize,
    item: &Node,
    defaults: &[String; 2],
    aliases: &Aliases,
    findings: &mut Vec<Finding>,
) -> Option<Mount> {
    let path = format!("mounts[{n}]");
    let Some(fields) = item.sequence() else {
        refuse(findings, item, &path, format!("must be a list, not {}", item.describe()));
        return None;
    };
    let field = |at: usize| fields.get(at).and_then(Node::text).map(str::trim).filter(|text| !text.is_empty());
    let name = field(0).unwrap_or("");
    let target = field(1);
    let (Some(target), false) = (target, name.starts_with("ephemeral")) else {
        let message = if name.starts_with("ephemeral") {
            "the datasource names no such device"
        } else {
            "a device without a place is not mounted"
        };
        findings.push(Finding::new(Verdict::Ignored, item.at, path, message));
        return None;
    };
    let kind = field(2).unwrap_or(&defaults[0]);
    let options: Vec<&str> = field(3).unwrap_or(&defaults[1]).split(',').map(str::trim).collect();
    let is_swap = kind == "swap" || matches!(target, "swap" | "none");
    if !is_swap && !KINDS.contains(&kind) {
        let message = format!("{kind:?} is not mounted by this image: it can {}", KINDS.join(", "));
        refuse(findings, item, &path, message);
        return None;
    }
    let source = match source(name, kind, aliases) {
        Ok(source) => source,
        Err(why) => {
            refuse(findings, item, &path, why);
            return None;
        }
    };
    let target = if is_swap { None } else { Some(place(target)) };
    let target = match target.transpose() {
        Ok(target) => target,
        Err(why) => {
            refuse(findings, item, &path, why);
            return None;
        }
    };
    let optional = options.iter().any(|option| matches!(*option, "nofail" | "_netdev"));
    let foreign = |option: &str| {
        option.is_empty()
            || option.starts_with("x-")
            || matches!(
                option,
                "defaults" | "nofail" | "_netdev" | "auto" | "noauto" | "user" | "users" | "sw" | "comment=cloudconfig"
            )
    };
    Some(Mount {
        source,
        target,
        kind: Some(kind.to_owned()).filter(|kind| kind != "auto" && !is_swap),
        options: options.into_iter().filter(|option| !foreign(option)).map(str::to_owned).collect(),
        optional,
    })
}

fn source(name: &str, kind: &str, aliases: &Aliases) -> Result<Source, String> {
    if kind == "tmpfs" {
        return Ok(Source::Memory);
    }
    if let Some((key, value)) = name.split_once('=') {
        let value = value.trim_matches('"').to_owned();
        return match key {
            "LABEL" => Ok(Source::Label(value)),
            "UUID" => Ok(Source::Uuid(value.to_lowercase())),
            "PARTLABEL" => Ok(Source::PartLabel(value)),
            "PARTUUID" => Ok(Source::PartUuid(value.to_lowercase())),
            _ => Err(format!("{key:?} is no way to name a device: write LABEL=, UUID=, PARTLABEL= or PARTUUID=")),
        };
    }
    if name.contains(":/") || name.starts_with("//") {
        return Err(
            "a file system of another machine is not mounted by this image: a job of Nomad's can, by a volume plugin"
                .into(),
        );
    }
    for (prefix, make) in [
        ("/dev/disk/by-label/", Source::Label as fn(String) -> Source),
        ("/dev/disk/by-uuid/", Source::Uuid),
        ("/dev/disk/by-partlabel/", Source::PartLabel),
        ("/dev/disk/by-partuuid/", Source::PartUuid),
    ] {
        if let Some(rest) = name.strip_prefix(prefix) {
            return Ok(make(rest.to_owned()));
        }
    }
    device(name, aliases).map(Source::Device)
}

/// Where something may be mounted.
fn place(target: &str) -> Result<String, String> {
    let trimmed = target.trim_end_matches('/');
    // What lies below the others is in use already, by Nomad and by the agent itself.
    if ["/home", "/mnt", "/opt", "/srv"].contains(&trimmed) {
        return Ok(trimmed.to_owned());
    }
    if roots::WRITABLE.contains(&trimmed) {
        return Err(format!("{trimmed} as a whole is in use: mount below it, or on /srv or /opt"));
    }
    match roots::check(trimmed) {
        Ok(path) => Ok(path),
        Err(_) if trimmed.starts_with("/mnt/") => {
            Err(format!("{target}: write /mnt itself, or a place below /srv or /opt"))
        }
        Err(why) => Err(why.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::read, *};

    #[test]
    fn fields_and_their_defaults() {
        let text = "mounts:\n- [sdb1, /opt/data]\n- ['LABEL=a', /srv/a, ext4, 'noatime,x-systemd.requires=b,discard', '0', '2']\n\
                    - [tmpfs, /tmp/fast, tmpfs, 'size=64m']\n- [/dev/vdc2, none, swap, sw]\n- [/dev/disk/by-uuid/AB, /mnt]\n";
        let (disks, findings) = read(text);
        assert_eq!(findings, [""; 0]);
        let [first, second, memory, swap, uuid] = disks.mounts.as_slice() else { panic!() };
        assert!(first.optional && first.kind.is_none() && first.options.is_empty());
        assert!(!second.optional && second.options == ["noatime", "discard"] && second.kind.as_deref() == Some("ext4"));
        assert_eq!((&memory.source, memory.options.as_slice()), (&Source::Memory, &["size=64m".to_owned()][..]));
        assert_eq!((&swap.source, &swap.target), (&Source::Device(Device("/dev/vdc2".into())), &None));
        assert_eq!((&uuid.source, uuid.target.as_deref()), (&Source::Uuid("AB".into()), Some("/mnt")));
    }

    #[test]
    fn what_is_not_mounted_is_said() {
        for (text, verdict, want) in [
            ("mounts: [[ephemeral0, /mnt]]", "ignored", "names no such device"),
            ("mounts: [[/dev/sdb, null]]", "ignored", "without a place"),
            ("mounts: [['10.0.0.1:/x', /srv/x, nfs]]", "refused", "\"nfs\" is not mounted"),
            ("mounts: [['10.0.0.1:/x', /srv/x]]", "refused", "of another machine"),
            ("mounts: [[/dev/sdb, /usr/x]]", "refused", "read-only image"),
            ("mounts: [[/dev/sdb, /mnt/x]]", "refused", "/mnt itself"),
            ("mounts: [[/dev/sdb, /run]]", "refused", "mounts[0]: /run"),
            ("mounts: [[/dev/sdb, /var/]]", "refused", "mounts[0]: /var"),
            ("mounts: [[ID=1, /srv/x]]", "refused", "is no way to name a device"),
            ("mounts: [a]", "refused", "mounts[0]: must be a list"),
        ] {
            let (disks, findings) = read(text);
            assert!(findings[0].starts_with(verdict) && findings[0].contains(want), "{text}: {findings:?}");
            assert!(disks.mounts.is_empty());
        }
    }
}
