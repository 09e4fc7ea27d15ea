//! Datagrams to init, in the form of `sd_notify(3)`: lines of `KEY=VALUE`.
//!
//! Nomad speaks the standard keys. The agent's own processes add keys that start with `X_STEPPE_`. init believes only
//! the sender's pid as the kernel reports it (`SCM_CREDENTIALS`): a task of Nomad that finds the socket can do nothing
//! with it, and the `X_STEPPE_` keys count only from node and console.

use std::{io, os::unix::net::UnixDatagram, path::Path};

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
    /// `X_STEPPE_START=unit`: start the unit whose specification lies in [`crate::paths::UNITS_DIR`].
    Start(String),
    /// `X_STEPPE_STOP=unit`: stop it and keep it stopped.
    Stop(String),
    /// `X_STEPPE_RESTART=unit`: stop it and start it anew.
    Restart(String),
    /// `X_STEPPE_RELOAD=unit`: send it `SIGHUP`.
    Reload(String),
    /// `X_STEPPE_POWER=reboot|poweroff`.
    Power(Power),
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
