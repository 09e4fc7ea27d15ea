//! The calls that neither the standard library nor `nix` offers as safe functions.
//!
//! Everything below the libraries is here, so that the rest of the agent needs no `unsafe`: requests to drivers in
//! `devices`, starting processes in `process`, the others in this file. Each wrapper takes and returns safe types and says
//! in its SAFETY comment why the call keeps its promise.
#![allow(unsafe_code)]

mod devices;
mod process;

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use nix::{
    libc,
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction, signal},
    time::{ClockId, clock_gettime},
};

pub(crate) use self::devices::device_mapper;
pub use self::{
    devices::{
        PartitionChange, change_partition, configure_loop, free_loop_device, identify_controller, inherited,
        read_partitions, resize_ext4, set_label, set_watchdog, stop_watchdog,
    },
    process::{Place, ended, foreground, spawn},
};

/// Time since the kernel started, suspended time included (`CLOCK_BOOTTIME`): the agent's only clock for durations.
#[must_use]
pub fn boottime() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

mod ioctls {
    use nix::libc;

    nix::ioctl_write_int_bad!(tiocsctty, libc::TIOCSCTTY);
    nix::ioctl_read_bad!(get_if_flags, libc::SIOCGIFFLAGS, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_if_flags, libc::SIOCSIFFLAGS, libc::ifreq);
}

/// Makes `tty` the controlling terminal of the caller's session.
///
/// # Errors
/// Those of `TIOCSCTTY`.
pub fn control_terminal(tty: impl AsFd) -> nix::Result<()> {
    // SAFETY: the argument is an integer; 1 takes the terminal from another session, which only root may.
    unsafe { ioctls::tiocsctty(tty.as_fd().as_raw_fd(), 1) }.map(drop)
}

/// Sets `IFF_UP` on the network interface `name`; `socket` is any `AF_INET` socket.
///
/// # Errors
/// Those of the calls; `EINVAL` when the name is too long.
pub fn interface_up(socket: impl AsFd, name: &str) -> nix::Result<()> {
    let mut chars: [libc::c_char; libc::IFNAMSIZ] = [0; libc::IFNAMSIZ];
    if name.len() >= chars.len() {
        return Err(nix::errno::Errno::EINVAL);
    }
    for (to, from) in chars.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    let mut request = libc::ifreq { ifr_name: chars, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0 } };
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the name ends with a zero; the kernel fills in the flags of a structure that lives through the call.
    unsafe { ioctls::get_if_flags(fd, &raw mut request) }?;
    // SAFETY: the call above wrote this member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::c_short::try_from(libc::IFF_UP).unwrap_or(1);
    // SAFETY: as above; the kernel only reads.
    unsafe { ioctls::set_if_flags(fd, &raw const request) }.map(drop)
}
extern "C" fn do_nothing(_: libc::c_int) {}

/// Makes `SIGINT` interrupt a blocking read with `EINTR` instead of ending the process.
///
/// # Errors
/// Those of `sigaction`.
pub fn interrupt_reads() -> nix::Result<()> {
    let action = SigAction::new(SigHandler::Handler(do_nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing, which is safe at any point of the program.
    unsafe { sigaction(Signal::SIGINT, &action) }.map(drop)
}

/// Ignores a signal.
///
/// # Errors
/// Those of `signal`.
pub fn ignore(which: Signal) -> nix::Result<()> {
    // SAFETY: ignoring a signal installs no handler.
    unsafe { signal(which, SigHandler::SigIgn) }.map(drop)
}

/// Takes swap space out of use.
///
/// # Errors
/// Those of `swapoff(2)`.
pub fn swap_off(path: &str) -> io::Result<()> {
    let path = std::ffi::CString::new(path)?;
    // SAFETY: `path` is a C string that lives through the call.
    match unsafe { libc::swapoff(path.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Unmaps the pages of this program's code until they are run again: what only the boot needed does not stay resident.
///
/// # Errors
/// When `/proc/self/maps` cannot be read, or the kernel refuses.
pub fn release_code() -> io::Result<()> {
    for (start, length) in code(&std::fs::read_to_string("/proc/self/maps")?) {
        // SAFETY: the range is a private mapping of a file that nobody can write to through it: the kernel reads each page
        // from the file again when it is touched.
        if unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Address and length of the executable, unwritable mappings of files (`proc_pid_maps(5)`). What the loader has relocated is
/// read-only too, but not executable, and has no other copy.
fn code(maps: &str) -> Vec<(usize, usize)> {
    let mapping = |line: &str| {
        // 7f0000401000-7f0000602000 r-xp 00001000 00:01 12 /sbin/init
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let (permissions, inode) = (fields.next()?, fields.nth(2)?);
        let number = |text| usize::from_str_radix(text, 16).ok();
        let (start, end) = (number(start)?, number(end)?);
        (permissions == "r-xp" && inode != "0").then(|| Some((start, end.checked_sub(start)?)))?
    };
    maps.lines().filter_map(mapping).collect()
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_released() {
        let maps = "\
10000-20000 r--p 00000000 00:01 12 /sbin/init
20000-50000 r-xp 00010000 00:01 12 /sbin/init
50000-60000 r--p 00040000 00:01 12 /sbin/init
60000-61000 rw-p 00000000 00:00 0 [heap]
70000-71000 r-xp 00000000 00:00 0 [vdso]
80000-81000 rwxp 00000000 00:01 13 /x
";
        assert_eq!(code(maps), [(0x20000, 0x30000)]);
        assert!(code("").is_empty());
        // This program runs on behind it.
        release_code().unwrap();
        assert!(!code(&std::fs::read_to_string("/proc/self/maps").unwrap()).is_empty());
    }
}
