//! Who answers the connections that machines open.

use crate::services::http::{Ends, Site, serve};
use rustix::fd::OwnedFd;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// Who answers a machine's connection.
#[derive(Clone, Debug)]
pub(crate) enum Service {
    /// A tree of resources.
    Http(Arc<Site>),
    /// A port of this host.
    Host(SocketAddr),
}

impl Service {
    /// The host's end of a new connection.
    pub(crate) fn connect(&self, ends: Ends) -> io::Result<OwnedFd> {
        match self {
            Self::Http(site) => {
                let (ours, theirs) = UnixStream::pair()?;
                ours.set_nonblocking(true)?;
                let site = Arc::clone(site);
                let name = format!("http {}", ends.peer);
                std::thread::Builder::new().name(name).spawn(move || {
                    // A machine that goes away in the middle of a response is no concern of the server.
                    let _ = serve(theirs, ends, &site);
                })?;
                Ok(ours.into())
            }
            Self::Host(address) => {
                // To this host itself, so that it does not take long.
                let stream = TcpStream::connect_timeout(address, Duration::from_secs(1))?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                Ok(stream.into())
            }
        }
    }
}
