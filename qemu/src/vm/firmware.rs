//! UEFI firmware of the host's distribution.

use std::io;
use std::path::{Path, PathBuf};

/// Pairs of code and variable store, as Debian and Ubuntu, Fedora, Arch and openSUSE install them.
const PLACES: [(&str, &str); 6] = [
    ("usr/share/OVMF/OVMF_CODE_4M.fd", "usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("usr/share/OVMF/OVMF_CODE.fd", "usr/share/OVMF/OVMF_VARS.fd"),
    ("usr/share/edk2/ovmf/OVMF_CODE.fd", "usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("usr/share/edk2/x64/OVMF_CODE.4m.fd", "usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("usr/share/edk2-ovmf/x64/OVMF_CODE.fd", "usr/share/edk2-ovmf/x64/OVMF_VARS.fd"),
    ("usr/share/qemu/ovmf-x86_64-code.bin", "usr/share/qemu/ovmf-x86_64-vars.bin"),
];

/// Why there is no firmware.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum FirmwareError {
    #[error(
        "no UEFI firmware found (looked for {looked_for}): install the package `ovmf` (Debian, Ubuntu) or `edk2-ovmf` (Fedora, Arch)"
    )]
    Missing { looked_for: String },
    #[error("failed to copy the firmware's variables to {}: {source}", path.display())]
    Copy { path: PathBuf, source: io::Error },
}

/// UEFI firmware for one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// The code, shared and write-protected.
    pub code: PathBuf,
    /// The machine's own variables, written by the guest.
    pub variables: PathBuf,
}

impl Firmware {
    /// Finds the host's firmware and makes a machine's own copy of the variables at `variables`. One that is there is taken over,
    /// so that a machine keeps its variables over a power cycle.
    ///
    /// # Errors
    /// [`FirmwareError::Missing`] names the package to install.
    pub fn for_machine(variables: PathBuf) -> Result<Self, FirmwareError> {
        Self::find_below(Path::new("/"), variables)
    }

    fn find_below(root: &Path, variables: PathBuf) -> Result<Self, FirmwareError> {
        let pairs = PLACES.iter().map(|(code, template)| (root.join(code), root.join(template)));
        let Some((code, template)) = pairs.into_iter().find(|(code, template)| code.exists() && template.exists())
        else {
            return Err(FirmwareError::Missing { looked_for: PLACES.map(|(code, _)| format!("/{code}")).join(", ") });
        };
        if !variables.exists() {
            // The template may be write-protected, and `copy` would take that over.
            let copied = std::fs::read(template).and_then(|bytes| std::fs::write(&variables, bytes));
            copied.map_err(|source| FirmwareError::Copy { path: variables.clone(), source })?;
        }
        Ok(Self { code, variables })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_complete_pair_is_taken_and_variables_are_kept() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("own.fd");
        let error = Firmware::find_below(root.path(), own.clone()).unwrap_err();
        assert!(error.to_string().contains("install the package `ovmf`"), "{error}");

        let directory = root.path().join("usr/share/OVMF");
        std::fs::create_dir_all(&directory).unwrap();
        for name in ["OVMF_CODE_4M.fd", "OVMF_CODE.fd", "OVMF_VARS.fd"] {
            std::fs::write(directory.join(name), name).unwrap();
        }
        let firmware = Firmware::find_below(root.path(), own.clone()).unwrap();
        assert_eq!(firmware.code, directory.join("OVMF_CODE.fd"));
        assert_eq!(std::fs::read(&own).unwrap(), b"OVMF_VARS.fd");

        std::fs::write(&own, "boot order").unwrap();
        Firmware::find_below(root.path(), own.clone()).unwrap();
        assert_eq!(std::fs::read(&own).unwrap(), b"boot order");
    }
}
