//! Rootless virtual machines, networks and cloud services for testing node images.
//!
//! A [`Lab`] is a network of virtual machines for one test: QEMU processes whose network cards are Unix sockets into a learning
//! [`Switch`] in this process, and [`Services`] on that switch that are the machines' cloud (DHCP, DNS, NTP, HTTP, ways to and from this
//! host). Nothing needs root, a bridge or a tap device, and nothing is left behind: machines die with this process however it ends, the
//! directory of a run is removed, and only a failed test keeps its consoles, disks, counters and `network.pcap`.
//!
//! The crate knows nothing of the images that it boots.
//!
//! # A cluster
//! ```no_run
//! use qemu::vm::DiskFormat;
//! use qemu::switch::{Fault, Traffic};
//! use qemu::{Accelerator, BootFiles, Lab, MachineSpec};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let kernel = std::path::Path::new("out/vmlinuz");
//! let boot = BootFiles::kernel(kernel, "out/initrd", "roothash=... console=ttyS0,115200 loglevel=6 panic=10")
//!     .with_disk("out/server.raw", DiskFormat::Raw)
//!     .with_disk_size(2 << 30);
//! let server = |number: u32| {
//!     MachineSpec::new(format!("server-vm-{number}"), boot.clone()).memory_mib(384).user_data("#cloud-config\n")
//! };
//! // KVM where a kernel really boots under it, else TCG. Deadlines stretch with it.
//! let lab = Lab::builder(Accelerator::probe(kernel)?).machines((0..3).map(server)).start()?;
//!
//! let deadline = lab.cluster_deadline();
//! let ready = lab.machine("server-vm-0").console().wait_for(["READY ", "role=server"], &deadline)?;
//! println!("{} after {:?}", ready.text, ready.at);
//!
//! // Nomad's API of one node, on a port of this host.
//! let api = lab.forward("server-vm-0", 4646)?;
//! println!("NOMAD_ADDR=http://{api}");
//!
//! // Faults, and their end.
//! lab.switch().partition("server-vm-0", "server-vm-1")?;
//! let fault = lab.switch().add_fault(Fault::drop().from("server-vm-2").traffic(Traffic::Udp(4648)).probability(0.3));
//! lab.switch().remove_fault(fault);
//! lab.switch().heal_all();
//!
//! // A power loss, and a start from the same disk. The console goes on; what is new comes after a mark.
//! let machine = lab.machine("server-vm-0");
//! let mark = machine.console().mark();
//! machine.kill()?;
//! machine.power_on()?;
//! machine.console().wait_after(mark, "READY ", &lab.deadline(30))?;
//!
//! // The power button.
//! let status = machine.shut_down(&lab.deadline(15))?;
//! assert!(status.success());
//! // What every test relies on: no crash on any console, no clock that runs wrong.
//! lab.finish()?;
//! # Ok(())
//! # }
//! ```
//!
//! Files for the machines: `lab.services().site().put("/job/artifact.sh", bytes)` is `http://10.0.5.1/job/artifact.sh` to them. A cloud that
//! misbehaves: `lab.services().dhcp().set_mode(..)`, `.dns().clear()`, `.ntp().set_ahead(..)`, `.site().fail("/seed", HttpFault::..)`.
//!
//! # Waiting
//! There is no sleep anywhere: [`Console::wait_for`] looks through what was captured and then wakes with each new line, and it fails
//! at once when the machine ends or writes what no healthy machine writes ([`vm::FATAL`], exceptions by [`Console::allow`]).
//!
//! # Variables
//! `STEPPE_ACCEL=kvm|tcg` overrides the probe, `STEPPE_TIME_SCALE=2` doubles every deadline, `STEPPE_KEEP=1` keeps the directories of
//! runs that succeeded.

mod accel;
mod deadline;
pub mod lab;
mod process;
mod rundir;
pub mod services;
pub mod switch;
mod sys;
pub mod vm;
pub mod volume;
mod wake;

pub use accel::{ACCELERATOR_VARIABLE, Accelerator, ProbeError};
pub use deadline::{Deadline, SCALE_VARIABLE, TimeScale};
pub use lab::{BootFiles, Lab, MachineSpec};
pub use process::Process;
pub use rundir::{KEEP_VARIABLE, RunDir};
pub use services::Services;
pub use switch::Switch;
pub use vm::{Console, Vm, VmConfig};
