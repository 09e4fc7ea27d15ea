//! The secret of a client's node, with which Nomad's servers know it: the one proof of its registration that a Nomad with
//! ACLs gives without a token of an operator.

use std::{fs, path::Path};

use super::api::Secret;

/// The id and the secret of the node whose client's directory this is; `None` before Nomad's client made them.
#[must_use]
pub fn of_node(client: &Path) -> Option<(String, Secret)> {
    let read = |name: &str| {
        let text = fs::read_to_string(client.join(name)).ok()?;
        let text = text.trim();
        // A UUID, so that it is neither empty nor more than a word of a header and a path.
        let uuid = text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        uuid.then(|| text.to_owned())
    };
    Some((read("client-id")?, Secret::new(read("secret-id")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_or_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("client")).unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join("client").join(name), text).unwrap();
        write("client-id", "573ebc1a-265e-b0c5-b68c-3b3dc6c6a388");
        assert_eq!(of_node(&dir.path().join("client")), None);
        write("secret-id", "e2797e11-1f55-bf5b-109d-e444a02b041c\n");
        let (id, secret) = of_node(&dir.path().join("client")).unwrap();
        assert_eq!(
            (id.as_str(), secret.reveal()),
            ("573ebc1a-265e-b0c5-b68c-3b3dc6c6a388", "e2797e11-1f55-bf5b-109d-e444a02b041c")
        );
        write("client-id", "../../v1/x\r\nX: y                     ");
        assert_eq!(of_node(&dir.path().join("client")), None);
    }
}
