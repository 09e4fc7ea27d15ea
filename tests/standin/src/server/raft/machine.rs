//! The state machine: the shared state, with snapshots as files.

use std::io::Cursor;
use std::path::PathBuf;

use openraft::storage::RaftStateMachine;
use openraft::{
    BasicNode, Entry, EntryPayload, ErrorSubject, ErrorVerb, LogId, OptionalSend, RaftSnapshotBuilder, Snapshot,
    SnapshotMeta, StorageError,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Membership, Types, storage_error};
use crate::server::state::{Shared, State};

type Meta = SnapshotMeta<Uuid, BasicNode>;

/// A snapshot as it lies on disk.
#[derive(Serialize, Deserialize)]
struct Stored {
    meta: Meta,
    state: State,
}

/// The state machine of one server.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    state: Shared,
    path: PathBuf,
    applied: Option<LogId<Uuid>>,
    membership: Membership,
}

impl Machine {
    /// A machine that starts from the snapshot in `path`, if there is one.
    #[must_use]
    pub(crate) fn open(state: Shared, path: PathBuf) -> Self {
        let mut machine = Self { state, path, applied: None, membership: Membership::default() };
        if let Some(stored) = machine.stored() {
            machine.load(&stored.meta, stored.state);
        }
        machine
    }

    fn stored(&self) -> Option<Stored> {
        serde_json::from_slice(&std::fs::read(&self.path).ok()?).ok()
    }

    fn load(&mut self, meta: &Meta, state: State) {
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.state.write(|shared| *shared = state);
    }

    #[allow(clippy::result_large_err, reason = "the error type is Raft's, and its traits return it")]
    fn save(&self, stored: &Stored) -> Result<Vec<u8>, StorageError<Uuid>> {
        let fail = |error: std::io::Error| storage_error(ErrorSubject::Snapshot(None), ErrorVerb::Write, &error);
        let bytes = serde_json::to_vec(&stored.state).map_err(|error| fail(error.into()))?;
        let all = serde_json::to_vec(stored).map_err(|error| fail(error.into()))?;
        let new = self.path.with_extension("new");
        let write = || {
            std::fs::write(&new, &all)?;
            std::fs::File::open(&new)?.sync_all()?;
            std::fs::rename(&new, &self.path)
        };
        write().map_err(fail)?;
        Ok(bytes)
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError<Uuid>> {
        let id = self.applied.map_or_else(String::new, |id| format!("{}-{}", id.leader_id.term, id.index));
        let meta = Meta { last_log_id: self.applied, last_membership: self.membership.clone(), snapshot_id: id };
        let state = self.state.read().clone();
        let bytes = self.save(&Stored { meta: meta.clone(), state })?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) })
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId<Uuid>>, Membership), StorageError<Uuid>> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<u64>, StorageError<Uuid>>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut replies = Vec::new();
        for entry in entries {
            let index = entry.log_id.index;
            self.applied = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(changes) => self.state.write(|state| state.apply(index, changes)),
                EntryPayload::Membership(membership) => {
                    self.membership = Membership::new(Some(entry.log_id), membership);
                }
            }
            replies.push(index);
        }
        Ok(replies)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError<Uuid>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &Meta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError<Uuid>> {
        let fail =
            |error: serde_json::Error| storage_error(ErrorSubject::Snapshot(None), ErrorVerb::Read, &error.into());
        let state: State = serde_json::from_slice(snapshot.get_ref()).map_err(fail)?;
        self.save(&Stored { meta: meta.clone(), state: state.clone() })?;
        self.load(meta, state);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError<Uuid>> {
        let Some(stored) = self.stored() else { return Ok(None) };
        let fail =
            |error: serde_json::Error| storage_error(ErrorSubject::Snapshot(None), ErrorVerb::Read, &error.into());
        let bytes = serde_json::to_vec(&stored.state).map_err(fail)?;
        Ok(Some(Snapshot { meta: stored.meta, snapshot: Box::new(Cursor::new(bytes)) }))
    }
}
