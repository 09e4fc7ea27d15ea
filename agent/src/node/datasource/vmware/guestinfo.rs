//! The keys of guestinfo and what is in them (cloud-init's `DataSourceVMware`): `guestinfo.metadata`, `userdata` and
//! `vendordata`, each with its `.encoding`.

use serde_json::Value;

use super::rpc::{Channel, RpcError};
use crate::node::{
    datasource::document,
    netconfig::NetworkConfig,
    seed::{Metadata, Seed},
    userdata::{base64, gunzip},
};

/// A value that was overwritten, because it cannot be removed; YAML reads nothing from it.
pub(super) const UNSET: &str = "---";

/// What gzip may unpack to, in bytes.
const MAX_UNPACKED: usize = 4 << 20;

/// What VMware says of a key that is not there.
const NO_VALUE: &str = "No value found";

/// The values, decoded.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) metadata: Option<Vec<u8>>,
    pub(super) userdata: Option<Vec<u8>>,
    pub(super) vendordata: Option<Vec<u8>>,
}

impl Answers {
    /// Asks for all of them.
    pub(super) fn read(channel: &mut dyn Channel) -> Result<Self, String> {
        Ok(Self {
            metadata: decoded(channel, "metadata")?,
            userdata: decoded(channel, "userdata")?,
            vendordata: decoded(channel, "vendordata")?,
        })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.metadata.is_none() && self.userdata.is_none() && self.vendordata.is_none()
    }
}

/// A value that is set, white space behind it cut off.
pub(super) fn value(channel: &mut dyn Channel, key: &str) -> Result<Option<Vec<u8>>, String> {
    match channel.ask(&format!("info-get guestinfo.{key}")) {
        Ok(value) => Ok(Some(value.trim_ascii_end().to_vec()).filter(|v| !v.is_empty() && v != UNSET.as_bytes())),
        Err(RpcError::Refused(why)) if why.starts_with(NO_VALUE) => Ok(None),
        Err(error) => Err(format!("failed to read guestinfo.{key}: {error}")),
    }
}

fn decoded(channel: &mut dyn Channel, key: &str) -> Result<Option<Vec<u8>>, String> {
    let Some(bytes) = value(channel, key)? else { return Ok(None) };
    let encoding = value(channel, &format!("{key}.encoding"))?.unwrap_or_default();
    decode(bytes, &String::from_utf8_lossy(&encoding), &format!("guestinfo.{key}")).map(Some)
}

/// Undoes an encoding. The errors name `what` and show nothing of it.
fn decode(bytes: Vec<u8>, encoding: &str, what: &str) -> Result<Vec<u8>, String> {
    let failed = |why: String| format!("failed to decode {what}: {why}");
    let text = || std::str::from_utf8(&bytes).map_err(|_| failed("not base64: not text".into()));
    match encoding.trim() {
        "" => Ok(bytes),
        "base64" | "b64" => base64(text()?).map_err(failed),
        "gzip+base64" | "gz+b64" => base64(text()?).and_then(|packed| gunzip(&packed, MAX_UNPACKED)).map_err(failed),
        other => {
            let other: String = other.chars().take(40).collect();
            Err(format!("{what}.encoding is {other:?}: must be base64, b64, gzip+base64, gz+b64 or nothing"))
        }
    }
}

/// Which keys the metadata wants overwritten after they were read, without `guestinfo.`.
pub(super) fn to_redact(metadata: &[u8]) -> Vec<String> {
    let document = document::yaml(metadata, "guestinfo.metadata").unwrap_or(Value::Null);
    let keys = match document.get("redact").or_else(|| document.get("cleanup-guestinfo")) {
        Some(Value::String(key)) => vec![key.clone()],
        Some(Value::Array(keys)) => keys.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    keys.into_iter().filter(|key| matches!(key.as_str(), "metadata" | "userdata" | "vendordata")).collect()
}

/// Makes a seed of the decoded values. `uuid` is the machine's, which it is called by when nothing else is said.
///
/// # Errors
/// When the metadata is not YAML, or its network cannot be decoded.
pub fn seed(
    metadata: Option<&[u8]>,
    userdata: Option<Vec<u8>>,
    vendordata: Option<Vec<u8>>,
    uuid: Option<&str>,
) -> Result<Seed, String> {
    let mut document = document::yaml(metadata.unwrap_or_default(), "guestinfo.metadata")?;
    let network = match (document.get("network"), document::text(&document, "/network.encoding")) {
        (Some(Value::String(text)), encoding) => {
            let bytes =
                decode(text.clone().into_bytes(), &encoding.unwrap_or_default(), "network of guestinfo.metadata")?;
            let text = String::from_utf8(bytes).map_err(|_| "network of guestinfo.metadata is not UTF-8 text")?;
            Some(NetworkConfig::Text(text)).filter(|_| !matches!(document.get("network"), Some(Value::Null)))
        }
        (Some(map @ Value::Object(_)), _) => Some(NetworkConfig::Text(map.to_string())),
        _ => None,
    };
    if let Some(map) = document.as_object_mut() {
        map.remove("network");
        map.remove("network.encoding");
    }
    let text = |pointer: &str| document::text(&document, pointer);
    let keys = ["public-keys-data", "public_keys_data", "public-keys", "public_keys"];
    let metadata = Metadata {
        instance_id: text("/instance-id").or_else(|| uuid.map(str::to_ascii_lowercase)),
        local_hostname: text("/local-hostname").or_else(|| text("/hostname")),
        public_keys: document::keys(keys.iter().find_map(|key| document.get(*key))),
        ..Metadata::default()
    };
    Ok(Seed {
        platform: "vmware".into(),
        source: "vmware (guestinfo)".into(),
        metadata: Metadata { document, ..metadata },
        user_data: userdata.unwrap_or_default(),
        vendor_data: vendordata.into_iter().collect(),
        network,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_network_in_all_its_forms() {
        let of = |metadata: &str| seed(Some(metadata.as_bytes()), None, None, None).unwrap().network;
        let text = |text: &str| Some(NetworkConfig::Text(text.into()));
        assert_eq!(of("network: {version: 2}"), text("{\"version\":2}"));
        assert_eq!(of("network: dmVyc2lvbjogMgo=\nnetwork.encoding: base64"), text("version: 2\n"));
        assert_eq!(of("network: 'version: 2'"), text("version: 2"));
        assert_eq!(of("network:"), None);
        assert_eq!(of(""), None);
    }

    #[test]
    fn only_known_keys_are_redacted() {
        assert_eq!(to_redact(b"redact: [userdata, x y, metadata]"), ["userdata", "metadata"]);
        assert_eq!(to_redact(b"cleanup-guestinfo: userdata"), ["userdata"]);
        assert!(to_redact(b"a: [").is_empty() && to_redact(b"").is_empty());
    }

    proptest! {
        #[test]
        fn any_values_are_read(metadata: Vec<u8>, encoding: String, text: String) {
            let _ = seed(Some(&metadata), None, None, None);
            let _ = seed(Some(text.as_bytes()), None, None, None);
            let _ = decode(metadata, &encoding, "it");
            to_redact(text.as_bytes());
        }
    }
}
