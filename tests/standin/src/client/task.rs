//! One task: started, watched, restarted by its policy, stopped.

use std::collections::VecDeque;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::environment::{interpolate, interpolate_all, variables};
use super::executor::{self, Exit, Handle, Order};
use super::runner::Runner;
use super::{artifact, chance, lock};
use crate::clock;
use crate::job::spec::{Restart, Task, TaskGroup};
use crate::server::objects::{Alloc, Node, TaskEvent, TaskState};

/// Runs one task.
#[derive(Debug)]
pub(super) struct TaskRunner {
    node: Node,
    alloc: Alloc,
    group: TaskGroup,
    task: Task,
    dir: PathBuf,
    handle: Mutex<Option<Handle>>,
    state: Mutex<TaskState>,
    restart: Notify,
    /// Longest time that the node gives a task to stop.
    limit: Duration,
}

/// What follows the end of a process.
enum Next {
    Done,
    Failed,
    Again(Duration),
}

impl TaskRunner {
    pub(super) fn new(
        node: Node,
        alloc: Alloc,
        group: TaskGroup,
        task: Task,
        dir: PathBuf,
        limit: Duration,
    ) -> Arc<Self> {
        let state = alloc
            .task_states
            .get(&task.name)
            .cloned()
            .unwrap_or_else(|| TaskState { state: "pending".into(), ..TaskState::default() });
        Arc::new(Self {
            node,
            alloc,
            group,
            task,
            dir,
            handle: Mutex::new(None),
            state: Mutex::new(state),
            restart: Notify::new(),
            limit,
        })
    }

    /// Sends a signal to the task.
    pub(super) fn signal(&self, runner: &Runner, signal: Signal) {
        self.event(runner, "Signaling", "Task being sent a signal", None);
        if let Some(handle) = &*lock(&self.handle) {
            handle.signal(signal);
        }
    }

    /// Runs a command where the task runs, with its environment. Blocks.
    ///
    /// # Errors
    /// If the command cannot be started.
    pub(super) fn exec(&self, words: &[String], input: &[u8]) -> Result<Output, String> {
        let (program, args) = words.split_first().ok_or("command is not present")?;
        let variables = variables(&self.alloc, &self.group, &self.task, &self.node, &self.dir);
        let mut child = Command::new(program)
            .args(args)
            .envs(variables)
            .current_dir(self.dir.join(&self.task.name))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                format!("failed to start command: fork/exec {program}: {}", crate::config::words(&error))
            })?;
        let pipe = child.stdin.take();
        std::thread::scope(|scope| {
            // Written from a thread of its own: the command may answer before it has read everything.
            scope.spawn(move || pipe.map(|mut pipe| pipe.write_all(input)));
            child.wait_with_output()
        })
        .map_err(|error| error.to_string())
    }

    /// Stops the task and starts it again, whatever its policy says.
    pub(super) fn restart(&self) {
        self.restart.notify_one();
    }

    fn change(&self, runner: &Runner, change: impl FnOnce(&mut TaskState)) {
        let state = {
            let mut state = lock(&self.state);
            change(&mut state);
            state.clone()
        };
        runner.note(&self.task.name, state, lock(&self.handle).clone());
    }

    fn event(&self, runner: &Runner, kind: &str, text: &str, exit: Option<&Exit>) {
        let event = TaskEvent {
            kind: kind.into(),
            time: clock::now(),
            display_message: text.into(),
            exit_code: exit.map_or(0, |exit| exit.code),
            signal: exit.map_or(0, |exit| exit.signal),
        };
        self.change(runner, |state| {
            state.events.push(event);
            let extra = state.events.len().saturating_sub(10);
            state.events.drain(..extra);
        });
    }

    /// Runs to the end; whether that is a failure.
    pub(super) async fn run(
        &self,
        runner: &Runner,
        restored: Option<Handle>,
        mut stopping: watch::Receiver<bool>,
    ) -> bool {
        let mut restored = restored;
        let mut history = VecDeque::new();
        if restored.is_none() {
            self.event(runner, "Received", "Task received by client", None);
            self.event(runner, "Task Setup", "Building Task Directory", None);
        }
        loop {
            if *stopping.borrow() && restored.is_none() {
                return self.finish(runner, false);
            }
            let started = match restored.take() {
                Some(handle) => Ok(handle),
                None => self.launch(runner).await,
            };
            let exit = match started {
                Ok(handle) => {
                    *lock(&self.handle) = Some(handle.clone());
                    self.change(runner, |state| {
                        if state.state != "running" {
                            state.state = "running".into();
                            state.started_at = Some(clock::precise(clock::now()));
                        }
                    });
                    let exit = tokio::select! {
                        exit = handle.wait() => exit,
                        () = stopped(&mut stopping) => {
                            self.kill(runner, &handle).await;
                            return self.finish(runner, false);
                        }
                        () = self.restart.notified() => {
                            self.event(runner, "Restart Signaled", "User requested restart", None);
                            self.kill(runner, &handle).await;
                            self.again(runner);
                            continue;
                        }
                    };
                    *lock(&self.handle) = None;
                    let text = match (&exit.error, exit.signal) {
                        (Some(error), _) => format!("Exit Code: {}, Exit Message: {error:?}", exit.code),
                        (None, 0) => format!("Exit Code: {}", exit.code),
                        (None, signal) => format!("Exit Code: {}, Signal: {signal}", exit.code),
                    };
                    self.event(runner, "Terminated", &text, Some(&exit));
                    exit
                }
                Err(error) => {
                    self.event(runner, "Driver Failure", &error, None);
                    Exit { code: 1, signal: 0, error: Some(error) }
                }
            };
            match self.decide(&exit, &mut history) {
                Next::Done => return self.finish(runner, false),
                Next::Failed => {
                    self.event(
                        runner,
                        "Not Restarting",
                        "Exceeded allowed attempts in interval and mode is \"fail\"",
                        None,
                    );
                    return self.finish(runner, true);
                }
                Next::Again(pause) => {
                    self.change(runner, |state| state.state = "pending".into());
                    self.event(
                        runner,
                        "Restarting",
                        &format!("Task restarting in {}", crate::server::go_duration(pause)),
                        None,
                    );
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = stopped(&mut stopping) => return self.finish(runner, false),
                    }
                    self.again(runner);
                }
            }
        }
    }

    fn again(&self, runner: &Runner) {
        self.change(runner, |state| {
            state.restarts += 1;
            state.last_restart = Some(clock::precise(clock::now()));
        });
    }

    fn finish(&self, runner: &Runner, failed: bool) -> bool {
        *lock(&self.handle) = None;
        self.change(runner, |state| {
            state.state = "dead".into();
            state.failed = failed;
            state.finished_at = Some(clock::precise(clock::now()));
        });
        failed
    }

    async fn launch(&self, runner: &Runner) -> Result<Handle, String> {
        let variables = variables(&self.alloc, &self.group, &self.task, &self.node, &self.dir);
        let dir = self.dir.join(&self.task.name);
        if !self.task.artifacts.is_empty() {
            self.event(runner, "Downloading Artifacts", "Client is downloading artifacts", None);
        }
        for artifact in &self.task.artifacts {
            let mut artifact = artifact.clone();
            artifact.source = interpolate(&artifact.source, &variables, &self.node);
            artifact.destination = interpolate(&artifact.destination, &variables, &self.node);
            let dir = dir.clone();
            let fetched = tokio::task::spawn_blocking(move || artifact::fetch(&artifact, &dir)).await;
            fetched.map_err(|error| error.to_string())??;
        }
        if self.task.driver != "raw_exec" {
            return Err(format!("driver {:?} is not supported by the stand-in", self.task.driver));
        }
        if !self.task.user.is_empty() && self.task.user != "root" {
            return Err("user of a task is not supported by the stand-in".into());
        }
        let config = interpolate_all(&Value::Object(self.task.config.clone()), &variables, &self.node);
        for key in self.task.config.keys() {
            if !matches!(key.as_str(), "command" | "args") {
                return Err(format!("{key:?} in config of raw_exec is not supported by the stand-in"));
            }
        }
        // `interpolate_all` leaves objects alone, so the two keys are taken from the inside.
        let command = interpolate(self.task.config["command"].as_str().unwrap_or_default(), &variables, &self.node);
        let args = config
            .get("args")
            .and_then(|args| interpolate_all(args, &variables, &self.node).as_array().cloned())
            .unwrap_or_default();
        let args = args.iter().map(|arg| arg.as_str().map_or_else(|| arg.to_string(), str::to_owned)).collect();
        // A relative program is one that an artifact has put into the task's directory.
        let own = dir.join(&command);
        let command = if command.contains('/') && !command.starts_with('/') && own.exists() {
            own.to_string_lossy().into_owned()
        } else {
            command
        };
        let logs = self.dir.join("alloc/logs");
        let order = Order {
            log_file: dir.join("executor.out"),
            dir,
            command,
            args,
            env: variables,
            stdout: logs.join(format!("{}.stdout.0", self.task.name)),
            stderr: logs.join(format!("{}.stderr.0", self.task.name)),
        };
        let handle = executor::start(&order).await?;
        *lock(&self.handle) = Some(handle.clone());
        self.event(runner, "Started", "Task started by client", None);
        Ok(handle)
    }

    async fn kill(&self, runner: &Runner, handle: &Handle) {
        self.event(runner, "Killing", "Sent interrupt. Waiting 5s before force killing", None);
        handle.signal(signal_by_name(&self.task.kill_signal).unwrap_or(Signal::INT));
        let wait = u64::try_from(self.task.kill_timeout.unwrap_or(5 * clock::SECOND))
            .map_or(Duration::from_secs(5), Duration::from_nanos)
            .min(self.limit);
        let exit = if let Ok(exit) = tokio::time::timeout(wait, handle.wait()).await {
            exit
        } else {
            handle.kill();
            handle.wait().await
        };
        *lock(&self.handle) = None;
        self.event(runner, "Terminated", &format!("Exit Code: {}, Signal: {}", exit.code, exit.signal), Some(&exit));
        self.event(runner, "Killed", "Task successfully killed", None);
    }

    fn decide(&self, exit: &Exit, history: &mut VecDeque<Instant>) -> Next {
        if exit.code == 0 && exit.error.is_none() && self.alloc.job.kind == "batch" {
            return Next::Done;
        }
        let policy: &Restart = match &self.task.restart_policy {
            Some(policy) => policy,
            None => return Next::Failed,
        };
        let time =
            |nanos: Option<i64>| Duration::from_nanos(nanos.and_then(|nanos| u64::try_from(nanos).ok()).unwrap_or(0));
        let (interval, delay) = (time(policy.interval), time(policy.delay));
        while history.front().is_some_and(|at| at.elapsed() > interval) {
            history.pop_front();
        }
        let attempts = usize::try_from(policy.attempts.unwrap_or(0)).unwrap_or(usize::MAX);
        let jitter = delay.mul_f64(chance() / 4.0);
        if history.len() < attempts {
            history.push_back(Instant::now());
            return Next::Again(delay + jitter);
        }
        if policy.mode.as_deref() == Some("delay") && attempts > 0 {
            // Wait until the interval is over, then count anew.
            let left = history.front().map_or(Duration::ZERO, |at| interval.saturating_sub(at.elapsed()));
            history.clear();
            history.push_back(Instant::now());
            return Next::Again(left + jitter);
        }
        if exit.code == 0 && exit.error.is_none() && self.alloc.job.kind != "service" {
            Next::Done
        } else {
            Next::Failed
        }
    }
}

/// Waits until the task shall stop. The guard of the watch must not live across an await.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// A signal by its name.
#[must_use]
pub(super) fn signal_by_name(name: &str) -> Option<Signal> {
    Some(match name.trim_start_matches("SIG") {
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "QUIT" => Signal::QUIT,
        "KILL" => Signal::KILL,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        "TERM" => Signal::TERM,
        _ => return None,
    })
}
