//! The replicated state: applied from Raft's log, read by everything else.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock, RwLockReadGuard};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::objects::{Alloc, Deployment, Eval, Node, Variable};
use crate::job::spec::Job;

/// One change. The leader decides, the state only stores: applying cannot fail.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Change {
    /// The management token exists from now on.
    Token(String),
    /// A policy of this name has these rules.
    Policy(String, String),
    /// A token with this secret has these policies.
    ClientToken(String, Vec<String>),
    /// The keyring exists from now on; the key's identifier.
    Keyring(String),
    /// A node is new or different.
    Node(Box<Node>),
    /// A node is forgotten.
    DropNode(String),
    /// A job is new or different.
    Job(Box<Job>),
    /// A job is forgotten.
    DropJob(String),
    /// An evaluation is new or different.
    Eval(Box<Eval>),
    /// An evaluation is forgotten.
    DropEval(String),
    /// An allocation was made or changed by a server.
    Alloc(Box<Alloc>),
    /// An allocation reported by its client.
    AllocReport(Box<Alloc>),
    /// An allocation is forgotten.
    DropAlloc(String),
    /// A deployment is new or different.
    Deployment(Box<Deployment>),
    /// A deployment is forgotten.
    DropDeployment(String),
    /// A variable is new or different.
    Variable(Box<Variable>),
    /// A variable is forgotten.
    DropVariable(String),
}

/// What the servers agree on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// Index of the last change.
    pub(crate) index: u64,
    /// Identifier of the root key; empty before the keyring exists.
    pub(crate) keyring: String,
    /// The management token; empty before the bootstrap.
    #[serde(default)]
    pub(crate) token: String,
    /// Index of the bootstrap.
    #[serde(default)]
    pub(crate) token_index: u64,
    /// Rules of policies by name.
    #[serde(default)]
    pub(crate) policies: BTreeMap<String, String>,
    /// Policies of tokens by secret.
    #[serde(default)]
    pub(crate) tokens: BTreeMap<String, Vec<String>>,
    /// Nodes by id.
    pub(crate) nodes: BTreeMap<String, Node>,
    /// Jobs by id.
    pub(crate) jobs: BTreeMap<String, Job>,
    /// Earlier versions of jobs, newest first.
    pub(crate) versions: BTreeMap<String, Vec<Job>>,
    /// Evaluations by id.
    pub(crate) evals: BTreeMap<String, Eval>,
    /// Allocations by id.
    pub(crate) allocs: BTreeMap<String, Alloc>,
    /// Deployments by id.
    pub(crate) deployments: BTreeMap<String, Deployment>,
    /// Variables by path.
    #[serde(default)]
    pub(crate) variables: BTreeMap<String, Variable>,
}

impl State {
    /// Applies one entry of the log.
    pub(crate) fn apply(&mut self, index: u64, changes: Vec<Change>) {
        self.index = index;
        for change in changes {
            self.apply_one(index, change);
        }
    }

    fn apply_one(&mut self, index: u64, change: Change) {
        /// Keeps the index of creation of what is already there.
        macro_rules! put {
            ($map:expr, $item:expr) => {{
                let mut item = *$item;
                item.create_index = $map.get(&item.id).map_or(index, |old| old.create_index);
                item.modify_index = index;
                $map.insert(item.id.clone(), item);
            }};
        }
        match change {
            Change::Keyring(id) => self.keyring = id,
            Change::Token(secret) => {
                self.token = secret;
                self.token_index = index;
            }
            Change::Policy(name, rules) => drop(self.policies.insert(name, rules)),
            Change::ClientToken(secret, policies) => drop(self.tokens.insert(secret, policies)),
            Change::Node(node) => put!(self.nodes, node),
            Change::Job(mut job) => {
                let old = self.jobs.get(&job.id);
                let new_version = old.is_none_or(|old| old.version != job.version || old.stop != job.stop);
                job.job_modify_index = if new_version { index } else { old.map_or(index, |old| old.job_modify_index) };
                let id = job.id.clone();
                put!(self.jobs, job);
                if let Some(job) = self.jobs.get(&id) {
                    let versions = self.versions.entry(id).or_default();
                    versions.retain(|old| old.version != job.version);
                    versions.insert(0, job.clone());
                    versions.truncate(6);
                }
            }
            Change::Eval(eval) => put!(self.evals, eval),
            Change::Alloc(mut alloc) => {
                alloc.alloc_modify_index = index;
                put!(self.allocs, alloc);
            }
            Change::AllocReport(alloc) => put!(self.allocs, alloc),
            Change::Deployment(deployment) => put!(self.deployments, deployment),
            Change::Variable(variable) => put!(self.variables, variable),
            Change::DropVariable(path) => drop(self.variables.remove(&path)),
            Change::DropNode(id) => drop(self.nodes.remove(&id)),
            Change::DropJob(id) => {
                self.jobs.remove(&id);
                self.versions.remove(&id);
            }
            Change::DropEval(id) => drop(self.evals.remove(&id)),
            Change::DropAlloc(id) => drop(self.allocs.remove(&id)),
            Change::DropDeployment(id) => drop(self.deployments.remove(&id)),
        }
    }

    /// Allocations of a job.
    pub(crate) fn allocs_of<'a>(&'a self, job: &'a str) -> impl Iterator<Item = &'a Alloc> {
        self.allocs.values().filter(move |alloc| alloc.job_id == job)
    }

    /// The newest deployment of a job.
    #[must_use]
    pub(crate) fn latest_deployment(&self, job: &str) -> Option<&Deployment> {
        self.deployments
            .values()
            .filter(|deployment| deployment.job_id == job)
            .max_by_key(|deployment| deployment.create_index)
    }
}

/// The state, shared, with a signal at every change.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    state: Arc<RwLock<State>>,
    changed: watch::Sender<u64>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { state: Arc::default(), changed: watch::Sender::new(0) }
    }
}

impl Shared {
    /// A view that must not be held across an await.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Changes the state and wakes everybody who waits for a change.
    pub(crate) fn write(&self, change: impl FnOnce(&mut State)) {
        let index = {
            let mut state = self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            change(&mut state);
            state.index
        };
        self.changed.send_replace(index);
    }

    /// A receiver that sees every change from now on.
    #[must_use]
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
