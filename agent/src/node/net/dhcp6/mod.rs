//! DHCP for IPv6 (RFC 8415), as a client that lives as long as the machine: addresses (`IA_NA`) or other configuration
//! only. Routes and the networks on a link come from routers, which the kernel listens to.
//!
//! [`Client`] is the state machine: time and randomness are passed in, packets go in and out as bytes.

mod client;
mod lease;
mod message;

pub use client::{Action, Client, Mode};
pub use lease::{Lease, LeasedAddress};
pub use message::{Kind, Message, code};

/// Port of a client.
pub const CLIENT_PORT: u16 = 546;
/// Port of servers and relays.
pub const SERVER_PORT: u16 = 547;
