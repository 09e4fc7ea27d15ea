//! The whole sequence below a temporary root, with a seed by HTTP, a lease that is given by hand, and a Nomad that is
//! a few answers.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use super::{Patience, Steward};
use crate::{
    cmdline::Cmdline,
    facts::{ImageFacts, NomadFacts, NomadSource, Role},
    node::{
        clock,
        datasource::{Dmi, Platform},
        net::{Address, Shared, dhcp::Lease},
        options::Options,
        report::Report,
        testing::{Server, serve},
    },
    notify::{self, Message},
    paths,
    status::{InitStatus, NodeStatus, UnitState, UnitStatus},
    unit::UnitSpec,
};

const LIMIT: Duration = Duration::from_secs(120);

fn facts(role: Role) -> ImageFacts {
    ImageFacts {
        format: ImageFacts::FORMAT,
        name: role.to_string(),
        version: "0".into(),
        image_version: None,
        role,
        architecture: "x86_64".into(),
        kernel: "6".into(),
        nomad: NomadFacts { version: "2.0.5".into(), source: NomadSource::Path, sha256: String::new() },
        consoles: vec![],
        platform: None,
        epoch: 0,
    }
}

fn lease() -> Lease {
    Lease {
        address: Ipv4Addr::new(10, 0, 5, 10),
        prefix: 24,
        server: Ipv4Addr::new(10, 0, 5, 1),
        routes: vec![],
        dns: vec![],
        domain: None,
        hostname: Some("from-dhcp".into()),
        ntp: vec![],
        mtu: None,
        wire_server: None,
        duration: None,
        renew: Duration::ZERO,
        rebind: Duration::ZERO,
    }
}

fn address(interface: &str, address: Ipv4Addr, metric: Option<u32>) -> Address {
    Address { interface: interface.into(), address: address.into(), prefix: 24, gateway: None, metric }
}

/// A machine: its root, its init's socket, and its network.
struct Machine {
    root: tempfile::TempDir,
    init: UnixDatagram,
    shared: Arc<Shared>,
    patience: Patience,
}

impl Machine {
    fn new() -> Self {
        // In memory: the node flushes the file system that its state is on, and a disk may have others' work to write.
        let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        for dir in ["etc/nomad.d", "run/steppe", "var/lib", "state", "proc"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        fs::write(root.path().join("etc/hosts"), "127.0.0.1 localhost\n").unwrap();
        let init = UnixDatagram::bind(below(root.path(), paths::NOTIFY_SOCKET)).unwrap();
        init.set_read_timeout(Some(LIMIT)).unwrap();
        let shared = Arc::<Shared>::default();
        shared.update(|view| view.first_mac = Some([0x52, 0x54, 0, 1, 2, 3]));
        Self { root, init, shared, patience: Patience::default() }
    }

    /// Starts the sequence; its thread ends with the test's process.
    fn boot(&self, role: Role, cmdline: &str) {
        let root = self.root.path().to_owned();
        let line = Cmdline::parse(cmdline);
        let steward = Steward {
            report: Report::new(&root, NodeStatus::default()),
            platform: Platform { dmi: Dmi::read(&root), cmdline: line.clone(), ..Platform::default() },
            root,
            facts: facts(role),
            options: Options::parse(&line).0,
            shared: Arc::clone(&self.shared),
            announcer: super::Announcer::default(),
            patience: self.patience,
        };
        thread::spawn(move || steward.run());
    }

    fn give_lease(&self) {
        self.shared.update(|view| {
            view.leases = vec![("eth0".into(), lease())];
            view.addresses = vec![address("eth0", lease().address, None)];
            view.changes += 1;
        });
    }

    /// Messages up to one that fits, without the free texts.
    fn messages_until(&self, last: &Message) -> Vec<Message> {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        while all.last() != Some(last) {
            let length = self.init.recv(&mut buffer).unwrap_or_else(|e| panic!("{last:?} did not come ({e}): {all:?}"));
            for message in notify::parse(&buffer[..length]).into_iter().filter(|m| !matches!(m, Message::Status(_))) {
                all.push(message);
                if all.last() == Some(last) {
                    break;
                }
            }
        }
        all
    }

    /// The empty status as long as the node has not written one.
    fn status(&self) -> NodeStatus {
        let text = fs::read_to_string(below(self.root.path(), paths::NODE_STATUS));
        text.map_or_else(|_| NodeStatus::default(), |text| serde_json::from_str(&text).unwrap())
    }

    fn until(&self, mut done: impl FnMut(&NodeStatus) -> bool) -> NodeStatus {
        let end = clock::now() + LIMIT;
        loop {
            let status = self.status();
            if done(&status) {
                return status;
            }
            assert!(clock::now() < end, "{status:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(below(self.root.path(), path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }
}

fn below(root: &Path, path: &str) -> std::path::PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// A seed whose user-data can change.
fn seed(user_data: &str) -> (Server, Arc<Mutex<String>>) {
    let shared = Arc::new(Mutex::new(user_data.to_owned()));
    let inner = Arc::clone(&shared);
    let server = serve(move |path| match path {
        "/user-data" => (200, inner.lock().unwrap().clone()),
        "/meta-data" => (200, "instance-id: i-1\nlocal-hostname: meta\n".into()),
        _ => (404, String::new()),
    });
    (server, shared)
}

fn healthy_server() -> Server {
    serve(|path| match path {
        "/v1/status/leader" => (200, "\"10.0.5.10:4647\"".into()),
        "/v1/status/peers" => (200, "[\"10.0.5.10:4647\"]".into()),
        _ => (404, String::new()),
    })
}

fn user_data(port: u16) -> String {
    format!(
        "#cloud-config\nhostname: server-vm-0\nwrite_files:\n- path: /etc/nomad.d/server.hcl\n  content: |\n    server {{\n      \
         enabled = true\n      bootstrap_expect = 1\n    }}\n    ports {{ http = {port} }}\n"
    )
}

fn start() -> Message {
    Message::Start("nomad".into())
}

#[test]
fn from_a_seed_to_ready() {
    let nomad = healthy_server();
    let (seed, _) = seed(&user_data(nomad.address().port()));
    let machine = Machine::new();
    machine.boot(Role::Server, &format!("ds=nocloud;s=http://{}/ steppe.raft_multiplier=5", seed.address()));
    let status = machine.until(|status| status.awaits.is_some());
    assert!(status.awaits.unwrap().starts_with("an address, to ask http://"), "it says what it awaits");
    machine.give_lease();

    let phase = |name: &str| Message::Phase(name.into());
    let before: Vec<Message> =
        ["datasource", "plan", "files", "time"].into_iter().map(phase).chain([start()]).collect();
    assert_eq!(machine.messages_until(&start()), before);
    machine.messages_until(&Message::Ready);

    assert!(machine.read("/etc/nomad.d/server.hcl").contains("bootstrap_expect = 1"));
    assert_eq!(machine.read("/etc/hostname"), "server-vm-0\n");
    assert_eq!(machine.read("/etc/hosts"), "127.0.0.1 localhost\n10.0.5.10 server-vm-0\n");
    let config: serde_json::Value = serde_json::from_str(&machine.read(paths::NOMAD_AGENT_CONFIG)).unwrap();
    assert_eq!((&config["name"], &config["advertise"]["rpc"]), (&"server-vm-0".into(), &"10.0.5.10".into()));
    assert_eq!(config["server"]["raft_multiplier"], 5);
    let unit: UnitSpec = serde_json::from_str(&machine.read("/run/steppe/units/nomad.json")).unwrap();
    assert_eq!(unit.argv[1], "agent");
    assert!(machine.root.path().join("var/lib/nomad").is_dir());
    let status = machine.until(|status| status.ready_at_ms.is_some());
    assert!(status.healthy && status.leader.as_deref() == Some("10.0.5.10:4647") && status.awaits.is_none());
    assert_eq!(status.instance_id.as_deref(), Some("i-1"));
    assert!(!machine.read(paths::PLAN).contains("bootstrap_expect = 1"), "the plan shows no content");
    for path in [paths::PLAN, paths::NODE_STATUS] {
        let mode = fs::metadata(below(machine.root.path(), path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{path} is for root only");
    }
}

#[test]
fn broken_user_data_says_where_and_a_fixed_seed_heals_it() {
    let nomad = healthy_server();
    let (seed, text) = seed("#cloud-config\nhostname: a\nwrite_files: [\n");
    let machine = Machine::new();
    machine.give_lease();
    machine.boot(Role::Server, &format!("ds=nocloud;s=http://{}/", seed.address()));
    let status = machine.until(|status| status.awaits.as_deref() == Some("user-data that can be applied"));
    assert!(status.findings[0].starts_with("refused: user-data:"), "{:?}", status.findings);
    assert!(!below(machine.root.path(), "/run/steppe/units/nomad.json").exists());
    *text.lock().unwrap() = user_data(nomad.address().port());
    machine.messages_until(&Message::Ready);
}

#[test]
fn a_mistake_on_a_spare_link_is_said_and_one_on_the_only_link_keeps_nomad_from_starting() {
    let nomad = healthy_server();
    let text = user_data(nomad.address().port());
    let boot = |network: &'static str, cmdline: &str| {
        let text = text.clone();
        let seed = serve(move |path| match path {
            "/user-data" => (200, text.clone()),
            "/meta-data" => (200, "instance-id: i-1\n".into()),
            "/network-config" => (200, network.into()),
            _ => (404, String::new()),
        });
        let machine = Machine::new();
        machine.give_lease();
        machine.boot(Role::Server, &format!("ds=nocloud;s=http://{}/ {cmdline}", seed.address()));
        (machine, seed)
    };
    let (spare, _seed) = boot("version: 2\nethernets: {eth0: {dhcp4: true}, eth1: {dhcp4: true, mtu: 9}}", "");
    spare.messages_until(&Message::Ready);
    let finding = &spare.status().findings[0];
    assert!(finding.starts_with("ignored: network-config:2:59: ethernets.eth1.mtu: "), "{finding}");

    let broken = "version: 2\nethernets: {eth0: {dhcp5: true}}";
    let (only, _seed) = boot(broken, "");
    let status = only.until(|status| status.awaits.as_deref() == Some("user-data that can be applied"));
    let want = "refused: network-config:2:20: ethernets.eth0.dhcp5: unknown key; did you mean dhcp4?";
    assert!(status.findings.iter().any(|finding| finding == want), "{status:?}");

    // The command line is the way out.
    let (saved, _seed) = boot(broken, "ip=dhcp");
    saved.messages_until(&Message::Ready);
}

#[test]
fn the_roles_promise_is_kept_even_when_the_user_goes_on() {
    let (seed, _) =
        seed("#cloud-config\nwrite_files:\n- path: /etc/nomad.d/a.hcl\n  content: 'client { enabled = true }'\n");
    let machine = Machine::new();
    machine.give_lease();
    machine.boot(Role::Server, &format!("ds=nocloud;s=http://{}/ steppe.on_refuse=continue", seed.address()));
    let status = machine.until(|status| status.awaits.as_deref() == Some("user-data that can be applied"));
    assert!(status.findings[0].contains("/etc/nomad.d/a.hcl:1:1: client { enabled = true } in a server image"));
}

#[test]
fn going_on_leaves_out_what_was_refused() {
    let nomad = healthy_server();
    let (seed, _) = seed(&(user_data(nomad.address().port()) + "runcmd: ['curl x | sh']\n"));
    let machine = Machine::new();
    machine.give_lease();
    machine.boot(Role::Server, &format!("ds=nocloud;s=http://{}/ steppe.on_refuse=continue", seed.address()));
    machine.messages_until(&Message::Ready);
    assert!(machine.status().findings[0].contains("runcmd[0]"));
}

#[test]
fn runcmd_puts_the_address_into_nomads_file() {
    let nomad = healthy_server();
    let more = "runcmd:\n- IP=$(hostname -I | awk '{print $1}')\n- sed -i \"s/LOCAL_IP/$IP/g\" /etc/nomad.d/server.hcl\n- \
                mkdir -p /opt/data\n- modprobe there\n- chown consul /opt/data\n- systemctl enable --now nomad\n";
    let text = user_data(nomad.address().port()).replace("bootstrap_expect = 1", "bootstrap_expect = 1 # LOCAL_IP");
    let (seed, _) = seed(&(text + more));
    let machine = Machine::new();
    fs::create_dir_all(below(machine.root.path(), "/sys/module/there")).unwrap();
    machine.give_lease();
    machine.boot(Role::Server, &format!("ds=nocloud;s=http://{}/", seed.address()));
    machine.messages_until(&Message::Ready);
    assert!(machine.read("/etc/nomad.d/server.hcl").contains("bootstrap_expect = 1 # 10.0.5.10"));
    assert!(below(machine.root.path(), "/opt/data").is_dir());
    let findings = machine.status().findings;
    assert!(findings.iter().any(|f| f.starts_with("/opt/data: owner consul:")), "{findings:?}");
}

/// What the commands made of the files counts, not only what the plan expected.
#[test]
fn the_roles_promise_is_kept_behind_commands_too() {
    let more = "runcmd:\n- cp /opt/there.hcl /etc/nomad.d/\n";
    let (seed, _) = seed(&(user_data(1) + more));
    let machine = Machine::new();
    fs::create_dir_all(below(machine.root.path(), "/opt")).unwrap();
    fs::write(below(machine.root.path(), "/opt/there.hcl"), "client { enabled = true }").unwrap();
    machine.give_lease();
    machine.boot(Role::Server, &format!("ds=nocloud;s=http://{}/ steppe.on_refuse=continue", seed.address()));
    machine.until(|status| status.awaits.as_deref() == Some("user-data that can be applied"));
    assert!(!below(machine.root.path(), "/run/steppe/units/nomad.json").exists());
}

/// A reboot that is asked for once must not come again at each boot.
#[test]
fn what_is_to_be_done_once_is_done_once() {
    let nomad = healthy_server();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&calls);
    let home = serve(move |path| {
        heard.lock().unwrap().push(path.to_owned());
        (200, String::new())
    });
    let more = format!(
        "phone_home: {{url: 'http://{}/$INSTANCE_ID', post: [hostname]}}\npower_state: {{mode: reboot}}\n",
        home.address()
    );
    let (seed, _) = seed(&(user_data(nomad.address().port()) + &more));
    let first = Machine::new();
    first.give_lease();
    first.boot(Role::Server, &format!("ds=nocloud;s=http://{}/", seed.address()));
    first.messages_until(&Message::Power(notify::Power::Reboot));
    let done = |name: &str| below(first.root.path(), "/state/steppe/done").join(name);
    first.until(|_| done("phone-home").exists());
    assert_eq!(fs::read_to_string(done("power-state")).unwrap(), "i-1");
    // An answer that is lost makes it call again.
    let before = calls.lock().unwrap().clone();
    assert!(!before.is_empty() && before.iter().all(|path| path == "/i-1"), "{before:?}");

    let second = Machine::new();
    fs::rename(first.root.path().join("state"), second.root.path().join("state")).unwrap();
    second.give_lease();
    second.boot(Role::Server, &format!("ds=nocloud;s=http://{}/", seed.address()));
    second.messages_until(&Message::Ready);
    second.init.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut datagram = [0; 4096];
    while let Ok(length) = second.init.recv(&mut datagram) {
        assert!(!notify::parse(&datagram[..length]).contains(&Message::Power(notify::Power::Reboot)));
    }
    assert_eq!(*calls.lock().unwrap(), before);
}

#[test]
fn authorities_and_the_time_zone_are_the_plans() {
    let nomad = healthy_server();
    let more = "ca_certs: {trusted: [\"-----BEGIN CERTIFICATE-----\\nMAA=\\n-----END CERTIFICATE-----\"]}\ntimezone: Mars/Olympus\n";
    let (seed, _) = seed(&(user_data(nomad.address().port()) + more));
    let machine = Machine::new();
    let template = below(machine.root.path(), "/usr/share/steppe/etc/ssl/certs");
    fs::create_dir_all(&template).unwrap();
    fs::write(template.join("ca-certificates.crt"), "the image's\n").unwrap();
    machine.give_lease();
    machine.boot(Role::Server, &format!("ds=nocloud;s=http://{}/", seed.address()));
    machine.messages_until(&Message::Ready);
    let bundle = machine.read("/etc/ssl/certs/ca-certificates.crt");
    assert!(bundle.starts_with("the image's\n-----BEGIN") && bundle.ends_with("-----\n"), "{bundle}");
    let findings = machine.status().findings;
    assert!(findings.iter().any(|f| f.starts_with("timezone: the image has no zone Mars/Olympus")), "{findings:?}");
}

#[test]
fn a_file_is_fetched_and_held_against_the_role() {
    let nomad = healthy_server();
    let text = Arc::new(Mutex::new(String::from("client { enabled = true }")));
    let shown = Arc::clone(&text);
    let files = serve(move |_| (200, shown.lock().unwrap().clone()));
    let more = format!("- path: /etc/nomad.d/more.hcl\n  source: {{uri: 'http://{}/x'}}\n", files.address());
    let (seed, data) = seed(&(user_data(nomad.address().port()) + &more));
    let machine = Machine::new();
    machine.give_lease();
    machine.boot(Role::Server, &format!("ds=nocloud;s=http://{}/", seed.address()));
    machine.until(|status| status.awaits.as_deref() == Some("user-data that can be applied"));
    *text.lock().unwrap() = "region = \"eu\"".into();
    let changed = data.lock().unwrap().clone() + "# again\n";
    *data.lock().unwrap() = changed;
    machine.messages_until(&Message::Ready);
    assert_eq!(machine.read("/etc/nomad.d/more.hcl"), "region = \"eu\"");
}

/// The second boot has no metadata at all (and a volume would have to appear in 2 s): the last good seed is used.
#[test]
fn without_metadata_the_last_good_seed_is_used_and_said_to_be_stale() {
    let nomad = healthy_server();
    let (seed, _) = seed(&user_data(nomad.address().port()));
    let first = Machine::new();
    first.give_lease();
    first.boot(Role::Server, &format!("ds=nocloud;s=http://{}/", seed.address()));
    first.messages_until(&Message::Ready);

    let second = Machine::new();
    fs::rename(first.root.path().join("state"), second.root.path().join("state")).unwrap();
    second.give_lease();
    second.boot(Role::Server, "");
    second.messages_until(&Message::Ready);
    let status = second.status();
    assert!(status.findings.iter().any(|finding| finding.starts_with("stale-metadata")), "{:?}", status.findings);
    assert_eq!(second.read("/etc/hostname"), "server-vm-0\n");
}

/// An address may be good for one use, or its server down at the next boot.
#[test]
fn what_is_included_is_fetched_and_remembered() {
    let nomad = healthy_server();
    for (header, asked) in [("#include-once", 1), ("#include", 2)] {
        let text = user_data(nomad.address().port());
        let once = std::sync::atomic::AtomicBool::new(true);
        let included = serve(move |_| {
            let first = once.swap(false, std::sync::atomic::Ordering::SeqCst);
            if first { (200, text.clone()) } else { (403, String::new()) }
        });
        let (seed, _) = seed(&format!("{header}\nhttp://{}/a?token=hunter2\n", included.address()));
        let first = Machine::new();
        first.give_lease();
        first.boot(Role::Server, &format!("ds=nocloud;s=http://{}/", seed.address()));
        first.messages_until(&Message::Ready);

        let second = Machine::new();
        fs::rename(first.root.path().join("state"), second.root.path().join("state")).unwrap();
        second.give_lease();
        second.boot(Role::Server, &format!("ds=nocloud;s=http://{}/", seed.address()));
        second.messages_until(&Message::Ready);
        assert_eq!(second.read("/etc/hostname"), "server-vm-0\n");
        assert_eq!(included.requests(), asked, "{header}");
    }
}

#[test]
fn what_cannot_be_included_keeps_nomad_from_starting_and_shows_no_secret() {
    let included = serve(|_| (404, String::new()));
    let (seed, _) = seed(&format!("#include\nhttp://{}/a?token=hunter2\n", included.address()));
    let machine = Machine::new();
    machine.give_lease();
    machine.boot(Role::Server, &format!("ds=nocloud;s=http://{}/", seed.address()));
    let status = machine.until(|status| status.awaits.as_deref() == Some("user-data that can be applied"));
    let want = format!("refused: user-data:2:1: failed to include http://{}/a: status 404", included.address());
    assert!(status.findings.contains(&want) && !format!("{:?}", status.findings).contains("hunter2"), "{status:?}");
}

/// Without the gate, Nomad would be started before the servers have a keyring.
#[test]
fn a_client_is_held_back_until_the_servers_have_a_key() {
    let ready = Arc::new(Mutex::new(false));
    let inner = Arc::clone(&ready);
    let servers = serve(move |path| match path {
        "/.well-known/jwks.json" if *inner.lock().unwrap() => (200, "{\"keys\":[{}]}".into()),
        "/.well-known/jwks.json" => (200, "{\"keys\":[]}".into()),
        _ => (404, String::new()),
    });
    let port = servers.address().port();
    let (seed, _) = seed(&format!(
        "#cloud-config\nhostname: c\nwrite_files:\n- path: /etc/nomad.d/c.hcl\n  content: |\n    client {{\n      enabled = true\n      \
         servers = [\"127.0.0.1:4647\"]\n    }}\n    ports {{ http = {port} }}\n"
    ));
    let machine = Machine::new();
    machine.give_lease();
    machine.boot(Role::Client, &format!("ds=nocloud;s=http://{}/", seed.address()));
    machine.until(|status| status.awaits.as_deref() == Some("a server that can register clients: 127.0.0.1:4647"));
    machine.init.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut buffer = [0; 4096];
    while let Ok(length) = machine.init.recv(&mut buffer) {
        assert!(!notify::parse(&buffer[..length]).contains(&start()), "started too early");
    }
    *ready.lock().unwrap() = true;
    machine.init.set_read_timeout(Some(LIMIT)).unwrap();
    machine.messages_until(&start());
}

/// The agent has no TLS: without the exception the client would start only when the gate gives up, after 90 s.
#[test]
fn a_client_with_tls_is_not_held_back() {
    let (seed, _) = seed(
        "#cloud-config\nhostname: c\nwrite_files:\n- path: /etc/nomad.d/c.hcl\n  content: |\n    client {\n      enabled = true\n      \
         servers = [\"127.0.0.1:1\"]\n    }\n    tls { http = true }\n",
    );
    let machine = Machine::new();
    machine.give_lease();
    machine.boot(Role::Client, &format!("ds=nocloud;s=http://{}/", seed.address()));
    machine.messages_until(&start());
}

/// The lease without a way out comes first; the node speaks from the other one all the same.
#[test]
fn of_two_links_the_one_with_a_default_route_is_taken() {
    let (seed, _) = seed(&user_data(1));
    let machine = Machine::new();
    machine.shared.update(|view| view.awaited = vec!["a DHCP lease on eth1".into()]);
    machine.give_lease();
    machine.boot(Role::Server, &format!("ds=nocloud;s=http://{}/", seed.address()));
    machine.messages_until(&Message::Phase("files".into()));
    // From here to the choice of an address nothing is waited for but the second link.
    thread::sleep(Duration::from_millis(300));
    let ip = Ipv4Addr::new(192, 168, 7, 2);
    machine.shared.update(|view| {
        view.addresses.push(address("eth1", ip, Some(100)));
        view.awaited.clear();
        view.changes += 1;
    });
    machine.messages_until(&start());
    let config: serde_json::Value = serde_json::from_str(&machine.read(paths::NOMAD_AGENT_CONFIG)).unwrap();
    assert_eq!(config["advertise"]["rpc"], "192.168.7.2");
}

/// A seed whose instance id and user-data can change, and which can be out of reach.
#[derive(Clone)]
struct Cloud(Arc<Mutex<(bool, String, String)>>);

impl Cloud {
    fn new(id: &str, user_data: &str) -> (Self, Server) {
        let cloud = Self(Arc::new(Mutex::new((true, id.to_owned(), user_data.to_owned()))));
        let inner = Arc::clone(&cloud.0);
        let server = serve(move |path| {
            let (up, id, user_data) = &*inner.lock().unwrap();
            match path {
                _ if !up => (503, String::new()),
                "/user-data" => (200, user_data.clone()),
                "/meta-data" => (200, format!("instance-id: {id}\n")),
                _ => (404, String::new()),
            }
        });
        (cloud, server)
    }

    fn set(&self, change: impl FnOnce(&mut (bool, String, String))) {
        change(&mut self.0.lock().unwrap());
    }
}

impl Machine {
    /// The next boot of the same disk, in a machine with this UUID.
    fn next(self, uuid: &str) -> Self {
        let next = Self::with_uuid(uuid);
        for dir in ["state", "var"] {
            fs::remove_dir_all(next.root.path().join(dir)).ok();
            fs::rename(self.root.path().join(dir), next.root.path().join(dir)).unwrap();
        }
        next
    }

    fn with_uuid(uuid: &str) -> Self {
        let machine = Self::new();
        let dmi = machine.root.path().join("sys/class/dmi/id");
        fs::create_dir_all(&dmi).unwrap();
        fs::write(dmi.join("product_uuid"), uuid).unwrap();
        machine.give_lease();
        machine
    }

    /// What a Nomad would have left.
    fn write_data(&self, file: &str) {
        let path = self.root.path().join("var/lib/nomad").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "11111111-2222-3333-4444-555555555555").unwrap();
    }

    fn has_data(&self, file: &str) -> bool {
        self.root.path().join("var/lib/nomad").join(file).exists()
    }

    /// Whether Nomad is asked for within a second.
    fn starts_soon(&self) -> bool {
        self.init.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut buffer = [0; 4096];
        while let Ok(length) = self.init.recv(&mut buffer) {
            if notify::parse(&buffer[..length]).contains(&start()) {
                return true;
            }
        }
        false
    }

    fn finding(&self, begin: &str) -> String {
        let find = |status: &NodeStatus| status.findings.iter().find(|f| f.starts_with(begin)).cloned();
        find(&self.until(|status| find(status).is_some())).unwrap()
    }
}

const HERE: &str = "ec2a1b2c-0000-0000-0000-000000000001";
const ELSEWHERE: &str = "ec2a1b2c-0000-0000-0000-000000000002";
const NODE_ID: &str = "server/node-id";

fn line(server: &Server) -> String {
    format!("ds=nocloud;s=http://{}/", server.address())
}

/// Another id on the same machine is no reason to forget anything.
#[test]
fn a_changed_id_on_the_same_machine_writes_files_anew_and_keeps_nomads_data() {
    let nomad = healthy_server();
    let port = nomad.address().port();
    let (cloud, seed) = Cloud::new("i-1", &user_data(port));
    let first = Machine::with_uuid(HERE);
    first.boot(Role::Server, &line(&seed));
    first.messages_until(&Message::Ready);
    first.write_data(NODE_ID);

    cloud.set(|c| (c.1, c.2) = ("i-2".into(), user_data(port).replace("server-vm-0", "renamed")));
    let second = first.next(HERE);
    second.boot(Role::Server, &line(&seed));
    second.messages_until(&Message::Ready);
    assert_eq!(second.read("/etc/hostname"), "renamed\n");
    assert!(second.read("/etc/nomad.d/server.hcl").contains("bootstrap_expect"));
    assert!(second.has_data(NODE_ID) && !second.has_data("set-aside"));
    assert!(second.read("/state/steppe/identity.json").contains("i-2"));
}

/// The same machine, the same id, as at every ordinary boot; and the same id on other hardware.
#[test]
fn the_same_id_keeps_everything_even_on_other_hardware() {
    let nomad = healthy_server();
    let (_, seed) = Cloud::new("i-1", &user_data(nomad.address().port()));
    let mut machine = Machine::with_uuid(HERE);
    for uuid in [HERE, ELSEWHERE, ELSEWHERE] {
        machine.boot(Role::Server, &line(&seed));
        machine.messages_until(&Message::Ready);
        machine.write_data(NODE_ID);
        machine = machine.next(uuid);
    }
    assert!(machine.has_data(NODE_ID) && !machine.has_data("set-aside"));
}

fn cloned_server() -> (Machine, Server, Server) {
    let nomad = healthy_server();
    let (cloud, seed) = Cloud::new("i-1", &user_data(nomad.address().port()));
    let original = Machine::with_uuid(HERE);
    original.boot(Role::Server, &line(&seed));
    original.messages_until(&Message::Ready);
    original.write_data(NODE_ID);
    original.write_data("server/raft/raft.db");
    cloud.set(|c| c.1 = "i-2".into());
    (original.next(ELSEWHERE), seed, nomad)
}

/// Without the guard, two servers would have one raft id.
#[test]
fn a_cloned_server_is_held_until_a_person_decides_and_then_set_aside() {
    let (clone, seed, _nomad) = cloned_server();
    clone.boot(Role::Server, &line(&seed));
    let status = clone.until(|status| status.awaits.as_deref().is_some_and(|what| what.contains("steppe.clone=reset")));
    assert!(!status.healthy && !clone.starts_soon());
    assert!(clone.has_data(NODE_ID) && !clone.has_data("set-aside"), "nothing is touched");

    let undecided = clone.next(ELSEWHERE);
    undecided.boot(Role::Server, &line(&seed));
    undecided.until(|status| status.awaits.as_deref().is_some_and(|what| what.contains("steppe.clone=reset")));

    let decided = undecided.next(ELSEWHERE);
    decided.boot(Role::Server, &(line(&seed) + " steppe.clone=reset"));
    decided.messages_until(&Message::Ready);
    assert!(decided.finding("clone: ").contains("set-aside/"));
    assert!(!decided.has_data("server"));
    let aside = fs::read_dir(decided.root.path().join("var/lib/nomad/set-aside")).unwrap().next().unwrap().unwrap();
    assert!(aside.path().join(NODE_ID).exists() && aside.path().join("server/raft/raft.db").exists());

    // The decision holds: the machine is now its own.
    decided.write_data(NODE_ID);
    let later = decided.next(ELSEWHERE);
    later.boot(Role::Server, &line(&seed));
    later.messages_until(&Message::Ready);
    assert!(later.has_data(NODE_ID));
}

#[test]
fn a_cloned_server_may_be_kept() {
    let (clone, seed, _nomad) = cloned_server();
    clone.boot(Role::Server, &(line(&seed) + " steppe.clone=keep"));
    clone.messages_until(&Message::Ready);
    assert!(clone.has_data(NODE_ID) && !clone.has_data("set-aside"));
}

/// A fleet of clients is made from one disk: each becomes a node of its own.
#[test]
fn a_cloned_client_is_a_new_node() {
    let text = "#cloud-config\nhostname: c\nwrite_files:\n- path: /etc/nomad.d/c.hcl\n  content: |\n    client {\n      \
                enabled = true\n      servers = [\"127.0.0.1:1\"]\n    }\n    tls { http = true }\n";
    let (cloud, seed) = Cloud::new("i-1", text);
    let original = Machine::with_uuid(HERE);
    original.boot(Role::Client, &line(&seed));
    original.messages_until(&start());
    original.write_data("client/client-id");
    cloud.set(|c| c.1 = "i-2".into());
    let clone = original.next(ELSEWHERE);
    clone.boot(Role::Client, &line(&seed));
    clone.messages_until(&start());
    assert!(!clone.has_data("client") && clone.has_data("set-aside"));
}

/// What another machine remembers would make a second one of it.
#[test]
fn a_clone_without_metadata_does_not_use_what_is_remembered() {
    let (clone, _seed, _nomad) = cloned_server();
    clone.boot(Role::Server, "");
    let status = clone.until(|status| status.awaits.as_deref().is_some_and(|what| what.contains("another machine's")));
    assert!(status.instance_id.is_none() && !clone.starts_soon());
}

#[test]
fn without_metadata_at_the_first_boot_no_identity_is_made_up() {
    let machine = Machine { patience: NONE, ..Machine::with_uuid(HERE) };
    machine.boot(Role::Server, "");
    machine.until(|status| status.awaits.as_deref().is_some_and(|what| what.contains("a volume labelled cidata")));
    assert!(!machine.starts_soon());
    assert!(!below(machine.root.path(), "/state/steppe/identity.json").exists());
    assert_eq!((machine.status().instance_id, machine.status().hostname), (None, None));
}

const NONE: Patience = Patience { media: [Duration::ZERO; 2], network: Duration::ZERO };

/// Metadata that is down at a reboot and comes back later.
#[test]
fn stale_metadata_is_replaced_when_the_cloud_answers_again() {
    let nomad = healthy_server();
    let port = nomad.address().port();
    let (cloud, seed) = Cloud::new("i-1", &user_data(port));
    let first = Machine::with_uuid(HERE);
    first.boot(Role::Server, &line(&seed));
    first.messages_until(&Message::Ready);

    cloud.set(|c| c.0 = false);
    let second = Machine { patience: NONE, ..first.next(HERE) };
    second.boot(Role::Server, &line(&seed));
    second.messages_until(&Message::Ready);
    assert!(second.finding("stale-metadata: ").contains("an earlier boot"));

    cloud.set(|c| (c.0, c.2) = (true, user_data(port).replace("server-vm-0", "renamed")));
    second.shared.update(|view| view.devices += 1);
    let changed = second.finding("changed: ");
    assert!(changed.contains("the user-data (from nocloud") && changed.contains("started again"), "{changed}");
    assert!(!second.status().findings.iter().any(|finding| finding.starts_with("stale-metadata")));
    assert_eq!(second.read("/etc/hostname"), "server-vm-0\n", "a running node is not changed");

    cloud.set(|c| c.0 = false);
    let third = Machine { patience: NONE, ..second.next(HERE) };
    third.boot(Role::Server, &line(&seed));
    third.messages_until(&Message::Ready);
    assert_eq!(third.read("/etc/hostname"), "renamed\n", "what came back was remembered");
}

#[test]
fn changed_user_data_is_told_once_and_applied_at_the_next_boot() {
    let nomad = healthy_server();
    let port = nomad.address().port();
    let (cloud, seed) = Cloud::new("i-1", &user_data(port));
    let machine = Machine::with_uuid(HERE);
    machine.boot(Role::Server, &line(&seed));
    machine.messages_until(&Message::Ready);

    let good = user_data(port).replace("server-vm-0", "renamed");
    cloud.set(|c| c.2 = "#cloud-config\nhostname: [".into());
    machine.shared.update(|view| view.devices += 1);
    assert!(machine.finding("changed: ").contains("and it will be refused: user-data:"));
    cloud.set(|c| c.2.clone_from(&good));
    machine.shared.update(|view| view.devices += 1);
    machine.until(|status| status.findings.iter().any(|f| f.starts_with("changed: ") && !f.contains("refused")));
    assert!(machine.read("/state/steppe/last-good.json").len() > 10);
    assert_eq!(machine.read("/etc/hostname"), "server-vm-0\n");

    let next = machine.next(HERE);
    next.boot(Role::Server, &line(&seed));
    next.messages_until(&Message::Ready);
    assert_eq!(next.read("/etc/hostname"), "renamed\n");
    assert!(!next.status().findings.iter().any(|finding| finding.starts_with("changed")));
}

/// A disk that is full for a while must not need new user-data.
#[test]
fn what_could_not_be_written_is_tried_again() {
    let nomad = healthy_server();
    let (_, seed) = Cloud::new("i-1", &user_data(nomad.address().port()));
    let machine = Machine::with_uuid(HERE);
    let dir = below(machine.root.path(), "/etc/nomad.d");
    fs::remove_dir(&dir).unwrap();
    fs::write(&dir, "in the way").unwrap();
    machine.boot(Role::Server, &line(&seed));
    machine.until(|status| status.awaits.as_deref() == Some("user-data that can be applied"));
    fs::remove_file(&dir).unwrap();
    machine.messages_until(&Message::Ready);
}

/// A Nomad that talks to nobody without a certificate: without the exception `READY` would never come.
#[test]
fn what_is_not_proven_of_a_nomad_behind_tls_is_said() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (_, seed) = Cloud::new("i-1", &(user_data(port) + "    tls { http = true }\n"));
    let machine = Machine::with_uuid(HERE);
    let root = machine.root.path();
    fs::remove_dir(root.join("proc")).unwrap();
    std::os::unix::fs::symlink("/proc", root.join("proc")).unwrap();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    let program = root.join("usr/bin/nomad");
    fs::write(&program, "#!/bin/sh\necho 'remote error: tls: certificate required' >&2\nexit 1\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let me = i32::try_from(std::process::id()).unwrap();
    let unit =
        |state| UnitStatus { name: "nomad".into(), state, pid: Some(me), restarts: 0, last_exit: None, message: None };
    let init = |state| {
        let status = InitStatus { units: vec![unit(state)], timeline: vec![] };
        fs::write(below(root, paths::INIT_STATUS), serde_json::to_vec(&status).unwrap()).unwrap();
    };
    init(UnitState::Starting);
    machine.boot(Role::Server, &line(&seed));
    machine.until(|status| status.awaits.as_deref() == Some("an answer of Nomad's HTTP interface"));
    init(UnitState::Ready);
    machine.messages_until(&Message::Ready);
    assert!(machine.finding("health: ").contains("only that its process is ready and listens"));
}

/// Without it, Nomad would advertise an address that nobody has any more.
#[test]
fn a_new_address_is_given_to_nomad() {
    let nomad = healthy_server();
    let (_, seed) = Cloud::new("i-1", &user_data(nomad.address().port()));
    let machine = Machine::with_uuid(HERE);
    machine.boot(Role::Server, &line(&seed));
    machine.messages_until(&Message::Ready);
    let told = || {
        let config: serde_json::Value = serde_json::from_str(&machine.read(paths::NOMAD_AGENT_CONFIG)).unwrap();
        config["advertise"]["rpc"].as_str().unwrap().to_owned()
    };
    machine.shared.update(|view| {
        view.addresses = vec![address("eth1", Ipv4Addr::new(10, 0, 5, 77), None)];
        view.changes += 1;
    });
    machine.messages_until(&Message::Restart("nomad".into()));
    assert_eq!(told(), "10.0.5.77");
    assert!(machine.read("/etc/hosts").contains("10.0.5.77 server-vm-0"));
}
