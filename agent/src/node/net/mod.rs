//! The network: every Ethernet interface is brought up and asks for an address, until a plan says what each is for.
//!
//! [`Network::run`] is the node's one poll loop: links, packets, kernel events and the clients' clocks. It never waits
//! for anything else. What it learns it puts into [`Shared`], where the rest of the node waits for it, and what it is
//! to do it takes from there.

mod configure;
pub mod dhcp;
pub mod dhcp6;
mod netlink;
mod nic;
mod predictable;
mod rename;
mod resolv;
mod run;
mod select;
mod shared;
mod structure;
mod view;

pub use netlink::{
    Advertised, DefaultRoute, KernelAddress, KernelRoute, Lifetime, Link, LinkKind, Netlink, NetlinkError,
};
pub use resolv::Resolver;
pub use run::Network;
pub use shared::Shared;
pub use view::{Address, View};
