//! Which configuration counts, and what comes of it.
//!
//! The kernel's command line wins, `network-config=` before `ip=`; then what the datasource says; then nothing, which
//! is DHCP on every interface. As cloud-init, one source counts and is not mixed with the next.

use serde::{Deserialize, Serialize};

use super::{
    Dns, Interface, NetworkConfig, NetworkPlan,
    check::check,
    draft::{Draft, Drafts},
    eni,
    field::Field,
    ip_argument, network_data,
    notes::Notes,
    v1, v2,
};
use crate::{
    cmdline::Cmdline,
    node::userdata::{
        Finding, Position, Verdict, base64, gunzip,
        yaml::{self, Node},
    },
};

/// A configuration on the command line that unpacks to more than this, in bytes, is refused.
const MAX_UNPACKED: usize = 1 << 20;
/// Where findings about a datasource's configuration stand.
const FILE: &str = "network-config";
/// The same for the kernel's command line.
const COMMAND_LINE: &str = "kernel command line";

/// What becomes of the machine's network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// Nothing says anything: DHCP on every interface.
    #[default]
    Fallback,
    /// Interfaces are left alone (`config: disabled`).
    Disabled,
    /// As planned.
    Plan(Box<NetworkPlan>),
}

/// Makes the plan of the network from the command line and from what the datasource found.
#[must_use]
pub fn plan(cmdline: &Cmdline, seed: Option<&NetworkConfig>) -> (NetworkMode, Vec<Finding>) {
    if let Some(value) = cmdline.value("network-config") {
        return from_argument(value);
    }
    let arguments: Vec<&str> = cmdline.all("ip").filter(|value| !ip_argument::is_off(value)).collect();
    if !arguments.is_empty() {
        return from_ip(&arguments, cmdline);
    }
    match seed {
        None => (NetworkMode::Fallback, Vec::new()),
        Some(NetworkConfig::Text(text)) => from_text(text),
        Some(NetworkConfig::OpenStack(text)) => from_openstack(text),
        Some(NetworkConfig::Plan(plan)) => from_plan(plan),
    }
}

/// A configuration of version 1 or 2, or the text of `/etc/network/interfaces`.
fn from_text(text: &str) -> (NetworkMode, Vec<Finding>) {
    let (mut drafts, mut notes) = (Drafts::default(), Notes::default());
    if eni::is_eni(text) {
        eni::read(text, &mut drafts, &mut notes);
        return finish(FILE, drafts, notes);
    }
    let document = match yaml::load(text) {
        Ok(document) => document,
        Err(error) => return fallback(FILE, Verdict::Refused, error.at, "", error.message),
    };
    for (key, at) in &document.duplicates {
        notes.ignored(*at, key, "stands twice in one map; the last one counts");
    }
    let empty = "asks for nothing: DHCP on every interface";
    let Some(mut root) = document.root.as_ref().filter(|root| !root.is_null()) else {
        return fallback(FILE, Verdict::Ignored, Position::START, "", empty.into());
    };
    if let Some(inner) = root.get("network") {
        root = inner;
    }
    if root.is_null() || root.mapping().is_some_and(<[_]>::is_empty) {
        return fallback(FILE, Verdict::Ignored, root.at, "", empty.into());
    }
    if root.mapping().is_none() {
        let message =
            format!("must be a map with a version, or the text of /etc/network/interfaces, not {}", root.describe());
        return fallback(FILE, Verdict::Refused, root.at, "", message);
    }
    if root.get("config").and_then(Node::text) == Some("disabled") {
        return disabled(FILE, root.at, "config");
    }
    let field = Field::root(root);
    match version(root) {
        Some(1) => v1::read(&field, &mut drafts, &mut notes),
        Some(_) => v2::read(&field, &mut drafts, &mut notes),
        None => {
            let at = root.get("version").map_or(root.at, |version| version.at);
            let message = "must be 1 or 2, the versions of cloud-init's network configuration";
            return fallback(FILE, Verdict::Refused, at, "version", message.into());
        }
    }
    finish(FILE, drafts, notes)
}

/// The version as it stands there, else as the keys have it.
fn version(root: &Node) -> Option<u8> {
    match root.get("version").filter(|version| !version.is_null()) {
        Some(version) => version.text()?.parse().ok().filter(|version| matches!(version, 1 | 2)),
        None if root.get("config").is_some() => Some(1),
        None => ["ethernets", "bonds", "bridges", "vlans"].iter().any(|key| root.get(key).is_some()).then_some(2),
    }
}

fn from_openstack(text: &str) -> (NetworkMode, Vec<Finding>) {
    const FILE: &str = "network_data.json";
    let (mut drafts, mut notes) = (Drafts::default(), Notes::default());
    // JSON is YAML, and this reader knows the places.
    let root = match yaml::load(text) {
        Ok(document) => document.root,
        Err(error) => return fallback(FILE, Verdict::Refused, error.at, "", error.message),
    };
    if let Some(root) = &root {
        network_data::read(&Field::root(root), &mut drafts, &mut notes);
    }
    finish(FILE, drafts, notes)
}

/// What a datasource made itself is checked like the rest.
fn from_plan(plan: &NetworkPlan) -> (NetworkMode, Vec<Finding>) {
    let draft = |interface: &Interface| Draft {
        at: Position::START,
        path: super::address::short(&interface.id),
        interface: interface.clone(),
    };
    let list = plan.interfaces.iter().map(draft).collect();
    finish("network metadata", Drafts { list, dns: plan.dns.clone(), ..Drafts::default() }, Notes::default())
}

/// `network-config=`: `disabled`, or a configuration in base64, with or without gzip.
fn from_argument(value: &str) -> (NetworkMode, Vec<Finding>) {
    const KEY: &str = "network-config";
    if value == "disabled" {
        return disabled(COMMAND_LINE, Position::START, KEY);
    }
    let unpacked = base64(value)
        .and_then(|bytes| if bytes.starts_with(&[0x1f, 0x8b]) { gunzip(&bytes, MAX_UNPACKED) } else { Ok(bytes) });
    let text = unpacked.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "not text".into()));
    match text {
        Ok(text) => from_text(&text),
        Err(why) => {
            let message = format!("must be disabled, or a configuration in base64: {why}");
            fallback(COMMAND_LINE, Verdict::Refused, Position::START, KEY, message)
        }
    }
}

/// All `ip=`, and dracut's `nameserver=` beside them.
fn from_ip(values: &[&str], cmdline: &Cmdline) -> (NetworkMode, Vec<Finding>) {
    let (mut drafts, mut notes) = (Drafts::default(), Notes::default());
    for value in values {
        ip_argument::read(value, &mut drafts, &mut notes);
    }
    for server in cmdline.all("nameserver") {
        match server.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(server) => drafts.dns.merge(Dns { servers: vec![server], search: Vec::new() }),
            Err(_) => notes.flaw(Position::START, "nameserver", "is not an IP address"),
        }
    }
    let (mode, findings) = finish(COMMAND_LINE, drafts, notes);
    // `ip=dhcp` alone is what happens anyway, whatever the datasource says.
    let everywhere = NetworkPlan::of([Interface::called("*").dhcp4(None)]);
    (if mode == NetworkMode::Plan(Box::new(everywhere)) { NetworkMode::Fallback } else { mode }, findings)
}

fn disabled(file: &str, at: Position, key: &str) -> (NetworkMode, Vec<Finding>) {
    let message = "interfaces are left as they are: no addresses are asked for, and none are set";
    (NetworkMode::Disabled, vec![finding(file, Verdict::Applied, at, key, message.into())])
}

fn fallback(file: &str, verdict: Verdict, at: Position, key: &str, message: String) -> (NetworkMode, Vec<Finding>) {
    (NetworkMode::Fallback, vec![finding(file, verdict, at, key, message)])
}

fn finding(file: &str, verdict: Verdict, at: Position, key: &str, message: String) -> Finding {
    let mut finding = Finding::new(verdict, at, key, message);
    finding.file = Some(file.into());
    finding
}

/// Checks what was read, and gives the verdicts.
fn finish(file: &str, drafts: Drafts, mut notes: Notes) -> (NetworkMode, Vec<Finding>) {
    let nothing = drafts.list.is_empty();
    let checked = check(drafts, &mut notes);
    let mut plan = checked.plan;
    if plan.interfaces.is_empty() {
        if nothing && notes.is_empty() && plan.dns.is_empty() {
            let message = "names no interface: DHCP on every interface";
            return fallback(file, Verdict::Ignored, Position::START, "", message.into());
        }
        let findings = notes.findings(file, nothing && !plan.dns.is_empty(), Vec::new());
        if plan.dns.is_empty() {
            return (NetworkMode::Fallback, findings);
        }
        // Name servers alone: the rest as without a plan.
        plan.interfaces.push(Interface::called("*").dhcp4(None));
        return (NetworkMode::Plan(Box::new(plan)), findings);
    }
    if !plan.interfaces.iter().any(Interface::is_addressed) {
        notes.ignored(Position::START, "", "nothing in it gives an interface an address");
    }
    let findings = notes.findings(file, checked.reachable, checked.applied);
    (NetworkMode::Plan(Box::new(plan)), findings)
}
