//! User-data: from bytes to a typed [`Plan`], everything checked before anything is applied.
//!
//! Pure: the same code is `builder check`. [`Plan::from_seed`] is the way in; what it has to fetch it gets from a
//! function that it is given.

pub mod commands;
mod config;
mod decode;
mod finding;
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
mod texts;
mod write_files;
pub mod yaml;

pub(in crate::node) use decode::{base64, gunzip};
pub use finding::{Finding, Position, Verdict};
pub use format::{Format, FormatError};
pub use hostname::{Names, names};
pub use hosts::HostsMode;
pub(in crate::node) use keys::nearest;
pub use ntp::Ntp;
pub use parts::{Fetch, Include};
pub use plan::{Contents, File, Plan};
pub use service::{Launch, environment};
