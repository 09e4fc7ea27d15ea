//! Which names the machine gets: cloud-init's rules (`util.get_hostname_fqdn`, `distros._select_hostname`).

use super::{
    finding::{Finding, Position, Verdict},
    yaml::Node,
};

/// The machine's names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// What the kernel is told, and Nomad.
    pub hostname: Option<String>,
    /// The full name, when one is known.
    pub fqdn: Option<String>,
}

/// Works out the names from the keys `hostname`, `fqdn`, `prefer_fqdn_over_hostname` and `preserve_hostname` and
/// from the host name in the metadata.
pub fn names(config: Option<&Node>, metadata_name: Option<&str>, findings: &mut Vec<Finding>) -> Names {
    let text = |key: &str, findings: &mut Vec<Finding>| -> Option<(Position, String)> {
        let node = config?.get(key)?;
        if node.is_null() {
            return None;
        }
        let Some(text) = node.text().map(str::trim).filter(|t| !t.is_empty()) else {
            findings.push(Finding::new(Verdict::Refused, node.at, key, "must be a name"));
            return None;
        };
        match check(text) {
            Ok(()) => Some((node.at, text.to_owned())),
            Err(why) => {
                findings.push(Finding::new(Verdict::Refused, node.at, key, why));
                None
            }
        }
    };
    if super::keys::flag(config, "preserve_hostname", findings).unwrap_or(false) {
        return Names::default();
    }
    let prefer_fqdn = super::keys::flag(config, "prefer_fqdn_over_hostname", findings).unwrap_or(false);
    let hostname = text("hostname", findings).map(|(_, name)| name);
    let fqdn = text("fqdn", findings).map(|(_, name)| name);
    let first_label = |name: &str| name.split('.').next().unwrap_or(name).to_owned();
    let (hostname, fqdn) = match (hostname, fqdn) {
        (hostname, Some(fqdn)) => (Some(hostname.unwrap_or_else(|| first_label(&fqdn))), Some(fqdn)),
        (Some(hostname), None) if hostname.contains('.') => (Some(first_label(&hostname)), Some(hostname)),
        (Some(hostname), None) => (Some(hostname), None),
        (None, None) => match metadata_name.and_then(from_metadata) {
            Some(name) if name.contains('.') => (Some(first_label(&name)), Some(name)),
            other => (other, None),
        },
    };
    let hostname = if prefer_fqdn { fqdn.clone().or(hostname) } else { hostname };
    Names { hostname, fqdn }
}

/// A name from metadata: an IPv4 address becomes `ip-a-b-c-d`, the domain `localdomain` is dropped, and what is not
/// a name is no name (clouds say strange things; that must not keep a machine from starting).
fn from_metadata(name: &str) -> Option<String> {
    let name = name.trim().trim_end_matches('.');
    if name.parse::<std::net::Ipv4Addr>().is_ok() {
        return Some(format!("ip-{}", name.replace('.', "-")));
    }
    let name = name.strip_suffix(".localdomain").unwrap_or(name);
    check(name).is_ok().then(|| name.to_owned())
}

/// RFC 1123, with the lengths of the kernel (64) and of DNS (253); never `localhost`, which would point every peer
/// at itself.
pub(super) fn check(name: &str) -> Result<(), String> {
    if name.len() > 253 {
        return Err(format!("a name has at most 253 characters, this has {}", name.len()));
    }
    if name == "localhost" || name.starts_with("localhost.") {
        return Err("a machine must not be called localhost".into());
    }
    for label in name.trim_end_matches('.').split('.') {
        let fits = !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-');
        if !fits {
            return Err(format!("{name:?} is not a host name: labels are 1 to 63 letters, digits and inner hyphens"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::userdata::yaml;

    fn of(text: &str, metadata: Option<&str>) -> (Option<String>, Option<String>, usize) {
        let root = yaml::load(text).unwrap().root;
        let mut findings = Vec::new();
        let names = names(root.as_ref(), metadata, &mut findings);
        (names.hostname, names.fqdn, findings.len())
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn the_rules_of_cloud_init() {
        assert_eq!(of("hostname: a", Some("m")), (some("a"), None, 0));
        assert_eq!(of("hostname: a.b.c", None), (some("a"), some("a.b.c"), 0));
        assert_eq!(of("fqdn: x.y", None), (some("x"), some("x.y"), 0));
        assert_eq!(of("{hostname: a, fqdn: x.y}", None), (some("a"), some("x.y"), 0));
        assert_eq!(of("{fqdn: x.y, prefer_fqdn_over_hostname: yes}", None), (some("x.y"), some("x.y"), 0));
        assert_eq!(of("{hostname: a, preserve_hostname: true}", None), (None, None, 0));
        assert_eq!(of("{}", Some("10.0.0.7")), (some("ip-10-0-0-7"), None, 0));
        assert_eq!(of("{}", Some("m.localdomain")), (some("m"), None, 0));
        assert_eq!(of("{}", Some("m.example.org")), (some("m"), some("m.example.org"), 0));
        assert_eq!(of("{}", Some("not a name")), (None, None, 0));
    }

    #[test]
    fn numbers_and_booleans_are_names_when_they_stand_there() {
        assert_eq!(of("hostname: 0640", None).0, some("0640"));
        assert_eq!(of("hostname: on", None).0, some("on"));
    }

    #[test]
    fn bad_names_are_refused() {
        for name in ["a_b", "-a", "a..b", "localhost", "[a]"] {
            assert_eq!(of(&format!("hostname: {name}"), None), (None, None, 1), "{name}");
        }
    }
}
