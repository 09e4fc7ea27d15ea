//! QEMU: files that it hands over by its firmware configuration device, where no volume and no network is needed.
//!
//! `-fw_cfg name=opt/org.steppe/user-data,file=...`, and the same for `meta-data`, `vendor-data` and `network-config`;
//! their contents are NoCloud's. The kernel shows them below `/sys/firmware/qemu_fw_cfg` (module `qemu_fw_cfg`).

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

use serde_json::Value;

use super::{Datasource, Look, Outcome, Platform, document};
use crate::node::{
    netconfig::NetworkConfig,
    seed::{Metadata, Seed},
};

const DIRECTORY: &str = "sys/firmware/qemu_fw_cfg/by_name/opt";
/// Ours below it, in the form that QEMU asks for: `opt/` and a domain name turned round.
const OURS: &str = "org.steppe";
/// The files. Any of them may be absent.
const FILES: [&str; 4] = ["meta-data", "user-data", "vendor-data", "network-config"];
/// What a person may have given in the belief that this is another system.
const IGNITION: &str = "com.coreos/config";

/// Files larger than this, in bytes, are refused: the kernel reads a page at a time, and the device from its beginning for
/// each, so that the time grows with the square of the size.
const MAX_FILE: usize = 256 << 10;

type Files = BTreeMap<String, Vec<u8>>;

/// The datasource.
#[derive(Debug, Clone, Copy)]
pub struct FwCfg;

impl Datasource for FwCfg {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn is_local(&self, _: &Platform) -> bool {
        true
    }

    fn look(&self, look: &Look<'_>) -> Outcome {
        let directory = look.root.join(DIRECTORY);
        match read(&directory.join(OURS)) {
            Ok(files) if !files.is_empty() => match seed(files) {
                Ok(seed) => Outcome::Found(Box::new(seed)),
                Err(why) => Outcome::Failed(why),
            },
            Ok(_) if directory.join(IGNITION).exists() => Outcome::Failed(format!(
                "opt/{IGNITION} is for Ignition, which is not run here: give a #cloud-config as opt/{OURS}/user-data"
            )),
            Ok(_) => Outcome::Nothing(format!("opt/{OURS}/user-data by QEMU's fw_cfg")),
            Err(why) => Outcome::Failed(why),
        }
    }
}

/// The files that are there.
fn read(directory: &Path) -> Result<Files, String> {
    let mut files = Files::new();
    for name in FILES {
        let failed = |why: String| format!("failed to read opt/{OURS}/{name} of fw_cfg: {why}");
        match one(&directory.join(name)) {
            Ok(content) => drop(files.insert(name.into(), content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error.to_string())),
        }
    }
    Ok(files)
}

/// One file: into a buffer of its size, so that it takes no more reads than the kernel makes of it.
fn one(directory: &Path) -> io::Result<Vec<u8>> {
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let size: usize = fs::read_to_string(directory.join("size"))?
        .trim()
        .parse()
        .map_err(|_| wrong("its size is no number".into()))?;
    if size > MAX_FILE {
        return Err(wrong(format!("it has {size} bytes, more than {MAX_FILE}: give a volume instead")));
    }
    let mut content = vec![0; size];
    File::open(directory.join("raw"))?.read_exact(&mut content)?;
    Ok(content)
}

/// Makes a seed of the files, by name.
///
/// # Errors
/// When the metadata is not YAML, or the network configuration is not text.
pub fn seed(mut files: Files) -> Result<Seed, String> {
    let mut file = |name: &str| files.remove(name).filter(|content| !content.trim_ascii().is_empty());
    let document = file("meta-data").map_or(Ok(Value::Null), |bytes| document::yaml(&bytes, "meta-data"))?;
    let text = |pointer: &str| document::text(&document, pointer);
    let metadata = Metadata {
        instance_id: text("/instance-id"),
        local_hostname: text("/local-hostname").or_else(|| text("/hostname")),
        public_keys: document::keys(document.get("public-keys")),
        availability_zone: text("/availability-zone"),
        region: text("/region"),
        ..Metadata::default()
    };
    let network = file("network-config").map(String::from_utf8).transpose();
    Ok(Seed {
        platform: "qemu".into(),
        source: format!("qemu (fw_cfg opt/{OURS})"),
        user_data: file("user-data").unwrap_or_default(),
        vendor_data: file("vendor-data").into_iter().collect(),
        network: network.map_err(|_| "network-config is not UTF-8 text")?.map(NetworkConfig::Text),
        metadata: Metadata { document, ..metadata },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::{datasource::testbed::golden, net::View};

    fn machine(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let dir = root.path().join(DIRECTORY).join(name);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("raw"), content).unwrap();
            fs::write(dir.join("size"), format!("{}\n", content.len())).unwrap();
        }
        root
    }

    fn look(root: &Path) -> Outcome {
        let (platform, view) = (Platform::default(), View::default());
        FwCfg.look(&Look::new(root, &platform, &view))
    }

    #[test]
    fn a_machine_with_all_files() {
        let root = machine(&[
            ("org.steppe/meta-data", b"instance-id: vm-1\nlocal-hostname: server-vm-0\npublic-keys: [ssh-rsa A a]\n"),
            ("org.steppe/user-data", b"#cloud-config\n# secret\n"),
            ("org.steppe/vendor-data", b"\n"),
            ("org.steppe/network-config", b"{\"version\": 2}"),
            ("org.steppe/other", b"not read"),
        ]);
        let Outcome::Found(seed) = look(root.path()) else { panic!() };
        insta::assert_snapshot!("fw_cfg", golden(&seed));
    }

    #[test]
    fn what_is_wrong_is_said_by_name() {
        let failed = |files: &[(&str, &[u8])]| match look(machine(files).path()) {
            Outcome::Failed(why) => why,
            other => panic!("{other:?}"),
        };
        assert!(failed(&[("com.coreos/config", b"{}")]).starts_with("opt/com.coreos/config is for Ignition"));
        let large = vec![b'a'; MAX_FILE + 1];
        assert!(failed(&[("org.steppe/user-data", &large)]).contains("opt/org.steppe/user-data"));
        assert!(failed(&[("org.steppe/meta-data", b"a: [")]).starts_with("failed to read meta-data:"));
        assert!(matches!(look(machine(&[]).path()), Outcome::Nothing(_)));
    }

    #[test]
    fn ours_counts_beside_ignitions() {
        let root = machine(&[("com.coreos/config", b"{}"), ("org.steppe/user-data", b"#cloud-config\n")]);
        assert!(matches!(look(root.path()), Outcome::Found(_)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(meta: Vec<u8>, network: Vec<u8>) {
            let _ = seed(Files::from([("meta-data".into(), meta), ("network-config".into(), network)]));
        }
    }
}
