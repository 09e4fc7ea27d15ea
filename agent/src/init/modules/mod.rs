//! Kernel modules: those of a list in the order that the builder worked out, those that a device asks for, and those
//! that node asks for by name.
//!
//! There is no modprobe and no dependency file in the image: the lists name every module after those it needs. The
//! initramfs and the root have lists of their own.

pub mod drivers;
pub mod glob;
mod insert;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::errno::Errno;

use crate::{error, info, notice, paths, warning};

use self::drivers::{Driver, Drivers};
use super::uevent::Uevent;

/// One line of the list of modules that are always loaded.
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
    /// A list cannot be read.
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
    /// Modules are refused since the node is healthy.
    #[error("failed to load module {path}: this node takes none any more since it is healthy; restart it")]
    Off {
        /// The module.
        path: PathBuf,
    },
    /// Not one that may be asked for.
    #[error("this image has no module {name:?} to load on demand; it has {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What could be.
        known: String,
    },
}

/// The entries of a list; `#` starts a comment, a leading `?` marks a module that may fail.
pub fn parse(text: &str) -> impl Iterator<Item = Entry<'_>> {
    text.lines().filter_map(|line| {
        let line = line.split('#').next().unwrap_or_default().trim();
        (!line.is_empty()).then(|| entry(line)).filter(|entry| !entry.path.is_empty())
    })
}

fn entry(word: &str) -> Entry<'_> {
    let (path, optional) = word.strip_prefix('?').map_or((word, false), |rest| (rest.trim(), true));
    Entry { path, optional }
}

/// Gives a module to the kernel; false when it was there already.
type Insert = fn(&Path) -> Result<bool, ModuleError>;

/// Loads modules of one file system: of the initramfs or of the root.
#[derive(Debug)]
pub(super) struct Loader {
    /// Where the lists are.
    root: PathBuf,
    /// Where the modules are.
    folder: PathBuf,
    insert: Insert,
    /// What need not be tried again.
    tried: Vec<String>,
}

impl Loader {
    /// A loader for the file system at `root` and the kernel of this `release`.
    pub(super) fn new(root: &Path, release: &str) -> Self {
        let folder = root.join(paths::MODULES_DIR.trim_start_matches('/')).join(release);
        Self { root: root.to_owned(), folder, insert: insert::insert, tried: Vec::new() }
    }

    /// Loads every module of the list. One that fails is named in the log and does not keep the others from being loaded:
    /// what needs it will say so with its own words. Returns how many were loaded.
    ///
    /// # Errors
    /// When there is a list that cannot be read. No list means no modules.
    pub(super) fn always(&mut self) -> Result<usize, ModuleError> {
        let text = self.list(paths::MODULES_LIST)?;
        Ok(parse(&text).filter(|entry| self.load(entry)).count())
    }

    /// Loads what the devices that are there need. Returns how many drivers were loaded.
    ///
    /// # Errors
    /// When there is a list that cannot be read.
    pub(super) fn present(&mut self, sys: &Path) -> Result<usize, ModuleError> {
        let text = self.list(paths::DRIVERS_LIST)?;
        let drivers = Drivers::parse(&text);
        Ok(self.load_for(&drivers, &modaliases(sys, &drivers.buses())))
    }

    /// Loads what devices that just appeared need. Those that they bring with them have events of their own.
    pub(super) fn events(&mut self, sys: &Path, events: &[Uevent]) {
        let result = if events.iter().any(Uevent::is_overrun) {
            self.present(sys)
        } else {
            let added = events.iter().filter(|event| event.action == "add");
            let modaliases: Vec<String> = added.filter_map(|event| event.modalias.clone()).collect();
            if modaliases.is_empty() {
                return;
            }
            self.list(paths::DRIVERS_LIST).map(|text| self.load_for(&Drivers::parse(&text), &modaliases))
        };
        if let Err(why) = result {
            warning!("{why}");
        }
    }

    /// Loads a module that the list offers by this name, and what it needs. One that is there already is fine.
    ///
    /// # Errors
    /// When the list does not offer it, or the kernel refuses it.
    pub(super) fn named(&mut self, name: &str) -> Result<(), ModuleError> {
        let text = self.list(paths::DRIVERS_LIST)?;
        let drivers = Drivers::parse(&text);
        let Some(driver) = drivers.named(name) else {
            if drivers.is_builtin(name) {
                return Ok(());
            }
            let known = drivers.names().collect::<Vec<_>>().join(", ");
            return Err(ModuleError::Unknown { name: name.to_owned(), known });
        };
        self.needs(driver);
        if (self.insert)(&self.folder.join(driver.path))? {
            notice!("loaded module {name}");
        }
        Ok(())
    }

    fn load_for(&mut self, drivers: &Drivers<'_>, modaliases: &[String]) -> usize {
        let mut loaded = 0;
        for driver in drivers.matching(modaliases) {
            if self.tried.iter().any(|path| path == driver.path) {
                continue;
            }
            self.needs(driver);
            loaded += usize::from(self.load(&Entry { path: driver.path, optional: true }));
        }
        loaded
    }

    fn needs(&mut self, driver: &Driver<'_>) {
        for word in &driver.needs {
            self.load(&entry(word));
        }
    }

    /// True when it was loaded now.
    fn load(&mut self, entry: &Entry<'_>) -> bool {
        if self.tried.iter().any(|path| path == entry.path) {
            return false;
        }
        self.tried.push(entry.path.to_owned());
        match (self.insert)(&self.folder.join(entry.path)) {
            Ok(true) => {
                info!("loaded {}", entry.path);
                return true;
            }
            Ok(false) => {}
            Err(why) if entry.optional => info!("{why}"),
            Err(why) => error!("{why}"),
        }
        false
    }

    fn list(&self, path: &str) -> Result<String, ModuleError> {
        let path = self.root.join(path.trim_start_matches('/'));
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(source) => Err(ModuleError::List { path, source }),
        }
    }
}

/// What the devices of these buses say of themselves, each text once. Processors say it all together, in the folder above them.
fn modaliases(sys: &Path, buses: &[&str]) -> Vec<String> {
    let devices = buses.iter().filter_map(|bus| fs::read_dir(sys.join("bus").join(bus).join("devices")).ok());
    let places = devices.flatten().flatten().map(|device| device.path());
    let places = places.chain(buses.contains(&"cpu").then(|| sys.join("devices/system/cpu")));
    let texts = places.filter_map(|place| fs::read_to_string(place.join("modalias")).ok());
    let mut modaliases: Vec<String> = texts.map(|text| text.trim_end().to_owned()).collect();
    modaliases.sort_unstable();
    modaliases.dedup();
    modaliases
}

#[cfg(test)]
mod tests;
