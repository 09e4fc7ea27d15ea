//! User-data: from bytes to a typed [`Plan`], everything checked before anything is applied.
//!
//! Pure: the same code is `builder check`. [`Plan::from_user_data`] is the way in.

mod commands;
mod decode;
mod finding;
mod format;
mod hostname;
mod hosts;
mod keys;
mod network_config;
mod ntp;
mod plan;
mod write_files;
pub mod yaml;

pub use finding::{Finding, Position, Verdict};
pub use format::{Format, FormatError};
pub use hostname::{Names, names};
pub use hosts::HostsMode;
pub use network_config::judge as judge_network_config;
pub use ntp::Ntp;
pub use plan::{Contents, File, Plan};
