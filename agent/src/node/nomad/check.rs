//! What the user's files say to Nomad, held against the promise of the image's role.

use serde::{Serialize, Serializer};

use super::{
    guard::is_address,
    hcl::{self, Item, Value, fold, is_key},
    places::Elsewhere,
};
use crate::{
    facts::Role,
    node::userdata::{Finding, Launch, Position, Verdict},
};

/// What the agent needs to know of the user's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// `server { enabled = true }`.
    pub server: bool,
    /// `client { enabled = true }`.
    pub client: bool,
    /// `server.bootstrap_expect`.
    pub bootstrap_expect: Option<u32>,
    /// `server.server_join.retry_join`, `server.retry_join`, `server_join.start_join`.
    #[serde(serialize_with = "addresses")]
    pub join: Vec<String>,
    /// `client.servers` and `client.server_join.retry_join`.
    #[serde(serialize_with = "addresses")]
    pub servers: Vec<String>,
    /// `data_dir`.
    pub data_dir: Option<String>,
    /// `client.network_interface`, a name, behind where it stands: `/etc/nomad.d/a.hcl:3:1`.
    #[serde(skip)]
    pub interface: Option<(String, String)>,
    /// Directories that are not below `data_dir`.
    #[serde(skip)]
    pub elsewhere: Elsewhere,
    /// `name`.
    pub name: Option<String>,
    /// `ports.http`.
    pub http_port: Option<u16>,
    /// `tls.http`: the agent, which has no TLS, has to ask this Nomad through its own command.
    pub http_tls: bool,
    /// `tls.cert_file`.
    pub tls_cert: Option<String>,
    /// `tls.key_file`.
    pub tls_key: Option<String>,
    /// `bind_addr`: an address or a go-sockaddr template.
    pub bind_addr: Option<String>,
    /// `addresses.http`: addresses or templates. Wins over `bind_addr`, wherever the two stand.
    pub http_addresses: Option<String>,
}

impl Summary {
    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Only what is an address: a discovery string (`provider=aws secret_access_key=...`) holds secrets.
fn addresses<S: Serializer>(names: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().filter(|name| is_address(name)))
}

/// A summary and what is wrong.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What the files say.
    pub summary: Summary,
    /// What is wrong with them.
    pub findings: Vec<Finding>,
}

/// Checks files (path and content) in the order in which Nomad merges them, and the arguments that win over them.
#[must_use]
pub fn check(files: &[(String, Vec<u8>)], launch: &Launch, role: Role) -> Report {
    let mut report = Report::default();
    let mut broken = false;
    for (path, content) in files {
        let parsed = match std::str::from_utf8(content) {
            Ok(text) => hcl::parse(text).map_err(|error| (error.at, error.message)),
            Err(_) => Err((Position::START, "not UTF-8 text".to_owned())),
        };
        match parsed {
            Ok(items) => report.read(path, &items, role),
            Err((at, message)) => {
                broken = true;
                // What cannot be read may hold the other role: nothing lets it pass.
                report.refuse(path, at, message, true);
            }
        }
    }
    report.arguments(launch, role);
    let nothing = !report.summary.server && !report.summary.client && !broken;
    if nothing {
        let wanted = if role == Role::Client { "client" } else { "server" };
        let message = format!(
            "no file in {} enables Nomad: write one with `{wanted} {{ enabled = true }}` by write_files",
            launch.config.join(", ")
        );
        report.findings.push(Finding::new(Verdict::Refused, Position::START, "write_files", message));
    }
    report
}

impl Report {
    fn refuse(&mut self, path: &str, at: Position, message: impl Into<String>, role: bool) {
        let mut finding = Finding::new(Verdict::Refused, at, "", message);
        finding.file = Some(path.to_owned());
        finding.role = role;
        self.findings.push(finding);
    }

    fn read(&mut self, path: &str, items: &[Item], role: Role) {
        for item in items {
            let value = &item.value;
            match fold(&item.keys[0]).as_str() {
                "server" => {
                    for block in blocks(value) {
                        self.server(path, item.at, block, role);
                    }
                }
                "client" => {
                    for block in blocks(value) {
                        self.client(path, item.at, block, role);
                    }
                }
                "data_dir" => set(&mut self.summary.data_dir, string(value)),
                "name" => set(&mut self.summary.name, string(value)),
                "bind_addr" => set(&mut self.summary.bind_addr, string(value)),
                "addresses" => {
                    for inner in blocks(value) {
                        set(&mut self.summary.http_addresses, field(inner, "http").and_then(string));
                    }
                }
                "ports" => {
                    for inner in blocks(value) {
                        set(&mut self.summary.http_port, field(inner, "http").and_then(number));
                    }
                }
                "tls" => {
                    for inner in blocks(value) {
                        self.summary.http_tls |= field(inner, "http").is_some_and(truth);
                        set(&mut self.summary.tls_cert, field(inner, "cert_file").and_then(string));
                        set(&mut self.summary.tls_key, field(inner, "key_file").and_then(string));
                    }
                }
                _ => {}
            }
        }
    }

    /// Flags of `nomad agent`.
    fn arguments(&mut self, launch: &Launch, role: Role) {
        const UNIT: &str = "nomad.service";
        let on = |name| launch.flag(name).is_some_and(|value| value != "false");
        if on("server") {
            self.summary.server = true;
            if !role.allows_server() {
                self.refuse(UNIT, Position::START, format!("-server in a {role} image: take the server image"), true);
            }
        }
        if on("client") {
            self.summary.client = true;
            if !role.allows_client() {
                self.refuse(UNIT, Position::START, format!("-client in a {role} image: take the client image"), true);
            }
        }
        let text = |name| launch.flag(name).map(str::to_owned);
        set(&mut self.summary.data_dir, text("data-dir"));
        for (slot, name) in self.summary.elsewhere[1..].iter_mut().zip(["state-dir", "alloc-dir", "alloc-mounts-dir"]) {
            set(slot, text(name));
        }
        set(&mut self.summary.name, text("node"));
        set(&mut self.summary.bind_addr, text("bind"));
        set(&mut self.summary.bootstrap_expect, launch.flag("bootstrap-expect").and_then(|n| n.parse().ok()));
        let join: Vec<String> = launch.flags("retry-join").chain(launch.flags("join")).map(str::to_owned).collect();
        if !join.is_empty() {
            self.summary.join = join;
        }
        self.summary.servers.extend(launch.flags("servers").flat_map(|list| list.split(',')).map(str::to_owned));
    }

    fn server(&mut self, path: &str, at: Position, block: &[Item], role: Role) {
        if field(block, "enabled").is_some_and(truth) {
            self.summary.server = true;
            if !role.allows_server() {
                self.refuse(path, at, promise("server", role), true);
            }
        }
        set(&mut self.summary.elsewhere[0], field(block, "data_dir").and_then(string));
        set(&mut self.summary.bootstrap_expect, field(block, "bootstrap_expect").and_then(number));
        let mut names = Vec::new();
        for key in ["retry_join", "start_join"] {
            names.extend(strings(field(block, key)));
            for join in block.iter().filter(|i| is_key(&i.keys[0], "server_join")).flat_map(|i| blocks(&i.value)) {
                names.extend(strings(field(join, key)));
            }
        }
        if !names.is_empty() {
            // A later file replaces the list of an earlier one.
            self.summary.join = names;
        }
    }

    fn client(&mut self, path: &str, at: Position, block: &[Item], role: Role) {
        if field(block, "enabled").is_some_and(truth) {
            self.summary.client = true;
            if !role.allows_client() {
                self.refuse(path, at, promise("client", role), true);
            }
        }
        for (slot, key) in self.summary.elsewhere[1..].iter_mut().zip(["state_dir", "alloc_dir", "alloc_mounts_dir"]) {
            set(slot, field(block, key).and_then(string));
        }
        if let Some(item) = block.iter().rfind(|item| is_key(&item.keys[0], "network_interface")) {
            // Nomad fills in a template (go-sockaddr) itself.
            let name = string(&item.value).filter(|name| !name.contains("{{"));
            self.summary.interface = name.map(|name| (format!("{path}:{}", item.at), name));
        }
        self.summary.servers.extend(strings(field(block, "servers")));
        for join in block.iter().filter(|i| is_key(&i.keys[0], "server_join")).flat_map(|i| blocks(&i.value)) {
            self.summary.servers.extend(strings(field(join, "retry_join")));
        }
    }
}

fn promise(block: &str, role: Role) -> String {
    format!(
        "{block} {{ enabled = true }} in a {role} image: take the {block} image for this machine, or remove the block"
    )
}

/// A block may be an object or a list of objects (JSON).
fn blocks(value: &Value) -> Vec<&[Item]> {
    match value {
        Value::Object(items) => vec![items],
        Value::List(values) => values.iter().flat_map(blocks).collect(),
        _ => vec![],
    }
}

/// The last value of a key of a block.
fn field<'a>(block: &'a [Item], key: &str) -> Option<&'a Value> {
    block.iter().rfind(|item| is_key(&item.keys[0], key)).map(|item| &item.value)
}

/// HCL 1 turns strings and numbers into booleans, without case; `t` is more than it takes.
fn truth(value: &Value) -> bool {
    match value {
        Value::Bool(b) => *b,
        Value::String(s) => ["1", "t", "true"].iter().any(|yes| s.eq_ignore_ascii_case(yes)),
        Value::Number(n) => n != "0",
        _ => false,
    }
}

fn string(value: &Value) -> Option<String> {
    match value {
        Value::String(s) if !s.is_empty() => Some(s.clone()),
        _ => None,
    }
}

fn number<T: std::str::FromStr>(value: &Value) -> Option<T> {
    match value {
        Value::String(s) | Value::Number(s) => s.parse().ok(),
        _ => None,
    }
}

fn strings(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::List(values)) => values.iter().filter_map(string).collect(),
        Some(single) => string(single).into_iter().collect(),
        None => vec![],
    }
}

/// "Empty" values do not override, as in Nomad.
fn set<T>(slot: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *slot = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(texts: &[&str], role: Role) -> Report {
        let file = |(n, text): (usize, &&str)| (format!("/etc/nomad.d/{n}.hcl"), text.as_bytes().to_vec());
        check(&texts.iter().enumerate().map(file).collect::<Vec<_>>(), &Launch::default(), role)
    }

    #[test]
    fn flags_are_promises_too() {
        let launch = Launch { arguments: vec!["-client".into(), "-servers=a:4647,b".into()], ..Launch::default() };
        let report = check(&[], &launch, Role::Server);
        assert!(report.findings[0].role && report.findings[0].message.contains("-client in a server image"));
        let report = check(&[], &launch, Role::Client);
        assert!(report.findings.is_empty() && report.summary.client);
        assert_eq!(report.summary.servers, ["a:4647", "b"]);
    }

    #[test]
    fn directories_elsewhere() {
        let text =
            "data_dir = \"/a\"\nserver { data_dir = \"/s\" }\nclient {\n state_dir = \"/c\"\n alloc_dir = \"/d\"\n}\n";
        let launch = Launch { arguments: vec!["-alloc-dir=/e".into()], ..Launch::default() };
        let summary = check(&[("/etc/nomad.d/a.hcl".into(), text.into())], &launch, Role::Dev).summary;
        let of = |path: &str| Some(path.to_owned());
        assert_eq!((summary.data_dir, summary.elsewhere), (of("/a"), [of("/s"), of("/c"), of("/e"), None]));
    }

    #[test]
    fn an_interface_is_found_with_its_place() {
        let one = "client {\n enabled = true\n network_interface = \"ens3\"\n}\n";
        let template = "client { network_interface = \"{{ GetPrivateInterfaces }}\" }\n";
        let of = |texts: &[&str]| report(texts, Role::Client).summary.interface;
        assert_eq!(of(&[one]), Some(("/etc/nomad.d/0.hcl:3:2".into(), "ens3".into())));
        assert_eq!((of(&[one, template]), of(&["client { enabled = true }\n"])), (None, None));
    }

    #[test]
    fn the_reference_client() {
        let text = "client {\n enabled = true\n servers = [\"a:4647\", \"b:4647\"]\n}\nports { http = 5646 }\n";
        let report = report(&[text], Role::Client);
        assert!(report.findings.is_empty());
        assert_eq!(report.summary.servers, ["a:4647", "b:4647"]);
        assert_eq!(report.summary.http_port, Some(5646));
    }

    #[test]
    fn roles_are_promises_in_every_notation() {
        for text in [
            "client { enabled = true }",
            "{\"client\":[{\"enabled\":\"true\"}]}",
            "client = { enabled = 1 }",
            "CLIENT { Enabled = \"tRUE\" }",
            "{\"Client\":{\"ENABLED\":true}}",
            "{\"\\u0063lient\":{\"enabled\":true}}",
            "{\"client\":{\"enabled\":true},\"CLIENT\":{\"enabled\":false}}",
        ] {
            let found = report(&["server { enabled = true }", text], Role::Server).findings;
            assert_eq!(found.len(), 1, "{text}");
            assert!(
                found[0].role
                    && found[0]
                        .to_string()
                        .contains("/etc/nomad.d/1.hcl:1:1: client { enabled = true } in a server image")
            );
            assert!(report(&[text], Role::Dev).findings.is_empty());
        }
        assert!(report(&["server { enabled = true }\nclient { enabled = false }"], Role::Server).findings.is_empty());
    }

    #[test]
    fn letters_that_fold_to_ascii_are_no_way_round() {
        assert!(report(&["\u{17f}erver { enabled = true }"], Role::Client).findings[0].role);
    }

    /// Nothing that cannot be read may pass with `steppe.on_refuse=continue`.
    #[test]
    fn what_cannot_be_read_counts_as_the_other_role() {
        for text in [
            "client {",
            "\"\\u0063lient\" { enabled = true }",
            "{\"client\":{\"enabled\":true},\"client\":{}}",
            "{\"client\":{\"enabled\":true,\"enabled\":false}}",
        ] {
            let found = report(&["server { enabled = true }", text], Role::Server).findings;
            assert!(found.len() == 1 && found[0].role, "{text}: {found:?}");
        }
    }

    #[test]
    fn neither_role_is_said_with_the_way_out() {
        let found = report(&["server { enabled = false }"], Role::Client).findings;
        assert!(found[0].message.contains("client { enabled = true }") && !found[0].role);
    }

    #[test]
    fn a_broken_file_is_the_only_complaint() {
        let found = report(&["server {\n"], Role::Server).findings;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].at, Position { line: 1, column: 8 });
    }

    #[test]
    fn the_last_of_each_address_wins() {
        let report = report(
            &[
                "server { enabled = true }\naddresses { http = \"10.0.0.1\" }\nbind_addr = \"10.0.0.2\"",
                "addresses { http = \"{{ GetPrivateIP }}\" }\nbind_addr = \"10.0.0.3\"",
            ],
            Role::Server,
        );
        assert_eq!(report.summary.http_addresses.as_deref(), Some("{{ GetPrivateIP }}"));
        assert_eq!(report.summary.bind_addr.as_deref(), Some("10.0.0.3"));
    }

    #[test]
    fn discovery_strings_are_not_shown() {
        let text = "server { enabled = true retry_join = [\"a\", \"provider=aws secret_access_key=hunter2\"] }\n\
                    client { servers = [\"provider=x token=hunter2\", \"b:4647\"] }";
        let json = serde_json::to_value(report(&[text], Role::Dev).summary).unwrap();
        assert_eq!((&json["join"], &json["servers"]), (&serde_json::json!(["a"]), &serde_json::json!(["b:4647"])));
    }

    #[test]
    fn later_lists_replace_and_servers_add_up() {
        let report = report(
            &[
                "server { enabled = true retry_join = [\"a\"] }\nclient { servers = [\"x\"] }",
                "server { server_join { retry_join = [\"b\", \"c\"] } }\nclient { servers = [\"y\"] }",
            ],
            Role::Dev,
        );
        assert_eq!(report.summary.join, ["b", "c"]);
        assert_eq!(report.summary.servers, ["x", "y"]);
    }
}
