//! The network between the machines: a learning Ethernet switch in this process, with faults.

mod core;
mod endpoint;
mod fault;
mod frame;
mod handle;
mod mac;
mod pcap;
mod queue;
mod random;
mod thread;

pub use self::core::{PortCounters, PortId};
pub use fault::{Action, Fault, FaultCounters, FaultId};
pub use frame::{FrameDecoder, FrameError, MAX_FRAME, encode_frame};
pub use handle::{Switch, SwitchError};
pub use mac::{Mac, MacError};
pub(crate) use queue::SendQueue;

/// What the faults can look at in a frame.
pub use fault::Traffic;
