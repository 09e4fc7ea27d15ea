//! Access control as an operator switches it on, with the policy that the README has for nodes that follow a channel.

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::api::Api;

/// The operator's token: chosen before, so that nobody has to read it from anywhere.
const OPERATOR: &str = "5e7e0000-aaaa-4000-8000-000000000001";
/// What Nomad's list of tokens calls that of the nodes.
const ACCESSOR: &str = "5e7e0000-aaaa-4000-8000-000000000002";
/// The nodes' token: the user-data has it before Nomad knows it.
pub const TOKEN: &str = "5e7e0000-aaaa-4000-8000-000000000003";
const README: &str = include_str!("../../README.md");

/// The policy of the README.
///
/// # Panics
/// When it has none.
#[must_use]
pub fn policy() -> String {
    let begins = |line: &&str| line.starts_with("    namespace \"default\" { variables { path \"steppe/update/*\"");
    let lines: Vec<&str> =
        README.lines().skip_while(|line| !begins(line)).take_while(|line| !line.is_empty()).collect();
    assert!(lines.len() > 1, "the README has no policy for a channel");
    lines.join("\n")
}

/// Bootstraps access control; gives the API with the operator's token.
///
/// # Errors
/// When it was done before.
pub fn bootstrap(api: &Api) -> anyhow::Result<Api> {
    let body = json!({ "BootstrapSecret": OPERATOR }).to_string();
    let answer = api.send("POST", "/v1/acl/bootstrap", &body).map_err(anyhow::Error::msg)?;
    ensure!(answer.status == 200, "no bootstrap: {answer:?}");
    Ok(as_operator(api))
}

/// The same API as an operator asks it.
#[must_use]
pub fn as_operator(api: &Api) -> Api {
    api.with_token(OPERATOR)
}

/// Makes [`TOKEN`] one with these rules and no others.
///
/// # Errors
/// When Nomad does not take it.
pub fn grant(operator: &Api, rules: &str) -> anyhow::Result<()> {
    let policy = json!({ "Name": "steppe-update", "Rules": rules });
    let token = json!({
        "AccessorID": ACCESSOR, "SecretID": TOKEN, "Name": "nodes", "Type": "client", "Policies": ["steppe-update"],
    });
    for (path, body) in [("/v1/acl/policy/steppe-update", policy), ("/v1/acl/token", token)] {
        let answer = operator.send("POST", path, &body.to_string()).map_err(anyhow::Error::msg);
        let answer = answer.with_context(|| path.to_owned())?;
        ensure!(answer.status == 200, "{path}: {answer:?}");
    }
    Ok(())
}
