//! The key `ca_certs` (`cc_ca_certs.py`): authorities that this machine trusts beside, or instead of, the image's.

use serde::Serialize;

use super::{
    finding::{Finding, Verdict},
    keys::flag,
    plan::Contents,
    yaml::{Node, Value},
};

/// Whom the machine trusts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CaCerts {
    /// Whether the image's own authorities are left out.
    pub remove_defaults: bool,
    /// Certificates as PEM text, one or several an entry.
    pub trusted: Vec<Contents>,
}

impl CaCerts {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.remove_defaults && self.trusted.is_empty()
    }

    /// The bundle, made from the image's.
    #[must_use]
    pub fn bundle(&self, defaults: &[u8]) -> Vec<u8> {
        let mut bundle = if self.remove_defaults { Vec::new() } else { defaults.to_vec() };
        for entry in &self.trusted {
            if bundle.last().is_some_and(|byte| *byte != b'\n') {
                bundle.push(b'\n');
            }
            bundle.extend_from_slice(entry.0.trim_ascii());
            bundle.push(b'\n');
        }
        bundle
    }
}

/// Reads the key, in both of its spellings.
pub(super) fn ca_certs(config: Option<&Node>, findings: &mut Vec<Finding>) -> CaCerts {
    let mut certs = CaCerts::default();
    for name in ["ca-certs", "ca_certs"] {
        let Some(node) = config.and_then(|c| c.get(name)).filter(|node| !node.is_null()) else { continue };
        let Some(entries) = node.mapping() else {
            let message = format!("must be a map with trusted, not {}", node.describe());
            findings.push(Finding::new(Verdict::Refused, node.at, name, message));
            continue;
        };
        for (key, value) in entries {
            let key_text = key.text().unwrap_or("");
            match key_text {
                "remove_defaults" | "remove-defaults" => {
                    certs.remove_defaults |= flag(Some(node), key_text, findings).unwrap_or(false);
                }
                "trusted" if value.is_null() => {}
                "trusted" => {
                    let items = match &value.value {
                        Value::Sequence(items) => items.as_slice(),
                        _ => std::slice::from_ref(value),
                    };
                    for (n, item) in items.iter().enumerate() {
                        match item.text().ok_or("must be PEM text").and_then(|text| pem(text).map(|()| text)) {
                            Ok(text) => certs.trusted.push(Contents(text.as_bytes().to_vec())),
                            Err(why) => {
                                findings.push(Finding::new(
                                    Verdict::Refused,
                                    item.at,
                                    format!("{name}.trusted[{n}]"),
                                    why,
                                ));
                            }
                        }
                    }
                }
                _ => findings.push(Finding::new(Verdict::Refused, key.at, format!("{name}.{key_text}"), "unknown key")),
            }
        }
    }
    certs
}

/// Certificates in PEM (RFC 7468), nothing else.
fn pem(text: &str) -> Result<(), &'static str> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let mut rest = text;
    let mut count = 0;
    while let Some(at) = rest.find(BEGIN) {
        let body = &rest[at + BEGIN.len()..];
        let end = body.find(END).ok_or("a certificate without its end line")?;
        let der = super::decode::base64(&body[..end]).map_err(|_| "a certificate whose body is not base64")?;
        // A SEQUENCE (X.690).
        if der.first() != Some(&0x30) {
            return Err("a certificate whose body is none");
        }
        count += 1;
        rest = &body[end + END.len()..];
    }
    if text.contains("PRIVATE KEY-----") {
        return Err("a private key has no place among certificates");
    }
    if count == 0 { Err("must be PEM text with -----BEGIN CERTIFICATE-----") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::userdata::yaml;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\\nMAA=\\n-----END CERTIFICATE-----";

    fn read(text: &str) -> (CaCerts, Vec<String>) {
        let mut findings = Vec::new();
        let certs = ca_certs(yaml::load(text).unwrap().root.as_ref(), &mut findings);
        (certs, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn both_spellings_and_one_or_many() {
        let (certs, findings) = read(&format!(
            "ca-certs: {{remove-defaults: true, trusted: \"{PEM}\"}}\nca_certs: {{trusted: [\"{PEM}\"]}}\n"
        ));
        assert_eq!(findings, [""; 0]);
        assert!(certs.remove_defaults && certs.trusted.len() == 2);
        let bundle = String::from_utf8(certs.bundle(b"image\n")).unwrap();
        assert!(!bundle.contains("image") && bundle.matches("BEGIN").count() == 2 && bundle.ends_with("-----\n"));
        let added = read(&format!("ca_certs: {{trusted: [\"{PEM}\"]}}")).0;
        assert!(added.bundle(b"image").starts_with(b"image\n-----BEGIN"));
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        for (text, want) in [
            ("ca_certs: [a]", "must be a map"),
            ("ca_certs: {trusted: [hello]}", "ca_certs.trusted[0]: must be PEM"),
            ("ca_certs: {trust: [hello]}", "ca_certs.trust: unknown key"),
            ("ca_certs: {trusted: [\"-----BEGIN CERTIFICATE-----\\n!\\n-----END CERTIFICATE-----\"]}", "not base64"),
            ("ca_certs: {trusted: [\"-----BEGIN CERTIFICATE-----\\nMAA=\"]}", "without its end"),
        ] {
            let (certs, findings) = read(text);
            assert!(findings.iter().any(|f| f.contains(want)), "{text}: {findings:?}");
            assert!(certs.is_empty());
        }
        assert!(read("ca_certs:").1.is_empty());
    }
}
