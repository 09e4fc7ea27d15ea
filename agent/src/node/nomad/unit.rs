//! How init is asked to run Nomad.

use std::{fs, path::Path, time::Duration};

use nix::sys::signal::Signal;

use crate::{
    node::{
        files::Owner,
        userdata::{Launch, environment},
    },
    paths,
    unit::UnitSpec,
};

/// A stop takes 0.3 s with the defaults; with `leave_on_interrupt` a server needs a few seconds and a client that
/// drains has a deadline of its own, which this leaves some room.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// What Nomad's own unit files ask for; tasks inherit it.
const OPEN_FILES: u64 = 65536;

/// The unit. Servers run as the owner of their data, clients as root.
///
/// It is stopped by `SIGINT`: with the defaults that ends the agent at once, the node stays registered and its tasks
/// run on (contract 78, 85, 90); a user who wants it to leave says `leave_on_interrupt`. `launch` is what the user's
/// own unit file said; of a variable that is set twice the last one counts.
#[must_use]
pub fn unit(root: &Path, client: bool, owner: Owner, launch: &Launch) -> UnitSpec {
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
    for file in &launch.environment_files {
        if let Ok(text) = fs::read_to_string(root.join(file.trim_start_matches('/'))) {
            env.extend(environment(&text));
        }
    }
    env.extend(launch.environment.iter().cloned());
    let mut argv = [paths::NOMAD, "agent", "-config", paths::NOMAD_AGENT_CONFIG].map(str::to_owned).to_vec();
    for path in &launch.config {
        argv.extend(["-config".to_owned(), path.clone()]);
    }
    argv.extend(launch.arguments.iter().cloned());
    UnitSpec {
        name: "nomad".into(),
        argv,
        env,
        uid: owner.uid,
        gid: owner.gid,
        notifies: true,
        once: false,
        stop_signal: Signal::SIGINT as i32,
        stop_timeout: STOP_TIMEOUT,
        // A server without its agent is a lost vote; on a client the tasks go first.
        oom_score_adj: if client { -900 } else { -1000 },
        nofile: Some(OPEN_FILES),
        confined: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_clean_and_the_order_lets_the_user_win() {
        let root = tempfile::tempdir().unwrap();
        let spec = unit(root.path(), false, Owner { uid: 990, gid: 990 }, &Launch::default());
        assert!(spec.env.iter().all(|(key, _)| !key.starts_with("NOMAD") && key != "SSL_CERT_FILE"));
        let at = |what: &str| spec.argv.iter().position(|a| a == what).unwrap();
        assert!(at(paths::NOMAD_AGENT_CONFIG) < at(paths::NOMAD_CONFIG_DIR));
        assert_eq!((spec.uid, spec.stop_signal), (990, 2));
    }

    #[test]
    fn the_users_unit_adds_paths_arguments_and_environment() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/nomad.d")).unwrap();
        fs::write(root.path().join("etc/nomad.d/nomad.env"), "NOMAD_X=1\nGODEBUG=y\n").unwrap();
        let launch = Launch {
            config: vec!["/opt/a".into(), "/opt/b.hcl".into()],
            arguments: vec!["-server".into()],
            environment: vec![("NOMAD_X".into(), "2".into())],
            ..Launch::default()
        };
        let spec = unit(root.path(), false, Owner { uid: 0, gid: 0 }, &launch);
        assert_eq!(spec.argv[4..], ["-config", "/opt/a", "-config", "/opt/b.hcl", "-server"]);
        let values: Vec<&str> = spec.env.iter().filter(|(n, _)| n == "NOMAD_X").map(|(_, v)| v.as_str()).collect();
        assert_eq!(values, ["1", "2"]);
    }
}
