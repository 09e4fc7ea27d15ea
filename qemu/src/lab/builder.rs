//! Describing and starting a lab.

use crate::lab::{Lab, LabError, Machine, MachineSpec, evidence, spec};
use crate::services::{Services, ServicesConfig};
use crate::switch::Switch;
use crate::{Accelerator, RunDir};
use std::sync::atomic::AtomicBool;

/// In which order machines are powered on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StartOrder {
    /// All in one instant.
    #[default]
    Together,
    /// Each one when the one before has written a line with this part (`Linux version` lets each calibrate its clock alone).
    OneByOne(String),
}

/// A lab before it is started.
#[derive(Debug)]
pub struct LabBuilder {
    accelerator: Accelerator,
    seed: u64,
    order: StartOrder,
    services: ServicesConfig,
    machines: Vec<MachineSpec>,
}

impl LabBuilder {
    pub(crate) fn new(accelerator: Accelerator) -> Self {
        let (order, services) = (StartOrder::default(), ServicesConfig::default());
        Self { accelerator, seed: 1, order, services, machines: Vec::new() }
    }

    /// With this machine too.
    #[must_use]
    pub fn machine(mut self, spec: MachineSpec) -> Self {
        self.machines.push(spec);
        self
    }

    /// With these machines too.
    #[must_use]
    pub fn machines(mut self, specs: impl IntoIterator<Item = MachineSpec>) -> Self {
        self.machines.extend(specs);
        self
    }

    /// With another seed for the chance in network faults.
    #[must_use]
    pub fn chance(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// With another order of power-ons.
    #[must_use]
    pub fn order(self, order: StartOrder) -> Self {
        Self { order, ..self }
    }

    /// Makes the network and powers the machines on.
    ///
    /// # Errors
    /// [`LabError`]; nothing is left running then.
    pub fn start(self) -> Result<Lab, LabError> {
        let run = RunDir::new().map_err(|source| LabError::Prepare { path: std::env::temp_dir(), source })?;
        let switch = Switch::start(self.seed)?;
        let seed_base = format!("http://{}/seed", self.services.address);
        let services = Services::start(&switch, self.services)?;
        let mut machines: Vec<Machine> = Vec::new();
        let addresses = spec::addresses(&self.machines);
        for (spec, address) in self.machines.into_iter().zip(addresses) {
            if machines.iter().any(|machine| machine.name() == spec.name) {
                return Err(LabError::Duplicate(spec.name));
            }
            let machine = Machine::new(spec, address, self.accelerator, run.path(), &seed_base)?;
            for nic in machine.nics() {
                switch.listen(&nic.port, nic.socket())?;
            }
            machines.push(machine);
        }
        let failed = AtomicBool::new(false);
        let directory = run.path().to_owned();
        let (run, accelerator, failures) = (Some(run), self.accelerator, evidence::failures());
        let lab = Lab { machines, services, switch, run, directory, accelerator, failed, failures };
        lab.power_on_all(&self.order)?;
        Ok(lab)
    }
}
