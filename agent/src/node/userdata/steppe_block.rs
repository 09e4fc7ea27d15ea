//! The key `steppe`, Steppe's own: what else is said on the kernel's command line, for clouds that give nobody access to it, and the
//! channel of updates.

use std::time::Duration;

use super::{
    finding::{Finding, Verdict},
    keys::nearest,
    yaml::Node,
};
use crate::node::{nomad::api::Secret, options::OnClone};

/// The shortest time between two looks at a channel.
const LEAST: Duration = Duration::from_secs(10);
/// The longest one, and the longest that a drain may take.
const MOST: Duration = Duration::from_secs(30 * 86_400);
/// Between two looks, when nothing is said.
const EVERY: Duration = Duration::from_secs(3600);
/// For a drain, when nothing is said.
const DRAIN: Duration = Duration::from_secs(600);
/// More clients at once are no rolling update.
const CROWD: u32 = 1000;

/// `steppe.update`: the channel that the node follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follow {
    /// Where the channel file is.
    pub channel: String,
    /// Between two looks, on average.
    pub every: Duration,
    /// For a Nomad with ACLs.
    pub token: Option<Secret>,
    /// How many clients may restart at the same time.
    pub at_once: u32,
    /// How long a client's work may take to move away.
    pub drain: Duration,
}

/// Reads `steppe: {clone: auto|reset|keep, update: {...}}`. A copy is settled when a disk has a new instance id on other hardware, and not
/// again for the same id: `clone` may stay in the user-data.
pub(super) fn read(config: Option<&Node>, findings: &mut Vec<Finding>) -> (OnClone, Option<Follow>) {
    let Some(node) = config.and_then(|c| c.get("steppe")).filter(|node| !node.is_null()) else {
        return (OnClone::Auto, None);
    };
    if !keys(node, "steppe", &["clone", "update"], findings) {
        return (OnClone::Auto, None);
    }
    let clone = value(node, "clone").map_or(OnClone::Auto, |value| match value.text() {
        Some("auto") => OnClone::Auto,
        Some("reset") => OnClone::Reset,
        Some("keep") => OnClone::Keep,
        _ => {
            refuse(findings, value, "steppe.clone", "must be auto, reset or keep");
            OnClone::Auto
        }
    });
    (clone, value(node, "update").and_then(|update| follow(update, findings)))
}

fn follow(node: &Node, findings: &mut Vec<Finding>) -> Option<Follow> {
    if !keys(node, "steppe.update", &["channel", "every", "token", "at_once", "drain"], findings) {
        return None;
    }
    let channel = value(node, "channel").unwrap_or(node);
    let address = channel.text().filter(|text| {
        let host = text.strip_prefix("http://").filter(|rest| !rest.is_empty() && !rest.starts_with('/'));
        host.is_some() && text.len() <= 1024 && text.bytes().all(|byte| byte.is_ascii_graphic())
    });
    if address.is_none() {
        let message = "must be an address that begins with http:// (the signature protects it, there is no TLS)";
        refuse(findings, channel, "steppe.update.channel", message);
    }
    let mut time = |key: &str, default: Duration, least: Duration| {
        let Some(value) = value(node, key) else { return default };
        let found = value.text().and_then(duration).filter(|time| (least..=MOST).contains(time));
        found.unwrap_or_else(|| {
            let message = format!("must be a time from {} s to 30 d, as in 90s, 10m, 1h or 1d", least.as_secs());
            refuse(findings, value, &format!("steppe.update.{key}"), &message);
            default
        })
    };
    let every = time("every", EVERY, LEAST);
    let drain = time("drain", DRAIN, Duration::from_secs(1));
    let at_once = value(node, "at_once").map_or(Some(1), |value| {
        let number = value.text().and_then(|text| text.parse().ok()).filter(|number| (1..=CROWD).contains(number));
        if number.is_none() {
            refuse(findings, value, "steppe.update.at_once", &format!("must be a number from 1 to {CROWD}"));
        }
        number
    });
    let token = value(node, "token").and_then(|value| {
        let text = value.text().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()));
        if text.is_none() {
            refuse(findings, value, "steppe.update.token", "must be the secret id of an ACL token");
        }
        text.map(|text| Secret::new(text.to_owned()))
    });
    Some(Follow { channel: address?.to_owned(), every, token, at_once: at_once?, drain })
}

/// Refuses what is no map, and the keys that are not known.
fn keys(node: &Node, path: &str, known: &[&str], findings: &mut Vec<Finding>) -> bool {
    let Some(entries) = node.mapping() else {
        refuse(findings, node, path, &format!("must be a map, not {}", node.describe()));
        return false;
    };
    for (key, _) in entries {
        let name = key.text().unwrap_or("");
        if !known.contains(&name) {
            let hint = nearest(name, known.iter().copied()).map(|near| format!("; did you mean {near}?"));
            let message = format!("unknown key{}", hint.unwrap_or_default());
            refuse(findings, key, &format!("{path}.{name}"), &message);
        }
    }
    true
}

fn value<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    node.get(key).filter(|value| !value.is_null())
}

fn refuse(findings: &mut Vec<Finding>, node: &Node, key: &str, message: &str) {
    findings.push(Finding::new(Verdict::Refused, node.at, key, message));
}

/// `90`, `90s`, `10m`, `1h`, `2d`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(digits.parse::<u64>().ok()?.checked_mul(unit)?))
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
            let found = read(yaml::load(text).unwrap().root.as_ref(), &mut findings).0;
            let said = findings.first().map(ToString::to_string);
            assert_eq!(found, want, "{text}");
            assert_eq!(said.is_some(), finding.is_some(), "{text}: {said:?}");
            assert!(finding.is_none_or(|want| said.unwrap().contains(want)), "{text}");
        }
    }

    #[test]
    fn which_channel_is_followed() {
        let read = |text: &str| {
            let mut findings = Vec::new();
            let follow = read(yaml::load(text).unwrap().root.as_ref(), &mut findings).1;
            (follow, findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        };
        let s = Duration::from_secs;
        let (follow, said) = read("steppe: {update: {channel: 'http://h/a.json'}}");
        let follow = follow.unwrap();
        assert_eq!((follow.channel.as_str(), follow.every, follow.at_once), ("http://h/a.json", s(3600), 1));
        assert_eq!((follow.drain, follow.token, said.as_str()), (s(600), None, ""));
        let text = "steppe: {update: {channel: 'http://h/a', every: 10s, token: b4ca-7, at_once: 3, drain: 2h}}";
        let follow = read(text).0.unwrap();
        assert_eq!((follow.every, follow.at_once, follow.drain), (s(10), 3, s(7200)));
        assert!(!format!("{follow:?}").contains("b4ca"), "{follow:?}");
        assert_eq!(follow.token.unwrap().reveal(), "b4ca-7");
        for (bad, want) in [
            ("{every: 1h}", "1:18: steppe.update.channel: must be an address"),
            ("{channel: 'https://h/a'}", "1:28: steppe.update.channel: must be an address"),
            ("{channel: 'http:///a'}", "channel: must be an address"),
            ("{channel: 'http://h/a', every: 9s}", "1:49: steppe.update.every: must be a time from 10 s"),
            ("{channel: 'http://h/a', every: 1w}", "every: must be a time"),
            ("{channel: 'http://h/a', drain: 0}", "drain: must be a time from 1 s"),
            ("{channel: 'http://h/a', at_once: 0}", "at_once: must be a number from 1"),
            ("{channel: 'http://h/a', token: 'a b'}", "token: must be the secret id"),
            ("{channel: 'http://h/a', chanel: x}", "steppe.update.chanel: unknown key; did you mean channel?"),
            ("on", "steppe.update: must be a map"),
        ] {
            let said = read(&format!("steppe: {{update: {bad}}}")).1;
            assert!(said.contains(want), "{bad}: {said}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_duration_or_not(text: String, number: u64) {
            let _ = duration(&text);
            let _ = duration(&format!("{number}d"));
        }
    }
}
