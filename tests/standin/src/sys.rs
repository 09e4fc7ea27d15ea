//! The one place below the libraries' safe surface.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;

/// A descriptor of a process that becomes readable when the process has ended.
///
/// # Errors
/// If there is no such process, or no reactor to watch it.
pub(crate) fn watch_process(pid: Pid) -> io::Result<AsyncFd<OwnedFd>> {
    let fd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    // SAFETY: the `AsyncFd` owns the only handle to the descriptor, so it stays open for as long as it is registered, and `OwnedFd`
    // always gives the same descriptor.
    unsafe { AsyncFd::register(fd) }.map_err(Into::into)
}
