//! Datagrams to init, in the form of `sd_notify(3)`: lines of `KEY=VALUE`.
//!
//! Nomad speaks the standard keys. The agent's own processes add keys that start with `X_STEPPE_`. init believes only
//! the sender's pid as the kernel reports it (`SCM_CREDENTIALS`): a task of Nomad that finds the socket can do nothing
//! with it, and the `X_STEPPE_` keys count only from node and console.
//!
//! One message has an answer: [`Message::Module`]. It is sent from a socket with a name, and init answers to that.

use std::{
    io,
    os::{fd::AsRawFd as _, unix::net::UnixDatagram},
    path::Path,
    time::Duration,
};

use nix::sys::socket::{UnixAddr, bind};

/// One assignment of a datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// `READY=1`: the sender is up.
    Ready,
    /// `RELOADING=1`: the sender reads its configuration again.
    Reloading,
    /// `STOPPING=1`: the sender ends.
    Stopping,
    /// `STATUS=...`: free text for people.
    Status(String),
    /// `X_STEPPE_PHASE=...`: a point of the boot's timeline was reached.
    Phase(String),
    /// `X_STEPPE_START=unit`: start it; `nomad` as the specification in [`crate::paths::UNITS_DIR`] says.
    Start(String),
    /// `X_STEPPE_STOP=unit`: stop it and keep it stopped.
    Stop(String),
    /// `X_STEPPE_RESTART=unit`: stop it and start it anew.
    Restart(String),
    /// `X_STEPPE_RELOAD=unit`: send it `SIGHUP`.
    Reload(String),
    /// `X_STEPPE_POWER=reboot|poweroff`.
    Power(Power),
    /// `X_STEPPE_MODULE=name`: load this kernel module, one of those that the image offers by name. The answer, when it
    /// is there, is the same again, else [`Message::Failed`].
    Module(String),
    /// `X_STEPPE_UPDATE=job arguments`: do one of [`crate::update::JOBS`].
    Update(String),
    /// `X_STEPPE_FAILED=why`: an answer.
    Failed(String),
    /// A key that this program does not know; ignored.
    Other(String),
}

/// How the machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Restart.
    Reboot,
    /// Switch off.
    Off,
}

/// The largest datagram init reads, in bytes. Longer ones are cut by the kernel and their last line is ignored.
pub const MAX_DATAGRAM: usize = 4096;

impl Message {
    /// The line, without its newline. Newlines in values become spaces.
    #[must_use]
    pub fn line(&self) -> String {
        let (key, value) = match self {
            Self::Ready => ("READY", "1"),
            Self::Reloading => ("RELOADING", "1"),
            Self::Stopping => ("STOPPING", "1"),
            Self::Status(text) => ("STATUS", text.as_str()),
            Self::Phase(text) => ("X_STEPPE_PHASE", text.as_str()),
            Self::Start(unit) => ("X_STEPPE_START", unit.as_str()),
            Self::Stop(unit) => ("X_STEPPE_STOP", unit.as_str()),
            Self::Restart(unit) => ("X_STEPPE_RESTART", unit.as_str()),
            Self::Reload(unit) => ("X_STEPPE_RELOAD", unit.as_str()),
            Self::Power(Power::Reboot) => ("X_STEPPE_POWER", "reboot"),
            Self::Power(Power::Off) => ("X_STEPPE_POWER", "poweroff"),
            Self::Module(name) => ("X_STEPPE_MODULE", name.as_str()),
            Self::Update(job) => ("X_STEPPE_UPDATE", job.as_str()),
            Self::Failed(why) => ("X_STEPPE_FAILED", why.as_str()),
            Self::Other(line) => return line.replace('\n', " "),
        };
        format!("{key}={}", value.replace('\n', " "))
    }

    fn parse(line: &str) -> Self {
        let Some((key, value)) = line.split_once('=') else { return Self::Other(line.to_owned()) };
        let text = || value.to_owned();
        match (key, value) {
            ("READY", "1") => Self::Ready,
            ("RELOADING", "1") => Self::Reloading,
            ("STOPPING", "1") => Self::Stopping,
            ("STATUS", _) => Self::Status(text()),
            ("X_STEPPE_PHASE", _) => Self::Phase(text()),
            ("X_STEPPE_START", _) => Self::Start(text()),
            ("X_STEPPE_STOP", _) => Self::Stop(text()),
            ("X_STEPPE_RESTART", _) => Self::Restart(text()),
            ("X_STEPPE_RELOAD", _) => Self::Reload(text()),
            ("X_STEPPE_POWER", "reboot") => Self::Power(Power::Reboot),
            ("X_STEPPE_POWER", "poweroff") => Self::Power(Power::Off),
            ("X_STEPPE_MODULE", _) => Self::Module(text()),
            ("X_STEPPE_UPDATE", _) => Self::Update(text()),
            ("X_STEPPE_FAILED", _) => Self::Failed(text()),
            _ => Self::Other(line.to_owned()),
        }
    }
}

/// All assignments of a datagram; bytes that are not UTF-8 are replaced.
#[must_use]
pub fn parse(datagram: &[u8]) -> Vec<Message> {
    String::from_utf8_lossy(datagram).lines().filter(|line| !line.is_empty()).map(Message::parse).collect()
}

/// Sends messages as one datagram to the socket at `path`.
///
/// # Errors
/// When the socket cannot be reached.
pub fn send(path: &Path, messages: &[Message]) -> io::Result<()> {
    let text = messages.iter().map(Message::line).collect::<Vec<_>>().join("\n");
    UnixDatagram::unbound()?.send_to(text.as_bytes(), path).map(|_| ())
}

/// How long the driver of a device may take to begin.
const MODULE_LIMIT: Duration = Duration::from_secs(30);

/// Has init load a kernel module that the image offers by name, and waits until it is loaded. One that is there already is
/// fine. `socket` is init's: [`crate::paths::NOTIFY_SOCKET`].
///
/// # Errors
/// When the image does not offer it, the kernel refuses it, or init does not answer in time.
pub fn load_module(socket: &Path, name: &str) -> Result<(), ModuleRequestError> {
    let failed = |source| ModuleRequestError::Ask { name: name.to_owned(), source };
    let own = UnixDatagram::unbound().map_err(failed)?;
    // The kernel chooses the name. A connected socket takes datagrams from nobody else.
    bind(own.as_raw_fd(), &UnixAddr::new_unnamed()).map_err(|why| failed(why.into()))?;
    own.connect(socket).map_err(failed)?;
    own.set_read_timeout(Some(MODULE_LIMIT)).map_err(failed)?;
    own.send(Message::Module(name.to_owned()).line().as_bytes()).map_err(failed)?;
    let mut answer = [0; MAX_DATAGRAM];
    let length = own.recv(&mut answer).map_err(failed)?;
    match parse(&answer[..length]).into_iter().next() {
        Some(Message::Module(_)) => Ok(()),
        Some(Message::Failed(why)) => Err(ModuleRequestError::Refused(why)),
        _ => Err(failed(io::ErrorKind::InvalidData.into())),
    }
}

/// Why a module is not there.
#[derive(Debug, thiserror::Error)]
pub enum ModuleRequestError {
    /// init cannot be asked or does not answer.
    #[error("failed to ask init for the kernel module {name}: {source}")]
    Ask {
        /// The module.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// init's words.
    #[error("{0}")]
    Refused(String),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nomad_reload_is_understood() {
        let messages = parse(b"RELOADING=1\nMONOTONIC_USEC=12");
        assert_eq!(messages, [Message::Reloading, Message::Other("MONOTONIC_USEC=12".into())]);
    }

    #[test]
    fn ready_needs_the_value_one() {
        assert_eq!(parse(b"READY=0"), [Message::Other("READY=0".into())]);
    }

    proptest! {
        #[test]
        fn any_bytes_parse(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn own_messages_survive(text in "[ -~]{0,60}") {
            let message = Message::Status(text);
            prop_assert_eq!(parse(message.line().as_bytes()), vec![message]);
        }
    }
}
