//! Configurations as tools write them, and the plans that come of them.

mod arguments;
mod errors;
mod golden;
mod pairs;

use super::*;
use crate::cmdline::Cmdline;

/// What a datasource's text means, with all that is said but what takes effect.
fn read(text: &str) -> (NetworkMode, Vec<String>) {
    of(&NetworkConfig::Text(text.into()))
}

fn of(config: &NetworkConfig) -> (NetworkMode, Vec<String>) {
    let (mode, findings) = plan(&Cmdline::default(), Some(config));
    let said =
        findings.iter().filter(|f| f.verdict != crate::node::userdata::Verdict::Applied).map(ToString::to_string);
    (mode, said.collect())
}

/// The plan of a text about which nothing is to be said.
fn planned(text: &str) -> NetworkPlan {
    let (mode, said) = read(text);
    assert_eq!(said, [""; 0], "{text}");
    unwrap(mode)
}

fn unwrap(mode: NetworkMode) -> NetworkPlan {
    match mode {
        NetworkMode::Plan(plan) => *plan,
        other => panic!("{other:?}"),
    }
}
