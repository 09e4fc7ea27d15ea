//! Readiness for whoever started the agent: datagrams on `NOTIFY_SOCKET`.

use std::os::unix::net::UnixDatagram;

/// Where to say it.
#[derive(Debug)]
pub(super) struct Notify {
    path: Option<String>,
}

impl Notify {
    /// From the environment.
    pub(super) fn from_env() -> Self {
        Self { path: std::env::var("NOTIFY_SOCKET").ok().filter(|path| !path.is_empty()) }
    }

    /// Says it; a socket that is missing or dead is no reason to stop.
    pub(super) fn say(&self, text: &str) {
        let Some(path) = &self.path else { return };
        let Ok(socket) = UnixDatagram::unbound() else { return };
        let _ = match path.strip_prefix('@') {
            Some(name) => {
                use std::os::linux::net::SocketAddrExt;
                std::os::unix::net::SocketAddr::from_abstract_name(name)
                    .and_then(|address| socket.send_to_addr(text.as_bytes(), &address))
            }
            None => socket.send_to(text.as_bytes(), path),
        };
    }

    /// `RELOADING=1` with the time that goes with it.
    pub(super) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }
}
