//! The Debian mirror that the host uses, from its apt configuration (sources.list(5)).

use std::{fs, path::Path};

/// The first Debian archive in the apt configuration below `root`.
#[must_use]
pub fn of_host(root: &Path) -> Option<String> {
    let folder = root.join("etc/apt/sources.list.d");
    let mut files = vec![root.join("etc/apt/sources.list")];
    let mut parts: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    parts.sort();
    files.extend(parts);
    let find = |path: &Path| {
        let text = fs::read_to_string(path).ok()?;
        match path.extension()?.to_str()? {
            "list" => one_line_uris(&text).into_iter().find(|uri| is_archive(uri)),
            "sources" => deb822_uris(&text).into_iter().find(|uri| is_archive(uri)),
            _ => None,
        }
    };
    files.iter().find_map(|path| find(path))
}

/// Whether this is the archive of Debian itself, not of its security updates or of somebody else. By convention the
/// path ends in `debian`.
fn is_archive(uri: &str) -> bool {
    let path = uri.trim_end_matches('/');
    (uri.starts_with("http://") || uri.starts_with("https://") || uri.starts_with("file:/"))
        && path.rsplit('/').next() == Some("debian")
}

/// URIs of `deb [options] uri suite component...` lines.
pub(crate) fn one_line_uris(text: &str) -> Vec<String> {
    let uri = |line: &str| {
        let rest = line.trim().strip_prefix("deb")?.trim_start_matches("-src");
        let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
        let rest = if let Some(options) = rest.strip_prefix('[') { options.split_once(']')?.1 } else { rest };
        rest.split_whitespace().next().map(ToOwned::to_owned)
    };
    text.lines().filter_map(uri).collect()
}

/// URIs of enabled stanzas of a deb822 file.
pub(crate) fn deb822_uris(text: &str) -> Vec<String> {
    let mut uris = Vec::new();
    let text: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for stanza in text.split(|line| line.trim().is_empty()) {
        let mut found: Vec<String> = Vec::new();
        let mut enabled = true;
        let mut in_uris = false;
        for line in stanza {
            let value = if line.starts_with([' ', '\t']) {
                if !in_uris {
                    continue;
                }
                line
            } else {
                let Some((key, value)) = line.split_once(':') else { continue };
                in_uris = key.trim().eq_ignore_ascii_case("uris");
                if key.trim().eq_ignore_ascii_case("enabled") {
                    enabled = !matches!(value.trim(), "no" | "false" | "0" | "off");
                }
                if !in_uris {
                    continue;
                }
                value
            };
            found.extend(value.split_whitespace().map(ToOwned::to_owned));
        }
        if enabled {
            uris.append(&mut found);
        }
    }
    uris
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(files: &[(&str, &str)]) -> Option<String> {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/apt/sources.list.d")).unwrap();
        for (name, text) in files {
            fs::write(root.path().join("etc/apt").join(name), text).unwrap();
        }
        of_host(root.path())
    }

    #[test]
    fn both_forms_and_neither() {
        assert_eq!(host(&[]), None);
        let line =
            "# deb http://no/debian x main\ndeb [arch=amd64 signed-by=/k] http://m.example/debian/ trixie main\n";
        assert_eq!(host(&[("sources.list", line)]), Some("http://m.example/debian/".to_owned()));
        let stanzas = "Types: deb\nURIs: http://off.example/debian\nEnabled: no\n\nTypes: deb\n# URIs: x\nURIs:\n http://s.example/debian-security\n https://d.example/debian\nSuites: trixie\n x";
        assert_eq!(host(&[("sources.list.d/debian.sources", stanzas)]), Some("https://d.example/debian".to_owned()));
        assert_eq!(host(&[("sources.list.d/node.list", "deb https://deb.node.example/node_20 x main")]), None);
        assert_eq!(host(&[("sources.list.d/off.list.disabled", line)]), None);
    }

    proptest! {
        #[test]
        fn anything_parses(text: String) {
            let _ = (one_line_uris(&text), deb822_uris(&text));
        }
    }
}
