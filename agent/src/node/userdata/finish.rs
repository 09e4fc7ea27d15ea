//! What is done once, when Nomad is healthy for the first time on an instance: `final_message`, `phone_home` and
//! `power_state`.

use std::time::Duration;

use serde::Serialize;

use super::{
    finding::{Finding, Verdict},
    keys::nearest,
    yaml::{Kind, Node, Value},
};
use crate::notify::Power;

/// All three.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Finish {
    /// A line for the console; `$uptime`, `$version`, `$timestamp` and `$datasource` stand for values.
    pub message: Option<String>,
    /// A question to a server of the operator's.
    pub phone_home: Option<PhoneHome>,
    /// How the machine ends.
    pub power: Option<PowerState>,
}

/// A form that is posted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PhoneHome {
    /// Where to; `$INSTANCE_ID` stands for the instance id. May hold a token.
    #[serde(skip)]
    pub url: String,
    /// The fields, in order.
    pub fields: Vec<&'static str>,
    /// How often it is tried.
    pub tries: u32,
}

/// A reboot or a power-off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PowerState {
    /// Which.
    #[serde(serialize_with = "power_name")]
    pub power: Power,
    /// How long after Nomad is healthy.
    pub delay: Duration,
    /// Said before.
    pub message: Option<String>,
}

fn power_name<S: serde::Serializer>(power: &Power, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match power {
        Power::Reboot => "reboot",
        Power::Off => "poweroff",
    })
}

/// All fields that cloud-init posts (`cc_phone_home.py`).
const FIELDS: [&str; 6] = ["pub_key_rsa", "pub_key_ecdsa", "pub_key_ed25519", "instance_id", "hostname", "fqdn"];
/// As cloud-init.
const TRIES: u32 = 10;

/// Reads the three keys.
pub(super) fn finish(config: Option<&Node>, findings: &mut Vec<Finding>) -> Finish {
    let key = |name: &str| config.and_then(|c| c.get(name)).filter(|node| !node.is_null());
    Finish {
        message: key("final_message").and_then(|node| message(node, findings)),
        phone_home: key("phone_home").and_then(|node| phone_home(node, findings)),
        power: key("power_state").and_then(|node| power_state(node, findings)),
    }
}

fn refuse<T>(findings: &mut Vec<Finding>, node: &Node, key: &str, message: impl Into<String>) -> Option<T> {
    findings.push(Finding::new(Verdict::Refused, node.at, key, message));
    None
}

fn message(node: &Node, findings: &mut Vec<Finding>) -> Option<String> {
    match node.text() {
        Some(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        None => refuse(findings, node, "final_message", format!("must be a string, not {}", node.describe())),
    }
}

fn known_keys(node: &Node, name: &str, known: &[&str], findings: &mut Vec<Finding>) -> Option<()> {
    let Some(entries) = node.mapping() else {
        return refuse(findings, node, name, format!("must be a map, not {}", node.describe()));
    };
    let mut good = Some(());
    for (key, _) in entries {
        let text = key.text().unwrap_or("");
        if !known.contains(&text) {
            let hint = nearest(text, known.iter().copied()).map(|near| format!("; did you mean {near}?"));
            let message = format!("unknown key{}", hint.unwrap_or_default());
            good = refuse(findings, key, &format!("{name}.{text}"), message);
        }
    }
    good
}

fn phone_home(node: &Node, findings: &mut Vec<Finding>) -> Option<PhoneHome> {
    known_keys(node, "phone_home", &["post", "tries", "url"], findings)?;
    let url = match node.get("url").and_then(Node::text) {
        Some(url) if url.starts_with("http://") => url.to_owned(),
        // The address itself may be a secret.
        Some(_) => return refuse(findings, node, "phone_home.url", "must begin with http:// (there is no TLS)"),
        None => return refuse(findings, node, "phone_home.url", "is missing"),
    };
    let tries = match node.get("tries").filter(|tries| !tries.is_null()) {
        None => TRIES,
        Some(tries) => match tries.text().and_then(|text| text.parse().ok()) {
            Some(number) => number,
            None => return refuse(findings, tries, "phone_home.tries", "must be a number"),
        },
    };
    let post = node.get("post").filter(|post| !post.is_null());
    let fields = match post.map(|post| (post, &post.value)) {
        None => FIELDS.to_vec(),
        Some((_, Value::Scalar(scalar))) if scalar.text == "all" => FIELDS.to_vec(),
        Some((post, Value::Sequence(items))) => {
            let field = |item: &Node| FIELDS.into_iter().find(|field| item.text() == Some(field));
            match items.iter().map(field).collect::<Option<Vec<_>>>() {
                Some(fields) => fields,
                None => {
                    return refuse(findings, post, "phone_home.post", format!("may hold {}", FIELDS.join(", ")));
                }
            }
        }
        Some((post, _)) => return refuse(findings, post, "phone_home.post", "must be `all` or a list of fields"),
    };
    Some(PhoneHome { url, fields, tries: tries.clamp(1, 100) })
}

fn power_state(node: &Node, findings: &mut Vec<Finding>) -> Option<PowerState> {
    known_keys(node, "power_state", &["condition", "delay", "message", "mode", "timeout"], findings)?;
    let power = match node.get("mode").and_then(Node::text) {
        Some("reboot") => Power::Reboot,
        Some("poweroff" | "halt") => Power::Off,
        Some(_) => return refuse(findings, node, "power_state.mode", "must be reboot, poweroff or halt"),
        None => return refuse(findings, node, "power_state.mode", "is missing: reboot, poweroff or halt"),
    };
    let delay = match node.get("delay").filter(|delay| !delay.is_null()) {
        None => 0,
        Some(delay) => {
            let text = delay.text().unwrap_or("");
            let minutes: Option<u32> = if text == "now" { Some(0) } else { text.trim_start_matches('+').parse().ok() };
            match minutes {
                Some(minutes) => minutes,
                None => return refuse(findings, delay, "power_state.delay", "must be `now` or a number of minutes"),
            }
        }
    };
    match node.get("condition").and_then(Node::scalar).map(|scalar| scalar.kind) {
        None if node.get("condition").is_some_and(|c| c.sequence().is_some()) => {
            return refuse(
                findings,
                node,
                "power_state.condition",
                "a command decides: there is no shell in this image",
            );
        }
        Some(Kind::Bool(false)) => {
            findings.push(Finding::new(Verdict::Ignored, node.at, "power_state", "its condition is false"));
            return None;
        }
        None | Some(Kind::Bool(true) | Kind::Null) => {}
        Some(_) => {
            return refuse(
                findings,
                node,
                "power_state.condition",
                "a command decides: there is no shell in this image",
            );
        }
    }
    let message = node.get("message").and_then(Node::text).map(str::to_owned);
    Some(PowerState { power, delay: Duration::from_secs(u64::from(delay) * 60), message })
}

/// Puts values in the place of `$name` and `${name}`, in lower or upper case, as cloud-init does in `final_message`.
#[must_use]
pub fn substitute(text: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| {
        [name.to_lowercase(), name.to_uppercase()]
            .into_iter()
            .fold(text, |text, name| text.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::userdata::yaml;

    fn read(text: &str) -> (Finish, Vec<String>) {
        let mut findings = Vec::new();
        let finish = finish(yaml::load(text).unwrap().root.as_ref(), &mut findings);
        (finish, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn all_three_are_read() {
        let (finish, findings) = read(
            "final_message: up $UPTIME\nphone_home: {url: 'http://h/$INSTANCE_ID', post: [hostname], tries: 3}\n\
             power_state: {mode: halt, delay: '+5', message: bye, condition: yes}\n",
        );
        assert_eq!(findings, [""; 0]);
        assert_eq!(finish.message.as_deref(), Some("up $UPTIME"));
        assert_eq!(
            finish.phone_home,
            Some(PhoneHome { url: "http://h/$INSTANCE_ID".into(), fields: vec!["hostname"], tries: 3 })
        );
        let power = finish.power.unwrap();
        assert_eq!((power.power, power.delay), (Power::Off, Duration::from_secs(300)));
        let (finish, _) = read("phone_home: {url: 'http://h/'}\npower_state: {mode: reboot, delay: now}\n");
        assert_eq!(finish.phone_home.map(|p| (p.fields.len(), p.tries)), Some((6, 10)));
        assert_eq!(finish.power.unwrap().delay, Duration::ZERO);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for (text, want) in [
            ("final_message: [a]", "final_message: must be a string"),
            ("phone_home: {url: 'https://h/'}", "phone_home.url: must begin with http://"),
            ("phone_home: {}", "phone_home.url: is missing"),
            ("phone_home: {url: 'http://h/', post: [root]}", "phone_home.post: may hold"),
            ("phone_home: {url: 'http://h/', tris: 3}", "did you mean tries?"),
            ("power_state: {mode: sleep}", "power_state.mode: must be"),
            ("power_state: {mode: reboot, delay: soon}", "power_state.delay"),
            ("power_state: {mode: reboot, condition: [test, -f, /x]}", "a command decides"),
            ("power_state: {mode: reboot, condition: 'test -f /x'}", "a command decides"),
        ] {
            let (finish, findings) = read(text);
            assert!(findings.iter().any(|f| f.starts_with("refused") && f.contains(want)), "{text}: {findings:?}");
            assert_eq!(finish, Finish::default());
        }
        assert!(read("power_state: {mode: reboot, condition: no}").1[0].starts_with("ignored"));
    }

    #[test]
    fn values_take_the_place_of_names() {
        assert_eq!(substitute("$UPTIME s, ${version}, $other", &[("uptime", "7"), ("version", "1")]), "7 s, 1, $other");
    }
}
