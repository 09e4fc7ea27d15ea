//! What a node remembers on its state partition: who it is, and the seed that it was configured from last.
//!
//! The rules (cloud-init keeps none of them and loses machines by it): when the metadata cannot be had at a later boot,
//! the last good seed is used, on the machine that it was remembered on, and the node says that it is stale. Nothing is
//! ever formatted or forgotten because an id changed. At a first boot without metadata there is nothing to use, so the
//! node waits. A disk that was copied to another machine is a [`Standing::Clone`].

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::{
    datasource::Dmi,
    files::{FileError, write_atomically},
    seed::Seed,
};
use crate::paths::STATE_DIR;

const IDENTITY: &str = "identity.json";
const LAST_GOOD: &str = "last-good.json";

/// UUIDs that vendors forget to set.
const NO_UUID: [&str; 2] = ["03000200-0400-0500-0006-000700080009", "12345678-1234-5678-90ab-cddeefaabbcc"];
/// Serial numbers that say nothing, in lower case.
const NO_SERIAL: [&str; 9] = [
    "not specified",
    "none",
    "unknown",
    "default string",
    "to be filled by o.e.m.",
    "system serial number",
    "not applicable",
    "n/a",
    "invalid",
];

/// Who the node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// What the cloud calls it.
    pub instance_id: Option<String>,
    /// What the machine calls itself: [`machine_key`].
    pub machine_key: Option<String>,
    /// Where the metadata came from.
    pub source: String,
}

/// How a machine stands to the one that wrote the state partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nobody was here before.
    First,
    /// It is the same, as far as anybody can tell.
    Same,
    /// The same machine with another instance id: its configuration was edited, or its cloud gives ids per boot.
    Reconfigured,
    /// The same instance id on other hardware: the disk was moved, and its cloud calls that the same machine.
    Moved,
    /// Neither the instance id nor the hardware is the same: the disk is a copy.
    Clone,
}

impl Identity {
    /// How this machine stands to the one `before`.
    ///
    /// An id alone is no proof of another machine (Proxmox makes a new one of every edit), nor is the hardware (a
    /// restored backup). Without any id the hardware has to do. What is not known, or known by another kind of key, is
    /// not held to be different.
    #[must_use]
    pub fn standing(&self, before: Option<&Self>) -> Standing {
        let Some(before) = before else { return Standing::First };
        let same_id = self.instance_id == before.instance_id;
        let no_id = self.instance_id.is_none() && before.instance_id.is_none();
        let same_machine = !differ(self.machine_key.as_deref(), before.machine_key.as_deref());
        match (same_id, same_machine) {
            (true, true) => Standing::Same,
            (false, true) => Standing::Reconfigured,
            (true, false) if !no_id => Standing::Moved,
            (_, false) => Standing::Clone,
        }
    }
}

/// Whether two machine keys are certain to be those of two machines.
fn differ(a: Option<&str>, b: Option<&str>) -> bool {
    let kind = |key: &str| key.split_once(':').map(|(kind, _)| kind.to_owned());
    a.zip(b).is_some_and(|(a, b)| a != b && kind(a) == kind(b))
}

/// Something that stays the same as long as the machine does, with its kind: the UUID of the firmware, else the serial
/// number, else the first hardware address. A value that its vendor never set is as none.
#[must_use]
pub fn machine_key(dmi: &Dmi, mac: Option<[u8; 6]>) -> Option<String> {
    let uuid = dmi.get("system-uuid").map(str::to_ascii_lowercase).filter(|uuid| is_uuid(uuid));
    let serial = dmi.get("system-serial-number").filter(|serial| is_serial(serial));
    let mac = || mac.map(|mac| format!("mac:{}", mac.map(|byte| format!("{byte:02x}")).join(":")));
    uuid.map(|uuid| format!("uuid:{uuid}")).or_else(|| serial.map(|serial| format!("serial:{serial}"))).or_else(mac)
}

fn is_uuid(uuid: &str) -> bool {
    let digits = || uuid.bytes().filter(|byte| *byte != b'-');
    digits().count() == 32 && digits().any(|byte| Some(byte) != digits().next()) && !NO_UUID.contains(&uuid)
}

fn is_serial(serial: &str) -> bool {
    let lower = serial.to_ascii_lowercase();
    // A line of settings is the same on all machines that it is given to.
    !lower.contains("ds=") && !NO_SERIAL.contains(&lower.as_str()) && lower.bytes().any(|b| b != b'0' && b != b'-')
}

/// Reads who the node was; `None` at the first boot.
#[must_use]
pub fn identity(root: &Path) -> Option<Identity> {
    serde_json::from_slice(&fs::read(path(root, IDENTITY)).ok()?).ok()
}

/// Why there is no last good seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSeed {
    /// Nothing is remembered.
    Nothing,
    /// What is remembered is another machine's: this disk is a copy.
    OtherMachine,
}

/// The seed that the node was configured from last, when it was this machine.
///
/// # Errors
/// When there is none that this machine may use.
pub fn last_good(root: &Path, machine_key: Option<&str>) -> Result<Seed, NoSeed> {
    let read = || serde_json::from_slice(&fs::read(path(root, LAST_GOOD)).ok()?).ok();
    let (seed, before) = read().zip(identity(root)).ok_or(NoSeed::Nothing)?;
    if differ(machine_key, before.machine_key.as_deref()) { Err(NoSeed::OtherMachine) } else { Ok(seed) }
}

/// Remembers who the node is, and the seed. The seed's file is closed to everyone but root: user-data may hold secrets.
///
/// # Errors
/// When a file cannot be written.
pub fn remember(root: &Path, identity: &Identity, seed: &Seed) -> Result<(), FileError> {
    remember_seed(root, seed)?;
    write(root, IDENTITY, serde_json::to_vec_pretty(identity))
}

/// Remembers a newer seed of the same machine.
///
/// # Errors
/// When the file cannot be written.
pub fn remember_seed(root: &Path, seed: &Seed) -> Result<(), FileError> {
    let dir = path(root, "");
    fs::create_dir_all(&dir).map_err(FileError::io("create the directory", &dir))?;
    write(root, LAST_GOOD, serde_json::to_vec(seed))
}

fn write(root: &Path, name: &str, json: serde_json::Result<Vec<u8>>) -> Result<(), FileError> {
    // Strings and booleans always become JSON.
    write_atomically(&path(root, name), &json.unwrap_or_default(), 0o600)
}

fn path(root: &Path, name: &str) -> std::path::PathBuf {
    root.join(STATE_DIR.trim_start_matches('/')).join(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::node::{netconfig::NetworkConfig, seed::Metadata};

    fn who(id: Option<&str>, key: Option<&str>) -> Identity {
        Identity {
            instance_id: id.map(str::to_owned),
            machine_key: key.map(str::to_owned),
            source: "nocloud (/dev/vdb)".into(),
        }
    }

    #[test]
    fn what_is_remembered_comes_back_and_is_closed() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!((identity(root.path()), last_good(root.path(), None)), (None, Err(NoSeed::Nothing)));
        let seed = Seed {
            platform: "nocloud".into(),
            source: "nocloud (/dev/vdb)".into(),
            metadata: Metadata { instance_id: Some("i-1".into()), random_seed: vec![0xfe], ..Metadata::default() },
            user_data: vec![0xff, 0, 1],
            vendor_data: vec![vec![0], vec![]],
            network: Some(NetworkConfig::Text("version: 2".into())),
        };
        let who = who(Some("i-1"), Some("uuid:a"));
        remember(root.path(), &who, &seed).unwrap();
        assert_eq!(identity(root.path()), Some(who));
        assert_eq!(last_good(root.path(), Some("uuid:a")), Ok(seed.clone()));
        assert_eq!(last_good(root.path(), None), Ok(seed), "a key that cannot be read is no other machine");
        assert_eq!(last_good(root.path(), Some("uuid:b")), Err(NoSeed::OtherMachine));
        let mode = fs::metadata(path(root.path(), LAST_GOOD)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_broken_file_is_as_none() {
        let root = tempfile::tempdir().unwrap();
        remember(root.path(), &who(None, None), &Seed::default()).unwrap();
        fs::write(path(root.path(), LAST_GOOD), "{").unwrap();
        assert_eq!(last_good(root.path(), None), Err(NoSeed::Nothing));
    }

    #[test]
    fn only_what_is_known_twice_can_differ() {
        let before = who(Some("i-1"), Some("uuid:a"));
        let standing = |id, key| who(id, key).standing(Some(&before));
        assert_eq!(before.standing(None), Standing::First);
        assert_eq!(standing(Some("i-1"), Some("uuid:a")), Standing::Same);
        assert_eq!(standing(Some("i-2"), Some("uuid:a")), Standing::Reconfigured);
        assert_eq!(standing(Some("i-1"), Some("uuid:b")), Standing::Moved);
        assert_eq!(standing(Some("i-2"), Some("uuid:b")), Standing::Clone);
        assert_eq!(standing(None, Some("uuid:b")), Standing::Clone);
        assert_eq!(standing(Some("i-2"), None), Standing::Reconfigured);
        assert_eq!(standing(Some("i-2"), Some("mac:00")), Standing::Reconfigured, "keys of two kinds do not compare");
        let nameless = who(None, Some("uuid:a"));
        assert_eq!(who(None, Some("uuid:b")).standing(Some(&nameless)), Standing::Clone);
        assert_eq!(who(None, Some("uuid:a")).standing(Some(&nameless)), Standing::Same);
    }

    #[test]
    fn values_that_nobody_set_are_no_keys() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("sys/class/dmi/id");
        fs::create_dir_all(&dir).unwrap();
        let key = |uuid: &str, serial: &str, mac| {
            fs::write(dir.join("product_uuid"), uuid).unwrap();
            fs::write(dir.join("product_serial"), serial).unwrap();
            machine_key(&Dmi::read(root.path()), mac)
        };
        let mac = Some([0x52, 0x54, 0, 1, 2, 0xff]);
        let uuid = "EC2A1B2C-0000-0000-0000-000000000001";
        assert_eq!(key(uuid, "x", mac), Some(format!("uuid:{}", uuid.to_ascii_lowercase())));
        assert_eq!(key("00000000-0000-0000-0000-000000000000", "VM-77", mac).as_deref(), Some("serial:VM-77"));
        assert_eq!(key("Not Settable", "ds=nocloud;s=http://x/", mac).as_deref(), Some("mac:52:54:00:01:02:ff"));
        assert_eq!(key(NO_UUID[0], "To Be Filled By O.E.M.", None), None);
        assert_eq!(key("ffffffff-ffff-ffff-ffff-ffffffffffff", "0000-00", None), None);
    }
}
