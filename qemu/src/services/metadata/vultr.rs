//! Vultr: one document.

use super::{Cloud, Instance, json, plain_get};
use crate::services::http::{Request, Response};
use crate::vm::Smbios;
use serde_json::{Value, json as value};
use std::fmt;

/// The service.
pub struct Vultr {
    document: Value,
}

/// Shows nothing of the user-data.
impl fmt::Debug for Vultr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vultr").finish_non_exhaustive()
    }
}

impl Vultr {
    /// The service of a machine with an id that is a UUID, and one public interface.
    #[must_use]
    pub fn new(instance: &Instance) -> Self {
        let Instance { id, hostname, address, mac, network, .. } = instance;
        let document = value!({
            "bgp": { "ipv4": { "my-address": "", "my-asn": "", "peer-address": "", "peer-asn": "" } },
            "hostname": hostname,
            "instance-v2-id": id,
            "instanceid": "50210001",
            "interfaces": [{
                "ipv4": {
                    "additional": [], "address": address, "gateway": network.address, "netmask": instance.netmask(),
                },
                "ipv6": { "additional": [], "address": "", "network": "", "prefix": "" },
                "mac": mac.to_string(), "network-type": "public",
            }],
            "public-keys": [],
            "region": { "regioncode": "AMS", "countrycode": "NL" },
            "user-data": instance.user_data_text(),
            "vendor-data": "#cloud-config\npackage_upgrade: true\n",
        });
        Self { document }
    }

    fn read(&self, request: &Request) -> Result<Response, Response> {
        plain_get(request)?;
        // cloud-init's name, by which the service knows what kind of document is wanted.
        if request.header("metadata-token") != Some("cloudinit") {
            return Err(Response::status(401));
        }
        if request.path == "/v1.json" { Ok(json(&self.document)) } else { Err(Response::status(404)) }
    }
}

impl Cloud for Vultr {
    fn smbios(&self) -> Smbios {
        Smbios {
            manufacturer: Some("Vultr".to_owned()),
            product: Some("VC2".to_owned()),
            serial: Some("50210001".to_owned()),
            ..Smbios::default()
        }
    }

    fn answer(&self, request: &Request) -> Response {
        self.read(request).unwrap_or_else(|refusal| refusal)
    }
}
