//! The key `steppe`, Steppe's own: what else is said on the kernel's command line, for clouds that give nobody access to it.

use super::{
    finding::{Finding, Verdict},
    keys::nearest,
    yaml::Node,
};
use crate::node::options::OnClone;

/// Reads `steppe: {clone: auto|reset|keep}`. A copy is settled when a disk has a new instance id on other hardware, and not
/// again for the same id: the key may stay in the user-data.
pub(super) fn on_clone(config: Option<&Node>, findings: &mut Vec<Finding>) -> OnClone {
    let Some(node) = config.and_then(|c| c.get("steppe")).filter(|node| !node.is_null()) else {
        return OnClone::Auto;
    };
    let mut refuse = |node: &Node, key: &str, message: String| {
        findings.push(Finding::new(Verdict::Refused, node.at, key, message));
    };
    let Some(entries) = node.mapping() else {
        refuse(node, "steppe", format!("must be a map, not {}", node.describe()));
        return OnClone::Auto;
    };
    for (key, _) in entries.iter().filter(|(key, _)| key.text() != Some("clone")) {
        let name = key.text().unwrap_or("");
        let hint = nearest(name, ["clone"].into_iter()).map(|near| format!("; did you mean {near}?"));
        refuse(key, &format!("steppe.{name}"), format!("unknown key{}", hint.unwrap_or_default()));
    }
    let Some(value) = node.get("clone").filter(|value| !value.is_null()) else { return OnClone::Auto };
    match value.text() {
        Some("auto") => OnClone::Auto,
        Some("reset") => OnClone::Reset,
        Some("keep") => OnClone::Keep,
        _ => {
            refuse(value, "steppe.clone", "must be auto, reset or keep".into());
            OnClone::Auto
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::userdata::yaml;

    #[test]
    fn what_becomes_of_a_copy() {
        for (text, want, finding) in [
            ("steppe: {clone: reset}", OnClone::Reset, None),
            ("steppe: {clone: keep}", OnClone::Keep, None),
            ("steppe: {clone: auto}", OnClone::Auto, None),
            ("steppe:", OnClone::Auto, None),
            ("a: b", OnClone::Auto, None),
            ("steppe: {clone: wipe}", OnClone::Auto, Some("steppe.clone: must be auto")),
            ("steppe: {clone: [reset]}", OnClone::Auto, Some("steppe.clone: must be auto")),
            ("steppe: {clones: reset}", OnClone::Auto, Some("steppe.clones: unknown key; did you mean clone?")),
            ("steppe: reset", OnClone::Auto, Some("steppe: must be a map")),
        ] {
            let mut findings = Vec::new();
            let found = on_clone(yaml::load(text).unwrap().root.as_ref(), &mut findings);
            let said = findings.first().map(ToString::to_string);
            assert_eq!(found, want, "{text}");
            assert_eq!(said.is_some(), finding.is_some(), "{text}: {said:?}");
            assert!(finding.is_none_or(|want| said.unwrap().contains(want)), "{text}");
        }
    }
}
