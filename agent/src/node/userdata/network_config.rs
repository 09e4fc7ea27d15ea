//! `network-config`: this version does DHCP on every interface, and says whether that is what the file asks for.

use super::{
    finding::{Finding, Position, Verdict},
    yaml::{self, Node, Value},
};

/// Keys (of both versions of the format) that ask for nothing but what happens anyway.
const HARMLESS: [&str; 24] = [
    "accept-ra",
    "config",
    "critical",
    "dhcp-identifier",
    "dhcp4",
    "dhcp6",
    "driver",
    "ethernets",
    "id",
    "mac_address",
    "macaddress",
    "match",
    "name",
    "network",
    "optional",
    "renderer",
    "search",
    "set-name",
    "subnets",
    "type",
    "version",
    "wakeonlan",
    "control",
    "ipv6",
];
/// Values of `type` that do the same.
const TYPES: [&str; 9] = [
    "physical",
    "dhcp",
    "dhcp4",
    "dhcp6",
    "ipv6_slaac",
    "ipv6_dhcpv6-stateless",
    "ipv6_dhcpv6-stateful",
    "loopback",
    "manual",
];

/// One finding about the file.
pub fn judge(text: &str) -> Finding {
    let about = |verdict, at, key: &str, message: String| {
        let mut finding = Finding::new(verdict, at, key, message);
        finding.file = Some("network-config".into());
        finding
    };
    let root = match yaml::load(text) {
        Ok(document) => document.root,
        Err(error) => return about(Verdict::Refused, error.at, "", error.message),
    };
    match root.as_ref().and_then(|root| functional(root, false)) {
        Some((at, key)) => {
            let message = "this version of Steppe configures interfaces by DHCP only";
            about(Verdict::Refused, at, &key, message.into())
        }
        None => about(Verdict::Ignored, Position::START, "", "DHCP on every interface is what happens anyway".into()),
    }
}

/// The first thing that DHCP on every interface would not do. `named`: the keys of this map are names of interfaces.
fn functional(node: &Node, named: bool) -> Option<(Position, String)> {
    match &node.value {
        Value::Scalar(_) => None,
        Value::Sequence(items) => items.iter().find_map(|item| functional(item, false)),
        Value::Mapping(entries) => {
            let kind = node.get("type").and_then(Node::text);
            if kind == Some("nameserver") {
                return None;
            }
            entries.iter().find_map(|(key, value)| {
                let name = key.text().unwrap_or("");
                if !named && !HARMLESS.contains(&name) {
                    return Some((key.at, name.to_owned()));
                }
                if name == "type" && !value.text().is_some_and(|text| TYPES.contains(&text)) {
                    return Some((value.at, format!("type: {}", value.text().unwrap_or("?"))));
                }
                functional(value, name == "ethernets")
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dhcp_is_fine_and_static_is_refused_with_its_place() {
        let proxmox = "version: 1\nconfig:\n- type: physical\n  name: eth0\n  mac_address: 'aa:bb'\n  subnets:\n  - type: \
                       dhcp4\n- type: nameserver\n  address: [1.1.1.1]\n";
        assert_eq!(judge(proxmox).verdict, Verdict::Ignored);
        assert_eq!(judge("network: {version: 2, ethernets: {eth0: {dhcp4: true}}}").verdict, Verdict::Ignored);
        let found = judge("version: 2\nethernets:\n  eth0:\n    addresses: [10.0.0.2/24]\n");
        assert_eq!(
            found.to_string(),
            "refused: network-config:4:5: addresses: this version of Steppe configures interfaces by DHCP only"
        );
        assert_eq!(judge("version: 1\nconfig: [{type: bond, name: b}]").verdict, Verdict::Refused);
    }

    proptest! {
        #[test]
        fn any_text_is_judged(text: String) {
            let _ = judge(&text);
        }
    }
}
