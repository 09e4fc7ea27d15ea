//! Kernel events: a disk, a partition or an input device appeared.
//!
//! Format: `add@/devices/...` and then `KEY=value`, each ended by a zero byte (`lib/kobject_uevent.c`).

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, socket},
};

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uevent {
    /// `add`, `change`, `remove`.
    pub action: String,
    /// `block`, `input`, `net`.
    pub subsystem: String,
    /// Path below `/dev`, for devices that have a node.
    pub devname: Option<String>,
    /// What the device says of itself, for devices of a bus whose drivers are modules.
    pub modalias: Option<String>,
    /// The block of a verified device that is not the one that was built: `0,` and its number, or `1,` for one of hashes.
    pub corrupted: Option<String>,
}

impl Uevent {
    /// What stands for events that were lost: look again at everything.
    fn overrun() -> Self {
        Self { action: "overrun".into(), ..Self::default() }
    }

    /// Whether events were lost.
    #[must_use]
    pub fn is_overrun(&self) -> bool {
        self.action == "overrun"
    }
}

/// Reads one datagram; `None` when it is not an event of the kernel.
#[must_use]
pub fn parse(datagram: &[u8]) -> Option<Uevent> {
    let mut event = Uevent::default();
    let mut fields = datagram.split(|byte| *byte == 0);
    fields.next().filter(|head| head.contains(&b'@'))?;
    for field in fields {
        let Some((key, value)) = std::str::from_utf8(field).ok().and_then(|text| text.split_once('=')) else {
            continue;
        };
        match key {
            "ACTION" => value.clone_into(&mut event.action),
            "SUBSYSTEM" => value.clone_into(&mut event.subsystem),
            "DEVNAME" => event.devname = Some(value.to_owned()),
            "MODALIAS" => event.modalias = Some(value.to_owned()),
            "DM_VERITY_ERR_BLOCK_NR" => event.corrupted = Some(value.to_owned()),
            _ => {}
        }
    }
    (!event.action.is_empty()).then_some(event)
}

/// The socket on which the kernel tells its events.
#[derive(Debug)]
pub(super) struct Listener(OwnedFd);

impl Listener {
    /// Opens the socket. Events from before are not seen: look at what is there after opening it.
    pub(super) fn open() -> nix::Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkKObjectUEvent,
        )?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 1))?;
        Ok(Self(fd))
    }

    /// The descriptor, for a poll loop.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Everything that arrived. An overrun of the queue gives an event with the action `overrun`: look again at
    /// everything.
    pub(super) fn drain(&self) -> Vec<Uevent> {
        let mut events = Vec::new();
        let mut buffer = [0_u8; 4096];
        loop {
            match recvfrom::<NetlinkAddr>(self.0.as_raw_fd(), &mut buffer) {
                // Port 0 is the kernel; programs may send to the group too.
                Ok((size, Some(from))) if from.pid() == 0 => events.extend(parse(&buffer[..size])),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => events.push(Uevent::overrun()),
                Err(_) => return events,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_disk_appears() {
        let event = parse(b"add@/devices/x/block/vda\0ACTION=add\0DEVNAME=vda\0SUBSYSTEM=block\0SEQNUM=9\0").unwrap();
        let devname = Some("vda".into());
        assert_eq!(event, Uevent { action: "add".into(), subsystem: "block".into(), devname, ..Uevent::default() });
        let event = parse(b"add@/devices/x\0ACTION=add\0SUBSYSTEM=xen\0MODALIAS=xen:vif\0").unwrap();
        assert_eq!(event.modalias.as_deref(), Some("xen:vif"));
        let event = parse(b"change@/devices/virtual/block/dm-0\0ACTION=change\0DM_VERITY_ERR_BLOCK_NR=0,17\0").unwrap();
        assert_eq!(event.corrupted.as_deref(), Some("0,17"));
    }

    #[test]
    fn messages_of_udev_are_not_the_kernels() {
        assert_eq!(parse(b"libudev\0\xfe\xed\xca\xfe"), None);
        assert_eq!(parse(b""), None);
    }

    proptest! {
        #[test]
        fn any_bytes_parse(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
