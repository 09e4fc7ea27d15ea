//! Requests to drivers and file systems: loop devices, device-mapper, partitions, ext4, NVMe, watchdogs.

use std::{
    fs::File,
    os::fd::{AsRawFd as _, FromRawFd as _},
    time::Duration,
};

use nix::libc;

use crate::init::dm;

mod ioctls {
    nix::ioctl_none_bad!(loop_ctl_get_free, 0x4C82);
    nix::ioctl_write_ptr_bad!(loop_configure, 0x4C0A, super::LoopConfig);
    nix::ioctl_write_ptr_bad!(blkpg, 0x1269, super::BlkpgArg);
    nix::ioctl_none_bad!(blkrrpart, 0x125F);
    nix::ioctl_write_ptr!(ext4_resize_fs, b'f', 16, u64);
    nix::ioctl_write_ptr!(set_fs_label, 0x94, 50, [u8; 256]);
    nix::ioctl_readwrite!(nvme_admin, b'N', 0x41, super::NvmeCommand);
    nix::ioctl_readwrite!(set_watchdog, b'W', 6, i32);
    nix::ioctl_read!(watchdog_options, b'W', 4, i32);
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

/// Has the kernel read the partition table of a disk again (`BLKRRPART`).
///
/// # Errors
/// Those of the call; `EBUSY` when a partition is in use.
pub fn read_partitions(disk: &File) -> nix::Result<()> {
    // SAFETY: takes no argument.
    unsafe { ioctls::blkrrpart(disk.as_raw_fd()) }.map(drop)
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

/// Stops a watchdog (`WDIOC_SETOPTIONS` with `WDIOS_DISABLECARD`).
///
/// # Errors
/// Those of the call; `EBUSY` when the driver was told never to stop.
pub fn stop_watchdog(watchdog: &File) -> nix::Result<()> {
    let mut disable = 1;
    // SAFETY: the kernel reads one `int`, which lives through the call, whatever direction the number of the call has.
    unsafe { ioctls::watchdog_options(watchdog.as_raw_fd(), &raw mut disable) }.map(drop)
}

/// The open device behind a descriptor that the program before this one, in the same process, left open for it; not left open for
/// the programs that this one starts. `None` when it is none.
#[must_use]
pub fn inherited(descriptor: i32) -> Option<File> {
    if descriptor <= 2 {
        return None;
    }
    // SAFETY: `fcntl` with a number that is no descriptor fails and does nothing else.
    let found = unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    // SAFETY: the descriptor is open, and by agreement with the program before nothing else in this one owns it.
    (found == 0).then(|| unsafe { File::from_raw_fd(descriptor) })
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
