//! The directory in which a run keeps its sockets, overlays and logs.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Variable that keeps the directories of runs that succeeded too.
pub const KEEP_VARIABLE: &str = "STEPPE_KEEP";

/// `sun_path` has 108 bytes with the closing zero; this much of it is left to `<machine>/<socket>` below the directory.
const LONGEST_DIRECTORY: usize = 107 - 60;

/// A temporary directory with a short path, removed when dropped, and removed as well when this process is killed.
#[derive(Debug)]
pub struct RunDir {
    /// Taken out when the directory is to be kept.
    directory: Option<TempDir>,
    path: PathBuf,
    sweeper: Child,
}

impl RunDir {
    /// Makes a directory below `$TMPDIR`, or below `/tmp` where that is unset or too long for the names of Unix sockets.
    ///
    /// # Errors
    /// What making a directory and starting `sh` can give.
    pub fn new() -> io::Result<Self> {
        let base = std::env::temp_dir();
        let prefix = "steppe-";
        let fits = base.as_os_str().len() + 1 + prefix.len() + 6 <= LONGEST_DIRECTORY;
        let base = if fits { base } else { PathBuf::from("/tmp") };
        let directory = tempfile::Builder::new().prefix(prefix).tempdir_in(base)?;
        let path = directory.path().to_owned();
        let sweeper = sweep_after_death(&path)?;
        let mut run = Self { directory: Some(directory), path, sweeper };
        if std::env::var_os(KEEP_VARIABLE).is_some_and(|value| !value.is_empty() && value != "0") {
            run.keep();
        }
        Ok(run)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the directory where it is for good.
    pub fn keep(&mut self) {
        if let Some(directory) = self.directory.take() {
            let _ = directory.keep();
            if let Some(mut pipe) = self.sweeper.stdin.take() {
                // When the sweeper is gone, so is the danger that it removes something.
                let _ = pipe.write_all(b"keep\n");
            }
        }
    }

    /// Whether it stays after the run.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.directory.is_none()
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if let Some(directory) = self.directory.take()
            && let Err(error) = directory.close()
        {
            eprintln!("failed to remove {}: {error}", self.path.display());
        }
        // Its input is closed here, so it ends at once; what it removes is gone already.
        drop(self.sweeper.stdin.take());
        let _ = self.sweeper.wait();
    }
}

/// Starts a shell that waits for this process to end and then removes `directory`: Ctrl-C and SIGKILL leave nothing lying about.
fn sweep_after_death(directory: &Path) -> io::Result<Child> {
    Command::new("sh")
        .arg("-c")
        .arg(r#"while read -r word; do [ "$word" = keep ] && exit 0; done; rm -rf -- "$1""#)
        .arg("sweep")
        .arg(directory)
        // Ctrl-C goes to a terminal's foreground group, and the sweeper must survive it.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dropping_removes_the_directory() {
        let run = RunDir::new().unwrap();
        let path = run.path().to_owned();
        std::fs::write(path.join("file"), "x").unwrap();
        drop(run);
        assert!(!path.exists());
    }

    #[test]
    fn keeping_keeps_it_from_both_the_owner_and_the_sweeper() {
        let mut run = RunDir::new().unwrap();
        let path = run.path().to_owned();
        run.keep();
        drop(run);
        assert!(path.exists());
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn the_sweeper_removes_it_when_the_owner_cannot() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.keep();
        let mut sweeper = sweep_after_death(&path).unwrap();
        // What the kernel does with the pipe of a process that is killed.
        drop(sweeper.stdin.take());
        assert!(sweeper.wait().unwrap().success());
        let gone = crate::Deadline::seconds(10).poll(Duration::from_millis(10), || (!path.exists()).then_some(()));
        assert_eq!(gone, Some(()));
    }
}
