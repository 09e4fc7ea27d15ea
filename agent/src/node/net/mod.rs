//! The network: every Ethernet interface is brought up and asks for an address, for as long as the machine lives.
//!
//! [`Network::run`] is the node's one poll loop: links, packets, kernel events and the clients' clocks. It never waits
//! for anything else. What it learns it puts into [`Shared`], where the rest of the node waits for it.

pub mod dhcp;
mod netlink;
mod nic;
mod resolv;
mod run;
mod shared;

pub use netlink::{Link, Netlink, NetlinkError};
pub use resolv::resolv_conf;
pub use run::Network;
pub use shared::{Shared, View};
