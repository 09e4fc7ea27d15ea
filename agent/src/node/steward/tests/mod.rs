//! The whole sequence below a temporary root, with a seed by HTTP, a lease that is given by hand, and a Nomad that is
//! a few answers.

mod boot;
mod identity;
mod nomad;
mod userdata;

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
        profile: "cloud".into(),
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
