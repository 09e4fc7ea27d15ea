//! Azure: provisioning media, the instance metadata service, and a report that the platform insists on.
//!
//! - Media: an `ovf-env.xml` on a DVD (UDF), which is ejected after the first boot. Only it holds `customData`, so the
//!   seed that was kept is asked for it at later boots.
//! - Service: `GET /metadata/instance?api-version=2021-08-01&extended=true` with `Metadata: true`; `userData`, names,
//!   network.
//! - Report: see [`report`]. A machine that says nothing for 20 minutes is declared dead.

mod imds;
mod ovf;
mod report;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

use serde_json::Value;

use super::{
    Datasource, Endpoint, HttpError, Look, Method, Outcome, Platform, ReportState, Service, Timing, document,
    fetch::{self, FetchError},
    first,
    media::{self, Files},
};
use crate::node::{
    identity,
    seed::{Metadata, Seed},
};
pub use imds::network;
pub use ovf::{Ovf, OvfError};
pub use report::{Goal, body};

/// Where machines report to, when DHCP does not say it.
const WIRE_SERVER: Endpoint = Endpoint::v4(Ipv4Addr::new(168, 63, 129, 16));
const VERSIONS: [&str; 2] = ["2021-08-01&extended=true", "2019-06-01"];
/// The file on the media.
const OVF: &str = "ovf-env.xml";

/// The datasource.
#[derive(Debug, Clone)]
pub struct Azure {
    endpoints: Vec<Endpoint>,
    /// Only for tests: DHCP says it.
    wire_server: Option<Endpoint>,
    reporting: Timing,
}

impl Default for Azure {
    fn default() -> Self {
        Self { endpoints: vec![Endpoint::USUAL], wire_server: None, reporting: report::TIMING }
    }
}

impl Datasource for Azure {
    fn name(&self) -> &'static str {
        "azure"
    }

    fn look(&self, look: &Look<'_>) -> Outcome {
        let ovf = match media(look) {
            Ok(ovf) => ovf,
            Err(why) => return Outcome::Failed(why),
        };
        let key = identity::machine_key(&look.platform.dmi, look.view.first_mac);
        let kept = identity::last_good(look.root, key.as_deref()).ok().filter(|seed| seed.platform == self.name());
        fetch::look(look, &self.endpoints, &|services| {
            let (service, instance) = instance(services)?;
            if let Some(why) = refusal(ovf.as_ref(), &instance) {
                return Err(FetchError::Refused(why));
            }
            let seed = seed(look.platform, ovf.as_ref(), instance, kept.as_ref())?;
            Ok((service, seed))
        })
    }

    fn report(&self, look: &Look<'_>, state: ReportState<'_>) {
        let said = look.view.leases.iter().find_map(|(_, lease)| lease.wire_server);
        let endpoint = self.wire_server.or(said.map(Endpoint::v4)).unwrap_or(WIRE_SERVER);
        report::tell(&endpoint, self.reporting, state);
    }
}

/// What the provisioning media say; nothing when there are none.
fn media(look: &Look<'_>) -> Result<Option<Ovf>, String> {
    use super::superblock::FileSystem::{Iso9660, Udf};
    let optical = |_: &str, superblock: Option<&super::superblock::Superblock>| {
        superblock.is_some_and(|superblock| superblock.udf || superblock.kind == Iso9660)
    };
    for volume in media::scan(look.root, optical) {
        // Beside an ISO 9660, UDF has the whole of the files.
        let kind = if volume.udf { Udf } else { volume.kind };
        let files: Files =
            volume.open(look.root, kind, &mut |folder| folder.read_all(&[OVF])).map_err(|error| error.to_string())?;
        if let Some(bytes) = files.get(OVF) {
            let device = volume.device.display();
            return Ovf::parse(bytes).map(Some).map_err(|error| format!("{OVF} on {device}: {error}"));
        }
    }
    Ok(None)
}

/// Asks for the instance's document, in an older version where the newer one is not known.
fn instance(services: Vec<Service>) -> Result<(Service, Value), FetchError> {
    let ask = |services: Vec<Service>, version: &str| {
        let id = report::request_id();
        let headers = [("Metadata", "true"), ("x-ms-client-request-id", id.as_str())];
        first(services, Method::Get, &format!("/metadata/instance?api-version={version}"), &headers)
    };
    let (service, bytes) = match ask(services.clone(), VERSIONS[0]) {
        Err(HttpError::Status { status: 400, .. }) => ask(services, VERSIONS[1])?,
        answer => answer?,
    };
    Ok((service, document::json(&bytes, "the instance's metadata")?))
}

/// Makes a seed of what the media and the service say, and of what was kept of an earlier boot.
///
/// # Errors
/// When the machine is of a kind that this agent cannot provision, or data is missing or broken.
pub fn seed(platform: &Platform, ovf: Option<&Ovf>, mut instance: Value, kept: Option<&Seed>) -> Result<Seed, String> {
    if let Some(why) = refusal(ovf, &instance) {
        return Err(why);
    }
    let id = instance_id(platform, &instance, kept).ok_or("neither the firmware nor the service has an id")?;
    let kept = kept.filter(|seed| seed.metadata.instance_id.as_ref() == Some(&id));
    let user_data = document::text(&instance, "/compute/userData").unwrap_or_default().into_bytes();
    let custom_data = ovf.map(|ovf| ovf.custom_data.clone()).unwrap_or_default();
    let user_data = match (custom_data.is_empty(), user_data.is_empty()) {
        (false, _) => custom_data,
        (true, false) => document::unbase64(user_data),
        (true, true) => {
            let has_custom_data = document::flag(&instance, "/extended/compute/hasCustomData");
            match kept {
                Some(kept) if ovf.is_none() => kept.user_data.clone(),
                _ if ovf.is_none() && has_custom_data => {
                    return Err(format!("there is custom data, and no volume with {OVF}"));
                }
                _ => Vec::new(),
            }
        }
    };
    let text = |pointer: &str| document::text(&instance, pointer);
    let keys =
        document::list(&instance, "/compute/publicKeys").iter().filter_map(|key| document::text(key, "/keyData"));
    let mut public_keys: Vec<String> = keys.collect();
    if public_keys.is_empty() {
        public_keys = ovf.map(|ovf| ovf.keys.clone()).unwrap_or_default();
    }
    let metadata = Metadata {
        instance_id: Some(id),
        local_hostname: ovf
            .and_then(|ovf| ovf.hostname.clone())
            .or_else(|| text("/compute/osProfile/computerName"))
            .or_else(|| text("/compute/name")),
        public_keys,
        availability_zone: text("/compute/zone"),
        region: text("/compute/location"),
        private_ipv4: text("/network/interface/0/ipv4/ipAddress/0/privateIpAddress"),
        public_ipv4: text("/network/interface/0/ipv4/ipAddress/0/publicIpAddress"),
        ..Metadata::default()
    };
    let network = document::network(network(&instance));
    if let Some(compute) = instance.get_mut("compute") {
        document::take(compute, "userData");
        document::take(compute, "customData");
    }
    Ok(Seed {
        platform: "azure".into(),
        source: String::new(),
        metadata: Metadata { document: instance, ..metadata },
        user_data,
        vendor_data: Vec::new(),
        network,
    })
}

/// Why a machine is of a kind that cannot be provisioned.
fn refusal(ovf: Option<&Ovf>, instance: &Value) -> Option<String> {
    let pool = document::text(instance, "/extended/compute/ppsType").filter(|kind| kind != "None");
    if let Some(kind) = pool.or_else(|| ovf.and_then(|ovf| ovf.pool.clone())) {
        return Some(format!(
            "this machine waits in a pool for its owner (pre-provisioning, {kind}), which Steppe does not take part in: \
             make it without"
        ));
    }
    let proxy = ovf.is_some_and(|ovf| ovf.proxy_agent);
    proxy.then(|| "the machine is to have a guest proxy agent, which Steppe has not: make it without".into())
}

/// The machine's UUID. Machines of the first generation have said it with the bytes turned round, and still may: the
/// one that was kept stays.
fn instance_id(platform: &Platform, instance: &Value, kept: Option<&Seed>) -> Option<String> {
    let firmware = platform.dmi.get("system-uuid").map(str::to_owned);
    let id = firmware.or_else(|| document::text(instance, "/compute/vmId"))?.to_ascii_lowercase();
    let before = kept.and_then(|seed| seed.metadata.instance_id.clone());
    Some(before.filter(|before| swapped(before).as_deref() == Some(&id)).unwrap_or(id))
}

/// The first three groups of a UUID with their bytes turned round.
fn swapped(uuid: &str) -> Option<String> {
    let groups: Vec<&str> = uuid.split('-').collect();
    let [a, b, c, d, e] = groups.as_slice() else { return None };
    let turn = |group: &str| -> Option<String> {
        let pairs: Option<Vec<&str>> = (0..group.len()).step_by(2).rev().map(|at| group.get(at..at + 2)).collect();
        Some(pairs?.concat())
    };
    Some([turn(a)?.as_str(), &turn(b)?, &turn(c)?, d, e].join("-"))
}
