//! Clusters that tests share, and turns for the clusters that they do not.

use std::sync::{Condvar, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use super::{Agent, Site};

/// One server that leads itself and one client that is ready: for facts that are only read.
#[derive(Debug)]
pub struct Pair {
    /// The server.
    pub server: Agent,
    /// The client.
    pub client: Agent,
    /// Full id of the client's node.
    pub node: String,
}

static PAIR: LazyLock<Pair> = LazyLock::new(|| {
    let site = Site::new();
    let server = site.server("s1", 1).start();
    server.takes_clients(Duration::from_secs(60));
    let client = site.client("c1", &[server.ip]).hcl("client {\n meta {\n rack = \"r1\"\n }\n}").start();
    let node = server.node("c1", "ready", Duration::from_secs(60));
    Pair { server, client, node }
});

static LEADERLESS: LazyLock<Agent> = LazyLock::new(|| Site::new().server("s1", 3).start());

/// The pair of this test binary, started by the first test that asks.
#[must_use]
pub fn pair() -> &'static Pair {
    &PAIR
}

/// A server that waits for two others which never come: it has no leader and never had one.
#[must_use]
pub fn leaderless() -> &'static Agent {
    &LEADERLESS
}

/// How many clusters may live at a time: elections must not starve each other on a small machine.
const TURNS: usize = 2;

static FREE: (Mutex<usize>, Condvar) = (Mutex::new(TURNS), Condvar::new());

/// The right to run a cluster, until it is dropped.
#[derive(Debug)]
#[must_use = "the turn ends when this is dropped"]
pub struct Turn(());

/// Waits for the right to run a cluster.
pub fn turn() -> Turn {
    let free = FREE.0.lock().unwrap_or_else(PoisonError::into_inner);
    let mut free = FREE.1.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
    *free -= 1;
    Turn(())
}

impl Drop for Turn {
    fn drop(&mut self) {
        *FREE.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        FREE.1.notify_one();
    }
}
