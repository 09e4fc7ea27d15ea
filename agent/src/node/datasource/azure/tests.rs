use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::node::{
    datasource::testbed::{golden, look, machine},
    testing::{
        Cloud, Fault,
        faults::{found, survives},
    },
};

const MEDIA: &str = include_str!("../fixtures/azure-ovf-env.xml");
const INSTANCE: &str = include_str!("../fixtures/azure-instance.json");
const NEWER: &str = "/metadata/instance?api-version=2021-08-01&extended=true";
const OLDER: &str = "/metadata/instance?api-version=2019-06-01";
const GOAL_STATE: &str = include_str!("../fixtures/azure-goalstate.xml");

fn document() -> Value {
    serde_json::from_str(INSTANCE).unwrap()
}

/// With user-data, as a machine without media has it.
fn with_user_data() -> Value {
    let mut instance = document();
    instance["compute"]["userData"] = "I2Nsb3VkLWNvbmZpZwojIHNlY3JldAo=".into();
    instance
}

fn here() -> Platform {
    machine(&[("product_uuid", "02AAB8A4-74EF-476E-8182-F6D2BA4166A6")], "")
}

fn at(endpoint: Endpoint) -> Azure {
    Azure {
        endpoints: vec![endpoint],
        wire_server: Some(endpoint),
        reporting: Timing { pause: std::time::Duration::from_millis(1), ..Timing::CLOUD },
    }
}

fn ask(endpoint: Endpoint, timing: Timing) -> Outcome {
    look(&at(endpoint), &here(), timing)
}

fn cloud() -> Cloud {
    let id = ("x-ms-client-request-id", "");
    Cloud::default()
        .secret("secret")
        .needs("Metadata", "true", 400)
        .needs(id.0, id.1, 400)
        .get(NEWER, with_user_data().to_string())
}

#[test]
fn media_and_service_make_one_seed() {
    let ovf = Ovf::parse(MEDIA.as_bytes()).unwrap();
    assert!(!format!("{ovf:?}").contains("secret"));
    insta::assert_snapshot!("azure", golden(&seed(&here(), Some(&ovf), document(), None).unwrap()));
}

#[test]
fn the_service_is_read() {
    let seed = found(&cloud(), ask);
    assert_eq!(seed.user_data, b"#cloud-config\n# secret\n");
    assert_eq!(seed.source, "azure (http://127.0.0.1");
}

#[test]
fn a_service_that_fails_is_survived() {
    survives(&cloud(), ask);
}

#[test]
fn a_machine_that_cannot_be_provisioned_is_refused_for_good() {
    let mut instance = with_user_data();
    instance["extended"]["compute"]["ppsType"] = "Savable".into();
    let cloud = cloud().without(NEWER).get(NEWER, instance.to_string());
    let server = cloud.serve();
    let Outcome::Refused(why) = ask(server.address.into(), Timing::CLOUD) else { panic!() };
    assert!(why.contains("pre-provisioning, Savable"), "{why}");
}

#[test]
fn an_older_service_is_asked_in_its_version() {
    let cloud = cloud().get(OLDER, with_user_data().to_string()).broken(Some(NEWER), Fault::Status(400));
    let server = cloud.serve();
    assert!(matches!(ask(server.address.into(), Timing::CLOUD), Outcome::Found(_)));
    assert_eq!(server.requests(), [format!("GET {NEWER}"), format!("GET {OLDER}")]);
}

#[test]
fn custom_data_without_its_media_is_that_of_the_earlier_boot() {
    let without = |kept: Option<&Seed>| seed(&here(), None, document(), kept);
    assert_eq!(without(None).unwrap_err(), "there is custom data, and no volume with ovf-env.xml");
    let ovf = Ovf::parse(MEDIA.as_bytes()).unwrap();
    let kept = seed(&here(), Some(&ovf), document(), None).unwrap();
    assert_eq!(without(Some(&kept)).unwrap().user_data, b"#cloud-config\n# secret\n");
    let mut other = kept;
    other.metadata.instance_id = Some("another".into());
    assert!(without(Some(&other)).is_err(), "another machine's is not");
}

#[test]
fn what_cannot_be_provisioned_is_refused() {
    let with = |from: &str, to: &str| {
        let ovf = Ovf::parse(MEDIA.replace(from, to).as_bytes()).unwrap();
        seed(&here(), Some(&ovf), document(), None).map(drop).unwrap_err()
    };
    assert!(with("VMType>None<", "VMType>Running<").contains("pre-provisioning, Running"));
    assert!(with("PreprovisionedVm>false<", "PreprovisionedVm>true<").contains("pre-provisioning"));
    let agent = "<ns1:ProvisionGuestProxyAgent>true</ns1:ProvisionGuestProxyAgent></ns1:PlatformSettings>";
    assert!(with("</ns1:PlatformSettings>", agent).contains("proxy agent"));
    let mut pool = document();
    pool["extended"]["compute"]["ppsType"] = "Savable".into();
    assert!(seed(&here(), None, pool, None).unwrap_err().contains("Savable"));
}

#[test]
fn broken_media_name_the_place_and_show_nothing() {
    let of = |text: &str| Ovf::parse(text.as_bytes()).unwrap_err().to_string();
    let place = of("<a>\n</secret>");
    assert!(place.starts_with("2:") && place.ends_with(": not XML"), "{place}");
    assert_eq!(of("<a/>"), "there is no ProvisioningSection");
    assert_eq!(of(&MEDIA.replace("I2Nsb3VkLW", "%secret%")), "CustomData is not base64");
    assert_eq!(Ovf::parse(&[0xff]).unwrap_err(), OvfError::Text);
}

#[test]
fn the_old_spelling_of_an_id_stays() {
    let turned = "a4b8aa02-ef74-6e47-8182-f6d2ba4166a6";
    assert_eq!(swapped(turned).as_deref(), Some("02aab8a4-74ef-476e-8182-f6d2ba4166a6"));
    let metadata = Metadata { instance_id: Some(turned.into()), ..Metadata::default() };
    let kept = Seed { platform: "azure".into(), user_data: b"kept".to_vec(), metadata, ..Seed::default() };
    let seed = seed(&here(), None, document(), Some(&kept)).unwrap();
    assert_eq!((seed.metadata.instance_id.as_deref(), seed.user_data), (Some(turned), b"kept".to_vec()));
}

fn wire_server() -> Cloud {
    Cloud::default()
        .needs("x-ms-agent-name", "WALinuxAgent", 400)
        .needs("x-ms-version", "2012-11-30", 400)
        .get("/machine/?comp=goalstate", GOAL_STATE)
        .needs("Content-Type", "text/xml; charset=utf-8", 415)
        .route("POST", "/machine?comp=health", "")
}

fn report(cloud: &Cloud, state: ReportState<'_>) -> (crate::node::testing::CloudServer, Vec<String>) {
    let server = cloud.serve();
    let (platform, view) = (here(), crate::node::net::View::default());
    at(server.address.into()).report(&Look::new(std::path::Path::new("/nonexistent"), &platform, &view), state);
    let bodies = server.bodies("/machine?comp=health").into_iter().map(|body| String::from_utf8(body).unwrap());
    let bodies = bodies.collect();
    (server, bodies)
}

/// Byte by byte: the platform does not say why it takes no other.
#[test]
fn the_ready_report() {
    let (server, bodies) = report(&wire_server(), ReportState::Ready);
    assert_eq!(server.complaints(), [""; 0]);
    assert_eq!(
        bodies,
        [
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<Health><GoalStateIncarnation>1</GoalStateIncarnation><Container>\
          <ContainerId>c6d5526c-5ac2-4200-b6e2-56f2b70c5ab2</ContainerId><RoleInstanceList><Role>\
          <InstanceId>b61f92da-2ff7-48a3-9d38-a1b4b5d5d7e0._server-vm-0</InstanceId>\
          <Health><State>Ready</State></Health></Role></RoleInstanceList></Container></Health>"
        ]
    );
}

#[test]
fn a_report_of_what_was_refused() {
    let reasons = ["user-data:3:1: <runcmd> & \u{1}more".to_owned(), "x".repeat(600)];
    let (_, bodies) = report(&wire_server(), ReportState::Failed(&reasons));
    let [body] = bodies.as_slice() else { panic!("{bodies:?}") };
    assert!(body.contains(
        "<Health><State>NotReady</State><Details><SubStatus>ProvisioningFailed</SubStatus>\
         <Description>user-data:3:1: &lt;runcmd&gt; &amp;  more; xxx"
    ));
    let parsed = roxmltree::Document::parse(body).unwrap();
    let description = parsed.descendants().find(|node| node.has_tag_name("Description")).unwrap();
    assert_eq!(description.text().unwrap().chars().count(), 512);
}

#[test]
fn a_busy_server_is_told_again() {
    let cloud = wire_server().broken(Some("/machine?comp=health"), Fault::Once(500));
    assert_eq!(report(&cloud, ReportState::Ready).1.len(), 2);
    let cloud = wire_server().broken(Some("/machine/?comp=goalstate"), Fault::Once(404));
    assert_eq!(report(&cloud, ReportState::Ready).1.len(), 1, "the whole is tried again");
}

#[test]
fn a_goal_state_has_all_three() {
    assert!(Goal::parse(GOAL_STATE.as_bytes()).is_some());
    for part in ["Incarnation", "ContainerId", "InstanceId"] {
        assert_eq!(Goal::parse(GOAL_STATE.replace(part, "Other").as_bytes()), None, "{part}");
    }
    assert_eq!(Goal::parse(b"\xff"), None);
}

#[test]
fn request_ids_are_uuids() {
    let id = report::request_id();
    assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{id}");
}

proptest! {
    #[test]
    fn any_text_is_read(text: String, bytes: Vec<u8>, inner: String) {
        let _ = (Ovf::parse(text.as_bytes()), Ovf::parse(&bytes), Goal::parse(&bytes));
        let _ = Ovf::parse(MEDIA.replace("server-vm-0", &inner).as_bytes());
        let _ = swapped(&text);
        let _ = seed(&Platform::default(), None, json!({"compute": {"vmId": text, "userData": inner}}), None);
    }

    #[test]
    fn any_reason_makes_a_report_that_can_be_read(reason: String) {
        let goal = Goal::parse(GOAL_STATE.as_bytes()).unwrap();
        let body = body(&goal, ReportState::Failed(&[reason]));
        prop_assert!(roxmltree::Document::parse(&body).is_ok(), "{}", body);
    }
}
