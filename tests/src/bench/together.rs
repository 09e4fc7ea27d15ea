//! Six machines in one instant: how long after the leader the last client is ready.
//!
//! A client that registers too early is refused and comes back half a minute later, so the agents hold Nomad back until the
//! servers can take it; this is what that has to be worth. Times are of this host's clock: emulated machines on too few
//! processors take turns, and then the figure says more about the host than about the images.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::table::Row;
use crate::{api::Api, cluster::Cluster, wait};

/// Seconds after the leader in which all clients are to be ready, on a machine with a processor for each of them.
const BUDGET: f64 = 3.0;

/// Starts the reference cluster with the command line of the tests.
///
/// # Errors
/// When the cluster does not come up.
pub fn rows() -> anyhow::Result<Vec<Row>> {
    let cluster = Cluster::reference()?;
    let start = Instant::now();
    let ready = Ready::of(&cluster, start).inspect_err(|_| cluster.lab().mark_failed())?;
    let what = "six machines at once: the last client ready after the leader, against 3 s";
    let row = Row::new(what, ready.last - ready.leader, BUDGET, "s");
    let (machines, processors) = (cluster.names().len(), thread::available_parallelism().map_or(1, usize::from));
    Ok(vec![if processors >= machines {
        row.budget(1.0).note(ready.note())
    } else {
        row.note(format!("{}; {machines} machines share {processors} processors, so no verdict", ready.note()))
    }])
}

/// Seconds since all machines are on.
#[derive(Debug)]
struct Ready {
    /// Until a server knew a leader.
    leader: f64,
    /// Until the last client was ready.
    last: f64,
    /// What the nodes say of themselves: by their own clocks, from the start of their kernels.
    nodes: Vec<String>,
}

impl Ready {
    fn of(cluster: &Cluster, start: Instant) -> anyhow::Result<Self> {
        let limit = cluster.limit(Duration::from_secs(90));
        let names = cluster.names();
        let (servers, clients): (Vec<_>, Vec<_>) = names.iter().partition(|name| name.starts_with("server"));
        for name in &servers {
            cluster.wait_console(name, "eth0: ", limit)?;
        }
        let servers: Vec<Api> = servers.iter().map(|name| cluster.api(name)).collect();
        wait::until("a leader", limit, || {
            let mut answers = servers.iter().map(Api::leader);
            answers.find(Result::is_ok).unwrap_or_else(|| Err("no server knows one".to_owned()))
        })?;
        let leader = start.elapsed().as_secs_f64();
        let mut nodes = Vec::new();
        for name in clients {
            let line = cluster.wait_console(name, "READY role=client", limit)?;
            nodes.push(line.rsplit('=').next().unwrap_or_default().to_owned());
        }
        Ok(Self { leader, last: start.elapsed().as_secs_f64(), nodes })
    }

    fn note(&self) -> String {
        let Self { leader, last, nodes } = self;
        format!(
            "leader after {leader:.1} s, last client after {last:.1} s (by their own clocks {} s)",
            nodes.join(", ")
        )
    }
}
