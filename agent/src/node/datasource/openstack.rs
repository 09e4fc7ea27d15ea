//! OpenStack: the same files by HTTP and on a configuration drive.
//!
//! `GET http://169.254.169.254/openstack` (or at the link-local address of IPv6) lists versions; below the newest known
//! one are `meta_data.json`, `user_data`, `vendor_data.json`, `vendor_data2.json` and `network_data.json`. No headers.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::{Datasource, Endpoint, Files, Look, Method, Outcome, document, fetch, first};
use crate::node::{
    netconfig::NetworkConfig,
    seed::{Metadata, Seed},
};

/// Versions of the format, the newest first.
const VERSIONS: [&str; 8] =
    ["2018-08-27", "2017-02-22", "2016-10-06", "2016-06-30", "2015-10-15", "2013-10-17", "2013-04-04", "2012-08-10"];
/// The files of a version. Only the first has to be there.
pub(super) const FILES: [&str; 5] =
    ["meta_data.json", "user_data", "vendor_data.json", "vendor_data2.json", "network_data.json"];

/// Which version to read, of those that are listed.
pub(super) fn version(listed: &[&str]) -> &'static str {
    VERSIONS.into_iter().find(|version| listed.contains(version)).unwrap_or("latest")
}

/// The service.
#[derive(Debug, Clone)]
pub struct OpenStack {
    endpoints: Vec<Endpoint>,
}

impl Default for OpenStack {
    fn default() -> Self {
        Self { endpoints: vec![Endpoint::USUAL, Endpoint::LINK_LOCAL] }
    }
}

impl Datasource for OpenStack {
    fn name(&self) -> &'static str {
        "openstack"
    }

    fn look(&self, look: &Look<'_>) -> Outcome {
        fetch::look(look, &self.endpoints, &|services| {
            let (service, list) = first(services, Method::Get, "/openstack", &[])?;
            let list = String::from_utf8_lossy(&list);
            let version = version(&list.lines().map(|line| line.trim().trim_end_matches('/')).collect::<Vec<_>>());
            let mut files = Files::new();
            for name in FILES {
                let path = format!("/openstack/{version}/{name}");
                let body = if name == FILES[0] { Some(service.get(&path, &[])?) } else { service.find(&path, &[])? };
                files.extend(body.map(|body| (name.to_owned(), body)));
            }
            let seed = seed(self.name(), files)?;
            Ok((service, seed))
        })
    }
}

/// Makes a seed of the files.
///
/// # Errors
/// When `meta_data.json` is missing or has no id, or a document is none.
pub fn seed(platform: &str, mut files: Files) -> Result<Seed, String> {
    let mut take = |name: &str| files.remove(name).filter(|bytes| !bytes.trim_ascii().is_empty());
    let mut document = document::json(&take("meta_data.json").ok_or("there is no meta_data.json")?, "meta_data.json")?;
    let text = |pointer: &str| document::text(&document, pointer);
    let zone = text("/availability_zone");
    let metadata = Metadata {
        instance_id: Some(text("/uuid").ok_or("meta_data.json has no uuid")?),
        local_hostname: text("/hostname").or_else(|| text("/name")),
        public_keys: document::keys(document.get("public_keys")),
        availability_zone: zone.filter(|zone| zone != "nova"),
        region: text("/region"),
        launch_index: text("/launch_index").and_then(|index| index.parse().ok()),
        // What is no base64 is no help.
        random_seed: text("/random_seed").and_then(|seed| BASE64_STANDARD.decode(seed).ok()).unwrap_or_default(),
        ..Metadata::default()
    };
    let mut vendor_data = Vec::new();
    for name in ["vendor_data.json", "vendor_data2.json"] {
        if let Some(bytes) = take(name) {
            vendor_data.extend(vendor(&bytes, name)?);
        }
    }
    let network = match take("network_data.json") {
        Some(bytes) => {
            document::json(&bytes, "network_data.json")?;
            Some(NetworkConfig::OpenStack(String::from_utf8_lossy(&bytes).into_owned()))
        }
        // Proxmox's drives have the text of `/etc/network/interfaces` instead.
        None => take("interfaces").map(|bytes| NetworkConfig::Text(String::from_utf8_lossy(&bytes).into_owned())),
    };
    for secret in ["random_seed", "admin_pass", "files"] {
        document.as_object_mut().and_then(|map| map.remove(secret));
    }
    Ok(Seed {
        platform: platform.to_owned(),
        source: String::new(),
        metadata: Metadata { document, ..metadata },
        user_data: take("user_data").unwrap_or_default(),
        vendor_data,
        network,
    })
}

/// Where on the drive the network's configuration is, when it is a file of its own.
pub(super) fn content_path(meta_data: &[u8]) -> Option<String> {
    let document: Value = serde_json::from_slice(meta_data).ok()?;
    document::text(&document, "/network_config/content_path")
}

/// How many files `meta_data.json` wants to be written.
pub(super) fn injected(meta_data: &[u8]) -> usize {
    serde_json::from_slice(meta_data).map_or(0, |document: Value| document::list(&document, "/files").len())
}

/// Vendor-data: text, a list of such, or a map of which `cloud-init` counts.
fn vendor(bytes: &[u8], name: &str) -> Result<Vec<Vec<u8>>, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| format!("failed to read {name}: {error}"))?;
    let value = match value {
        Value::Object(mut map) => map.remove("cloud-init").unwrap_or_default(),
        other => other,
    };
    Ok(match value {
        Value::String(text) => vec![text.into_bytes()],
        Value::Array(items) => {
            items.into_iter().filter_map(|item| Some(item.as_str()?.as_bytes().to_vec())).collect::<Vec<_>>()
        }
        _ => Vec::new(),
    }
    .into_iter()
    .filter(|part| !part.trim_ascii().is_empty())
    .collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::{
        datasource::{
            Platform, Timing,
            testbed::{golden, look},
        },
        testing::{
            Cloud,
            faults::{found, survives},
        },
    };

    const META: &str = include_str!("fixtures/openstack-meta_data.json");
    const NETWORK: &str = include_str!("fixtures/openstack-network_data.json");

    fn files() -> Files {
        let files = [
            ("meta_data.json", META),
            ("user_data", "#cloud-config\n# secret\n"),
            ("vendor_data.json", r##"{"cloud-init": ["#cloud-config\nntp: {}\n", ""], "other": "x"}"##),
            ("vendor_data2.json", r##"{"cloud-init": "#cloud-config\ntimezone: UTC\n"}"##),
            ("network_data.json", NETWORK),
        ];
        files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).into()
    }

    fn ask(endpoint: Endpoint, timing: Timing) -> Outcome {
        look(&OpenStack { endpoints: vec![endpoint] }, &Platform::default(), timing)
    }

    fn cloud() -> Cloud {
        let list = "2012-08-10\n2013-04-04\n2018-08-27/\n2030-01-01\nlatest";
        let cloud = Cloud::default().secret("secret").get("/openstack", list);
        let add = |cloud: Cloud, name: &str, body: &[u8]| cloud.get(&format!("/openstack/2018-08-27/{name}"), body);
        let files = files();
        let cloud = add(cloud, "meta_data.json", &files["meta_data.json"]);
        let rest = files.iter().filter(|(name, _)| *name != "meta_data.json");
        rest.fold(cloud, |cloud, (name, body)| add(cloud, name, body).absent_ok())
    }

    #[test]
    fn the_service_is_read() {
        insta::assert_snapshot!("openstack", golden(&found(&cloud(), ask)));
    }

    #[test]
    fn a_service_that_fails_is_survived() {
        survives(&cloud(), ask);
    }

    #[test]
    fn the_newest_known_version_is_read() {
        assert_eq!(version(&["2013-10-17", "2015-10-15", "2099-01-01"]), "2015-10-15");
        assert_eq!(version(&["1.0"]), "latest");
    }

    #[test]
    fn what_must_be_there_is_named() {
        let without = |name: &str| {
            let mut files = files();
            files.remove(name);
            seed("openstack", files)
        };
        assert_eq!(without("meta_data.json").unwrap_err(), "there is no meta_data.json");
        for name in ["user_data", "vendor_data.json", "vendor_data2.json", "network_data.json"] {
            without(name).unwrap();
        }
        let with = |name: &str, text: &str| {
            let mut files = files();
            files.insert(name.into(), text.into());
            seed("openstack", files)
        };
        assert_eq!(with("meta_data.json", "{}").unwrap_err(), "meta_data.json has no uuid");
        assert!(with("network_data.json", "{").unwrap_err().starts_with("failed to read network_data.json"));
        assert!(with("vendor_data.json", " ").unwrap().vendor_data.len() == 1);
        assert!(with("vendor_data.json", "7").unwrap().vendor_data.len() == 1);
    }

    #[test]
    fn the_interfaces_of_a_drive_are_used_without_network_data() {
        let mut files = files();
        files.remove("network_data.json");
        files.insert("interfaces".into(), b"auto eth0\n".to_vec());
        assert_eq!(seed("configdrive", files).unwrap().network, Some(NetworkConfig::Text("auto eth0\n".into())));
    }

    proptest! {
        #[test]
        fn any_documents_make_a_seed_or_an_error(meta: String, vendor: String, key in "[a-z_]{1,12}", value: String) {
            let meta_of = |text: &str| Files::from([("meta_data.json".to_owned(), text.as_bytes().to_vec())]);
            let _ = seed("openstack", meta_of(&meta));
            let mut files = meta_of(&serde_json::json!({"uuid": "u", key: value}).to_string());
            files.insert("vendor_data.json".into(), vendor.into());
            let _ = seed("openstack", files);
        }
    }
}
