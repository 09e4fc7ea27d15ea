//! Carrying out the plan's [`Disks`]: partition tables, file systems, mounts and swap space.
//!
//! All of it is repeated at each boot and changes nothing the second time: what is on a device decides, never an
//! instance id. What is recognised on a device is given up only with `overwrite`, and then only when it is not what the
//! plan asks for.

mod ebs;
mod find;
mod make;
mod mount;
mod swap;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

pub use ebs::volume_name;
pub use find::{Volume, volumes};

use crate::{
    init::state::{table::TableError, tools::ToolError},
    node::userdata::Disks,
};

/// How long a device may take to appear (network volumes are attached while the machine starts).
const LATE: Duration = Duration::from_secs(30);

/// Why something of it was not done.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// A device that does not appear.
    #[error("{0}: there is no such device")]
    Absent(String),
    /// The system refused.
    #[error("failed to {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A partition table that cannot be written.
    #[error("{device}: {source}", device = device.display())]
    Table {
        /// The disk.
        device: PathBuf,
        /// Why.
        source: TableError,
    },
    /// One of the programs for file systems failed.
    #[error("{device}: {source}", device = device.display())]
    Tool {
        /// The device.
        device: PathBuf,
        /// Why.
        source: ToolError,
    },
    /// Data that nobody gave up.
    #[error("{device} holds {what}: it is left as it is (overwrite: true gives it up)", device = device.display())]
    Occupied {
        /// The device.
        device: PathBuf,
        /// What is on it.
        what: String,
    },
    /// A file system that cannot be used.
    #[error("{device}: {why}", device = device.display())]
    Unusable {
        /// The device.
        device: PathBuf,
        /// Why.
        why: String,
    },
}

impl VolumeError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// What the work needs of the machine.
pub struct Machine<'a> {
    /// Where the file system begins.
    pub root: &'a Path,
    /// Waits until a block device appears or the time is over.
    pub wait: &'a dyn Fn(Duration),
    /// Has a kernel module loaded; what is built in, or absent, is as good.
    pub load_module: &'a dyn Fn(&str),
    /// The time since the machine started.
    pub now: &'a dyn Fn() -> Duration,
}

impl std::fmt::Debug for Machine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Machine<'_> {
    /// Waits for something that may come late.
    fn await_late<T>(&self, name: &str, mut look: impl FnMut() -> Option<T>) -> Result<T, VolumeError> {
        let end = (self.now)() + LATE;
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            let left = end.saturating_sub((self.now)());
            if left.is_zero() {
                return Err(VolumeError::Absent(name.to_owned()));
            }
            (self.wait)(left.min(Duration::from_secs(1)));
        }
    }
}

/// Does all of it. What was left undone without harm is a note; an error keeps Nomad from being started, because its data
/// might go to the wrong disk.
///
/// # Errors
/// When a mount that is not `nofail` cannot be made.
pub fn apply(machine: &Machine<'_>, disks: &Disks) -> Result<Vec<String>, VolumeError> {
    let mut notes = Vec::new();
    let mut note = |result: Result<(), VolumeError>| {
        if let Err(error) = result {
            notes.push(error.to_string());
        }
    };
    for table in &disks.tables {
        note(make::table(machine, table));
    }
    for setup in &disks.file_systems {
        note(make::file_system(machine, setup));
    }
    if let Some(swap) = &disks.swap {
        note(swap::file(machine, swap));
    }
    for entry in &disks.mounts {
        match mount::mount(machine, entry) {
            Err(error) if entry.optional || entry.target.is_none() => note(Err(error)),
            other => other?,
        }
    }
    Ok(notes)
}

/// The first bytes of a device, as many as the probes want.
fn head(device: &Path) -> Result<Vec<u8>, VolumeError> {
    use io::Read as _;
    let file = fs::File::open(device).map_err(VolumeError::io("open", device))?;
    let mut head = Vec::new();
    file.take(crate::init::state::probe::WINDOW as u64)
        .read_to_end(&mut head)
        .map_err(VolumeError::io("read", device))?;
    Ok(head)
}
