//! The agent's configuration: files, flags, and what the two together mean.

mod decode;
pub(crate) mod duration;
mod hcl1;
mod load;
mod schema;
mod settings;
mod verify;

pub(crate) use load::{Loaded, load, words};
pub(crate) use settings::{Addresses, Join, Settings};
pub(crate) use verify::{advertise, verify};
