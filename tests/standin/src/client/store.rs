//! What a client must know after a restart: its allocations, and how to find their processes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::executor::Handle;
use crate::server::objects::Alloc;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    alloc: Alloc,
    handles: BTreeMap<String, Handle>,
}

/// The file, and its content.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    entries: Mutex<BTreeMap<String, Entry>>,
}

impl Store {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// If it holds something else.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let entries = match fs::read(path) {
            Ok(bytes) if !bytes.is_empty() => serde_json::from_slice(&bytes)
                .map_err(|_| "failed to open state database: invalid database".to_owned())?,
            _ => BTreeMap::new(),
        };
        let store = Self { path: path.to_owned(), entries: Mutex::new(entries) };
        store
            .write(&store.entries.lock().unwrap_or_else(PoisonError::into_inner))
            .map_err(|error| format!("failed to open state database: {error}"))?;
        Ok(store)
    }

    fn write(&self, entries: &BTreeMap<String, Entry>) -> std::io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        std::io::Write::write_all(&mut file, &serde_json::to_vec(entries)?)?;
        file.sync_data()?;
        fs::rename(new, &self.path)
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Entry>)) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut entries);
        if let Err(error) = self.write(&entries) {
            crate::log::error(format!("client: failed to write {}: {error}", self.path.display()));
        }
    }

    pub(super) fn save(&self, alloc: &Alloc, handles: BTreeMap<String, Handle>) {
        self.change(|entries| drop(entries.insert(alloc.id.clone(), Entry { alloc: alloc.clone(), handles })));
    }

    pub(super) fn forget(&self, id: &str) {
        self.change(|entries| drop(entries.remove(id)));
    }

    pub(super) fn restore(&self) -> Vec<(Alloc, BTreeMap<String, Handle>)> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .values()
            .filter(|entry| !entry.alloc.ended())
            .map(|entry| (entry.alloc.clone(), entry.handles.clone()))
            .collect()
    }
}
