//! `runcmd`, `bootcmd` and `packages`: no shell runs them. Each item is recognised as something that this image does
//! by itself, or refused by name.

use super::{
    finding::{Finding, Verdict},
    yaml::{Node, Value},
};

/// Services that a unit of this image stands for.
const SERVICES: [&str; 2] = ["nomad", "nomad.service"];
/// Packages whose content is in every image.
const PRESENT: [&str; 6] = ["nomad", "ca-certificates", "tzdata", "curl", "unzip", "jq"];
/// Of those, programs for scripts only: absent, and not missed where no script can run.
const SCRIPT_TOOLS: [&str; 3] = ["curl", "unzip", "jq"];

const NO_SHELL: &str = "there is no shell in this image; what Nomad needs goes into write_files";

pub(super) fn commands(config: Option<&Node>, findings: &mut Vec<Finding>) {
    for key in ["bootcmd", "runcmd"] {
        let Some(node) = config.and_then(|c| c.get(key)).filter(|node| !node.is_null()) else { continue };
        let Some(items) = node.sequence() else {
            let message = format!("must be a list, not {}", node.describe());
            findings.push(Finding::new(Verdict::Refused, node.at, key, message));
            continue;
        };
        for (n, item) in items.iter().enumerate() {
            let path = format!("{key}[{n}]");
            let (verdict, message) = match arguments(item) {
                Ok(argv) => judge(&argv),
                Err(why) => (Verdict::Refused, why),
            };
            findings.push(Finding::new(verdict, item.at, path, message));
        }
    }
    packages(config, findings);
}

fn packages(config: Option<&Node>, findings: &mut Vec<Finding>) {
    let Some(node) = config.and_then(|c| c.get("packages")).filter(|node| !node.is_null()) else { return };
    let Some(items) = node.sequence() else {
        let message = format!("must be a list, not {}", node.describe());
        findings.push(Finding::new(Verdict::Refused, node.at, "packages", message));
        return;
    };
    for (n, item) in items.iter().enumerate() {
        // A name, `[name, version]`, or `{apt: [names]}`, which only a package manager could tell apart.
        let name = item.text().or_else(|| item.sequence()?.first()?.text()).unwrap_or("");
        let (verdict, message) = package(name);
        findings.push(Finding::new(verdict, item.at, format!("packages[{n}]"), message));
    }
}

fn package(name: &str) -> (Verdict, String) {
    let plain = name.split('=').next().unwrap_or(name);
    if SCRIPT_TOOLS.contains(&plain) {
        (Verdict::Ignored, format!("{plain}: a tool for scripts, and no script runs here"))
    } else if PRESENT.contains(&plain) {
        (Verdict::Ignored, format!("{plain} is in the image; its version is the image's"))
    } else {
        (Verdict::Refused, format!("{name:?} is not in this image: add it when the image is built"))
    }
}

/// The words of an item: a list as it is, a string split as `sh` would, when nothing in it needs more than splitting.
fn arguments(item: &Node) -> Result<Vec<String>, String> {
    match &item.value {
        Value::Sequence(words) => words
            .iter()
            .map(|word| word.scalar().map(|s| s.text.clone()).ok_or_else(|| "must hold words only".to_owned()))
            .collect(),
        Value::Scalar(_) => split(item.text().unwrap_or("")),
        Value::Mapping(_) => Err("must be a string or a list".into()),
    }
}

/// POSIX quoting, and nothing else of the shell.
fn split(text: &str) -> Result<Vec<String>, String> {
    let refuse = |what: char| Err(format!("{:?} needs a shell ({what:?}): {NO_SHELL}", program(text)));
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.trim().chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return refuse('\''),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some(c @ ('$' | '`')) => return refuse(c),
                        Some('\\') => word.extend(chars.next()),
                        Some(c) => word.push(c),
                        None => return refuse('"'),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            '|' | '&' | ';' | '<' | '>' | '$' | '(' | ')' | '`' | '*' | '?' | '{' | '}' | '\n' => return refuse(c),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn judge(argv: &[String]) -> (Verdict, String) {
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    let words = match words.as_slice() {
        ["sudo", rest @ ..] => rest,
        all => all,
    };
    let program = program(words.first().copied().unwrap_or(""));
    let rest = words.get(1..).unwrap_or_default();
    let nothing = |why: &str| (Verdict::Ignored, format!("{program:?}: {why}"));
    let refused = || (Verdict::Refused, format!("{program:?} is not run: {NO_SHELL}"));
    match (program, rest) {
        ("" | ":" | "true" | "echo" | "sleep", _) => nothing("nothing to do"),
        ("set", flags) if flags.iter().all(|f| f.starts_with(['-', '+']) || *f == "pipefail") => {
            nothing("nothing to do")
        }
        ("systemctl", args) => systemctl(args).map_or_else(refused, nothing),
        ("service", ["nomad", "start" | "restart" | "reload" | "status"]) => nothing("Nomad starts by itself"),
        ("apt" | "apt-get" | "yum" | "dnf" | "apk", args) => install(args).map_or_else(refused, nothing),
        ("update-ca-certificates", []) => nothing("the image's certificates are complete"),
        ("nomad", ["-autocomplete-install"]) => nothing("nobody types in this image"),
        _ => refused(),
    }
}

/// Why a call of `systemctl` needs no doing.
fn systemctl(args: &[&str]) -> Option<&'static str> {
    let mut words = args.iter().filter(|a| !a.starts_with('-'));
    match *words.next()? {
        "daemon-reload" | "daemon-reexec" => Some("there is no systemd"),
        "enable" | "start" | "restart" | "reload" | "status" | "is-active" | "try-restart" | "unmask" => {
            let units: Vec<_> = words.collect();
            let known = !units.is_empty() && units.iter().all(|unit| SERVICES.contains(unit));
            known.then_some("Nomad starts by itself, after the files are written")
        }
        "stop" | "disable" | "mask" => {
            let units: Vec<_> = words.collect();
            let absent = !units.is_empty() && units.iter().all(|unit| !SERVICES.contains(unit));
            absent.then_some("there is no such service in this image")
        }
        _ => None,
    }
}

/// Why a call of a package manager needs no doing.
fn install(args: &[&str]) -> Option<&'static str> {
    let mut words = args.iter().filter(|a| !a.starts_with('-'));
    match *words.next()? {
        "update" | "upgrade" | "makecache" | "clean" | "autoremove" => Some("there is no package manager"),
        "install" | "add" => words
            .all(|name| PRESENT.contains(&name.split('=').next().unwrap_or(name)))
            .then_some("what it installs is in the image, or serves scripts only"),
        _ => None,
    }
}

/// The program's name, which is all that a message shows of a command: its arguments, and what is assigned before it
/// (`TOKEN=...`), may be secrets. Its place in the user-data says the rest.
fn program(text: &str) -> &str {
    let mut words = text.split_whitespace();
    let word = words.next().filter(|word| *word != "sudo").or_else(|| words.next()).unwrap_or("");
    let end = word.find(|c: char| !c.is_ascii_alphanumeric() && !"_-./+:[".contains(c)).unwrap_or(word.len());
    let path = &word[..end];
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::userdata::yaml;

    fn verdicts(text: &str) -> Vec<(Verdict, String)> {
        let mut findings = Vec::new();
        commands(yaml::load(text).unwrap().root.as_ref(), &mut findings);
        findings.into_iter().map(|f| (f.verdict, f.to_string())).collect()
    }

    #[test]
    fn what_nomad_users_write_needs_no_doing() {
        let text = "runcmd:\n- systemctl daemon-reload\n- [systemctl, enable, --now, nomad]\n- sudo systemctl start \
                    nomad.service\n- [sleep, 15]\n- set -ex\n- true\n- echo 'a; b'\n- apt-get install -y nomad curl\n\
                    - systemctl stop ufw\n-\npackages: [nomad, [nomad, 1.7], jq]\n";
        for (verdict, text) in verdicts(text) {
            assert_eq!(verdict, Verdict::Ignored, "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        for item in [
            "curl http://x | sh",
            "systemctl start docker",
            "systemctl stop nomad",
            "nomad job run x.hcl",
            "'sed -i s/a/b/ /etc/nomad.d/x.hcl'",
            "'echo a > /etc/b'",
            "\"echo $(id)\"",
            "apt-get install docker.io",
        ] {
            let found = verdicts(&format!("runcmd:\n- {item}\n"));
            assert_eq!(found[0].0, Verdict::Refused, "{item}");
            assert!(found[0].1.contains("user-data:2:3: runcmd[0]"), "{}", found[0].1);
        }
        assert_eq!(verdicts("packages: [docker.io]")[0].0, Verdict::Refused);
    }

    #[test]
    fn no_message_shows_an_argument() {
        for item in [
            "curl -u me:hunter2 http://x | sh",
            "[/usr/bin/vault, login, hunter2]",
            "TOKEN=hunter2 nomad job run x",
            "'TOKEN=\"hunter2\" ; sh'",
            "echo hunter2",
            "sudo -E env T=hunter2 sh",
            "apt-get -o Proxy=http://a:hunter2@b install nomad",
        ] {
            let found = verdicts(&format!("runcmd:\n- {item}\n"));
            assert!(found.len() == 1 && !found[0].1.contains("hunter2"), "{}", found[0].1);
        }
        assert!(verdicts("runcmd: [sudo /usr/bin/vault login x]")[0].1.contains("runcmd[0]: \"vault\" is not run"));
    }

    proptest! {
        #[test]
        fn any_text_splits_or_is_refused(text: String) {
            let _ = split(&text);
        }

        #[test]
        fn single_quotes_keep_words(words in proptest::collection::vec("[^'\u{0}]{0,10}", 1..5)) {
            let text = words.iter().map(|w| format!("'{w}'")).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(split(&text).unwrap(), words);
        }
    }
}
