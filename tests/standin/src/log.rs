//! The log on standard output, in the agent's format.

use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::clock;

/// Importance of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// For developers.
    Debug = 1,
    /// For operators.
    Info,
    /// For operators, soon.
    Warn,
    /// For operators, now.
    Error,
}

static LEAST: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// The level as the configuration names it.
static NAME: Mutex<String> = Mutex::new(String::new());

/// The name of the level that is in force.
pub(crate) fn level_name() -> String {
    NAME.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Sets the least level that is printed, by its name in the configuration.
pub(crate) fn set_level(name: &str) {
    name.clone_into(&mut NAME.lock().unwrap_or_else(PoisonError::into_inner));
    let level = match name.to_ascii_uppercase().as_str() {
        "TRACE" | "DEBUG" => Level::Debug as u8,
        "WARN" => Level::Warn as u8,
        "ERROR" => Level::Error as u8,
        "OFF" => u8::MAX,
        _ => Level::Info as u8,
    };
    LEAST.store(level, Ordering::Relaxed);
}

/// Prints one line, if its level counts.
pub(crate) fn line(level: Level, text: &str) {
    if (level as u8) < LEAST.load(Ordering::Relaxed) {
        return;
    }
    let tag = match level {
        Level::Debug => "[DEBUG]",
        Level::Info => "[INFO] ",
        Level::Warn => "[WARN] ",
        Level::Error => "[ERROR]",
    };
    plain(&format!("    {} {tag} {text}", clock::millis()));
}

/// Prints one line as it is; a reader that is gone is no reason to end.
pub(crate) fn plain(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// A line for developers.
pub(crate) fn debug(text: impl AsRef<str>) {
    line(Level::Debug, text.as_ref());
}

/// An informative line.
pub(crate) fn info(text: impl AsRef<str>) {
    line(Level::Info, text.as_ref());
}

/// A warning.
pub(crate) fn warn(text: impl AsRef<str>) {
    line(Level::Warn, text.as_ref());
}

/// An error.
pub(crate) fn error(text: impl AsRef<str>) {
    line(Level::Error, text.as_ref());
}
