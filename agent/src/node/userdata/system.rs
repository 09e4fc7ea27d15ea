//! Small keys about the machine itself: `timezone`, `random_seed`, and `manage_resolv_conf` with `resolv_conf`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{
    decode::{Encoding, decode},
    finding::{Finding, Verdict},
    keys::{flag, nearest},
    plan::Contents,
    yaml::{Node, Value},
};

/// What `/etc/resolv.conf` says instead of what DHCP and the network configuration say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolver {
    /// Name servers.
    pub nameservers: Vec<IpAddr>,
    /// Domains that short names are looked for in.
    pub search: Vec<String>,
    /// `options`, as `resolv.conf(5)` has them.
    pub options: Vec<String>,
    /// `sortlist`.
    pub sortlist: Vec<String>,
}

fn refuse(findings: &mut Vec<Finding>, node: &Node, key: &str, message: impl Into<String>) {
    findings.push(Finding::new(Verdict::Refused, node.at, key, message));
}

/// A name like `Europe/Berlin`; whether the image has it the node finds out.
pub(super) fn timezone(config: Option<&Node>, findings: &mut Vec<Finding>) -> Option<String> {
    let node = config?.get("timezone").filter(|node| !node.is_null())?;
    let legal = |name: &str| {
        let part = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "_+-".contains(c))
        };
        name.len() < 64 && name.split('/').all(part)
    };
    match node.text().filter(|name| legal(name)) {
        Some(name) => Some(name.to_owned()),
        None => {
            refuse(findings, node, "timezone", "must be a name like Europe/Berlin");
            None
        }
    }
}

/// Bytes for the kernel's random number generator. They are mixed in and not counted: nobody knows who else knows them.
pub(super) fn random_seed(config: Option<&Node>, findings: &mut Vec<Finding>) -> Contents {
    let none = Contents::default();
    let Some(node) = config.and_then(|c| c.get("random_seed")).filter(|node| !node.is_null()) else { return none };
    let Some(entries) = node.mapping() else {
        refuse(findings, node, "random_seed", format!("must be a map with data, not {}", node.describe()));
        return none;
    };
    for (key, value) in entries {
        match key.text().unwrap_or("") {
            "data" | "encoding" | "file" => {}
            "command_required" if value.text() != Some("true") => {}
            "command" if value.is_null() || value.sequence().is_some_and(<[Node]>::is_empty) => {}
            name @ ("command" | "command_required") => {
                let message = "no command is run: the kernel has entropy of its own";
                findings.push(Finding::new(Verdict::Ignored, key.at, format!("random_seed.{name}"), message));
            }
            name => refuse(findings, key, &format!("random_seed.{name}"), "unknown key"),
        }
    }
    let Some(data) = node.get("data").and_then(Node::text) else { return none };
    let encoding = node.get("encoding").and_then(Node::text).unwrap_or("raw");
    let encoding = if encoding == "raw" { Some(Encoding::Plain) } else { Encoding::parse(encoding) };
    let Some(encoding) = encoding else {
        refuse(findings, node, "random_seed.encoding", "must be raw, b64 or gzip");
        return none;
    };
    match decode(data.as_bytes().to_vec(), encoding) {
        Ok(bytes) => Contents(bytes),
        Err(why) => {
            refuse(findings, node, "random_seed.data", why);
            none
        }
    }
}

const RESOLVER_KEYS: [&str; 5] = ["domain", "nameservers", "options", "searchdomains", "sortlist"];

/// Reads `resolv_conf`, which counts only with `manage_resolv_conf: true`, as in cloud-init.
pub(super) fn resolver(config: Option<&Node>, findings: &mut Vec<Finding>) -> Option<Resolver> {
    let managed = flag(config, "manage_resolv_conf", findings).unwrap_or(false);
    let node = config?.get("resolv_conf").filter(|node| !node.is_null());
    let Some(node) = node else {
        if managed && let Some(flag) = config.and_then(|c| c.get("manage_resolv_conf")) {
            let message = "there is no resolv_conf beside it";
            findings.push(Finding::new(Verdict::Ignored, flag.at, "manage_resolv_conf", message));
        }
        return None;
    };
    if !managed {
        let message = "counts only with `manage_resolv_conf: true`";
        findings.push(Finding::new(Verdict::Ignored, node.at, "resolv_conf", message));
        return None;
    }
    let Some(entries) = node.mapping() else {
        refuse(findings, node, "resolv_conf", format!("must be a map, not {}", node.describe()));
        return None;
    };
    let mut resolver = Resolver::default();
    for (key, value) in entries {
        let name = key.text().unwrap_or("");
        let path = format!("resolv_conf.{name}");
        match name {
            _ if value.is_null() => {}
            "nameservers" => {
                for text in words(value) {
                    match text.parse() {
                        Ok(address) => resolver.nameservers.push(address),
                        Err(_) => refuse(findings, value, &path, format!("{text:?} is not an address")),
                    }
                }
            }
            "searchdomains" => resolver.search.extend(words(value)),
            "domain" => resolver.search.splice(0..0, words(value)).for_each(drop),
            "sortlist" => resolver.sortlist = words(value),
            "options" => match value.mapping() {
                Some(options) => resolver.options.extend(options.iter().filter_map(|(name, value)| {
                    let name = name.text()?;
                    match value.text() {
                        Some("true" | "yes" | "on") => Some(name.to_owned()),
                        Some("false" | "no" | "off") => None,
                        Some(value) => Some(format!("{name}:{value}")),
                        None => Some(name.to_owned()),
                    }
                })),
                None => resolver.options.extend(words(value)),
            },
            _ => {
                let hint = nearest(name, RESOLVER_KEYS.into_iter()).map(|near| format!("; did you mean {near}?"));
                refuse(findings, key, &path, format!("unknown key{}", hint.unwrap_or_default()));
            }
        }
    }
    Some(resolver)
}

/// A list of words, or words in one string.
fn words(node: &Node) -> Vec<String> {
    let split = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    match &node.value {
        Value::Sequence(items) => items.iter().filter_map(Node::text).flat_map(split).collect(),
        _ => node.text().map(split).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::userdata::yaml;

    fn with<T>(text: &str, read: impl Fn(Option<&Node>, &mut Vec<Finding>) -> T) -> (T, Vec<String>) {
        let mut findings = Vec::new();
        let value = read(yaml::load(text).unwrap().root.as_ref(), &mut findings);
        (value, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn names_of_time_zones() {
        for name in ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+3"] {
            assert_eq!(with(&format!("timezone: {name}"), timezone), (Some(name.to_owned()), vec![]));
        }
        for name in ["../etc/passwd", "/x", "a//b", "''", "[a]", "a/.b"] {
            let (zone, findings) = with(&format!("timezone: {name}"), timezone);
            assert!(zone.is_none() && findings.len() == 1, "{name}: {findings:?}");
        }
    }

    #[test]
    fn seeds_are_decoded() {
        let (seed, findings) = with("random_seed: {data: aGVsbG8=, encoding: b64, file: /dev/urandom}", random_seed);
        assert_eq!((seed.0.as_slice(), findings.len()), (&b"hello"[..], 0));
        assert_eq!(with("random_seed: {data: abc}", random_seed).0.0, b"abc");
        assert!(
            with("random_seed: {data: '*', encoding: b64}", random_seed).1[0].contains("random_seed.data: not base64")
        );
        let (_, findings) = with("random_seed: {command: [sh, -c, x], command_required: true}", random_seed);
        assert!(findings.iter().all(|f| f.starts_with("ignored")) && findings.len() == 2, "{findings:?}");
    }

    #[test]
    fn the_resolver_counts_when_it_is_managed() {
        let text = "manage_resolv_conf: true\nresolv_conf:\n  nameservers: [10.0.0.2, 'fd00::1']\n  searchdomains: [a.example]\n  \
                    domain: b.example\n  options: {rotate: true, timeout: 1, debug: false}\n  sortlist: [10.0.0.0/8]\n";
        let (found, findings) = with(text, resolver);
        assert_eq!(findings, [""; 0]);
        let found = found.unwrap();
        assert_eq!(
            (found.nameservers.len(), found.search.as_slice()),
            (2, &["b.example".to_owned(), "a.example".into()][..])
        );
        assert_eq!(found.options, ["rotate", "timeout:1"]);
        let (none, findings) = with("resolv_conf: {nameservers: [1.1.1.1]}", resolver);
        assert!(none.is_none() && findings[0].contains("manage_resolv_conf"));
        let (_, findings) = with("manage_resolv_conf: yes\nresolv_conf: {nameserver: [1.1.1.1]}", resolver);
        assert!(findings[0].contains("did you mean nameservers?"), "{findings:?}");
        assert!(
            with("manage_resolv_conf: yes\nresolv_conf: {nameservers: [x]}", resolver).1[0].contains("not an address")
        );
    }
}
