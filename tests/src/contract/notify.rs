//! The receiving end of `NOTIFY_SOCKET`.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use super::Site;

/// A datagram socket that a supervisor would listen on.
#[derive(Debug)]
pub struct NotifySocket {
    /// What to put into `NOTIFY_SOCKET`.
    pub name: String,
    socket: UnixDatagram,
}

impl NotifySocket {
    /// A socket in the file system.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(site: &Site) -> Self {
        let path = site.dir().join("notify");
        Self { name: path.display().to_string(), socket: UnixDatagram::bind(&path).expect("notify socket") }
    }

    /// A socket in the abstract name space, written with a leading `@`.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn abstract_name(site: &Site) -> Self {
        let name = site.dir().join("notify").display().to_string();
        let address = SocketAddr::from_abstract_name(&name).expect("abstract name");
        Self { name: format!("@{name}"), socket: UnixDatagram::bind_addr(&address).expect("notify socket") }
    }

    /// The next datagram; none when nothing comes within `limit`.
    ///
    /// # Panics
    /// When the socket fails otherwise.
    #[must_use]
    pub fn next(&self, limit: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(limit)).expect("time limit");
        let mut buffer = [0; 4096];
        match self.socket.recv(&mut buffer) {
            Ok(length) => Some(String::from_utf8_lossy(&buffer[..length]).into_owned()),
            Err(why) if why.kind() == std::io::ErrorKind::WouldBlock => None,
            Err(why) => panic!("notify socket: {why}"),
        }
    }
}
