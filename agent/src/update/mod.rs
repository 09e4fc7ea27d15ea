//! Updates: a signed file goes into the idle slot, and boots next on trial.
//!
//! An update file (`.update`) is a tape archive ([`ustar`]) of `update.json` ([`manifest`]), its signature ([`signature`]), and the parts of
//! a system. [`install`] puts them on the disk.

pub mod esp;
pub mod install;
pub mod manifest;
pub mod place;
pub mod record;
pub mod signature;
pub mod ustar;
pub mod version;
