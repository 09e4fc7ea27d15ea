//! Child processes that cannot be left behind: they die with this process, and dropping the handle kills and reaps them.

use crate::Deadline;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc};

/// A running (or ended) child process.
#[derive(Debug)]
pub struct Process {
    child: Mutex<Child>,
    /// Names the process and nothing else for as long as it is open, so that a signal never reaches a stranger with the same pid.
    handle: OwnedFd,
    id: u32,
}

impl Process {
    /// Starts `command`.
    ///
    /// It dies by SIGKILL when this process ends, however that ends, and it runs in a process group of its own, so that
    /// Ctrl-C in a terminal reaches the harness and not the machine.
    ///
    /// # Errors
    /// What starting a program can give, most often that it is not installed.
    pub fn spawn(mut command: Command) -> io::Result<Self> {
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        crate::sys::die_with_parent(&mut command);
        let mut child = start_on_lasting_thread(command)?;
        let id = child.id();
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => Ok(Self { child: Mutex::new(child), handle, id }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error.into())
            }
        }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// A descriptor that becomes readable when the process has ended.
    #[must_use]
    pub fn exit_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// How it ended, or nothing while it runs.
    ///
    /// # Errors
    /// What `waitpid` can give.
    pub fn status(&self) -> io::Result<Option<ExitStatus>> {
        self.child().try_wait()
    }

    /// Waits for the end; nothing when the deadline passes first.
    ///
    /// # Errors
    /// What `poll` and `waitpid` can give.
    pub fn wait(&self, deadline: &Deadline) -> io::Result<Option<ExitStatus>> {
        poll_readable(&[self.exit_fd()], deadline)?;
        self.status()
    }

    /// Ends it at once with SIGKILL and reaps it. Does nothing when it has ended already.
    ///
    /// # Errors
    /// What `waitpid` can give.
    pub fn kill(&self) -> io::Result<ExitStatus> {
        match pidfd_send_signal(&self.handle, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => self.child().wait(),
            Err(error) => Err(error.into()),
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing can be done about an error here, and there is none for a child of our own.
        let _ = self.kill();
    }
}

/// Waits until one of `fds` is readable (or closed by its other side), and gives the indices that are; none when the deadline passed.
pub(crate) fn poll_readable(fds: &[BorrowedFd<'_>], deadline: &Deadline) -> io::Result<Vec<usize>> {
    loop {
        let mut entries: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        let timeout = deadline.remaining().try_into().map_err(io::Error::other)?;
        match poll(&mut entries, Some(&timeout)) {
            Ok(_) => {
                let ready = entries.iter().enumerate().filter(|(_, entry)| !entry.revents().is_empty());
                return Ok(ready.map(|(index, _)| index).collect());
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Starts a command on a thread that lives as long as the process.
///
/// The signal on the parent's death comes when the *thread* that forked ends; a test that starts its machines on helper threads would
/// otherwise lose them as soon as those are joined.
fn start_on_lasting_thread(command: Command) -> io::Result<Child> {
    type Job = (Command, mpsc::Sender<io::Result<Child>>);
    static JOBS: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let jobs = JOBS.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, reply) in receiver {
                // A caller that has gone away drops the child with the reply; nobody does, they all wait below.
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let (reply, answer) = mpsc::channel();
    jobs.send((command, reply)).map_err(io::Error::other)?;
    answer.recv().map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    fn sleeper() -> Process {
        let mut command = Command::new("sleep");
        command.arg("600");
        Process::spawn(command).unwrap()
    }

    #[test]
    fn a_process_outlives_the_thread_that_started_it_and_ends_when_dropped() {
        let process = std::thread::spawn(sleeper).join().unwrap();
        assert_eq!(process.wait(&Deadline::after(std::time::Duration::from_millis(200))).unwrap(), None);
        let path = format!("/proc/{}", process.id());
        assert!(std::path::Path::new(&path).exists());
        drop(process);
        assert!(!std::path::Path::new(&path).exists());
    }

    #[test]
    fn the_exit_status_is_kept_and_killing_twice_is_harmless() {
        let process = sleeper();
        assert_eq!(process.kill().unwrap().signal(), Some(9));
        assert_eq!(process.kill().unwrap().signal(), Some(9));
        assert_eq!(process.wait(&Deadline::seconds(5)).unwrap().unwrap().signal(), Some(9));
    }

    #[test]
    fn a_missing_program_is_an_error() {
        let error = Process::spawn(Command::new("/nonexistent/program")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
