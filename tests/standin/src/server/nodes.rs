//! What clients ask of the leader: to be registered, to be believed alive, for their allocations, and to note how these fare.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::leader::{evals_of_node, event};
use super::objects::{Alloc, Node};
use super::state::Change;
use super::{Server, schedule};
use crate::{clock, log};

/// Who a client is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Node id.
    pub(crate) id: String,
    /// Proof.
    pub(crate) secret: String,
}

/// What a client is told when it has been heard.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HeartbeatReply {
    /// Until it must be heard again.
    pub(crate) ttl: Duration,
    /// RPC addresses of the servers.
    pub(crate) servers: Vec<String>,
    /// The node's index.
    pub(crate) index: u64,
    /// Whether the node may take work, as the servers see it.
    pub(crate) eligibility: String,
}

/// A client's question for its allocations.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NodeAllocs {
    /// Who asks.
    pub(crate) who: Identity,
    /// The index that it has seen.
    pub(crate) index: u64,
    /// How long it waits for news.
    pub(crate) wait: Duration,
}

/// The answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NodeAllocsReply {
    /// Index of the answer.
    pub(crate) index: u64,
    /// All allocations of the node.
    pub(crate) allocs: Vec<Alloc>,
}

impl Server {
    fn check(&self, who: &Identity) -> Result<(), String> {
        let state = self.state.read();
        let node = state.nodes.get(&who.id).ok_or("node not found")?;
        if node.secret == who.secret { Ok(()) } else { Err("Permission denied".into()) }
    }

    /// A fresh term of life for a node: ten to twenty seconds, spread so that nodes do not call all at once.
    fn renew(&self, id: &str) -> HeartbeatReply {
        let least = self.settings.server.min_heartbeat_ttl;
        let ttl = least + least.mul_f64(f64::from(Uuid::new_v4().as_bytes()[0]) / 256.0);
        self.deadlines().insert(id.to_owned(), Instant::now() + ttl + self.settings.server.heartbeat_grace);
        let (index, eligibility) = self
            .state
            .read()
            .nodes
            .get(id)
            .map(|node| (node.modify_index, node.scheduling_eligibility.clone()))
            .unwrap_or_default();
        HeartbeatReply { ttl, servers: self.peers().map(|peer| peer.rpc()).collect(), index, eligibility }
    }

    pub(super) async fn register(&self, node: Node) -> Result<Value, String> {
        let id = node.id.clone();
        self.decide(|state| {
            if state.keyring.is_empty() {
                return Err("keyring has not been initialized yet".into());
            }
            let mut node = node;
            let fresh = match state.nodes.get(&node.id) {
                Some(old) if old.secret != node.secret => return Err(format!("node secret ID does not match. Not registering node {}", node.name)),
                Some(old) => {
                    node.scheduling_eligibility.clone_from(&old.scheduling_eligibility);
                    node.drain = old.drain;
                    node.drain_strategy.clone_from(&old.drain_strategy);
                    node.last_drain.clone_from(&old.last_drain);
                    node.events.clone_from(&old.events);
                    old.status == "down"
                }
                None => {
                    event(&mut node, "Node registered");
                    true
                }
            };
            "ready".clone_into(&mut node.status);
            if fresh && state.nodes.contains_key(&node.id) {
                event(&mut node, "Node re-registered");
            }
            let mut changes = vec![Change::Node(Box::new(node.clone()))];
            if fresh {
                log::warn(format!("nomad.client: node registration without introduction token: enforcement_level=warn node_id={} node_pool={} node_name={}", node.id, node.node_pool, node.name));
                changes.extend(evals_of_node(state, &node.id));
            }
            Ok((changes, ()))
        })
        .await?;
        serde_json::to_value(self.renew(&id)).map_err(|error| error.to_string())
    }

    pub(super) async fn heartbeat(&self, who: &Identity) -> Result<Value, String> {
        self.check(who)?;
        let down = self.state.read().nodes.get(&who.id).is_some_and(|node| node.status != "ready");
        if down {
            self.decide(|state| {
                let Some(node) = state.nodes.get(&who.id) else { return Err("node not found".into()) };
                let mut node = node.clone();
                "ready".clone_into(&mut node.status);
                event(&mut node, "Node reregistered by heartbeat");
                let mut changes = vec![Change::Node(Box::new(node))];
                changes.extend(evals_of_node(state, &who.id));
                Ok((changes, ()))
            })
            .await?;
        }
        serde_json::to_value(self.renew(&who.id)).map_err(|error| error.to_string())
    }

    pub(super) async fn node_allocs(&self, ask: &NodeAllocs) -> Result<Value, String> {
        self.check(&ask.who)?;
        let until = Instant::now() + ask.wait;
        let mut changes = self.state.watch();
        loop {
            let reply = {
                let state = self.state.read();
                let allocs: Vec<Alloc> =
                    state.allocs.values().filter(|alloc| alloc.node_id == ask.who.id).cloned().collect();
                let index = allocs.iter().map(|alloc| alloc.alloc_modify_index).max().unwrap_or(0);
                NodeAllocsReply { index, allocs }
            };
            // A lower index than the one that was seen is news too: the state has been set back.
            if reply.index != ask.index || Instant::now() >= until || !self.leads() {
                return serde_json::to_value(reply).map_err(|error| error.to_string());
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep_until(until.min(Instant::now() + Duration::from_secs(10))) => {}
            }
        }
    }

    /// Notes what a client says about its allocations.
    pub(super) async fn report(&self, (who, reports): (Identity, Vec<Alloc>)) -> Result<Value, String> {
        self.check(&who)?;
        self.decide(|state| {
            let mut changes = Vec::new();
            let mut jobs = BTreeMap::new();
            for report in reports {
                let Some(old) = state.allocs.get(&report.id).filter(|old| old.node_id == who.id) else { continue };
                let mut alloc = old.clone();
                // What has been given up as lost may still end, but it does not come back.
                if old.client_status != "lost" || report.ended() {
                    alloc.client_status = report.client_status;
                    alloc.client_description = report.client_description;
                }
                alloc.task_states = report.task_states;
                if let Some(health) = report.deployment_status
                    && old.deployment_status.as_ref().is_none_or(|old| old.healthy.is_none())
                {
                    alloc.deployment_status = Some(health);
                }
                alloc.modify_time = clock::now();
                if alloc.ended() && !old.ended() {
                    if alloc.client_status == "failed" {
                        alloc.failed_at = clock::now();
                    }
                    jobs.insert(
                        alloc.job_id.clone(),
                        if alloc.client_status == "failed" { "alloc-failure" } else { "job-update" },
                    );
                }
                changes.push(Change::AllocReport(Box::new(alloc)));
            }
            for (id, why) in jobs {
                if let Some(job) = state.jobs.get(&id) {
                    changes.push(Change::Eval(Box::new(schedule::eval(job, why))));
                }
                // What has become free may be what another job waits for.
                for blocked in state.evals.values().filter(|eval| eval.status == "blocked" && eval.job_id != id) {
                    if let Some(job) = state.jobs.get(&blocked.job_id) {
                        changes.push(Change::Eval(Box::new(schedule::eval(job, "queued-allocs"))));
                    }
                }
            }
            Ok((changes, ()))
        })
        .await?;
        Ok(Value::Null)
    }
}
