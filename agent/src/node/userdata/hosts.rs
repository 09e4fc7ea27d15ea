//! `manage_etc_hosts`, and the text of `/etc/hosts`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{
    finding::{Finding, Verdict},
    yaml::{Kind, Node},
};

/// What becomes of `/etc/hosts`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostsMode {
    /// The image's file and one line for this machine. cloud-init's `localhost`, and what happens without the key.
    #[default]
    Ensure,
    /// Written anew: cloud-init's `true` and `template`.
    Template,
    /// Left alone: `false`.
    Leave,
}

/// Reads the key `manage_etc_hosts`.
pub(super) fn mode(config: Option<&Node>, findings: &mut Vec<Finding>) -> HostsMode {
    let Some(node) = config.and_then(|c| c.get("manage_etc_hosts")) else { return HostsMode::default() };
    match node.scalar().map(|s| (s.kind, s.text.to_ascii_lowercase())) {
        Some((Kind::Null, _)) => HostsMode::default(),
        Some((Kind::Bool(true), _)) => HostsMode::Template,
        Some((Kind::Bool(false), _)) => HostsMode::Leave,
        Some((_, text)) if text == "template" || text == "true" => HostsMode::Template,
        Some((_, text)) if text == "localhost" => HostsMode::Ensure,
        Some((_, text)) if text == "false" => HostsMode::Leave,
        _ => {
            let message = "must be true, false, template or localhost";
            findings.push(Finding::new(Verdict::Refused, node.at, "manage_etc_hosts", message));
            HostsMode::default()
        }
    }
}

impl HostsMode {
    /// The new text of `/etc/hosts`; `None` when the file is left alone.
    ///
    /// The machine's own name stands beside its real `address` when there is one: with the 127.0.1.1 of other systems
    /// a Nomad that joins by name would find itself and nobody else.
    #[must_use]
    pub fn render(self, current: &str, hostname: &str, fqdn: Option<&str>, address: Option<IpAddr>) -> Option<String> {
        let own = address.unwrap_or(IpAddr::from([127, 0, 1, 1]));
        let names = match fqdn {
            Some(fqdn) if fqdn != hostname => format!("{fqdn} {hostname}"),
            _ => hostname.to_owned(),
        };
        let line = format!("{own} {names}\n");
        match self {
            Self::Leave => None,
            Self::Template => Some(format!(
                "# Written by Steppe (manage_etc_hosts).\n127.0.0.1 localhost\n{line}\n::1 localhost ip6-localhost \
                 ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n"
            )),
            Self::Ensure => {
                let others = current.lines().filter(|l| !l.split_whitespace().skip(1).any(|word| word == hostname));
                Some(others.map(|l| format!("{l}\n")).collect::<String>() + &line)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::userdata::yaml;

    #[test]
    fn the_values_of_cloud_init() {
        for (text, mode, findings) in [
            ("manage_etc_hosts: true", HostsMode::Template, 0),
            ("manage_etc_hosts: template", HostsMode::Template, 0),
            ("manage_etc_hosts: localhost", HostsMode::Ensure, 0),
            ("manage_etc_hosts: no", HostsMode::Leave, 0),
            ("a: 1", HostsMode::Ensure, 0),
            ("manage_etc_hosts: [x]", HostsMode::Ensure, 1),
        ] {
            let mut found = Vec::new();
            assert_eq!(super::mode(yaml::load(text).unwrap().root.as_ref(), &mut found), mode, "{text}");
            assert_eq!(found.len(), findings, "{text}");
        }
    }

    #[test]
    fn one_line_for_this_machine_and_twice_is_once() {
        let address = Some(IpAddr::from([10, 0, 5, 10]));
        let once = HostsMode::Ensure.render("127.0.0.1 localhost\n", "a", Some("a.b"), address).unwrap();
        assert_eq!(once, "127.0.0.1 localhost\n10.0.5.10 a.b a\n");
        assert_eq!(HostsMode::Ensure.render(&once, "a", Some("a.b"), address).unwrap(), once);
    }
}
