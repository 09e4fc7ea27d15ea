//! One machine: its description, its process, its console and its monitor.

mod argv;
mod config;
mod console;
mod firmware;
mod lines;
mod machine;
mod overlay;
mod pattern;
mod qmp;
mod tsc;
mod verdict;

pub use argv::{QEMU, Wiring, argv, replay_script};
pub use config::{Boot, Disk, DiskBus, DiskFormat, Nic, NicModel, Smbios, VmConfig};
pub use console::{Console, ConsoleError, Line, Mark};
pub use firmware::{Firmware, FirmwareError};
pub use machine::{Vm, VmError};
pub use overlay::{DiskError, create_empty, create_overlay};
pub use pattern::Pattern;
pub use qmp::{Event, Qmp, QmpError};
pub use tsc::{TscError, check_clock, clock_arguments, host_tsc_khz};
pub use verdict::FATAL;
