//! The one configuration file that the agent writes. The user's files come after it and win.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::check::Summary;

/// Cloud fingerprinters ask addresses that do not answer here, and each costs a client's start seconds.
const DENIED: &str = "env_aws,env_gce,env_azure,env_digitalocean";

/// What the file depends on.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The machine's name.
    pub hostname: &'a str,
    /// The address that peers reach.
    pub address: IpAddr,
    /// The interface that has it.
    pub interface: &'a str,
    /// `steppe.raft_multiplier` of the command line.
    pub raft_multiplier: Option<u32>,
    /// What the user's files say.
    pub user: &'a Summary,
}

/// The file, as JSON.
///
/// Only keys of the roles that the user enables: a `client` block would do no harm to a server, but a person who reads
/// the file of a server should not find one. Booleans are only ever set to true here, because a later file cannot set
/// one back (contract 57).
#[must_use]
pub fn agent_json(facts: &Facts<'_>) -> Value {
    let address = facts.address.to_string();
    // Go listens on this one for both families, but on 0.0.0.0 for IPv4 alone.
    let all = if facts.address.is_ipv6() { "::" } else { "0.0.0.0" };
    let mut config = json!({
        "name": facts.hostname,
        "data_dir": crate::paths::NOMAD_DATA,
        "bind_addr": all,
        // Literal: Nomad would otherwise guess, with a program (`ip`) that is not here.
        "advertise": { "http": address, "rpc": address, "serf": address },
        "disable_update_check": true,
    });
    if facts.user.server {
        // The default of 30 s is too short for a machine whose disk is being restored or which is emulated.
        let mut server = json!({ "start_timeout": "5m" });
        if let Some(multiplier) = facts.raft_multiplier {
            server["raft_multiplier"] = multiplier.into();
        }
        config["server"] = server;
    }
    if facts.user.client {
        config["client"] = json!({
            "network_interface": facts.interface,
            "options": { "fingerprint.denylist": DENIED },
            // The default would copy Nomad itself, 110 MB, into every exec task.
            "chroot_env": {
                "/etc/ssl": "/etc/ssl",
                "/etc/passwd": "/etc/passwd",
                "/etc/group": "/etc/group",
                "/etc/hosts": "/etc/hosts",
                "/etc/resolv.conf": "/etc/resolv.conf",
                "/usr/share/zoneinfo.zip": "/usr/share/zoneinfo.zip",
            },
        });
        config["plugin"] = json!({ "raw_exec": { "config": { "enabled": true } } });
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(user: &Summary) -> Value {
        agent_json(&Facts {
            hostname: "server-vm-0",
            address: [10, 0, 5, 10].into(),
            interface: "eth0",
            raft_multiplier: Some(5),
            user,
        })
    }

    #[test]
    fn a_server_and_a_client() {
        let server = json(&Summary { server: true, ..Summary::default() });
        insta::assert_snapshot!("agent_json_server", serde_json::to_string_pretty(&server).unwrap());
        let client = json(&Summary { client: true, ..Summary::default() });
        insta::assert_snapshot!("agent_json_client", serde_json::to_string_pretty(&client).unwrap());
    }

    #[test]
    fn nothing_is_set_to_a_value_that_a_user_could_not_set_back() {
        let both = json(&Summary { server: true, client: true, ..Summary::default() });
        assert!(both.get("leave_on_terminate").is_none() && both["server"].get("enabled").is_none());
    }
}
