//! The agent's configuration, gate, health and channel against a real Nomad (or the stand-in), which `NOMAD` names.
//!
//! Needs root and `ip`, for a network namespace of its own:
//! `NOMAD=/path/to/nomad cargo test -p agent --test nomad -- --ignored`.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::unix::{fs::symlink, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use agent::{
    facts::Role,
    node::{
        follow::{Board, Follower, Local, Own},
        nomad::{
            api::{Api, Secret},
            check::{Summary, check},
            cli::Cli,
            config::{Facts, agent_json},
            gate::{self, Gate},
            health::{self, Health, Proof, Subject},
            owner, secret,
        },
        userdata::{Follow, Launch},
    },
    paths,
    slots::Slot,
    update::{
        channel::Channel,
        record::{Outcome, Record},
        turn::Turn,
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
            node: &|| listens().then(|| secret::of_node(&self.data.join("client"))).flatten(),
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

/// A server and a client that are well, with ACLs, and with TLS of which nothing is left out.
fn behind_tls(dir: &Path) -> (Nomad, Nomad) {
    for args in ["tls ca create", "tls cert create -server", "tls cert create -client"] {
        let made = Command::new(program()).args(args.split(' ')).current_dir(dir).output().unwrap();
        assert!(made.status.success(), "{args}: {}", String::from_utf8_lossy(&made.stderr));
    }
    let tls = |role: &str| {
        let file = |name: &str| dir.join(name).display().to_string();
        format!(
            "tls {{\n http = true\n rpc = true\n verify_server_hostname = true\n verify_https_client = true\n \
             ca_file = \"{}\"\n cert_file = \"{}\"\n key_file = \"{}\"\n}}\n",
            file("nomad-agent-ca.pem"),
            file(&format!("global-{role}-nomad.pem")),
            file(&format!("global-{role}-nomad-key.pem"))
        )
    };
    let acl = "acl {\n enabled = true\n}\n";
    let server = start(dir, "server", Role::Server, &format!("{SERVER}{acl}{}", tls("server")));
    assert_eq!(until_well(&server, Duration::from_secs(60)).0, Proof::Role);
    let client = start(dir, "client", Role::Client, &format!("{CLIENT}{acl}{}", tls("client")));
    assert_eq!(until_well(&client, Duration::from_secs(60)).0, Proof::Role);
    (server, client)
}

/// Without the certificate that `verify_https_client` asks for, only the process can be seen.
#[test]
#[ignore = "needs root, ip and a Nomad that NOMAD names"]
fn behind_tls_nomads_own_command_asks() {
    own_network();
    let dir = tempfile::tempdir().unwrap();
    let (mut server, _client) = behind_tls(dir.path());
    server.user.tls_key = None;
    assert_eq!(until_well(&server, Duration::from_secs(10)).0, Proof::Process);
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    assert!(!server.look().is_well(), "nobody is there");
}

/// A channel that names 2.0, on a web server; gives its address and the key.
fn channel() -> (String, String) {
    let offer = Channel {
        role: Role::Client,
        profile: "cloud".into(),
        architecture: "x86_64".into(),
        version: "2.0".parse().unwrap(),
        file: "x.update".into(),
        size: 5000,
        sha256: [1; 32],
    };
    let text = offer.to_json();
    let signer = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let signature = minisign::sign(None, &signer.sk, text.as_bytes(), None, None).unwrap().into_string();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/client.json", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut request) = (stream.unwrap(), [0; 4096]);
            let length = stream.read(&mut request).unwrap_or(0);
            let asked = String::from_utf8_lossy(&request[..length]).into_owned();
            let body = if asked.contains(".minisig") { &signature } else { &text };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    (url, signer.pk.to_box().unwrap().to_string())
}

/// What init and the update leave on a machine, below a directory.
struct Machine {
    root: tempfile::TempDir,
    init: UnixDatagram,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let below = |path: &str| root.path().join(path.trim_start_matches('/'));
        for path in [paths::STATE_DIR, paths::RUN_DIR, "/usr/bin"] {
            fs::create_dir_all(below(path)).unwrap();
        }
        symlink(program(), below(paths::NOMAD)).unwrap();
        let init = UnixDatagram::bind(below(paths::NOTIFY_SOCKET)).unwrap();
        init.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { root, init }
    }

    fn state(&self) -> PathBuf {
        self.root.path().join(paths::STATE_DIR.trim_start_matches('/'))
    }

    fn record(&self, outcome: Outcome, why: &str) {
        let tries = u32::from(outcome == Outcome::Failed);
        let record = Record { outcome, tries, why: why.into(), ..Record::new("2.0".parse().unwrap(), Slot::B) };
        record.write(&self.state()).unwrap();
    }

    /// Follows from now on, as after a start of the machine.
    fn follow(&self, nomad: &Nomad, token: &str, (url, key): &(String, String)) -> Arc<Board> {
        let follow = Follow {
            channel: url.clone(),
            every: Duration::from_secs(1),
            token: Some(Secret::new(token.to_owned())),
            at_once: 1,
            drain: Duration::from_secs(60),
        };
        let shared = Arc::default();
        let local = Local {
            root: self.root.path().to_owned(),
            user: nomad.user.clone(),
            client: nomad.data.join("client"),
            token: follow.token.clone(),
            guarded: false,
            shared: Arc::clone(&shared),
        };
        let own = Own {
            role: Role::Client,
            profile: "cloud".into(),
            architecture: "x86_64".into(),
            version: "1.0".parse().unwrap(),
            key: key.clone(),
        };
        let board = Arc::<Board>::default();
        let follower = Follower::new(Some(follow), own, local, "client".into(), Arc::clone(&board), shared);
        thread::spawn(move || follower.run());
        board
    }
}

fn until_said(board: &Board, text: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    while !board.text().is_some_and(|said| said.contains(text)) {
        assert!(Instant::now() < end, "no {text:?}, but {:?}", board.text());
        thread::sleep(Duration::from_millis(50));
    }
}

/// The same as without TLS, with a token that may not do more than the README says: a turn, a drain, a word.
#[test]
#[ignore = "needs root, ip and a Nomad that NOMAD names"]
fn behind_tls_and_acls_a_client_follows_a_channel() {
    const OPERATOR: &str = "5e7e0000-aaaa-4000-8000-000000000001";
    const TOKEN: &str = "5e7e0000-aaaa-4000-8000-000000000003";
    own_network();
    let dir = tempfile::tempdir().unwrap();
    let (server, mut client) = behind_tls(dir.path());
    let channel = channel();
    let machine = Machine::new();
    machine.record(Outcome::Installed, "");

    // Without its certificate, and with a token that nobody made yet.
    let key = client.user.tls_key.take();
    let board = machine.follow(&client, TOKEN, &channel);
    until_said(&board, "waiting for Nomad's HTTP interface to take its own certificate");
    client.user.tls_key = key;
    let machine = Machine::new();
    machine.record(Outcome::Installed, "");
    let board = machine.follow(&client, TOKEN, &channel);
    until_said(&board, "waiting for permission to take turns: steppe.update.token needs a policy with");

    let limit = Duration::from_secs(10);
    let api = Api::tls(Cli::new(program(), "127.0.0.1:4646", &server.user, limit));
    let put = |path: &str, body: &str| {
        let answer = api.request(Some(body), path, Some(&Secret::new(OPERATOR.into()))).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    };
    put("/v1/acl/bootstrap", &format!(r#"{{"BootstrapSecret": "{OPERATOR}"}}"#));
    let rules =
        r#"namespace \"default\" { variables { path \"steppe/update/*\" { capabilities = [\"read\", \"write\"] } } }"#;
    put("/v1/acl/policy/nodes", &format!(r#"{{"Name": "nodes", "Rules": "{rules}"}}"#));
    let accessor = "5e7e0000-aaaa-4000-8000-000000000002";
    let ids = format!(r#""AccessorID": "{accessor}", "SecretID": "{TOKEN}""#);
    put("/v1/acl/token", &format!(r#"{{{ids}, "Type": "client", "Policies": ["nodes"]}}"#));

    until_said(&board, "2.0 is installed and has its turn: restarting");
    let mut message = [0; 4096];
    let length = machine.init.recv(&mut message).unwrap();
    assert_eq!(String::from_utf8_lossy(&message[..length]), "X_STEPPE_POWER=reboot");
    assert_eq!(Turn::read(&machine.state()).unwrap().eligible, Some(true));

    machine.record(Outcome::Failed, "no leader");
    let board = machine.follow(&client, TOKEN, &channel);
    until_said(&board, "2.0 is not tried again: it failed here");
    assert_eq!(Turn::read(&machine.state()), None);
    let ask = |path: &str| api.get_with(path, &Secret::new(OPERATOR.into())).unwrap();
    let word = ask("/v1/var/steppe/update/client").json().unwrap()["Items"]["2.0"].to_string();
    assert!(word.contains("failed after 1 try: no leader"), "{word}");
    assert!(ask("/v1/var/steppe/update/client-0").json().unwrap()["Lock"].is_null());
    assert!(ask("/v1/nodes").body.contains(r#""SchedulingEligibility":"eligible""#));

    // Another node does not even read it.
    let other = Machine::new();
    let board = other.follow(&client, TOKEN, &channel);
    until_said(&board, "2.0 is held back: it failed on client at 20");
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
