//! The plan: everything that a node does because of its metadata, in one typed value.

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, Serializer};

use super::{
    Ntp,
    ca_certs::{self, CaCerts},
    commands::{self, Commands},
    config,
    disks::{self, Disks},
    finding::{Finding, Position, Verdict},
    finish::{self, Finish},
    hostname,
    hosts::{self, HostsMode},
    keys, nomad_block, ntp,
    parts::Fetch,
    service::{self, Launch, UnitFile},
    steppe_block::{self, Follow},
    system::{self, Resolver},
    texts::{Texts, USER_DATA},
    write_files, yaml,
};
use crate::{
    facts::Role,
    node::{
        netconfig::NetworkMode,
        nomad::check,
        options::OnClone,
        seed::{Metadata, Seed},
    },
};

/// The content of a file: no message, status or `Debug` output shows it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Contents(pub Vec<u8>);

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

impl Serialize for Contents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("<{} bytes>", self.0.len()))
    }
}

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct File {
    /// Absolute, normal (no `.` or `..`), below a writable root.
    pub path: String,
    /// What goes in.
    pub content: Contents,
    /// Owner, by name or number.
    pub user: String,
    /// Group, by name or number.
    pub group: String,
    /// Permissions, as for `chmod(2)`.
    pub mode: u32,
    /// Behind what is there, instead of in its place.
    pub append: bool,
    /// After all that are not deferred.
    pub defer: bool,
    /// Where the content is fetched; what is fetched takes the place of [`File::content`].
    #[serde(skip)]
    pub source: Option<Source>,
    /// Where the content stands in the user-data, or in [`File::part`].
    pub at: Position,
    /// The part that it stands in, as in [`Finding::part`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
}

/// An address that a file's content is fetched from. It and the headers may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    /// By http.
    pub uri: String,
    /// Names and values of header lines.
    pub headers: Vec<(String, String)>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<an address>")
    }
}

/// Everything that a node does because of its metadata. As JSON it shows no content of files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Who this machine is to its cloud.
    pub instance_id: Option<String>,
    /// Its name, set before Nomad starts.
    pub hostname: Option<String>,
    /// Its full name.
    pub fqdn: Option<String>,
    /// What becomes of `/etc/hosts`.
    pub hosts: HostsMode,
    /// Files in the order in which they are written.
    pub files: Vec<File>,
    /// Where the time comes from.
    pub ntp: Ntp,
    /// What becomes of the interfaces; comes from the command line and the datasource, not from the user-data.
    pub network: NetworkMode,
    /// What `runcmd` and `bootcmd` ask for.
    #[serde(skip_serializing_if = "Commands::is_empty")]
    pub commands: Commands,
    /// How Nomad is started.
    pub launch: Launch,
    /// The token that introduces a client to its servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intro_token: Option<Contents>,
    /// Whom it trusts.
    pub ca_certs: CaCerts,
    /// Its time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Bytes for its random number generator.
    pub random_seed: Contents,
    /// What `/etc/resolv.conf` says instead of what the network says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolver: Option<Resolver>,
    /// What is done once, when Nomad is healthy.
    pub finish: Finish,
    /// Other disks.
    #[serde(skip_serializing_if = "Disks::is_empty")]
    pub disks: Disks,
    /// What becomes of the Nomad data on a disk that was copied from another machine.
    #[serde(skip)]
    pub on_clone: OnClone,
    /// The channel of updates that the node follows.
    #[serde(skip)]
    pub follow: Option<Follow>,
    /// What the files say about Nomad.
    pub nomad: check::Summary,
    /// What is said about each key.
    pub findings: Vec<Finding>,
    /// Whether something that user-data includes could not be fetched, so that another try may be worth it.
    #[serde(skip)]
    pub unfetched: bool,
}

impl Plan {
    /// Makes the plan of a machine in an image of `role`. What is wrong is a finding: a plan always comes out, so that
    /// everything that is wrong is said at once. `fetch` gets what `#include` names.
    #[must_use]
    pub fn from_seed(seed: &Seed, role: Role, fetch: &mut Fetch<'_>) -> Self {
        let metadata = &seed.metadata;
        let mut config = config::assemble(seed, fetch);
        let mut plan = Self {
            instance_id: metadata.instance_id.clone(),
            findings: std::mem::take(&mut config.findings),
            unfetched: config.unfetched,
            ..Self::default()
        };
        let findings = &mut plan.findings;
        keys::judge(&config.document, findings);
        let root = config.root();
        let names = hostname::names(root, metadata.local_hostname.as_deref(), findings);
        (plan.hostname, plan.fqdn) = (names.hostname, names.fqdn);
        plan.hosts = hosts::mode(root, findings);
        let block = nomad_block::block(root, role, findings);
        plan.intro_token = block.intro_token;
        plan.files = block.files;
        plan.files.extend(write_files::write_files(root, findings));
        plan.files.sort_by_key(|file| file.defer);
        read_units(&mut plan.files, &mut plan.launch, findings);
        plan.ntp = ntp::ntp(root, findings);
        plan.ca_certs = ca_certs::ca_certs(root, findings);
        plan.timezone = system::timezone(root, findings);
        plan.random_seed = system::random_seed(root, findings);
        plan.random_seed.0.extend_from_slice(&metadata.random_seed);
        plan.resolver = system::resolver(root, findings);
        plan.finish = finish::finish(root, findings);
        plan.disks = disks::disks(root, findings);
        (plan.on_clone, plan.follow) = steppe_block::read(root, findings);
        plan.commands = commands::commands(root, findings);
        if let Some(name) = &plan.commands.hostname {
            plan.hostname = Some(name.clone());
        }
        let vendors = |f: &Finding| f.part.as_deref().or(config.texts.find(f.at).0).is_some_and(config::is_vendors);
        let unreadable = |f: &Finding| f.verdict == Verdict::Refused && f.key.is_empty() && !vendors(f);
        let readable = !config.notes.iter().chain(&*findings).any(unreadable);
        plan.check_nomad(role, readable);
        plan.note_applied(root, &config.texts);
        plan.settle(&config.texts, config.notes);
        plan
    }

    /// The same of user-data alone, which includes nothing.
    #[must_use]
    pub fn from_user_data(user_data: &[u8], metadata: &Metadata, role: Role) -> Self {
        let seed = Seed { user_data: user_data.to_vec(), metadata: metadata.clone(), ..Seed::default() };
        Self::from_seed(&seed, role, &mut |_| Err("not fetched here".into()))
    }

    /// Gives everything its final place, and says what is wrong with the formats first.
    fn settle(&mut self, texts: &Texts, notes: Vec<Finding>) {
        for finding in &mut self.findings {
            texts.settle(finding);
        }
        for file in &mut self.files {
            let (part, at) = texts.find(file.at);
            (file.part, file.at) = (part.map(str::to_owned), at);
        }
        self.findings.splice(0..0, notes);
        for finding in &mut self.findings {
            // Nobody who starts this machine wrote the vendor-data, or can mend it.
            let vendors = finding.file.is_none() && finding.part.as_deref().is_some_and(config::is_vendors);
            if vendors && finding.verdict == Verdict::Refused {
                finding.verdict = Verdict::Ignored;
            }
            finding.part = finding.part.take().filter(|part| part != USER_DATA);
        }
    }

    /// Reads Nomad's configuration in the files and holds it against the image's role.
    fn check_nomad(&mut self, role: Role, readable: bool) {
        let report = check::check(&self.nomad_files(), &self.launch, role);
        if readable || !report.summary.is_empty() {
            self.findings.extend(report.findings);
        }
        self.nomad = report.summary;
    }

    /// The files of Nomad's configuration as Nomad will find them: path by path of its command line, those of a
    /// directory by name in byte order.
    #[must_use]
    pub fn nomad_files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        commands::preview(&mut files, &self.commands.early);
        // A command may move any file to where Nomad reads it.
        let wanted = |path: &str| !self.commands.late.is_empty() || self.launch.reads(path);
        for file in self.files.iter().filter(|file| wanted(&file.path)) {
            let content = files.entry(file.path.clone()).or_default();
            if !file.append {
                content.clear();
            }
            content.extend_from_slice(&file.content.0);
        }
        commands::preview(&mut files, &self.commands.late);
        files.retain(|path, _| self.launch.reads(path));
        let mut files: Vec<(String, Vec<u8>)> = files.into_iter().collect();
        files.sort_by_key(|(path, _)| self.launch.position(path));
        files
    }

    /// Says of the keys that were read, and about which nothing was said yet, that they take effect.
    fn note_applied(&mut self, config: Option<&yaml::Node>, texts: &Texts) {
        for (key, _) in config.and_then(yaml::Node::mapping).unwrap_or_default() {
            let name = key.text().unwrap_or("");
            let part = texts.find(key.at).0;
            let inner = |f: &Finding| {
                let about = f.key == name || f.key.strip_prefix(name).is_some_and(|r| r.starts_with(['.', '[']));
                about && texts.find(f.at).0 == part
            };
            if !self.findings.iter().any(inner) {
                self.findings.push(Finding::new(Verdict::Applied, key.at, name, "takes effect"));
            }
        }
        self.findings.sort_by_key(|f| (f.file.is_some(), f.at));
    }

    /// Findings that keep Nomad from being started.
    pub fn refused(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| f.verdict == Verdict::Refused)
    }
}

/// Takes systemd's units out of the files: they are read for what they say of Nomad, and not written.
fn read_units(files: &mut Vec<File>, launch: &mut Launch, findings: &mut Vec<Finding>) {
    let (units, rest): (Vec<File>, Vec<File>) =
        std::mem::take(files).into_iter().partition(|file| service::unit_file(&file.path).is_some());
    *files = rest;
    for unit in units {
        let message = match service::unit_file(&unit.path) {
            Some(UnitFile::Nomad) => {
                launch.read(&unit.path, &String::from_utf8_lossy(&unit.content.0), unit.at, findings);
                "read for Nomad's command line and environment; the rest the image decides"
            }
            _ => "there is no systemd, and no program of that name",
        };
        let message = format!("{}: {message}", unit.path);
        findings.push(Finding::new(Verdict::Ignored, unit.at, "write_files", message));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SERVER: &str = "#cloud-config
hostname: server-vm-0
write_files:
- path: /etc/nomad.d/server.hcl
  content: |
    server {
      enabled = true
      bootstrap_expect = 3
      server_join { retry_join = [\"server-vm-0\", \"server-vm-1\", \"server-vm-2\"] }
    }
";

    fn plan(text: &str, role: Role) -> Plan {
        let metadata =
            Metadata { instance_id: Some("i-1".into()), local_hostname: Some("meta".into()), ..Metadata::default() };
        Plan::from_user_data(text.as_bytes(), &metadata, role)
    }

    #[test]
    fn the_reference_server_is_applied_whole() {
        let plan = plan(SERVER, Role::Server);
        assert_eq!(plan.refused().count(), 0, "{:?}", plan.findings);
        assert_eq!(plan.hostname.as_deref(), Some("server-vm-0"));
        assert_eq!(plan.files.len(), 1);
        assert_eq!(plan.nomad.bootstrap_expect, Some(3));
        assert_eq!(plan.nomad.join.len(), 3);
        assert_eq!(plan.findings.iter().filter(|f| f.verdict == Verdict::Applied).count(), 2);
    }

    #[test]
    fn a_server_in_a_client_image_is_refused_with_file_and_line() {
        let plan = plan(SERVER, Role::Client);
        let refused: Vec<String> = plan.refused().map(ToString::to_string).collect();
        assert!(
            refused[0].starts_with("refused: /etc/nomad.d/server.hcl:1:1: server { enabled = true }"),
            "{refused:?}"
        );
        assert!(plan.refused().all(|f| f.role));
    }

    #[test]
    fn commands_are_seen_before_they_are_done() {
        let text = "#cloud-config\nwrite_files:\n- path: /tmp/x.hcl\n  content: 'ROLE { enabled = true, servers = [\"IP\"] }'\n\
                    runcmd:\n- sed -i s/ROLE/client/ /tmp/x.hcl\n- sed -i s/IP/$(hostname -I)/ /tmp/x.hcl\n- mv \
                    /tmp/x.hcl /etc/nomad.d/\n";
        let client = plan(text, Role::Client);
        assert_eq!(client.refused().count(), 0, "{:?}", client.findings);
        assert_eq!(client.nomad.servers, ["192.0.2.1"], "{:?}", client.nomad_files());
        assert!(plan(text, Role::Server).refused().any(|finding| finding.role), "a command is no way round the role");
    }

    #[test]
    fn a_unit_of_nomad_names_its_files_and_is_not_written() {
        let text = "#cloud-config\nwrite_files:\n- path: /etc/systemd/system/nomad.service\n  content: |\n    [Service]\n    \
                    ExecStart=/usr/bin/nomad agent -config=/opt/nomad/config.d -bootstrap-expect=3\n- path: \
                    /opt/nomad/config.d/a.json\n  content: '{\"server\":{\"enabled\":true}}'\n- path: \
                    /usr/lib/systemd/system/consul.service\n  content: x\n";
        let plan = plan(text, Role::Server);
        assert_eq!(plan.refused().count(), 0, "{:?}", plan.findings);
        assert_eq!(
            plan.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(),
            ["/opt/nomad/config.d/a.json"]
        );
        assert_eq!((plan.nomad.server, plan.nomad.bootstrap_expect), (true, Some(3)));
        assert_eq!(plan.launch.config, ["/opt/nomad/config.d"]);
    }

    #[test]
    fn the_short_way_makes_a_server() {
        let plan = plan("#cloud-config\nnomad: {servers: [a, b, c], bootstrap_expect: 3}\n", Role::Server);
        assert_eq!(plan.refused().count(), 0, "{:?}", plan.findings);
        assert_eq!((plan.nomad.server, plan.nomad.join.len()), (true, 3));
        let other = super::tests::plan("#cloud-config\nnomad: {role: client}\n", Role::Server);
        assert!(other.refused().any(|finding| finding.role), "{:?}", other.findings);
    }

    #[test]
    fn json_shows_no_content() {
        let text = serde_json::to_string(&plan(SERVER, Role::Server)).unwrap();
        assert!(text.contains("/etc/nomad.d/server.hcl") && !text.contains("bootstrap_expect = "), "{text}");
    }

    #[test]
    fn broken_yaml_names_line_and_column_and_nothing_else() {
        let plan = plan("#cloud-config\nhostname: a\nwrite_files: [\n", Role::Server);
        let refused: Vec<String> = plan.refused().map(ToString::to_string).collect();
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert!(refused[0].starts_with("refused: user-data:"), "{refused:?}");
    }

    #[test]
    fn deferred_files_come_last() {
        let text = "#cloud-config\nwrite_files:\n- {path: /etc/a, defer: true}\n- {path: /etc/b}\n";
        let plan = plan(text, Role::Dev);
        assert_eq!(plan.files.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["/etc/b", "/etc/a"]);
    }

    #[test]
    fn no_configuration_at_all_is_refused_with_the_way_out() {
        let plan = plan("", Role::Server);
        assert!(plan.refused().next().unwrap().message.contains("/etc/nomad.d"), "{:?}", plan.findings);
    }

    proptest! {
        #[test]
        fn any_bytes_make_a_plan(bytes: Vec<u8>) {
            let _ = Plan::from_user_data(&bytes, &Metadata::default(), Role::Client);
        }

        #[test]
        fn any_cloud_config_makes_a_plan(text in "(hostname|write_files|ntp|runcmd|packages|users|: |\n|- |  |path|content|\\[|\\]|/etc/a|a|'|yes|0644|,|permissions){0,40}") {
            let _ = plan(&format!("#cloud-config\n{text}"), Role::Server);
        }
    }
}
