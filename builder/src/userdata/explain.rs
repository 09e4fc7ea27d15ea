//! `builder explain`: the plan that a node would make, key by key, with its verdict and its source.

use std::fmt::Write as _;

use agent::node::{
    datasource::http::shown,
    netconfig::{NetworkMode, NetworkPlan},
    userdata::{Plan, Verdict},
};

use super::check::Checked;

/// For people.
#[must_use]
pub fn text(checked: &Checked) -> String {
    let mut out = String::new();
    let plan = &checked.plan;
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    line("What becomes of each key".into());
    let width = checked.findings.iter().map(|finding| finding.key.len()).max().unwrap_or(0).min(40);
    for finding in &checked.findings {
        let place = finding.file.as_deref().or(finding.part.as_deref()).unwrap_or("user-data");
        let verdict = finding.verdict.to_string();
        line(format!("  {verdict:<8} {:<width$}  {place}:{}  {}", finding.key, finding.at, finding.message));
    }
    if checked.findings.is_empty() {
        line("  nothing is asked for".into());
    }
    line("\nWhat the node does, in this order".into());
    for step in steps(plan) {
        line(format!("  {step}"));
    }
    let refused = checked.findings.iter().filter(|finding| finding.verdict == Verdict::Refused).count();
    line(if refused == 0 {
        "\nNomad is started.".into()
    } else {
        format!("\nNomad is not started: {refused} refused.")
    });
    out
}

/// The plan as sentences.
fn steps(plan: &Plan) -> Vec<String> {
    let mut steps = Vec::new();
    if let Some(name) = &plan.hostname {
        steps.push(format!(
            "is called {name}{}",
            plan.fqdn.as_ref().map(|fqdn| format!(" ({fqdn})")).unwrap_or_default()
        ));
    }
    match &plan.network {
        NetworkMode::Fallback => steps.push("asks for an address by DHCP on every interface".into()),
        NetworkMode::Disabled => steps.push("leaves the network alone".into()),
        NetworkMode::Plan(network) => steps.extend(interfaces(network)),
    }
    for table in &plan.disks.tables {
        steps.push(format!("makes {} partitions on {}", table.layout.parts().len(), table.device.0));
    }
    for fs in &plan.disks.file_systems {
        steps.push(format!("makes {} on {}", fs.file_system.as_str(), fs.device.0));
    }
    for mount in &plan.disks.mounts {
        steps.push(format!("mounts {:?} on {}", mount.source, mount.target.as_deref().unwrap_or("(swap)")));
    }
    if let Some(swap) = &plan.disks.swap {
        steps.push(format!("swaps to {}", swap.path));
    }
    if !plan.ca_certs.is_empty() {
        steps.push(format!("trusts {} more authorities", plan.ca_certs.trusted.len()));
    }
    steps.extend(commands("bootcmd", plan.commands.early.len()));
    for file in &plan.files {
        let how = if file.append { "adds to" } else { "writes" };
        let size = file.content.0.len();
        steps.push(format!("{how} {} ({:04o} {}:{}, {size} bytes)", file.path, file.mode, file.user, file.group));
    }
    if let Some(zone) = &plan.timezone {
        steps.push(format!("shows the time of {zone}"));
    }
    if plan.ntp.enabled {
        let servers =
            if plan.ntp.servers.is_empty() { "the network's servers".into() } else { plan.ntp.servers.join(", ") };
        steps.push(format!("sets the clock by {servers}"));
    }
    steps.extend(commands("runcmd", plan.commands.late.len()));
    steps.push(nomad(plan));
    if let Some(follow) = &plan.follow {
        let (channel, every) = (shown(&follow.channel), follow.every.as_secs());
        steps.push(format!("follows the updates of {channel}, about every {every} s, when Nomad is healthy"));
    }
    if plan.finish.phone_home.is_some() {
        steps.push("phones home when Nomad is healthy".into());
    }
    if let Some(power) = &plan.finish.power {
        steps.push(format!("then, once, {:?} after {} s", power.power, power.delay.as_secs()));
    }
    steps
}

fn commands(key: &str, count: usize) -> Option<String> {
    let steps = if count == 1 { "step" } else { "steps" };
    (count > 0).then(|| format!("does what {key} asks for ({count} {steps}, above)"))
}

fn nomad(plan: &Plan) -> String {
    let nomad = &plan.nomad;
    let role = match (nomad.server, nomad.client) {
        (true, true) => "as server and client",
        (true, false) => "as server",
        (false, true) => "as client",
        (false, false) => "as neither server nor client",
    };
    let mut text = format!("starts Nomad {role} with {}", plan.launch.config.join(", "));
    if let Some(expect) = nomad.bootstrap_expect {
        let _ = write!(text, ", {expect} servers expected");
    }
    let peers = if nomad.client && !nomad.server { &nomad.servers } else { &nomad.join };
    // A discovery string may hold secrets.
    let shown: Vec<&str> =
        peers.iter().map(|peer| if peer.contains('=') { "a discovery string" } else { peer.as_str() }).collect();
    if !shown.is_empty() {
        let _ = write!(text, ", joining {}", shown.join(", "));
    }
    text
}

fn interfaces(plan: &NetworkPlan) -> Vec<String> {
    let one = |interface: &agent::node::netconfig::Interface| {
        let mut how = Vec::new();
        if interface.dhcp4.is_some() {
            how.push("DHCP".to_owned());
        }
        if interface.dhcp6.is_some() {
            how.push("DHCPv6".to_owned());
        }
        how.extend(interface.addresses.iter().map(ToString::to_string));
        how.extend(interface.routes.iter().map(|route| match route.via {
            Some(via) => format!("{} via {via}", route.to),
            None => format!("{} on link", route.to),
        }));
        let how = if how.is_empty() { "no address".to_owned() } else { how.join(", ") };
        format!("configures {}: {how}", interface.rename.as_deref().unwrap_or(&interface.id))
    };
    plan.interfaces.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use agent::facts::Role;

    use super::*;
    use crate::userdata::{check::check, input::Input};

    #[test]
    fn a_plan_reads_as_a_list() {
        let mut input = Input::default();
        input.seed.user_data = b"#cloud-config\nhostname: a\nusers: [default]\nwrite_files:\n- path: /etc/nomad.d/s.hcl\n  content: |\n    server {\n      enabled = true\n      bootstrap_expect = 3\n      server_join { retry_join = [\"b\", \"provider=aws secret_access_key=hunter2\"] }\n    }\n".to_vec();
        let text = text(&check(&input, Role::Server, None));
        for want in [
            "applied  hostname",
            "ignored  users",
            "is called a",
            "asks for an address by DHCP",
            "writes /etc/nomad.d/s.hcl (0644 root:root",
            "starts Nomad as server with /etc/nomad.d, 3 servers expected, joining b, a discovery string",
            "Nomad is started.",
        ] {
            assert!(text.contains(want), "{want}:\n{text}");
        }
        assert!(!text.contains("hunter2"));
    }
}
