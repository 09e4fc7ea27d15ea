//! Agents: how they are started, asked and ended.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::command::{self, Ran};
use super::nomad;
use super::site::Site;
use crate::api::Api;
use crate::wait::until;

/// How long an agent may take from its start to its first answer, on a machine that is busy with other things.
const START_LIMIT: Duration = Duration::from_secs(40);

/// A running agent. It is killed when it is dropped; its tasks are ended with the site.
#[derive(Debug)]
pub struct Agent {
    /// Node name.
    pub name: String,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its API.
    pub api: Api,
    site: Site,
    args: Vec<String>,
    env: Vec<(String, String)>,
    user_id: Option<u32>,
    child: Child,
}

impl Agent {
    /// Starts `nomad` with any arguments, as the agent called `name` at `ip`.
    ///
    /// # Panics
    /// When the program cannot be run.
    #[must_use]
    pub fn launch(site: &Site, name: &str, ip: Ipv4Addr, args: Vec<String>, env: Vec<(String, String)>) -> Self {
        Self::start(site, name, ip, args, env, None)
    }

    pub(super) fn start(
        site: &Site,
        name: &str,
        ip: Ipv4Addr,
        args: Vec<String>,
        env: Vec<(String, String)>,
        user_id: Option<u32>,
    ) -> Self {
        let child = spawn(site, name, &args, &env, user_id);
        let api = Api::new(format_args!("{ip}:4646"));
        Self { name: name.into(), ip, api, site: site.clone(), args, env, user_id, child }
    }

    /// Waits until the API answers.
    ///
    /// # Panics
    /// When the agent ends instead, or says nothing.
    pub fn answers(&mut self) {
        let ended = until("the agent's API", START_LIMIT, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(Some(status)),
            _ => self.api.get("/v1/agent/self").map(|_| None),
        });
        match ended {
            Ok(None) => {}
            other => panic!("{} did not start: {other:?}\n{}\n{}", self.name, self.stdout(), self.stderr()),
        }
    }

    /// Starts it again, on the same files, and waits until the API answers.
    ///
    /// # Panics
    /// When it has not ended, or does not start.
    pub fn restart(&mut self) {
        assert!(!self.is_running(), "{} still runs", self.name);
        self.child = spawn(&self.site, &self.name, &self.args, &self.env, self.user_id);
        self.answers();
    }

    /// Sends a signal to the agent, and to nothing of its children.
    ///
    /// # Panics
    /// When it is gone already.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signal to an own child");
    }

    /// Waits for its end: exit code (minus the signal) and time.
    ///
    /// # Panics
    /// When it has not ended after `limit`.
    pub fn ends(&mut self, limit: Duration) -> (i32, Duration) {
        let start = Instant::now();
        let status = command::wait(&mut self.child, limit);
        let status = status.unwrap_or_else(|| panic!("{} still runs after {limit:?}:\n{}", self.name, self.stdout()));
        (command::code(status), start.elapsed())
    }

    /// Ends it the hard way, as a crash would.
    ///
    /// # Panics
    /// When that fails.
    pub fn crash(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("a killed child");
    }

    /// Whether it runs.
    ///
    /// # Panics
    /// Never, for an own child.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("own child").is_none()
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A path in its data directory.
    #[must_use]
    pub fn data(&self, path: &str) -> PathBuf {
        self.site.dir().join(&self.name).join(path)
    }

    /// Runs a command of the CLI against this agent.
    pub fn cli<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        let mut command = self.site.nomad();
        command.env("NOMAD_ADDR", self.api.base()).args(args);
        self.site.finish(command)
    }

    /// The site it lives on.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// What it wrote to standard output since its last start: banner and log.
    #[must_use]
    pub fn stdout(&self) -> String {
        command::text(&self.site.dir().join(format!("{}.stdout", self.name)))
    }

    /// What it wrote to standard error since its last start.
    #[must_use]
    pub fn stderr(&self) -> String {
        command::text(&self.site.dir().join(format!("{}.stderr", self.name)))
    }

    /// Waits until it knows a leader; returns the leader's RPC address.
    ///
    /// # Panics
    /// When there is none after `limit`.
    pub fn leader(&self, limit: Duration) -> String {
        until("a leader", limit, || self.api.leader()).unwrap()
    }

    /// Waits until the cluster can take clients: a leader, and a keyring (clients that come earlier are refused, and
    /// try again much later).
    ///
    /// # Panics
    /// When it cannot after `limit`.
    pub fn takes_clients(&self, limit: Duration) {
        until("the keyring", limit, || {
            let keys = self.api.get("/.well-known/jwks.json")?;
            if keys["keys"].as_array().is_some_and(|k| !k.is_empty()) { Ok(()) } else { Err(keys.to_string()) }
        })
        .unwrap();
    }

    /// Waits until the node called `name` has `status`; returns its id.
    ///
    /// # Panics
    /// When it has not after `limit`.
    pub fn node(&self, name: &str, status: &str, limit: Duration) -> String {
        until(&format!("{name} {status}"), limit, || {
            let nodes = self.api.nodes()?;
            let found = nodes.iter().find(|n| n.0 == name && n.2 == status).map(|n| n.1.clone());
            found.ok_or_else(|| format!("{nodes:?}"))
        })
        .unwrap()
    }
}

fn spawn(site: &Site, name: &str, args: &[String], env: &[(String, String)], user_id: Option<u32>) -> Child {
    let file = |kind: &str| File::create(site.dir().join(format!("{name}.{kind}"))).expect("output file");
    let mut command = match user_id {
        None => site.nomad(),
        Some(id) => {
            // A copy, for the program may lie where that user must not look.
            let program = site.dir().join(format!("{name}.program"));
            std::fs::copy(nomad(), &program).expect("copy of the program");
            std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("program for every user");
            let mut command = site.command(&program);
            command.uid(id).gid(id);
            command
        }
    };
    command.args(args).envs(env.iter().cloned()).stdout(file("stdout")).stderr(file("stderr"));
    command.spawn().unwrap_or_else(|why| panic!("{command:?}: {why}"))
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (out, err) = (self.stdout(), self.stderr());
            let lines: Vec<_> = out.lines().collect();
            let last = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("--- {}, standard error:\n{err}\n--- {}, last of standard output:\n{last}", self.name, self.name);
        }
        // Both fail only when it is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
