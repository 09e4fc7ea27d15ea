use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::node::{
    datasource::{
        Platform, Timing,
        testbed::{golden, look},
    },
    testing::{
        Cloud, Fault,
        faults::{found, survives},
    },
};

const USER_DATA: &str = "#cloud-config\n# secret\n";
const MAC: &str = "02:29:96:8f:6a:2d";

fn at(endpoint: Endpoint) -> Ec2 {
    Ec2 { endpoints: vec![endpoint], ..Ec2::aws() }
}

fn ask(endpoint: Endpoint, timing: Timing) -> Outcome {
    look(&at(endpoint), &Platform::default(), timing)
}

fn cloud() -> Cloud {
    let meta = |name: &str| format!("/latest/meta-data/{name}");
    let nic = |name: &str| meta(&format!("{MACS}{MAC}/{name}"));
    let cloud = Cloud::default()
        .secret("T0ken")
        .needs(TTL.0, TTL.1, 400)
        .route("PUT", TOKEN, "T0ken")
        .needs_nothing()
        .needs("X-aws-ec2-metadata-token", "T0ken", 401)
        .needs("!X-aws-ec2-metadata-token-ttl-seconds", "", 400)
        .get(&meta("instance-id"), "i-0a1b2c3d4e5f60718")
        // The signed document has it, too.
        .absent_ok();
    [
        ("local-hostname", "ip-10-0-1-7.eu-west-1.compute.internal"),
        ("local-ipv4", "10.0.1.7"),
        ("public-ipv4", "203.0.113.25"),
        ("ami-launch-index", "2"),
        ("placement/availability-zone", "eu-west-1b"),
        ("placement/region", "eu-west-1"),
        ("instance-type", "t3.micro"),
        ("public-keys/", "0=ops"),
        ("public-keys/0/openssh-key", "ssh-ed25519 AAAAec2 ops\n"),
        (MACS, "02:29:96:8f:6a:2d/\n"),
    ]
    .into_iter()
    .fold(cloud, |cloud, (name, value)| cloud.get(&meta(name), value).absent_ok())
    .get(&nic("device-number"), "0")
    .absent_ok()
    .get(&nic("local-ipv4s"), "10.0.1.7\n10.0.1.8")
    .absent_ok()
    .get(&nic("subnet-ipv4-cidr-block"), "10.0.1.0/25")
    .absent_ok()
    .get(
        "/latest/dynamic/instance-identity/document",
        r#"{"instanceId": "i-0a1b2c3d4e5f60718", "region": "eu-west-1"}"#,
    )
    .absent_ok()
    .get("/latest/user-data", USER_DATA)
    .absent_ok()
}

#[test]
fn the_service_is_read() {
    insta::assert_snapshot!("aws", golden(&found(&cloud(), ask)));
}

#[test]
fn a_service_that_fails_is_survived() {
    survives(&cloud(), ask);
}

#[test]
fn a_token_is_renewed_when_it_is_taken_no_more() {
    let server = cloud().broken(Some("/latest/user-data"), Fault::Once(401)).serve();
    let Outcome::Found(seed) = ask(server.address.into(), Timing::CLOUD) else { panic!("{:?}", server.requests()) };
    assert_eq!(seed.user_data, USER_DATA.as_bytes());
    assert_eq!(server.requests().iter().filter(|line| line.starts_with("PUT")).count(), 2);
    assert_eq!(server.complaints(), [""; 0]);
}

#[test]
fn there_is_no_way_back_to_the_service_without_tokens() {
    let server = cloud().without(TOKEN).serve();
    assert!(!matches!(ask(server.address.into(), Timing::CLOUD), Outcome::Found(_)));
    assert_eq!(server.requests(), ["PUT /latest/api/token"]);
    let server = cloud().broken(Some(TOKEN), Fault::Status(403)).serve();
    assert!(matches!(ask(server.address.into(), Timing::CLOUD), Outcome::Failed(why) if why.contains("HttpEndpoint")));
}

#[test]
fn the_service_may_have_an_address_of_ipv6() {
    assert!(Ec2::aws().endpoints.iter().any(|endpoint| endpoint.address.to_string() == "fd00:ec2::254"));
    // A host without IPv6 cannot show it.
    let Ok(listener) = std::net::TcpListener::bind("[::1]:0") else { return };
    let server = cloud().serve_on(listener);
    let seed = match ask(server.address.into(), Timing::CLOUD) {
        Outcome::Found(seed) => seed,
        other => panic!("{other:?}"),
    };
    assert_eq!(seed.metadata.instance_id.as_deref(), Some("i-0a1b2c3d4e5f60718"));
    assert!(server.requests().iter().any(|request| request == "PUT /latest/api/token"));
}

#[test]
fn others_have_no_tokens() {
    let cloud = Cloud::default()
        .needs("!X-aws-ec2-metadata-token", "", 400)
        .get("/2009-04-04/meta-data/instance-id", "i-7")
        .get("/2009-04-04/user-data", USER_DATA);
    let seed = found(&cloud, |endpoint, timing| {
        let outscale = Ec2::others().into_iter().find(|source| source.name == "outscale").unwrap();
        look(&Ec2 { endpoints: vec![endpoint], ..outscale }, &Platform::default(), timing)
    });
    assert_eq!((seed.platform.as_str(), seed.metadata.instance_id.as_deref()), ("outscale", Some("i-7")));
}

#[test]
fn several_interfaces_with_several_addresses() {
    let macs = json!({
        "02:00:00:00:00:02": {
            "device-number": "1", "local-ipv4s": "10.0.2.9\n10.0.2.10", "subnet-ipv4-cidr-block": "10.0.2.0/24",
        },
        "02:00:00:00:00:03": {
            "device-number": "0", "network-card": "1", "local-ipv4s": "10.0.3.9",
            "subnet-ipv4-cidr-block": "10.0.3.0/26",
        },
        "02:00:00:00:00:01": {
            "device-number": "0", "network-card": "0", "local-ipv4s": "10.0.1.9\n10.9.9.9",
            "subnet-ipv4-cidr-block": "10.0.1.0/20",
            "ipv6s": "2001:db8::9\n2001:db8::a", "subnet-ipv6-cidr-blocks": "2001:db8::/64",
        },
        "nonsense": {},
    });
    let values = [("instance-id".to_owned(), json!("i-1")), ("macs".to_owned(), macs)].into_iter().collect();
    let seed = seed("aws", &Answers { values, ..Answers::default() }).unwrap();
    insta::assert_snapshot!("aws-network", golden(&seed));
}

#[test]
fn names_and_ids() {
    assert_eq!(hostname("10.0.1.7").as_deref(), Some("ip-10-0-1-7"));
    assert_eq!(hostname("a.example b.example").as_deref(), Some("a.example"));
    assert_eq!(hostname(" "), None);
    let of = |id: &str| {
        let values = [("instance-id".to_owned(), json!(id))].into_iter().collect();
        seed("aws", &Answers { values, ..Answers::default() })
    };
    assert!(of("i-1").is_ok());
    assert!(of("<html>\n").unwrap_err().contains("instance-id"));
}

proptest! {
    #[test]
    fn any_answers_make_a_plan(
        addresses in proptest::collection::vec("[0-9.]{0,15}|[0-9a-f:]{0,20}|", 0..4), net in "[0-9.]{7,15}/[0-9]{1,3}",
        number: String, mac in "([0-9a-f]{2}:){5}[0-9a-f]{2}",
    ) {
        let nic = json!({
            "device-number": number, "local-ipv4s": addresses.join("\n"), "ipv6s": addresses.join("\n"),
            "subnet-ipv4-cidr-block": net,
        });
        network::plan(&json!({mac: nic.clone(), "02:00:00:00:00:01": nic}));
    }
}
