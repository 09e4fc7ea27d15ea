//! How init is asked to run Nomad.

use std::{path::Path, time::Duration};

use nix::sys::signal::Signal;

use crate::{node::files::Owner, paths, unit::UnitSpec};

/// A stop takes 0.3 s with the defaults; with `leave_on_interrupt` a server needs a few seconds and a client that
/// drains has a deadline of its own, which this leaves some room.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// What Nomad's own unit files ask for; tasks inherit it.
const OPEN_FILES: u64 = 65536;

/// The unit. Servers run as the owner of their data, clients as root.
///
/// It is stopped by `SIGINT`: with the defaults that ends the agent at once, the node stays registered and its tasks
/// run on (contract 78, 85, 90); a user who wants it to leave says `leave_on_interrupt`.
#[must_use]
pub fn unit(root: &Path, client: bool, owner: Owner) -> UnitSpec {
    let mut env: Vec<(String, String)> = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/root"),
        ("TMPDIR", "/tmp"),
        ("ZONEINFO", "/usr/share/zoneinfo.zip"),
        // Names by Go's own resolver: the C library's would look for files that are not here.
        ("GODEBUG", "netdns=go"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .to_vec();
    let certificates = "etc/ssl/certs/ca-certificates.crt";
    if root.join(certificates).exists() {
        env.push(("SSL_CERT_FILE".into(), format!("/{certificates}")));
    }
    let argv = [paths::NOMAD, "agent", "-config", paths::NOMAD_AGENT_CONFIG, "-config", paths::NOMAD_CONFIG_DIR];
    UnitSpec {
        name: "nomad".into(),
        argv: argv.map(str::to_owned).to_vec(),
        env,
        uid: owner.uid,
        gid: owner.gid,
        notifies: true,
        stop_signal: Signal::SIGINT as i32,
        stop_timeout: STOP_TIMEOUT,
        // A server without its agent is a lost vote; on a client the tasks go first.
        oom_score_adj: if client { -900 } else { -1000 },
        nofile: Some(OPEN_FILES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_clean_and_the_order_lets_the_user_win() {
        let root = tempfile::tempdir().unwrap();
        let spec = unit(root.path(), false, Owner { uid: 990, gid: 990 });
        assert!(spec.env.iter().all(|(key, _)| !key.starts_with("NOMAD") && key != "SSL_CERT_FILE"));
        let at = |what: &str| spec.argv.iter().position(|a| a == what).unwrap();
        assert!(at(paths::NOMAD_AGENT_CONFIG) < at(paths::NOMAD_CONFIG_DIR));
        assert_eq!((spec.uid, spec.stop_signal), (990, 2));
    }
}
