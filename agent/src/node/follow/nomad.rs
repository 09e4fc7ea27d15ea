//! The machine's own Nomad, as an update asks it: about the cluster, for a turn, to drain the node.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    node::{
        net::Shared,
        nomad::{
            api::{Answer, Api, Secret, Silence},
            check::Summary,
            cli::Cli,
            endpoint::Endpoint,
            owner, secret,
        },
    },
    paths,
    status::{InitStatus, UnitState, UnitStatus},
};

/// Longer than a server without a leader needs to say so (contract 6).
const ANSWER: Duration = Duration::from_secs(7);
/// How long a blocking question may wait for news.
pub(super) const NEWS: Duration = Duration::from_secs(60);

/// What is needed to ask it.
#[derive(Debug)]
pub struct Local {
    /// Where the file system begins.
    pub root: PathBuf,
    /// What the user's files say of it.
    pub user: Summary,
    /// The directory of its client.
    pub client: PathBuf,
    /// The operator's token.
    pub token: Option<Secret>,
    /// Whether a token goes to a process of Nomad only; not in tests, which have none.
    pub guarded: bool,
    /// The machine's addresses.
    pub shared: Arc<Shared>,
}

impl Local {
    /// `GET`, or `PUT` with a body, with the operator's token or another one.
    pub(super) fn ask(&self, put: Option<&str>, path: &str, token: Option<&Secret>) -> Result<Answer, String> {
        self.ask_for(put, path, token, ANSWER)
    }

    /// The same of what is the case after `index`, in its own time.
    pub(super) fn news(
        &self,
        path: &str,
        index: u64,
        wait: Duration,
        token: Option<&Secret>,
    ) -> Result<Answer, String> {
        let path = format!("{path}?index={index}&wait={}s", wait.as_secs().max(1));
        // Nomad waits a sixteenth longer, so that not all ask again at once.
        self.ask_for(None, &path, token, wait + wait / 16 + ANSWER)
    }

    fn ask_for(
        &self,
        put: Option<&str>,
        path: &str,
        token: Option<&Secret>,
        limit: Duration,
    ) -> Result<Answer, String> {
        let silent = || "an answer of Nomad's HTTP interface".to_owned();
        let own: Vec<IpAddr> = self.shared.view().addresses().collect();
        let address = Endpoint::of(&self.user).resolve(&own);
        let token = token.or(self.token.as_ref());
        let process = || unit(&self.root, "nomad").and_then(|nomad| nomad.pid);
        // Who listens there while Nomad does not is told no token.
        if token.is_some() && self.guarded && !process().is_some_and(|pid| owner::listens(&self.root, pid, address)) {
            return Err(silent());
        }
        let api = if self.user.http_tls {
            Api::tls(Cli::new(below(&self.root, paths::NOMAD), &address.to_string(), &self.user, limit))
        } else {
            Api::new(&address.to_string(), limit)
        };
        api.request(put, path, token).map_err(|silence| match silence {
            Silence::Closed => {
                "Nomad's HTTP interface to take its own certificate (tls: cert_file and key_file)".into()
            }
            _ => silent(),
        })
    }

    /// The id and the secret of the client's node.
    pub(super) fn node(&self) -> Result<(String, Secret), String> {
        secret::of_node(&self.client).ok_or_else(|| "the id of its node, which cannot be read".into())
    }
}

/// What is awaited when an answer is no success: the permission `needed` for `what`, or another answer.
pub(super) fn refusal(answer: &Answer, what: &str, needed: &str) -> String {
    let Answer { status, body } = answer;
    if *status == 403 {
        return format!("permission to {what}: steppe.update.token needs a policy with {needed}");
    }
    let line: String = body.lines().next().unwrap_or_default().chars().take(200).collect();
    format!("Nomad to {what} (it answers {status}: {line})")
}

/// What init says of a unit.
pub(super) fn unit(root: &Path, name: &str) -> Option<UnitStatus> {
    let text = fs::read(below(root, paths::INIT_STATUS)).ok()?;
    let status: InitStatus = serde_json::from_slice(&text).ok()?;
    status.units.into_iter().find(|unit| unit.name == name)
}

/// Whether it has a process.
pub(super) fn runs(unit: Option<&UnitStatus>) -> bool {
    unit.is_some_and(|unit| matches!(unit.state, UnitState::Starting | UnitState::Ready | UnitState::Stopping))
}

pub(super) fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}
