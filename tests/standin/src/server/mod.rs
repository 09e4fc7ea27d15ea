//! The server: membership, Raft, the state, and on the leader everything that decides.

mod autopilot;
mod deploy;
pub(crate) mod gossip;
mod join;
mod leader;
mod locks;
mod nodes;
pub(crate) mod objects;
mod place;
pub(crate) mod raft;
mod schedule;
mod start;
pub(crate) use autopilot::go_duration;
pub(crate) use start::{Sockets, directory, identity, lock_directory};
pub(crate) mod state;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use crate::config::Settings;
use crate::rpc::{Caller, RpcError};
use gossip::Gossip;
use raft::Raft;
use state::{Change, Shared};

pub(crate) use leader::{evals_of_node, event};
pub(crate) use nodes::{HeartbeatReply, Identity, NodeAllocs, NodeAllocsReply};
pub(crate) use place::range as port_range;
pub(crate) use schedule::{eval, run as plan};

/// How long a request waits for a leader.
const HOLD: Duration = Duration::from_secs(5);
/// How long a write may take.
const WRITE: Duration = Duration::from_secs(10);
/// The words for it.
pub(crate) const NO_LEADER: &str = "No cluster leader";

/// A server.
pub(crate) struct Server {
    /// The configuration.
    pub(crate) settings: Arc<Settings>,
    /// Identity in Raft.
    pub(crate) id: Uuid,
    /// Raft.
    pub(crate) raft: Raft,
    /// The replicated state.
    pub(crate) state: Shared,
    /// Membership.
    pub(crate) gossip: Gossip,
    /// Calls to others.
    pub(crate) calls: Caller,
    /// When each peer last answered an append; kept by the network.
    pub(crate) contact: raft::Contacts,
    /// Until when each node must be heard of; only the leader keeps it.
    deadlines: Mutex<HashMap<String, Instant>>,
    /// Since when each server has been healthy without interruption.
    stable: Mutex<HashMap<Uuid, (Instant, i64)>>,
    /// The time of locks; only the leader keeps it.
    pub(crate) locks: locks::Locks,
    /// Decisions are made one at a time.
    deciding: tokio::sync::Mutex<()>,
    /// Whether this leader has taken office.
    established: AtomicBool,
    /// Wakes the leader's loop.
    wake: Notify,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Server").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Where a request of the leader goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leader {
    /// Here.
    Me,
    /// To the server with this RPC address.
    Other(String),
}

impl Server {
    /// The leader as far as it is known right now.
    #[must_use]
    pub(crate) fn leader(&self) -> Option<Leader> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let id = metrics.current_leader?;
        if id == self.id {
            return (metrics.state == openraft::ServerState::Leader && self.has_quorum(&metrics)).then_some(Leader::Me);
        }
        metrics.membership_config.membership().get_node(&id).map(|node| Leader::Other(node.addr.clone()))
    }

    /// Whether a majority has answered lately: a leader that was cut off is none.
    fn has_quorum(&self, metrics: &raft::Metrics) -> bool {
        let fresh = Duration::from_millis(1500) * self.settings.server.raft_multiplier.max(1);
        let voters: Vec<Uuid> = metrics.membership_config.membership().voter_ids().collect();
        let near = voters
            .iter()
            .filter(|id| **id == self.id || self.contact.since(**id).is_some_and(|since| since < fresh))
            .count();
        // A leader that has just been elected has been heard by a majority, whatever the appends say.
        near * 2 > voters.len() || !self.established.load(Ordering::Relaxed)
    }

    /// Whether this server leads.
    #[must_use]
    pub(crate) fn leads(&self) -> bool {
        self.leader() == Some(Leader::Me)
    }

    /// Waits until there is a leader.
    ///
    /// # Errors
    /// If there is none in time.
    pub(crate) async fn await_leader(&self) -> Result<Leader, String> {
        let until = Instant::now() + HOLD + Duration::from_millis(u64::from(Uuid::new_v4().as_bytes()[0]));
        let mut metrics = self.raft.metrics();
        loop {
            if let Some(leader) = self.leader() {
                return Ok(leader);
            }
            let pause = Duration::from_millis(250).min(until.saturating_duration_since(Instant::now()));
            if pause.is_zero() {
                return Err(NO_LEADER.to_owned());
            }
            let _ = tokio::time::timeout(pause, metrics.changed()).await;
        }
    }

    /// Writes changes through Raft; the index that they got.
    ///
    /// # Errors
    /// If this server does not lead, or leads nobody.
    pub(crate) async fn write(&self, changes: Vec<Change>) -> Result<u64, String> {
        match tokio::time::timeout(WRITE, self.raft.client_write(changes)).await {
            Ok(Ok(done)) => Ok(done.data),
            Ok(Err(error)) => Err(format!("failed to write through raft: {error}")),
            Err(_) => Err(NO_LEADER.to_owned()),
        }
    }

    /// Makes one decision: looks at the state, writes what follows. No other decision is made meanwhile.
    ///
    /// # Errors
    /// What the decision says, or the write.
    pub(crate) async fn decide<T>(
        &self,
        decision: impl FnOnce(&state::State) -> Result<(Vec<Change>, T), String>,
    ) -> Result<(u64, T), String> {
        let _turn = self.deciding.lock().await;
        let (changes, result) = decision(&self.state.read())?;
        if changes.is_empty() {
            let index = self.state.read().index;
            return Ok((index, result));
        }
        let index = self.write(changes).await?;
        self.wake.notify_one();
        Ok((index, result))
    }

    /// Answers a call on the RPC port.
    ///
    /// # Errors
    /// What the caller is told instead of an answer.
    pub(crate) async fn answer(self: Arc<Self>, method: String, body: Value) -> Result<Value, String> {
        let text = |error: serde_json::Error| error.to_string();
        match method.as_str() {
            raft::APPEND => {
                Ok(serde_json::to_value(self.raft.append_entries(serde_json::from_value(body).map_err(text)?).await)
                    .map_err(text)?)
            }
            raft::VOTE => Ok(serde_json::to_value(self.raft.vote(serde_json::from_value(body).map_err(text)?).await)
                .map_err(text)?),
            raft::SNAPSHOT => {
                Ok(serde_json::to_value(self.raft.install_snapshot(serde_json::from_value(body).map_err(text)?).await)
                    .map_err(text)?)
            }
            "Status.Founded" => Ok(Value::Bool(self.founded().await)),
            "Http" => {
                let request: crate::http::Request = serde_json::from_value(body).map_err(text)?;
                serde_json::to_value(crate::http::server_side(&self, request).await).map_err(text)
            }
            _ => self.answer_leader(&method, body).await,
        }
    }

    /// Whether this server's Raft belongs to a cluster already.
    pub(crate) async fn founded(&self) -> bool {
        self.raft.is_initialized().await.unwrap_or(true)
    }

    async fn answer_leader(&self, method: &str, body: Value) -> Result<Value, String> {
        match self.await_leader().await? {
            Leader::Other(address) => self.calls.call(&address, method, body).await.map_err(|error| match error {
                RpcError::Remote(text) => text,
                other => format!("rpc error: {other}"),
            }),
            Leader::Me => {
                let text = |error: serde_json::Error| error.to_string();
                match method {
                    "Node.Register" => self.register(serde_json::from_value(body).map_err(text)?).await,
                    "Node.Heartbeat" => self.heartbeat(&serde_json::from_value(body).map_err(text)?).await,
                    "Node.Allocs" => self.node_allocs(&serde_json::from_value(body).map_err(text)?).await,
                    "Node.Report" => self.report(serde_json::from_value(body).map_err(text)?).await,
                    "Server.Leave" => {
                        let id: Uuid = serde_json::from_value(body).map_err(text)?;
                        self.remove_peer(id).await.map(|()| Value::Null)
                    }
                    _ => Err(format!("rpc: can't find method {method}")),
                }
            }
        }
    }

    fn deadlines(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.deadlines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
