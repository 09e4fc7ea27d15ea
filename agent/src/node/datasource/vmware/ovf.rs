//! The environment of an OVF package (DMTF DSP0243, DSP8027): the properties that somebody filled in when a virtual machine
//! was made of a template, in `guestinfo.ovfEnv` or as `ovf-env.xml` on a CD. The keys are those of cloud-init's
//! `DataSourceOVF`.

use roxmltree::{Document, Node, ParsingOptions};
use serde_json::{Map, Value};

use crate::node::{
    datasource::document,
    netconfig::NetworkConfig,
    seed::{Metadata, Seed},
};

/// More elements than this no such file has.
const MOST: u32 = 10_000;
/// Properties that stay out of the document: they may hold secrets, or have a place of their own.
const APART: [&str; 3] = ["user-data", "network-config", "password"];

/// Makes a seed of an environment; nothing when it has no property that says something. `uuid` is the machine's, which it is
/// called by when no `instance-id` is given.
///
/// # Errors
/// When it is no such XML, or asks for a seed elsewhere. Messages show nothing of its content.
pub fn environment(bytes: &[u8], uuid: Option<&str>) -> Result<Option<Seed>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the OVF environment is not UTF-8 text")?;
    let options = ParsingOptions { nodes_limit: MOST, ..ParsingOptions::default() };
    let parsed = Document::parse_with_options(text.trim_start_matches('\u{feff}').trim(), options)
        .map_err(|error| format!("the OVF environment is not XML at {}:{}", error.pos().row, error.pos().col))?;
    let named = |node: &Node<'_, '_>, name: &str| node.tag_name().name() == name;
    let sections = parsed.root_element().children().filter(|node| named(node, "PropertySection"));
    let mut properties = Map::new();
    for property in sections.flat_map(|section| section.children()).filter(|node| named(node, "Property")) {
        // In the name space of the environment, whatever its prefix.
        let attribute = |name: &str| property.attributes().find(|a| a.name() == name).map(|a| a.value().trim());
        if let (Some(key), Some(value)) = (attribute("key"), attribute("value").filter(|value| !value.is_empty())) {
            properties.insert(key.to_owned(), value.into());
        }
    }
    let text = |key: &str| properties.get(key).and_then(Value::as_str).map(str::to_owned);
    if text("seedfrom").is_some() {
        return Err("the OVF property seedfrom is not followed: put the user-data into the property user-data".into());
    }
    // Most tools encode what has several lines; some do not.
    let decoded = |value: String| document::unbase64(value.into_bytes());
    let user_data = text("user-data").map(decoded);
    let network = text("network-config").map(decoded);
    let (id, hostname) = (text("instance-id"), text("hostname").or_else(|| text("local-hostname")));
    let public_keys = document::keys(properties.get("public-keys"));
    if user_data.is_none() && network.is_none() && id.is_none() && hostname.is_none() && public_keys.is_empty() {
        return Ok(None);
    }
    let network =
        network.map(String::from_utf8).transpose().map_err(|_| "the OVF property network-config is not text")?;
    properties.retain(|key, _| !APART.contains(&key.as_str()));
    Ok(Some(Seed {
        platform: "vmware".into(),
        source: "vmware (OVF environment)".into(),
        metadata: Metadata {
            instance_id: id.or_else(|| uuid.map(str::to_ascii_lowercase)),
            local_hostname: hostname,
            public_keys,
            document: Value::Object(properties),
            ..Metadata::default()
        },
        user_data: user_data.unwrap_or_default(),
        vendor_data: Vec::new(),
        network: network.map(NetworkConfig::Text),
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with(properties: &[(&str, &str)]) -> String {
        let line = |(key, value): &(&str, &str)| format!("    <Property oe:key=\"{key}\" oe:value=\"{value}\"/>\n");
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Environment xmlns=\"http://schemas.dmtf.org/ovf/environment/1\" \
             xmlns:oe=\"http://schemas.dmtf.org/ovf/environment/1\" oe:id=\"\" vcenterId=\"vm-1\">\n  <PlatformSection>\n    \
             <Kind>VMware ESXi</Kind>\n  </PlatformSection>\n  <PropertySection>\n{}  </PropertySection>\n</Environment>\n",
            properties.iter().map(line).collect::<String>()
        )
    }

    fn seed(properties: &[(&str, &str)]) -> Result<Option<Seed>, String> {
        environment(with(properties).as_bytes(), Some("420F0A0B"))
    }

    #[test]
    fn properties_are_a_seed() {
        let found = seed(&[
            ("hostname", "web-1"),
            ("instance-id", ""),
            ("seedfrom", ""),
            ("public-keys", "ssh-ed25519 AAAA ops"),
            ("password", "s3cret"),
            ("user-data", "I2Nsb3VkLWNvbmZpZwojIHNlY3JldAo="),
            ("network-config", "dmVyc2lvbjogMgo="),
            ("rack", "r&amp;7"),
        ]);
        let found = found.unwrap().unwrap();
        assert_eq!(found.user_data, b"#cloud-config\n# secret\n");
        assert_eq!(found.network, Some(NetworkConfig::Text("version: 2\n".into())));
        assert_eq!(found.metadata.instance_id.as_deref(), Some("420f0a0b"));
        assert_eq!(found.metadata.local_hostname.as_deref(), Some("web-1"));
        assert_eq!(found.metadata.public_keys, ["ssh-ed25519 AAAA ops"]);
        assert_eq!(found.metadata.document["rack"], "r&7");
        assert!(!found.metadata.document.to_string().contains("s3cret"));
    }

    #[test]
    fn text_that_is_not_encoded_is_taken_as_it_is() {
        let found = seed(&[("user-data", "#cloud-config&#10;hostname: a"), ("instance-id", "i-7")]).unwrap().unwrap();
        assert_eq!(found.user_data, b"#cloud-config\nhostname: a");
        assert_eq!(found.metadata.instance_id.as_deref(), Some("i-7"));
    }

    #[test]
    fn nothing_that_says_something_is_no_seed() {
        assert_eq!(seed(&[]), Ok(None));
        assert_eq!(seed(&[("user-data", " "), ("rack", "7")]), Ok(None));
        assert!(seed(&[("seedfrom", "http://h/?token=s3cret")]).is_err_and(|why| !why.contains("s3cret")));
        for (bytes, want) in [(&b"<a"[..], "not XML at 1:"), (b"", "not XML"), (b"\xff", "not UTF-8")] {
            assert!(environment(bytes, None).unwrap_err().contains(want));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>, value in "[^<&\"]{0,20}", key in "(user-data|hostname|network-config|[a-z]{0,4})") {
            let _ = environment(&bytes, None);
            let _ = environment(with(&[(&key, &value)]).as_bytes(), None);
        }
    }
}
