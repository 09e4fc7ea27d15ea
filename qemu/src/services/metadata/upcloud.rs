//! UpCloud: one document, at the path that DigitalOcean has.

use super::{Cloud, Instance, json, plain_get};
use crate::services::http::{Request, Response};
use crate::vm::Smbios;
use serde_json::{Value, json as value};
use std::fmt;
use std::net::Ipv4Addr;

/// The service.
pub struct UpCloud {
    id: String,
    document: Value,
}

/// Shows nothing of the user-data.
impl fmt::Debug for UpCloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpCloud").field("id", &self.id).finish_non_exhaustive()
    }
}

impl UpCloud {
    /// The service of a machine with an id that is a UUID, and a public address by DHCP.
    #[must_use]
    pub fn new(instance: &Instance) -> Self {
        let Instance { id, hostname, address, mac, network, .. } = instance;
        let subnet = Ipv4Addr::from_bits(address.to_bits() & instance.netmask().to_bits());
        let document = value!({
            "cloud_name": "upcloud",
            "instance_id": id,
            "hostname": hostname,
            "platform": "servers",
            "subplatform": "metadata (http://169.254.169.254)",
            "public_keys": [],
            "region": "de-fra1",
            "network": {
                "interfaces": [{
                    "index": 1,
                    "ip_addresses": [{
                        "address": address, "dhcp": true, "dns": [network.address], "family": "IPv4",
                        "floating": false, "gateway": network.address, "network": format!("{subnet}/{}", network.prefix),
                    }],
                    "mac": mac.to_string(), "network_id": "031457f4-0000-4000-8000-000000000001", "type": "public",
                }],
                "dns": [network.address],
            },
            "storage": { "disks": [] },
            "tags": [],
            "user_data": instance.user_data_text(),
            "vendor_data": "",
        });
        Self { id: id.clone(), document }
    }

    fn read(&self, request: &Request) -> Result<Response, Response> {
        plain_get(request)?;
        if request.path == "/metadata/v1.json" { Ok(json(&self.document)) } else { Err(Response::status(404)) }
    }
}

impl Cloud for UpCloud {
    fn smbios(&self) -> Smbios {
        Smbios {
            manufacturer: Some("UpCloud".to_owned()),
            product: Some("KVM".to_owned()),
            uuid: Some(self.id.clone()),
            ..Smbios::default()
        }
    }

    fn answer(&self, request: &Request) -> Response {
        self.read(request).unwrap_or_else(|refusal| refusal)
    }
}
