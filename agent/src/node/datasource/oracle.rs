//! Oracle Cloud Infrastructure.
//!
//! `GET` of `instance/` and `vnics/` below `/opc/v2/` with `Authorization: Bearer Oracle`; where that is not served,
//! below `/opc/v1/` without it. At `fd00:c1::a9fe:a9fe`, and at `169.254.169.254`.

use std::net::Ipv6Addr;

use serde_json::Value;

use super::{Datasource, Endpoint, HttpError, Look, Method, Outcome, document, fetch, first};
use crate::node::{
    netconfig::{Interface, NetworkConfig, NetworkPlan},
    seed::{Metadata, Seed},
};

/// The service on IPv6.
const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe);

/// The datasource.
#[derive(Debug, Clone)]
pub struct Oracle {
    endpoints: Vec<Endpoint>,
}

impl Default for Oracle {
    fn default() -> Self {
        Self { endpoints: vec![Endpoint::v6(V6), Endpoint::USUAL] }
    }
}

impl Datasource for Oracle {
    fn name(&self) -> &'static str {
        "oracle"
    }

    fn look(&self, look: &Look<'_>) -> Outcome {
        fetch::look(look, &self.endpoints, &|services| {
            let with = |version: &str, headers| {
                let (service, instance) =
                    first(services.clone(), Method::Get, &format!("/opc/{version}/instance/"), headers)?;
                let vnics = service.find(&format!("/opc/{version}/vnics/"), headers)?;
                Ok((service, instance, vnics))
            };
            let (service, instance, vnics) = match with("v2", &[("Authorization", "Bearer Oracle")]) {
                Err(error @ HttpError::Status { .. }) if error.is_absent() => with("v1", &[])?,
                other => other?,
            };
            Ok((service, seed(&instance, vnics.as_deref())?))
        })
    }
}

/// The largest packet in Oracle's networks.
const MTU: u32 = 9000;

/// Makes a seed of `instance/` and, when it could be had, `vnics/`.
///
/// # Errors
/// When a document is not JSON, or the instance has no id.
pub fn seed(instance: &[u8], vnics: Option<&[u8]>) -> Result<Seed, String> {
    let mut document = document::json(instance, "instance")?;
    let vnics = vnics.map_or(Ok(Value::Null), |bytes| document::json(bytes, "vnics"))?;
    let mut user_data = Vec::new();
    if let Some(inner) = document.get_mut("metadata") {
        user_data = document::unbase64(document::take(inner, "user_data"));
    }
    let text = |pointer: &str| document::text(&document, pointer);
    let metadata = Metadata {
        instance_id: Some(text("/id").ok_or("instance has no id")?),
        local_hostname: text("/hostname"),
        public_keys: document::keys(document.pointer("/metadata/ssh_authorized_keys")),
        availability_zone: text("/ociAdName").or_else(|| text("/availabilityDomain")),
        region: text("/canonicalRegionName").or_else(|| text("/region")),
        private_ipv4: document::text(&vnics, "/0/privateIp"),
        ..Metadata::default()
    };
    let network = network(&vnics);
    if let Some(map) = document.as_object_mut() {
        map.insert("vnics".into(), vnics);
    }
    Ok(Seed {
        platform: "oracle".into(),
        source: String::new(),
        metadata: Metadata { document, ..metadata },
        user_data,
        vendor_data: Vec::new(),
        network,
    })
}

/// DHCP on the first interface, by the families that it has. The others are left alone, as cloud-init leaves them.
fn network(vnics: &Value) -> Option<NetworkConfig> {
    let primary = vnics.get(0)?;
    let mut nic = Interface::on(document::mac(primary, "/macAddr")?).mtu(MTU);
    let has_v6 = ["/ipv6Addresses/0", "/ipv6VirtualRouterIp"].iter().any(|at| document::text(primary, at).is_some());
    if document::text(primary, "/privateIp").is_some() || !has_v6 {
        nic = nic.dhcp4(None);
    }
    if has_v6 {
        nic = nic.dhcp6(None);
    }
    document::network(NetworkPlan::of([nic]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::node::datasource::{Detection, Platform};
    use crate::node::{
        datasource::testbed::{golden, look, machine},
        testing::{
            Cloud,
            faults::{found, survives},
        },
    };

    const INSTANCE: &[u8] = include_bytes!("fixtures/oracle-instance.json");
    const VNICS: &[u8] = include_bytes!("fixtures/oracle-vnics.json");

    #[test]
    fn an_instance() {
        insta::assert_snapshot!("oracle", golden(&seed(INSTANCE, Some(VNICS)).unwrap()));
    }

    #[test]
    fn families_decide_on_dhcp() {
        let of = |vnic: Value| {
            let Some(NetworkConfig::Plan(plan)) = network(&json!([vnic])) else { panic!() };
            (plan.interfaces[0].dhcp4.is_some(), plan.interfaces[0].dhcp6.is_some())
        };
        let mac = "02:00:17:00:00:01";
        let v6 = json!(["2001:db8::15"]);
        assert_eq!(of(json!({"macAddr": mac, "privateIp": "10.0.0.2"})), (true, false));
        assert_eq!(of(json!({"macAddr": mac, "privateIp": "10.0.0.2", "ipv6Addresses": v6})), (true, true));
        assert_eq!(of(json!({"macAddr": mac, "ipv6Addresses": v6, "ipv6VirtualRouterIp": "fe80::1"})), (false, true));
        assert_eq!(of(json!({"macAddr": mac})), (true, false));
    }

    #[test]
    fn metadata_without_anything() {
        let seed = seed(br#"{"id": "i", "metadata": null}"#, None).unwrap();
        assert_eq!((seed.user_data, seed.network, seed.metadata.public_keys), (vec![], None, vec![]));
        assert!(super::seed(b"{}", None).is_err());
    }

    fn cloud(version: &str) -> Cloud {
        Cloud::default()
            .secret("secret")
            .secret("I2Nsb3Vk")
            .needs(if version == "v2" { "Authorization" } else { "!Authorization" }, "Bearer Oracle", 404)
            .get(&format!("/opc/{version}/instance/"), INSTANCE)
            .get(&format!("/opc/{version}/vnics/"), VNICS)
            .absent_ok()
    }

    fn ask(endpoint: Endpoint, timing: crate::node::datasource::Timing) -> Outcome {
        look(&Oracle { endpoints: vec![endpoint] }, &Platform::default(), timing)
    }

    #[test]
    fn a_service_that_fails_is_survived() {
        survives(&cloud("v2"), ask);
    }

    #[test]
    fn the_first_version_is_asked_where_there_is_no_second() {
        let with_header = Cloud::default().needs("Authorization", "Bearer Oracle", 401).get("/opc/v2/", "");
        let mut first = cloud("v1");
        first.routes.extend(with_header.routes);
        assert_eq!(found(&first, ask).metadata, found(&cloud("v2"), ask).metadata);
        assert_eq!(
            Oracle::default().detect(&machine(&[("chassis_asset_tag", "OracleCloud.com")], "")),
            Detection::Named
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(instance: Vec<u8>, vnics: Vec<u8>) {
            let _ = seed(&instance, Some(&vnics));
        }

        #[test]
        fn any_change_of_a_value_is_read(at in 0..INSTANCE.len(), other in 0..VNICS.len(), byte: u8) {
            let (mut instance, mut vnics) = (INSTANCE.to_vec(), VNICS.to_vec());
            instance[at] = byte;
            vnics[other] = byte;
            let _ = seed(&instance, Some(VNICS));
            let _ = seed(INSTANCE, Some(&vnics));
        }
    }
}
