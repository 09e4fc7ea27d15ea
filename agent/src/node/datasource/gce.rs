//! Google Compute Engine.
//!
//! `GET /computeMetadata/v1/{instance,project}/?recursive=true` with `Metadata-Flavor: Google`, at the usual address,
//! under the name `metadata.google.internal`, which no name server is needed for. The network is DHCP's.

use std::net::Ipv6Addr;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::{Datasource, Endpoint, Look, Method, Outcome, document, fetch, first};
use crate::node::seed::{Metadata, Seed};

const HOST: &str = "metadata.google.internal";
const FLAVOUR: (&str, &str) = ("Metadata-Flavor", "Google");
const INSTANCE: &str = "/computeMetadata/v1/instance/?recursive=true";
const PROJECT: &str = "/computeMetadata/v1/project/?recursive=true";

/// The datasource.
#[derive(Debug, Clone)]
pub struct Gce {
    endpoints: Vec<Endpoint>,
}

impl Default for Gce {
    fn default() -> Self {
        let v6 = Endpoint::v6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254));
        Self { endpoints: vec![Endpoint::USUAL.named(HOST), v6.named(HOST)] }
    }
}

impl Datasource for Gce {
    fn name(&self) -> &'static str {
        "gce"
    }

    fn look(&self, look: &Look<'_>) -> Outcome {
        fetch::look(look, &self.endpoints, &|services| {
            let (service, instance) = first(services, Method::Get, INSTANCE, &[FLAVOUR])?;
            let project = service.find(PROJECT, &[FLAVOUR])?;
            let project = project.map_or(Ok(Value::Null), |bytes| document::json(&bytes, "the project's metadata"))?;
            Ok((service, seed(document::json(&instance, "the instance's metadata")?, &project)?))
        })
    }
}

/// Makes a seed of the two documents.
///
/// # Errors
/// When there is no id, user-data is not what its encoding says, or all there is is a start-up script.
pub fn seed(mut instance: Value, project: &Value) -> Result<Seed, String> {
    let keys = keys(&instance, project);
    let attributes = instance.get_mut("attributes").map(Value::take).unwrap_or_default();
    let text = |name: &str| attributes.get(name).and_then(Value::as_str);
    let mut user_data = text("user-data").unwrap_or("").as_bytes().to_vec();
    if text("user-data-encoding") == Some("base64") {
        let compact: Vec<u8> = user_data.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        user_data = BASE64_STANDARD
            .decode(compact)
            .map_err(|error| format!("the attribute user-data, which should be base64, is not: {error}"))?;
    }
    let script = ["startup-script", "startup-script-url"].into_iter().find(|name| text(name).is_some());
    if let Some(script) = script.filter(|_| user_data.trim_ascii().is_empty()) {
        return Err(format!(
            "the attribute {script:?} is for a shell, which this machine does not have: give #cloud-config in the \
             attribute \"user-data\" (Terraform: metadata = {{ user-data = ... }} instead of metadata_startup_script)"
        ));
    }
    let last = |pointer: &str| document::text(&instance, pointer)?.rsplit('/').next().map(str::to_owned);
    let zone = last("/zone");
    let metadata = Metadata {
        instance_id: Some(document::text(&instance, "/id").ok_or("the instance's metadata has no id")?),
        local_hostname: document::text(&instance, "/hostname")
            .and_then(|name| name.split('.').next().filter(|label| !label.is_empty()).map(str::to_owned)),
        public_keys: keys,
        region: zone.as_ref().and_then(|zone| Some(zone.rsplit_once('-')?.0.to_owned())),
        availability_zone: zone,
        private_ipv4: document::text(&instance, "/networkInterfaces/0/ip"),
        public_ipv4: document::text(&instance, "/networkInterfaces/0/accessConfigs/0/externalIp"),
        ..Metadata::default()
    };
    Ok(Seed {
        platform: "gce".into(),
        source: String::new(),
        metadata: Metadata { document: instance, ..metadata },
        user_data,
        vendor_data: Vec::new(),
        network: None,
    })
}

/// The keys of cloud-init's own users: lines `user:key`. The project's count unless the instance says otherwise.
fn keys(instance: &Value, project: &Value) -> Vec<String> {
    let of = |document: &Value, name: &str| {
        let text = document.get("attributes").and_then(|a| a.get(name)).and_then(Value::as_str);
        text.unwrap_or("").lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let blocked = of(instance, "block-project-ssh-keys").first().is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let own = of(instance, "sshKeys");
    let alone = blocked || !own.is_empty();
    let mut lines = own;
    lines.extend(of(instance, "ssh-keys"));
    if !alone {
        lines.extend(of(project, "ssh-keys"));
        lines.extend(of(project, "sshKeys"));
    }
    let key = |line: &String| {
        let (user, key) = line.split_once(':')?;
        let key = key.trim();
        (matches!(user.trim(), "cloudinit" | "default") && !key.is_empty()).then(|| key.to_owned())
    };
    lines.iter().filter_map(key).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::node::{
        datasource::{
            Platform, Timing,
            testbed::{golden, look},
        },
        testing::{
            Cloud,
            faults::{found, survives},
        },
    };

    const SAMPLE: &str = include_str!("fixtures/gce-instance.json");

    fn sample() -> Value {
        serde_json::from_str(SAMPLE).unwrap()
    }

    fn ask(endpoint: Endpoint, timing: Timing) -> Outcome {
        look(&Gce { endpoints: vec![endpoint.named(HOST)] }, &Platform::default(), timing)
    }

    fn cloud() -> Cloud {
        Cloud::default()
            .host(HOST)
            .secret("I2Nsb3Vk")
            .needs("Metadata-Flavor", "Google", 403)
            .get(INSTANCE, SAMPLE)
            .get(PROJECT, r#"{"projectId": "p", "attributes": {}}"#)
            .absent_ok()
    }

    #[test]
    fn an_instance() {
        let project = json!({"attributes": {"ssh-keys": "cloudinit:ssh-ed25519 AAAAp p\nroot:ssh-ed25519 AAAAr r"}});
        insta::assert_snapshot!("gce", golden(&seed(sample(), &project).unwrap()));
    }

    #[test]
    fn keys_of_the_project_can_be_kept_out() {
        let project = json!({"attributes": {"ssh-keys": "default:ssh-rsa P"}});
        let keys = |attributes: Value| keys(&json!({"attributes": attributes}), &project);
        assert_eq!(keys(json!({})), ["ssh-rsa P"]);
        assert_eq!(keys(json!({"ssh-keys": "cloudinit:ssh-rsa I"})), ["ssh-rsa I", "ssh-rsa P"]);
        assert_eq!(keys(json!({"sshKeys": "cloudinit:ssh-rsa I"})), ["ssh-rsa I"]);
        assert_eq!(keys(json!({"block-project-ssh-keys": "TRUE"})), [""; 0]);
    }

    #[test]
    fn a_script_for_a_shell_is_refused_with_the_way_out() {
        let with = |attributes| seed(json!({"id": 7, "attributes": attributes}), &Value::Null);
        let why = with(json!({"startup-script": "#!/bin/sh\nsecret"})).unwrap_err();
        assert!(why.contains("\"startup-script\"") && why.contains("user-data") && !why.contains("secret"), "{why}");
        assert!(with(json!({"startup-script": "#!/bin/sh", "user-data": "#cloud-config\n"})).is_ok());
        let broken = json!({"user-data": "%secret%", "user-data-encoding": "base64"});
        let why = with(broken).unwrap_err();
        assert!(why.contains("base64") && !why.contains("secret"), "{why}");
        assert_eq!(with(json!({})).unwrap().metadata.instance_id.as_deref(), Some("7"));
    }

    #[test]
    fn a_service_that_fails_is_survived() {
        survives(&cloud(), ask);
        assert_eq!(found(&cloud(), ask).source, "gce (http://metadata.google.internal");
    }

    proptest! {
        #[test]
        fn any_attributes_make_a_seed_or_an_error(
            data: String, encoding in prop::option::of("base64|gzip|"), keys: String, zone: String, host: String,
        ) {
            let attributes = json!({"user-data": data, "user-data-encoding": encoding, "ssh-keys": keys});
            let _ = seed(json!({"id": 1, "zone": zone, "hostname": host, "attributes": attributes}), &json!([keys]));
        }
    }
}
