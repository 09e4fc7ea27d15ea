//! Agents before they are started: two configuration files, as on a node. The first holds what every agent of the suite
//! needs, in JSON; the second is the user's, in HCL, and wins.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::command::Ran;
use super::{Agent, Site};

/// An agent's configuration, before it is started.
#[derive(Debug)]
pub struct Setup {
    /// Where it will listen, on the default ports.
    pub ip: Ipv4Addr,
    site: Site,
    name: String,
    base: Value,
    user: String,
    env: Vec<(String, String)>,
    user_id: Option<u32>,
}

impl Setup {
    pub(super) fn server(site: &Site, name: &str, expect: u32) -> Self {
        let mut setup = Self::new(site, name);
        setup.base["server"] = json!({ "enabled": true, "bootstrap_expect": expect });
        setup
    }

    pub(super) fn client(site: &Site, name: &str, servers: &[Ipv4Addr]) -> Self {
        let mut setup = Self::new(site, name);
        setup.base["client"] = json!({
            "enabled": true,
            "network_interface": "lo",
            "servers": servers.iter().map(|ip| format!("{ip}:4647")).collect::<Vec<_>>(),
            // Metadata addresses of clouds are not asked; drivers other than the one in use cost time.
            "options": { "fingerprint.denylist": "env_aws,env_gce,env_azure,env_digitalocean", "driver.allowlist": "raw_exec" },
        });
        setup.base["plugin"] = json!({ "raw_exec": { "config": { "enabled": true } } });
        setup
    }

    fn new(site: &Site, name: &str) -> Self {
        let ip = site.address();
        let base = json!({
            "name": name,
            "data_dir": site.dir().join(name),
            "bind_addr": ip,
            "advertise": { "http": ip, "rpc": ip, "serf": ip },
            "disable_update_check": true,
        });
        Self { ip, site: site.clone(), name: name.into(), base, user: String::new(), env: Vec::new(), user_id: None }
    }

    /// Adds to the user's configuration file, which is read after the base and wins.
    #[must_use]
    pub fn hcl(mut self, text: &str) -> Self {
        self.user.push_str(text);
        self.user.push('\n');
        self
    }

    /// The servers to join, tried again every second.
    #[must_use]
    pub fn join(self, servers: &[Ipv4Addr]) -> Self {
        let names = json!(servers);
        self.hcl(&format!("server {{\n server_join {{\n retry_join = {names}\n retry_interval = \"1s\"\n }}\n}}"))
    }

    /// Sets a variable in the agent's environment.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Runs the agent as this user, who owns the data directory. Takes root.
    ///
    /// # Panics
    /// When the data directory cannot be given away.
    #[must_use]
    pub fn user(mut self, id: u32) -> Self {
        let data = self.site.dir().join(&self.name);
        std::fs::create_dir_all(&data).expect("data directory");
        std::os::unix::fs::chown(&data, Some(id), Some(id)).expect("data directory of another user");
        self.user_id = Some(id);
        self
    }

    /// The directory with its configuration files.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.site.write(&format!("{}.d/10-base.json", self.name), self.base.to_string());
        let user = self.site.write(&format!("{}.d/20-user.hcl", self.name), &self.user);
        user.parent().expect("directory").to_owned()
    }

    /// Runs the agent to its end: for those that refuse to start.
    #[must_use]
    pub fn refused(self) -> Ran {
        let mut command = self.site.nomad();
        command.envs(self.env.iter().cloned()).args(["agent", "-config"]).arg(self.config());
        self.site.finish(command)
    }

    /// Starts the agent and does not wait.
    #[must_use]
    pub fn launch(self) -> Agent {
        let args = vec!["agent".into(), "-config".into(), self.config().display().to_string()];
        Agent::start(&self.site, &self.name, self.ip, args, self.env, self.user_id)
    }

    /// Starts the agent and waits until its API answers.
    #[must_use]
    pub fn start(self) -> Agent {
        let mut agent = self.launch();
        agent.answers();
        agent
    }
}
