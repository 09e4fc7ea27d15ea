//! The configuration as types, with the defaults.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// What the files and flags say.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    /// Region.
    pub(crate) region: String,
    /// Datacenter.
    pub(crate) datacenter: String,
    /// The node's name; empty for the host's.
    pub(crate) name: String,
    /// Where state is kept.
    pub(crate) data_dir: String,
    /// Least level that is logged.
    pub(crate) log_level: String,
    /// Address that everything binds to.
    pub(crate) bind_addr: String,
    /// Ports.
    pub(crate) ports: Ports,
    /// Addresses to bind to, where they differ from `bind_addr`.
    pub(crate) addresses: Addresses,
    /// Addresses that others are told.
    pub(crate) advertise: Addresses,
    /// The server's part.
    pub(crate) server: Server,
    /// The client's part.
    pub(crate) client: Client,
    /// Whether SIGINT is a graceful leave.
    pub(crate) leave_on_interrupt: bool,
    /// Whether SIGTERM is a graceful leave.
    pub(crate) leave_on_terminate: bool,
    /// Drivers' configuration.
    pub(crate) plugin: BTreeMap<String, Plugin>,
    /// Metrics.
    pub(crate) telemetry: Telemetry,
    /// Limits, which are shown and not enforced.
    pub(crate) limits: Limits,
    /// TLS, which the stand-in refuses.
    pub(crate) tls: Tls,
    /// ACLs, which the stand-in refuses.
    pub(crate) acl: Acl,
    /// Headers for every answer of the API.
    pub(crate) http_api_response_headers: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            region: "global".into(),
            datacenter: "dc1".into(),
            name: String::new(),
            data_dir: String::new(),
            log_level: "INFO".into(),
            bind_addr: "0.0.0.0".into(),
            ports: Ports::default(),
            addresses: Addresses::default(),
            advertise: Addresses::default(),
            server: Server::default(),
            client: Client::default(),
            leave_on_interrupt: false,
            leave_on_terminate: false,
            plugin: BTreeMap::new(),
            telemetry: Telemetry::default(),
            limits: Limits::default(),
            tls: Tls::default(),
            acl: Acl::default(),
            http_api_response_headers: BTreeMap::new(),
        }
    }
}

/// `ports {}`
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct Ports {
    /// API.
    pub(crate) http: i64,
    /// RPC and Raft.
    pub(crate) rpc: i64,
    /// Gossip.
    pub(crate) serf: i64,
}

impl Default for Ports {
    fn default() -> Self {
        Self { http: 4646, rpc: 4647, serf: 4648 }
    }
}

/// `addresses {}` and `advertise {}`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Addresses {
    /// API.
    pub(crate) http: String,
    /// RPC and Raft.
    pub(crate) rpc: String,
    /// Gossip.
    pub(crate) serf: String,
}

/// `server_join {}`
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct Join {
    /// Joined once, and fatal if nobody answers.
    pub(crate) start_join: Vec<String>,
    /// Joined until somebody answers.
    pub(crate) retry_join: Vec<String>,
    /// Tries before the agent gives up; 0 for ever.
    pub(crate) retry_max: u64,
    /// Between two tries.
    #[serde(deserialize_with = "nanos")]
    pub(crate) retry_interval: Duration,
}

impl Default for Join {
    fn default() -> Self {
        Self { start_join: Vec::new(), retry_join: Vec::new(), retry_max: 0, retry_interval: Duration::from_secs(30) }
    }
}

/// `server {}`
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct Server {
    /// Whether this agent is a server.
    pub(crate) enabled: bool,
    /// How many servers found the cluster.
    pub(crate) bootstrap_expect: i64,
    /// Stretches Raft's times.
    pub(crate) raft_multiplier: u32,
    /// Joining; `None` when there is no block.
    pub(crate) server_join: Option<Join>,
    /// The old place of `server_join.start_join`.
    pub(crate) start_join: Vec<String>,
    /// The old place of `server_join.retry_join`.
    pub(crate) retry_join: Vec<String>,
    /// The old place of `server_join.retry_max`.
    pub(crate) retry_max: u64,
    /// The old place of `server_join.retry_interval`.
    #[serde(deserialize_with = "nanos")]
    pub(crate) retry_interval: Duration,
    /// Time on top of a client's TTL before it is down.
    #[serde(deserialize_with = "nanos")]
    pub(crate) heartbeat_grace: Duration,
    /// Shortest TTL of a client.
    #[serde(deserialize_with = "nanos")]
    pub(crate) min_heartbeat_ttl: Duration,
    /// TTL of every client after a change of leader.
    #[serde(deserialize_with = "nanos")]
    pub(crate) failover_heartbeat_ttl: Duration,
    /// Gossip key, which the stand-in checks and then refuses.
    pub(crate) encrypt: String,
    /// Whether a server that left joins again by itself.
    pub(crate) rejoin_after_leave: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            enabled: false,
            bootstrap_expect: 0,
            raft_multiplier: 1,
            server_join: None,
            start_join: Vec::new(),
            retry_join: Vec::new(),
            retry_max: 0,
            retry_interval: Duration::from_secs(30),
            heartbeat_grace: Duration::from_secs(10),
            min_heartbeat_ttl: Duration::from_secs(10),
            failover_heartbeat_ttl: Duration::from_secs(300),
            encrypt: String::new(),
            rejoin_after_leave: false,
        }
    }
}

/// `client {}`
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct Client {
    /// Whether this agent is a client.
    pub(crate) enabled: bool,
    /// Servers to register with.
    pub(crate) servers: Vec<String>,
    /// Joining, which for a client is another list of servers.
    pub(crate) server_join: Option<Join>,
    /// State; below `data_dir` by default.
    pub(crate) state_dir: String,
    /// Allocations; below `data_dir` by default.
    pub(crate) alloc_dir: String,
    /// Mounts of allocations; beside `data_dir` by default.
    pub(crate) alloc_mounts_dir: String,
    /// Class.
    pub(crate) node_class: String,
    /// Pool.
    pub(crate) node_pool: String,
    /// Old style options.
    pub(crate) options: BTreeMap<String, String>,
    /// Metadata for constraints.
    pub(crate) meta: BTreeMap<String, String>,
    /// Interface whose address tasks get.
    pub(crate) network_interface: String,
    /// MHz, if not what the machine says.
    pub(crate) cpu_total_compute: u64,
    /// MB, if not what the machine says.
    pub(crate) memory_total_mb: u64,
    /// What is kept back.
    pub(crate) reserved: Reserved,
    /// First dynamic port.
    pub(crate) min_dynamic_port: u16,
    /// Last dynamic port.
    pub(crate) max_dynamic_port: u16,
    /// Longest time that a task may take to stop.
    pub(crate) max_kill_timeout: String,
    /// Drain on a graceful leave.
    pub(crate) drain_on_shutdown: Option<Drain>,
    /// Directories that tasks may ask for.
    pub(crate) host_volume: BTreeMap<String, Value>,
    /// Whether the node starts ineligible.
    pub(crate) default_ineligible: bool,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            enabled: false,
            servers: Vec::new(),
            server_join: None,
            state_dir: String::new(),
            alloc_dir: String::new(),
            alloc_mounts_dir: String::new(),
            node_class: String::new(),
            node_pool: "default".into(),
            options: BTreeMap::new(),
            meta: BTreeMap::new(),
            network_interface: String::new(),
            cpu_total_compute: 0,
            memory_total_mb: 0,
            reserved: Reserved::default(),
            min_dynamic_port: 20000,
            max_dynamic_port: 32000,
            max_kill_timeout: "30s".into(),
            drain_on_shutdown: None,
            host_volume: BTreeMap::new(),
            default_ineligible: false,
        }
    }
}

/// `client.reserved {}`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Reserved {
    /// MHz.
    pub(crate) cpu: u64,
    /// MB.
    pub(crate) memory: u64,
    /// MB.
    pub(crate) disk: u64,
    /// Ports, such as `22,80,8500-8600`.
    pub(crate) reserved_ports: String,
}

/// `client.drain_on_shutdown {}`
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct Drain {
    /// After this, tasks are stopped all at once.
    #[serde(deserialize_with = "nanos")]
    pub(crate) deadline: Duration,
    /// Whether tasks are stopped at once.
    pub(crate) force: bool,
    /// Whether system jobs stay.
    pub(crate) ignore_system_jobs: bool,
}

impl Default for Drain {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(3600), force: false, ignore_system_jobs: false }
    }
}

/// `plugin "x" {}`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Plugin {
    /// What the driver is told.
    pub(crate) config: Value,
}

/// `telemetry {}`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Telemetry {
    /// Whether metrics come in the format of Prometheus too.
    pub(crate) prometheus_metrics: bool,
}

/// `limits {}`
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct Limits {
    /// Time for a TLS handshake.
    pub(crate) https_handshake_timeout: String,
    /// Connections of one address to the API.
    pub(crate) http_max_conns_per_client: i64,
    /// Time for a handshake of the RPC.
    pub(crate) rpc_handshake_timeout: String,
    /// Connections of one address to the RPC.
    pub(crate) rpc_max_conns_per_client: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            https_handshake_timeout: "5s".into(),
            http_max_conns_per_client: 100,
            rpc_handshake_timeout: "5s".into(),
            rpc_max_conns_per_client: 100,
        }
    }
}

/// `tls {}`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Tls {
    /// TLS on the API.
    pub(crate) http: bool,
    /// TLS between servers and clients.
    pub(crate) rpc: bool,
}

/// `acl {}`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Acl {
    /// Whether requests need a token.
    pub(crate) enabled: bool,
}

fn nanos<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_nanos)
}
