//! DigitalOcean: static addresses, on a network that need not have a DHCP server.

use super::tree::Tree;
use super::{Cloud, Instance, json, plain_get};
use crate::services::http::{Request, Response};
use crate::vm::Smbios;
use serde_json::{Value, json as value};
use std::fmt;

/// The service.
pub struct DigitalOcean {
    id: String,
    document: Value,
    tree: Tree,
}

/// Shows nothing of the user-data.
impl fmt::Debug for DigitalOcean {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DigitalOcean").field("id", &self.id).finish_non_exhaustive()
    }
}

impl DigitalOcean {
    /// The service of a machine with an id that is a number.
    #[must_use]
    pub fn new(instance: &Instance) -> Self {
        let Instance { id, hostname, address, mac, network, .. } = instance;
        let document = value!({
            "droplet_id": id.parse::<u64>().unwrap_or_default(),
            "hostname": hostname,
            "user_data": instance.user_data_text(),
            "vendor_data": "#cloud-config\n",
            "public_keys": [],
            "auth_key": "0123456789abcdef",
            "region": "fra1",
            "interfaces": {
                "public": [{
                    "ipv4": { "ip_address": address, "netmask": instance.netmask(), "gateway": network.address },
                    "mac": mac.to_string(),
                    "type": "public",
                }],
            },
            "dns": { "nameservers": [network.address] },
            "features": { "dhcp_enabled": false },
            "tags": [],
        });
        let tree = Tree::default()
            .with("id", id.as_str())
            .with("hostname", hostname.as_str())
            .with("region", "fra1")
            .with("user-data", &*instance.user_data)
            .with("interfaces/public/0/mac", mac.to_string())
            .with("interfaces/public/0/ipv4/address", address.to_string());
        Self { id: id.clone(), document, tree }
    }

    fn read(&self, request: &Request) -> Result<Response, Response> {
        plain_get(request)?;
        if request.path == "/metadata/v1.json" {
            return Ok(json(&self.document));
        }
        let path = request.path.strip_prefix("/metadata/v1/").ok_or(Response::status(404))?;
        Ok(self.tree.get(path))
    }
}

impl Cloud for DigitalOcean {
    fn smbios(&self) -> Smbios {
        Smbios {
            manufacturer: Some("DigitalOcean".to_owned()),
            product: Some("Droplet".to_owned()),
            serial: Some(self.id.clone()),
            ..Smbios::default()
        }
    }

    fn answer(&self, request: &Request) -> Response {
        self.read(request).unwrap_or_else(|refusal| refusal)
    }
}
