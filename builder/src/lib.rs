//! Builds bootable Steppe images without root, loop devices or containers.
//!
//! A build is a chain of steps, each a function from inputs to bytes with a key over what it depends on ([`content`]):
//!
//! [`recipe`] → [`lock`] → [`packages`] (by [`apt`]) and [`nomad`] → [`root`] ([`elf`], [`squashfs`]) →
//! [`verity`] → [`initramfs`] ([`modules`], [`cpio`]) → [`uki`] → [`esp`] ([`fat`], [`syslinux`]) → [`disk`] → formats
//! ([`raw`], [`compress`], [`qcow2`], [`vmdk`], [`vhd`], [`ova`], [`gce`], [`iso`], [`netboot`],
//! [`update`]) → [`manifest`] and [`sbom`].
//! [`build`] is the chain itself. [`inspect`] reads images and [`diff`] compares them. [`userdata`] is for what a node is
//! told, by the node's own code.

pub mod apt;
pub mod architecture;
pub mod bounded;
pub mod build;
pub mod cache;
pub mod channel;
pub mod cli;
pub mod compress;
pub mod content;
pub mod cpio;
pub mod deb;
pub mod diff;
pub mod disk;
pub mod elf;
pub mod embedded;
pub mod esp;
pub mod fat;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod gce;
pub mod hint;
pub mod initramfs;
pub mod inspect;
pub mod iso;
pub mod lock;
pub mod manifest;
pub mod mirror;
pub mod modules;
pub mod netboot;
pub mod nomad;
pub mod output;
pub mod ova;
pub mod packages;
pub mod programs;
pub mod progress;
pub mod qcow2;
pub mod raw;
pub mod recipe;
pub mod root;
pub mod runs;
pub mod sbom;
pub mod size;
pub mod squashfs;
pub mod syslinux;
pub mod tree;
pub mod uki;
pub mod update;
pub mod userdata;
pub mod verity;
pub mod vhd;
pub mod vmdk;
pub mod zoneinfo;
