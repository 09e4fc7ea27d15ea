//! TBD.
use std::process::ExitCode;

/// Runs.
pub fn run(_tty: Option<&str>) -> ExitCode {
    ExitCode::FAILURE
}
