//! A network, its services and its machines, for one test.

mod builder;
mod error;
mod evidence;
mod machine;
mod report;
mod spec;

pub use builder::{LabBuilder, StartOrder};
pub use error::LabError;
pub use evidence::reporting;
pub use machine::{Machine, MachineNic};
pub(crate) use spec::mac as station;
pub use spec::{BaseDisk, BootFiles, BootMethod, MachineSpec, NicLease, NicSpec};

use crate::services::{Lease, Services};
use crate::switch::Switch;
use crate::vm::{Mark, check_clock};
use crate::volume::{Seed, SeedMedium};
use crate::{Accelerator, Deadline, RunDir, TimeScale};
use std::net::{SocketAddr, SocketAddrV4};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a cluster may take to come up under KVM; 180 s under TCG on two busy cores.
const CLUSTER_TIME: Duration = Duration::from_secs(45);

/// A network with its machines.
///
/// Dropping it pulls all plugs and removes everything. When that happens because the test panics (a failed assertion), or in a step that
/// gives an error ([`reporting`]), it prints the end of each console and how to run the test and the machines again, and keeps its
/// directory.
#[derive(Debug)]
pub struct Lab {
    // In this order: machines go before the network, and before the directory.
    machines: Vec<Machine>,
    services: Services,
    switch: Switch,
    /// There until it is dropped.
    run: Option<RunDir>,
    directory: PathBuf,
    accelerator: Accelerator,
    failed: AtomicBool,
    /// Steps that had failed when it was made.
    failures: u64,
}

impl Lab {
    /// Describes a lab: a network 10.0.5.0/24 with services at 10.0.5.1 and no machine yet.
    #[must_use]
    pub fn builder(accelerator: Accelerator) -> LabBuilder {
        LabBuilder::new(accelerator)
    }

    /// The machine with a name.
    ///
    /// # Panics
    /// When there is none: a mistake in the test.
    #[must_use]
    pub fn machine(&self, name: &str) -> &Machine {
        match self.machines.iter().find(|machine| machine.name() == name) {
            Some(machine) => machine,
            None => panic!("{}", LabError::Unknown(name.to_owned())),
        }
    }

    /// All machines, in the order of their description.
    #[must_use]
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// The network, for faults and captures. Ports are named after their machines; the services' port is `services`.
    #[must_use]
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// The cloud: addresses, names, time, files.
    #[must_use]
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Where everything is: one directory for each machine.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// How deadlines stretch here.
    #[must_use]
    pub fn time_scale(&self) -> TimeScale {
        self.accelerator.time_scale()
    }

    /// What executes the machines.
    #[must_use]
    pub fn accelerator(&self) -> Accelerator {
        self.accelerator
    }

    /// A deadline that is `seconds` from now on a quiet host with KVM, and later where machines are slower.
    #[must_use]
    pub fn deadline(&self, seconds: u64) -> Deadline {
        self.time_scale().deadline(Duration::from_secs(seconds))
    }

    /// The deadline for a whole cluster to come up.
    #[must_use]
    pub fn cluster_deadline(&self) -> Deadline {
        self.time_scale().deadline(CLUSTER_TIME)
    }

    /// A port of this host's loopback address that leads to a machine's port.
    ///
    /// # Errors
    /// What opening a port can give.
    ///
    /// # Panics
    /// When there is no such machine.
    pub fn forward(&self, machine: &str, port: u16) -> Result<SocketAddr, LabError> {
        Ok(self.services.forward(SocketAddrV4::new(self.machine(machine).address(), port))?)
    }

    /// Makes DHCP and DNS know a machine.
    ///
    /// # Panics
    /// When there is no such machine.
    pub fn register(&self, name: &str) {
        let machine = self.machine(name);
        for nic in machine.nics() {
            let (address, hostname) = match nic.lease {
                NicLease::Machine => (machine.address(), Some(name.to_owned())),
                NicLease::Address(address) => (address, None),
                NicLease::Nothing => continue,
            };
            self.services.dhcp().set_lease(nic.mac, Lease { address, hostname });
        }
        self.services.dns().set(name, [machine.address()]);
    }

    /// Tells a machine something else: on its volume from the next power-on on, by HTTP at once.
    ///
    /// # Panics
    /// When there is no such machine.
    pub fn reseed(&self, name: &str, seed: Seed) {
        let machine = self.machine(name);
        for (file, _) in machine.seed().files() {
            self.services.site().remove(&format!("/seed/{name}/{file}"));
        }
        machine.set_seed(seed);
        self.publish_seed(machine);
    }

    /// Checks what no test asks for but every test relies on: no console shows a crash, and no machine's clock runs wrong.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check_health(&self) -> Result<(), LabError> {
        for machine in &self.machines {
            let name = machine.name().to_owned();
            if let Some(line) = machine.console().fatal() {
                return Err(LabError::Unhealthy { machine: name, line });
            }
            if self.accelerator == Accelerator::Tcg {
                let checked = check_clock(machine.console(), Mark::default());
                checked.map_err(|source| LabError::Clock { machine: name, source })?;
            }
        }
        Ok(())
    }

    /// Powers machines on that are off.
    ///
    /// # Errors
    /// When one is on already, or QEMU refuses.
    ///
    /// # Panics
    /// When there is no such machine.
    pub fn power_on(&self, names: &[&str], order: &StartOrder) -> Result<(), LabError> {
        let machines = names.iter().map(|name| self.machine(name));
        match order {
            StartOrder::Together => std::thread::scope(|scope| {
                let threads: Vec<_> = machines.map(|machine| scope.spawn(|| machine.power_on().map(|_| ()))).collect();
                // A panic in there is a bug of the harness; it goes on here.
                let results =
                    threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
                results.collect()
            }),
            StartOrder::OneByOne(pattern) => machines.enumerate().try_for_each(|(index, machine)| {
                machine.power_on()?;
                if index + 1 < names.len() {
                    machine.console().wait_for(pattern, &self.deadline(30))?;
                }
                Ok(())
            }),
        }
    }

    /// Ends a test that went well: [`Lab::check_health`], and everything is gone.
    ///
    /// # Errors
    /// The first thing that is wrong; then the lab reports and keeps everything, as a panic makes it.
    pub fn finish(self) -> Result<(), LabError> {
        self.check_health().inspect_err(|_| self.mark_failed())
    }

    /// Makes dropping the lab report and keep everything, as a panic does: for tests that end with an error instead.
    pub fn mark_failed(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    fn power_on_all(&self, order: &StartOrder) -> Result<(), LabError> {
        for machine in &self.machines {
            if machine.spec().registered {
                self.register(machine.name());
            }
            self.publish_seed(machine);
        }
        let started: Vec<&str> =
            self.machines.iter().filter(|machine| machine.spec().autostart).map(Machine::name).collect();
        self.power_on(&started, order)
    }

    fn publish_seed(&self, machine: &Machine) {
        if machine.spec().medium == SeedMedium::Http {
            for (file, content) in machine.seed().files() {
                self.services.site().put(&format!("/seed/{}/{file}", machine.name()), content);
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let Some(mut run) = self.run.take() else { return };
        let failed = self.failed.load(Ordering::Relaxed) || evidence::failures() > self.failures;
        let mut text = String::new();
        if std::thread::panicking() || failed {
            run.keep();
            eprint!("{}", report::failure(self));
        } else if run.is_kept() {
            report::save(self);
            eprintln!("kept {}", self.directory.display());
        } else if evidence::step().is_some() {
            text = report::failure(self);
        }
        // Before their directory.
        self.machines.clear();
        evidence::set_aside(run, text);
    }
}
