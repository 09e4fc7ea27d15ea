//! ConfigDrive, version 2: OpenStack's files on a volume labelled `config-2`. OpenStack makes them, and Nutanix, Proxmox
//! (`configdrive2`), `KubeVirt` and libvirt's tools.

use std::sync::Once;

use super::{
    Datasource, Files, Look, Outcome, Platform,
    media::{self, Folder, Unreadable},
    openstack,
};
use crate::{node::seed::Seed, warning};

/// The label of the volume.
const LABEL: &str = "config-2";
/// What a drive of version 1 has in its root directory instead.
const OLD: &str = "meta.js";

/// What is looked at again and again is said once.
static SAID: Once = Once::new();

/// The datasource.
#[derive(Debug, Clone, Copy)]
pub struct ConfigDrive;

impl Datasource for ConfigDrive {
    fn name(&self) -> &'static str {
        "configdrive"
    }

    fn is_local(&self, _: &Platform) -> bool {
        true
    }

    fn look(&self, look: &Look<'_>) -> Outcome {
        let (volumes, looked) = media::volumes(look.root, LABEL);
        let Some(volume) = volumes.first() else {
            let devices = if looked.is_empty() { "no disk".to_owned() } else { looked.join(", ") };
            return Outcome::Nothing(format!("a volume labelled {LABEL} (looked at {devices})"));
        };
        let device = volume.device.display();
        match volume.open(look.root, volume.kind, &mut files).map_err(|error| error.to_string()).and_then(seed) {
            Ok((seed, injected)) => {
                if injected > 0 {
                    SAID.call_once(|| warning!("{device}: {injected} injected files are ignored: use write_files"));
                }
                Outcome::Found(Box::new(Seed { source: format!("configdrive ({device})"), ..seed }))
            }
            Err(why) => Outcome::Failed(format!("{device}: {why}")),
        }
    }
}

/// The files of a drive. That of the network's configuration is called `interfaces`.
fn files(folder: &Folder) -> Result<Files, Unreadable> {
    let listed = folder.names("openstack");
    let version = openstack::version(&listed.iter().map(String::as_str).collect::<Vec<_>>());
    let mut files = Files::new();
    for name in openstack::FILES {
        let content = folder.read(&format!("openstack/{version}/{name}"))?;
        files.extend(content.map(|content| (name.to_owned(), content)));
    }
    if let Some(path) = files.get(openstack::FILES[0]).and_then(|meta_data| openstack::content_path(meta_data)) {
        files.extend(folder.read(&format!("openstack/{path}"))?.map(|content| ("interfaces".to_owned(), content)));
    }
    if files.is_empty() {
        files.extend(folder.read(OLD)?.map(|content| (OLD.to_owned(), content)));
    }
    Ok(files)
}

/// Makes a seed of the files. Also says how many files the drive wants to be written in the way of its early days, which
/// is not done.
///
/// # Errors
/// When they are those of version 1, or make no seed.
pub fn seed(files: Files) -> Result<(Seed, usize), String> {
    if files.contains_key(OLD) {
        return Err(format!("a configuration drive of version 1 ({OLD}), which nothing makes any more: use version 2"));
    }
    let injected = files.get(openstack::FILES[0]).map_or(0, |meta_data| openstack::injected(meta_data));
    Ok((openstack::seed("configdrive", files)?, injected))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::node::{datasource::testbed::golden, net::View, netconfig::NetworkConfig};

    /// A drive as Proxmox makes it.
    fn drive() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            (
                "openstack/latest/meta_data.json",
                r#"{"uuid": "a0d7e1", "network_config": {"content_path": "/content/0000"}, "files": [{"path": "/etc/motd", "content_path": "/content/0001"}]}"#,
            ),
            ("openstack/latest/user_data", "#cloud-config\nhostname: server-vm-0\n"),
            ("openstack/latest/vendor_data.json", ""),
            ("openstack/content/0000", "auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet dhcp\n"),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn a_drive_of_proxmox() {
        let dir = drive();
        let (found, injected) = seed(files(&Folder(dir.path().to_owned())).unwrap()).unwrap();
        assert_eq!(injected, 1);
        let Some(NetworkConfig::Text(text)) = &found.network else { panic!() };
        assert!(text.ends_with("iface eth0 inet dhcp\n"));
        insta::assert_snapshot!("configdrive", golden(&Seed { network: None, ..found }));
    }

    #[test]
    fn the_newest_version_wins_over_latest() {
        let dir = drive();
        fs::create_dir_all(dir.path().join("openstack/2018-08-27")).unwrap();
        fs::write(dir.path().join("openstack/2018-08-27/meta_data.json"), r#"{"uuid": "dated"}"#).unwrap();
        let (found, _) = seed(files(&Folder(dir.path().to_owned())).unwrap()).unwrap();
        assert_eq!(found.metadata.instance_id.as_deref(), Some("dated"));
    }

    #[test]
    fn version_1_is_refused_and_an_empty_drive_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let of = |dir: &tempfile::TempDir| seed(files(&Folder(dir.path().to_owned())).unwrap()).unwrap_err();
        assert_eq!(of(&dir), "there is no meta_data.json");
        fs::write(dir.path().join("meta.js"), "{}").unwrap();
        assert!(of(&dir).contains("version 1"));
    }

    #[test]
    fn nothing_yet_says_what_was_looked_at() {
        let root = tempfile::tempdir().unwrap();
        let (platform, view) = (Platform::default(), View::default());
        let outcome = ConfigDrive.look(&Look::new(root.path(), &platform, &view));
        assert!(matches!(outcome, Outcome::Nothing(what) if what == "a volume labelled config-2 (looked at no disk)"));
    }
}
