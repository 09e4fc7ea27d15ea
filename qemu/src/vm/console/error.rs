//! What can go wrong while one looks at a console.

use std::io;
use std::time::Duration;

/// Why a console did not show what was waited for. Each variant carries the last lines, because that is what one looks at first.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum ConsoleError {
    #[error("{machine}: no line with {pattern} within {} s; the last ones are:\n{tail}", allowed.as_secs())]
    Timeout { machine: String, pattern: String, allowed: Duration, tail: String },
    #[error(
        "{machine}: the console closed (the machine ended) before a line with {pattern}; the last ones are:\n{tail}"
    )]
    Closed { machine: String, pattern: String, tail: String },
    #[error(
        "{machine}: while waiting for {pattern} the console showed what a healthy machine does not write:\n{line}\nthe last lines are:\n{tail}"
    )]
    Fatal { machine: String, pattern: String, line: String, tail: String },
    #[error("{machine}: failed to type on the console: {source}")]
    Input { machine: String, source: io::Error },
}
