//! Agents as processes: how they start or refuse to, what they write, their files and ports.

use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tests::contract::{Agent, Setup, Site};
use tests::wait::until;

/// What takes 0.3 s at most, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A server that need not lead, or a client that need not register: for facts about the process.
fn alone(site: &Site, role: &str) -> Setup {
    if role == "server" { site.server("a1", 3) } else { site.client("a1", &[site.address()]) }
}

#[test]
fn c068_banner_and_log_go_to_standard_output_and_warnings_to_standard_error() {
    let site = Site::new();
    let setup = site.server("s1", 1);
    let base = setup.config();
    let agent = setup.start();
    let out = agent.stdout();
    assert!(out.starts_with(&format!("==> Loaded configuration from {}/10-base.json", base.display())), "{out}");
    let banner = out.find("==> Nomad agent configuration:").expect("banner");
    let log = out.find("==> Nomad agent started! Log data will stream in below:").expect("log");
    assert!(banner < log && out[log..].contains(" [INFO] "), "{out}");
    let err = agent.stderr();
    assert!(err.contains("==> WARNING: Bootstrap mode enabled! Potentially unsafe operation."), "{err}");
    assert!(err.lines().all(|line| line.starts_with("==> WARNING: ")), "{err}");
}

#[test]
fn c069_the_banner_of_each_role() {
    let site = Site::new();
    let agent = alone(&site, "server").start();
    let (ip, out) = (agent.ip, agent.stdout());
    let id = std::fs::read_to_string(agent.data("server/node-id")).expect("node-id");
    for line in [
        format!("Advertise Addrs: HTTP: {ip}:4646; RPC: {ip}:4647; Serf: {ip}:4648"),
        format!("Bind Addrs: HTTP: [{ip}:4646]; RPC: {ip}:4647; Serf: {ip}:4648"),
        "Client: false".into(),
        "Log Level: INFO".into(),
        format!("Node Id: {id}"),
        "Region: global (DC: dc1)".into(),
        "Server: true".into(),
    ] {
        assert!(out.lines().any(|l| l.trim() == line), "{line}\n{out}");
    }
    drop(agent);
    let agent = alone(&Site::new(), "client").start();
    let (ip, out) = (agent.ip, agent.stdout());
    for line in [format!("Advertise Addrs: HTTP: {ip}:4646"), "Client: true".into(), "Server: false".into()] {
        assert!(out.lines().any(|l| l.trim() == line), "{line}\n{out}");
    }
    assert!(!out.contains("Node Id:"), "{out}");
}

#[test]
fn c073_a_start_join_to_nobody_is_fatal() {
    let site = Site::new();
    let nobody = site.address();
    let ran = alone(&site, "server")
        .hcl(&format!("server {{\n server_join {{\n start_join = [\"{nobody}\"]\n }}\n}}"))
        .refused();
    let why = format!("failed to join {nobody}:4648: dial tcp {nobody}:4648: connect: connection refused");
    assert!(ran.code == 1 && ran.stderr.contains(&why) && ran.took < AT_ONCE, "{ran:#?}");
}

#[test]
fn c073_two_ways_to_join_are_one_too_many() {
    let more = "server {\n retry_join = [\"127.0.0.1\"]\n server_join {\n retry_join = [\"127.0.0.1\"]\n }\n}";
    let ran = alone(&Site::new(), "server").hcl(more).refused();
    assert!(ran.code == 1 && ran.stderr.contains("server_join and retry_join cannot both be defined"), "{ran:#?}");
}

#[test]
fn c072_a_bounded_retry_ends_the_agent() {
    let site = Site::new();
    let join = format!(
        "server {{\n server_join {{\n retry_join = [\"{}\"]\n retry_max = 2\n retry_interval = \"1s\"\n }}\n}}",
        site.address()
    );
    let ran = alone(&site, "server").hcl(&join).refused();
    let log = ran.stdout + &ran.stderr;
    assert!(ran.code == 1 && log.contains("max join retry exhausted, exiting"), "{log}");
    assert!(ran.took > Duration::from_secs(1) && ran.took < Duration::from_secs(15), "{:?}", ran.took);
}

#[test]
fn c091_a_second_server_on_the_same_data_directory() {
    let site = Site::new();
    let first = alone(&site, "server").start();
    // The same addresses: refused. (Its configuration is the first one's.)
    let config = site.dir().join("a1.d").display().to_string();
    let ran = site.run(["agent", "-config", &config]);
    assert!(ran.code == 1 && ran.stderr.contains("bind: address already in use"), "{ran:#?}");
    // Other addresses: it waits, without a port, as long as the first one lives.
    let other = site.address();
    let base = std::fs::read_to_string(first.data("../a1.d/10-base.json")).unwrap();
    let moved = site.write("moved.json", base.replace(&first.ip.to_string(), &other.to_string()));
    let args = vec!["agent".into(), "-config".into(), moved.display().to_string()];
    let mut second = Agent::launch(&site, "second", other, args, Vec::new());
    until("its first words", AT_ONCE, || {
        if second.stdout().contains("Starting Nomad agent") { Ok(()) } else { Err(second.stderr()) }
    })
    .unwrap();
    assert!(second.api.get("/v1/agent/self").is_err() && second.is_running());
    drop(first);
    second.answers();
}

#[test]
fn c092_a_second_client_on_the_same_data_directory_gives_up() {
    let site = Site::new();
    let _first = alone(&site, "client").start();
    let config = site.dir().join("a1.d").display().to_string();
    let ran = site.run(["agent", "-config", &config]);
    assert!(ran.code == 1 && ran.stderr.contains("timed out while opening database"), "{ran:#?}");
    assert!(ran.took > Duration::from_secs(3) && ran.took < Duration::from_secs(20), "{ran:#?}");
}

#[test]
fn c093_a_port_that_is_taken_is_fatal() {
    for port in [4646, 4647, 4648] {
        let site = Site::new();
        let setup = alone(&site, "server");
        let _taken = TcpListener::bind((setup.ip, port)).unwrap();
        let ran = setup.refused();
        assert!(ran.code == 1 && ran.took < AT_ONCE, "{port}: {ran:#?}");
        assert!(ran.stderr.contains("address already in use"), "{port}: {ran:#?}");
    }
    let setup = alone(&Site::new(), "server");
    let _taken = UdpSocket::bind((setup.ip, 4648)).unwrap();
    assert_eq!(setup.refused().code, 1);
    let setup = alone(&Site::new(), "client");
    let _taken = TcpListener::bind((setup.ip, 4646)).unwrap();
    assert_eq!(setup.refused().code, 1);
}

#[test]
fn c094_a_client_needs_df_and_a_server_needs_nothing() {
    let ran = alone(&Site::new(), "client").env("PATH", "/nonexistent").refused();
    assert!(ran.code == 1 && ran.stderr.contains("failed to determine mount point"), "{ran:#?}");
    let mut server = alone(&Site::new(), "server").env("PATH", "/nonexistent").start();
    assert!(server.is_running());
    let without = "client {\n options {\n \"fingerprint.denylist\" = \"storage,env_aws,env_gce,env_azure,env_digitalocean\"\n }\n}";
    let mut client = alone(&Site::new(), "client").hcl(without).env("PATH", "/nonexistent").start();
    assert!(client.is_running());
}

#[test]
fn c096_a_server_that_lost_its_id_but_kept_its_raft_state_does_not_elect() {
    let mut server = Site::new().server("s1", 1).start();
    server.takes_clients(Duration::from_secs(60));
    server.crash();
    std::fs::remove_file(server.data("server/node-id")).unwrap();
    server.restart();
    until("the refusal to elect", Duration::from_secs(30), || {
        let log = server.stdout();
        if log.contains("not part of a stable configuration") { Ok(()) } else { Err(log) }
    })
    .unwrap();
    assert!(server.api.leader().is_err());
}

#[test]
fn c098_a_server_that_crashed_is_the_same_one_afterwards() {
    let site = Site::new();
    let mut server = site.server("s1", 1).start();
    server.takes_clients(Duration::from_secs(60));
    let id = std::fs::read(server.data("server/node-id")).unwrap();
    let job = tests::contract::jobs::service("kept", 1, "exec sleep 1000");
    server.api.register(&job).unwrap();
    server.crash();
    server.restart();
    assert_eq!(server.leader(Duration::from_secs(30)), format!("{}:4647", server.ip));
    assert_eq!(std::fs::read(server.data("server/node-id")).unwrap(), id);
    assert_eq!(server.api.get("/v1/job/kept").unwrap()["ID"], "kept");
}

#[test]
fn c099_modes_of_the_files() {
    let mode = |agent: &Agent, path: &str| std::fs::metadata(agent.data(path)).unwrap().permissions().mode() & 0o777;
    let server = alone(&Site::new(), "server").start();
    assert_eq!((mode(&server, "."), mode(&server, "server/node-id")), (0o755, 0o600));
    assert_eq!(std::fs::metadata(server.data("server/node-id")).unwrap().len(), 36);
    let client = alone(&Site::new(), "client").start();
    assert_eq!((mode(&client, "."), mode(&client, "client"), mode(&client, "alloc")), (0o700, 0o700, 0o711));
    assert_eq!(mode(&client, "client/secret-id"), 0o600);
}

#[test]
fn c100_ports_of_each_role() {
    let free = |agent: &Agent, port: u16| TcpListener::bind((agent.ip, port)).is_ok();
    let server = alone(&Site::new(), "server").start();
    assert!([4646, 4647, 4648].iter().all(|&port| !free(&server, port)));
    assert!(UdpSocket::bind((server.ip, 4648)).is_err());
    let client = alone(&Site::new(), "client").start();
    assert!(!free(&client, 4646) && free(&client, 4647) && free(&client, 4648));
    assert!(UdpSocket::bind((client.ip, 4648)).is_ok());
}

#[test]
fn c102_a_server_runs_as_a_user_who_owns_its_data_directory() {
    // Without root, every other test has shown it already.
    let nobody = if rustix::process::getuid().is_root() { 65534 } else { rustix::process::getuid().as_raw() };
    let mut server = Site::new().server("s1", 1).user(nobody).start();
    server.takes_clients(Duration::from_secs(60));
    server.crash();
    server.restart();
    server.leader(Duration::from_secs(30));
}
