//! The key `nomad`, Steppe's own: the short way to a server or a client, without a file of Nomad's configuration.
//!
//! It becomes the first file of `/etc/nomad.d`, so that files of `write_files` add to it and win.

use serde_json::{Map, Value as Json, json};

use super::{
    finding::{Finding, Verdict},
    keys::{flag, nearest},
    plan::{Contents, File},
    yaml::{Kind, Node, Value},
};
use crate::{facts::Role, paths::NOMAD_CONFIG_DIR};

const KEYS: [&str; 14] = [
    "acl",
    "bootstrap_expect",
    "datacenter",
    "encrypt",
    "intro_token",
    "log_level",
    "meta",
    "name",
    "node_class",
    "node_pool",
    "region",
    "role",
    "servers",
    "tls",
];
const TLS_KEYS: [&str; 5] = ["ca", "cert", "http", "key", "verify_server_hostname"];

/// What the key asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Block {
    /// Files of Nomad's configuration.
    pub(super) files: Vec<File>,
    /// The token that introduces a client to its servers, for the data directory.
    pub(super) intro_token: Option<Contents>,
}

/// Reads the key; the role is the image's when it names none.
pub(super) fn block(config: Option<&Node>, image: Role, findings: &mut Vec<Finding>) -> Block {
    let Some(node) = config.and_then(|c| c.get("nomad")).filter(|node| !node.is_null()) else {
        return Block::default();
    };
    let before = refusals(findings);
    let mut reader = Reader { node, findings };
    let Some(entries) = node.mapping() else {
        reader.refuse(node, "", format!("must be a map, not {}", node.describe()));
        return Block::default();
    };
    unknown_keys(entries, "nomad", &KEYS, reader.findings);
    let (server, client) = match reader.text("role").as_deref() {
        None => (image.allows_server(), image.allows_client()),
        Some("server") => (true, false),
        Some("client") => (false, true),
        Some("dev" | "both") => (true, true),
        Some(_) => {
            reader.refuse_key("role", "must be server, client or both".into());
            (false, false)
        }
    };
    let servers = reader.list("servers");
    let mut json = Map::new();
    for key in ["name", "region", "datacenter", "log_level"] {
        if let Some(text) = reader.text(key) {
            json.insert(key.into(), text.into());
        }
    }
    if server {
        let mut inner = json!({ "enabled": true });
        // One server is a cluster by itself; more have to be counted.
        let expect = reader.number("bootstrap_expect").or(servers.is_empty().then_some(1));
        if let Some(expect) = expect {
            inner["bootstrap_expect"] = expect.into();
        }
        if let Some(key) = reader.text("encrypt") {
            inner["encrypt"] = key.into();
        }
        if !servers.is_empty() {
            inner["server_join"] = json!({ "retry_join": servers });
        }
        json.insert("server".into(), inner);
    } else {
        for key in ["bootstrap_expect", "encrypt"] {
            if node.get(key).is_some_and(|value| !value.is_null()) {
                reader.refuse_key(key, "is a server's".into());
            }
        }
    }
    if client {
        let mut inner = json!({ "enabled": true });
        if !servers.is_empty() {
            inner["servers"] = servers.iter().map(|name| with_port(name)).collect();
        }
        for key in ["node_class", "node_pool"] {
            if let Some(text) = reader.text(key) {
                inner[key] = text.into();
            }
        }
        let meta = reader.meta();
        if !meta.is_empty() {
            inner["meta"] = Json::Object(meta);
        }
        json.insert("client".into(), inner);
    } else {
        for key in ["meta", "node_class", "node_pool", "intro_token"] {
            if node.get(key).is_some_and(|value| !value.is_null()) {
                reader.refuse_key(key, "is a client's".into());
            }
        }
    }
    if flag(Some(node), "acl", reader.findings) == Some(true) {
        json.insert("acl".into(), json!({ "enabled": true }));
    }
    let mut files = reader.tls(&mut json);
    let intro_token = reader.text("intro_token").map(|token| Contents(token.into_bytes()));
    if refusals(findings) > before {
        return Block::default();
    }
    let content = serde_json::to_vec_pretty(&Json::Object(json)).unwrap_or_default();
    files.insert(0, file(node, &format!("{NOMAD_CONFIG_DIR}/00-nomad.json"), content));
    Block { files, intro_token }
}

fn refusals(findings: &[Finding]) -> usize {
    findings.iter().filter(|finding| finding.verdict == Verdict::Refused).count()
}

/// A file that Nomad reads and nobody else.
fn file(node: &Node, path: &str, content: Vec<u8>) -> File {
    File {
        path: path.to_owned(),
        content: Contents(content),
        user: "root".into(),
        group: "nomad".into(),
        mode: 0o640,
        append: false,
        defer: false,
        source: None,
        at: node.at,
        part: None,
    }
}

/// The servers' RPC port, where a name has none; a discovery string and a bare IPv6 address stay as they are.
fn with_port(name: &str) -> String {
    let whole = name.contains(['=', '/']) || name.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if whole || name.parse::<std::net::Ipv6Addr>().is_ok() { name.to_owned() } else { format!("{name}:4647") }
}

fn unknown_keys(entries: &[(Node, Node)], inside: &str, known: &[&str], findings: &mut Vec<Finding>) {
    for (key, _) in entries {
        let name = key.text().unwrap_or("");
        if !known.contains(&name) {
            let hint = nearest(name, known.iter().copied());
            let hint = hint.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            findings.push(Finding::new(
                Verdict::Refused,
                key.at,
                format!("{inside}.{name}"),
                format!("unknown key{hint}"),
            ));
        }
    }
}

struct Reader<'a> {
    node: &'a Node,
    findings: &'a mut Vec<Finding>,
}

impl Reader<'_> {
    fn refuse(&mut self, node: &Node, key: &str, message: String) {
        let key = if key.is_empty() { "nomad".to_owned() } else { format!("nomad.{key}") };
        self.findings.push(Finding::new(Verdict::Refused, node.at, key, message));
    }

    fn refuse_key(&mut self, key: &str, message: String) {
        let node = self.node.get(key).unwrap_or(self.node).clone();
        self.refuse(&node, key, message);
    }

    /// A scalar that is text, however YAML would read it.
    fn text(&mut self, key: &str) -> Option<String> {
        let node = self.node.get(key).filter(|node| !node.is_null())?;
        match node.text().map(str::trim) {
            Some(text) if !text.is_empty() => Some(text.to_owned()),
            _ => {
                self.refuse_key(key, format!("must be a string, not {}", node.describe()));
                None
            }
        }
    }

    fn number(&mut self, key: &str) -> Option<u32> {
        let text = self.text(key)?;
        let number = text.parse().ok().filter(|number| *number > 0);
        if number.is_none() {
            self.refuse_key(key, "must be a number of servers".into());
        }
        number
    }

    /// A list of strings, or one.
    fn list(&mut self, key: &str) -> Vec<String> {
        let Some(node) = self.node.get(key).filter(|node| !node.is_null()) else { return vec![] };
        let texts = match &node.value {
            Value::Sequence(items) => {
                items.iter().map(|item| item.text().map(str::to_owned)).collect::<Option<Vec<_>>>()
            }
            Value::Scalar(_) => node.text().map(|text| vec![text.to_owned()]),
            Value::Mapping(_) => None,
        };
        if texts.is_none() {
            self.refuse_key(key, "must be a list of names or addresses".into());
        }
        texts.unwrap_or_default()
    }

    fn meta(&mut self) -> Map<String, Json> {
        let Some(node) = self.node.get("meta").filter(|node| !node.is_null()) else { return Map::new() };
        let entry = |(key, value): &(Node, Node)| Some((key.text()?.to_owned(), Json::from(value.text()?)));
        let meta = node.mapping().and_then(|entries| entries.iter().map(entry).collect::<Option<_>>());
        if meta.is_none() {
            self.refuse_key("meta", "must be a map of strings".into());
        }
        meta.unwrap_or_default()
    }

    /// Certificates become files, and Nomad's `tls` block names them.
    fn tls(&mut self, json: &mut Map<String, Json>) -> Vec<File> {
        let Some(node) = self.node.get("tls").filter(|node| !node.is_null()) else { return vec![] };
        let Some(entries) = node.mapping() else {
            self.refuse_key("tls", format!("must be a map, not {}", node.describe()));
            return vec![];
        };
        unknown_keys(entries, "nomad.tls", &TLS_KEYS, self.findings);
        let verify = flag(Some(node), "verify_server_hostname", self.findings).unwrap_or(true);
        let http = flag(Some(node), "http", self.findings).unwrap_or(false);
        let mut tls = json!({ "rpc": true, "http": http, "verify_server_hostname": verify });
        let mut files = Vec::new();
        for (key, name, setting, begin) in [
            ("ca", "ca.pem", "ca_file", "-----BEGIN CERTIFICATE-----"),
            ("cert", "agent.pem", "cert_file", "-----BEGIN CERTIFICATE-----"),
            ("key", "agent-key.pem", "key_file", "-----BEGIN "),
        ] {
            let inner = node.get(key);
            let pem = inner.and_then(Node::scalar).filter(|s| s.kind == Kind::Str && s.text.contains(begin));
            match (inner, pem) {
                (Some(inner), Some(pem)) => {
                    let path = format!("{NOMAD_CONFIG_DIR}/tls/{name}");
                    tls[setting] = path.clone().into();
                    files.push(file(inner, &path, pem.text.clone().into_bytes()));
                }
                (inner, _) => {
                    let message = "must be PEM text: ca, cert and key belong together".to_owned();
                    let at = inner.unwrap_or(node).clone();
                    self.refuse(&at, &format!("tls.{key}"), message);
                }
            }
        }
        json.insert("tls".into(), tls);
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::userdata::yaml;

    fn read(text: &str, role: Role) -> (Block, Vec<String>) {
        let mut findings = Vec::new();
        let block = block(yaml::load(text).unwrap().root.as_ref(), role, &mut findings);
        (block, findings.iter().map(ToString::to_string).collect())
    }

    fn json(block: &Block) -> Json {
        serde_json::from_slice(&block.files[0].content.0).unwrap()
    }

    #[test]
    fn a_server_of_three() {
        let text = "nomad:\n  servers: [a, b, c]\n  bootstrap_expect: 3\n  datacenter: dc2\n  encrypt: 1234567890abcdef\n  acl: yes\n";
        let (block, findings) = read(text, Role::Server);
        assert_eq!(findings, [""; 0]);
        assert_eq!(
            json(&block),
            json!({
                "datacenter": "dc2",
                "server": { "enabled": true, "bootstrap_expect": 3, "encrypt": "1234567890abcdef",
                            "server_join": { "retry_join": ["a", "b", "c"] } },
                "acl": { "enabled": true }
            })
        );
        assert_eq!((block.files[0].path.as_str(), block.files[0].mode), ("/etc/nomad.d/00-nomad.json", 0o640));
    }

    #[test]
    fn a_client_with_certificates_and_a_token() {
        let pem = |what: &str| format!("\"-----BEGIN {what}-----\\nx\\n-----END {what}-----\\n\"");
        let text = format!(
            "nomad:\n  servers: [a, '10.0.0.1:5000', 'provider=aws tag=x']\n  meta: {{rack: 0640}}\n  intro_token: t.o.k\n  tls:\n    ca: {}\n    cert: {}\n    key: {}\n",
            pem("CERTIFICATE"),
            pem("CERTIFICATE"),
            pem("EC PRIVATE KEY")
        );
        let (block, findings) = read(&text, Role::Client);
        assert_eq!(findings, [""; 0]);
        let json = json(&block);
        assert_eq!(json["client"]["servers"], json!(["a:4647", "10.0.0.1:5000", "provider=aws tag=x"]));
        assert_eq!(json["client"]["meta"], json!({ "rack": "0640" }));
        assert_eq!(json["tls"]["ca_file"], "/etc/nomad.d/tls/ca.pem");
        assert_eq!((block.files.len(), block.intro_token), (4, Some(Contents(b"t.o.k".to_vec()))));
    }

    #[test]
    fn the_role_is_the_images_and_one_server_is_a_cluster() {
        assert_eq!(json(&read("nomad: {}", Role::Server).0)["server"]["bootstrap_expect"], 1);
        assert!(json(&read("nomad: {}", Role::Client).0).get("server").is_none());
        let both = json(&read("nomad: {role: both}", Role::Dev).0);
        assert!(both["server"]["enabled"] == true && both["client"]["enabled"] == true);
    }

    #[test]
    fn what_is_wrong_is_named_and_nothing_is_written() {
        for (text, want) in [
            ("nomad: 3", "nomad: must be a map"),
            ("nomad: {role: leader}", "nomad.role: must be server"),
            ("nomad: {server: [a]}", "nomad.server: unknown key; did you mean servers?"),
            ("nomad: {bootstrap_expect: many}", "nomad.bootstrap_expect: must be a number"),
            ("nomad: {node_class: x}", "nomad.node_class: is a client's"),
            ("nomad: {tls: {ca: x}}", "nomad.tls.ca: must be PEM text"),
            ("nomad: {servers: {a: b}}", "nomad.servers: must be a list"),
        ] {
            let (block, findings) = read(text, Role::Server);
            assert!(findings.iter().any(|f| f.contains(want)), "{text}: {findings:?}");
            assert_eq!(block, Block::default());
        }
    }
}
