//! What the suites share: how a suite of machines runs ([`suite`]), how Nomad is asked ([`api`], [`wait`]).

pub mod api;
pub mod suite;
pub mod wait;
