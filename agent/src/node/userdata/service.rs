//! systemd units among `write_files`: nothing runs them. A `nomad.service` is read for what it says about Nomad's
//! command line and environment; the rest of it (user, limits, signals) the image decides.

use serde::{Serialize, Serializer};

use super::{
    commands::shell::Script,
    finding::{Finding, Position, Verdict},
};
use crate::paths::NOMAD_CONFIG_DIR;

/// Where units stand.
const DIRECTORIES: [&str; 3] = ["/etc/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/"];

/// How Nomad is to be started, beyond what the agent does by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Launch {
    /// Files and directories of configuration, in order; the agent's own comes before them.
    pub config: Vec<String>,
    /// Further arguments of `nomad agent`.
    #[serde(serialize_with = "count")]
    pub arguments: Vec<String>,
    /// Environment.
    #[serde(serialize_with = "count")]
    pub environment: Vec<(String, String)>,
    /// Files of environment (`KEY=value` lines), read when Nomad is started; absent ones are empty.
    pub environment_files: Vec<String>,
}

/// Values may be secrets.
fn count<T, S: Serializer>(list: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(list.len() as u64)
}

impl Default for Launch {
    /// As the packaged unit has it.
    fn default() -> Self {
        Self {
            config: vec![NOMAD_CONFIG_DIR.to_owned()],
            arguments: Vec::new(),
            environment: Vec::new(),
            environment_files: vec![format!("{NOMAD_CONFIG_DIR}/nomad.env")],
        }
    }
}

/// What a path among `write_files` is to systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnitFile {
    /// `nomad.service` or a drop-in of it.
    Nomad,
    /// Another unit, or a drop-in of it.
    Other,
}

/// Whether a path is a systemd unit's.
#[must_use]
pub(super) fn unit_file(path: &str) -> Option<UnitFile> {
    let name = DIRECTORIES.iter().find_map(|directory| path.strip_prefix(directory))?;
    let unit = name.split('/').next().unwrap_or(name);
    Some(if matches!(unit, "nomad.service" | "nomad.service.d") { UnitFile::Nomad } else { UnitFile::Other })
}

/// Flags of `nomad agent` that take a value.
const VALUED: [&str; 26] = [
    "acl-replication-token",
    "alloc-dir",
    "bind",
    "bootstrap-expect",
    "client-intro-token",
    "data-dir",
    "dc",
    "encrypt",
    "host-volumes-dir",
    "join",
    "log-level",
    "meta",
    "network-interface",
    "network-speed",
    "node",
    "node-class",
    "node-pool",
    "plugin-dir",
    "preferred-address-family",
    "raft-protocol",
    "region",
    "retry-interval",
    "retry-join",
    "retry-max",
    "servers",
    "state-dir",
];
/// Flags that take none.
const PLAIN: [&str; 6] = ["acl-enabled", "client", "log-include-location", "log-json", "rejoin", "server"];

impl Launch {
    /// Takes over what a unit file says; a drop-in after its unit. What is not followed is a finding at `at`, the
    /// place of the file in the user-data.
    pub(super) fn read(&mut self, path: &str, text: &str, at: Position, findings: &mut Vec<Finding>) {
        let mut service = false;
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let mut line = line.trim().to_owned();
            while line.ends_with('\\') {
                line.pop();
                line.push(' ');
                line += lines.next().unwrap_or("").trim();
            }
            if line.starts_with(['#', ';']) {
                continue;
            }
            if line.starts_with('[') {
                service = line == "[Service]";
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| service) else { continue };
            let (key, value) = (key.trim(), value.trim());
            let outcome = match key {
                "ExecStart" if value.is_empty() => {
                    *self = Self {
                        environment: self.environment.clone(),
                        environment_files: self.environment_files.clone(),
                        ..Self::default()
                    };
                    Ok(())
                }
                "ExecStart" => self.exec_start(value),
                "Environment" => words(value).map(|words| {
                    let pairs = words.iter().filter_map(|word| word.split_once('='));
                    self.environment.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
                }),
                "EnvironmentFile" => {
                    let file = value.trim_start_matches('-').to_owned();
                    if !self.environment_files.contains(&file) {
                        self.environment_files.push(file);
                    }
                    Ok(())
                }
                "ExecStartPre" | "ExecStartPost" => Err(format!("{key}: nothing but Nomad itself is started")),
                _ => Ok(()),
            };
            if let Err(why) = outcome {
                let mut finding = Finding::new(Verdict::Refused, at, "write_files", format!("{path}: {why}"));
                // A command beside Nomad's does not decide whether Nomad can start.
                if key != "ExecStart" {
                    finding.verdict = Verdict::Ignored;
                }
                findings.push(finding);
            }
        }
    }

    fn exec_start(&mut self, value: &str) -> Result<(), String> {
        let words = words(value.trim_start_matches(['-', '@', ':', '+', '!']))?;
        let (program, args) = words.split_first().ok_or("ExecStart: is empty")?;
        if program.rsplit('/').next() != Some("nomad") || args.first().map(String::as_str) != Some("agent") {
            return Err("ExecStart: must be `nomad agent ...`; nothing else is started here".into());
        }
        let mut launch = Self { config: Vec::new(), arguments: Vec::new(), ..self.clone() };
        let mut args = args[1..].iter();
        while let Some(arg) = args.next() {
            let flag = arg.trim_start_matches('-');
            if flag == arg || flag.is_empty() {
                return Err("ExecStart: an argument without a flag".into());
            }
            let (name, attached) = flag.split_once('=').map_or((flag, None), |(n, v)| (n, Some(v.to_owned())));
            if PLAIN.contains(&name) {
                launch.arguments.push(format!("-{flag}"));
            } else if name == "config" || VALUED.contains(&name) {
                let value =
                    attached.or_else(|| args.next().cloned()).ok_or(format!("ExecStart: -{name} has no value"))?;
                if name == "config" {
                    launch.config.push(value.trim_end_matches('/').to_owned());
                } else {
                    launch.arguments.push(format!("-{name}={value}"));
                }
            } else {
                return Err(format!(
                    "ExecStart: -{name} is not passed on: write it into a file of Nomad's configuration"
                ));
            }
        }
        if launch.config.is_empty() {
            launch.config = Self::default().config;
        }
        if let Some(path) = launch.config.iter().find(|path| !path.starts_with('/')) {
            return Err(format!("ExecStart: -config {path:?} must be absolute"));
        }
        *self = launch;
        Ok(())
    }

    /// The value of a flag, the last one's when it is repeated.
    #[must_use]
    pub fn flag<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.flags(name).last()
    }

    /// All values of a flag; a plain one has `true`.
    pub fn flags<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.arguments.iter().filter_map(move |arg| {
            let rest = arg.strip_prefix('-')?.strip_prefix(name)?;
            if rest.is_empty() { Some("true") } else { rest.strip_prefix('=') }
        })
    }

    /// Which of the configuration paths a file belongs to.
    pub(super) fn position(&self, path: &str) -> usize {
        let holds = |config: &String| {
            path.strip_prefix(config.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.config.iter().position(holds).unwrap_or(usize::MAX)
    }

    /// Whether Nomad reads a file of this path: it is named, or stands directly in a named directory and has one of
    /// two endings (hidden files too).
    #[must_use]
    pub fn reads(&self, path: &str) -> bool {
        let ending = path.ends_with(".hcl") || path.ends_with(".json");
        self.config.iter().any(|config| {
            path == config
                || path
                    .strip_prefix(config.as_str())
                    .and_then(|rest| rest.strip_prefix('/'))
                    .is_some_and(|name| ending && !name.contains('/'))
        })
    }
}

/// Words as systemd splits them: quotes as in a shell, and no variables.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut script = Script::new(text);
    let unclear = || "is not followed: a plain command line is wanted".to_owned();
    let Some(Ok(statement)) = script.next() else { return Err(unclear()) };
    let [simple] = statement.commands.as_slice() else { return Err(unclear()) };
    if script.next().is_some() || simple.output.is_some() || simple.input.is_some() {
        return Err(unclear());
    }
    // `A=b` in front of a command is an assignment to a shell, and a word to systemd.
    let assigned = simple.assignments.iter().map(|(name, word)| Some(format!("{name}={}", word.text()?)));
    let plain = simple.words.iter().map(|word| word.text().map(str::to_owned));
    assigned.chain(plain).collect::<Option<_>>().ok_or_else(unclear)
}

/// The `KEY=value` lines of an environment file (`systemd.exec(5)`), quotes undone.
#[must_use]
pub fn environment(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let line = line.trim();
        let (name, value) = line.split_once('=').filter(|_| !line.starts_with(['#', ';']))?;
        let value = value.trim();
        let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        let name = name.trim();
        let legal = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        (legal && !value.contains('\0')).then(|| (name.to_owned(), quoted.unwrap_or(value).to_owned()))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (Launch, Vec<String>) {
        let mut launch = Launch::default();
        let mut findings = Vec::new();
        launch.read("/etc/systemd/system/nomad.service", text, Position::START, &mut findings);
        (launch, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_packaged_unit_changes_nothing() {
        let text = "[Unit]\nDescription=Nomad\nWants=network-online.target\n\n[Service]\nUser=root\nEnvironmentFile=-/etc/\
                    nomad.d/nomad.env\nExecReload=/bin/kill -HUP $MAINPID\nExecStart=/usr/bin/nomad agent -config \
                    /etc/nomad.d\nKillMode=process\nLimitNOFILE=65536\n\n[Install]\nWantedBy=multi-user.target\n";
        assert_eq!(read(text), (Launch::default(), vec![]));
    }

    #[test]
    fn paths_flags_and_environment_are_taken_over() {
        let text = "[Service]\nEnvironment=\"NOMAD_ADDR=http://a b\" X=y\nEnvironmentFile=/opt/env\nExecStart=-/usr/local/bin/nomad \
                    agent \\\n  -config=/etc/nomad/config -server --bootstrap-expect=3 -retry-join a -retry-join=b\n";
        let (launch, findings) = read(text);
        assert_eq!(findings, [""; 0]);
        assert_eq!(launch.config, ["/etc/nomad/config"]);
        assert_eq!(launch.arguments, ["-server", "-bootstrap-expect=3", "-retry-join=a", "-retry-join=b"]);
        assert_eq!(launch.environment[0], ("NOMAD_ADDR".into(), "http://a b".into()));
        assert_eq!((launch.environment.len(), launch.environment_files.len()), (2, 2));
        assert_eq!(launch.flags("retry-join").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            (launch.flag("server"), launch.flag("client"), launch.flag("bootstrap-expect")),
            (Some("true"), None, Some("3"))
        );
        assert!(
            launch.reads("/etc/nomad/config/a.hcl")
                && !launch.reads("/etc/nomad.d/a.hcl")
                && !launch.reads("/etc/nomad/config/a/b.hcl")
        );
        let json = serde_json::to_string(&launch).unwrap();
        assert!(!json.contains("http://a b"), "{json}");
    }

    #[test]
    fn a_drop_in_replaces_the_command() {
        let mut launch = read("[Service]\nExecStart=/usr/bin/nomad agent -config /opt/a -server\n").0;
        let mut findings = Vec::new();
        let text = "[Service]\nExecStart=\nExecStart=/usr/bin/nomad agent -config /opt/b.hcl\n";
        launch.read("/etc/systemd/system/nomad.service.d/a.conf", text, Position::START, &mut findings);
        assert_eq!(
            (launch.config.as_slice(), launch.arguments.len(), findings.len()),
            (&["/opt/b.hcl".to_owned()][..], 0, 0)
        );
        assert!(launch.reads("/opt/b.hcl"));
    }

    #[test]
    fn what_is_not_nomad_is_not_started() {
        for (text, want) in [
            ("ExecStart=/bin/sh -c 'nomad agent'", "must be `nomad agent"),
            ("ExecStart=/usr/bin/nomad agent -dev", "-dev is not passed on"),
            ("ExecStart=/usr/bin/nomad agent -config $X", "a plain command line"),
            ("ExecStart=/usr/bin/nomad agent -config etc", "must be absolute"),
            ("ExecStart=/usr/bin/nomad agent -bind", "-bind has no value"),
            ("ExecStart=/usr/bin/nomad agent x", "without a flag"),
        ] {
            let (launch, findings) = read(&format!("[Service]\n{text}\n"));
            assert!(findings[0].starts_with("refused") && findings[0].contains(want), "{findings:?}");
            assert_eq!(launch, Launch::default());
        }
        assert!(read("[Service]\nExecStartPre=/bin/x\n").1[0].starts_with("ignored"));
    }

    #[test]
    fn units_are_known_by_their_paths() {
        assert_eq!(unit_file("/etc/systemd/system/nomad.service"), Some(UnitFile::Nomad));
        assert_eq!(unit_file("/lib/systemd/system/nomad.service.d/a.conf"), Some(UnitFile::Nomad));
        assert_eq!(unit_file("/usr/lib/systemd/system/consul.service"), Some(UnitFile::Other));
        assert_eq!(unit_file("/etc/nomad.d/nomad.service"), None);
    }

    #[test]
    fn environment_files() {
        let text = "# x\nA=1\nB = \"two words\"\nexport C=3\n=4\nD='x'\n;E=1\n";
        assert_eq!(
            environment(text),
            [("A", "1"), ("B", "two words"), ("D", "x")].map(|(n, v)| (n.to_owned(), v.to_owned()))
        );
    }

    proptest! {
        #[test]
        fn any_unit_is_read(text in "(\\[Service\\]|\n|ExecStart=|/usr/bin/nomad agent| -config|=|/a|\\\\\n|Environment=|'|\"|x){0,20}") {
            let (launch, _) = read(&text);
            prop_assert!(!launch.config.is_empty());
        }

        #[test]
        fn any_environment_is_read(text: String) {
            let _ = environment(&text);
        }
    }
}
