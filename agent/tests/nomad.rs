//! The agent's configuration, gate and health against a real Nomad (or the stand-in), which `NOMAD` names.
//!
//! Needs root and `ip`, for a network namespace of its own:
//! `NOMAD=/path/to/nomad cargo test -p agent --test nomad -- --ignored`.

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use agent::{
    facts::Role,
    node::{
        nomad::{
            api::Api,
            check::{Summary, check},
            cli::Cli,
            config::{Facts, agent_json},
            gate::{self, Gate},
            health::{self, Health, Proof, Subject},
            owner, secret,
        },
        userdata::Launch,
    },
};
use nix::sched::{CloneFlags, unshare};

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 5, 10));

/// A Nomad that ends with the test.
struct Nomad {
    child: Child,
    user: Summary,
    data: PathBuf,
    log: PathBuf,
}

impl Nomad {
    /// One look, as the node looks.
    fn look(&self) -> Health {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.user.http_port.unwrap_or(4646)));
        let limit = Duration::from_secs(7);
        let api = if self.user.http_tls {
            Api::tls(Cli::new(program(), &address.to_string(), &self.user, limit))
        } else {
            Api::new(&address.to_string(), limit)
        };
        let pid = i32::try_from(self.child.id()).unwrap();
        let listens = || owner::listens(Path::new("/"), pid, address);
        health::look(&Subject {
            api: &api,
            user: &self.user,
            own: &[ADDRESS],
            known: true,
            node: &|| listens().then(|| secret::of_node(&self.data)).flatten(),
            process: &listens,
        })
    }
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
    let report = check(&[("/etc/nomad.d/user.hcl".to_owned(), hcl.into_bytes())], &Launch::default(), role);
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
    Nomad { child, user: report.summary, data: dir.join("data"), log }
}

/// Looks until all is well; gives everything that was awaited on the way.
fn until_well(nomad: &Nomad, limit: Duration) -> (Proof, Vec<String>) {
    let end = Instant::now() + limit;
    let mut awaited = Vec::new();
    loop {
        match nomad.look() {
            Health::Well { proof, .. } => return (proof, awaited),
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

/// A network of the test's own.
fn own_network() {
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
}

const SERVER: &str = "server {\n enabled = true\n bootstrap_expect = 1\n}\n";
const CLIENT: &str = "client {\n enabled = true\n servers = [\"10.0.5.10:4647\"]\n}\n\
    ports {\n http = 5646\n rpc = 5647\n serf = 5648\n}\n";

/// With ACLs the registration is hidden from everybody but the node itself.
#[test]
#[ignore = "needs root, ip and a Nomad that NOMAD names"]
fn with_acls_a_client_is_proven_by_its_own_secret() {
    own_network();
    let dir = tempfile::tempdir().unwrap();
    let acl = "acl {\n enabled = true\n}\n";
    let client = start(dir.path(), "client", Role::Client, &format!("{CLIENT}{acl}"));
    thread::sleep(Duration::from_secs(3));
    assert!(!client.look().is_well(), "there is no server yet");
    let server = start(dir.path(), "server", Role::Server, &format!("{SERVER}{acl}"));
    assert_eq!(until_well(&server, Duration::from_secs(60)).0, Proof::Role);
    let (proof, awaited) = until_well(&client, Duration::from_secs(90));
    assert_eq!(proof, Proof::Role, "{awaited:?}");
}

/// Without the certificate that `verify_https_client` asks for, only the process can be seen.
#[test]
#[ignore = "needs root, ip and a Nomad that NOMAD names"]
fn behind_tls_nomads_own_command_asks() {
    own_network();
    let dir = tempfile::tempdir().unwrap();
    for args in ["tls ca create", "tls cert create -server", "tls cert create -client"] {
        let made = Command::new(program()).args(args.split(' ')).current_dir(dir.path()).output().unwrap();
        assert!(made.status.success(), "{args}: {}", String::from_utf8_lossy(&made.stderr));
    }
    let tls = |role: &str| {
        let file = |name: &str| dir.path().join(name).display().to_string();
        format!(
            "tls {{\n http = true\n rpc = true\n verify_server_hostname = true\n verify_https_client = true\n \
             ca_file = \"{}\"\n cert_file = \"{}\"\n key_file = \"{}\"\n}}\n",
            file("nomad-agent-ca.pem"),
            file(&format!("global-{role}-nomad.pem")),
            file(&format!("global-{role}-nomad-key.pem"))
        )
    };
    let acl = "acl {\n enabled = true\n}\n";
    let mut server = start(dir.path(), "server", Role::Server, &format!("{SERVER}{acl}{}", tls("server")));
    assert_eq!(until_well(&server, Duration::from_secs(60)).0, Proof::Role);
    let client = start(dir.path(), "client", Role::Client, &format!("{CLIENT}{acl}{}", tls("client")));
    assert_eq!(until_well(&client, Duration::from_secs(60)).0, Proof::Role);

    server.user.tls_key = None;
    assert_eq!(until_well(&server, Duration::from_secs(10)).0, Proof::Process);
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    assert!(!server.look().is_well(), "nobody is there");
}

#[test]
#[ignore = "needs root, ip and a Nomad that NOMAD names"]
fn a_server_and_a_client_become_well_with_the_agents_configuration() {
    own_network();
    let dir = tempfile::tempdir().unwrap();
    let servers = ["10.0.5.10:4647".to_owned()];
    assert_eq!(gate::wait(&servers, None, Duration::from_secs(1), |_| {}), Gate::TimedOut, "nobody is there yet");

    let server = start(dir.path(), "server", Role::Server, SERVER);
    let opened = gate::wait(&servers, None, Duration::from_secs(60), |_| {});
    assert!(matches!(opened, Gate::Open(_)), "{opened:?}");
    until_well(&server, Duration::from_secs(10));

    // Behind the gate, the first registration succeeds: without it, it takes 15 s and more.
    let client = start(dir.path(), "client", Role::Client, CLIENT);
    let begin = Instant::now();
    let (_, awaited) = until_well(&client, Duration::from_secs(60));
    assert!(begin.elapsed() < Duration::from_secs(14), "{:?}: {awaited:?}", begin.elapsed());

    // A server that is gone: the client is not well, and starting it anew would not bring the server back.
    drop(server);
    let health = client.look();
    assert!(matches!(health, Health::Awaits { restart_helps: false, .. }), "{health:?}");
}
