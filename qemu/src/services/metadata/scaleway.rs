//! Scaleway: at an address of its own, and with secrets for those alone who ask from a port that only root can have.

use super::{Cloud, Instance, json};
use crate::services::SCALEWAY_ADDRESS;
use crate::services::http::{Request, Response};
use crate::vm::Smbios;
use serde_json::{Value, json as value};
use std::fmt;

/// The service.
pub struct Scaleway {
    document: Value,
    user_data: Vec<u8>,
}

/// Shows nothing of the user-data.
impl fmt::Debug for Scaleway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scaleway").finish_non_exhaustive()
    }
}

impl Scaleway {
    /// The service of a machine with an id that is a UUID, and a public address by DHCP.
    #[must_use]
    pub fn new(instance: &Instance) -> Self {
        let Instance { id, hostname, address, network, .. } = instance;
        let public = value!({
            "id": "0001", "address": address, "netmask": network.prefix.to_string(), "gateway": network.address,
            "family": "inet", "dynamic": false, "provisioning_mode": "dhcp",
        });
        let document = value!({
            "id": id,
            "name": hostname,
            "hostname": hostname,
            "commercial_type": "PRO2-XS",
            "tags": [],
            "state_detail": "booting",
            "public_ip": public,
            "public_ips": [public],
            "private_ip": null,
            "private_nics": [],
            "ssh_public_keys": [],
            "location": { "zone_id": "par2", "platform_id": "14" },
            "zone": "fr-par-2",
            "timezone": "UTC",
        });
        Self { document, user_data: instance.user_data.clone() }
    }

    fn read(&self, request: &Request) -> Result<Response, Response> {
        if *request.local.ip() != SCALEWAY_ADDRESS {
            return Err(Response::status(404));
        }
        if request.method != "GET" {
            return Err(Response::status(405));
        }
        let by_root = request.peer.port() < 1024;
        match request.path.as_str() {
            "/conf" if request.query.as_deref() == Some("format=json") => Ok(json(&self.document)),
            "/user_data/cloud-init" | "/vendor_data/cloud-init" if !by_root => Err(Response::status(403)),
            "/user_data/cloud-init" if !self.user_data.is_empty() => Ok(Response::ok(self.user_data.clone())),
            _ => Err(Response::status(404)),
        }
    }
}

impl Cloud for Scaleway {
    fn smbios(&self) -> Smbios {
        Smbios {
            manufacturer: Some("Scaleway".to_owned()),
            product: Some("SCW-PRO2-XS".to_owned()),
            ..Smbios::default()
        }
    }

    fn answer(&self, request: &Request) -> Response {
        self.read(request).unwrap_or_else(|refusal| refusal)
    }
}
