//! Raft by `openraft`: types, log on disk, state machine with snapshots, network.

mod log;
mod machine;
mod network;

use openraft::BasicNode;
use uuid::Uuid;

pub(crate) use log::{BadLog, LogStore};
pub(crate) use machine::Machine;
pub(crate) use network::{APPEND, Contacts, Network, SNAPSHOT, VOTE};

use super::state::Change;

openraft::declare_raft_types!(
    /// The types of this cluster's Raft.
    pub(crate) Types:
        D = Vec<Change>,
        R = u64,
        NodeId = Uuid,
        Node = BasicNode,
        SnapshotData = std::io::Cursor<Vec<u8>>,
);

/// One server's Raft.
pub(crate) type Raft = openraft::Raft<Types>;
/// Membership as it is stored.
pub(crate) type Membership = openraft::StoredMembership<Uuid, BasicNode>;
/// Metrics of one server's Raft.
pub(crate) type Metrics = openraft::RaftMetrics<Uuid, BasicNode>;

/// A storage error from an I/O error.
fn storage_error(
    subject: openraft::ErrorSubject<Uuid>,
    verb: openraft::ErrorVerb,
    error: &std::io::Error,
) -> openraft::StorageError<Uuid> {
    openraft::StorageIOError::new(subject, verb, openraft::AnyError::new(error)).into()
}
