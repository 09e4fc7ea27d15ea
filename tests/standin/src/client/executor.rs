//! The executor: one detached process for each task, so that tasks outlive the agent.
//!
//! Agent and executor speak through two files: `executor.pid`, written when the task runs, and `executor.exit`, written when it has ended.
//! The agent waits for the executor itself with a pidfd, whether it is its child or was found after a restart.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;

use crate::sys::watch_process;

/// What an executor is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Order {
    /// Its own log.
    pub(crate) log_file: PathBuf,
    /// The task's directory.
    pub(crate) dir: PathBuf,
    /// Program.
    pub(crate) command: String,
    /// Arguments.
    pub(crate) args: Vec<String>,
    /// Environment, on top of the inherited one.
    pub(crate) env: BTreeMap<String, String>,
    /// Standard output.
    pub(crate) stdout: PathBuf,
    /// Standard error.
    pub(crate) stderr: PathBuf,
}

/// How to find a running task again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handle {
    /// The executor.
    pub(crate) executor: i32,
    /// Its start time in clock ticks, so that a reused number is recognised.
    pub(crate) started: u64,
    /// The task.
    pub(crate) task: i32,
    /// Where the two files are.
    pub(crate) dir: PathBuf,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    /// Exit code; 128 plus the signal, if it was one.
    pub(crate) code: i32,
    /// Signal, or 0.
    pub(crate) signal: i32,
    /// Why it did not even start.
    pub(crate) error: Option<String>,
}

fn pid_file(dir: &Path) -> PathBuf {
    dir.join("executor.pid")
}

fn exit_file(dir: &Path) -> PathBuf {
    dir.join("executor.exit")
}

fn put(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, path)
}

/// The executor's own life: `nomad executor {json}`.
#[must_use]
pub(crate) fn main(order: &str) -> ExitCode {
    let Ok(order) = serde_json::from_str::<Order>(order) else {
        eprintln!("executor: bad order");
        return ExitCode::FAILURE;
    };
    // A session of its own: nothing that happens to the agent's group reaches the task.
    let _ = rustix::process::setsid();
    let exit = match run(&order) {
        Ok(exit) => exit,
        Err(error) => Exit { code: -1, signal: 0, error: Some(error) },
    };
    let text = serde_json::to_string(&exit).unwrap_or_default();
    match put(&exit_file(&order.dir), &text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(order: &Order) -> Result<Exit, String> {
    let open = |path: &Path| {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|error| format!("failed to open {}: {error}", path.display()))
    };
    make_executable(order);
    let mut command = Command::new(&order.command);
    command
        .args(&order.args)
        .envs(&order.env)
        .current_dir(&order.dir)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(open(&order.stdout)?)
        .stderr(open(&order.stderr)?);
    let mut child = command.spawn().map_err(|error| {
        format!("failed to launch command with executor: fork/exec {}: {}", order.command, crate::config::words(&error))
    })?;
    let _ = put(&pid_file(&order.dir), &child.id().to_string());
    let status = child.wait().map_err(|error| error.to_string())?;
    if let Some(pid) = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)) {
        // What the task has left behind goes with it.
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let signal = status.signal().unwrap_or(0);
    Ok(Exit { code: status.code().unwrap_or(128 + signal), signal, error: None })
}

/// A program inside the task's directory was fetched, and HTTP knows no modes: it may be run from now on. When that
/// fails, starting it says why.
fn make_executable(order: &Order) {
    let path = Path::new(&order.command);
    if !path.starts_with(&order.dir) {
        return;
    }
    if let Ok(found) = fs::metadata(path) {
        let mode = found.permissions().mode();
        if mode & 0o111 == 0 {
            let _ = fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o111));
        }
    }
}

/// Starts an executor and waits until its task runs or has failed to.
///
/// # Errors
/// Why there is no task.
pub(crate) async fn start(order: &Order) -> Result<Handle, String> {
    let text = |error: std::io::Error| error.to_string();
    for file in [pid_file(&order.dir), exit_file(&order.dir)] {
        let _ = fs::remove_file(file);
    }
    let json = serde_json::to_string(order).map_err(|error| error.to_string())?;
    let log = File::create(&order.log_file).map_err(text)?;
    let program = std::env::current_exe().map_err(text)?;
    let mut child = Command::new(program)
        .arg("executor")
        .arg(json)
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(text)?)
        .stderr(log)
        .spawn()
        .map_err(text)?;
    let executor = i32::try_from(child.id()).unwrap_or(0);
    let started = start_time(executor).unwrap_or(0);
    // Reap it whenever it ends; a blocking wait on a thread of its own would cost one for each task.
    let fd = watch(executor)?;
    tokio::spawn(async move {
        let _ = fd.readable().await;
        let _ = child.wait();
    });
    let dir = order.dir.clone();
    loop {
        if let Some(task) = fs::read_to_string(pid_file(&dir)).ok().and_then(|text| text.trim().parse().ok()) {
            return Ok(Handle { executor, started, task, dir });
        }
        if let Some(exit) = exit(&dir) {
            return Err(exit.error.unwrap_or_else(|| "executor ended early".into()));
        }
        if start_time(executor) != Some(started) {
            return Err("executor ended early".into());
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

fn exit(dir: &Path) -> Option<Exit> {
    serde_json::from_slice(&fs::read(exit_file(dir)).ok()?).ok()
}

fn watch(pid: i32) -> Result<AsyncFd<OwnedFd>, String> {
    let pid = Pid::from_raw(pid).ok_or("no pid")?;
    watch_process(pid).map_err(|error| format!("failed to watch a process: {error}"))
}

/// Start time of a process in clock ticks since boot; nothing for one that is gone or a zombie.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = stat.rsplit_once(") ")?.1;
    let fields: Vec<&str> = rest.split(' ').collect();
    if *fields.first()? == "Z" {
        return None;
    }
    fields.get(19)?.parse().ok()
}

impl Handle {
    /// Whether the executor is still the one that was started.
    #[must_use]
    pub(crate) fn alive(&self) -> bool {
        start_time(self.executor) == Some(self.started)
    }

    /// Waits until the task has ended; nothing is known about a task whose executor was killed.
    pub(crate) async fn wait(&self) -> Exit {
        while self.alive() {
            match watch(self.executor) {
                Ok(fd) => drop(fd.readable().await.map(|_| ())),
                Err(_) => break,
            }
        }
        exit(&self.dir).unwrap_or_else(|| Exit {
            code: 0,
            signal: 0,
            error: Some("executor: plugin is shut down".into()),
        })
    }

    /// Sends a signal to the task.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.task).filter(|_| self.alive()) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills the task and everything in its group.
    pub(crate) fn kill(&self) {
        if let Some(pid) = Pid::from_raw(self.task).filter(|_| self.alive()) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}
