//! A verdict for every top-level key of cloud-init.

use super::{
    finding::{Finding, Verdict},
    yaml::{Document, Kind, Node, Value},
};

/// What happens to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Treatment {
    /// A module of this program reads it.
    Handled,
    /// It does nothing here and does no harm.
    Ignored(&'static str),
    /// It would change the node, and this program cannot do it.
    Refused(&'static str),
    /// As refused, except that an empty value asks for nothing.
    RefusedUnlessEmpty(&'static str),
}

use Treatment::{Handled, Ignored, Refused, RefusedUnlessEmpty};

const PACKAGES: &str = "there is no package manager: the image holds what it needs";
const NO_LOGIN: &str = "nobody logs in to this image: it has no sshd and no shell";
const LATER: &str = "this version of Steppe cannot do it yet";
const TOOL: &str = "the program is not in this image: add what it installs at build time";
const BUILD: &str = "choose it when the image is built";

/// In the order of the alphabet, which a test checks.
const KEYS: &[(&str, Treatment)] = &[
    ("allow_public_ssh_keys", Ignored(NO_LOGIN)),
    ("allow_userdata", Ignored("user-data is always read")),
    ("ansible", Refused(TOOL)),
    ("apk_repos", Ignored(PACKAGES)),
    ("apt", Ignored(PACKAGES)),
    ("apt_pipelining", Ignored(PACKAGES)),
    ("apt_reboot_if_required", Ignored(PACKAGES)),
    ("apt_update", Ignored(PACKAGES)),
    ("apt_upgrade", Ignored(PACKAGES)),
    ("authkey_hash", Ignored(NO_LOGIN)),
    ("autoinstall", Refused("this image is installed already")),
    ("bootcmd", Handled),
    ("bundled_with", Ignored("a note for people")),
    ("byobu_by_default", Ignored(NO_LOGIN)),
    ("ca-certs", Handled),
    ("ca_certs", Handled),
    ("chef", Refused(TOOL)),
    ("chpasswd", Ignored(NO_LOGIN)),
    ("cloud_config_modules", Ignored("the order of steps is fixed")),
    ("cloud_final_modules", Ignored("the order of steps is fixed")),
    ("cloud_init_modules", Ignored("the order of steps is fixed")),
    ("create_hostname_file", Ignored("the host name is set anew at every boot")),
    ("datasource", Ignored("the datasource was found already")),
    ("datasource_list", Ignored("the datasource was found already")),
    ("debug", Ignored("a matter of cloud-init's own log")),
    ("device_aliases", Handled),
    ("disable_ec2_metadata", RefusedUnlessEmpty(LATER)),
    ("disable_root", Ignored(NO_LOGIN)),
    ("disable_root_opts", Ignored(NO_LOGIN)),
    ("disk_setup", Handled),
    ("drivers", Refused(BUILD)),
    ("fan", Refused(TOOL)),
    ("final_message", Handled),
    ("fqdn", Handled),
    ("fs_setup", Handled),
    ("groups", Ignored("the users and groups of an image are fixed: root, nomad and nobody")),
    ("growpart", Ignored("the state partition always grows with its disk")),
    ("grub-dpkg", Ignored("there is no GRUB")),
    ("grub_dpkg", Ignored("there is no GRUB")),
    ("hostname", Handled),
    ("keyboard", Ignored("messages are in English, keys are American")),
    ("landscape", Refused(TOOL)),
    ("launch-index", Ignored("it says which machine a part is for")),
    ("locale", Ignored("messages are in English")),
    ("locale_configfile", Ignored("messages are in English")),
    ("lxd", Refused(TOOL)),
    ("manage_etc_hosts", Handled),
    ("manage_resolv_conf", Handled),
    ("mcollective", Refused(TOOL)),
    ("merge_how", Ignored("said once in a part, it says how the part joins")),
    ("merge_type", Ignored("merge_how stands beside it and counts")),
    ("mount_default_fields", Handled),
    ("mounts", Handled),
    ("network", Refused("network configuration is no part of user-data")),
    ("no_ssh_fingerprints", Ignored(NO_LOGIN)),
    ("nomad", Handled),
    ("ntp", Handled),
    ("output", Ignored("messages go to the kernel log and the console")),
    ("package_reboot_if_required", Ignored(PACKAGES)),
    ("package_update", Ignored(PACKAGES)),
    ("package_upgrade", Ignored(PACKAGES)),
    ("packages", Handled),
    ("password", Ignored(NO_LOGIN)),
    ("phone_home", Handled),
    ("power_state", Handled),
    ("prefer_fqdn_over_hostname", Handled),
    ("preserve_hostname", Handled),
    ("puppet", Refused(TOOL)),
    ("random_seed", Handled),
    ("reporting", Ignored("messages go to the kernel log and the console")),
    ("resize_rootfs", Ignored("the state partition always grows with its disk")),
    ("resize_rootfs_tmp", Ignored("the state partition always grows with its disk")),
    ("resolv_conf", Handled),
    ("rh_subscription", Ignored(PACKAGES)),
    ("rpi", Refused(TOOL)),
    ("rsyslog", Refused(LATER)),
    ("runcmd", Handled),
    ("salt_minion", Refused(TOOL)),
    ("snap", RefusedUnlessEmpty(TOOL)),
    ("spacewalk", Refused(TOOL)),
    ("ssh", Ignored(NO_LOGIN)),
    ("ssh_authorized_keys", Ignored(NO_LOGIN)),
    ("ssh_deletekeys", Ignored(NO_LOGIN)),
    ("ssh_fp_console_blacklist", Ignored(NO_LOGIN)),
    ("ssh_genkeytypes", Ignored(NO_LOGIN)),
    ("ssh_import_id", Ignored(NO_LOGIN)),
    ("ssh_key_console_blacklist", Ignored(NO_LOGIN)),
    ("ssh_keys", Ignored(NO_LOGIN)),
    ("ssh_publish_hostkeys", Ignored(NO_LOGIN)),
    ("ssh_pwauth", Ignored(NO_LOGIN)),
    ("ssh_quiet_keygen", Ignored(NO_LOGIN)),
    ("steppe", Handled),
    ("swap", Handled),
    ("syslog_fix_perms", Ignored("messages go to the kernel log and the console")),
    ("system_info", Ignored("the users and groups of an image are fixed: root, nomad and nobody")),
    ("timezone", Handled),
    ("ubuntu_advantage", Ignored(PACKAGES)),
    ("ubuntu_pro", Ignored(PACKAGES)),
    ("updates", Ignored("the metadata is read at every boot")),
    ("user", Ignored(NO_LOGIN)),
    ("users", Ignored("the users of an image are fixed: root, nomad and nobody; nobody logs in")),
    ("vendor_data", Handled),
    ("vendor_data2", Handled),
    ("version", Ignored("a note for people")),
    ("wireguard", RefusedUnlessEmpty(LATER)),
    ("write_files", Handled),
    ("yum_repo_dir", Ignored(PACKAGES)),
    ("yum_repos", Ignored(PACKAGES)),
    ("zypper", Ignored(PACKAGES)),
];

/// Gives a verdict on every key that no module of this program reads, and on keys that stand twice.
pub(super) fn judge(document: &Document, findings: &mut Vec<Finding>) {
    for (key, at) in &document.duplicates {
        findings.push(Finding::new(Verdict::Ignored, *at, key, "stands twice in one map; the last one counts"));
    }
    let Some(Node { value: Value::Mapping(entries), .. }) = &document.root else { return };
    for (key, value) in entries {
        let name = key.scalar().map_or("", |s| s.text.as_str());
        let treatment = KEYS.binary_search_by_key(&name, |(k, _)| k).map(|n| KEYS[n].1);
        let (verdict, message) = match treatment {
            Ok(Handled) => continue,
            Ok(Ignored(why)) => (Verdict::Ignored, why.to_owned()),
            Ok(Refused(why)) => (Verdict::Refused, why.to_owned()),
            Ok(RefusedUnlessEmpty(_)) if is_empty(value) => (Verdict::Ignored, "asks for nothing".to_owned()),
            Ok(RefusedUnlessEmpty(why)) => (Verdict::Refused, why.to_owned()),
            Err(_) => (Verdict::Refused, unknown(name)),
        };
        findings.push(Finding::new(verdict, key.at, name, message));
    }
}

fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Sequence(items) => items.is_empty(),
        Value::Mapping(entries) => entries.is_empty(),
        Value::Scalar(scalar) => matches!(scalar.kind, Kind::Null | Kind::Bool(false)),
    }
}

fn unknown(name: &str) -> String {
    match nearest(name, KEYS.iter().map(|(key, _)| *key)) {
        Some(near) => format!("unknown key; did you mean {near}?"),
        None => "unknown key: cloud-init has none of this name".into(),
    }
}

/// The candidate that is closest to `name`, when one is close.
pub(in crate::node) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(d, candidate)| *d <= 1 + candidate.len() / 5)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, in bytes; only the first 64 of each count.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (&a.as_bytes()[..a.len().min(64)], &b.as_bytes()[..b.len().min(64)]);
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The value of a boolean key, as cloud-init takes it: YAML booleans, and the texts `true`, `1`, `on`, `yes`.
pub(super) fn flag(map: Option<&Node>, key: &str, findings: &mut Vec<Finding>) -> Option<bool> {
    let node = map?.get(key)?;
    let value = node.scalar().and_then(|scalar| match (scalar.kind, scalar.text.to_ascii_lowercase().as_str()) {
        (Kind::Bool(value), _) => Some(value),
        (Kind::Null, _) | (_, "false" | "0" | "off" | "no" | "") => Some(false),
        (_, "true" | "1" | "on" | "yes") => Some(true),
        _ => None,
    });
    if value.is_none() {
        findings.push(Finding::new(Verdict::Refused, node.at, key, "must be true or false"));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::userdata::yaml;

    fn judged(text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        judge(&yaml::load(text).unwrap(), &mut findings);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_table_is_sorted_and_holds_no_key_twice() {
        assert!(KEYS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn a_misspelt_key_names_its_neighbour() {
        assert_eq!(
            judged("hostname: a\nwrite_file: []\n"),
            ["refused: user-data:2:1: write_file: unknown key; did you mean write_files?"]
        );
        assert!(judged("completely_else: 1")[0].contains("none of this name"));
    }

    #[test]
    fn harmless_keys_are_ignored_and_functional_ones_refused() {
        assert!(
            judged("users: [default]\npackage_update: true\nssh_pwauth: no").iter().all(|f| f.starts_with("ignored"))
        );
        assert!(judged("wireguard: {a: b}")[0].starts_with("refused"));
        assert!(judged("wireguard: {}")[0].starts_with("ignored"));
    }

    #[test]
    fn distances() {
        assert_eq!((distance("", "abc"), distance("kitten", "sitting"), distance("a", "a")), (3, 3, 0));
    }
}
