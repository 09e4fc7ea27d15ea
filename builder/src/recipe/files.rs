//! Files of the user's own in an image (`[[files]]`).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use agent::paths;
use serde::{Deserialize, Serialize};

use super::RecipeError;
use crate::bounded;

/// Bytes that a file may have: the root is made in memory.
const MOST: u64 = 1 << 30;

/// A file as a recipe names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraFile {
    /// Where its bytes are; relative to the recipe.
    pub source: PathBuf,
    /// Its absolute path on the node.
    pub path: String,
    /// Permission bits, octal.
    #[serde(default = "readable")]
    pub mode: String,
}

fn readable() -> String {
    "0644".to_owned()
}

/// Folders over which something is mounted, or that hold what is the node's own.
const NOT_IMAGE: [&str; 15] = [
    "dev",
    "home",
    "mnt",
    "opt",
    "proc",
    "run",
    "srv",
    "state",
    "sys",
    "sysroot",
    "tmp",
    "var",
    "usr/lib/steppe",
    "usr/libexec",
    "usr/share/steppe",
];

impl ExtraFile {
    /// Permission bits as a number, if they are such and grant no other user's rights.
    #[must_use]
    pub fn permissions(&self) -> Option<u16> {
        u16::from_str_radix(&self.mode, 8).ok().filter(|mode| *mode <= 0o777)
    }

    /// Where it lies in the root file system, without a slash in front. What is in `/etc` on a node is made at each boot
    /// from a copy of it in the image.
    #[must_use]
    pub fn place(&self) -> String {
        let path = self.path.trim_start_matches('/');
        // These are links into /usr.
        let linked = ["bin/", "sbin/", "lib/", "lib64/"].iter().any(|folder| path.starts_with(folder));
        match path.strip_prefix("etc/") {
            Some(rest) => format!("{}/{rest}", paths::ETC_TEMPLATE.trim_start_matches('/')),
            None if linked => format!("usr/{path}"),
            None => path.to_owned(),
        }
    }

    /// What is wrong with it, in words that follow its path.
    pub(super) fn check(&self) -> Result<(), String> {
        let path = self.path.strip_prefix('/').ok_or("is not absolute")?;
        if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") || path.contains('\0') {
            return Err("is not the plain path of a file".to_owned());
        }
        let inside = |folder: &&&str| path.strip_prefix(**folder).is_some_and(|rest| rest.starts_with('/'));
        if let Some(folder) = NOT_IMAGE.iter().find(inside) {
            return Err(format!(
                "lies in /{folder}, which a node does not take from its image; write_files of the user-data makes files there"
            ));
        }
        if self.permissions().is_none() {
            return Err(format!("has the mode {:?}: octal digits up to \"0777\" are possible", self.mode));
        }
        Ok(())
    }

    /// Its bytes.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read(&self) -> Result<Arc<[u8]>, RecipeError> {
        let fail = |source| RecipeError::File { path: self.path.clone(), from: self.source.clone(), source };
        bounded::file(&self.source, MOST).map(Arc::from).map_err(fail)
    }

    /// The file with its source below `folder`.
    pub(super) fn below(mut self, folder: &Path) -> Self {
        self.source = folder.join(&self.source);
        self
    }
}
