//! OpenStack: the same documents from the metadata service, or on a configuration drive.

use super::{Cloud, Instance, plain_get};
use crate::services::http::{Request, Response};
use crate::vm::Smbios;
use crate::volume::{Volume, VolumeFormat};
use serde_json::json;
use std::fmt;

/// What Nova lists, the newest last.
const VERSIONS: [&str; 8] =
    ["2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15", "2016-06-30", "2016-10-06", "2017-02-22", "2018-08-27"];

/// How the documents reach the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Service,
    Drive(VolumeFormat),
}

/// The cloud.
pub struct OpenStack {
    id: String,
    files: Vec<(&'static str, Vec<u8>)>,
    way: Way,
}

/// Shows nothing of the user-data.
impl fmt::Debug for OpenStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenStack").field("id", &self.id).field("way", &self.way).finish_non_exhaustive()
    }
}

impl OpenStack {
    /// The metadata service of a machine with an id that is a UUID. The network is DHCP's.
    #[must_use]
    pub fn service(instance: &Instance) -> Self {
        let network = json!({
            "links": [{ "id": "tap1", "type": "ovs", "ethernet_mac_address": instance.mac.to_string(), "mtu": 1450 }],
            "networks": [{ "id": "network0", "link": "tap1", "type": "ipv4_dhcp" }],
            "services": [],
        });
        Self::new(instance, &network, Way::Service)
    }

    /// A configuration drive, with a static address.
    #[must_use]
    pub fn drive(instance: &Instance, format: VolumeFormat) -> Self {
        let router = instance.network.address;
        let network = json!({
            "links": [{ "id": "tap1", "type": "ovs", "ethernet_mac_address": instance.mac.to_string(), "mtu": 1450 }],
            "networks": [{
                "id": "network0", "link": "tap1", "type": "ipv4", "ip_address": instance.address,
                "netmask": instance.netmask(),
                "routes": [{ "network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": router }],
            }],
            "services": [{ "type": "dns", "address": router }],
        });
        Self::new(instance, &network, Way::Drive(format))
    }

    fn new(instance: &Instance, network: &serde_json::Value, way: Way) -> Self {
        let Instance { id, hostname, .. } = instance;
        let meta_data = json!({
            "uuid": id, "hostname": format!("{hostname}.novalocal"), "name": hostname, "launch_index": 0,
            "availability_zone": "nova", "public_keys": {}, "random_seed": "c2VlZA==", "devices": [], "keys": [],
        });
        let mut files = vec![
            ("meta_data.json", meta_data.to_string().into_bytes()),
            ("network_data.json", network.to_string().into_bytes()),
            ("vendor_data.json", b"{}".to_vec()),
            ("vendor_data2.json", br#"{"static": {}}"#.to_vec()),
        ];
        if !instance.user_data.is_empty() {
            files.push(("user_data", instance.user_data.clone()));
        }
        Self { id: id.clone(), files, way }
    }

    fn read(&self, request: &Request) -> Result<Response, Response> {
        plain_get(request)?;
        let missing = || Response::status(404);
        let path = request.path.strip_prefix("/openstack").ok_or_else(missing)?.trim_matches('/');
        if path.is_empty() {
            return Ok(Response::ok(VERSIONS.join("\n") + "\nlatest"));
        }
        let (version, name) = path.split_once('/').unwrap_or((path, ""));
        if version != "latest" && !VERSIONS.contains(&version) {
            return Err(missing());
        }
        if name.is_empty() {
            return Ok(Response::ok(self.files.iter().map(|(name, _)| format!("{name}\n")).collect::<String>()));
        }
        let file = self.files.iter().find(|(known, _)| *known == name).ok_or_else(missing)?;
        Ok(Response::ok(file.1.clone()))
    }
}

impl Cloud for OpenStack {
    fn smbios(&self) -> Smbios {
        Smbios {
            manufacturer: Some("OpenStack Foundation".to_owned()),
            product: Some("OpenStack Nova".to_owned()),
            serial: Some(self.id.clone()),
            uuid: Some(self.id.clone()),
            ..Smbios::default()
        }
    }

    fn answer(&self, request: &Request) -> Response {
        match self.way {
            Way::Service => self.read(request).unwrap_or_else(|refusal| refusal),
            Way::Drive(_) => Response::status(404),
        }
    }

    fn volume(&self) -> Option<Volume> {
        let Way::Drive(format) = self.way else { return None };
        let at = |version: &'static str| {
            self.files.iter().map(move |(name, bytes)| (format!("openstack/{version}/{name}"), bytes.clone()))
        };
        let mut files: Vec<(String, Vec<u8>)> = VERSIONS.into_iter().chain(["latest"]).flat_map(at).collect();
        let ec2 = json!({ "instance-id": "i-00000001", "local-hostname": "ignored" });
        files.push(("ec2/latest/meta-data.json".to_owned(), ec2.to_string().into_bytes()));
        Some(Volume { label: "config-2".to_owned(), files, format })
    }
}
