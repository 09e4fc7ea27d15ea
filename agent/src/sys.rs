//! The calls that neither the standard library nor `nix` offers as safe functions.
//!
//! Everything below the libraries is here, so that the rest of the agent needs no `unsafe`. Each wrapper takes and
//! returns safe types and says in its SAFETY comment why the call keeps its promise.
#![allow(unsafe_code)]

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    libc,
    sys::{
        resource::{Resource, setrlimit},
        signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, signal, sigprocmask},
    },
    time::{ClockId, clock_gettime},
    unistd::{Gid, Uid, setgid, setgroups, setsid, setuid},
};

use crate::{
    confine::{self, Capabilities},
    init::dm,
    unit::UnitSpec,
};

/// Time since the kernel started, suspended time included (`CLOCK_BOOTTIME`): the agent's only clock for durations.
#[must_use]
pub fn boottime() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

mod ioctls {
    use nix::libc;

    nix::ioctl_none_bad!(loop_ctl_get_free, 0x4C82);
    nix::ioctl_write_ptr_bad!(loop_configure, 0x4C0A, super::LoopConfig);
    nix::ioctl_write_ptr_bad!(blkpg, 0x1269, super::BlkpgArg);
    nix::ioctl_write_ptr!(ext4_resize_fs, b'f', 16, u64);
    nix::ioctl_write_ptr!(set_fs_label, 0x94, 50, [u8; 256]);
    nix::ioctl_readwrite!(nvme_admin, b'N', 0x41, super::NvmeCommand);
    nix::ioctl_readwrite!(set_watchdog, b'W', 6, i32);
    nix::ioctl_write_int_bad!(tiocsctty, libc::TIOCSCTTY);
    nix::ioctl_read_bad!(get_if_flags, libc::SIOCGIFFLAGS, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_if_flags, libc::SIOCSIFFLAGS, libc::ifreq);
}

/// `struct loop_info64` of `linux/loop.h`.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of `linux/loop.h`.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

const LO_FLAGS_READ_ONLY: u32 = 1;

/// The number of a loop device that nobody uses; `control` is `/dev/loop-control`.
///
/// # Errors
/// Those of `LOOP_CTL_GET_FREE`.
pub fn free_loop_device(control: &File) -> nix::Result<i32> {
    // SAFETY: the request takes no argument; the descriptor is open for the whole call.
    unsafe { ioctls::loop_ctl_get_free(control.as_raw_fd()) }
}

/// Makes the loop device `device` show `backing`, read-only.
///
/// # Errors
/// Those of `LOOP_CONFIGURE` (Linux 5.8).
pub fn configure_loop(device: &File, backing: &File) -> nix::Result<()> {
    let config = LoopConfig {
        fd: backing.as_raw_fd().cast_unsigned(),
        block_size: 0,
        info: LoopInfo {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: LO_FLAGS_READ_ONLY,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: `config` has the kernel's layout (`repr(C)`), lives through the call and is only read.
    unsafe { ioctls::loop_configure(device.as_raw_fd(), &raw const config) }.map(drop)
}

/// Sends device-mapper a request (`_IOWR(0xfd, number, struct dm_ioctl)`); `control` is `/dev/mapper/control`.
///
/// # Errors
/// Those of the request.
pub(crate) fn device_mapper(control: &File, number: u8, request: &mut dm::Request) -> nix::Result<()> {
    let code = nix::request_code_readwrite!(0xfd, number, size_of::<dm::Head>());
    // SAFETY: `request` has the kernel's layout (`repr(C)`) and says its own size, all of which the kernel may read and
    // write; it lives through the call, and whatever bytes come back are valid for it.
    nix::errno::Errno::result(unsafe { libc::ioctl(control.as_raw_fd(), code as _, std::ptr::from_mut(request)) })
        .map(drop)
}

/// `struct blkpg_partition` of `linux/blkpg.h`.
#[repr(C)]
#[derive(Debug)]
struct BlkpgPartition {
    start: i64,
    length: i64,
    number: i32,
    device_name: [u8; 64],
    volume_name: [u8; 64],
}

/// `struct blkpg_ioctl_arg` of `linux/blkpg.h`.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct BlkpgArg {
    op: i32,
    flags: i32,
    data_length: i32,
    data: *const BlkpgPartition,
}

/// What the kernel is told about a partition of a disk that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionChange {
    /// It is new.
    Add = 1,
    /// Its end moved.
    Resize = 3,
}

/// Tells the kernel about partition `number` (from 1) of `disk`: first byte and length in bytes (`BLKPG`).
///
/// # Errors
/// Those of the call; `EINVAL` when the numbers do not fit the device.
pub fn change_partition(disk: &File, change: PartitionChange, number: u32, start: u64, length: u64) -> nix::Result<()> {
    let invalid = |_| nix::errno::Errno::EINVAL;
    let partition = BlkpgPartition {
        start: i64::try_from(start).map_err(invalid)?,
        length: i64::try_from(length).map_err(invalid)?,
        number: i32::try_from(number).map_err(invalid)?,
        device_name: [0; 64],
        volume_name: [0; 64],
    };
    let arg = BlkpgArg {
        op: change as i32,
        flags: 0,
        data_length: i32::try_from(size_of::<BlkpgPartition>()).map_err(invalid)?,
        data: &raw const partition,
    };
    // SAFETY: `arg` and the `partition` it points to have the kernel's layout, live through the call and are only read.
    unsafe { ioctls::blkpg(disk.as_raw_fd(), &raw const arg) }.map(drop)
}

/// Sets the time after which a watchdog restarts the machine (`WDIOC_SETTIMEOUT`); gives the time that the driver took.
///
/// # Errors
/// Those of the call.
pub fn set_watchdog(watchdog: &File, timeout: Duration) -> nix::Result<Duration> {
    let mut seconds = i32::try_from(timeout.as_secs()).unwrap_or(i32::MAX);
    // SAFETY: the kernel reads and writes one `int`, which lives through the call.
    unsafe { ioctls::set_watchdog(watchdog.as_raw_fd(), &raw mut seconds) }?;
    Ok(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// Grows the mounted ext4 file system that `dir` is on to `blocks` blocks (`EXT4_IOC_RESIZE_FS`).
///
/// # Errors
/// Those of the call.
pub fn resize_ext4(dir: &File, blocks: u64) -> nix::Result<()> {
    // SAFETY: the kernel reads one `u64`, which lives through the call.
    unsafe { ioctls::ext4_resize_fs(dir.as_raw_fd(), &raw const blocks) }.map(drop)
}

/// Names the mounted file system that `dir` is on (`FS_IOC_SETFSLABEL`).
///
/// # Errors
/// Those of the call; `EINVAL` when the label is longer than 255 bytes.
pub fn set_label(dir: &File, label: &str) -> nix::Result<()> {
    let mut buffer = [0_u8; 256];
    let Some(head) = buffer[..255].get_mut(..label.len()) else { return Err(nix::errno::Errno::EINVAL) };
    head.copy_from_slice(label.as_bytes());
    // SAFETY: the kernel reads 256 bytes (`FSLABEL_MAX`) that end with a zero and live through the call.
    unsafe { ioctls::set_fs_label(dir.as_raw_fd(), &raw const buffer) }.map(drop)
}

/// `struct nvme_passthru_cmd` of `linux/nvme_ioctl.h`.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct NvmeCommand {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    words: [u32; 2],
    metadata: u64,
    data: u64,
    metadata_length: u32,
    data_length: u32,
    arguments: [u32; 6],
    timeout_ms: u32,
    result: u32,
}

/// What the controller of an NVMe disk says about itself: the 4096 bytes of Identify Controller (`NVME_IOCTL_ADMIN_CMD`).
///
/// # Errors
/// Those of the call; `ENOTTY` for other disks, `EIO` when the controller refuses.
pub fn identify_controller(disk: &File) -> nix::Result<Vec<u8>> {
    const IDENTIFY: u8 = 0x06;
    const CONTROLLER: u32 = 1;
    let mut page = vec![0_u8; 4096];
    let mut command = NvmeCommand {
        opcode: IDENTIFY,
        data: page.as_mut_ptr() as u64,
        data_length: 4096,
        arguments: [CONTROLLER, 0, 0, 0, 0, 0],
        ..NvmeCommand::default()
    };
    // SAFETY: the kernel writes at most `data_length` bytes, the length of `page`, which lives through the call as `command` does.
    let status = unsafe { ioctls::nvme_admin(disk.as_raw_fd(), &raw mut command) }?;
    // A status other than 0 is the controller's own.
    if status == 0 { Ok(page) } else { Err(nix::errno::Errno::EIO) }
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

/// Where a new process gets its output and its place from, besides its [`UnitSpec`].
#[derive(Debug)]
pub struct Place {
    /// Both stdout and stderr.
    pub output: OwnedFd,
    /// `cgroup.procs` of the control group it joins.
    pub cgroup: Option<File>,
}

/// Starts a unit's process and returns its pid. The caller reaps it with `waitpid(-1)`.
///
/// The child gets exactly the environment of the specification, a session of its own, no signal blocked, `SIGPIPE` as
/// programs expect it, and `/dev/null` as stdin.
///
/// # Errors
/// When the process cannot be made or its program cannot be executed.
pub fn spawn(spec: &UnitSpec, place: Place) -> io::Result<i32> {
    let Some((program, arguments)) = spec.argv.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no program"));
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(spec.env.iter().map(|(key, value)| (OsStr::new(key), OsStr::new(value))))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::from(place.output.try_clone()?))
        .stderr(Stdio::from(place.output));
    let oom = format!("{}\n", spec.oom_score_adj).into_bytes();
    let (uid, gid, nofile, cgroup) = (Uid::from_raw(spec.uid), Gid::from_raw(spec.gid), spec.nofile, place.cgroup);
    let confined = spec.confined;
    let setup = move || {
        setsid()?;
        if let Some(mut procs) = cgroup.as_ref() {
            // Not fatal: without the control group the process still does its work.
            let _ = io::Write::write_all(&mut procs, b"0");
        }
        if let Ok(fd) =
            nix::fcntl::open(c"/proc/self/oom_score_adj", nix::fcntl::OFlag::O_WRONLY, nix::sys::stat::Mode::empty())
        {
            let _ = nix::unistd::write(fd, &oom);
        }
        if let Some(limit) = nofile {
            setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?;
        }
        if let Some(kept) = confined {
            bound(kept)?;
        }
        setgroups(&[gid])?;
        setgid(gid)?;
        setuid(uid)?;
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        // SAFETY: the default action is no handler of ours.
        unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }?;
        if confined.is_some() { filter() } else { Ok(()) }
    };
    // SAFETY: between fork and exec the closure only makes system calls on values made before the fork. The parent has
    // one thread, so no lock can be held by another.
    unsafe { command.pre_exec(setup) };
    // Dropping the handle neither kills nor waits.
    command.spawn().map(|child| child.id().cast_signed())
}

/// Takes every capability but `kept` out of the caller's reach: no program that it executes can have it.
fn bound(kept: Capabilities) -> io::Result<()> {
    for number in (0..u64::BITS).filter(|number| kept.0 & (1 << number) == 0) {
        // SAFETY: the arguments are integers.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) } != 0 {
            let why = io::Error::last_os_error();
            // There is no such capability, nor a higher one.
            return if why.raw_os_error() == Some(libc::EINVAL) { Ok(()) } else { Err(why) };
        }
    }
    Ok(())
}

/// Refuses the calls of [`confine::FILTER`] to the caller and all that it executes, and new rights with them.
fn filter() -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(confine::FILTER.len()).unwrap_or(u16::MAX),
        filter: confine::FILTER.as_ptr().cast_mut(),
    };
    // SAFETY: the arguments are integers.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `program` lives through the call and has the length of the static filter; the kernel only reads both.
    if unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes a process started by `command` the leader of a process group of its own in the foreground of `tty`, with the
/// signals of a terminal at their defaults.
pub fn foreground(command: &mut Command, tty: OwnedFd) {
    let setup = move || {
        nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(0))?;
        nix::unistd::tcsetpgrp(&tty, nix::unistd::getpid())?;
        for which in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP, Signal::SIGTTOU, Signal::SIGPIPE] {
            // SAFETY: the default action is no handler of ours.
            unsafe { signal(which, SigHandler::SigDfl) }?;
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls on values made before the fork; the console has one thread.
    unsafe { command.pre_exec(setup) };
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

    /// The first lines of its status that a process confined to these capabilities sees, with their names.
    fn status_of_confined(confined: Option<Capabilities>) -> Vec<String> {
        let (mut read, output) = std::io::pipe().unwrap();
        let spec = UnitSpec {
            name: "cat".into(),
            argv: ["/bin/cat", "/proc/self/status"].map(str::to_owned).to_vec(),
            env: vec![],
            uid: 0,
            gid: 0,
            notifies: false,
            once: false,
            stop_signal: libc::SIGTERM,
            stop_timeout: Duration::ZERO,
            oom_score_adj: 0,
            nofile: None,
            confined,
        };
        let pid = spawn(&spec, Place { output: output.into(), cgroup: None }).unwrap();
        let text = io::read_to_string(&mut read).unwrap();
        nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).unwrap();
        let wanted = ["CapEff", "CapBnd", "NoNewPrivs", "Seccomp"];
        let line = |name: &&str| text.lines().find_map(|line| line.strip_prefix(*name)?.strip_prefix(":\t")).unwrap();
        wanted.iter().map(|name| line(name).to_owned()).collect()
    }

    #[test]
    fn a_unit_is_confined_to_what_it_is_given() {
        if !Uid::effective().is_root() {
            return eprintln!("only root has capabilities to drop");
        }
        let own = status_of_confined(None);
        assert_eq!(own[2..], ["0", "0"], "what runs this test is confined itself");
        let all = u64::from_str_radix(&own[1], 16).unwrap();
        let kept = format!("{:016x}", confine::NODE.0 & all);
        assert_eq!(status_of_confined(Some(confine::NODE)), [kept.as_str(), kept.as_str(), "1", "2"]);
        let none = "0".repeat(16);
        assert_eq!(status_of_confined(Some(confine::NONE)), [none.as_str(), none.as_str(), "1", "2"]);
    }

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
