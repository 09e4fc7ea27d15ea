//! Akamai (Linode): documents for those who fetch a token first.

use super::{Cloud, Instance, at_metadata_address, json};
use crate::services::http::{Request, Response};
use crate::vm::Smbios;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json as value};
use std::fmt;

const TOKEN: &str = "6f1d2c3b4a5968778695a4b3c2d1e0f1";
/// A day, in seconds.
const LONGEST_EXPIRY: u32 = 86_400;

/// The service.
pub struct Akamai {
    id: String,
    instance: Value,
    network: Value,
    user_data: String,
}

/// Shows nothing of the user-data.
impl fmt::Debug for Akamai {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Akamai").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Akamai {
    /// The service of a machine with an id that is a number, and a public address by DHCP.
    #[must_use]
    pub fn new(instance: &Instance) -> Self {
        let Instance { id, hostname, address, user_data, .. } = instance;
        Self {
            id: id.clone(),
            instance: value!({
                "id": id.parse::<u64>().unwrap_or_default(),
                "label": hostname,
                "region": "de-fra-2",
                "type": "g6-standard-2",
                "tags": [],
            }),
            network: value!({
                "interfaces": [{ "id": 1, "purpose": "public", "label": null, "ipam_address": null }],
                "ipv4": { "public": [format!("{address}/32")], "private": [], "shared": [] },
                "ipv6": { "slaac": null, "ranges": [], "link_local": null, "shared_ranges": [] },
            }),
            user_data: BASE64_STANDARD.encode(user_data),
        }
    }

    fn read(&self, request: &Request) -> Result<Response, Response> {
        at_metadata_address(request)?;
        let wanted = |method: &str| if request.method == method { Ok(()) } else { Err(Response::status(405)) };
        if request.path == "/v1/token" {
            wanted("PUT")?;
            let expiry = request.header("metadata-token-expiry-seconds").and_then(|text| text.parse::<u32>().ok());
            let granted = expiry.is_some_and(|expiry| (1..=LONGEST_EXPIRY).contains(&expiry));
            return if granted { Ok(Response::ok(TOKEN)) } else { Err(Response::status(400)) };
        }
        if request.header("metadata-token") != Some(TOKEN) {
            return Err(Response::status(401));
        }
        wanted("GET")?;
        // Others get lines of the form `key: value`, which nothing here reads.
        let document = |value| match request.header("accept") {
            Some("application/json") => Ok(json(value)),
            _ => Err(Response::status(406)),
        };
        match request.path.as_str() {
            "/v1/instance" => document(&self.instance),
            "/v1/network" => document(&self.network),
            "/v1/ssh-keys" => document(&value!({ "users": {} })),
            "/v1/user-data" => Ok(Response::ok(self.user_data.clone())),
            _ => Err(Response::status(404)),
        }
    }
}

impl Cloud for Akamai {
    fn smbios(&self) -> Smbios {
        Smbios {
            manufacturer: Some("Akamai".to_owned()),
            product: Some("Compute Instance".to_owned()),
            serial: Some(self.id.clone()),
            ..Smbios::default()
        }
    }

    fn answer(&self, request: &Request) -> Response {
        self.read(request).unwrap_or_else(|refusal| refusal)
    }
}
