//! User-data: from bytes to a typed [`Plan`], everything checked before anything is applied.
//!
//! Pure: the same code is `builder check`. [`Plan::from_seed`] is the way in; what it has to fetch it gets from a
//! function that it is given.

mod ca_certs;
pub mod commands;
mod config;
mod decode;
mod disks;
mod finding;
mod finish;
mod format;
mod hostname;
mod hosts;
mod keys;
mod merge;
mod nomad_block;
mod ntp;
mod parts;
mod plan;
mod service;
mod steppe_block;
mod system;
mod texts;
mod write_files;
pub mod yaml;

pub use ca_certs::CaCerts;
pub use config::texts;
pub(in crate::node) use decode::{base64, gunzip};
pub use disks::{
    Device, Disks, FileSystem, FsSetup, Layout, Mount, Size as SwapSize, Slot, Source as MountSource, Swap, TableSetup,
};
pub use finding::{Finding, Position, Verdict};
pub use finish::{Finish, PhoneHome, PowerState, substitute};
pub use format::{Format, FormatError};
pub use hostname::{Names, names};
pub use hosts::HostsMode;
pub(in crate::node) use keys::nearest;
pub use ntp::Ntp;
pub use parts::{Fetch, Include};
pub use plan::{Contents, File, Plan, Source};
pub use service::{Launch, environment};
pub use steppe_block::Follow;
pub use system::Resolver;
