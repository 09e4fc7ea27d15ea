//! The wall clock, by SNTP.

mod ask;
pub mod sntp;

pub use ask::{Answer, Servers, ask, servers, set};
