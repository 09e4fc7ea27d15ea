//! Raft's messages over the RPC port.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use openraft::error::{InstallSnapshotError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use openraft::{AnyError, BasicNode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::Types;
use crate::rpc;

/// Method of the RPC that appends entries.
pub(crate) const APPEND: &str = "Raft.Append";
/// Method of the RPC that asks for a vote.
pub(crate) const VOTE: &str = "Raft.Vote";
/// Method of the RPC that installs a snapshot.
pub(crate) const SNAPSHOT: &str = "Raft.Snapshot";

/// When each peer last answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contacts {
    last: Arc<Mutex<HashMap<Uuid, Instant>>>,
}

impl Contacts {
    fn note(&self, id: Uuid) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Instant::now());
    }

    /// Time since a peer answered; nothing if it never did.
    #[must_use]
    pub(crate) fn since(&self, id: Uuid) -> Option<Duration> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).get(&id).map(Instant::elapsed)
    }
}

/// Makes a connection to each peer.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    /// Where contacts are noted.
    pub(crate) contact: Contacts,
    /// Connections, shared with everything else that calls.
    pub(crate) calls: rpc::Caller,
}

/// The connection to one peer.
#[derive(Debug)]
pub(crate) struct Peer {
    contact: Contacts,
    calls: rpc::Caller,
    id: Uuid,
    address: String,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: Uuid, node: &BasicNode) -> Peer {
        Peer { contact: self.contact.clone(), calls: self.calls.clone(), id: target, address: node.addr.clone() }
    }
}

impl Peer {
    async fn call<Q, A, E>(
        &self,
        method: &str,
        request: &Q,
        option: &RPCOption,
    ) -> Result<A, RPCError<Uuid, BasicNode, E>>
    where
        Q: Serialize + Sync,
        A: DeserializeOwned,
        E: std::error::Error + DeserializeOwned,
    {
        // A peer that cannot be reached is asked again after a pause, not at once.
        let unreachable =
            |error: &dyn std::fmt::Display| RPCError::Unreachable(Unreachable::new(&AnyError::error(error)));
        let call = self.calls.call::<_, Result<A, E>>(&self.address, method, request);
        match tokio::time::timeout(option.hard_ttl(), call).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(error))) => Err(RPCError::RemoteError(RemoteError::new(self.id, error))),
            Ok(Err(error)) => Err(unreachable(&error)),
            Err(error) => Err(unreachable(&error)),
        }
    }
}

impl RaftNetwork<Types> for Peer {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Uuid>, RPCError<Uuid, BasicNode, RaftError<Uuid>>> {
        let answer = self.call(APPEND, &request, &option).await?;
        self.contact.note(self.id);
        Ok(answer)
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<Uuid>, RPCError<Uuid, BasicNode, RaftError<Uuid, InstallSnapshotError>>> {
        self.call(SNAPSHOT, &request, &option).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Uuid>,
        option: RPCOption,
    ) -> Result<VoteResponse<Uuid>, RPCError<Uuid, BasicNode, RaftError<Uuid>>> {
        self.call(VOTE, &request, &option).await
    }
}
