//! Kernel modules, loaded in the order that the builder worked out.
//!
//! There is no modprobe and no dependency file in the image: the list names every module after those it needs.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    kmod::{ModuleInitFlags, finit_module},
};

use crate::{error, info, paths};

/// `MODULE_INIT_COMPRESSED_FILE` of `linux/module.h` (Linux 5.17): the kernel decompresses by itself.
const COMPRESSED: i32 = 4;

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Path below `/usr/lib/modules/<release>`.
    pub path: &'a str,
    /// Whether the machine may do without it (`?` in front): its hardware may be absent.
    pub optional: bool,
}

/// Why a module could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The list cannot be read.
    #[error("failed to read {path}: {source}")]
    List {
        /// The list.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The module's file cannot be opened.
    #[error("failed to open module {path}: {source}")]
    Open {
        /// The module.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused it.
    #[error("failed to load module {path}: {source}")]
    Load {
        /// The module.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
}

/// The entries of a list; `#` starts a comment, a leading `?` marks a module that may fail.
pub fn parse(text: &str) -> impl Iterator<Item = Entry<'_>> {
    text.lines().filter_map(|line| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let (path, optional) = line.strip_prefix('?').map_or((line, false), |rest| (rest.trim(), true));
        (!path.is_empty()).then_some(Entry { path, optional })
    })
}

/// Loads every module of the list below `root`. A module that fails is named in the log and does not keep the others
/// from being loaded: what needs it will say so with its own words. Returns how many were loaded.
///
/// # Errors
/// When there is a list that cannot be read. No list means no modules.
pub(super) fn load_all(root: &Path, release: &str) -> Result<usize, ModuleError> {
    let list = root.join(paths::MODULES_LIST.trim_start_matches('/'));
    let text = match fs::read_to_string(&list) {
        Ok(text) => text,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(source) => return Err(ModuleError::List { path: list, source }),
    };
    let dir = root.join(paths::MODULES_DIR.trim_start_matches('/')).join(release);
    let mut loaded = 0;
    for entry in parse(&text) {
        match load(&dir.join(entry.path)) {
            Ok(true) => loaded += 1,
            Ok(false) => {}
            Err(why) if entry.optional => info!("{why}"),
            Err(why) => error!("{why}"),
        }
    }
    Ok(loaded)
}

/// Loads one module; false when it was there already.
fn load(path: &Path) -> Result<bool, ModuleError> {
    let file = File::open(path).map_err(|source| ModuleError::Open { path: path.to_owned(), source })?;
    let compressed = path.extension().is_some_and(|ext| ext == "xz" || ext == "zst" || ext == "gz");
    let flags = ModuleInitFlags::from_bits_retain(if compressed { COMPRESSED.cast_unsigned() } else { 0 });
    match finit_module(&file, c"", flags) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(source) => Err(ModuleError::Load { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn comments_blanks_and_marks() {
        let text = "# needed for the root\nkernel/fs/squashfs/squashfs.ko.xz\n\n ?kernel/drivers/a.ko # maybe\n?\n";
        let entries: Vec<_> = parse(text).collect();
        assert_eq!(
            entries,
            [
                Entry { path: "kernel/fs/squashfs/squashfs.ko.xz", optional: false },
                Entry { path: "kernel/drivers/a.ko", optional: true },
            ]
        );
    }

    #[test]
    fn no_list_means_no_modules() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load_all(dir.path(), "6.12").unwrap(), 0);
    }

    #[test]
    fn a_missing_module_is_named() {
        let why = load(Path::new("/nonexistent/virtio_blk.ko.xz")).unwrap_err().to_string();
        assert!(why.starts_with("failed to open module /nonexistent/virtio_blk.ko.xz: "), "{why}");
    }

    proptest! {
        #[test]
        fn any_text_parses(text: String) {
            prop_assert!(parse(&text).all(|entry| !entry.path.is_empty() && !entry.path.contains('#')));
        }
    }
}
