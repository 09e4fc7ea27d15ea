//! The two programs that make and check ext4: `mke2fs` and `e2fsck`.

use std::{
    io,
    path::Path,
    process::{Command, Output},
};

use super::probe::UNFINISHED_LABEL;

/// Why one of the programs did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It cannot be run.
    #[error("failed to run {tool}: {source}")]
    Run {
        /// The program.
        tool: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It failed.
    #[error("{tool} failed ({code}): {text}")]
    Failed {
        /// The program.
        tool: &'static str,
        /// Exit code or signal.
        code: String,
        /// What it printed last.
        text: String,
    },
}

/// What `e2fsck -p` says with its exit code (`e2fsck(8)`): a sum of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Nothing to do.
    Clean,
    /// Errors were corrected.
    Repaired,
    /// Errors are left, or the program failed: the file system must not be used.
    Broken(&'static str),
}

/// Reads the exit code.
#[must_use]
pub fn verdict(code: i32) -> Check {
    match code {
        0 => Check::Clean,
        // 2 asks for a reboot when the file system was mounted, which it is not here.
        1..=3 => Check::Repaired,
        code if code & 4 != 0 => Check::Broken("it has errors that only a person may repair"),
        code if code & 8 != 0 => Check::Broken("the check met an operational error"),
        _ => Check::Broken("the check could not be run"),
    }
}

/// Checks the file system on `device` and repairs what can be repaired without loss. Returns what was printed, too.
///
/// # Errors
/// When the program cannot be run or was killed.
pub fn check(device: &Path) -> Result<(Check, String), ToolError> {
    let output = run("/usr/sbin/e2fsck", &["-p"], device)?;
    let text = last_words(&output);
    match output.status.code() {
        Some(code) => Ok((verdict(code), text)),
        None => Err(ToolError::Failed { tool: "/usr/sbin/e2fsck", code: output.status.to_string(), text }),
    }
}

/// Makes an ext4 file system whose label says that it is not finished.
///
/// # Errors
/// When the program fails.
pub fn format(device: &Path) -> Result<(), ToolError> {
    const TOOL: &str = "/usr/sbin/mke2fs";
    let options = [
        "-q",
        "-F",
        "-t",
        "ext4",
        "-m",
        "1",
        "-L",
        UNFINISHED_LABEL,
        "-E",
        "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
    ];
    let output = run(TOOL, &options, device)?;
    if output.status.success() {
        return Ok(());
    }
    Err(ToolError::Failed { tool: TOOL, code: output.status.to_string(), text: last_words(&output) })
}

/// Runs before there is any other child, so waiting for this one takes nothing away from the loop's single waiter.
fn run(tool: &'static str, options: &[&str], device: &Path) -> Result<Output, ToolError> {
    Command::new(tool).args(options).arg(device).env_clear().output().map_err(|source| ToolError::Run { tool, source })
}

/// The last lines of what was printed, as one.
fn last_words(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(4)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_of_the_check() {
        assert_eq!(verdict(0), Check::Clean);
        assert_eq!(verdict(1), Check::Repaired);
        assert_eq!(verdict(3), Check::Repaired);
        for code in [4, 5, 6, 8, 12, 16, 32, 128] {
            assert!(matches!(verdict(code), Check::Broken(_)), "{code}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let why = run("/nonexistent/mke2fs", &[], Path::new("/dev/null")).unwrap_err().to_string();
        assert!(why.starts_with("failed to run /nonexistent/mke2fs: "), "{why}");
    }
}
