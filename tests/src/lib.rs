//! What the suites share: the images ([`images`]) and their boot partitions as other programs see them ([`esp`]), machines made
//! of them ([`cluster`]) and looked at from inside ([`guest`]), how a suite of machines runs
//! ([`suite`]), how Nomad is asked ([`api`], [`wait`], [`acl`]) and started on this host
//! ([`contract`]), how Terraform packs user-data ([`terraform`]), images that take updates ([`update`]) and machines that get them ([`node`]), and what is measured ([`bench`]).

pub mod acl;
pub mod api;
pub mod bench;
pub mod cluster;
pub mod contract;
#[cfg(test)]
mod docs;
pub mod esp;
pub mod guest;
pub mod images;
pub mod node;
pub mod suite;
pub mod terraform;
pub mod update;
pub mod wait;
