//! Bringing a server up: directories, identity, sockets, Raft.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirBuilder};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use openraft::SnapshotPolicy;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Notify;
use uuid::Uuid;

use super::Server;
use super::gossip::{Gossip, Member, Status};
use super::raft::{BadLog, Contacts, LogStore, Machine, Network, Raft};
use super::state::Shared;
use crate::config::{Addresses, Settings, words};
use crate::rpc::Caller;
use crate::{VERSION, clock, log, rpc};

/// The sockets of a server, bound before anything else happens.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// RPC and Raft.
    pub(crate) rpc: TcpListener,
    /// Lists of members.
    pub(crate) serf: TcpListener,
    /// Pings.
    pub(crate) pings: UdpSocket,
}

/// Makes a directory and its parents.
///
/// # Errors
/// The text for people.
pub(crate) fn directory(path: &Path, mode: u32) -> Result<(), String> {
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(|error| {
        // `mkdir` names the first component that is in the way, and that is the one that helps.
        let at = path.ancestors().filter(|part| part.exists() && !part.is_dir()).last().unwrap_or(path);
        format!(
            "mkdir {}: {}",
            at.display(),
            words(&if at.is_file() { std::io::ErrorKind::NotADirectory.into() } else { error })
        )
    })
}

/// Reads an identifier from a file, or makes one.
///
/// # Errors
/// The text for people.
pub(crate) fn identity(path: &Path) -> Result<String, String> {
    match fs::read_to_string(path) {
        Ok(id) if !id.trim().is_empty() => Ok(id.trim().to_owned()),
        _ => {
            let id = Uuid::new_v4().to_string();
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(path)
                .map_err(|error| format!("open {}: {}", path.display(), words(&error)))?;
            std::io::Write::write_all(&mut file, id.as_bytes())
                .and_then(|()| file.sync_all())
                .map_err(|error| format!("write {}: {}", path.display(), words(&error)))?;
            Ok(id)
        }
    }
}

/// Locks a directory for as long as the process lives; whether it could be had.
pub(crate) fn lock_directory(path: &Path) -> bool {
    let Ok(dir) = fs::File::open(path) else { return true };
    let free = rustix::fs::flock(&dir, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok();
    if free {
        // The lock ends with its descriptor, and that shall be the process's end.
        std::mem::forget(dir);
    }
    free
}

impl Server {
    /// The directories and the identity: the part of a start that can fail before any port is open.
    ///
    /// # Errors
    /// The text after `Error starting agent: `.
    pub(crate) fn prepare(settings: &Settings) -> Result<Uuid, String> {
        let base = PathBuf::from(&settings.data_dir).join("server");
        let node_id = |error| format!("setting up server node ID failed: {error}");
        directory(&base, 0o755).map_err(node_id)?;
        let id = identity(&base.join("node-id")).map_err(node_id)?;
        let id = id.parse().map_err(|_| node_id(format!("{id:?} is no UUID")))?;
        for (dir, mode) in [("raft", 0o755), ("raft/snapshots", 0o755), ("serf", 0o755), ("keystore", 0o700)] {
            directory(&base.join(dir), mode).map_err(|error| format!("server setup failed: {error}"))?;
        }
        Ok(id)
    }

    /// Starts a server.
    ///
    /// # Errors
    /// The text after `Error starting agent: `.
    pub(crate) async fn start(
        settings: Arc<Settings>,
        id: Uuid,
        name: &str,
        addresses: &Addresses,
        sockets: Sockets,
    ) -> Result<Arc<Self>, String> {
        let base = PathBuf::from(&settings.data_dir).join("server");
        log::info("nomad: setting up raft store of the stand-in: openraft on raft.db");
        let store = LogStore::open(&base.join("raft/raft.db")).map_err(|error| match error {
            BadLog::Invalid => "server setup failed: failed to start Raft: invalid database".to_owned(),
            error @ BadLog::Io { .. } => format!("server setup failed: failed to start Raft: {error}"),
        })?;
        let state = Shared::default();
        let machine = Machine::open(state.clone(), base.join("raft/snapshots/state.bin"));
        let calls = Caller::default();
        let contact = Contacts::default();
        let network = Network { calls: calls.clone(), contact: contact.clone() };
        let times = u64::from(settings.server.raft_multiplier.max(1));
        let config = openraft::Config {
            cluster_name: settings.region.clone(),
            heartbeat_interval: 250 * times,
            election_timeout_min: 1000 * times,
            election_timeout_max: 2000 * times,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(2048),
            max_in_snapshot_log_to_keep: 512,
            ..openraft::Config::default()
        };
        let config = config.validate().map_err(|error| format!("server setup failed: {error}"))?;
        let raft = Raft::new(id, Arc::new(config), network, store, machine)
            .await
            .map_err(|error| format!("server setup failed: failed to start Raft: {error}"))?;
        let stranger = raft
            .with_raft_state(move |state| {
                let membership = state.membership_state.effective().membership();
                membership.nodes().next().is_some() && membership.get_node(&id).is_none()
            })
            .await;
        if stranger.unwrap_or(false) {
            log::warn("nomad.raft: not part of a stable configuration, aborting election");
        }
        let me = member(&settings, id, name, addresses)?;
        let server = Arc::new(Self {
            settings,
            id,
            raft,
            state,
            gossip: Gossip::start(me, sockets.pings, sockets.serf),
            calls,
            contact,
            deadlines: Mutex::new(HashMap::new()),
            stable: Mutex::new(HashMap::new()),
            locks: super::locks::Locks::default(),
            deciding: tokio::sync::Mutex::new(()),
            established: AtomicBool::new(false),
            wake: Notify::new(),
        });
        let answering = server.clone();
        tokio::spawn(rpc::serve(sockets.rpc, move |method, body| answering.clone().answer(method, body)));
        tokio::spawn(server.clone().lead());
        tokio::spawn(server.clone().found());
        Ok(server)
    }
}

fn member(settings: &Settings, id: Uuid, name: &str, addresses: &Addresses) -> Result<Member, String> {
    let address: SocketAddr = addresses
        .serf
        .parse()
        .map_err(|_| format!("advertise address {:?} is no IP address with a port", addresses.serf))?;
    let (ip, port) = addresses.rpc.rsplit_once(':').unwrap_or((&addresses.rpc, "4647"));
    let mut tags = BTreeMap::from(
        [
            ("build", VERSION.to_owned()),
            ("dc", settings.datacenter.clone()),
            ("id", id.to_string()),
            ("port", port.to_owned()),
            ("raft_vsn", "3".to_owned()),
            ("region", settings.region.clone()),
            ("revision", String::new()),
            ("role", "nomad".to_owned()),
            ("rpc_addr", ip.to_owned()),
            ("vsn", "1".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    if settings.server.bootstrap_expect > 0 {
        tags.insert("expect".into(), settings.server.bootstrap_expect.to_string());
    }
    if settings.server.bootstrap_expect == 1 {
        tags.insert("bootstrap".into(), "1".into());
    }
    let incarnation = u64::try_from(clock::now()).unwrap_or(0);
    Ok(Member { name: format!("{name}.{}", settings.region), address, tags, status: Status::Alive, incarnation })
}
