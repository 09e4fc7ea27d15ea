//! Programs that run to their end, with a limit.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use std::os::unix::process::ExitStatusExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// What a finished command left.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Exit code; minus the number of the signal that ended it.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Ran {
    /// The standard output of a command that has to succeed.
    ///
    /// # Panics
    /// When it failed.
    #[must_use]
    pub fn out(self) -> String {
        assert!(self.code == 0, "{self:#?}");
        self.stdout
    }

    /// Asserts a failure: its exit code, nothing on standard output, and `stderr` on standard error.
    ///
    /// # Panics
    /// When it is not so.
    pub fn fails(&self, code: i32, stderr: &str) {
        assert!(
            self.code == code && self.stdout.is_empty() && self.stderr.contains(stderr),
            "not `{stderr}`: {self:#?}"
        );
    }
}

/// Runs `command` to its end; its output goes through files, which no child can keep open on us.
pub(super) fn finish(mut command: Command, output: &Path, limit: Duration) -> Ran {
    let (out, err) = (output.with_extension("out"), output.with_extension("err"));
    command.stdout(File::create(&out).expect("output file")).stderr(File::create(&err).expect("output file"));
    let start = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let status = wait(&mut child, limit);
    let took = start.elapsed();
    if status.is_none() {
        child.kill().and_then(|()| child.wait()).expect("a killed child");
    }
    let (stdout, stderr) = (text(&out), text(&err));
    let status = status.unwrap_or_else(|| panic!("{command:?} did not end within {limit:?}:\n{stdout}\n{stderr}"));
    Ran { code: code(status), stdout, stderr, took }
}

/// Waits for the end of a child, at most for `limit`.
pub(super) fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    if let Some(status) = child.try_wait().expect("own child") {
        return Some(status);
    }
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("pidfd of an own child");
    let limit = Timespec::try_from(limit).expect("short time");
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).expect("poll of a pidfd");
    child.try_wait().expect("own child")
}

/// Exit code, or minus the signal.
pub(super) fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| -status.signal().unwrap_or_default())
}

pub(super) fn text(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
