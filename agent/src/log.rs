//! Messages to the kernel's log, which prints them on every console and keeps them for `log kernel`.
//!
//! A line reads `steppe: text` (init) or `steppe node: text`; the kernel puts the time in front. Messages meant for
//! people have the level *notice*, which a console shows at the image's `loglevel`.

use std::{fs::OpenOptions, io::Write as _, sync::OnceLock};

/// Severity, with the number that `/dev/kmsg` takes (`syslog(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The node cannot do what it is for.
    Error = 3,
    /// Something is off.
    Warning = 4,
    /// A step of the boot, a change of state.
    Notice = 5,
    /// Detail; not on the console.
    Info = 6,
}

/// A record of the kernel's log holds at most this much of a message (`PRINTKRB_RECORD_MAX` less the prefix), in bytes.
const MAX_RECORD: usize = 900;

static WHO: OnceLock<&'static str> = OnceLock::new();

/// Names this process in its messages; the first call counts.
pub fn set_process(name: &'static str) {
    let _ = WHO.set(name);
}

/// Writes a message, one record a line. Where there is no `/dev/kmsg` (a test, a desk), it goes to stderr.
pub fn write(level: Level, text: &str) {
    let who = WHO.get().copied().unwrap_or("steppe");
    let mut kmsg = OpenOptions::new().write(true).open("/dev/kmsg").ok().filter(|_| WHO.get().is_some());
    for line in text.lines() {
        for piece in pieces(line) {
            match &mut kmsg {
                // One write is one record; a failed one has nowhere to be reported.
                Some(file) => drop(file.write_all(format!("<{}>{who}: {piece}\n", level as u8).as_bytes())),
                None => eprintln!("{who}: {piece}"),
            }
        }
    }
}

/// Cuts a line into pieces that fit a record, at character boundaries.
fn pieces(line: &str) -> Vec<&str> {
    let mut rest = line;
    let mut out = Vec::new();
    while rest.len() > MAX_RECORD {
        let cut = rest.floor_char_boundary(MAX_RECORD);
        let (head, tail) = rest.split_at(cut);
        out.push(head);
        rest = tail;
    }
    out.push(rest);
    out
}

/// Writes at level error.
#[macro_export]
macro_rules! error {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Error, &format!($($arg)*)) };
}

/// Writes at level warning.
#[macro_export]
macro_rules! warning {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Warning, &format!($($arg)*)) };
}

/// Writes at level notice.
#[macro_export]
macro_rules! notice {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Notice, &format!($($arg)*)) };
}

/// Writes at level info.
#[macro_export]
macro_rules! info {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Info, &format!($($arg)*)) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_lose_nothing() {
        let line = "ä".repeat(1000);
        let parts = pieces(&line);
        assert!(parts.len() > 1 && parts.iter().all(|p| p.len() <= MAX_RECORD));
        assert_eq!(parts.concat(), line);
    }
}
