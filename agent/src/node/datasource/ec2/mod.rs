//! Amazon EC2 and the clouds that speak its dialect.
//!
//! Amazon's own service wants a session token (IMDSv2): `PUT /latest/api/token` with
//! `X-aws-ec2-metadata-token-ttl-seconds`, then `X-aws-ec2-metadata-token` with every `GET`. There is no way back to the
//! old service without tokens: what answers without one may be a proxy that was talked into it. The other clouds have
//! the old service only. A fixed list of paths is asked for, not the whole tree, which takes dozens of requests.

mod network;

use std::{
    cell::RefCell,
    net::{Ipv4Addr, Ipv6Addr},
};

use serde_json::{Map, Value};

use super::{
    Datasource, Endpoint, HttpError, Look, Method, Outcome, Service, document,
    fetch::{self, FetchError},
    first,
};
use crate::node::{
    netconfig::Mac,
    seed::{Metadata, Seed},
};

const TOKEN: &str = "/latest/api/token";
const TTL: (&str, &str) = ("X-aws-ec2-metadata-token-ttl-seconds", "21600");
/// Amazon's address of IPv6, on machines of the Nitro kind whose owner switched it on.
const NITRO: Endpoint = Endpoint::v6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254));
/// Alibaba's address.
const ALIYUN: Endpoint = Endpoint::v4(Ipv4Addr::new(100, 100, 100, 200));
/// Values below `meta-data/`; each may be absent.
const NAMES: [&str; 7] = [
    "local-hostname",
    "local-ipv4",
    "public-ipv4",
    "ami-launch-index",
    "placement/availability-zone",
    "placement/region",
    "instance-type",
];
/// More interfaces than this no machine has.
const MOST: usize = 64;

/// The datasource.
#[derive(Debug, Clone)]
pub struct Ec2 {
    name: &'static str,
    endpoints: Vec<Endpoint>,
    /// The version in paths.
    version: &'static str,
    tokens: bool,
}

impl Ec2 {
    /// Amazon's.
    #[must_use]
    pub fn aws() -> Self {
        Self { name: "aws", endpoints: vec![Endpoint::USUAL, NITRO], version: "latest", tokens: true }
    }

    /// The others that speak the dialect, in its oldest version.
    #[must_use]
    pub fn others() -> Vec<Self> {
        let like = |name, endpoint| Self { name, endpoints: vec![endpoint], version: "2009-04-04", tokens: false };
        vec![
            Self { version: "2016-01-01", ..like("aliyun", ALIYUN) },
            like("brightbox", Endpoint::USUAL),
            like("e24cloud", Endpoint::USUAL),
            like("outscale", Endpoint::USUAL),
            like("tilaa", Endpoint::USUAL),
            like("zstack", Endpoint::USUAL),
        ]
    }
}

impl Datasource for Ec2 {
    fn name(&self) -> &'static str {
        self.name
    }

    fn look(&self, look: &Look<'_>) -> Outcome {
        fetch::look(look, &self.endpoints, &|services| {
            let id = format!("/{}/meta-data/instance-id", self.version);
            let session = if self.tokens {
                let (service, token) = first(services, Method::Put, TOKEN, &[TTL]).map_err(refused)?;
                Session { service, token: RefCell::new(Some(token_of(token)?)) }
            } else {
                let (service, _) = first(services, Method::Get, &id, &[])?;
                Session { service, token: RefCell::new(None) }
            };
            let answers = self.fetch(&session)?;
            Ok((session.service, seed(self.name, &answers)?))
        })
    }
}

/// A service that is switched off says so in a way that nobody understands.
fn refused(error: HttpError) -> FetchError {
    match error.status() {
        Some(403) => FetchError::Answer(
            "the metadata service is switched off for this machine: set HttpEndpoint to enabled (status 403)".into(),
        ),
        _ => error.into(),
    }
}

fn token_of(token: Vec<u8>) -> Result<String, String> {
    let token = String::from_utf8(token).ok().map(|token| token.trim().to_owned());
    let fits = |token: &String| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    token.filter(fits).ok_or_else(|| format!("what {TOKEN} answers is no token"))
}

/// A service with its token, which is renewed when it is not taken any more.
struct Session {
    service: Service,
    token: RefCell<Option<String>>,
}

impl Session {
    fn find(&self, path: &str) -> Result<Option<Vec<u8>>, FetchError> {
        let token = self.token.borrow().clone();
        let Some(token) = token else { return Ok(self.service.find(path, &[])?) };
        let ask = |token: &str| self.service.find(path, &[("X-aws-ec2-metadata-token", token)]);
        match ask(&token) {
            Err(error) if error.status() == Some(401) => {
                let token = token_of(self.service.ask(Method::Put, TOKEN, &[TTL], &[])?)?;
                let answer = ask(&token)?;
                *self.token.borrow_mut() = Some(token);
                Ok(answer)
            }
            answer => Ok(answer?),
        }
    }

    fn text(&self, path: &str) -> Result<Option<String>, FetchError> {
        let Some(bytes) = self.find(path)? else { return Ok(None) };
        let text = String::from_utf8(bytes).map_err(|_| format!("{path} is not UTF-8 text"))?;
        Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
    }
}

/// What was answered, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// `meta-data/`, path by path, without empty ones. An object below `network/interfaces/macs` for each interface.
    pub values: Map<String, Value>,
    /// `dynamic/instance-identity/document`.
    pub identity: Value,
    /// `user-data`.
    pub user_data: Vec<u8>,
}

/// Values of one interface; each may be absent.
const OF_NIC: [&str; 6] =
    ["device-number", "network-card", "local-ipv4s", "ipv6s", "subnet-ipv4-cidr-block", "subnet-ipv6-cidr-blocks"];
/// Where the interfaces are.
const MACS: &str = "network/interfaces/macs/";

impl Ec2 {
    fn fetch(&self, session: &Session) -> Result<Answers, FetchError> {
        let at = |name: &str| format!("/{}/meta-data/{name}", self.version);
        let mut values = Map::new();
        for name in ["instance-id"].into_iter().chain(NAMES) {
            values.extend(session.text(&at(name))?.map(|text| (name.to_owned(), Value::from(text))));
        }
        let mut keys = Vec::new();
        for line in session.text(&at("public-keys/"))?.unwrap_or_default().lines().take(MOST) {
            // `0=name`
            let number = line.split('=').next().unwrap_or("").trim();
            if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
                keys.extend(session.text(&at(&format!("public-keys/{number}/openssh-key")))?);
            }
        }
        values.insert("public-keys".into(), keys.into());
        let mut nics = Map::new();
        for line in session.text(&at(MACS))?.unwrap_or_default().lines().take(MOST) {
            let Ok(mac) = line.trim().trim_end_matches('/').parse::<Mac>() else { continue };
            let mut nic = Map::new();
            for name in OF_NIC {
                let text = session.text(&at(&format!("{MACS}{mac}/{name}")))?;
                nic.extend(text.map(|text| (name.to_owned(), Value::from(text))));
            }
            nics.insert(mac.to_string(), nic.into());
        }
        values.insert("macs".into(), nics.into());
        let identity = match session.find("/latest/dynamic/instance-identity/document")? {
            Some(bytes) if self.tokens => document::json(&bytes, "the instance identity document")?,
            _ => Value::Null,
        };
        let user_data = session.find(&format!("/{}/user-data", self.version))?.unwrap_or_default();
        Ok(Answers { values, identity, user_data })
    }
}

/// Makes a seed of the answers.
///
/// # Errors
/// When there is no instance id.
pub fn seed(platform: &str, answers: &Answers) -> Result<Seed, String> {
    let document = Value::Object(answers.values.clone());
    let text = |name: &str| answers.values.get(name).and_then(Value::as_str).map(str::to_owned);
    let signed = |name: &str| document::text(&answers.identity, name);
    let zone = signed("/availabilityZone").or_else(|| text("placement/availability-zone"));
    let region = signed("/region").or_else(|| text("placement/region"));
    let id = signed("/instanceId").or_else(|| text("instance-id")).ok_or("meta-data has no instance-id")?;
    if id.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("the instance-id {id:?} is none"));
    }
    let metadata = Metadata {
        instance_id: Some(id),
        local_hostname: text("local-hostname").and_then(|name| hostname(&name)),
        public_keys: document::keys(document.get("public-keys")),
        // A zone is its region and a letter.
        region: region.or_else(|| zone.as_ref().map(|z| z.trim_end_matches(|c: char| c.is_ascii_lowercase()).into())),
        availability_zone: zone,
        launch_index: text("ami-launch-index").and_then(|index| index.parse().ok()),
        private_ipv4: text("local-ipv4"),
        public_ipv4: text("public-ipv4"),
        ..Metadata::default()
    };
    Ok(Seed {
        platform: platform.to_owned(),
        source: String::new(),
        network: document::network(network::plan(document.get("macs").unwrap_or(&Value::Null))),
        metadata: Metadata { document, ..metadata },
        user_data: answers.user_data.clone(),
        vendor_data: Vec::new(),
    })
}

/// The first of the names; of an address, the name that Amazon would have made of it.
fn hostname(text: &str) -> Option<String> {
    let name = text.split_whitespace().next()?;
    let made = |address: Ipv4Addr| format!("ip-{}", address.to_string().replace('.', "-"));
    Some(name.parse().map_or_else(|_| name.to_owned(), made))
}

#[cfg(test)]
mod tests;
