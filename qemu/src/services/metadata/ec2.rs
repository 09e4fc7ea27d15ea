//! Amazon EC2: version 2 of the instance metadata service, without version 1.

use super::tree::Tree;
use super::{Cloud, Instance, at_metadata_address, forwarded, plain_get};
use crate::services::http::{Request, Response};
use crate::vm::Smbios;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

const TOKEN_PATH: &str = "/latest/api/token";
const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
/// Six hours, in seconds.
const LONGEST_TTL: u32 = 21_600;
const VERSIONS: [&str; 5] = ["latest", "2021-03-23", "2018-09-24", "2016-09-02", "2009-04-04"];

/// The service. Tokens end when [`Ec2::expire`] is called, not by the clock.
pub struct Ec2 {
    tree: Tree,
    tokens: Mutex<Vec<String>>,
    issued: Mutex<u32>,
}

/// Shows nothing of the user-data.
impl fmt::Debug for Ec2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ec2").finish_non_exhaustive()
    }
}

impl Ec2 {
    /// The service of a machine.
    #[must_use]
    pub fn new(instance: &Instance) -> Self {
        let Instance { id, address, mac, network, .. } = instance;
        let nic = |name: &str| format!("meta-data/network/interfaces/macs/{mac}/{name}");
        let subnet = Ipv4Addr::from_bits(address.to_bits() & instance.netmask().to_bits());
        let document = serde_json::json!({
            "accountId": "123456789012", "architecture": "x86_64", "availabilityZone": "eu-west-1b",
            "instanceId": id, "instanceType": "t3.micro", "privateIp": address, "region": "eu-west-1",
            "version": "2017-09-30",
        });
        let tree = Tree::default()
            .with("meta-data/instance-id", id.as_str())
            .with("meta-data/instance-type", "t3.micro")
            .with("meta-data/ami-launch-index", "0")
            .with("meta-data/local-hostname", format!("{}.eu-west-1.compute.internal", instance.hostname))
            .with("meta-data/local-ipv4", address.to_string())
            .with("meta-data/placement/availability-zone", "eu-west-1b")
            .with("meta-data/placement/region", "eu-west-1")
            // A list of its own kind.
            .with("meta-data/public-keys/", "0=operator")
            .with("meta-data/public-keys/0/openssh-key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEFB operator\n")
            .with(&nic("device-number"), "0")
            .with(&nic("local-ipv4s"), address.to_string())
            .with(&nic("subnet-ipv4-cidr-block"), format!("{subnet}/{}", network.prefix))
            .with("dynamic/instance-identity/document", document.to_string());
        let tree = if instance.user_data.is_empty() { tree } else { tree.with("user-data", &*instance.user_data) };
        Self { tree, tokens: Mutex::default(), issued: Mutex::default() }
    }

    /// Ends all tokens.
    pub fn expire(&self) {
        self.tokens().clear();
    }

    fn tokens(&self) -> MutexGuard<'_, Vec<String>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn issue(&self, request: &Request) -> Response {
        if request.method != "PUT" {
            return Response::status(405);
        }
        let ttl = request.header(TTL_HEADER).and_then(|text| text.parse::<u32>().ok());
        let Some(ttl) = ttl.filter(|ttl| (1..=LONGEST_TTL).contains(ttl)) else { return Response::status(400) };
        let token = {
            let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
            *issued += 1;
            format!("AQAEAToken{:08x}==", *issued)
        };
        self.tokens().push(token.clone());
        Response::ok(token).with_header(TTL_HEADER, &ttl.to_string())
    }

    fn read(&self, request: &Request) -> Result<Response, Response> {
        at_metadata_address(request)?;
        if forwarded(request) {
            return Err(Response::status(403));
        }
        if request.path == TOKEN_PATH {
            return Ok(self.issue(request));
        }
        plain_get(request)?;
        let known = request.header(TOKEN_HEADER).is_some_and(|token| self.tokens().iter().any(|known| known == token));
        if !known {
            return Err(Response::status(401));
        }
        let (version, path) = request.path[1..].split_once('/').ok_or(Response::status(404))?;
        if VERSIONS.contains(&version) { Ok(self.tree.get(path)) } else { Err(Response::status(404)) }
    }
}

impl Cloud for Ec2 {
    fn smbios(&self) -> Smbios {
        let text = |text: &str| Some(text.to_owned());
        let uuid = "ec2e1916-9099-7caf-fd21-012345abcdef";
        Smbios {
            manufacturer: text("Amazon EC2"),
            product: text("t3.micro"),
            serial: text(uuid),
            uuid: text(uuid),
            asset_tag: text("Amazon EC2"),
            ..Smbios::default()
        }
    }

    fn answer(&self, request: &Request) -> Response {
        self.read(request).unwrap_or_else(|refusal| refusal)
    }
}
