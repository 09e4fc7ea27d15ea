//! The Debian mirrors that packages come from: those that are named, or those of the host's apt configuration (sources.list(5)).
//!
//! There are two: that of the archive itself, which has new versions with each point release, and that of the security
//! updates (`<suite>-security`), which has them at once.

use std::{fs, path::Path};

/// Where Debian's own security updates are.
pub const SECURITY: &str = "http://deb.debian.org/debian-security";

/// The mirrors of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors {
    /// The archive's; empty when nobody names one.
    pub archive: String,
    /// That of its security updates.
    pub security: Security,
}

/// The mirror of the security updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// It is there.
    At(String),
    /// There is to be none.
    Off,
    /// None is named, and for the archive's mirror none is known.
    Unknown,
}

impl Mirrors {
    /// What `--security-mirror` says to do without security updates.
    pub const NONE: &str = "none";

    /// The mirrors that the options name, if they do; what they leave open is said by the apt configuration below `root`.
    ///
    /// Security updates come from where the host has them, or else from [`SECURITY`], as long as the archive is the host's or Debian's
    /// own: those machines reach it. With any other archive (a mirror of one's own, a folder) they have to be named: whether it has them
    /// somewhere cannot be told from its name, and a guess would break builds without a network.
    #[must_use]
    pub fn choose(archive: Option<&str>, security: Option<&str>, root: &Path) -> Self {
        let of_host = of_host(root);
        let archive = archive.map_or_else(|| of_host.clone().unwrap_or_default(), ToOwned::to_owned);
        let same = of_host.as_ref().is_some_and(|host| host.trim_end_matches('/') == archive.trim_end_matches('/'));
        let debians = is_of_debian(&archive);
        let security = match security {
            Some(Self::NONE) => Security::Off,
            Some(url) => Security::At(url.to_owned()),
            None => {
                let of_host = security_of_host(root).filter(|_| same || debians);
                of_host.or_else(|| debians.then(|| SECURITY.to_owned())).map_or(Security::Unknown, Security::At)
            }
        };
        Self { archive, security }
    }

    /// The mirror of the security updates, where there is one.
    #[must_use]
    pub fn security(&self) -> Option<&str> {
        match &self.security {
            Security::At(url) => Some(url),
            Security::Off | Security::Unknown => None,
        }
    }
}

/// The first Debian archive in the apt configuration below `root`.
#[must_use]
pub fn of_host(root: &Path) -> Option<String> {
    first(root, |uri| is_archive(uri, "debian"))
}

/// The first archive of Debian's security updates there.
#[must_use]
pub fn security_of_host(root: &Path) -> Option<String> {
    first(root, |uri| is_archive(uri, "debian-security"))
}

fn first(root: &Path, wanted: impl Fn(&str) -> bool) -> Option<String> {
    let folder = root.join("etc/apt/sources.list.d");
    let mut files = vec![root.join("etc/apt/sources.list")];
    let mut parts: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    parts.sort();
    files.extend(parts);
    let find = |path: &Path| {
        let text = fs::read_to_string(path).ok()?;
        match path.extension()?.to_str()? {
            "list" => one_line_uris(&text).into_iter().find(|uri| wanted(uri)),
            "sources" => deb822_uris(&text).into_iter().find(|uri| wanted(uri)),
            _ => None,
        }
    };
    files.iter().find_map(|path| find(path))
}

/// Whether this is an archive of Debian's that is called `name`, and not somebody else's. By convention the path ends in `debian`, and
/// that of the security updates in `debian-security`.
fn is_archive(uri: &str, name: &str) -> bool {
    let path = uri.trim_end_matches('/');
    (uri.starts_with("http://") || uri.starts_with("https://") || uri.starts_with("file:/"))
        && path.rsplit('/').next() == Some(name)
}

/// Whether the archive is on one of Debian's own servers, as it is now: not a snapshot of another day.
fn is_of_debian(archive: &str) -> bool {
    let host = archive.split_once("://").and_then(|(_, rest)| rest.split(['/', ':']).next());
    is_archive(archive, "debian") && host.is_some_and(|host| host.ends_with(".debian.org"))
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

    fn with<T>(files: &[(&str, &str)], look: impl FnOnce(&Path) -> T) -> T {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/apt/sources.list.d")).unwrap();
        for (name, text) in files {
            fs::write(root.path().join("etc/apt").join(name), text).unwrap();
        }
        look(root.path())
    }

    fn host(files: &[(&str, &str)]) -> Option<String> {
        with(files, of_host)
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

    #[test]
    fn security_updates_come_from_where_the_archive_lets_expect_them() {
        let own = "deb http://m.corp/debian trixie main\ndeb http://s.corp/debian-security trixie-security main\n";
        let [own, alone] = [own, "deb http://m.corp/debian trixie main\n"].map(|text| [("sources.list", text)]);
        let at = |url: &str| Security::At(url.to_owned());
        let choose = |files: &[(&str, &str)], archive: Option<&str>, security: Option<&str>| {
            with(files, |root| Mirrors::choose(archive, security, root))
        };
        let debian = "http://deb.debian.org/debian";
        // The host's archive, whoever names it.
        assert_eq!(choose(&own, None, None).archive, "http://m.corp/debian");
        assert_eq!(choose(&own, None, None).security, at("http://s.corp/debian-security"));
        assert_eq!(choose(&own, Some("http://m.corp/debian/"), None).security, at("http://s.corp/debian-security"));
        assert_eq!(choose(&alone, None, None).security, Security::Unknown);
        // Debian's own.
        assert_eq!(choose(&own, Some(debian), None).security, at("http://s.corp/debian-security"));
        assert_eq!(choose(&alone, Some(debian), None).security, at(SECURITY));
        assert_eq!(choose(&[], Some("https://ftp.de.debian.org/debian/"), None).security, at(SECURITY));
        // Any other.
        let snapshot = "http://snapshot.debian.org/archive/debian/20260101T000000Z";
        for other in ["file:/srv/debian", "http://x.corp/debian", "http://debian.org.x/debian", snapshot] {
            assert_eq!(choose(&own, Some(other), None).security, Security::Unknown, "{other}");
        }
        // What is named counts.
        let named = choose(&own, Some("file:/srv/debian"), Some("file:/srv/security"));
        assert_eq!((named.archive.as_str(), named.security()), ("file:/srv/debian", Some("file:/srv/security")));
        assert_eq!(choose(&own, None, Some("none")).security, Security::Off);
        assert_eq!(choose(&[], None, None), Mirrors { archive: String::new(), security: Security::Unknown });
    }

    proptest! {
        #[test]
        fn anything_parses(text: String) {
            let _ = (one_line_uris(&text), deb822_uris(&text));
        }
    }
}
