//! Hetzner Cloud.

use super::tree::Tree;
use super::{Cloud, Instance, plain_get};
use crate::services::http::{Request, Response};
use crate::vm::Smbios;
use std::fmt;

const BASE: &str = "/hetzner/v1/";

/// The service.
pub struct Hetzner {
    id: String,
    tree: Tree,
    user_data: Vec<u8>,
}

/// Shows nothing of the user-data.
impl fmt::Debug for Hetzner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hetzner").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Hetzner {
    /// The service of a machine with an id that is a number, and an interface with DHCP.
    #[must_use]
    pub fn new(instance: &Instance) -> Self {
        let Instance { id, hostname, address, mac, network, .. } = instance;
        let metadata = format!(
            "availability-zone: fsn1-dc14\nhostname: {hostname}\ninstance-id: {id}\nlocal-ipv4: ''\n\
             network-config:\n  config:\n  - mac_address: {mac}\n    name: eth0\n    subnets:\n    - ipv4: true\n\
             \x20     type: dhcp\n    type: physical\n  - address:\n    - {dns}\n    interface: eth0\n    type: nameserver\n\
             \x20 version: 1\npublic-ipv4: {address}\npublic-keys: []\nregion: eu-central\nvendor_data: |\n  #cloud-config\n",
            dns = network.address,
        );
        let tree = Tree::default()
            .with("metadata", metadata)
            .with("metadata/hostname", hostname.as_str())
            .with("metadata/instance-id", id.as_str())
            .with("metadata/public-ipv4", address.to_string())
            .with("metadata/private-networks", "[]\n");
        Self { id: id.clone(), tree, user_data: instance.user_data.clone() }
    }

    fn read(&self, request: &Request) -> Result<Response, Response> {
        plain_get(request)?;
        let path = request.path.strip_prefix(BASE).ok_or(Response::status(404))?;
        if path != "userdata" {
            return Ok(self.tree.get(path));
        }
        let none = Response { body: Vec::new(), ..Response::status(204) };
        Ok(if self.user_data.is_empty() { none } else { Response::ok(self.user_data.clone()) })
    }
}

impl Cloud for Hetzner {
    fn smbios(&self) -> Smbios {
        Smbios {
            manufacturer: Some("Hetzner".to_owned()),
            product: Some("vServer".to_owned()),
            serial: Some(self.id.clone()),
            ..Smbios::default()
        }
    }

    fn answer(&self, request: &Request) -> Response {
        self.read(request).unwrap_or_else(|refusal| refusal)
    }
}
