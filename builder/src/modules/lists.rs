//! Which modules a kernel flavour's images get, as a person writes it: `images/modules-<flavour>.toml`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ModuleError;
use crate::hint;

/// The module lists of a kernel flavour. Each file system has its own: later layers will too.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleLists {
    /// To reach the root file system.
    pub initramfs: Wanted,
    /// After the root is mounted.
    pub root: Wanted,
}

/// What one file system has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Loaded at every boot, in this order. A leading `?`: loading may fail.
    pub always: Vec<String>,
    /// Loaded when a device of theirs is there.
    pub devices: Vec<String>,
    /// Loaded when node asks for them by name, each with modules that it likes to have before it.
    #[serde(default)]
    pub asked: BTreeMap<String, Vec<String>>,
    /// Buses, each with the module that makes it. The file system before has loaded that where the bus is, so what drives
    /// devices of this bus only has it there already, and this file system has it no second time.
    #[serde(default)]
    pub buses: BTreeMap<String, String>,
    /// Modules of `devices` that are loaded for some of their aliases only.
    #[serde(default)]
    pub only: BTreeMap<String, Vec<String>>,
}

impl ModuleLists {
    /// Parses the text of a list file; `file` is its name in messages.
    ///
    /// # Errors
    /// When the text is not such a file.
    pub fn parse(file: &str, text: &str) -> Result<Self, ModuleError> {
        toml::from_str(text)
            .map_err(|error| ModuleError::List { file: file.to_owned(), message: hint::describe_toml(text, &error) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_lists_are_well_formed() {
        let parse = |name| ModuleLists::parse("m", crate::embedded::module_list(name).unwrap()).unwrap();
        for lists in [parse("cloud"), parse("metal")] {
            assert!(lists.initramfs.always.iter().any(|m| m == "squashfs"));
            assert!(lists.initramfs.asked.contains_key("loop"), "a root in the initramfs is mounted through it");
            assert!(lists.initramfs.asked.contains_key("dm-verity"), "a root on a disk is mounted through it");
            let first = &lists.initramfs;
            assert!(first.buses.is_empty() && lists.root.buses.values().all(|maker| first.devices.contains(maker)));
            for wanted in [first, &lists.root] {
                assert!(wanted.only.keys().all(|name| wanted.devices.contains(name)));
            }
        }
        assert_eq!(parse("cloud").root.asked, parse("metal").root.asked, "what node asks for, each profile has");
        assert!(ModuleLists::parse("m", "initrd = []\n").unwrap_err().to_string().contains("m:1:1: unknown field"));
    }
}
