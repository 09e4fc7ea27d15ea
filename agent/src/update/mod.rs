//! Updates: a signed file goes into the idle slot, and boots next on trial.
//!
//! An update file (`.update`) is a tape archive ([`ustar`]) of `update.json` ([`manifest`]), its signature ([`signature`]), and the parts of
//! a system. [`install`] puts them on the disk.
//!
//! Nodes that follow a channel take what it names ([`channel`]), one after the other ([`turn`]); [`crate::node::follow`] does that.
//!
//! A boot on trial ends in `bless`, or in a fall-back that the other system notices ([`record`]); `rollback` needs no update.

pub mod channel;
pub mod esp;
pub mod fat;
pub mod install;
pub mod manifest;
pub mod place;
pub mod record;
mod run;
pub mod signature;
pub mod turn;
pub mod ustar;
mod verdict;
pub mod version;
mod whole;

pub use run::run;

/// What a person or `node` may ask for, as the first word of [`crate::notify::Message::Update`]: each is a job of the agent
/// and, while it runs, a unit of that name.
pub const JOBS: [&str; 3] = ["update", "rollback", "bless"];
/// The argument of `update` before a version, a size, a SHA-256 and an address: what a channel names.
pub const NAMED: &str = "--named";
/// The argument of `update` alone: what is installed and has not run does not boot.
pub const WITHDRAW: &str = "--withdraw";
/// What `bless` tells init when it is done, in such a message.
pub const BLESSED: &str = "blessed";
/// init's own job: it finds out how the last update ended.
pub const SETTLE: &str = "settle";
