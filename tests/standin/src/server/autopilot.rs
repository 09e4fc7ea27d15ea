//! Keeping Raft's membership in step with gossip, and judging the servers' health.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Duration;

use openraft::{BasicNode, ChangeMembers};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::Server;
use super::gossip::{Member, Status};
use crate::{VERSION, clock, log};

/// How long a new server must be healthy before it votes.
const STABILIZATION: Duration = Duration::from_secs(10);

impl Server {
    /// Takes a server out of Raft.
    ///
    /// # Errors
    /// If Raft does not agree.
    pub(crate) async fn remove_peer(&self, id: Uuid) -> Result<(), String> {
        let metrics = self.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        if membership.get_node(&id).is_none() {
            return Ok(());
        }
        let voters: BTreeSet<Uuid> = membership.voter_ids().collect();
        if voters.len() == 1 && voters.contains(&id) {
            return Err("need at least one voter in configuration".into());
        }
        let change = if voters.contains(&id) {
            ChangeMembers::RemoveVoters(BTreeSet::from([id]))
        } else {
            ChangeMembers::RemoveNodes(BTreeSet::from([id]))
        };
        self.raft.change_membership(change, false).await.map(|_| ()).map_err(|error| error.to_string())
    }

    /// One round of the leader: new servers in, stable ones promoted, dead and left ones out.
    pub(super) async fn reconcile_members(&self) {
        let metrics = self.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership().clone();
        let voters: BTreeSet<Uuid> = membership.voter_ids().collect();
        let members = self.members_by_id();
        for (id, member) in &members {
            let known = membership.get_node(id);
            match member.status {
                Status::Alive
                    if known.is_none_or(|node| node.addr != member.rpc()) && *id != self.id && !voters.contains(id) =>
                {
                    log::info(format!("nomad: adding server as non-voter: peer={id} address={}", member.rpc()));
                    let _ = self.raft.add_learner(*id, BasicNode::new(member.rpc()), false).await;
                }
                Status::Alive if known.is_some_and(|node| node.addr != member.rpc()) && *id != self.id => {
                    // A voter that came back with another address.
                    log::info(format!("nomad: updating address of server: peer={id} address={}", member.rpc()));
                    let nodes = BTreeMap::from([(*id, BasicNode::new(member.rpc()))]);
                    let _ = self.raft.change_membership(ChangeMembers::SetNodes(nodes), true).await;
                }
                Status::Alive if known.is_some() && !voters.contains(id) && self.stable_for(*id) >= STABILIZATION => {
                    log::info(format!("nomad.autopilot: promoting server to voter: id={id}"));
                    let _ = self.raft.change_membership(ChangeMembers::AddVoterIds(BTreeSet::from([*id])), true).await;
                }
                Status::Failed | Status::Left if known.is_some() => {
                    // Never more than a minority at once: dead servers are removed to be replaced, not to shrink below a quorum.
                    let alive = voters
                        .iter()
                        .filter(|id| members.get(id).is_some_and(|member| member.status == Status::Alive))
                        .count();
                    if member.status == Status::Left || alive * 2 > voters.len() {
                        log::info(format!("nomad.autopilot: removing {} server: id={id}", member.status.name()));
                        let _ = self.remove_peer(*id).await;
                    }
                }
                _ => {}
            }
        }
        self.note_health(&members);
    }

    fn members_by_id(&self) -> BTreeMap<Uuid, Member> {
        let mut out: BTreeMap<Uuid, Member> = BTreeMap::new();
        for member in self.gossip.members() {
            if let Ok(id) = member.tag("id").parse::<Uuid>()
                && member.tag("region") == self.settings.region
                && out.get(&id).is_none_or(|other| other.incarnation < member.incarnation)
            {
                out.insert(id, member);
            }
        }
        out
    }

    fn healthy(&self, id: Uuid, member: Option<&Member>) -> bool {
        // The time that a peer may be silent covers a heartbeat and a busy machine.
        let limit = Duration::from_millis(1500) * self.settings.server.raft_multiplier.max(1);
        member.is_some_and(|member| member.status == Status::Alive)
            && (id == self.id || self.contact.since(id).is_some_and(|since| since < limit))
    }

    fn note_health(&self, members: &BTreeMap<Uuid, Member>) {
        let mut stable = self.stable.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, member) in members {
            if self.healthy(*id, Some(member)) {
                stable.entry(*id).or_insert_with(|| (Instant::now(), clock::now()));
            } else {
                stable.remove(id);
            }
        }
        stable.retain(|id, _| members.contains_key(id));
    }

    fn stable_for(&self, id: Uuid) -> Duration {
        self.stable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .map_or(Duration::ZERO, |(since, _)| since.elapsed())
    }

    /// The body of `/v1/operator/autopilot/health`, and whether all is well.
    #[must_use]
    pub(crate) fn autopilot_health(&self) -> (Value, bool) {
        let metrics = self.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership().clone();
        let voters: Vec<Uuid> = membership.voter_ids().collect();
        let members = self.members_by_id();
        let mut healthy_voters = 0;
        let mut all = true;
        let servers: Vec<Value> = membership
            .nodes()
            .map(|(id, node)| {
                let member = members.get(id);
                let healthy = self.healthy(*id, member);
                let voter = voters.contains(id);
                all &= healthy;
                healthy_voters += usize::from(healthy && voter);
                let contact = if *id == self.id { Duration::ZERO } else { self.contact.since(*id).unwrap_or_default() };
                let since = self.stable.lock().unwrap_or_else(PoisonError::into_inner).get(id).map_or_else(clock::now, |(_, since)| *since);
                json!({
                    "LastContact": go_duration(contact), "ID": id, "Name": member.map_or("", |member| &member.name), "Address": node.addr,
                    "SerfStatus": member.map_or("none", |member| member.status.name()), "Version": VERSION, "Leader": *id == self.id,
                    "LastTerm": metrics.current_term, "LastIndex": metrics.last_log_index.unwrap_or(0), "Healthy": healthy, "Voter": voter,
                    "StableSince": clock::rfc3339(since),
                })
            })
            .collect();
        let tolerance = healthy_voters.saturating_sub(voters.len() / 2 + 1);
        (
            json!({ "Healthy": all, "FailureTolerance": tolerance, "Servers": servers, "Leader": self.id, "Voters": voters }),
            all,
        )
    }
}

/// A duration as the API writes it, roughly: `0s`, `17.786034ms`, `1.5s`.
#[must_use]
pub(crate) fn go_duration(time: Duration) -> String {
    if time.is_zero() {
        "0s".into()
    } else if time < Duration::from_secs(1) {
        format!("{}ms", time.as_secs_f64() * 1000.0)
    } else {
        format!("{}s", time.as_secs_f64())
    }
}
