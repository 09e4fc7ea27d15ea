//! What the suites share: how a suite of machines runs ([`suite`]), how Nomad is asked ([`api`], [`wait`]),
//! and what the contract suite runs it with ([`contract`]).

pub mod api;
pub mod contract;
pub mod suite;
pub mod wait;
