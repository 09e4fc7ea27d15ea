//! Google Compute Engine's metadata server.

use super::{Cloud, Instance, forwarded, json, plain_get};
use crate::services::http::{Request, Response};
use crate::vm::Smbios;
use serde_json::{Value, json as value};
use std::fmt;

const BASE: &str = "/computeMetadata/v1/";
const FLAVOUR: (&str, &str) = ("Metadata-Flavor", "Google");

/// The service.
pub struct Gce {
    root: Value,
}

/// Shows nothing of the user-data.
impl fmt::Debug for Gce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gce").finish_non_exhaustive()
    }
}

impl Gce {
    /// The service of a machine with an id that is a number. User-data that is no text is to come in base64, and
    /// `encoding` says so.
    #[must_use]
    pub fn new(instance: &Instance, encoding: Option<&str>) -> Self {
        let Instance { id, hostname, address, mac, network, .. } = instance;
        let mut attributes = value!({ "user-data": instance.user_data_text() });
        if let Some(encoding) = encoding {
            attributes["user-data-encoding"] = encoding.into();
        }
        let root = value!({
            "instance": {
                "attributes": attributes,
                "hostname": format!("{hostname}.europe-west1-b.c.example-project.internal"),
                "id": id.parse::<u64>().unwrap_or_default(),
                "machineType": "projects/1234567890/machineTypes/e2-small",
                "name": hostname,
                "networkInterfaces": [{
                    "accessConfigs": [{ "externalIp": "", "type": "ONE_TO_ONE_NAT" }],
                    "dnsServers": [network.address],
                    "gateway": network.address,
                    "ip": address,
                    "mac": mac.to_string(),
                    "subnetmask": instance.netmask(),
                }],
                "zone": "projects/1234567890/zones/europe-west1-b",
            },
            "project": { "attributes": {}, "numericProjectId": 1_234_567_890_u64, "projectId": "example-project" },
        });
        Self { root }
    }

    fn read(&self, request: &Request) -> Result<Response, Response> {
        plain_get(request)?;
        if forwarded(request) || request.header("metadata-flavor") != Some(FLAVOUR.1) {
            return Err(Response::status(403));
        }
        let missing = || Response::status(404);
        let path = request.path.strip_prefix(BASE).ok_or_else(missing)?;
        let mut found = &self.root;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            found = member(found, name).ok_or_else(missing)?;
        }
        let query = request.query.as_deref().unwrap_or_default();
        let recursive = query.split('&').any(|part| part.eq_ignore_ascii_case("recursive=true"));
        Ok(match found {
            Value::Object(_) | Value::Array(_) if recursive => json(found),
            Value::Object(map) => Response::ok(map.keys().map(|key| kebab(key) + "\n").collect::<String>()),
            Value::Array(list) => Response::ok((0..list.len()).map(|n| format!("{n}/\n")).collect::<String>()),
            Value::String(text) => Response::ok(text.as_str()),
            other => Response::ok(other.to_string()),
        })
    }
}

impl Cloud for Gce {
    fn smbios(&self) -> Smbios {
        let text = |text: &str| Some(text.to_owned());
        Smbios {
            manufacturer: text("Google"),
            product: text("Google Compute Engine"),
            serial: text("GoogleCloud-0123456789ABCDEF0123456789ABCDEF"),
            uuid: text("01234567-89ab-cdef-0123-456789abcdef"),
            ..Smbios::default()
        }
    }

    fn answer(&self, request: &Request) -> Response {
        self.read(request).unwrap_or_else(|refusal| refusal).with_header(FLAVOUR.0, FLAVOUR.1)
    }
}

/// What a path's part leads to: paths have hyphens where the document has capitals.
fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.iter().find(|(key, _)| *key == name || kebab(key) == name).map(|(_, value)| value),
        Value::Array(list) => list.get(name.parse::<usize>().ok()?),
        _ => None,
    }
}

fn kebab(name: &str) -> String {
    name.chars().fold(String::new(), |mut text, c| {
        if c.is_ascii_uppercase() {
            text.push('-');
        }
        text.push(c.to_ascii_lowercase());
        text
    })
}
