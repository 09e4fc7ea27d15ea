//! Finding the others: joining by name, founding the cluster, leaving it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::BasicNode;
use uuid::Uuid;

use super::gossip::{Member, Status};
use super::{Leader, Server};
use crate::config::Join;
use crate::log;

/// Between two looks at a cluster that is not founded yet.
const LOOK: Duration = Duration::from_secs(1);

impl Server {
    /// The joining that is configured, wherever it stands.
    #[must_use]
    pub(crate) fn joining(&self) -> Join {
        let server = &self.settings.server;
        server.server_join.clone().unwrap_or_else(|| Join {
            start_join: server.start_join.clone(),
            retry_join: server.retry_join.clone(),
            retry_max: server.retry_max,
            retry_interval: server.retry_interval,
        })
    }

    /// The port that joining means when none is given.
    fn serf_port(&self) -> u16 {
        u16::try_from(self.settings.ports.serf).unwrap_or(4648)
    }

    /// Joins `names` now.
    pub(crate) async fn join(&self, names: &[String]) -> (usize, Vec<String>) {
        self.gossip.join(names, self.serf_port()).await
    }

    /// Joins until one of the names answers; `Err` when the tries are used up.
    ///
    /// One answer is enough, and it may be the own one: a server that lists itself first and finds nobody else stays alone. That is what
    /// the contract (74) says, and what the join guard of a node agent is there for.
    ///
    /// # Errors
    /// When `retry_max` tries were in vain.
    pub(crate) async fn retry_join(&self, join: &Join) -> Result<(), ()> {
        log::info(format!(
            "agent.joiner: starting retry join: agent_mode=server servers={:?}",
            join.retry_join.join(" ")
        ));
        let mut tries = 0;
        loop {
            let (count, errors) = self.join(&join.retry_join).await;
            if count > 0 {
                log::info(format!("agent.joiner: retry join completed: agent_mode=server initial_servers={count}"));
                return Ok(());
            }
            tries += 1;
            if join.retry_max > 0 && tries > join.retry_max {
                log::error("agent.joiner: max join retry exhausted, exiting: agent_mode=server");
                return Err(());
            }
            let list: String = errors.iter().map(|error| format!("\n  | \t* {error}")).collect();
            log::warn(format!(
                "agent.joiner: join failed: agent_mode=server\n  error=\n  | {} error occurred:{list}\n  | \n   retry={:?}",
                errors.len(),
                join.retry_interval
            ));
            tokio::time::sleep(join.retry_interval).await;
        }
    }

    /// Founds the cluster as soon as the expected number of servers is there, unless there is one already.
    pub(super) async fn found(self: Arc<Self>) {
        let expect = self.settings.server.bootstrap_expect;
        let mut members = self.gossip.watch();
        if expect <= 0 {
            return;
        }
        let mut conflict = false;
        loop {
            if self.founded().await {
                return;
            }
            let peers: Vec<Member> = self.peers().collect();
            if let Some(peer) =
                peers.iter().find(|peer| !peer.tag("expect").is_empty() && peer.tag("expect") != expect.to_string())
            {
                if !conflict {
                    log::error(format!(
                        "nomad: peer has a conflicting expect value: member={} expected={}",
                        peer.name,
                        peer.tag("expect")
                    ));
                }
                conflict = true;
            } else if i64::try_from(peers.len()).is_ok_and(|count| count >= expect) && self.all_unfounded(&peers).await
            {
                let list: Vec<String> = peers.iter().map(Member::rpc).collect();
                log::info(format!(
                    "nomad: found expected number of peers, attempting to bootstrap cluster...: peers={:?}",
                    list.join(",")
                ));
                let nodes: BTreeMap<Uuid, BasicNode> = peers
                    .iter()
                    .filter_map(|peer| Some((peer.tag("id").parse().ok()?, BasicNode::new(peer.rpc()))))
                    .collect();
                if let Err(error) = self.raft.initialize(nodes).await {
                    log::warn(format!("nomad: failed to bootstrap cluster: error=\"{error}\""));
                }
            }
            let _ = tokio::time::timeout(LOOK, members.changed()).await;
        }
    }

    /// Servers of this region that are alive, this one included.
    pub(super) fn peers(&self) -> impl Iterator<Item = Member> {
        let region = self.settings.region.clone();
        self.gossip
            .members()
            .into_iter()
            .filter(move |member| member.status == Status::Alive && member.tag("region") == region)
    }

    async fn all_unfounded(&self, peers: &[Member]) -> bool {
        for peer in peers.iter().filter(|peer| peer.tag("id") != self.id.to_string()) {
            let address = peer.rpc();
            let call = self.calls.call::<_, bool>(&address, "Status.Founded", ());
            match tokio::time::timeout(Duration::from_secs(3), call).await {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) => {
                    log::debug(format!("nomad: {} belongs to a cluster already", peer.name));
                    return false;
                }
                Ok(Err(_)) | Err(_) => return false,
            }
        }
        true
    }

    /// Leaves the cluster for good: out of gossip, out of Raft.
    pub(crate) async fn leave(&self) {
        log::info("nomad: server starting leave");
        let alone = self.peers().count() < 2;
        self.gossip.announce(Status::Leaving).await;
        if !alone {
            // The leader removes a peer that leaves; a leader removes itself, and the others elect another one.
            let removed = async {
                match self.leader() {
                    Some(Leader::Me) => drop(self.remove_peer(self.id).await),
                    Some(Leader::Other(address)) => {
                        drop(self.calls.call::<_, serde_json::Value>(&address, "Server.Leave", self.id).await);
                    }
                    None => {}
                }
            };
            let _ = tokio::time::timeout(Duration::from_secs(5), removed).await;
        }
        tokio::time::sleep(Duration::from_millis(900)).await;
        self.gossip.announce(Status::Left).await;
        if !alone {
            tokio::time::sleep(Duration::from_millis(1500)).await;
        }
    }
}
