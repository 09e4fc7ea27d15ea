//! Device-mapper devices, made by ioctl: there is no udev here, nor a program to ask.

use std::{fs::File, io, path::PathBuf};

use nix::errno::Errno;

use crate::sys;

/// Where the kernel takes requests; devtmpfs makes it when the module is there.
const CONTROL: &str = "/dev/mapper/control";

/// `DM_DEV_CREATE` of `linux/dm-ioctl.h`.
const CREATE: u8 = 3;
/// `DM_DEV_SUSPEND`; without its flag it resumes, which puts a new table into force.
const RESUME: u8 = 6;
/// `DM_TABLE_LOAD`.
const LOAD: u8 = 9;
/// `DM_TABLE_STATUS`.
const STATUS: u8 = 12;
/// `DM_READONLY_FLAG`.
const READ_ONLY: u32 = 1;

/// `struct dm_ioctl` of `linux/dm-ioctl.h`.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Head {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_number: u32,
    padding: u32,
    device: u64,
    name: [u8; 128],
    uuid: [u8; 129],
    data: [u8; 7],
}

/// `struct dm_target_spec` of `linux/dm-ioctl.h`, with the parameters that follow it.
#[repr(C)]
#[derive(Debug)]
struct Target {
    start: u64,
    length: u64,
    status: i32,
    next: u32,
    kind: [u8; 16],
    parameters: [u8; 1024],
}

/// A request with room for a table of one target. The kernel answers in the same place.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Request {
    head: Head,
    target: Target,
}

impl Request {
    /// A request about the device of this name, without a table.
    fn about(name: &str) -> Self {
        let mut request = Self {
            head: Head {
                // The oldest interface that has all that is used here: the kernel wants the same first number only.
                version: [4, 0, 0],
                data_size: u32::try_from(size_of::<Self>()).unwrap_or(0),
                data_start: u32::try_from(size_of::<Head>()).unwrap_or(0),
                target_count: 0,
                open_count: 0,
                flags: 0,
                event_number: 0,
                padding: 0,
                device: 0,
                name: [0; 128],
                uuid: [0; 129],
                data: [0; 7],
            },
            target: Target { start: 0, length: 0, status: 0, next: 0, kind: [0; 16], parameters: [0; 1024] },
        };
        fill(&mut request.head.name, name);
        request
    }
}

/// Copies text and leaves at least one zero behind it; false when it is too long.
fn fill(to: &mut [u8], text: &str) -> bool {
    match to.get_mut(..text.len() + 1) {
        Some(to) => {
            to[..text.len()].copy_from_slice(text.as_bytes());
            true
        }
        None => false,
    }
}

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub enum DmError {
    /// The kernel takes no requests.
    #[error("failed to open {CONTROL}: {0}")]
    Control(io::Error),
    /// The table is longer than any that is known.
    #[error("the parameters of the device are too long")]
    Long,
    /// The kernel refused a request.
    #[error("failed to {step} the device: {source} (the kernel's log has more)")]
    Request {
        /// What was tried.
        step: &'static str,
        /// Why.
        source: Errno,
    },
}

/// Makes a read-only device of `sectors` sectors of 512 bytes from one target, and gives its node.
pub(super) fn create(name: &str, sectors: u64, kind: &str, parameters: &str) -> Result<PathBuf, DmError> {
    let control = File::options().read(true).write(true).open(CONTROL).map_err(DmError::Control)?;
    let send = |step, number, request: &mut Request| {
        sys::device_mapper(&control, number, request).map_err(|source| DmError::Request { step, source })
    };
    let mut table = Request::about(name);
    (table.head.flags, table.head.target_count, table.target.length) = (READ_ONLY, 1, sectors);
    if !fill(&mut table.target.kind, kind) || !fill(&mut table.target.parameters, parameters) {
        return Err(DmError::Long);
    }
    send("make", CREATE, &mut Request::about(name))?;
    send("load the table of", LOAD, &mut table)?;
    let mut resume = Request::about(name);
    send("start", RESUME, &mut resume)?;
    Ok(PathBuf::from(format!("/dev/dm-{}", nix::sys::stat::minor(resume.head.device))))
}

/// The first letter of what the one target of a device says of itself; `None` when there is no such device.
pub(super) fn status(name: &str) -> Option<u8> {
    let control = File::options().read(true).write(true).open(CONTROL).ok()?;
    let mut request = Request::about(name);
    sys::device_mapper(&control, STATUS, &mut request).ok()?;
    // The target and its text stand where the table was.
    (request.head.target_count == 1).then_some(request.target.parameters[0])
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn structures_have_the_kernels_layout() {
        // As a C compiler lays out those of linux/dm-ioctl.h on 64-bit machines.
        assert_eq!(size_of::<Head>(), 312);
        assert_eq!((offset_of!(Head, flags), offset_of!(Head, device)), (28, 40));
        assert_eq!((offset_of!(Head, name), offset_of!(Head, uuid)), (48, 176));
        assert_eq!(offset_of!(Request, target), 312);
        assert_eq!((offset_of!(Target, kind), offset_of!(Target, parameters)), (24, 40));
        assert_eq!(size_of::<Request>(), 312 + 40 + 1024);
    }

    #[test]
    fn text_that_does_not_fit_is_refused() {
        let mut field = [9; 4];
        assert!(!fill(&mut field, "four"));
        field = [0; 4];
        assert!(fill(&mut field, "abc"));
        assert_eq!(&field, b"abc\0");
    }
}
