//! Exoscale: the tree that EC2 had first.

use super::tree::Tree;
use super::{Cloud, Instance, plain_get};
use crate::services::http::{Request, Response};
use crate::vm::Smbios;
use std::fmt;

/// The service.
pub struct Exoscale {
    tree: Tree,
}

/// Shows nothing of the user-data.
impl fmt::Debug for Exoscale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exoscale").finish_non_exhaustive()
    }
}

impl Exoscale {
    /// The service of a machine with an id that is a UUID. The network is DHCP's.
    #[must_use]
    pub fn new(instance: &Instance) -> Self {
        let Instance { id, hostname, address, user_data, .. } = instance;
        let tree = Tree::default()
            .with("meta-data/instance-id", id.as_str())
            .with("meta-data/local-hostname", hostname.as_str())
            .with("meta-data/availability-zone", "ch-gva-2")
            .with("meta-data/local-ipv4", address.to_string())
            .with("meta-data/public-ipv4", address.to_string())
            .with("meta-data/instance-type", "Small")
            .with("meta-data/public-keys", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEFB operator\n");
        let tree = if user_data.is_empty() { tree } else { tree.with("user-data", &**user_data) };
        Self { tree }
    }

    fn read(&self, request: &Request) -> Result<Response, Response> {
        plain_get(request)?;
        let path = request.path.strip_prefix("/1.0/").or_else(|| request.path.strip_prefix("/latest/"));
        Ok(self.tree.get(path.ok_or(Response::status(404))?))
    }
}

impl Cloud for Exoscale {
    fn smbios(&self) -> Smbios {
        Smbios {
            manufacturer: Some("Exoscale".to_owned()),
            product: Some("Exoscale Compute Platform".to_owned()),
            ..Smbios::default()
        }
    }

    fn answer(&self, request: &Request) -> Response {
        self.read(request).unwrap_or_else(|refusal| refusal)
    }
}
