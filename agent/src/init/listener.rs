//! The datagram socket on which units, node and console speak to init.

use std::{
    fs,
    io::{self, IoSliceMut},
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd},
        unix::{fs::PermissionsExt as _, net::UnixDatagram},
    },
    path::Path,
    time::Duration,
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, UnixCredentials, recvmsg, sendto, setsockopt, sockopt},
};

use crate::{
    info,
    notify::{self, Message},
};

use super::stay;

/// The socket.
#[derive(Debug)]
pub(super) struct Notifications(UnixDatagram);

/// A datagram.
#[derive(Debug, Default)]
pub(super) struct Datagram {
    /// Who sent it; `None` when that is not told, as when file descriptors came with it.
    pub(super) pid: Option<i32>,
    /// What it says; nothing when its sender is not told.
    pub(super) messages: Vec<Message>,
    /// Where an answer may go.
    from: Option<UnixAddr>,
}

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

    /// The next datagram; `None` when there is none left. One whose sender is not told is given back too: the caller's
    /// bound counts it.
    pub(super) fn next(&self) -> Option<Datagram> {
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
            if pid.is_none() {
                return Some(Datagram::default());
            }
            let from = received.address;
            let mut messages = notify::parse(&buffer[..size]);
            if cut {
                messages.pop();
            }
            return Some(Datagram { pid, messages, from });
        }
    }

    /// Answers a datagram. init waits for nobody: an answer that finds no room is lost, and who waits for it gives up.
    pub(super) fn answer(&self, to: &Datagram, message: &Message) {
        let Some(address) = to.from.as_ref().filter(|from| from.as_abstract().is_some() || from.path().is_some())
        else {
            return;
        };
        let line = message.line();
        if let Err(why) = sendto(self.0.as_raw_fd(), line.as_bytes(), address, MsgFlags::MSG_DONTWAIT) {
            info!("failed to answer {line}: {why}");
        }
    }
}

/// What is said about messages from processes that are no units: one line every ten seconds, however many they send.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    next: Duration,
    unsaid: u64,
}

impl Strangers {
    /// Counts a message that arrived at `now`; gives the line when it is time for one.
    pub(super) fn count(&mut self, pid: Option<i32>, now: Duration) -> Option<String> {
        if now < self.next {
            self.unsaid += 1;
            return None;
        }
        self.next = now + stay::REPEAT;
        let who = pid.map_or_else(|| "an unknown process".to_owned(), |pid| format!("process {pid}"));
        let more = match std::mem::take(&mut self.unsaid) {
            0 => String::new(),
            unsaid => format!(" ({unsaid} more since the last line like this)"),
        };
        Some(format!("{who} sent a message but is no unit: ignored{more}"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use nix::{
        poll::{PollFd, PollFlags, PollTimeout, poll},
        sys::socket::{ControlMessage, sendmsg},
    };

    use super::*;

    #[test]
    fn the_sender_is_known_and_long_datagrams_lose_their_last_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = Notifications::bind(&path).unwrap();
        assert!(socket.next().is_none());
        notify::send(&path, &[Message::Ready, Message::Phase("plan".into())]).unwrap();
        let datagram = socket.next().unwrap();
        assert_eq!(datagram.pid, Some(std::process::id().cast_signed()));
        assert_eq!(datagram.messages, [Message::Ready, Message::Phase("plan".into())]);
        notify::send(&path, &[Message::Ready, Message::Status("x".repeat(5000))]).unwrap();
        assert_eq!(socket.next().unwrap().messages, [Message::Ready]);
        assert!(socket.next().is_none());
    }

    #[test]
    fn each_datagram_with_a_descriptor_counts_and_does_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = Notifications::bind(&path).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        let (to, fds) = (UnixAddr::new(&path).unwrap(), [sender.as_raw_fd()]);
        for _ in 0..2 {
            let rights = [ControlMessage::ScmRights(&fds)];
            let text = [IoSlice::new(b"READY=1")];
            sendmsg(sender.as_raw_fd(), &text, &rights, MsgFlags::empty(), Some(&to)).unwrap();
        }
        notify::send(&path, &[Message::Ready]).unwrap();
        for _ in 0..2 {
            let datagram = socket.next().unwrap();
            assert_eq!((datagram.pid, datagram.messages), (None, Vec::new()));
        }
        assert_eq!(socket.next().unwrap().messages, [Message::Ready]);
        assert!(socket.next().is_none());
    }

    #[test]
    fn a_module_is_asked_for_and_the_answer_arrives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = Notifications::bind(&path).unwrap();
        let asker = std::thread::spawn(move || {
            ["bonding", "nvidia"].map(|name| notify::load_module(&path, name).map_err(|why| why.to_string()))
        });
        for answer in [Message::Module("bonding".into()), Message::Failed("this image has no nvidia".into())] {
            poll(&mut [PollFd::new(socket.fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
            let datagram = socket.next().unwrap();
            assert!(matches!(&datagram.messages[..], [Message::Module(_)]), "{datagram:?}");
            socket.answer(&datagram, &answer);
        }
        assert_eq!(asker.join().unwrap(), [Ok(()), Err("this image has no nvidia".to_owned())]);
    }

    #[test]
    fn strangers_get_one_line_in_ten_seconds() {
        let mut strangers = Strangers::default();
        let at = Duration::from_secs;
        assert_eq!(strangers.count(Some(7), at(5)).unwrap(), "process 7 sent a message but is no unit: ignored");
        assert_eq!(strangers.count(Some(7), at(6)), None);
        assert_eq!(strangers.count(None, at(14)), None);
        let line = strangers.count(None, at(15)).unwrap();
        assert!(line.starts_with("an unknown process sent") && line.contains("(2 more since"), "{line}");
        assert!(strangers.count(None, at(26)).unwrap().ends_with("ignored"));
    }
}
