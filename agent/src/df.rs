//! TBD.
use std::process::ExitCode;

/// Runs.
pub fn run(_args: &[String]) -> ExitCode {
    ExitCode::FAILURE
}
