//! Changes on the EFI system partition, below the directory where it is mounted.
//!
//! A FAT has no journal. Files are written under names that no boot loader looks for, or that nothing refers to yet, and reach the medium
//! before the one rename that makes them count.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::PathBuf,
};

use crate::slots::{
    self, Slot,
    boot_once::{self, NoVector},
    choice::Rename,
    config,
    entry::Entry,
};

/// What the name of a text ends with that is not in its place yet.
pub(super) const PART: &str = ".new";

/// The mounted partition.
#[derive(Debug)]
pub struct Esp {
    root: PathBuf,
}

/// Why a change failed.
#[derive(Debug, thiserror::Error)]
pub enum EspError {
    /// A file.
    #[error("failed to {what} {path} on the EFI system partition: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The boot loader for BIOS.
    #[error(transparent)]
    BootOnce(#[from] NoVector),
}

impl Esp {
    /// The partition that is mounted at `root`.
    #[must_use]
    pub const fn at(root: PathBuf) -> Self {
        Self { root }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// All boot entries.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn entries(&self) -> Result<Vec<Entry>, EspError> {
        let dir = self.path(slots::ENTRIES);
        let failed = |source| EspError::File { what: "read", path: slots::ENTRIES.to_owned(), source };
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            entries.extend(name.to_str().and_then(Entry::parse));
        }
        Ok(entries)
    }

    /// Begins a file, durable once [`finish`] has seen it.
    pub(super) fn create(&self, path: &str) -> Result<File, EspError> {
        let full = self.path(path);
        let dir = full.parent().unwrap_or(&self.root);
        fs::create_dir_all(dir).and_then(|()| File::create(&full)).map_err(|source| EspError::File {
            what: "write",
            path: path.to_owned(),
            source,
        })
    }

    /// Gives a file another name, durably.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), EspError> {
        fs::rename(self.path(from), self.path(to)).and_then(|()| self.sync(to)).map_err(|source| EspError::File {
            what: "rename",
            path: from.to_owned(),
            source,
        })
    }

    /// Gives an entry its new name.
    ///
    /// # Errors
    /// When the file system does not take it.
    pub fn apply(&self, rename: &Rename) -> Result<(), EspError> {
        let path = |entry: &Entry| format!("{}/{entry}", slots::ENTRIES);
        self.rename(&path(&rename.from), &path(&rename.to))
    }

    /// Deletes a file, durably. One that is not there is fine.
    pub(super) fn remove(&self, path: &str) -> Result<(), EspError> {
        match fs::remove_file(self.path(path)) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.and_then(|()| self.sync(path)).map_err(|source| EspError::File {
                what: "delete",
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Waits until the directory of a file is on the medium.
    fn sync(&self, path: &str) -> io::Result<()> {
        let path = self.path(path);
        File::open(path.parent().unwrap_or(&self.root))?.sync_all()
    }

    /// Replaces a small text.
    pub(super) fn replace(&self, path: &str, text: &str) -> Result<(), EspError> {
        if fs::read_to_string(self.path(path)).is_ok_and(|old| old == text) {
            return Ok(());
        }
        let part = format!("{path}{PART}");
        let mut file = self.create(&part)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|source| EspError::File {
            what: "write",
            path: path.to_owned(),
            source,
        })?;
        self.rename(&part, path)
    }

    /// Whether the disk boots by BIOS too.
    #[must_use]
    pub fn has_syslinux(&self) -> bool {
        self.path(slots::LDLINUX_SYS).exists()
    }

    /// Has syslinux boot `slot` from now on. Nothing to do on a disk without it.
    ///
    /// # Errors
    /// When the configuration cannot be replaced.
    pub fn set_default(&self, slot: Slot) -> Result<(), EspError> {
        if !self.has_syslinux() {
            return Ok(());
        }
        let cmdline = fs::read_to_string(self.path(slot.syslinux_cfg())).unwrap_or_default();
        self.replace(slots::SYSLINUX_CFG, &config::syslinux(slot, &cmdline))
    }

    /// The slot that syslinux boots. `None` on a disk without it, and when its configuration does not say.
    #[must_use]
    pub fn default_slot(&self) -> Option<Slot> {
        config::default_of(&fs::read_to_string(self.path(slots::SYSLINUX_CFG)).ok()?)
    }

    /// Has syslinux boot something else once; nothing, when the command is empty. Written in place, and only when it is not there yet:
    /// the boot loader knows the sectors.
    ///
    /// # Errors
    /// When `ldlinux.sys` is damaged, or does not take it.
    pub fn boot_once(&self, command: &str) -> Result<(), EspError> {
        if !self.has_syslinux() {
            return Ok(());
        }
        let path = slots::LDLINUX_SYS;
        let failed = |source| EspError::File { what: "write", path: path.to_owned(), source };
        let mut file = OpenOptions::new().read(true).write(true).open(self.path(path)).map_err(failed)?;
        let back = i64::try_from(boot_once::SIZE).unwrap_or(0);
        file.seek(SeekFrom::End(-back)).map_err(failed)?;
        let mut old = [0; boot_once::SIZE];
        file.read_exact(&mut old).map_err(failed)?;
        if boot_once::command(&old)?.unwrap_or_default() == command {
            return Ok(());
        }
        let new = boot_once::vector(command).ok_or(NoVector)?;
        file.seek(SeekFrom::End(-back)).map_err(failed)?;
        file.write_all(&new).and_then(|()| file.sync_all()).map_err(failed)
    }
}

/// Waits until a file that was written is on the medium.
pub(super) fn finish(file: &File, path: &str) -> Result<(), EspError> {
    file.sync_all().map_err(|source| EspError::File { what: "write", path: path.to_owned(), source })
}

/// An ESP as the builder makes it, below a directory: for tests.
#[cfg(test)]
pub(super) fn fixture(dir: &std::path::Path) -> Esp {
    let esp = Esp::at(dir.to_owned());
    let write = |path: &str, bytes: &[u8]| {
        fs::create_dir_all(dir.join(path).parent().unwrap()).unwrap();
        fs::write(dir.join(path), bytes).unwrap();
    };
    write("EFI/Linux/steppe-0000000001-a.efi", b"first uki");
    write(slots::LOADER_CONF, config::LOADER.as_bytes());
    write(slots::SYSLINUX_CFG, config::syslinux(Slot::A, "").as_bytes());
    write(Slot::A.kernel(), b"first kernel");
    write(Slot::A.initrd(), b"first initramfs");
    write(Slot::A.syslinux_cfg(), config::slot(Slot::A, "console=ttyS1,57600 roothash=1").as_bytes());
    write(Slot::B.syslinux_cfg(), config::EMPTY_SLOT.as_bytes());
    write(slots::LDLINUX_SYS, &[&[0x90; 5000][..], &boot_once::vector("").unwrap()].concat());
    esp
}

/// What syslinux would boot once, for tests.
#[cfg(test)]
pub(super) fn once(dir: &std::path::Path) -> Option<String> {
    let bytes = fs::read(dir.join(slots::LDLINUX_SYS)).unwrap();
    boot_once::command(&bytes[bytes.len() - boot_once::SIZE..]).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::choice;

    #[test]
    fn the_boot_once_record_is_written_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let esp = fixture(dir.path());
        let before = fs::read(dir.path().join(slots::LDLINUX_SYS)).unwrap();
        esp.boot_once("b steppe.on-trial").unwrap();
        assert_eq!(once(dir.path()).as_deref(), Some("b steppe.on-trial"));
        esp.boot_once("").unwrap();
        assert_eq!(fs::read(dir.path().join(slots::LDLINUX_SYS)).unwrap(), before);
        fs::write(dir.path().join(slots::LDLINUX_SYS), [7; 3000]).unwrap();
        assert!(matches!(esp.boot_once("x"), Err(EspError::BootOnce(_))));
    }

    #[test]
    fn a_rollback_is_a_rename_and_a_default() {
        let dir = tempfile::tempdir().unwrap();
        let esp = fixture(dir.path());
        fs::write(dir.path().join("EFI/Linux/steppe-0000000002-b.efi"), "second").unwrap();
        fs::write(dir.path().join("EFI/Linux/other.efi"), "nobody's").unwrap();
        let rename = choice::rollback(&esp.entries().unwrap(), Slot::B).unwrap();
        esp.apply(&rename).unwrap();
        esp.set_default(rename.to.slot).unwrap();
        assert_eq!(choice::next(&esp.entries().unwrap()).unwrap().to_string(), "steppe-0000000003-a.efi");
        let text = fs::read_to_string(dir.path().join(slots::SYSLINUX_CFG)).unwrap();
        assert_eq!(config::default_of(&text), Some(Slot::A));
        assert!(text.starts_with("SERIAL 1 57600\n"), "the port of the slot's own kernel: {text}");
    }

    #[test]
    fn a_disk_for_uefi_alone_needs_no_syslinux() {
        let dir = tempfile::tempdir().unwrap();
        let esp = fixture(dir.path());
        fs::remove_file(dir.path().join(slots::LDLINUX_SYS)).unwrap();
        fs::remove_dir_all(dir.path().join("syslinux")).unwrap();
        esp.set_default(Slot::B).unwrap();
        esp.boot_once("b").unwrap();
        assert!(!dir.path().join("syslinux").exists());
    }
}
