//! A running machine.

use crate::Deadline;
use crate::process::{Process, poll_readable};
use crate::vm::argv::{QEMU, Wiring, argv, replay_script};
use crate::vm::config::VmConfig;
use crate::vm::console::Console;
use crate::vm::qmp::{Qmp, QmpError};
use rustix::fd::AsFd as _;
use serde_json::{Value, json};
use std::fs::File;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// How long QEMU may take to load the kernel and connect to the harness; a second when the host is idle.
const CONNECT_TIME: Duration = Duration::from_secs(60);

/// Why a machine does not do what it should.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum VmError {
    #[error("{name}: failed to start {QEMU}: {source} (it is in the package `qemu-system-x86`)")]
    Spawn { name: String, source: io::Error },
    #[error("{name}: failed to prepare {}: {source}", path.display())]
    Prepare { name: String, path: PathBuf, source: io::Error },
    #[error("{name}: QEMU ended at once ({status}): {stderr}")]
    EndedAtOnce { name: String, status: String, stderr: String },
    #[error("{name}: QEMU did not connect to the harness within {} s", CONNECT_TIME.as_secs())]
    NotConnected { name: String },
    #[error("{name}: {source}")]
    Qmp { name: String, source: QmpError },
    #[error("{name}: failed to wait for QEMU: {source}")]
    Wait { name: String, source: io::Error },
    #[error("{name}: still running after {} s; the last lines of the console are:\n{tail}", allowed.as_secs())]
    StillRunning { name: String, allowed: Duration, tail: String },
}

/// A machine that is powered on. Dropping it is pulling the plug.
#[derive(Debug)]
pub struct Vm {
    config: VmConfig,
    console: Console,
    qmp: Qmp,
    process: Process,
}

impl Vm {
    /// Powers a machine on, with its files (`qemu.log`, `replay.sh`, sockets while it starts) in `directory`, which exists.
    ///
    /// `console` receives what it writes from the first byte on; take the one of the last power-on to continue it.
    ///
    /// # Errors
    /// When QEMU is not installed or refuses its arguments, with what it said.
    pub fn start(config: VmConfig, directory: &Path, console: &Console) -> Result<Self, VmError> {
        let name = &config.name;
        let console_path = directory.join("con");
        let qmp_path = directory.join("qmp");
        let log_path = directory.join("qemu.log");
        let prepare = |path: &Path| {
            let path = path.to_owned();
            move |source| VmError::Prepare { name: name.clone(), path, source }
        };
        let console_listener = SocketFile::listen(&console_path).map_err(prepare(&console_path))?;
        let qmp_listener = SocketFile::listen(&qmp_path).map_err(prepare(&qmp_path))?;
        let log = File::create(&log_path).map_err(prepare(&log_path))?;
        let replay_path = directory.join("replay.sh");
        std::fs::write(&replay_path, replay_script(&config)).map_err(prepare(&replay_path))?;

        let mut command = Command::new(QEMU);
        command.args(argv(&config, &Wiring::Harness { console: console_path, qmp: qmp_path }));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = Process::spawn(command).map_err(|source| VmError::Spawn { name: name.clone(), source })?;

        let deadline = Deadline::after(CONNECT_TIME);
        let accept = |listener: &SocketFile| accept(listener, &process, &deadline, name, &log_path);
        let serial = accept(&console_listener)?;
        console.attach(serial).map_err(prepare(directory))?;
        let monitor = accept(&qmp_listener)?;
        let qmp = Qmp::connect(monitor).map_err(|source| VmError::Qmp { name: name.clone(), source })?;
        Ok(Self { console: console.clone(), qmp, process, config })
    }

    /// What it is made of.
    #[must_use]
    pub fn config(&self) -> &VmConfig {
        &self.config
    }

    /// Its serial console.
    #[must_use]
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Its monitor, for what has no method here.
    #[must_use]
    pub fn qmp(&self) -> &Qmp {
        &self.qmp
    }

    /// QEMU's process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Presses the power button. The guest decides what it does.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub fn powerdown(&self) -> Result<(), VmError> {
        self.command("system_powerdown", &Value::Null)
    }

    /// Presses the reset button.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub fn reset(&self) -> Result<(), VmError> {
        self.command("system_reset", &Value::Null)
    }

    /// Freezes the machine: no instruction is executed and its clock stands still.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub fn stop(&self) -> Result<(), VmError> {
        self.command("stop", &Value::Null)
    }

    /// Goes on after [`Vm::stop`].
    ///
    /// # Errors
    /// When QEMU is gone.
    pub fn cont(&self) -> Result<(), VmError> {
        self.command("cont", &Value::Null)
    }

    /// Presses Ctrl-Alt-Del.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub fn ctrl_alt_del(&self) -> Result<(), VmError> {
        let keys = ["ctrl", "alt", "delete"].map(|key| json!({"type": "qcode", "data": key}));
        self.command("send-key", &json!({ "keys": keys }))
    }

    /// Plugs (true) or unplugs the cable of the network interface `index`; the guest sees its carrier go.
    ///
    /// # Errors
    /// When QEMU is gone or there is no such interface.
    pub fn set_carrier(&self, index: usize, up: bool) -> Result<(), VmError> {
        self.command("set_link", &json!({ "name": format!("net{index}"), "up": up }))
    }

    /// Ends QEMU in order: the guest learns nothing, but all that it wrote is in the images.
    ///
    /// # Errors
    /// When it does not end.
    pub fn quit(&self) -> Result<ExitStatus, VmError> {
        match self.qmp.execute("quit", &Value::Null) {
            // QEMU may be gone before its answer is.
            Ok(_) | Err(QmpError::Closed { .. }) => self.wait_exit(&Deadline::after(CONNECT_TIME)),
            Err(source) => Err(VmError::Qmp { name: self.config.name.clone(), source }),
        }
    }

    /// Pulls the plug: SIGKILL. What the guest had not flushed is lost.
    ///
    /// # Errors
    /// What `waitpid` can give.
    pub fn kill(&self) -> Result<ExitStatus, VmError> {
        self.process.kill().map_err(|source| self.wait_error(source))
    }

    /// Waits until the machine is off.
    ///
    /// # Errors
    /// [`VmError::StillRunning`] when the deadline passes first.
    pub fn wait_exit(&self, deadline: &Deadline) -> Result<ExitStatus, VmError> {
        let status = self.process.wait(deadline).map_err(|source| self.wait_error(source))?;
        status.ok_or_else(|| VmError::StillRunning {
            name: self.config.name.clone(),
            allowed: deadline.allowed(),
            tail: self.console.tail(20),
        })
    }

    /// Whether it is still powered on.
    ///
    /// # Errors
    /// What `waitpid` can give.
    pub fn is_running(&self) -> Result<bool, VmError> {
        self.process.status().map(|status| status.is_none()).map_err(|source| self.wait_error(source))
    }

    fn command(&self, command: &str, arguments: &Value) -> Result<(), VmError> {
        let result = self.qmp.execute(command, arguments);
        result.map(|_| ()).map_err(|source| VmError::Qmp { name: self.config.name.clone(), source })
    }

    fn wait_error(&self, source: io::Error) -> VmError {
        VmError::Wait { name: self.config.name.clone(), source }
    }
}

/// A listener whose name goes with it.
struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
}

impl SocketFile {
    fn listen(path: &Path) -> io::Result<Self> {
        Ok(Self { listener: UnixListener::bind(path)?, path: path.to_owned() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nobody can reach it any more; when the file is gone already, that is what was wanted.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Waits for QEMU's connection, or for its end.
fn accept(
    socket: &SocketFile,
    process: &Process,
    deadline: &Deadline,
    name: &str,
    log: &Path,
) -> Result<UnixStream, VmError> {
    let wait_error = |source| VmError::Wait { name: name.to_owned(), source };
    let ready = poll_readable(&[socket.listener.as_fd(), process.exit_fd()], deadline).map_err(wait_error)?;
    if ready.contains(&0) {
        return socket.listener.accept().map(|(stream, _)| stream).map_err(wait_error);
    }
    if ready.is_empty() {
        return Err(VmError::NotConnected { name: name.to_owned() });
    }
    let status = process.status().map_err(wait_error)?.map(|status| status.to_string()).unwrap_or_default();
    let stderr = std::fs::read_to_string(log).unwrap_or_default().trim().to_owned();
    Err(VmError::EndedAtOnce { name: name.to_owned(), status, stderr })
}
