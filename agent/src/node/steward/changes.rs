//! What is different about a newer seed, as far as a node acts on it.

use crate::node::seed::Seed;

/// The parts that differ, for people; none when a node would do the same with both. What clouds change at every look
/// (tokens, random bytes, documents about the machine) does not count. No value of user-data is shown.
pub(super) fn between(old: &Seed, new: &Seed) -> Vec<String> {
    let (a, b) = (&old.metadata, &new.metadata);
    let mut parts = Vec::new();
    for (what, old, new) in
        [("the instance id", &a.instance_id, &b.instance_id), ("the host name", &a.local_hostname, &b.local_hostname)]
    {
        if old != new {
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
            parts.push(format!("{what} ({} -> {})", text(old), text(new)));
        }
    }
    for (what, same) in [
        ("the user-data", old.user_data == new.user_data),
        ("the vendor-data", old.vendor_data == new.vendor_data),
        ("the network configuration", old.network == new.network),
        ("the public keys", a.public_keys == b.public_keys),
    ] {
        if !same {
            parts.push(what.to_owned());
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{netconfig::NetworkConfig, seed::Metadata};

    #[test]
    fn what_a_node_acts_on_is_named_and_shows_no_content() {
        let old = Seed {
            user_data: b"secret-1".to_vec(),
            metadata: Metadata { instance_id: Some("i-1".into()), ..Metadata::default() },
            ..Seed::default()
        };
        let new = Seed {
            user_data: b"secret-2".to_vec(),
            vendor_data: vec![b"x".to_vec()],
            network: Some(NetworkConfig::Text("version: 2".into())),
            metadata: Metadata {
                local_hostname: Some("b".into()),
                public_keys: vec!["ssh-ed25519 A".into()],
                ..Metadata::default()
            },
            ..Seed::default()
        };
        let parts = between(&old, &new).join(", ");
        assert_eq!(
            parts,
            "the instance id (i-1 -> none), the host name (none -> b), the user-data, the vendor-data, \
             the network configuration, the public keys"
        );
    }

    #[test]
    fn what_changes_by_itself_is_no_change() {
        let old = Seed::default();
        let metadata = Metadata { random_seed: vec![1], document: serde_json::json!({"t": 1}), ..Metadata::default() };
        let new = Seed { source: "elsewhere".into(), metadata, ..Seed::default() };
        assert!(between(&old, &new).is_empty());
    }
}
