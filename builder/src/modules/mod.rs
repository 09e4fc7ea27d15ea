//! Kernel modules: which ones go into an image, in which order they are loaded, and what makes them load.

mod catalogue;
mod drivers;
mod info;
mod lists;

use serde::{Deserialize, Serialize};

pub use self::{
    catalogue::{Catalogue, bytes},
    drivers::{Driver, Selection},
    lists::{ModuleLists, Wanted},
};

/// A module to load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Below `/usr/lib/modules/<release>/`, without the suffix of a compression: see [`bytes`].
    pub path: String,
    /// Whether the hardware may be absent.
    pub optional: bool,
}

impl Module {
    /// Its line in a list.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{}{}", if self.optional { "?" } else { "" }, self.path)
    }
}

/// The text of `/usr/lib/steppe/modules`.
#[must_use]
pub fn list_text(modules: &[Module]) -> String {
    modules.iter().map(|module| module.line() + "\n").collect()
}

fn normal(name: &str) -> String {
    name.trim().replace('-', "_")
}

/// Why the modules of an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The list file is not what the builder knows.
    #[error("{file}:{message}")]
    List {
        /// The file.
        file: String,
        /// `line:column: what`.
        message: String,
    },
    /// The kernel has no such module.
    #[error("no module {name} in {base}{hint}", hint = near.as_ref().map_or_else(String::new, |n| format!("; did you mean {n}?")))]
    Unknown {
        /// What was asked for.
        name: String,
        /// Where it was looked for.
        base: String,
        /// A module with a name like it.
        near: Option<String>,
    },
    /// Nothing would ever load it.
    #[error("module {name} has no alias of a bus, so that no device can ask for it: list it in `always` or `asked`")]
    NoAlias {
        /// The module.
        name: String,
    },
    /// It has no such alias.
    #[error("module {name} has no alias {alias}: it has {known}")]
    OtherAlias {
        /// The module.
        name: String,
        /// What is listed.
        alias: String,
        /// What it has.
        known: String,
    },
    /// A module needs one that the kernel does not have.
    #[error("module {by} depends on {name}, which is neither built in nor in the package")]
    Dependency {
        /// What is missing.
        name: String,
        /// Who needs it.
        by: String,
    },
    /// Modules need each other without end.
    #[error("module {name} needs more modules, one after the other, than any kernel has")]
    Deep {
        /// Where it begins.
        name: String,
    },
    /// A module cannot be read.
    #[error("failed to read module {path}: {why}")]
    Read {
        /// The module.
        path: String,
        /// Why.
        why: String,
    },
}
