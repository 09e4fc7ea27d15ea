//! DHCP for IPv4 (RFC 2131, 2132, 3442), as a client that lives as long as the machine.
//!
//! [`Client`] is the state machine: time and randomness are passed in, packets go in and out as bytes.
//! [`frame`] puts the IP and UDP headers around them, [`Lease`] is what a server's answer means.

mod client;
pub mod frame;
mod lease;
mod message;
mod options;

pub use client::{Action, Client, Destination};
pub use lease::{Lease, Route};
pub use message::{Kind, Message};
pub use options::code;
