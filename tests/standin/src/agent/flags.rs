//! Flags of `nomad agent`.

use serde_json::{Map, Value, json};

use crate::cli::args::{Flags, Usage};

/// What the command line says.
#[derive(Debug)]
pub(super) struct Given {
    /// Files and directories.
    pub(super) paths: Vec<String>,
    /// Settings that beat the files.
    pub(super) settings: Map<String, Value>,
}

const VALUES: [&str; 17] = [
    "config",
    "bind",
    "data-dir",
    "dc",
    "log-level",
    "node",
    "region",
    "bootstrap-expect",
    "join",
    "retry-join",
    "retry-interval",
    "retry-max",
    "servers",
    "node-class",
    "network-interface",
    "meta",
    "encrypt",
];
const SWITCHES: [&str; 3] = ["server", "client", "dev"];

/// Reads the flags.
///
/// # Errors
/// A flag that does not exist.
pub(super) fn read(args: &[String]) -> Result<Given, Usage> {
    let mut flags = Flags::parse(args, &SWITCHES, &VALUES)?;
    if flags.switch("dev") {
        return Err(Usage("-dev is not supported by the stand-in".into()));
    }
    let mut settings = Map::new();
    let mut server = Map::new();
    let mut client = Map::new();
    for (flag, key) in [
        ("bind", "bind_addr"),
        ("data-dir", "data_dir"),
        ("dc", "datacenter"),
        ("log-level", "log_level"),
        ("node", "name"),
        ("region", "region"),
    ] {
        if let Some(value) = flags.value(flag) {
            settings.insert(key.into(), Value::String(value));
        }
    }
    if flags.switch("server") {
        server.insert("enabled".into(), Value::Bool(true));
    }
    if flags.switch("client") {
        client.insert("enabled".into(), Value::Bool(true));
    }
    if let Some(expect) = flags.value("bootstrap-expect") {
        let number: i64 = expect
            .parse()
            .map_err(|_| Usage(format!("invalid value {expect:?} for flag -bootstrap-expect: parse error")))?;
        server.insert("bootstrap_expect".into(), json!(number));
    }
    if let Some(key) = flags.value("encrypt") {
        server.insert("encrypt".into(), json!(key));
    }
    let (start, retry) = (flags.values("join"), flags.values("retry-join"));
    if !start.is_empty() || !retry.is_empty() {
        let mut join = Map::new();
        join.insert("start_join".into(), json!(start));
        join.insert("retry_join".into(), json!(retry));
        if let Some(max) = flags.value("retry-max").and_then(|max| max.parse::<u64>().ok()) {
            join.insert("retry_max".into(), json!(max));
        }
        if let Some(time) = flags.value("retry-interval").and_then(|text| crate::config::duration::parse(&text)) {
            join.insert("retry_interval".into(), json!(crate::clock::nanos(time)));
        }
        server.insert("server_join".into(), Value::Object(join));
    }
    let servers: Vec<String> =
        flags.values("servers").iter().flat_map(|list| list.split(',').map(str::to_owned)).collect();
    if !servers.is_empty() {
        client.insert("servers".into(), json!(servers));
    }
    for (flag, key) in [("node-class", "node_class"), ("network-interface", "network_interface")] {
        if let Some(value) = flags.value(flag) {
            client.insert(key.into(), Value::String(value));
        }
    }
    let meta: Map<String, Value> = flags
        .values("meta")
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect();
    if !meta.is_empty() {
        client.insert("meta".into(), Value::Object(meta));
    }
    if !server.is_empty() {
        settings.insert("server".into(), Value::Object(server));
    }
    if !client.is_empty() {
        settings.insert("client".into(), Value::Object(client));
    }
    let mut paths = flags.values("config");
    paths.extend(flags.rest);
    Ok(Given { paths, settings })
}
