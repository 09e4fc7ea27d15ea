//! Nomad: what it is told, when it is started, and whether it is well.

pub mod api;
pub mod check;
pub mod cli;
pub mod config;
pub mod durable;
pub mod endpoint;
pub mod gate;
pub mod guard;
pub mod hcl;
pub mod health;
mod json;
pub mod owner;
pub mod places;
pub mod remains;
pub mod secret;
pub mod unit;
