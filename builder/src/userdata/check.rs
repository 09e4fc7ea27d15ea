//! `builder check`: what a node would say of user-data, before there is a node.

use agent::{
    cmdline::Cmdline,
    facts::Role,
    node::{
        netconfig::{self, NetworkMode},
        userdata::{self, Finding, Plan, Verdict},
    },
};
use serde_json::{Value, json};

use super::{
    input::Input,
    limits,
    render::{self, Source},
};

/// What came of one input.
#[derive(Debug)]
pub struct Checked {
    /// What a node would do.
    pub plan: Plan,
    /// Everything that is said.
    pub findings: Vec<Finding>,
    /// The texts that findings point into.
    pub sources: Vec<Source>,
    /// Why it cannot be handed over at all.
    pub too_large: Option<String>,
}

/// Makes the plan of a node in an image of `role` on `platform`, as the node itself would. What is included from elsewhere
/// is not fetched, which is said and counts as nothing wrong.
#[must_use]
pub fn check(input: &Input, role: Role, platform: Option<&str>) -> Checked {
    let mut seed = input.seed.clone();
    platform.unwrap_or("nocloud").clone_into(&mut seed.platform);
    let mut plan = Plan::from_seed(&seed, role, &mut |_| Err(NOT_FETCHED.into()));
    let (network, said) = netconfig::plan(&Cmdline::default(), seed.network.as_ref());
    plan.network = network;
    let mut findings = plan.findings.clone();
    for finding in &mut findings {
        if finding.message.contains(NOT_FETCHED) {
            finding.verdict = Verdict::Ignored;
        }
    }
    findings.extend(said);
    let mut sources: Vec<Source> = userdata::texts(&seed, &mut |_| Err(NOT_FETCHED.into()))
        .into_iter()
        .map(|(part, text)| Source { part, file: None, shown: input.user_data.display().to_string(), text })
        .collect();
    for (path, content) in plan.nomad_files() {
        let text = String::from_utf8_lossy(&content).into_owned();
        sources.push(Source {
            part: None,
            shown: format!("{} -> {path}", input.user_data.display()),
            file: Some(path),
            text,
        });
    }
    if let (Some(file), Some(netconfig::NetworkConfig::Text(text) | netconfig::NetworkConfig::OpenStack(text))) =
        (&input.network_config, &seed.network)
    {
        let shown = file.display().to_string();
        sources.push(Source { part: None, file: Some("network-config".into()), shown, text: text.clone() });
    }
    Checked { too_large: too_large(input, platform), plan, findings, sources }
}

const NOT_FETCHED: &str = "not fetched by this check";

fn too_large(input: &Input, platform: Option<&str>) -> Option<String> {
    let limit = limits::of(platform?)?;
    let bytes = limits::counted(limit.platform, input.seed.user_data.len());
    (bytes > limit.bytes).then(|| {
        format!(
            "{bytes} bytes of user-data are more than the {} that {} takes ({}): compress it with gzip, or fetch files with \
             `source`",
            limit.bytes, limit.platform, limit.source
        )
    })
}

impl Checked {
    /// Whether a node would start Nomad.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.too_large.is_none() && self.findings.iter().all(|finding| finding.verdict != Verdict::Refused)
    }

    /// For people, in the manner of rustc. `colour`: with the terminal's escapes.
    #[must_use]
    pub fn text(&self, input: &Input, colour: bool) -> String {
        let mut text = String::new();
        if let Some(why) = &self.too_large {
            text += &format!("error: {}: {why}\n\n", input.user_data.display());
        }
        for finding in self.findings.iter().filter(|finding| finding.verdict != Verdict::Applied) {
            text += &render::finding(finding, &self.sources, &input.user_data.display().to_string(), colour);
            text += "\n\n";
        }
        let count = |verdict| self.findings.iter().filter(|finding| finding.verdict == verdict).count();
        let name = input.path.display();
        text += &format!(
            "{name}: {} applied, {} ignored, {} refused\n",
            count(Verdict::Applied),
            count(Verdict::Ignored),
            count(Verdict::Refused) + usize::from(self.too_large.is_some())
        );
        text
    }

    /// For programs.
    #[must_use]
    pub fn json(&self, input: &Input, role: Role, platform: Option<&str>) -> Value {
        let finding = |finding: &Finding| {
            json!({
                "verdict": finding.verdict,
                "part": finding.part,
                "file": finding.file,
                "line": finding.at.line,
                "column": finding.at.column,
                "key": finding.key,
                "message": finding.message,
                "role": finding.role,
            })
        };
        json!({
            "path": input.path,
            "role": role.as_str(),
            "platform": platform,
            "good": self.is_good(),
            "bytes": input.seed.user_data.len(),
            "too_large": self.too_large,
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(),
        })
    }

    /// Whether the network is anything but DHCP everywhere.
    #[must_use]
    pub fn has_network(&self) -> bool {
        self.plan.network != NetworkMode::Fallback
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(text: &str) -> Input {
        let mut input = Input { path: "u.yaml".into(), user_data: "u.yaml".into(), ..Input::default() };
        input.seed.user_data = text.as_bytes().to_vec();
        input
    }

    const SERVER: &str =
        "#cloud-config\nwrite_files:\n- path: /etc/nomad.d/s.hcl\n  content: 'server { enabled = true }'\n";

    #[test]
    fn the_reference_is_good_and_a_wrong_role_is_not() {
        let server = input(SERVER);
        assert!(check(&server, Role::Server, None).is_good());
        let wrong = check(&server, Role::Client, None);
        assert!(!wrong.is_good());
        let text = wrong.text(&server, false);
        assert!(
            text.contains("u.yaml -> /etc/nomad.d/s.hcl:1:1") && text.contains("server { enabled = true }"),
            "{text}"
        );
        assert!(text.contains("1 refused"), "{text}");
    }

    #[test]
    fn a_message_shows_the_line_and_the_way_out() {
        let wrong = input(&(SERVER.to_owned() + "write_file: []\n"));
        let text = check(&wrong, Role::Server, None).text(&wrong, false);
        assert!(text.contains("error: write_file: unknown key; did you mean write_files?"), "{text}");
        assert!(
            text.contains("u.yaml:5:1") && text.contains("write_file: []") && text.contains("^^^^^^^^^^"),
            "{text}"
        );
    }

    #[test]
    fn what_a_cloud_does_not_take_is_an_error() {
        let large = input(&(SERVER.to_owned() + "#" + &"x".repeat(20_000)));
        assert!(check(&large, Role::Server, Some("gce")).is_good());
        let checked = check(&large, Role::Server, Some("aws"));
        assert!(!checked.is_good() && checked.text(&large, false).contains("more than the 16384 that aws takes"));
    }

    #[test]
    fn includes_are_said_and_not_fetched() {
        let include = input("#include\nhttp://10.0.0.1/more\n");
        let checked = check(&include, Role::Dev, None);
        let about = checked.findings.iter().find(|f| f.message.contains(NOT_FETCHED)).expect("it is said");
        assert_eq!(about.verdict, Verdict::Ignored);
    }

    #[test]
    fn json_has_places() {
        let wrong = input("#cloud-config\nchef: {}\n");
        let json = check(&wrong, Role::Server, None).json(&wrong, Role::Server, None);
        let chef = json["findings"].as_array().unwrap().iter().find(|f| f["key"] == "chef").unwrap().clone();
        assert_eq!((&chef["line"], &chef["verdict"], &json["good"]), (&json!(2), &json!("refused"), &json!(false)));
    }
}
