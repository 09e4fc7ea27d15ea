//! The datagram socket on which units, node and console speak to init.

use std::{
    fs,
    io::{self, IoSliceMut},
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd},
        unix::{fs::PermissionsExt as _, net::UnixDatagram},
    },
    path::Path,
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, UnixCredentials, recvmsg, setsockopt, sockopt},
};

use crate::notify::{self, Message};

/// The socket.
#[derive(Debug)]
pub(super) struct Notifications(UnixDatagram);

impl Notifications {
    /// Makes the socket at `path`. Every user may write to it: Nomad servers do not run as root. Who is believed is
    /// decided by the sender's pid, which the kernel vouches for.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
            _ => {}
        }
        let socket = UnixDatagram::bind(path)?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
        Ok(Self(socket))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The next datagram, with the pid of who sent it; `None` when there is none left.
    pub(super) fn next(&self) -> Option<(i32, Vec<Message>)> {
        let mut buffer = [0_u8; notify::MAX_DATAGRAM];
        let mut control = cmsg_space!(UnixCredentials);
        loop {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
            let received = match recvmsg::<UnixAddr>(self.0.as_raw_fd(), &mut parts, Some(&mut control), flags) {
                Ok(received) => received,
                Err(Errno::EINTR) => continue,
                Err(_) => return None,
            };
            let cut = received.flags.contains(MsgFlags::MSG_TRUNC);
            let size = received.bytes;
            let pid = received.cmsgs().ok().and_then(|mut messages| {
                messages.find_map(|message| match message {
                    ControlMessageOwned::ScmCredentials(who) => Some(who.pid()),
                    _ => None,
                })
            });
            let Some(pid) = pid else { continue };
            let mut messages = notify::parse(&buffer[..size]);
            if cut {
                messages.pop();
            }
            return Some((pid, messages));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_is_known_and_long_datagrams_lose_their_last_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = Notifications::bind(&path).unwrap();
        assert!(socket.next().is_none());
        notify::send(&path, &[Message::Ready, Message::Phase("plan".into())]).unwrap();
        let (pid, messages) = socket.next().unwrap();
        assert_eq!(pid, std::process::id().cast_signed());
        assert_eq!(messages, [Message::Ready, Message::Phase("plan".into())]);
        notify::send(&path, &[Message::Ready, Message::Status("x".repeat(5000))]).unwrap();
        assert_eq!(socket.next().unwrap().1, [Message::Ready]);
        assert!(socket.next().is_none());
    }
}
