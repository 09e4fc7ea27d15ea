//! Where metadata and user-data come from: one file for each source, behind one small trait.

pub mod akamai;
pub mod azure;
pub mod configdrive;
pub mod detect;
pub mod digitalocean;
mod dmi;
mod document;
pub mod ec2;
pub mod exoscale;
mod fetch;
pub mod fw_cfg;
pub mod gce;
pub mod hetzner;
mod hints;
pub mod http;
mod media;
mod nics;
mod nocloud;
pub mod openstack;
pub mod oracle;
pub mod scaleway;
pub mod superblock;
#[cfg(test)]
mod testbed;
pub mod upcloud;
pub mod vmware;
pub mod vultr;

use std::{path::Path, time::Duration};

pub use detect::{LABELS, Surroundings, canonical};
pub use dmi::Dmi;
pub use hints::{Hints, hints};
pub use http::{Endpoint, Get, Headers, HttpError, Method, Service, Timing, first, shown};
pub use media::{Files, MediaError, Volume, volumes};
pub use nics::{Nic, nics};
pub use nocloud::NoCloud;

use crate::{
    cmdline::Cmdline,
    node::{clock, net::View, seed::Seed},
};

/// What is known of the machine before anything is asked.
#[derive(Debug, Clone, Default)]
pub struct Platform {
    /// The kernel's command line.
    pub cmdline: Cmdline,
    /// What the firmware says.
    pub dmi: Dmi,
    /// What the hypervisor shows.
    pub surroundings: Surroundings,
    /// The platform that the image was built for.
    pub image: Option<String>,
}

impl Platform {
    /// Reads `/proc/cmdline` and the files of `/sys` below `root`.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let cmdline = std::fs::read_to_string(root.join("proc/cmdline")).unwrap_or_default();
        let (dmi, surroundings) = (Dmi::read(root), Surroundings::read(root));
        Self { cmdline: Cmdline::parse(&cmdline), dmi, surroundings, image: None }
    }
}

/// How sure a datasource is that it is the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detection {
    /// The machine is known to be elsewhere.
    Absent,
    /// Only looking tells.
    Possible,
    /// The command line or the firmware names it.
    Named,
}

/// What one look needs.
#[derive(Debug, Clone)]
pub struct Look<'a> {
    /// Where the file system begins.
    pub root: &'a Path,
    /// What is known of the machine.
    pub platform: &'a Platform,
    /// Whether an address is there, so that asking by HTTP can work. Services at link-local addresses of IPv6 need none.
    pub online: bool,
    /// The network, with the leases.
    pub view: &'a View,
    /// The network interfaces.
    pub nics: Vec<Nic>,
    /// How long requests may take.
    pub timing: Timing,
    /// When the look has to be over, as a time of [`clock::now`].
    pub deadline: Duration,
}

impl<'a> Look<'a> {
    /// A look that begins now.
    #[must_use]
    pub fn new(root: &'a Path, platform: &'a Platform, view: &'a View) -> Self {
        let timing = Timing::CLOUD;
        let (online, deadline) = (view.is_online(), clock::now() + timing.look);
        Self { root, platform, online, view, nics: nics(root), timing, deadline }
    }

    /// The services that can be asked now: of a link-local endpoint one for each link, of others none before there is
    /// an address.
    #[must_use]
    pub fn services(&self, endpoints: &[Endpoint]) -> Vec<Service> {
        let reachable = endpoints.iter().filter(|endpoint| self.online || endpoint.is_link_local());
        reachable.flat_map(|endpoint| Service::all(endpoint, &self.nics, self.timing, self.deadline)).collect()
    }
}

/// What one look gave.
#[derive(Debug)]
pub enum Outcome {
    /// Metadata.
    Found(Box<Seed>),
    /// Nothing yet; what was looked at, for people.
    Nothing(String),
    /// Something is there and cannot be read; why.
    Failed(String),
    /// The machine is of a kind that cannot become a node; why. Its cloud is told.
    Refused(String),
}

/// How the boot went, for [`Datasource::report`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportState<'a> {
    /// The plan is applied and Nomad is healthy, for the first time in this boot.
    Ready,
    /// The plan is refused or cannot be applied, and Nomad is not started: why, without secrets.
    Failed(&'a [String]),
}

/// A place that metadata comes from.
pub trait Datasource: Sync {
    /// Its name in the table of signals, in `ds=` and `steppe.platform=`, and in [`Seed::platform`].
    fn name(&self) -> &'static str;

    /// Whether this machine is likely to have it. Looks at facts only, asks nobody; what the table says, but for tests.
    fn detect(&self, platform: &Platform) -> Detection {
        platform.detection(self.name())
    }

    /// Whether it may be somewhere else than on the network, so that it is worth a look before there is an address.
    fn is_local(&self, _platform: &Platform) -> bool {
        false
    }

    /// Looks once; bounded by its own timeouts.
    fn look(&self, look: &Look<'_>) -> Outcome;

    /// Tells the cloud how the boot went, where it wants to know. Called when there is an address, on a thread of its
    /// own for which nobody waits, once for each state; it may try again for as long as its cloud listens, but has to
    /// end by itself.
    fn report(&self, _look: &Look<'_>, _state: ReportState<'_>) {}
}

/// All datasources, in the order in which they are asked: media before the network.
#[must_use]
pub fn all() -> Vec<Box<dyn Datasource>> {
    let mut all: Vec<Box<dyn Datasource>> = vec![
        Box::new(NoCloud),
        Box::new(configdrive::ConfigDrive),
        Box::new(vmware::VmWare),
        Box::new(fw_cfg::FwCfg),
        Box::new(akamai::Akamai::default()),
        Box::new(azure::Azure::default()),
        Box::new(digitalocean::DigitalOcean::default()),
        Box::new(ec2::Ec2::aws()),
        Box::new(exoscale::Exoscale::default()),
        Box::new(gce::Gce::default()),
        Box::new(hetzner::Hetzner::default()),
        Box::new(openstack::OpenStack::default()),
        Box::new(oracle::Oracle::default()),
        Box::new(scaleway::Scaleway::default()),
        Box::new(upcloud::UpCloud::default()),
        Box::new(vultr::Vultr::default()),
    ];
    all.extend(ec2::Ec2::others().into_iter().map(|source| Box::new(source) as Box<dyn Datasource>));
    all
}

/// The names of all datasources.
pub fn names() -> impl Iterator<Item = &'static str> {
    all().into_iter().map(|source| source.name())
}
