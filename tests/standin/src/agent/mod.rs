//! `nomad agent`: starts what the configuration asks for, says so, and lives until a signal ends it.

mod flags;
mod notify;
mod run;

use std::sync::Arc;

use crate::client::Client;
use crate::config::{Addresses, Settings};
use crate::server::Server;

pub(crate) use run::main;

/// A running agent.
#[derive(Debug)]
pub(crate) struct Agent {
    /// The configuration.
    pub(crate) settings: Arc<Settings>,
    /// Addresses that others are told.
    pub(crate) advertise: Addresses,
    /// Files of the configuration.
    pub(crate) files: Vec<String>,
    /// The server's part.
    pub(crate) server: Option<Arc<Server>>,
    /// The client's part.
    pub(crate) client: Option<Arc<Client>>,
    /// Headers for every answer.
    pub(crate) headers: Vec<(String, String)>,
}
