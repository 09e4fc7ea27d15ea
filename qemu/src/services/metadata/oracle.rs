//! Oracle Cloud: version 2 of the instance metadata service, without version 1.

use super::{Cloud, Instance, forwarded, json, plain_get};
use crate::services::http::{Request, Response};
use crate::vm::Smbios;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json as value};
use std::fmt;
use std::net::Ipv4Addr;

/// The service.
pub struct Oracle {
    instance: Value,
    vnics: Value,
}

/// Shows nothing of the user-data.
impl fmt::Debug for Oracle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oracle").finish_non_exhaustive()
    }
}

impl Oracle {
    /// The service of a machine whose id is the end of an OCID.
    #[must_use]
    pub fn new(instance: &Instance) -> Self {
        let Instance { id, hostname, address, mac, network, user_data, .. } = instance;
        let subnet = Ipv4Addr::from_bits(address.to_bits() & instance.netmask().to_bits());
        Self {
            instance: value!({
                "availabilityDomain": "EMIr:EU-FRANKFURT-1-AD-1",
                "canonicalRegionName": "eu-frankfurt-1",
                "displayName": hostname,
                "hostname": hostname,
                "id": format!("ocid1.instance.oc1.eu-frankfurt-1.{id}"),
                "metadata": { "user_data": BASE64_STANDARD.encode(user_data) },
                "ociAdName": "eu-frankfurt-1-ad-1",
                "region": "eu-frankfurt-1",
                "shape": "VM.Standard.E4.Flex",
                "state": "Running",
            }),
            vnics: value!([{
                "macAddr": mac.to_string().to_uppercase(),
                "privateIp": address,
                "subnetCidrBlock": format!("{subnet}/{}", network.prefix),
                "virtualRouterIp": network.address,
                "vlanTag": 1041,
                "vnicId": format!("ocid1.vnic.oc1.eu-frankfurt-1.{id}"),
            }]),
        }
    }

    fn read(&self, request: &Request) -> Result<Response, Response> {
        plain_get(request)?;
        if forwarded(request) {
            return Err(Response::status(403));
        }
        let path = request.path.strip_prefix("/opc/v2/").ok_or(Response::status(404))?;
        if request.header("authorization") != Some("Bearer Oracle") {
            return Err(Response::status(401));
        }
        match path {
            "instance/" => Ok(json(&self.instance)),
            "vnics/" => Ok(json(&self.vnics)),
            _ => Err(Response::status(404)),
        }
    }
}

impl Cloud for Oracle {
    fn smbios(&self) -> Smbios {
        Smbios {
            manufacturer: Some("QEMU".to_owned()),
            product: Some("Standard PC (i440FX + PIIX, 1996)".to_owned()),
            asset_tag: Some("OracleCloud.com".to_owned()),
            ..Smbios::default()
        }
    }

    fn answer(&self, request: &Request) -> Response {
        self.read(request).unwrap_or_else(|refusal| refusal)
    }
}
