//! Builds bootable Steppe images without root, loop devices or containers.

pub mod content;
pub mod nomad;
pub mod qcow2;
