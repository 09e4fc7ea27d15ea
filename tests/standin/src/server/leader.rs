//! The leader's loop: takes office, then wakes for every change and every deadline.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::objects::{Eval, Node};
use super::raft::Metrics;
use super::state::{Change, State};
use super::{Server, deploy, schedule};
use crate::{clock, log};

/// Between two looks at the members.
const MEMBERS: Duration = Duration::from_secs(2);

impl Server {
    /// Waits for leadership, leads, and starts again when it is over.
    pub(super) async fn lead(self: Arc<Self>) {
        let mut metrics = self.raft.metrics();
        loop {
            let leading = metrics.borrow_and_update().state == openraft::ServerState::Leader;
            if leading {
                log::info(format!(
                    "nomad.raft: entering leader state: leader=\"Node at {} [Leader]\"",
                    self.gossip.me().rpc()
                ));
                log::info("nomad: cluster leadership acquired");
                self.reign().await;
                self.established.store(false, Ordering::Relaxed);
                log::info("nomad: cluster leadership lost");
            }
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    fn still_leads(&self) -> bool {
        self.raft.metrics().borrow().state == openraft::ServerState::Leader
    }

    async fn reign(&self) {
        // The state must hold everything that earlier leaders have decided before this one decides anything.
        while self.raft.ensure_linearizable().await.is_err() {
            if !self.still_leads() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.established.store(true, Ordering::Relaxed);
        self.begin().await;
        let mut state = self.state.watch();
        let mut members = self.gossip.watch();
        let mut metrics = self.raft.metrics();
        let mut rounds = tokio::time::interval(MEMBERS);
        while self.still_leads() {
            let next = self.step().await;
            tokio::select! {
                _ = state.changed() => {}
                _ = members.changed() => self.reconcile_members().await,
                _ = rounds.tick() => self.reconcile_members().await,
                () = self.wake.notified() => {}
                () = tokio::time::sleep_until(next) => {}
                () = deposed(&mut metrics) => return,
            }
        }
    }

    /// What a new leader does first.
    async fn begin(&self) {
        let until = Instant::now() + self.settings.server.failover_heartbeat_ttl;
        let (empty, nodes) = {
            let state = self.state.read();
            (
                state.keyring.is_empty(),
                state
                    .nodes
                    .values()
                    .filter(|node| node.status != "down")
                    .map(|node| (node.id.clone(), until))
                    .collect(),
            )
        };
        *self.deadlines() = nodes;
        self.locks.begin(&self.state.read());
        if empty {
            let id = Uuid::new_v4().to_string();
            match self.write(vec![Change::Keyring(id.clone())]).await {
                Ok(_) => log::info(format!("nomad.keyring: initialized keyring: id={id}")),
                Err(error) => log::error(format!("nomad.keyring: failed to initialize keyring: {error}")),
            }
        }
    }

    /// Everything that is due; until when nothing is.
    async fn step(&self) -> Instant {
        let gone: Vec<String> = {
            let now = Instant::now();
            let mut deadlines = self.deadlines();
            let gone = deadlines.iter().filter(|(_, until)| **until <= now).map(|(id, _)| id.clone()).collect();
            deadlines.retain(|_, until| *until > now);
            gone
        };
        for id in gone {
            log::warn(format!("nomad.heartbeat: node TTL expired: node_id={id}"));
            if let Err(error) = self.decide(|state| Ok((node_down(state, &id), ()))).await {
                log::error(format!("nomad.heartbeat: failed to mark node down: node_id={id} error={error:?}"));
                self.deadlines().insert(id, Instant::now() + MEMBERS);
            }
        }
        let lost = self.decide(|state| {
            let (changes, next) = self.locks.over(state);
            Ok((changes, next))
        });
        let lock = lost.await.map_or_else(|_| Some(Instant::now() + MEMBERS), |(_, next)| next);
        let mut wait = Duration::from_secs(60);
        loop {
            let work = self.decide(|state| {
                let now = clock::now();
                let (changes, next) = due(state, now);
                if let Some(next) = next {
                    wait = wait.min(Duration::from_nanos(u64::try_from(next - now).unwrap_or(0)));
                }
                let more = !changes.is_empty();
                Ok((changes, more))
            });
            match work.await {
                Ok((_, true)) => {}
                Ok((_, false)) => break,
                Err(error) => {
                    log::error(format!("nomad: failed to write a plan: {error}"));
                    wait = Duration::from_secs(1);
                    break;
                }
            }
        }
        let first = self.deadlines().values().copied().chain(lock).min();
        let until = Instant::now() + wait;
        first.map_or(until, |first| first.min(until))
    }
}

/// Waits until this server leads no more. The guard of the watch must not live across an await.
async fn deposed(metrics: &mut watch::Receiver<Metrics>) {
    let _ = metrics.wait_for(|metrics| metrics.state != openraft::ServerState::Leader).await;
}

/// The first piece of work that is due, and when the next one will be.
fn due(state: &State, now: i64) -> (Vec<Change>, Option<i64>) {
    let mut next: Option<i64> = None;
    let mut pending: Vec<&Eval> = state.evals.values().filter(|eval| eval.status == "pending").collect();
    pending.sort_by_key(|eval| (-eval.priority, eval.create_index));
    for eval in pending {
        if eval.wait_until <= now {
            return (schedule::run(state, eval, now), None);
        }
        next = Some(next.map_or(eval.wait_until, |next| next.min(eval.wait_until)));
    }
    let (changes, soon) = deploy::watch(state, now);
    if !changes.is_empty() {
        return (changes, None);
    }
    if let Some(soon) = soon {
        next = Some(next.map_or(soon, |next| next.min(soon)));
    }
    let (changes, soon) = drains(state, now);
    let next = match (next, soon) {
        (Some(next), Some(soon)) => Some(next.min(soon)),
        (next, soon) => next.or(soon),
    };
    (changes, next)
}

/// A node that is not heard of any more: down, and its jobs looked at again.
fn node_down(state: &State, id: &str) -> Vec<Change> {
    let Some(node) = state.nodes.get(id) else { return Vec::new() };
    let mut node = node.clone();
    node.status = "down".into();
    event(&mut node, "Node heartbeat missed");
    let mut changes = vec![Change::Node(Box::new(node))];
    changes.extend(evals_of_node(state, id));
    changes
}

/// Notes something that happened to a node; the last ten are kept.
pub(crate) fn event(node: &mut Node, message: &str) {
    let now = clock::now();
    node.status_updated_at = now / clock::SECOND;
    node.events.push(json!({ "CreateIndex": 0, "Details": null, "Message": message, "Subsystem": "Cluster", "Timestamp": clock::rfc3339(now) }));
    let extra = node.events.len().saturating_sub(10);
    node.events.drain(..extra);
}

/// Evaluations for every job that a change of this node concerns.
pub(crate) fn evals_of_node(state: &State, id: &str) -> Vec<Change> {
    let concerned = |job: &&crate::job::spec::Job| {
        let here = state.allocs_of(&job.id).any(|alloc| alloc.node_id == id && alloc.live());
        let blocked = state.evals.values().any(|eval| eval.job_id == job.id && eval.status == "blocked");
        !job.stop && (here || blocked || job.kind == "system")
    };
    state
        .jobs
        .values()
        .filter(concerned)
        .map(|job| {
            let mut eval = schedule::eval(job, "node-update");
            id.clone_into(&mut eval.node_id);
            Change::Eval(Box::new(eval))
        })
        .collect()
}

/// Drains that are complete, or whose time is over; and when the next one's will be.
fn drains(state: &State, now: i64) -> (Vec<Change>, Option<i64>) {
    let mut next: Option<i64> = None;
    for node in state.nodes.values().filter(|node| node.drain) {
        let busy: Vec<_> = state.allocs.values().filter(|alloc| alloc.node_id == node.id && !alloc.ended()).collect();
        if busy.is_empty() {
            let mut node = node.clone();
            node.drain = false;
            node.drain_strategy = None;
            if let Some(last) = &mut node.last_drain {
                last["Status"] = json!("complete");
                last["UpdatedAt"] = json!(clock::rfc3339(now));
            }
            event(&mut node, "Node drain complete");
            return (vec![Change::Node(Box::new(node))], None);
        }
        let strategy = node.drain_strategy.clone().unwrap_or_default();
        let Some(until) = strategy["ForceDeadline"].as_str().and_then(clock::parse) else { continue };
        let left: Vec<_> = busy.into_iter().filter(|alloc| alloc.live()).collect();
        if until > now {
            next = Some(next.map_or(until, |next| next.min(until)));
        } else if !left.is_empty() {
            let mut jobs = std::collections::BTreeSet::new();
            let mut changes = Vec::new();
            for alloc in left {
                jobs.insert(alloc.job_id.clone());
                let mut alloc = alloc.clone();
                alloc.desired_status = "stop".into();
                alloc.desired_description = "alloc is being migrated".into();
                alloc.modify_time = now;
                changes.push(Change::Alloc(Box::new(alloc)));
            }
            let jobs = jobs.iter().filter_map(|id| state.jobs.get(id));
            changes.extend(jobs.map(|job| Change::Eval(Box::new(schedule::eval(job, "node-drain")))));
            return (changes, None);
        }
    }
    (Vec::new(), next)
}
