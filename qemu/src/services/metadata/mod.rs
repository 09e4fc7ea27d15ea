//! Clouds: what each hands a machine, over HTTP (at 169.254.169.254, all but Scaleway) or on a volume, and what its firmware says.
//!
//! The services are strict: a request without the header, method or token that the real one wants gets what the real one
//! answers. Each knows one machine.

mod akamai;
mod azure;
mod digitalocean;
mod ec2;
mod exoscale;
mod gce;
mod hetzner;
mod instance;
mod openstack;
mod oracle;
mod proxmox;
mod scaleway;
mod tree;
mod upcloud;
mod vultr;

pub use akamai::Akamai;
pub use azure::{Azure, HealthReport};
pub use digitalocean::DigitalOcean;
pub use ec2::Ec2;
pub use exoscale::Exoscale;
pub use gce::Gce;
pub use hetzner::Hetzner;
pub use instance::Instance;
pub use openstack::OpenStack;
pub use oracle::Oracle;
pub use proxmox::Proxmox;
pub use scaleway::Scaleway;
pub use upcloud::UpCloud;
pub use vultr::Vultr;

use crate::services::http::{Request, Response};
use crate::services::{METADATA_ADDRESS, Services};
use crate::vm::Smbios;
use crate::volume::Volume;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A cloud, as one machine sees it.
pub trait Cloud: Send + Sync + 'static {
    /// What the firmware of its machines says.
    fn smbios(&self) -> Smbios;

    /// What its metadata service answers. None has one at other addresses than its own.
    fn answer(&self, _request: &Request) -> Response {
        Response::status(404)
    }

    /// What it attaches to the machine.
    fn volume(&self) -> Option<Volume> {
        None
    }

    /// What its DHCP server says besides what all say, by the option's number.
    fn dhcp_options(&self) -> Vec<(u8, Vec<u8>)> {
        Vec::new()
    }
}

/// Makes the services those of a cloud: whatever no resource of their site is at, the cloud answers.
pub fn install<C: Cloud>(cloud: &Arc<C>, services: &Services) {
    services.dhcp().configure(|config| config.more.extend(cloud.dhcp_options()));
    let cloud = Arc::clone(cloud);
    services.site().handle("/", move |request| cloud.answer(request));
}

/// Makes the services those of several clouds, each of which knows the machine with its address.
pub fn install_each(clouds: Vec<(Ipv4Addr, Arc<dyn Cloud>)>, services: &Services) {
    services.site().handle("/", move |request| {
        let mine = clouds.iter().find(|(address, _)| address == request.peer.ip());
        mine.map_or_else(|| Response::status(404), |(_, cloud)| cloud.answer(request))
    });
}

/// What every service asks of a request: that it is for its address, and that it is a plain `GET`.
fn plain_get(request: &Request) -> Result<(), Response> {
    at_metadata_address(request)?;
    if matches!(request.method.as_str(), "GET" | "HEAD") { Ok(()) } else { Err(Response::status(405)) }
}

fn at_metadata_address(request: &Request) -> Result<(), Response> {
    if *request.local.ip() == METADATA_ADDRESS { Ok(()) } else { Err(Response::status(404)) }
}

/// Services that give credentials do not talk to proxies, which somebody outside may have talked into asking.
fn forwarded(request: &Request) -> bool {
    request.header("x-forwarded-for").is_some()
}

fn json(value: &serde_json::Value) -> Response {
    Response::ok(value.to_string()).with_header("Content-Type", "application/json")
}

#[cfg(test)]
mod tests;
