//! The agent of a Steppe node, and the types that the builder shares with it.
//!
//! - [`init`] is PID 1: mounts, modules, root, state partition, units, shutdown.
//! - [`node`] configures the machine from its metadata, starts Nomad and watches its health.
//! - [`console`] answers a person on a serial line or a screen.
//! - [`df`] answers Nomad, which asks a program of that name how large its data directory is.
//!
//! The modules below these are shared: what an image says about itself ([`facts`]), the kernel command line
//! ([`cmdline`]), the two slots of a disk ([`slots`]), the datagrams between the processes ([`notify`]), what init is asked
//! to run ([`unit`]) and what both report ([`status`]).

pub mod cmdline;
pub mod confine;
pub mod console;
pub mod df;
pub mod facts;
pub mod init;
pub mod log;
pub mod node;
pub mod notify;
pub mod paths;

pub mod personality;
pub mod proc;
pub mod slots;
pub mod status;
pub mod sys;
pub mod unit;
pub mod update;
