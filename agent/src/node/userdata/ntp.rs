//! The key `ntp`.

use serde::{Deserialize, Serialize};

use super::{
    finding::{Finding, Verdict},
    keys::flag,
    yaml::Node,
};

/// Where the time comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ntp {
    /// Whether the clock is set at all.
    pub enabled: bool,
    /// Names or addresses to ask, in order. Empty: what DHCP says, else a public pool.
    pub servers: Vec<String>,
}

impl Default for Ntp {
    fn default() -> Self {
        Self { enabled: true, servers: Vec::new() }
    }
}

pub(super) fn ntp(config: Option<&Node>, findings: &mut Vec<Finding>) -> Ntp {
    let mut ntp = Ntp::default();
    let Some(node) = config.and_then(|c| c.get("ntp")).filter(|node| !node.is_null()) else { return ntp };
    let Some(entries) = node.mapping() else {
        let message = format!("must be a map with servers or pools, not {}", node.describe());
        findings.push(Finding::new(Verdict::Refused, node.at, "ntp", message));
        return ntp;
    };
    ntp.enabled = flag(Some(node), "enabled", findings).unwrap_or(true);
    for (key, value) in entries {
        let name = key.text().unwrap_or("");
        let path = format!("ntp.{name}");
        match name {
            "enabled" => {}
            "servers" | "pools" | "peers" if value.is_null() => {}
            "servers" | "pools" => match value.sequence() {
                Some(items) => {
                    for (n, item) in items.iter().enumerate() {
                        match item.text().filter(|t| is_server(t)) {
                            Some(text) => ntp.servers.push(text.to_owned()),
                            None => findings.push(Finding::new(
                                Verdict::Refused,
                                item.at,
                                format!("{path}[{n}]"),
                                "must be a name or an address",
                            )),
                        }
                    }
                }
                None => findings.push(Finding::new(Verdict::Refused, value.at, path, "must be a list")),
            },
            "peers" | "allow" | "ntp_client" | "config" => findings.push(Finding::new(
                Verdict::Ignored,
                key.at,
                path,
                "this node has its own SNTP client, which asks servers only",
            )),
            _ => findings.push(Finding::new(Verdict::Refused, key.at, path, "unknown key")),
        }
    }
    ntp
}

fn is_server(text: &str) -> bool {
    !text.is_empty() && text.len() <= 253 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:_%".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::userdata::yaml;

    fn of(text: &str) -> (Ntp, Vec<String>) {
        let mut findings = Vec::new();
        let ntp = ntp(yaml::load(text).unwrap().root.as_ref(), &mut findings);
        (ntp, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn servers_and_pools_are_one_list() {
        let (ntp, findings) = of("ntp:\n  servers: [10.0.0.1]\n  pools: [pool.example.org]\n");
        assert_eq!(ntp, Ntp { enabled: true, servers: vec!["10.0.0.1".into(), "pool.example.org".into()] });
        assert!(findings.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let (ntp, findings) = of("ntp:\n  enabled: off\n  servers: ['a b']\n  ntp_client: chrony\n  servres: []\n");
        assert!(!ntp.enabled && ntp.servers.is_empty());
        assert_eq!(findings.len(), 3);
        assert!(findings[0].starts_with("refused: user-data:3:13: ntp.servers[0]"), "{findings:?}");
        assert!(findings[1].starts_with("ignored") && findings[2].contains("ntp.servres"));
    }
}
