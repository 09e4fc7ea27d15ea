//! PID 1.
//!
//! The first stage runs in the initramfs ([`early`]): modules, the root, switch. The second runs in the root
//! ([`root`]): mounts, the state partition ([`state`]), units ([`units`], [`supervise`]), and at the end the
//! [`shutdown`]. One thread, one loop ([`manager`]), no async; the only waiter for children. The logs have a thread of
//! their own ([`previous`]).

pub mod button;
pub mod crash;
mod devices;
pub mod disks;
pub(crate) mod dm;
mod early;
pub mod etc;
mod fallback;
mod flush;
pub mod gpt;
pub mod kmsg;
mod listener;
mod manager;
pub mod modules;
pub mod mountinfo;
pub mod mounts;
pub mod output;
mod panic;
mod previous;
pub mod processes;
mod root;
pub mod rootfs;
mod shutdown;
pub mod state;
mod stay;
pub mod supervise;
pub mod sysctl;
mod system;
pub mod timeline;
mod trial;
pub mod uevent;
mod units;
pub mod unmount;
pub mod verity;
mod watchdog;

use std::process::ExitCode;

pub(crate) use system::machine_id;

/// Runs PID 1; never returns.
pub fn run() -> ExitCode {
    panic::install();
    crate::log::set_process("steppe");
    if early::is_initramfs() { early::run() } else { root::run() }
}
