//! The names that udev would give to an interface. There is no udev here, and the kernel's own names are `eth0` and on; but
//! network configurations are written for machines that have it: `ens3`, `enp1s0`, `eno1` (`systemd.net-naming-scheme(7)`).

use std::{fmt::Write as _, fs, path::Path};

/// Where an interface is, as far as names are made of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Domain, bus, device and function of the PCI device.
    pci: Option<(u32, u32, u32, u32)>,
    /// The device has several functions.
    multifunction: bool,
    /// Number of a device on the main board, as the firmware has it.
    onboard: Option<u32>,
    /// Number of the slot, as the firmware has it.
    slot: Option<u32>,
    /// Which of several interfaces of one device it is.
    port: u32,
    /// Number of a device of Xen.
    xen: Option<u32>,
}

/// `0000:00:03.0`.
fn pci_address(text: &str) -> Option<(u32, u32, u32, u32)> {
    let (rest, function) = text.rsplit_once('.')?;
    let mut parts = rest.split(':').map(|part| u32::from_str_radix(part, 16).ok());
    let address = (parts.next()??, parts.next()??, parts.next()??, function.parse().ok()?);
    parts.next().is_none().then_some(address)
}

impl Place {
    /// Looks for an interface by its name now, below a root.
    pub(super) fn read(root: &Path, name: &str) -> Self {
        let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u32>().ok();
        let class = root.join("sys/class/net").join(name);
        let port = number(&class.join("dev_port")).unwrap_or(0);
        let Ok(device) = fs::canonicalize(class.join("device")) else { return Self::default() };
        let mut place = Self { port, ..Self::default() };
        // What stands on a PCI device, like virtio's own bus, has none of the numbers.
        for dir in device.ancestors() {
            let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some(xen) = name.strip_prefix("vif-") {
                place.xen = xen.parse().ok();
                return place;
            }
            let Some(pci) = pci_address(name) else { continue };
            place.pci = Some(pci);
            // The highest bit of the header's type (PCI Local Bus Specification, 6.2.1).
            place.multifunction =
                fs::read(dir.join("config")).is_ok_and(|config| config.get(14).is_some_and(|byte| byte & 0x80 != 0));
            // Larger ones are no numbers of a board: VMware's firmware counts from 2^24.
            place.onboard =
                number(&dir.join("acpi_index")).or_else(|| number(&dir.join("index"))).filter(|n| *n < 16384);
            let without_function = name.rsplit_once('.').map_or(name, |(rest, _)| rest);
            let slots = fs::read_dir(root.join("sys/bus/pci/slots")).into_iter().flatten().flatten();
            let here = |slot: &fs::DirEntry| {
                fs::read_to_string(slot.path().join("address")).is_ok_and(|text| text.trim() == without_function)
            };
            let numbers = slots.filter(here).filter_map(|slot| slot.file_name().to_str()?.parse::<u32>().ok());
            place.slot = numbers.filter(|slot| *slot > 0).min();
            return place;
        }
        place
    }

    /// All names that fit, the one that udev would prefer first.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.xen.map(|number| format!("enX{number}")).into_iter().collect();
        let mut name = |start: &str, number: u32, device: Option<u32>| {
            let mut name = String::from("en");
            let (domain, .., function) = self.pci.unwrap_or_default();
            if start != "o" && domain > 0 {
                let _ = write!(name, "P{domain}");
            }
            let _ = write!(name, "{start}{number}");
            if let Some(device) = device {
                let _ = write!(name, "s{device}");
            }
            if start != "o" && (function > 0 || self.multifunction) {
                let _ = write!(name, "f{function}");
            }
            if self.port > 0 {
                let _ = write!(name, "d{}", self.port);
            }
            names.push(name);
        };
        if let Some(onboard) = self.onboard {
            name("o", onboard, None);
        }
        if let Some(slot) = self.slot {
            name("s", slot, None);
        }
        if let Some((_, bus, device, _)) = self.pci {
            name("p", bus, Some(device));
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    /// An interface whose device is at this path below `/sys/devices`, with files of its PCI device.
    fn names(device: &str, files: &[(&str, &[u8])], slots: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        let sys = root.path().join("sys");
        let dir = sys.join("devices").join(device);
        fs::create_dir_all(&dir).unwrap();
        let is_pci = |dir: &&Path| dir.file_name().and_then(|name| pci_address(name.to_str()?)).is_some();
        let pci = dir.ancestors().find(is_pci);
        for (name, content) in files {
            fs::write(pci.unwrap_or(&dir).join(name), content).unwrap();
        }
        for (slot, address) in slots {
            fs::create_dir_all(sys.join("bus/pci/slots").join(slot)).unwrap();
            fs::write(sys.join("bus/pci/slots").join(slot).join("address"), format!("{address}\n")).unwrap();
        }
        fs::create_dir_all(sys.join("class/net/eth0")).unwrap();
        symlink(&dir, sys.join("class/net/eth0/device")).unwrap();
        fs::write(
            sys.join("class/net/eth0/dev_port"),
            files.iter().find(|f| f.0 == "port").map_or(&b"0\n"[..], |f| f.1),
        )
        .unwrap();
        Place::read(root.path(), "eth0").names()
    }

    #[test]
    fn machines_that_people_have() {
        let header = |kind: u8| [[0; 14].as_slice(), &[kind], &[0; 49]].concat();
        // OpenStack, Hetzner: a PC of QEMU's with hot-plug slots, virtio's bus above the PCI device.
        let slots = [("3", "0000:00:03"), ("4", "0000:00:04")];
        let one = header(0);
        assert_eq!(names("pci0000:00/0000:00:03.0/virtio0", &[("config", &one)], &slots), ["ens3", "enp0s3"]);
        // q35 with root ports: slot 0 is no name.
        let root_port = "pci0000:00/0000:00:02.0/0000:01:00.0/virtio1";
        assert_eq!(names(root_port, &[("config", &one)], &[("0", "0000:01:00")]), ["enp1s0"]);
        // VMware: a slot of 192, an index that is none.
        let vmware =
            names("pci0000:00/0000:00:16.0/0000:0b:00.0", &[("acpi_index", b"16777984\n")], &[("192", "0000:0b:00")]);
        assert_eq!(vmware, ["ens192", "enp11s0"]);
        // A board with two ports on one chip.
        let two = header(0x80);
        let board = names("pci0000:00/0000:00:1c.0/0000:03:00.1", &[("config", &two), ("index", b"2\n")], &[]);
        assert_eq!(board, ["eno2", "enp3s0f1"]);
        let first = names("pci0000:00/0000:03:00.0", &[("config", &two), ("port", b"1\n")], &[("9", "0000:03:00")]);
        assert_eq!(first, ["ens9f0d1", "enp3s0f0d1"]);
        // Azure's passed-through cards have a domain of their own.
        assert_eq!(names("LNXSYSTM:00/pci0002:00/0002:00:02.0", &[], &[]), ["enP2p0s2"]);
        assert_eq!(names("vif-0", &[], &[]), ["enX0"]);
        assert_eq!(names("platform/soc/ethernet", &[], &[]), [""; 0]);
    }

    #[test]
    fn an_interface_without_a_device_has_no_names() {
        assert!(Place::read(Path::new("/nonexistent"), "eth0").names().is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_none(text in "[0-9a-f:.\u{e4}]{0,20}") {
            let _ = pci_address(&text);
        }

        #[test]
        fn addresses_are_read(domain in 0..0x1_0000_u32, bus in 0..256_u32, device in 0..32_u32, function in 0..8_u32) {
            let text = format!("{domain:04x}:{bus:02x}:{device:02x}.{function}");
            prop_assert_eq!(pci_address(&text), Some((domain, bus, device, function)));
        }
    }
}
