//! Processor time from power-on until Nomad has a leader: one server, against a bare prototype and against Debian.
//!
//! The prototype mounts its root as it is, so it is held against the image with a root that nobody verifies; what dm-verity costs
//! is a row of its own, the image against itself.
//!
//! Of several boots the quickest counts: what else the host does adds to a boot's processor time (shared caches, shared cores)
//! and never takes away from it. The contenders take turns, so that each of them meets the quiet moments.

use std::{fmt, path::Path, time::Duration};

use agent::facts::Role;
use anyhow::Context as _;
use builder::{cache::Cache, manifest::Kind};
use qemu::{Accelerator, BootFiles, Lab, MachineSpec, services::MessageType, vm::DiskFormat, volume::SeedMedium};

use super::{cpu, debian, prototype, table::Row};
use crate::{
    api::Api,
    cluster::{LONE_SERVER_DATA, accelerator},
    images::Image,
    wait,
};

/// How often the image, with and without verification, and the prototype are booted.
const ROUNDS: usize = 6;
/// After how many of these rounds Debian is booted once.
const EVERY: usize = 2;
/// Ratio to the prototype that the image may have, verification aside.
const TO_PROTOTYPE: f64 = 1.05;
/// Ratio to itself without verification that the image may have: SHA-256 in C, on an emulated processor.
const TO_UNVERIFIED: f64 = 1.2;
/// Ratio to Debian that the image may have. Kernel and Nomad alone are 0.16 to 0.19 of it.
const TO_DEBIAN: f64 = 0.22;
/// The same, when kernel and Nomad are taken off both, verification aside: what Steppe answers for.
const OWN_TO_DEBIAN: f64 = 0.03;
/// Memory of the image and the prototype, in MiB.
const MEMORY: u32 = 320;
/// Size of the disk that has the root and the state, and of the prototype's disk for state, in bytes.
const DISK: u64 = 4 << 30;
/// The machine's name decides its address in the lab.
const NAME: &str = "server-vm-0";
/// Pause between two questions for the leader.
const PAUSE: Duration = Duration::from_millis(100);

/// A machine that is to become a leader.
struct Contender {
    what: &'static str,
    spec: MachineSpec,
    network: Network,
    /// Processor seconds of each boot.
    boots: Vec<f64>,
}

/// How to know that a machine's network is up: questions that nobody can answer would be repeated later and later.
#[derive(Clone, Copy)]
enum Network {
    /// The part of a line on its console.
    Line(&'static str),
    /// Its DHCP request.
    Lease,
}

impl Contender {
    fn new(what: &'static str, spec: MachineSpec, network: Network) -> Self {
        Self { what, spec: spec.powered_off(), network, boots: Vec::new() }
    }

    /// Boots it once more, from fresh disks.
    fn boot(&mut self, accelerator: Accelerator) -> anyhow::Result<()> {
        let lab = Lab::builder(accelerator).machine(self.spec.clone()).start()?;
        match to_leader(&lab, &self.spec.name, &self.network) {
            Ok(seconds) => {
                lab.finish()?;
                eprintln!("{}: {seconds:.2} CPU-s", self.what);
                self.boots.push(seconds);
                Ok(())
            }
            Err(why) => {
                lab.mark_failed();
                Err(why)
            }
        }
    }
}

/// The command line with the root as a partition, which is mounted as it is, instead of as a hash.
fn unverified(cmdline: &str) -> anyhow::Result<String> {
    let mut found = false;
    let words: Vec<String> = cmdline
        .split_whitespace()
        .map(|word| match word.strip_prefix("roothash=").and_then(|hash| hash.get(..32)) {
            Some(hash) => {
                found = true;
                // A root's partition has the first half of the hash as its identifier (Discoverable Partitions Specification).
                let cut = |from: usize, to: usize| hash.get(from..to).unwrap_or_default();
                let parts = [cut(0, 8), cut(8, 12), cut(12, 16), cut(16, 20), cut(20, 32)];
                format!("root=PARTUUID={}", parts.join("-"))
            }
            None => word.to_owned(),
        })
        .collect();
    anyhow::ensure!(found, "the image's command line has no roothash=: {cmdline}");
    Ok(words.join(" "))
}

/// Boots the image, itself without verification, the prototype and Debian in turn.
///
/// # Errors
/// When one of them does not come up.
pub fn rows(scratch: &Path) -> anyhow::Result<Vec<Row>> {
    let image = Image::find(Role::Server)?;
    let cache = Cache::default_folder().context("neither XDG_CACHE_HOME nor HOME says where the cache is")?;
    let initrd = prototype::initrd(image.manifest(), &cache, scratch)?;
    let accelerator = accelerator()?;
    // As shipped: no console, no word more on the command line.
    let boot = |initrd, cmdline: &str| -> anyhow::Result<BootFiles> {
        let files = BootFiles::kernel(image.path(Kind::Kernel)?, initrd, cmdline);
        Ok(files.with_disk(image.path(Kind::Raw)?, DiskFormat::Raw).with_disk_size(DISK))
    };
    let shipped = image.manifest().cmdline.as_str();
    let server = |cmdline| -> anyhow::Result<MachineSpec> {
        Ok(MachineSpec::new(NAME, boot(image.path(Kind::Initrd)?, cmdline)?)
            .user_data(LONE_SERVER_DATA)
            .memory_mib(MEMORY))
    };
    let mut bare = MachineSpec::new("prototype", boot(initrd, shipped)?).medium(SeedMedium::None);
    bare.address = Some(prototype::ADDRESS);
    bare.blank_disk = Some(DISK);
    let up = Network::Line("eth0: ");
    let mut steppe = Contender::new("the image", server(shipped)?, up);
    let mut trusting = Contender::new("the image, its root not verified", server(&unverified(shipped)?)?, up);
    let mut bare = Contender::new("a bare prototype", bare.memory_mib(MEMORY), Network::Line(prototype::NETWORK_IS_UP));
    let mut debian = Contender::new(
        "Debian tuned by an expert",
        debian::machine(&image, NAME, DISK, &cache, scratch)?,
        Network::Lease,
    );

    for round in 0..ROUNDS {
        // Each comes first as often as last.
        let mut order = [&mut steppe, &mut bare, &mut trusting];
        order.rotate_left(round % 3);
        for contender in order {
            contender.boot(accelerator)?;
        }
        if round % EVERY == 0 {
            debian.boot(accelerator)?;
        }
    }
    let row = |ours: &Contender, peer: &Contender, budget| {
        let [left, right] = [ours, peer].map(|contender| Summary::of(&contender.boots));
        let what =
            format!("power-on to leader, one server, {}: {} against {}", accelerator.name(), ours.what, peer.what);
        Row::new(what, left.least, right.least, "CPU-s").budget(budget).note(format!("{left}; peer {right}"))
    };
    let to_bare = row(&trusting, &bare, TO_PROTOTYPE);
    let to_debian = row(&steppe, &debian, TO_DEBIAN);
    let less_bare = |whole: f64| whole - to_bare.peer;
    let own = Row::new(
        "what comes on top of the bare prototype",
        less_bare(to_bare.value),
        less_bare(to_debian.peer),
        "CPU-s",
    );
    let own = own.budget(OWN_TO_DEBIAN).note("the image, its root not verified, and Debian");
    Ok(vec![to_bare, row(&steppe, &trusting, TO_UNVERIFIED), to_debian, own])
}

/// Processor seconds until a machine that is off is its own leader.
fn to_leader(lab: &Lab, name: &str, network: &Network) -> anyhow::Result<f64> {
    let machine = lab.machine(name);
    let vm = machine.power_on()?;
    let limit = lab.time_scale().stretch(Duration::from_secs(120));
    match network {
        Network::Line(part) => {
            machine.console().wait_for(*part, &lab.deadline(60))?;
        }
        Network::Lease => wait::until("a DHCP request", limit, || {
            let requests = lab.services().dhcp().requests();
            requests
                .iter()
                .any(|request| request.kind == MessageType::Request)
                .then_some(())
                .ok_or_else(|| format!("{requests:?}"))
        })?,
    }
    let api = Api::new(lab.forward(name, 4646)?);
    wait::until_every(PAUSE, "a leader", limit, || api.leader())?;
    cpu::seconds(vm.process().id())
}

/// The processor time of several boots.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Summary {
    least: f64,
    median: f64,
    most: f64,
}

impl Summary {
    fn of(boots: &[f64]) -> Self {
        let mut sorted = boots.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
        Self { least: at(0), median: at(sorted.len() / 2), most: at(sorted.len().saturating_sub(1)) }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "median {:.2}, most {:.2}", self.median, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_is_not_verified_is_the_partition_of_the_hash() {
        let hash = "00112233445566778899aabbccddeeff".repeat(2);
        let cmdline = unverified(&format!("quiet roothash={hash} panic=10")).unwrap();
        assert_eq!(cmdline, "quiet root=PARTUUID=00112233-4455-6677-8899-aabbccddeeff panic=10");
        unverified("quiet root=/dev/vda2").unwrap_err();
    }

    #[test]
    fn the_quickest_boot_counts_and_the_others_are_told() {
        let summary = Summary::of(&[9.5, 7.0, 30.0]);
        assert_eq!(summary, Summary { least: 7.0, median: 9.5, most: 30.0 });
        assert_eq!(summary.to_string(), "median 9.50, most 30.00");
        assert!(Summary::of(&[]).least.is_nan());
    }
}
