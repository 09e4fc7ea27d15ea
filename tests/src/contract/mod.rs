//! What the contract suite stands on: one Nomad program, agents on loopback addresses of their own, and the certainty that
//! nothing of a test outlives it.
//!
//! The suite (`tests/contract_*.rs`) states facts about Nomad that the agent and the images rely on. It runs whatever `NOMAD`
//! names, and the project's stand-in otherwise, so that both are held to the same facts.

mod agent;
mod command;
mod files;
pub mod jobs;
mod notify;
mod setup;
mod shared;
mod site;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

pub use agent::Agent;
pub use command::Ran;
pub use files::FileServer;
pub use notify::NotifySocket;
pub use setup::Setup;
pub use shared::{Pair, Turn, leaderless, pair, turn};
pub use site::Site;

pub use rustix::process::Signal;

static NOMAD: LazyLock<PathBuf> = LazyLock::new(|| {
    let named = |variable: &str| std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    if let Some(path) = named("NOMAD") {
        return found(&path, "the path in NOMAD");
    }
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/x86_64-unknown-linux-musl/tool/nomad-standin");
    let path = named("STEPPE_STANDIN").unwrap_or(built);
    found(&path, "the stand-in: run `make standin`, or name a Nomad with NOMAD=/path/to/nomad")
});

/// The program under test: the one `NOMAD` names, else the stand-in (`STEPPE_STANDIN`, or where `make standin` puts it).
///
/// # Panics
/// When it is not there; the message says what to run.
#[must_use]
pub fn nomad() -> &'static Path {
    &NOMAD
}

fn found(path: &Path, what: &str) -> PathBuf {
    assert!(path.is_file(), "{} does not exist: {what}", path.display());
    path.canonicalize().expect("path that exists")
}
