//! What a datasource hands over: everything that a plan is made of.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::netconfig::NetworkConfig;

/// What a datasource knows beside the user-data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Who this machine is to its cloud.
    pub instance_id: Option<String>,
    /// The name the cloud gave it.
    pub local_hostname: Option<String>,
    /// OpenSSH public keys, a line each.
    pub public_keys: Vec<String>,
    /// Where it runs.
    pub availability_zone: Option<String>,
    /// The larger place where it runs.
    pub region: Option<String>,
    /// Which of the machines launched together it is (`launch-index`).
    pub launch_index: Option<u32>,
    /// Its address inside the cloud.
    pub private_ipv4: Option<String>,
    /// Its address outside.
    pub public_ipv4: Option<String>,
    /// Bytes for the kernel's random number generator.
    #[serde(with = "base64_bytes")]
    pub random_seed: Vec<u8>,
    /// Everything as the datasource gave it: `ds.meta_data` of templates.
    pub document: serde_json::Value,
}

/// What was found.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seed {
    /// The datasource's name as `cloud-id` has it: `nocloud`, `aws`, `gce`.
    pub platform: String,
    /// Where, for people: `nocloud (/dev/vdb)`.
    pub source: String,
    /// Who this machine is.
    pub metadata: Metadata,
    /// The user-data, as it came. May hold secrets.
    #[serde(with = "base64_bytes")]
    pub user_data: Vec<u8>,
    /// Vendor-data, as it came; the later one wins.
    #[serde(with = "base64_list")]
    pub vendor_data: Vec<Vec<u8>>,
    /// The network configuration.
    pub network: Option<NetworkConfig>,
}

/// Shows nothing that may hold secrets.
impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seed")
            .field("source", &self.source)
            .field("instance_id", &self.metadata.instance_id)
            .finish_non_exhaustive()
    }
}

/// Bytes as base64 text.
mod base64_bytes {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use serde::de::Error as _;

    use super::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        BASE64_STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A list of such.
mod base64_list {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use serde::de::Error as _;

    use super::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(list: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(|bytes| BASE64_STANDARD.encode(bytes)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<u8>>, D::Error> {
        let list = Vec::<String>::deserialize(deserializer)?;
        list.into_iter().map(|text| BASE64_STANDARD.decode(text).map_err(D::Error::custom)).collect()
    }
}
