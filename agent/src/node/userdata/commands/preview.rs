//! What commands will make of the files of the same user-data: so that Nomad's configuration is judged as Nomad will
//! find it, on the operator's machine as well.

use std::collections::BTreeMap;

use super::{Step, Value};

/// Does the steps to the files that are there by now, with examples for what only the machine knows.
pub(in crate::node::userdata) fn preview(files: &mut BTreeMap<String, Vec<u8>>, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Write { path, content, append } => {
                let file = files.entry(path.clone()).or_default();
                if !append {
                    file.clear();
                }
                file.extend(content.resolve(&example).unwrap_or_default().bytes());
            }
            Step::Edit { path, edits } => {
                if let Some(file) = files.get_mut(path)
                    && let Ok(text) = std::str::from_utf8(file)
                {
                    let edit = |text: String, edit: &super::Edit| edit.apply(&text, &example).unwrap_or(text);
                    *file = edits.iter().fold(text.to_owned(), edit).into_bytes();
                }
            }
            Step::Copy { from, to, .. } => {
                if let Some(content) = files.get(from).cloned() {
                    files.insert(target(from, to, files), content);
                }
            }
            Step::Move { from, to } => {
                if let Some(content) = files.remove(from) {
                    files.insert(target(from, to, files), content);
                }
            }
            Step::Remove { path } => {
                let inside = |file: &str| file.strip_prefix(&path.path).is_some_and(|rest| rest.starts_with('/'));
                files.retain(|file, _| !((!path.children && *file == path.path) || inside(file)));
            }
            _ => {}
        }
    }
}

/// Into a directory, or to a file.
fn target(from: &str, to: &str, files: &BTreeMap<String, Vec<u8>>) -> String {
    let inside = format!("{to}/");
    let directory = to == crate::paths::NOMAD_CONFIG_DIR || files.keys().any(|file| file.starts_with(&inside));
    if directory { inside + super::program_name(from) } else { to.to_owned() }
}

/// Addresses of RFC 5737; names that look like names.
fn example(value: &Value) -> Option<String> {
    let text = match value {
        Value::Address => "192.0.2.1",
        Value::InterfaceAddress(_) => "192.0.2.2",
        Value::PublicAddress => "198.51.100.1",
        Value::Hostname => "node",
        Value::Fqdn => "node.example",
        Value::InstanceId => "i-0",
        Value::AvailabilityZone => "zone-a",
        Value::Region => "region",
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{super::Recogniser, *};
    use crate::node::userdata::commands::Done;

    #[test]
    fn files_end_as_the_commands_leave_them() {
        let mut files: BTreeMap<String, Vec<u8>> =
            [("/etc/nomad.d/a.hcl".to_owned(), b"bind = \"IP\"\n".to_vec()), ("/tmp/b.hcl".to_owned(), b"b".to_vec())]
                .into();
        let script = "IP=$(hostname -I)\nsed -i s/IP/$IP/ /etc/nomad.d/a.hcl\necho '# end' >> /etc/nomad.d/a.hcl\nmv /tmp/b.hcl \
                      /etc/nomad.d/\ncp /etc/nomad.d/a.hcl /etc/nomad.d/c.hcl\nrm /etc/nomad.d/c.hcl\n";
        for (_, outcome) in Recogniser::default().script(script) {
            if let Done::Steps(steps, _) = outcome.unwrap() {
                preview(&mut files, &steps);
            }
        }
        let shown: Vec<(&str, &[u8])> = files.iter().map(|(path, file)| (path.as_str(), file.as_slice())).collect();
        assert_eq!(
            shown,
            [("/etc/nomad.d/a.hcl", &b"bind = \"192.0.2.1\"\n# end\n"[..]), ("/etc/nomad.d/b.hcl", b"b")]
        );
    }
}
