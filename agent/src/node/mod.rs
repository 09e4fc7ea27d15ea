//! `agent node`: configures the machine from its metadata, has Nomad started, and watches it.
//!
//! Two threads live as long as the machine: [`net`]'s poll loop, which never waits for anybody, and [`steward`]'s
//! sequence, which may. They share one value ([`net::Shared`]). Questions that block (HTTP, names, time) are asked by
//! the sequence or by short-lived threads of its own.

pub mod clock;
pub mod datasource;
pub mod files;
pub mod follow;
pub mod identity;
pub mod net;
pub mod netconfig;
pub mod nomad;
pub mod options;
pub mod report;
pub mod seed;
pub mod steward;
mod sys;
#[cfg(test)]
mod testing;
pub mod time;
pub mod userdata;
pub mod volumes;
pub mod zone;

use std::{path::Path, process::ExitCode, sync::Arc, thread};

use crate::{error, facts::ImageFacts, log, notify::Message, status::NodeStatus, warning};

/// Stack of the sequence's thread: the parsers limit their depth.
const STACK: usize = 512 << 10;

/// Runs for ever; returns only when the kernel does not let it work.
pub fn run() -> ExitCode {
    log::set_process("steppe node");
    let root = Path::new("/");
    let facts = match ImageFacts::read(root) {
        Ok(facts) => facts,
        Err(error) => {
            error!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let platform = datasource::Platform { image: facts.platform.clone(), ..datasource::Platform::read(root) };
    let (options, complaints) = options::Options::parse(&platform.cmdline);
    for complaint in complaints {
        warning!("command line: {complaint}");
    }
    for complaint in platform.complaints() {
        warning!("{complaint}");
    }
    let shared = Arc::new(net::Shared::default());
    let network = match net::Network::open(root, Arc::clone(&shared), false) {
        Ok(network) => network,
        Err(error) => {
            error!("failed to open a netlink socket: {error}");
            return ExitCode::FAILURE;
        }
    };
    let status = NodeStatus {
        role: facts.role.to_string(),
        nomad_version: facts.nomad.version.clone(),
        ready_at_ms: report::ready_before(root),
        ..NodeStatus::default()
    };
    let report = report::Report::new(root, status);
    report.tell(&[Message::Ready, Message::Status("starting".into())]);
    announce_network(&shared, root);
    let steward = steward::Steward {
        root: root.to_owned(),
        facts,
        platform,
        options,
        shared,
        report,
        announcer: steward::Announcer::default(),
        patience: steward::Patience::default(),
    };
    let spawned = thread::Builder::new().name("steward".into()).stack_size(STACK).spawn(move || steward.run());
    if let Err(error) = spawned {
        error!("failed to start a thread: {error}");
        return ExitCode::FAILURE;
    }
    network.run()
}

/// Notes in the timeline when the first lease came, whatever the sequence is busy with then.
fn announce_network(shared: &Arc<net::Shared>, root: &Path) {
    let shared = Arc::clone(shared);
    let socket = root.join(crate::paths::NOTIFY_SOCKET.trim_start_matches('/'));
    thread::spawn(move || {
        while shared.wait(std::time::Duration::from_secs(3600), |view| view.primary().map(drop)).is_none() {}
        let _ = crate::notify::send(&socket, &[Message::Phase("network".into())]);
    });
}
