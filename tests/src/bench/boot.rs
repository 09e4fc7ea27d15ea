//! Processor time from power-on until Nomad has a leader: one server, against the prototype.

use std::{path::Path, time::Duration, time::Instant};

use agent::facts::Role;
use builder::manifest::Kind;
use qemu::{Accelerator, BootFiles, Lab, MachineSpec, vm::DiskFormat, volume::SeedMedium};

use super::{cpu, prototype, table::Row};
use crate::{
    api::Api,
    cluster::{LONE_SERVER_DATA, accelerator},
    images::Image,
    wait,
};

/// How often each is booted. The two take turns, so that what else the machine does strikes both.
const RUNS: usize = 3;
/// Ratio to the prototype that the image may have.
const BUDGET: f64 = 1.05;
/// Memory of both, in MiB.
const MEMORY: u32 = 320;
/// Size of the disk that has the root and the state, and of the prototype's disk for state, in bytes.
const DISK: u64 = 4 << 30;
/// The machine's name decides its address in the lab.
const NAME: &str = "server-vm-0";

/// Time from power-on to a leader.
#[derive(Debug, Clone, Copy)]
struct Boot {
    cpu: f64,
    wall: f64,
}

/// Boots the image and the prototype in turn. `cache` is a cache of the builder with the image's packages.
///
/// # Errors
/// When one of them does not come up.
pub fn rows(cache: &Path, scratch: &Path) -> anyhow::Result<Vec<Row>> {
    let image = Image::find(Role::Server)?;
    let initrd = prototype::initrd(image.manifest(), cache, scratch)?;
    let accelerator = accelerator()?;
    // As shipped: no console, no word more on the command line.
    let boot = |initrd| -> anyhow::Result<BootFiles> {
        let files = BootFiles::kernel(image.path(Kind::Kernel)?, initrd, &image.manifest().cmdline);
        Ok(files.with_disk(image.path(Kind::Raw)?, DiskFormat::Raw).with_disk_size(DISK))
    };
    let steppe = MachineSpec::new(NAME, boot(image.path(Kind::Initrd)?)?).user_data(LONE_SERVER_DATA);
    let mut bare = MachineSpec::new("prototype", boot(initrd)?).medium(SeedMedium::None);
    bare.address = Some(prototype::ADDRESS);
    bare.blank_disk = Some(DISK);

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        ours.push(to_leader(&steppe, "eth0: ", accelerator)?);
        theirs.push(to_leader(&bare, prototype::NETWORK_IS_UP, accelerator)?);
    }
    let [ours, theirs] = [Summary::of(&ours), Summary::of(&theirs)];
    let what = format!("power-on to leader, one server, {}, against a bare prototype", accelerator.name());
    let note = format!(
        "medians of {RUNS}; {}, peer {}; {:.1} and {:.1} s on the wall",
        ours.spread(),
        theirs.spread(),
        ours.wall,
        theirs.wall
    );
    Ok(vec![Row::new(what, ours.median, theirs.median, "CPU-s").budget(BUDGET).note(note)])
}

/// Boots a machine from fresh disks. `network` is part of the line that says that its network is up: questions that nobody
/// can answer would be repeated later and later.
fn to_leader(spec: &MachineSpec, network: &str, accelerator: Accelerator) -> anyhow::Result<Boot> {
    let lab = Lab::builder(accelerator).machine(spec.clone().memory_mib(MEMORY).powered_off()).start()?;
    let result = (|| {
        let machine = lab.machine(&spec.name);
        let start = Instant::now();
        let vm = machine.power_on()?;
        machine.console().wait_for(network, &lab.deadline(30))?;
        let api = Api::new(lab.forward(&spec.name, 4646)?);
        wait::until("a leader", lab.time_scale().stretch(Duration::from_secs(45)), || api.leader())?;
        Ok(Boot { cpu: cpu::seconds(vm.process().id())?, wall: start.elapsed().as_secs_f64() })
    })();
    match &result {
        Ok(_) => lab.finish()?,
        Err(_) => lab.mark_failed(),
    }
    result
}

/// Of several boots the median, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Summary {
    median: f64,
    least: f64,
    most: f64,
    wall: f64,
}

impl Summary {
    fn of(boots: &[Boot]) -> Self {
        let sorted = |figure: fn(&Boot) -> f64| {
            let mut figures: Vec<f64> = boots.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures
        };
        let (cpu, wall) = (sorted(|boot| boot.cpu), sorted(|boot| boot.wall));
        let middle = boots.len() / 2;
        Self { median: cpu[middle], least: cpu[0], most: cpu[cpu.len() - 1], wall: wall[middle] }
    }

    fn spread(&self) -> String {
        format!("{:.2} to {:.2}", self.least, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_boot_moves_the_spread_and_not_the_median() {
        let boots = [9.5, 7.0, 30.0].map(|cpu| Boot { cpu, wall: cpu * 2.0 });
        assert_eq!(Summary::of(&boots), Summary { median: 9.5, least: 7.0, most: 30.0, wall: 19.0 });
        assert_eq!(Summary::of(&boots).spread(), "7.00 to 30.00");
    }
}
