//! The agent's configuration, gate and health against a real Nomad (or the stand-in), which `NOMAD` names.
//!
//! Needs root and `ip`, for a network namespace of its own:
//! `NOMAD=/path/to/nomad cargo test -p agent --test nomad -- --ignored`.

use std::{
    env, fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use agent::{
    facts::Role,
    node::nomad::{
        api::Api,
        check::{Summary, check},
        config::{Facts, agent_json},
        gate::{self, Gate},
        health::{self, Health},
    },
};
use nix::sched::{CloneFlags, unshare};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 5, 10);

/// A Nomad that ends with the test.
struct Nomad {
    child: Child,
    user: Summary,
    log: PathBuf,
}

impl Drop for Nomad {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

fn program() -> PathBuf {
    env::var_os("NOMAD").expect("NOMAD names the program").into()
}

/// Writes both files as a node has them, lets Nomad judge them, and starts it.
fn start(dir: &Path, name: &str, role: Role, hcl: &str) -> Nomad {
    let dir = dir.join(name);
    fs::create_dir_all(dir.join("nomad.d")).unwrap();
    let hcl = format!("{hcl}\ndata_dir = \"{}\"\n", dir.join("data").display());
    fs::write(dir.join("nomad.d/user.hcl"), &hcl).unwrap();
    let report = check(&[("/etc/nomad.d/user.hcl".to_owned(), hcl.into_bytes())], role);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let json = agent_json(&Facts {
        hostname: name,
        address: ADDRESS,
        interface: "wire",
        raft_multiplier: Some(5),
        user: &report.summary,
    });
    let own = dir.join("agent.json");
    fs::write(&own, serde_json::to_vec_pretty(&json).unwrap()).unwrap();
    let validate =
        Command::new(program()).args(["config", "validate"]).arg(&own).arg(dir.join("nomad.d")).output().unwrap();
    assert!(validate.status.success(), "{}", String::from_utf8_lossy(&validate.stderr));
    let log = dir.join("log");
    let out = fs::File::create(&log).unwrap();
    let child = Command::new(program())
        .args(["agent", "-config"])
        .arg(&own)
        .arg("-config")
        .arg(dir.join("nomad.d"))
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .spawn()
        .unwrap();
    Nomad { child, user: report.summary, log }
}

/// Looks until all is well; gives everything that was awaited on the way.
fn until_well(nomad: &Nomad, limit: Duration) -> Vec<String> {
    let port = nomad.user.http_port.unwrap_or(4646);
    let api = Api::new(&format!("127.0.0.1:{port}"), Duration::from_secs(7));
    let end = Instant::now() + limit;
    let mut awaited = Vec::new();
    loop {
        match health::look(&api, &nomad.user, &[ADDRESS], true) {
            Health::Well { .. } => return awaited,
            Health::Awaits { what, .. } => {
                if awaited.last() != Some(&what) {
                    awaited.push(what);
                }
            }
        }
        assert!(Instant::now() < end, "not well in time: {awaited:?}");
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
#[ignore = "needs root, ip and a Nomad that NOMAD names"]
fn a_server_and_a_client_become_well_with_the_agents_configuration() {
    unshare(CloneFlags::CLONE_NEWNET).expect("root");
    for args in [
        "link set lo up",
        "link add wire type veth peer name other",
        "addr add 10.0.5.10/24 dev wire",
        "link set wire up",
        "link set other up",
    ] {
        assert!(Command::new("ip").args(args.split(' ')).status().unwrap().success(), "ip {args}");
    }
    let dir = tempfile::tempdir().unwrap();
    let servers = ["10.0.5.10:4647".to_owned()];
    assert_eq!(gate::wait(&servers, None, Duration::from_secs(1), |_| {}), Gate::TimedOut, "nobody is there yet");

    let server = start(dir.path(), "server", Role::Server, "server {\n enabled = true\n bootstrap_expect = 1\n}\n");
    let opened = gate::wait(&servers, None, Duration::from_secs(60), |_| {});
    assert!(matches!(opened, Gate::Open(_)), "{opened:?}");
    until_well(&server, Duration::from_secs(10));

    // Behind the gate, the first registration succeeds: without it, it takes 15 s and more.
    let client = start(
        dir.path(),
        "client",
        Role::Client,
        "client {\n enabled = true\n servers = [\"10.0.5.10:4647\"]\n}\nports {\n http = 5646\n rpc = 5647\n serf = 5648\n}\n",
    );
    let begin = Instant::now();
    let awaited = until_well(&client, Duration::from_secs(60));
    assert!(begin.elapsed() < Duration::from_secs(14), "{:?}: {awaited:?}", begin.elapsed());

    // A server that is gone: the client is not well, and starting it anew would not bring the server back.
    drop(server);
    let api = Api::new("127.0.0.1:5646", Duration::from_secs(2));
    let health = health::look(&api, &client.user, &[ADDRESS], true);
    assert!(matches!(health, Health::Awaits { restart_helps: false, .. }), "{health:?}");
}
