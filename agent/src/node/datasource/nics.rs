//! The network interfaces of the machine, as `/sys` shows them: which links a metadata service may be on, and which
//! interface the hardware address in somebody's metadata belongs to.

use std::{fs, path::Path};

use crate::node::netconfig::Mac;

/// `ARPHRD_ETHER`.
const ETHERNET: &str = "1";

/// An Ethernet interface of hardware, or of what a hypervisor passes for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nic {
    /// The kernel's name.
    pub name: String,
    /// The kernel's number.
    pub index: u32,
    /// Hardware address.
    pub mac: Option<Mac>,
    /// Whether something is at the other end.
    pub carrier: bool,
    /// Name of its driver: `virtio_net`, `hv_netvsc`, `ena`.
    pub driver: Option<String>,
    /// Whether another interface with the same hardware address speaks for it: a virtual function under Hyper-V's
    /// `hv_netvsc`, a port of a bond. Nobody is to configure it.
    pub subordinate: bool,
}

/// All interfaces below `root`, by their numbers.
#[must_use]
pub fn nics(root: &Path) -> Vec<Nic> {
    let Ok(dir) = fs::read_dir(root.join("sys/class/net")) else { return Vec::new() };
    let mut nics: Vec<Nic> = dir.filter_map(|entry| nic(&entry.ok()?.path())).collect();
    nics.sort_by_key(|nic| nic.index);
    nics
}

fn nic(dir: &Path) -> Option<Nic> {
    let value = |file: &str| fs::read_to_string(dir.join(file)).ok().map(|text| text.trim().to_owned());
    let driver = fs::read_link(dir.join("device/driver")).ok();
    let hardware = dir.join("device").exists();
    (hardware && value("type").as_deref() == Some(ETHERNET)).then_some(())?;
    Some(Nic {
        name: dir.file_name()?.to_str()?.to_owned(),
        index: value("ifindex")?.parse().ok()?,
        mac: value("address").and_then(|text| text.parse().ok()),
        carrier: value("carrier").as_deref() == Some("1"),
        driver: driver.and_then(|link| Some(link.file_name()?.to_str()?.to_owned())),
        subordinate: dir.join("master").exists(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn hardware_is_found_and_the_rest_left() {
        let root = tempfile::tempdir().unwrap();
        let make = |name: &str, kind: &str, index: u32, driver: Option<&str>| {
            let dir = root.path().join("sys/class/net").join(name);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("type"), kind).unwrap();
            fs::write(dir.join("ifindex"), format!("{index}\n")).unwrap();
            fs::write(dir.join("address"), "52:54:00:00:00:01\n").unwrap();
            fs::write(dir.join("carrier"), "1\n").unwrap();
            if let Some(driver) = driver {
                fs::create_dir_all(dir.join("device")).unwrap();
                symlink(format!("../../drivers/{driver}"), dir.join("device/driver")).unwrap();
            }
            dir
        };
        make("lo", "772\n", 1, None);
        make("dummy0", "1\n", 2, None);
        make("eth0", "1\n", 10, Some("hv_netvsc"));
        let function = make("eth1", "1\n", 3, Some("mlx5_core"));
        symlink("../eth0", function.join("master")).unwrap();
        fs::create_dir_all(root.path().join("sys/class/net/eth0")).unwrap();
        let found = nics(root.path());
        let names: Vec<_> = found.iter().map(|nic| (nic.name.as_str(), nic.subordinate)).collect();
        assert_eq!(names, [("eth1", true), ("eth0", false)]);
        assert_eq!(found[1].driver.as_deref(), Some("hv_netvsc"));
        assert_eq!(found[1].mac, Some(Mac([0x52, 0x54, 0, 0, 0, 1])));
        assert!(nics(Path::new("/nonexistent")).is_empty());
    }
}
