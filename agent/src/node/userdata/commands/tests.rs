use proptest::prelude::*;

use super::*;

fn verdicts(text: &str) -> (Commands, Vec<(Verdict, String)>) {
    let mut findings = Vec::new();
    let commands = commands(yaml::load(text).unwrap().root.as_ref(), &mut findings);
    (commands, findings.into_iter().map(|f| (f.verdict, f.to_string())).collect())
}

/// The steps of a list of lines; panics when one is refused.
fn steps(lines: &[&str]) -> Vec<Step> {
    let mut recogniser = Recogniser::default();
    let mut steps = Vec::new();
    for line in lines {
        for (_, outcome) in recogniser.script(line) {
            if let Done::Steps(more, _) = outcome.unwrap_or_else(|why| panic!("{line}: {why}")) {
                steps.extend(more);
            }
        }
    }
    steps
}

fn refused(line: &str) -> String {
    let outcomes = Recogniser::default().script(line);
    outcomes.into_iter().find_map(|(_, outcome)| outcome.err()).unwrap_or_else(|| panic!("{line} is not refused"))
}

#[test]
fn what_nomad_users_write_needs_no_doing() {
    let text = "runcmd:\n- systemctl daemon-reload\n- [systemctl, enable, --now, nomad]\n- sudo systemctl start \
                nomad.service\n- [sleep, 15]\n- set -ex\n- true\n- echo 'a; b'\n- apt-get install -y nomad curl\n\
                - systemctl stop ufw\n-\n- [sh, -c, 'systemctl start nomad && sleep 3']\n- exit 0\n\
                packages: [nomad, [nomad, 1.7], jq]\n";
    let (commands, found) = verdicts(text);
    assert!(commands.is_empty());
    for (verdict, text) in found {
        assert_eq!(verdict, Verdict::Ignored, "{text}");
    }
}

#[test]
fn getting_nomad_needs_no_doing() {
    let text = r#"
export NOMAD_VERSION="1.7.7"
curl -fsSL https://apt.releases.hashicorp.com/gpg | sudo apt-key add -
wget -O- https://apt.releases.hashicorp.com/gpg | sudo gpg --dearmor -o /usr/share/keyrings/hashicorp-archive-keyring.gpg
echo "deb [signed-by=/usr/share/keyrings/hashicorp-archive-keyring.gpg] https://apt.releases.hashicorp.com $(lsb_release -cs) main" | sudo tee /etc/apt/sources.list.d/hashicorp.list
sudo apt-add-repository "deb [arch=amd64] https://apt.releases.hashicorp.com $(lsb_release -cs) main" || true
apt-get update && apt-get install -y nomad=1.7.7-1 unzip
curl --silent --remote-name https://releases.hashicorp.com/nomad/${NOMAD_VERSION}/nomad_${NOMAD_VERSION}_linux_amd64.zip
unzip nomad_${NOMAD_VERSION}_linux_amd64.zip
sudo chown root:root nomad && sudo mv nomad /usr/local/bin/
nomad -autocomplete-install
complete -C /usr/local/bin/nomad nomad
sudo useradd --system --home /etc/nomad.d --shell /bin/false nomad
"#;
    let found = Recogniser::default().script(text);
    // $(lsb_release) stands in an argument of a command that would be nothing; and a relative file is nobody's.
    let refusals: Vec<String> = found.iter().filter_map(|(_, outcome)| outcome.clone().err()).collect();
    assert_eq!(refusals.len(), 2, "{refusals:#?}");
    assert!(
        refusals[0].starts_with("line 6: \"apt-add-repository\"") && refusals[1].starts_with("line 10: "),
        "{refusals:#?}"
    );
}

#[test]
fn everything_else_is_refused_by_name() {
    for item in [
        "curl http://x | sh",
        "systemctl start docker",
        "systemctl stop nomad",
        "nomad job run x.hcl",
        "\"echo $(id)  > /etc/x\"",
        "apt-get install docker.io",
        "chmod +x *.sh",
        "rm -rf /etc",
        "mkdir /usr/lib/x",
        "'echo a > /usr/bin/b'",
        "'echo a > /etc/../usr/b'",
        "curl -o /etc/x http://x/y",
        "./install.sh",
        "'for i in 1 2; do echo $i; done'",
        "'ls > /etc/x'",
        "'tee /etc/x < /etc/y'",
        "sudo -u nomad touch /etc/x",
        "$SOMETHING",
    ] {
        let (commands, found) = verdicts(&format!("runcmd:\n- {item}\n"));
        assert_eq!(found[0].0, Verdict::Refused, "{item}: {}", found[0].1);
        assert!(found[0].1.contains("user-data:2:3: runcmd[0]"), "{}", found[0].1);
        assert!(commands.is_empty());
    }
    assert_eq!(verdicts("packages: [docker.io]").1[0].0, Verdict::Refused);
}

#[test]
fn no_message_shows_an_argument() {
    for item in [
        "curl -u me:hunter2 http://x | sh",
        "[/usr/bin/vault, login, hunter2]",
        "TOKEN=hunter2 nomad job run x",
        "'TOKEN=\"hunter2\" ; ./sh'",
        "echo hunter2",
        "sudo -E env T=hunter2 sh",
        "apt-get -o Proxy=http://a:hunter2@b install nomad",
        "'TOKEN=$(vault hunter2)'",
        "export A=hunter2",
        "'echo hunter2 > /etc/a'",
        "sed -i s/a/hunter2/g /etc/a",
        "'if hunter2; then b; fi'",
    ] {
        let (commands, found) = verdicts(&format!("runcmd:\n- {item}\n"));
        assert!(found.iter().all(|(_, text)| !text.contains("hunter2")), "{found:?}");
        let json = serde_json::to_string(&commands).unwrap();
        assert!(!json.contains("hunter2") && !format!("{commands:?}").contains("hunter2"), "{json}");
    }
    assert!(verdicts("runcmd: [sudo /usr/bin/vault login x]").1[0].1.contains("runcmd[0]: \"vault\" is not run"));
}

#[test]
fn files_are_made_by_the_agent() {
    let found = steps(&[
        "sudo mkdir --parents /opt/nomad/data && sudo chown -R nomad:nomad /opt/nomad",
        "chmod 0700 /etc/nomad.d; touch /etc/nomad.d/nomad.hcl",
        "cd /etc/nomad.d",
        "ln -sf /opt/nomad data",
        "cp -r /opt/a /opt/b",
        "rm -rf /opt/c/*",
        "install -d -m 0750 -o nomad -g nomad /srv/x",
    ]);
    let place = |path: &str, children, recursive| Places { path: path.into(), children, recursive };
    assert_eq!(found[0], Step::MakeDirectory { path: "/opt/nomad/data".into(), parents: true, mode: None });
    let nomad = || Some("nomad".to_owned());
    assert_eq!(found[1], Step::Own { path: place("/opt/nomad", false, true), user: nomad(), group: nomad() });
    assert_eq!(found[2], Step::Mode { path: place("/etc/nomad.d", false, false), change: Mode::Set(0o700) });
    assert_eq!(found[4], Step::Link { target: "/opt/nomad".into(), path: "/etc/nomad.d/data".into() });
    assert_eq!(found[6], Step::Remove { path: place("/opt/c", true, true) });
    assert_eq!(found.len(), 10);
}

#[test]
fn an_address_reaches_a_file_in_the_usual_ways() {
    let lookup = |value: &Value| (*value == Value::Address).then(|| "10.0.0.7".to_owned());
    for lines in [
        &["PRIVATE_IP=$(hostname -I | awk '{print $1}')", "sed -i \"s/LOCAL_IP/$PRIVATE_IP/g\" /etc/nomad.d/a.hcl"][..],
        &[
            "export IP=\"$(curl -s http://169.254.169.254/latest/meta-data/local-ipv4)\"\nsudo sed -i -e \"s|LOCAL_IP|${IP}|\" /etc/nomad.d/a.hcl",
        ],
    ] {
        let found = steps(lines);
        let [Step::Edit { path, edits }] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(path, "/etc/nomad.d/a.hcl");
        assert_eq!(edits[0].apply("a = \"LOCAL_IP\"\n", &lookup), Ok("a = \"10.0.0.7\"\n".into()));
    }
    for lines in [
        &["IP=$(hostname -I)", "echo \"bind_addr = \\\"$IP\\\"\" >> /etc/nomad.d/a.hcl"][..],
        &["cat >> /etc/nomad.d/a.hcl <<EOF\nbind_addr = \"$(hostname -I | cut -d' ' -f1)\"\nEOF"],
        &["printf 'bind_addr = \"%s\"\\n' \"$(hostname -I)\" | sudo tee -a /etc/nomad.d/a.hcl > /dev/null"],
    ] {
        let found = steps(lines);
        let [Step::Write { path, content, append: true }] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(
            (path.as_str(), content.resolve(&lookup)),
            ("/etc/nomad.d/a.hcl", Ok("bind_addr = \"10.0.0.7\"\n".into()))
        );
    }
}

#[test]
fn names_settings_and_modules() {
    let (commands, found) = verdicts(
        "bootcmd: [modprobe br_netfilter]\nruncmd: ['hostnamectl set-hostname web-1', 'sysctl -w vm.max_map_count=262144', sysctl --system]\n",
    );
    assert!(found.iter().all(|(verdict, _)| *verdict == Verdict::Applied), "{found:?}");
    assert_eq!(commands.hostname.as_deref(), Some("web-1"));
    assert_eq!(commands.early, [Step::Module { name: "br_netfilter".into() }]);
    assert_eq!(
        commands.late,
        [Step::Sysctl { key: "vm.max_map_count".into(), value: "262144".into() }, Step::SysctlFiles { path: None }]
    );
    assert!(verdicts("runcmd: ['hostnamectl set-hostname localhost']").1[0].0 == Verdict::Refused);
    assert!(verdicts("runcmd: ['sysctl -w ../../etc/x=1']").1[0].0 == Verdict::Refused);
}

#[test]
fn what_comes_behind_an_exit_has_no_turn() {
    assert!(steps(&["exit 0", "touch /etc/x"]).is_empty());
    assert!(steps(&["true || touch /etc/x"]).is_empty());
}

#[test]
fn a_refusal_in_many_lines_names_the_line() {
    assert!(refused("systemctl start nomad\ncurl http://x | sh\n").starts_with("line 2: \"curl\""));
    assert!(refused("if true; then\n a\nfi\n").starts_with("line 1: `if` needs a shell"));
}

proptest! {
    #[test]
    fn any_script_is_judged(text in "(echo|sed|-i|s/a/b/|/etc/a|/opt/*|mkdir|-p|>|>>|\\||&&|;|\n| |'|\"|\\$A|A=|\\$\\(hostname -I\\)|<<E|E|tee|cat|chmod|\\+x|rm|-rf|install|printf|%s){0,20}") {
        for (_, outcome) in Recogniser::default().script(&text) {
            if let Ok(Done::Steps(steps, _)) = outcome {
                prop_assert!(!steps.is_empty());
                for step in steps {
                    if let Step::Write { path, .. } | Step::Edit { path, .. } | Step::Touch { path } = step {
                        prop_assert!(crate::node::files::roots::check(&path).is_ok() || crate::node::files::roots::WRITABLE.contains(&path.as_str()), "{}", path);
                    }
                }
            }
        }
    }
}
