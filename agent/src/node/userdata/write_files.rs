//! The key `write_files` (`cc_write_files.py`).

use super::{
    decode::{Encoding, base64, decode},
    finding::{Finding, Position, Verdict},
    keys::{flag, nearest},
    plan::{Contents, File, Source},
    service::unit_file,
    yaml::{Kind, Node},
};
use crate::node::files::roots;

/// Mode of a file that names none.
const DEFAULT_MODE: u32 = 0o644;

const KEYS: [&str; 8] = ["append", "content", "defer", "encoding", "owner", "path", "permissions", "source"];

pub(super) fn write_files(config: Option<&Node>, findings: &mut Vec<Finding>) -> Vec<File> {
    let Some(node) = config.and_then(|c| c.get("write_files")).filter(|node| !node.is_null()) else { return vec![] };
    let Some(items) = node.sequence() else {
        let message = format!("must be a list, not {}", node.describe());
        findings.push(Finding::new(Verdict::Refused, node.at, "write_files", message));
        return vec![];
    };
    items.iter().enumerate().filter_map(|(n, item)| file(n, item, findings)).collect()
}

/// `{uri: ..., headers: {...}}`.
fn source(node: &Node) -> Result<Source, &'static str> {
    let uri = node.get("uri").and_then(Node::text).ok_or("must be a map with a uri")?;
    if !uri.starts_with("http://") {
        // The address itself may be a secret.
        return Err("its uri must begin with http:// (there is no TLS): put the text into content");
    }
    let header = |(name, value): &(Node, Node)| Some((name.text()?.to_owned(), value.text()?.to_owned()));
    let headers = match node.get("headers").filter(|headers| !headers.is_null()) {
        None => Vec::new(),
        Some(headers) => {
            let read = headers.mapping().and_then(|entries| entries.iter().map(header).collect());
            read.ok_or("its headers must be a map of strings")?
        }
    };
    Ok(Source { uri: uri.to_owned(), headers })
}

fn file(n: usize, item: &Node, findings: &mut Vec<Finding>) -> Option<File> {
    let before = findings.iter().filter(|f| f.verdict == Verdict::Refused).count();
    let key = |name: &str| format!("write_files[{n}].{name}");
    let Some(entries) = item.mapping() else {
        let message = format!("must be a map with a path, not {}", item.describe());
        findings.push(Finding::new(Verdict::Refused, item.at, format!("write_files[{n}]"), message));
        return None;
    };
    for (name, _) in entries {
        let text = name.text().unwrap_or("");
        if !KEYS.contains(&text) {
            let hint =
                nearest(text, KEYS.into_iter()).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            findings.push(Finding::new(Verdict::Refused, name.at, key(text), format!("unknown key{hint}")));
        }
    }
    let mut refuse = |at: Position, name: &str, message: String| {
        findings.push(Finding::new(Verdict::Refused, at, key(name), message));
    };
    let source = match item.get("source").filter(|s| !s.is_null()) {
        None => None,
        Some(node) => match source(node) {
            Ok(source) => Some(source),
            Err(why) => {
                refuse(node.at, "source", why.into());
                None
            }
        },
    };
    let path = match item.get("path").and_then(Node::text) {
        // Never written: they are read for what they say of Nomad.
        Some(path) if unit_file(path).is_some() => Some(path.to_owned()),
        Some(path) => match roots::check(path) {
            Ok(path) => Some(path),
            Err(why) => {
                refuse(item.get("path").map_or(item.at, |p| p.at), "path", why.to_string());
                None
            }
        },
        None => {
            refuse(item.at, "path", "is missing".into());
            None
        }
    };
    let encoding = match item.get("encoding").filter(|e| !e.is_null()) {
        None => Some(Encoding::Plain),
        Some(node) => {
            let encoding = node.text().and_then(Encoding::parse);
            if encoding.is_none() {
                refuse(node.at, "encoding", "must be b64, gz, gz+b64 or text/plain".into());
            }
            encoding
        }
    };
    let content = match item.get("content") {
        None => Some(Vec::new()),
        Some(node) => match (node.scalar(), encoding) {
            (None, _) => {
                refuse(node.at, "content", format!("must be a string, not {}", node.describe()));
                None
            }
            (_, None) => None,
            (Some(scalar), Some(encoding)) => {
                let raw = match scalar.kind {
                    Kind::Null => Ok(Vec::new()),
                    Kind::Binary => base64(&scalar.text),
                    _ => Ok(scalar.text.clone().into_bytes()),
                };
                match raw.and_then(|raw| if raw.is_empty() { Ok(raw) } else { decode(raw, encoding) }) {
                    Ok(bytes) => Some(bytes),
                    Err(why) => {
                        refuse(node.at, "content", why);
                        None
                    }
                }
            }
        },
    };
    let mode = match item.get("permissions").filter(|p| !p.is_null()) {
        None => DEFAULT_MODE,
        Some(node) => permissions(node).unwrap_or_else(|why| {
            refuse(node.at, "permissions", why);
            DEFAULT_MODE
        }),
    };
    let (user, group) = match item.get("owner").filter(|o| !o.is_null()) {
        None => ("root".to_owned(), "root".to_owned()),
        Some(node) => owner(node).unwrap_or_else(|why| {
            refuse(node.at, "owner", why);
            ("root".to_owned(), "root".to_owned())
        }),
    };
    let append = flag(Some(item), "append", findings).unwrap_or(false);
    let defer = flag(Some(item), "defer", findings).unwrap_or(false);
    if findings.iter().filter(|f| f.verdict == Verdict::Refused).count() > before {
        return None;
    }
    let at = item.get("content").map_or(item.at, |c| c.at);
    Some(File { path: path?, content: Contents(content?), user, group, mode, append, defer, source, at, part: None })
}

/// A string is octal (`0640`, `640`, `0o640`); a number is taken as it is, as cloud-init takes it, so that YAML's
/// `0640` works and a plain `644`, which would become 01204, is refused with what was meant.
fn permissions(node: &Node) -> Result<u32, String> {
    let scalar = node.scalar().ok_or("must be a mode like '0640'")?;
    let text = scalar.text.trim();
    let octal = || {
        let digits = text.strip_prefix("0o").or_else(|| text.strip_prefix("0O")).unwrap_or(text);
        u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o7777)
    };
    match scalar.kind {
        Kind::Int(_) if !text.starts_with('0') => {
            let meant = octal().map(|mode| format!(": write '{mode:04o}'")).unwrap_or_default();
            Err(format!("{text} is a decimal number{meant}"))
        }
        Kind::Int(value) => u32::try_from(value).ok().filter(|m| *m <= 0o7777).ok_or_else(|| bad_mode(text)),
        _ => octal().ok_or_else(|| bad_mode(text)),
    }
}

fn bad_mode(text: &str) -> String {
    format!("{text:?} is not a mode like '0640'")
}

fn owner(node: &Node) -> Result<(String, String), String> {
    let text = node.text().ok_or("must be user:group")?.trim();
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let name = |name: &str| !name.is_empty() && name.len() <= 32 && !name.contains([':', '/', '\n', ' ']);
    if !name(user) || !(group.is_empty() || name(group)) {
        return Err(format!("{text:?} is not user:group"));
    }
    Ok((user.to_owned(), if group.is_empty() { user.to_owned() } else { group.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::userdata::yaml;

    fn of(text: &str) -> (Vec<File>, Vec<String>) {
        let mut findings = Vec::new();
        let files = write_files(yaml::load(text).unwrap().root.as_ref(), &mut findings);
        (files, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_file_with_everything() {
        let (files, findings) =
            of("write_files:\n- path: /etc/nomad.d/server.hcl\n  owner: nomad:nomad\n  permissions: '0640'\n  \
             encoding: B64\n  defer: true\n  append: yes\n  content: aGVsbG8=\n");
        assert!(findings.is_empty(), "{findings:?}");
        let file = &files[0];
        assert_eq!((file.user.as_str(), file.group.as_str(), file.mode), ("nomad", "nomad", 0o640));
        assert!(file.defer && file.append);
        assert_eq!(file.content.0, b"hello");
        assert_eq!(file.path, "/etc/nomad.d/server.hcl");
    }

    #[test]
    fn modes_as_cloud_init_reads_them() {
        for (text, mode) in [("'0640'", 0o640), ("0640", 0o640), ("'640'", 0o640), ("'0o600'", 0o600), ("0755", 0o755)]
        {
            let (files, findings) = of(&format!("write_files: [{{path: /etc/a, permissions: {text}}}]"));
            assert_eq!(files.first().map(|f| f.mode), Some(mode), "{text} {findings:?}");
        }
        let (files, findings) = of("write_files: [{path: /etc/a, permissions: 644}]");
        assert!(files.is_empty() && findings[0].contains("write '0644'"), "{findings:?}");
    }

    #[test]
    fn a_file_without_content_is_empty() {
        let (files, findings) = of("write_files: [{path: /etc/a}]");
        assert!(findings.is_empty() && files[0].content.0.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, want) in [
            ("write_files: {}", "write_files: must be a list"),
            ("write_files:\n- content: a\n", "2:3: write_files[0].path: is missing"),
            ("write_files:\n- path: etc/a\n", "write_files[0].path"),
            ("write_files:\n- path: /usr/bin/x\n", "write_files[0].path"),
            ("write_files:\n- path: /etc/../usr/x\n", "write_files[0].path"),
            ("write_files:\n- {path: /etc/a, encoding: rot13}\n", "write_files[0].encoding"),
            ("write_files:\n- {path: /etc/a, encoding: b64, content: '*'}\n", "write_files[0].content: not base64"),
            ("write_files:\n- {path: /etc/a, contents: x}\n", "did you mean content?"),
            ("write_files:\n- {path: /etc/a, source: {uri: 'https://x'}}\n", "write_files[0].source: its uri"),
            ("write_files:\n- {path: /etc/a, owner: 'a:b:c'}\n", "write_files[0].owner"),
        ] {
            let (files, findings) = of(text);
            assert!(files.is_empty(), "{text}");
            assert!(findings.iter().any(|f| f.contains(want)), "{text}: {findings:?}");
        }
    }
}
