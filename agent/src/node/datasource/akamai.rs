//! Akamai (Linode).
//!
//! `PUT /v1/token` with `Metadata-Token-Expiry-Seconds: 300` gives a token; `GET` of `/v1/instance`, `/v1/network` and
//! `/v1/ssh-keys` (`Accept: application/json`) and of `/v1/user-data` (base64) with `Metadata-Token`. At
//! `fd00:a9fe:a9fe::1`, and at `169.254.169.254`. cloud-init goes on with the serial number alone where there is no token
//! to be had; a node that waits is better than one that starts without its user-data.

use std::net::Ipv6Addr;

use serde_json::Value;

use super::{Datasource, Endpoint, Look, Method, Outcome, document, fetch, first};
use crate::node::{
    netconfig::{Cidr, Interface, NetworkConfig, NetworkPlan},
    seed::{Metadata, Seed},
};

/// The service on IPv6.
const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1);

/// How long a token is good, in seconds.
const TOKEN_EXPIRY: (&str, &str) = ("Metadata-Token-Expiry-Seconds", "300");

/// The datasource.
#[derive(Debug, Clone)]
pub struct Akamai {
    endpoints: Vec<Endpoint>,
}

impl Default for Akamai {
    fn default() -> Self {
        Self { endpoints: vec![Endpoint::v6(V6), Endpoint::USUAL] }
    }
}

impl Datasource for Akamai {
    fn name(&self) -> &'static str {
        "akamai"
    }

    fn look(&self, look: &Look<'_>) -> Outcome {
        let dmi = &look.platform.dmi;
        let serial = dmi.get("system-serial-number");
        let (v4, v6) = allowed(dmi.get("baseboard-serial-number"));
        let may_ask = |endpoint: &&Endpoint| if endpoint.address.is_ipv4() { v4 } else { v6 };
        let endpoints: Vec<Endpoint> = self.endpoints.iter().filter(may_ask).copied().collect();
        fetch::look(look, &endpoints, &|services| {
            let (service, token) = first(services, Method::Put, "/v1/token", &[TOKEN_EXPIRY])?;
            let token = String::from_utf8(token).map_err(|_| "the token is no text".to_owned())?;
            let token = ("Metadata-Token", token.trim());
            let json = [token, ("Accept", "application/json")];
            let instance = service.get("/v1/instance", &json)?;
            let network = service.find("/v1/network", &json)?;
            let keys = service.find("/v1/ssh-keys", &json)?;
            let user_data = service.find("/v1/user-data", &[token])?;
            let answers = Answers {
                instance: Some(&instance),
                network: network.as_deref(),
                keys: keys.as_deref(),
                user_data: user_data.as_deref(),
            };
            Ok((service, seed(answers, serial)?))
        })
    }
}

/// What the service said; what it does not have, or does not have yet, is absent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Answers<'a> {
    /// `instance`.
    pub instance: Option<&'a [u8]>,
    /// `network`, which fills while the machine boots.
    pub network: Option<&'a [u8]>,
    /// `ssh-keys`.
    pub keys: Option<&'a [u8]>,
    /// `user-data`.
    pub user_data: Option<&'a [u8]>,
}

/// Makes a seed of the answers. `serial` is the machine's serial number, which is the instance's number.
///
/// # Errors
/// When a document is not JSON, or the instance has no number.
pub fn seed(answers: Answers<'_>, serial: Option<&str>) -> Result<Seed, String> {
    let read = |bytes: Option<&[u8]>, what| bytes.map_or(Ok(Value::Null), |bytes| document::json(bytes, what));
    let document = read(answers.instance, "instance")?;
    let network = read(answers.network, "network")?;
    let keys = read(answers.keys, "ssh-keys")?;
    let text = |pointer: &str| document::text(&document, pointer);
    let first = |kind: &str| Some(cidr(network.pointer(&format!("/ipv4/{kind}/0"))?)?.address.to_string());
    let metadata = Metadata {
        instance_id: Some(text("/id").or_else(|| serial.map(str::to_owned)).ok_or("instance has no id")?),
        local_hostname: text("/label"),
        public_keys: document::keys(keys.get("users")),
        region: text("/region"),
        private_ipv4: first("private"),
        public_ipv4: first("public"),
        ..Metadata::default()
    };
    Ok(Seed {
        platform: "akamai".into(),
        source: String::new(),
        network: plan(&network),
        metadata: Metadata { document, ..metadata },
        user_data: document::unbase64(answers.user_data.unwrap_or_default().to_vec()),
        vendor_data: Vec::new(),
    })
}

/// The first public address and the one of IPv6 come by themselves; what else the machine has is static.
fn plan(network: &Value) -> Option<NetworkConfig> {
    let of = |pointer: &str| document::list(network, pointer).iter().filter_map(cidr);
    let mut plan = NetworkPlan::default();
    let mut main = Interface::called("eth0");
    for (index, entry) in document::list(network, "/interfaces").iter().enumerate() {
        let name = format!("eth{index}");
        match document::text(entry, "/purpose").as_deref() {
            Some("vlan") => {
                let address = document::cidr(entry, "/ipam_address");
                plan.interfaces.extend(address.map(|address| Interface::called(&name).address(address)));
            }
            Some("vpc") => plan.interfaces.push(Interface::called(&name).dhcp4(None)),
            _ => main = Interface::called(&name),
        }
    }
    let has_main = of("/ipv4/public").next().is_some() || document::text(network, "/ipv6/slaac").is_some();
    if has_main {
        main = main.dhcp4(None);
        main.accept_ra = Some(true);
        main.addresses.extend(of("/ipv4/public").skip(1));
        main.addresses.extend(of("/ipv4/private").map(widen));
        main.addresses.extend(of("/ipv6/ranges"));
        plan.interfaces.insert(0, main);
    }
    document::network(plan)
}

fn cidr(value: &Value) -> Option<Cidr> {
    value.as_str()?.parse().ok()
}

/// Private addresses are given alone; their network is 192.168.128.0/17, and without it the neighbours are not on the
/// link.
fn widen(cidr: Cidr) -> Cidr {
    match cidr.address {
        std::net::IpAddr::V4(v4) if cidr.prefix == 32 && v4.to_bits() >> 15 == 0xc0a8_8000 >> 15 => {
            Cidr { prefix: 17, ..cidr }
        }
        _ => cidr,
    }
}

/// Which addresses of the service the firmware allows: `v4=0` and `v6=0` among the flags in the board's serial number
/// (`als=1;v6=0`).
#[must_use]
pub fn allowed(flags: Option<&str>) -> (bool, bool) {
    let off = |key: &str| {
        let mut pairs = flags.unwrap_or_default().split(';').filter_map(|flag| flag.trim().split_once('='));
        pairs.any(|(k, v)| k == key && v == "0")
    };
    (!off("v4"), !off("v6"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::node::datasource::Detection;
    use crate::node::{
        datasource::testbed::{golden, look, machine},
        testing::{Cloud, faults::survives},
    };

    const ANSWERS: Answers<'_> = Answers {
        instance: Some(include_bytes!("fixtures/akamai-instance.json")),
        network: Some(include_bytes!("fixtures/akamai-network.json")),
        keys: Some(include_bytes!("fixtures/akamai-keys.json")),
        user_data: Some(b"I2Nsb3VkLWNvbmZpZwojIHNlY3JldAo="),
    };

    #[test]
    fn an_instance() {
        insta::assert_snapshot!("akamai", golden(&seed(ANSWERS, Some("51234567")).unwrap()));
    }

    #[test]
    fn the_serial_number_stands_in_for_the_id() {
        let instance = Some(&b"{}"[..]);
        let seed = seed(Answers { instance, ..Answers::default() }, Some("7")).unwrap();
        assert_eq!((seed.metadata.instance_id.as_deref(), seed.network), (Some("7"), None));
        assert!(super::seed(Answers { instance, ..Answers::default() }, None).is_err());
    }

    #[test]
    fn a_network_that_is_not_complete_yet_takes_nothing_away() {
        for early in [json!({}), json!({"interfaces": [], "ipv4": {"public": [], "private": []}, "ipv6": {}})] {
            assert_eq!(plan(&early), None);
        }
    }

    #[test]
    fn flags_of_the_firmware() {
        assert_eq!(allowed(None), (true, true));
        assert_eq!(allowed(Some("als=1;v6=0;pmp=f2:3,f2:4")), (true, false));
        assert_eq!(allowed(Some("v4=0")), (false, true));
        assert_eq!(allowed(Some("Not Specified")), (true, true));
    }

    fn cloud() -> Cloud {
        Cloud::default()
            .secret("secret")
            .secret("T0KEN")
            .needs("Metadata-Token-Expiry-Seconds", "300", 400)
            .route("PUT", "/v1/token", "T0KEN")
            .needs_nothing()
            .needs("Metadata-Token", "T0KEN", 401)
            .get("/v1/user-data", ANSWERS.user_data.unwrap())
            .absent_ok()
            .needs("Accept", "application/json", 406)
            .get("/v1/instance", ANSWERS.instance.unwrap())
            .get("/v1/network", ANSWERS.network.unwrap())
            .absent_ok()
            .get("/v1/ssh-keys", ANSWERS.keys.unwrap())
            .absent_ok()
    }

    fn ask(endpoint: Endpoint, timing: crate::node::datasource::Timing) -> Outcome {
        let platform = machine(&[("sys_vendor", "Linode"), ("product_serial", "51234567")], "");
        look(&Akamai { endpoints: vec![endpoint] }, &platform, timing)
    }

    #[test]
    fn a_service_that_fails_is_survived() {
        survives(&cloud(), ask);
    }

    #[test]
    fn the_firmware_names_it_and_forbids_families() {
        let of = |vendor| Akamai::default().detect(&machine(&[("sys_vendor", vendor)], ""));
        assert_eq!((of("Akamai"), of("Linode"), of("QEMU")), (Detection::Named, Detection::Named, Detection::Absent));
        let server = cloud().serve();
        let platform = machine(&[("board_serial", "v4=0"), ("product_serial", "7")], "");
        let source = Akamai { endpoints: vec![server.address.into()] };
        let outcome = look(&source, &platform, crate::node::datasource::Timing::CLOUD);
        assert!(matches!(outcome, Outcome::Nothing(_)) && server.requests().is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(instance: Vec<u8>, network: Vec<u8>, keys: Vec<u8>, flags: String) {
            let _ = seed(Answers { instance: Some(&instance), ..ANSWERS }, None);
            let _ = seed(Answers { network: Some(&network), ..ANSWERS }, None);
            let _ = seed(Answers { keys: Some(&keys), ..ANSWERS }, None);
            let _ = allowed(Some(&flags));
        }
    }
}
