//! The client: registers its machine, believes in what the servers want, runs it and says how it fares.

pub(crate) mod api;
mod artifact;
mod environment;
pub(crate) mod executor;
pub(crate) mod fingerprint;
mod runner;
mod store;
mod task;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::config::{Addresses, Settings};
use crate::http::{Request, Response};
use crate::log;
use crate::rpc::{Caller, RpcError};
use crate::server::objects::{Alloc, Node};
use crate::server::{HeartbeatReply, Identity, NodeAllocs, NodeAllocsReply};
use runner::Runner;
use store::Store;

/// Shortest time between two tries to register.
const RETRY: Duration = Duration::from_secs(15);
/// How long a client waits for the directory that another one holds.
const LOCKED: Duration = Duration::from_secs(5);
/// How long a question for allocations may wait.
const WATCH: Duration = Duration::from_secs(60);
/// Changes of tasks are gathered for this long before they are reported.
const GATHER: Duration = Duration::from_millis(200);

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    /// The configuration.
    pub(crate) settings: Arc<Settings>,
    /// What this machine is.
    pub(crate) node: Node,
    /// Where allocations live.
    pub(crate) alloc_dir: PathBuf,
    who: Identity,
    calls: Caller,
    servers: Mutex<Vec<String>>,
    heard: Mutex<Option<(Instant, Duration)>>,
    registered: watch::Sender<bool>,
    runners: Mutex<BTreeMap<String, Arc<Runner>>>,
    store: Store,
    dirty: Notify,
}

impl Client {
    /// Everything of a start that can fail.
    ///
    /// # Errors
    /// The text after `Error starting agent: `.
    pub(crate) fn prepare(settings: Arc<Settings>, name: &str, advertise: &Addresses) -> Result<Self, String> {
        let fail = |error: String| format!("client setup failed: {error}");
        let data = PathBuf::from(&settings.data_dir);
        let or = |own: &str, default: PathBuf| if own.is_empty() { default } else { PathBuf::from(own) };
        let state_dir = or(&settings.client.state_dir, data.join("client"));
        let alloc_dir = or(&settings.client.alloc_dir, data.join("alloc"));
        let mounts = or(&settings.client.alloc_mounts_dir, data.parent().unwrap_or(&data).join("alloc_mounts"));
        crate::server::directory(&data, 0o700).map_err(fail)?;
        crate::server::directory(&state_dir, 0o700)
            .map_err(|error| fail(format!("failed creating state dir: {error}")))?;
        crate::server::directory(&alloc_dir, 0o711)
            .map_err(|error| fail(format!("failed creating alloc dir: {error}")))?;
        crate::server::directory(&mounts, 0o711)
            .map_err(|error| fail(format!("failed creating alloc mounts dir: {error}")))?;
        log::info(format!("client: using state directory: state_dir={}", state_dir.display()));
        log::info(format!("client: using alloc directory: alloc_dir={}", alloc_dir.display()));
        log::info(format!(
            "client: using dynamic ports: min={} max={} reserved={:?}",
            settings.client.min_dynamic_port, settings.client.max_dynamic_port, settings.client.reserved.reserved_ports
        ));
        let until = std::time::Instant::now() + LOCKED;
        while !crate::server::lock_directory(&state_dir) {
            if std::time::Instant::now() > until {
                let text = format!(
                    "failed to open state database: timed out while opening database, is another Nomad process accessing data_dir {}?",
                    data.display()
                );
                return Err(fail(text));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let store = Store::open(&state_dir.join("state.db")).map_err(fail)?;
        let who = Identity {
            id: crate::server::identity(&state_dir.join("client-id"))
                .map_err(|error| fail(format!("node ID setup failed: {error}")))?,
            secret: crate::server::identity(&state_dir.join("secret-id"))
                .map_err(|error| fail(format!("node ID setup failed: {error}")))?,
        };
        let mut node = fingerprint::node(&settings, name, &advertise.http, &alloc_dir).map_err(fail)?;
        node.id.clone_from(&who.id);
        node.secret.clone_from(&who.secret);
        let mut servers: Vec<String> = settings.client.servers.clone();
        if let Some(join) = &settings.client.server_join {
            servers.extend(join.retry_join.iter().chain(&join.start_join).cloned());
        }
        let port = settings.ports.rpc;
        let servers = servers
            .into_iter()
            .map(|server| {
                if server.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
                    server
                } else {
                    format!("{server}:{port}")
                }
            })
            .collect();
        Ok(Self {
            settings,
            node,
            alloc_dir,
            who,
            calls: Caller::default(),
            servers: Mutex::new(servers),
            heard: Mutex::new(None),
            registered: watch::Sender::new(false),
            runners: Mutex::new(BTreeMap::new()),
            store,
            dirty: Notify::new(),
        })
    }

    /// Starts what never ends; `local` is this agent's own server, if it is one too.
    pub(crate) fn run(self: &Arc<Self>, local: Option<String>) {
        log::info(format!("client: started client: node_id={}", self.who.id));
        if let Some(local) = local {
            lock(&self.servers).insert(0, local);
        }
        for (alloc, handles) in self.store.restore() {
            self.adopt(alloc, handles);
        }
        tokio::spawn(self.clone().live());
        tokio::spawn(self.clone().watch());
        tokio::spawn(self.clone().report());
    }

    /// RPC addresses of the servers that are known.
    #[must_use]
    pub(crate) fn servers(&self) -> Vec<String> {
        lock(&self.servers).clone()
    }

    /// Calls one of the servers; after a failure the next call goes to another one.
    async fn call<Q: serde::Serialize, A: serde::de::DeserializeOwned>(
        &self,
        method: &str,
        body: &Q,
    ) -> Result<A, RpcError> {
        let Some(server) = lock(&self.servers).first().cloned() else {
            return Err(RpcError::Remote("no servers".into()));
        };
        let result = self.calls.call(&server, method, body).await;
        if let Err(error) = &result {
            if !matches!(error, RpcError::Remote(_)) {
                log::error(format!(
                    "client.rpc: error performing RPC to server: error=\"rpc error: {error}\" rpc={method} server={server}"
                ));
            }
            let mut servers = lock(&self.servers);
            if servers.first() == Some(&server) {
                servers.rotate_left(1);
            }
        }
        result
    }

    async fn register(&self) -> Duration {
        loop {
            match self.call::<_, HeartbeatReply>("Node.Register", &self.node).await {
                Ok(reply) => {
                    log::info("client: node registration complete");
                    self.registered.send_replace(true);
                    return self.note(reply);
                }
                Err(error) => {
                    log::error(format!("client: error registering: error=\"{error}\""));
                    tokio::time::sleep(RETRY + RETRY.mul_f64(chance())).await;
                }
            }
        }
    }

    fn note(&self, reply: HeartbeatReply) -> Duration {
        *lock(&self.heard) = Some((Instant::now(), reply.ttl));
        if !reply.servers.is_empty() {
            let mut servers = lock(&self.servers);
            let first = servers.first().cloned();
            *servers = reply.servers;
            // Stay with the server that answers; a name and its address may be the same one.
            if let Some(at) = first.and_then(|first| servers.iter().position(|server| *server == first)) {
                servers.rotate_left(at);
            } else {
                let at = usize::from(Uuid::new_v4().as_bytes()[0]) % servers.len();
                servers.rotate_left(at);
            }
        }
        reply.ttl
    }

    /// Registers, then says for ever that this client is alive.
    async fn live(self: Arc<Self>) {
        let mut ttl = self.register().await;
        loop {
            tokio::time::sleep(ttl.mul_f64(0.5 + 0.3 * chance())).await;
            loop {
                match self.call::<_, HeartbeatReply>("Node.Heartbeat", &self.who).await {
                    Ok(reply) => {
                        ttl = self.note(reply);
                        break;
                    }
                    Err(RpcError::Remote(text)) if text.contains("node not found") => {
                        ttl = self.register().await;
                        break;
                    }
                    Err(error) => {
                        log::error(format!(
                            "client: error heartbeating. retrying: error=\"failed to update status: {error}\""
                        ));
                        tokio::time::sleep(Duration::from_secs_f64(1.0 + chance())).await;
                    }
                }
            }
        }
    }

    /// Keeps asking what should run here.
    async fn watch(self: Arc<Self>) {
        let mut registered = self.registered.subscribe();
        let _ = registered.wait_for(|registered| *registered).await;
        let mut index = 0;
        loop {
            let ask = NodeAllocs { who: self.who.clone(), index, wait: WATCH };
            match self.call::<_, NodeAllocsReply>("Node.Allocs", &ask).await {
                Ok(reply) => {
                    if reply.index != index || index == 0 {
                        self.obey(reply.allocs);
                    }
                    index = reply.index;
                }
                Err(error) => {
                    log::debug(format!("client: error querying allocations: {error}"));
                    tokio::time::sleep(Duration::from_secs_f64(1.0 + chance())).await;
                }
            }
        }
    }

    fn obey(self: &Arc<Self>, allocs: Vec<Alloc>) {
        let wanted: BTreeMap<String, Alloc> = allocs.into_iter().map(|alloc| (alloc.id.clone(), alloc)).collect();
        for (id, alloc) in &wanted {
            let runner = lock(&self.runners).get(id).cloned();
            match runner {
                Some(runner) => runner.update(alloc.clone()),
                None if alloc.live() => self.adopt(alloc.clone(), BTreeMap::new()),
                None => {}
            }
        }
        // What the servers have forgotten is stopped and forgotten here too.
        let gone: Vec<Arc<Runner>> =
            lock(&self.runners).values().filter(|runner| !wanted.contains_key(&runner.id)).cloned().collect();
        for runner in gone {
            runner.stop();
            lock(&self.runners).remove(&runner.id);
            self.store.forget(&runner.id);
            let dir = self.alloc_dir.join(&runner.id);
            tokio::spawn(async move {
                runner.ended().await;
                let _ = tokio::fs::remove_dir_all(dir).await;
            });
        }
    }

    fn adopt(self: &Arc<Self>, alloc: Alloc, handles: BTreeMap<String, executor::Handle>) {
        let runner = Runner::start(self.clone(), alloc, handles);
        lock(&self.runners).insert(runner.id.clone(), runner);
    }

    /// Wakes the reporter, and saves the handles.
    fn changed(&self, runner: &Runner) {
        self.store.save(&runner.alloc(), runner.handles());
        self.dirty.notify_one();
    }

    /// Tells the servers what has changed.
    async fn report(self: Arc<Self>) {
        loop {
            self.dirty.notified().await;
            tokio::time::sleep(GATHER).await;
            let runners: Vec<Arc<Runner>> = lock(&self.runners).values().cloned().collect();
            let reports: Vec<(Arc<Runner>, u64)> =
                runners.into_iter().filter_map(|runner| runner.unreported().map(|mark| (runner, mark))).collect();
            if reports.is_empty() {
                continue;
            }
            let allocs: Vec<Alloc> = reports.iter().map(|(runner, _)| runner.alloc()).collect();
            match self.call::<_, Value>("Node.Report", &(&self.who, &allocs)).await {
                Ok(_) => reports.iter().for_each(|(runner, mark)| runner.reported(*mark)),
                Err(error) => {
                    log::debug(format!("client: error updating allocations: {error}"));
                    tokio::time::sleep(Duration::from_secs_f64(1.0 + chance())).await;
                    self.dirty.notify_one();
                }
            }
        }
    }

    /// Passes a request on to a server; hangs for as long as there is none.
    pub(crate) async fn forward(&self, request: Request) -> Response {
        loop {
            match self.call::<_, Response>("Http", &request).await {
                Ok(response) => return response,
                Err(RpcError::Remote(text)) => return Response::error(500, text),
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    }

    /// `stats.client` of `/v1/agent/self`.
    #[must_use]
    pub(crate) fn stats(&self) -> Value {
        let heard = *lock(&self.heard);
        let running = lock(&self.runners).values().filter(|runner| !runner.alloc().ended()).count();
        json!({
            "node_id": self.who.id, "known_servers": self.servers().join(","), "num_allocations": running.to_string(),
            "last_heartbeat": heard.map_or_else(|| "9223372036.854775807s".to_owned(), |(at, _)| crate::server::go_duration(at.elapsed())),
            "heartbeat_ttl": heard.map_or_else(|| "0s".to_owned(), |(_, ttl)| crate::server::go_duration(ttl)),
        })
    }

    fn runner(&self, id: &str) -> Option<Arc<Runner>> {
        lock(&self.runners).get(id).cloned()
    }

    /// Asks the servers to drain this node and waits until it is done, for `drain_on_shutdown`.
    pub(crate) async fn drain(&self, deadline: Duration) {
        if !*self.registered.borrow() {
            return;
        }
        let path = format!("/v1/node/{}/drain", self.who.id);
        let body = json!({ "DrainSpec": { "Deadline": crate::clock::nanos(deadline), "IgnoreSystemJobs": false }, "MarkEligible": false }).to_string();
        let ask = Request { method: "PUT".into(), path, query: BTreeMap::new(), body, token: String::new() };
        let _ = tokio::time::timeout(Duration::from_secs(10), self.forward(ask)).await;
        let all = async {
            let runners: Vec<Arc<Runner>> = lock(&self.runners).values().cloned().collect();
            for runner in runners {
                runner.ended().await;
            }
        };
        let _ = tokio::time::timeout(deadline + Duration::from_secs(2), all).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number from 0 to 1.
fn chance() -> f64 {
    f64::from(Uuid::new_v4().as_bytes()[0]) / 255.0
}
