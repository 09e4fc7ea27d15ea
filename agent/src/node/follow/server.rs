//! Whether a server may restart: the cluster has to do without it.

use serde_json::Value;

use super::nomad::{Local, refusal};

const NEEDED: &str = "`operator { policy = \"read\" }`";

/// Whether the cluster tolerates the loss of a server now; else says what is awaited.
pub(super) fn tolerates(nomad: &Local) -> Result<(), String> {
    let answer = nomad.ask(None, "/v1/operator/autopilot/health", None)?;
    match answer.status {
        // 429: not all servers are healthy.
        200 | 429 => judge(&serde_json::from_str(&answer.body).unwrap_or_default()),
        _ => Err(refusal(&answer, "read the servers' health", NEEDED)),
    }
}

fn judge(health: &Value) -> Result<(), String> {
    let servers = health["Servers"].as_array().map_or(&[][..], Vec::as_slice);
    if servers.len() == 1 {
        return Err("a cluster of one server never restarts by itself: `reboot` on the console does it".into());
    }
    if health["Healthy"] != true {
        let ill = servers.iter().filter(|server| server["Healthy"] != true);
        let names: Vec<&str> = ill.filter_map(|server| server["Name"].as_str()).collect();
        return Err(format!("all servers to be healthy ({})", names.join(", ")));
    }
    if health["FailureTolerance"].as_u64().is_none_or(|tolerance| tolerance < 1) {
        return Err("more servers: the cluster cannot do without any now".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_server_restarts_only_while_the_cluster_can_do_without_it() {
        let server = |name: &str, healthy: bool| json!({ "Name": name, "Healthy": healthy });
        let health = |healthy: bool, tolerance: u64, servers: &[Value]| {
            judge(&json!({ "Healthy": healthy, "FailureTolerance": tolerance, "Servers": servers }))
        };
        let three = [server("a.global", true), server("b.global", true), server("c.global", true)];
        assert_eq!(health(true, 1, &three), Ok(()));
        assert!(health(true, 0, &three).unwrap_err().contains("more servers"));
        let ill = [server("a.global", true), server("b.global", false), server("c.global", true)];
        assert!(health(false, 0, &ill).unwrap_err().contains("healthy (b.global)"));
        assert!(health(true, 0, &three[..1]).unwrap_err().contains("a cluster of one server"));
        assert!(judge(&Value::Null).is_err());
    }
}
