//! What the firmware says of the machine (SMBIOS, as the kernel shows it).

use std::{collections::BTreeMap, fs, path::Path};

const DIRECTORY: &str = "sys/class/dmi/id";

/// cloud-init's name for a value, and the kernel's file.
const FIELDS: [(&str, &str); 14] = [
    ("baseboard-asset-tag", "board_asset_tag"),
    ("baseboard-manufacturer", "board_vendor"),
    ("baseboard-product-name", "board_name"),
    ("baseboard-serial-number", "board_serial"),
    ("baseboard-version", "board_version"),
    ("bios-release-date", "bios_date"),
    ("bios-vendor", "bios_vendor"),
    ("bios-version", "bios_version"),
    ("chassis-asset-tag", "chassis_asset_tag"),
    ("chassis-serial-number", "chassis_serial"),
    ("system-manufacturer", "sys_vendor"),
    ("system-product-name", "product_name"),
    ("system-serial-number", "product_serial"),
    ("system-uuid", "product_uuid"),
];

/// The values, by cloud-init's names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dmi(BTreeMap<&'static str, String>);

impl Dmi {
    /// Reads the files below `root`; absent ones are absent.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let value = |file: &str| {
            let bytes = fs::read(root.join(DIRECTORY).join(file)).ok()?;
            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
            (!text.is_empty()).then_some(text)
        };
        Self(FIELDS.iter().filter_map(|(name, file)| Some((*name, value(file)?))).collect())
    }

    /// A value, by cloud-init's name (`system-uuid`).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Replaces `__dmi.system-uuid__` and the like, as cloud-init does in seed addresses. Absent values become nothing.
    #[must_use]
    pub fn substitute(&self, text: &str) -> String {
        FIELDS.iter().fold(text.to_owned(), |text, (name, _)| {
            text.replace(&format!("__dmi.{name}__"), self.get(name).unwrap_or(""))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_put_into_addresses() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join(DIRECTORY);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("product_uuid"), "AB-CD\n").unwrap();
        fs::write(dir.join("product_serial"), "\n").unwrap();
        let dmi = Dmi::read(root.path());
        assert_eq!(dmi.substitute("http://h/__dmi.system-uuid__/__dmi.bios-vendor__x"), "http://h/AB-CD/x");
        assert_eq!((dmi.get("system-serial-number"), dmi.get("system-uuid")), (None, Some("AB-CD")));
    }
}
