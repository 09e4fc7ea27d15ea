//! Azure: media with `ovf-env.xml`, the instance metadata service, and the wire server to which machines report.

use super::{Cloud, Instance, forwarded, json, plain_get};
use crate::services::WIRE_SERVER_ADDRESS;
use crate::services::http::{Request, Response};
use crate::vm::Smbios;
use crate::volume::{Volume, VolumeFormat};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json as value;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Versions of the service that it knows, among many.
const VERSIONS: [&str; 4] = ["2019-06-01", "2020-09-01", "2021-02-01", "2021-08-01"];
/// Of the wire server's protocol.
const WIRE_VERSION: &str = "2012-11-30";
/// The number of the DHCP option with the wire server's address.
const WIRE_SERVER: u8 = 245;
const CONTAINER: &str = "c6d5526c-5ac2-4200-b6e2-56f2b70c5ab2";
const INCARNATION: &str = "1";

/// What a machine said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthReport {
    /// `Ready` or `NotReady`.
    pub state: String,
    /// Why it is not ready.
    pub description: Option<String>,
}

/// The cloud. Its service names no network interface: the real ones have a driver that QEMU has no device for.
pub struct Azure {
    instance: Instance,
    reports: Mutex<Vec<HealthReport>>,
}

/// Shows nothing of the user-data.
impl fmt::Debug for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Azure").field("reports", &self.reports()).finish_non_exhaustive()
    }
}

impl Azure {
    /// The cloud of a machine with an id that is a UUID in small letters.
    #[must_use]
    pub fn new(instance: &Instance) -> Self {
        Self { instance: instance.clone(), reports: Mutex::default() }
    }

    /// What the machine has said so far.
    #[must_use]
    pub fn reports(&self) -> Vec<HealthReport> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `/metadata/instance`.
    fn metadata(&self, request: &Request) -> Result<Response, Response> {
        let refused = |why: &str| Response { status: 400, ..json(&value!({ "error": why })) };
        plain_get(request)?;
        if forwarded(request) {
            return Err(refused("Bad request. X-Forwarded-For is not allowed"));
        }
        if !request.header("metadata").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err(refused("Bad request. Required metadata header not specified"));
        }
        if request.path.trim_end_matches('/') != "/metadata/instance" {
            return Err(Response::status(404));
        }
        let query = request.query.as_deref().unwrap_or_default();
        let version = query.split('&').find_map(|part| part.strip_prefix("api-version="));
        if !version.is_some_and(|version| VERSIONS.contains(&version)) {
            return Err(refused("Bad request. api-version is invalid or was not specified in the request."));
        }
        let Instance { id, hostname, .. } = &self.instance;
        Ok(json(&value!({
            "compute": {
                "azEnvironment": "AzurePublicCloud",
                "location": "westeurope",
                "name": hostname,
                "osProfile": {
                    "adminUsername": "operator", "computerName": hostname, "disablePasswordAuthentication": "true",
                },
                "publicKeys": [],
                "userData": "",
                "vmId": id,
                "vmSize": "Standard_B1s",
            },
            "extended": { "compute": { "hasCustomData": true, "ppsType": "None" } },
            "network": { "interface": [] },
        })))
    }

    /// `/machine`, at the wire server's own address.
    fn machine(&self, request: &Request) -> Result<Response, Response> {
        if request.header("x-ms-version") != Some(WIRE_VERSION) {
            return Err(Response::status(400));
        }
        match (request.method.as_str(), request.query.as_deref()) {
            ("GET", Some("comp=goalstate")) => {
                Ok(Response::ok(self.goal_state()).with_header("Content-Type", "text/xml"))
            }
            ("POST", Some("comp=health")) => self.take_report(request),
            (_, Some("comp=goalstate" | "comp=health")) => Err(Response::status(405)),
            _ => Err(Response::status(400)),
        }
    }

    fn goal_state(&self) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<GoalState><Version>{WIRE_VERSION}</Version>\
             <Incarnation>{INCARNATION}</Incarnation><Machine><ExpectedState>Started</ExpectedState></Machine>\
             <Container><ContainerId>{CONTAINER}</ContainerId><RoleInstanceList><RoleInstance><InstanceId>{}</InstanceId>\
             <State>Started</State></RoleInstance></RoleInstanceList></Container></GoalState>",
            self.role_instance()
        )
    }

    fn role_instance(&self) -> String {
        format!("{}._{}", self.instance.id, self.instance.hostname)
    }

    fn take_report(&self, request: &Request) -> Result<Response, Response> {
        let body = std::str::from_utf8(&request.body).map_err(|_| Response::status(400))?;
        let kind = request.header("content-type").unwrap_or_default();
        let of = |name: &str| element(body, name);
        let fits = kind.starts_with("text/xml")
            && of("GoalStateIncarnation") == Some(INCARNATION)
            && of("ContainerId") == Some(CONTAINER)
            && of("InstanceId") == Some(&self.role_instance());
        let state = of("State").filter(|state| fits && matches!(*state, "Ready" | "NotReady"));
        let state = state.ok_or_else(|| Response::status(400))?.to_owned();
        let description = of("Description").map(str::to_owned);
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).push(HealthReport { state, description });
        Ok(Response { body: Vec::new(), ..Response::status(200) })
    }

    /// `ovf-env.xml`.
    fn environment(&self) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<ns0:Environment xmlns=\"http://schemas.dmtf.org/ovf/environment/1\" \
             xmlns:ns0=\"http://schemas.dmtf.org/ovf/environment/1\" xmlns:ns1=\"http://schemas.microsoft.com/windowsazure\">\n\
             <ns1:ProvisioningSection><ns1:Version>1.0</ns1:Version><ns1:LinuxProvisioningConfigurationSet>\
             <ns1:ConfigurationSetType>LinuxProvisioningConfiguration</ns1:ConfigurationSetType>\
             <ns1:HostName>{}</ns1:HostName><ns1:UserName>operator</ns1:UserName>\
             <ns1:DisableSshPasswordAuthentication>true</ns1:DisableSshPasswordAuthentication>\
             <ns1:CustomData>{}</ns1:CustomData></ns1:LinuxProvisioningConfigurationSet></ns1:ProvisioningSection>\n\
             <ns1:PlatformSettingsSection><ns1:Version>1.0</ns1:Version><ns1:PlatformSettings>\
             <ns1:KmsServerHostname>azkms.core.windows.net</ns1:KmsServerHostname>\
             <ns1:PreprovisionedVm>false</ns1:PreprovisionedVm><ns1:PreprovisionedVMType>None</ns1:PreprovisionedVMType>\
             </ns1:PlatformSettings></ns1:PlatformSettingsSection></ns0:Environment>\n",
            self.instance.hostname,
            BASE64_STANDARD.encode(&self.instance.user_data),
        )
    }
}

impl Cloud for Azure {
    fn smbios(&self) -> Smbios {
        Smbios {
            manufacturer: Some("Microsoft Corporation".to_owned()),
            product: Some("Virtual Machine".to_owned()),
            uuid: Some(self.instance.id.clone()),
            asset_tag: Some("7783-7084-3265-9085-8269-3286-77".to_owned()),
            ..Smbios::default()
        }
    }

    fn answer(&self, request: &Request) -> Response {
        let wire = *request.local.ip() == WIRE_SERVER_ADDRESS;
        let answer = match request.path.trim_end_matches('/') {
            "/machine" if wire => self.machine(request),
            _ if wire => Err(Response::status(404)),
            _ => self.metadata(request),
        };
        answer.unwrap_or_else(|refusal| refusal)
    }

    fn volume(&self) -> Option<Volume> {
        let files = vec![("ovf-env.xml".to_owned(), self.environment().into_bytes())];
        Some(Volume { label: "rd_rdfe_stable".to_owned(), files, format: VolumeFormat::Iso })
    }

    fn dhcp_options(&self) -> Vec<(u8, Vec<u8>)> {
        vec![(WIRE_SERVER, WIRE_SERVER_ADDRESS.octets().to_vec())]
    }
}

/// The text of the first element with a name and without attributes.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}
