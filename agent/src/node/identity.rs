//! What a node remembers on its state partition: who it is, and the seed that it was configured from last.
//!
//! The rules (cloud-init keeps none of them and loses machines by it): when the metadata cannot be had at a later boot,
//! the last good seed is used and the node says that it is stale. Nothing is ever formatted or forgotten because an
//! id changed. At a first boot without metadata there is nothing to use, so the node waits.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::{
    files::{FileError, write_atomically},
    seed::Seed,
};
use crate::paths::STATE_DIR;

const IDENTITY: &str = "identity.json";
const LAST_GOOD: &str = "last-good.json";

/// Who the node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// What the cloud calls it.
    pub instance_id: Option<String>,
    /// What the machine calls itself: SMBIOS UUID or serial number, else the first hardware address.
    pub machine_key: Option<String>,
    /// Where the metadata came from.
    pub source: String,
}

/// Reads who the node was; `None` at the first boot.
#[must_use]
pub fn identity(root: &Path) -> Option<Identity> {
    serde_json::from_slice(&fs::read(path(root, IDENTITY)).ok()?).ok()
}

/// The seed that the node was configured from last.
#[must_use]
pub fn last_good(root: &Path) -> Option<Seed> {
    serde_json::from_slice(&fs::read(path(root, LAST_GOOD)).ok()?).ok()
}

/// Remembers both. The seed's file is closed to everyone but root: user-data may hold secrets.
///
/// # Errors
/// When a file cannot be written.
pub fn remember(root: &Path, identity: &Identity, seed: &Seed) -> Result<(), FileError> {
    let dir = path(root, "");
    fs::create_dir_all(&dir).map_err(FileError::io("create the directory", &dir))?;
    for (name, json) in [(LAST_GOOD, serde_json::to_vec(seed)), (IDENTITY, serde_json::to_vec_pretty(identity))] {
        // Strings and booleans always become JSON.
        write_atomically(&path(root, name), &json.unwrap_or_default(), 0o600)?;
    }
    Ok(())
}

fn path(root: &Path, name: &str) -> std::path::PathBuf {
    root.join(STATE_DIR.trim_start_matches('/')).join(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::node::{netconfig::NetworkConfig, seed::Metadata};

    #[test]
    fn what_is_remembered_comes_back_and_is_closed() {
        let root = tempfile::tempdir().unwrap();
        assert!(identity(root.path()).is_none() && last_good(root.path()).is_none());
        let seed = Seed {
            platform: "nocloud".into(),
            source: "nocloud (/dev/vdb)".into(),
            metadata: Metadata { instance_id: Some("i-1".into()), random_seed: vec![0xfe], ..Metadata::default() },
            user_data: vec![0xff, 0, 1],
            vendor_data: vec![vec![0], vec![]],
            network: Some(NetworkConfig::Text("version: 2".into())),
        };
        let who =
            Identity { instance_id: Some("i-1".into()), machine_key: Some("uuid".into()), source: seed.source.clone() };
        remember(root.path(), &who, &seed).unwrap();
        assert_eq!(identity(root.path()), Some(who));
        assert_eq!(last_good(root.path()), Some(seed));
        let mode = fs::metadata(path(root.path(), LAST_GOOD)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_broken_file_is_as_none() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(path(root.path(), "")).unwrap();
        fs::write(path(root.path(), LAST_GOOD), "{").unwrap();
        assert!(last_good(root.path()).is_none());
    }
}
