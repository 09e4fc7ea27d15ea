//! What can go wrong in a lab.

use crate::services::ServicesError;
use crate::switch::SwitchError;
use crate::vm::{ConsoleError, DiskError, FirmwareError, TscError, VmError};
use crate::volume::VolumeError;
use std::io;
use std::path::PathBuf;

/// Why a lab does not do something.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum LabError {
    #[error("failed to prepare {}: {source}", path.display())]
    Prepare { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Switch(#[from] SwitchError),
    #[error(transparent)]
    Services(#[from] ServicesError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error(transparent)]
    Vm(#[from] VmError),
    #[error(transparent)]
    Console(#[from] ConsoleError),
    #[error("the lab has no machine {0}")]
    Unknown(String),
    #[error("the lab has two machines named {0}")]
    Duplicate(String),
    #[error("{0} is off")]
    Off(String),
    #[error("{0} is on already")]
    AlreadyOn(String),
    #[error("{machine}: the console showed what a healthy machine does not write: {line}")]
    Unhealthy { machine: String, line: String },
    #[error("{machine}: {source}")]
    Clock { machine: String, source: TscError },
}
