//! Reading the documents of metadata services: JSON, or YAML taken as JSON. One way for all of them, so that each
//! provider's file says only which of its fields means what.

use std::net::IpAddr;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Number, Value};

use crate::node::{
    netconfig::{Cidr, Interface, Mac, NetworkConfig, NetworkPlan},
    userdata::yaml::{self, Kind, Node},
};

/// Reads JSON. `what` names it in the error, which never shows its content.
pub(super) fn json(bytes: &[u8], what: &str) -> Result<Value, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| format!("failed to read {what}: {error}"))?;
    if value.is_object() || value.is_array() {
        Ok(value)
    } else {
        Err(format!("failed to read {what}: not a document"))
    }
}

/// Reads YAML, of which JSON is a part.
pub(super) fn yaml(bytes: &[u8], what: &str) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| format!("failed to read {what}: not UTF-8 text"))?;
    let document = yaml::load(text).map_err(|error| format!("failed to read {what}:{}: {error}", error.at))?;
    Ok(document.root.as_ref().map_or(Value::Null, value))
}

/// A YAML node as JSON. A number that would lose its spelling (`0640`, `52:54:00:12:34:56`) stays text.
pub(super) fn value(node: &Node) -> Value {
    match &node.value {
        yaml::Value::Sequence(items) => items.iter().map(value).collect(),
        yaml::Value::Mapping(entries) => {
            let entry = |(k, v): &(Node, Node)| Some((k.scalar()?.text.clone(), value(v)));
            Value::Object(entries.iter().filter_map(entry).collect())
        }
        yaml::Value::Scalar(scalar) => match scalar.kind {
            Kind::Null => Value::Null,
            Kind::Bool(flag) => Value::Bool(flag),
            Kind::Int(number) if number.to_string() == scalar.text => Value::Number(Number::from(number)),
            _ => Value::String(scalar.text.clone()),
        },
    }
}

/// A value as text, by JSON pointer (RFC 6901): a string that is not blank, a number, or a boolean.
pub(super) fn text(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::String(text) => Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Whether a value is `true`.
pub(super) fn flag(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer) == Some(&Value::Bool(true))
}

/// The items of a list; none of anything else.
pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// An address.
pub(super) fn address(value: &Value, pointer: &str) -> Option<IpAddr> {
    text(value, pointer)?.parse().ok()
}

/// All addresses of a list.
pub(super) fn addresses(value: &Value, pointer: &str) -> Vec<IpAddr> {
    list(value, pointer).iter().filter_map(|item| item.as_str()?.trim().parse().ok()).collect()
}

/// An address with the mask that stands beside it: a length (`24`) or dotted (`255.255.255.0`).
pub(super) fn masked(value: &Value, address_at: &str, mask_at: &str) -> Option<Cidr> {
    Cidr::with_mask(address(value, address_at)?, &text(value, mask_at)?).ok()
}

/// An address with its mask behind a slash.
pub(super) fn cidr(value: &Value, pointer: &str) -> Option<Cidr> {
    text(value, pointer)?.parse().ok()
}

/// A hardware address.
pub(super) fn mac(value: &Value, pointer: &str) -> Option<Mac> {
    text(value, pointer)?.parse().ok()
}

/// OpenSSH keys in any of the forms in which clouds give them: lines of text, a list, a map of names to either.
pub(super) fn keys(value: Option<&Value>) -> Vec<String> {
    let lines = |text: &str| -> Vec<String> {
        text.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    };
    match value {
        Some(Value::String(text)) => lines(text),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).flat_map(lines).collect(),
        // One level only: a value below is a key, or a list of them.
        Some(Value::Object(map)) => {
            map.values().filter(|item| !item.is_object()).flat_map(|item| keys(Some(item))).collect()
        }
        _ => Vec::new(),
    }
}

/// Takes a blob out of a document, so that what stays holds no user-data; nothing when it is absent or blank.
pub(super) fn take(document: &mut Value, key: &str) -> Vec<u8> {
    match document.as_object_mut().and_then(|map: &mut Map<String, Value>| map.remove(key)) {
        Some(Value::String(text)) if !text.trim().is_empty() => text.into_bytes(),
        _ => Vec::new(),
    }
}

/// The configuration of those interfaces that have any. Without it a machine does DHCP on every interface.
pub(super) fn network(mut plan: NetworkPlan) -> Option<NetworkConfig> {
    let has_any = |nic: &Interface| {
        !nic.addresses.is_empty() || nic.dhcp4.is_some() || nic.dhcp6.is_some() || nic.accept_ra == Some(true)
    };
    plan.interfaces.retain(has_any);
    (!plan.interfaces.is_empty()).then(|| NetworkConfig::Plan(Box::new(plan)))
}

/// User-data that is base64 as a whole, undone; other user-data as it is.
pub(super) fn unbase64(blob: Vec<u8>) -> Vec<u8> {
    let compact: Vec<u8> = blob.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    BASE64_STANDARD.decode(compact).unwrap_or(blob)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_by_pointer() {
        let value = json!({"a": {"b": [1, " x ", true, "", null]}});
        let text = |at: usize| text(&value, &format!("/a/b/{at}"));
        assert_eq!(text(0).as_deref(), Some("1"));
        assert_eq!(text(1).as_deref(), Some("x"));
        assert_eq!(text(2).as_deref(), Some("true"));
        assert_eq!((text(3), text(4), text(5)), (None, None, None));
        assert!(flag(&value, "/a/b/2") && !flag(&value, "/a/b/0"));
        assert_eq!((list(&value, "/a/b").len(), list(&value, "/a").len()), (5, 0));
    }

    #[test]
    fn addresses_with_masks() {
        let value =
            json!({"a": "10.1.2.3", "m": "255.255.224.0", "n": 24, "c": "fd00::1/64", "l": ["1.1.1.1", "x", 7]});
        assert_eq!(masked(&value, "/a", "/m").unwrap().to_string(), "10.1.2.3/19");
        assert_eq!(masked(&value, "/a", "/n").unwrap().to_string(), "10.1.2.3/24");
        assert_eq!(cidr(&value, "/c").unwrap().to_string(), "fd00::1/64");
        assert_eq!((masked(&value, "/a", "/c"), masked(&value, "/a", "/x"), cidr(&value, "/m/x")), (None, None, None));
        assert_eq!(addresses(&value, "/l"), ["1.1.1.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn a_plan_of_nothing_is_none() {
        let bare = Interface::called("eth0");
        assert_eq!(network(NetworkPlan::of([bare.clone()])), None);
        let plan = NetworkPlan::of([bare.clone().dhcp4(None)]);
        assert_eq!(
            network(NetworkPlan::of([bare.clone(), bare.dhcp4(None)])),
            Some(NetworkConfig::Plan(Box::new(plan)))
        );
    }

    #[test]
    fn keys_in_all_forms() {
        for value in [
            json!("ssh-rsa A a\n\n# no key\nssh-rsa B b\n"),
            json!(["ssh-rsa A a", "ssh-rsa B b"]),
            json!({"a": "ssh-rsa A a", "b": ["ssh-rsa B b"], "c": {"d": "ssh-rsa C c"}}),
        ] {
            assert_eq!(keys(Some(&value)), ["ssh-rsa A a", "ssh-rsa B b"], "{value}");
        }
        assert!(keys(Some(&json!(7))).is_empty() && keys(None).is_empty());
    }

    #[test]
    fn yaml_keeps_the_spelling_of_addresses() {
        let value = yaml(b"{a: 52:54:00:12:34:56, n: 7, z: 007, t: yes, e: , l: [x]}", "it").unwrap();
        assert_eq!(value, json!({"a": "52:54:00:12:34:56", "n": 7, "z": "007", "t": true, "e": null, "l": ["x"]}));
    }

    #[test]
    fn errors_name_the_place_and_not_the_content() {
        let error = json(b"{\"password\": secret}", "v1.json").unwrap_err();
        assert!(error.contains("v1.json") && error.contains("line 1") && !error.contains("secret"), "{error}");
        assert!(yaml(b"a: 1\nb: [\n", "metadata").unwrap_err().starts_with("failed to read metadata:"));
        assert!(json(b"7", "it").is_err());
    }

    #[test]
    fn what_is_taken_is_gone() {
        let mut document = json!({"user_data": "#!", "hostname": "a"});
        assert_eq!(take(&mut document, "user_data"), b"#!");
        assert_eq!(document, json!({"hostname": "a"}));
        assert!(take(&mut document, "user_data").is_empty());
    }

    #[test]
    fn base64_is_undone_and_text_is_left() {
        assert_eq!(unbase64(b"I2Nsb3VkLWNv\nbmZpZwo=\n".to_vec()), b"#cloud-config\n");
        for plain in ["#cloud-config\n", "I2Nsb3VkLWNvbmZpZwo", ""] {
            assert_eq!(unbase64(plain.as_bytes().to_vec()), plain.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(input: String) {
            if let Ok(value) = yaml(input.as_bytes(), "it") {
                keys(Some(&value));
            }
            let _ = json(input.as_bytes(), "it");
        }
    }
}
