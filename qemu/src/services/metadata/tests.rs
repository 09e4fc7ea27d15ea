use super::*;
use crate::volume::VolumeFormat;
use std::net::{Ipv4Addr, SocketAddrV4};

const MACHINE: Ipv4Addr = Ipv4Addr::new(10, 0, 5, 10);
const USER_DATA: &str = "#cloud-config\nruncmd: []\n";

fn instance(id: &str) -> Instance {
    Instance::new(id, "server-vm-0", MACHINE, USER_DATA)
}

/// `METHOD target`, with `name: value` for each field, at the metadata address.
fn request(line: &str, fields: &[&str]) -> Request {
    let (method, target) = line.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query.to_owned())));
    let field = |field: &&str| {
        let (name, value) = field.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    };
    Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query,
        headers: fields.iter().map(field).collect(),
        body: Vec::new(),
        peer: SocketAddrV4::new(MACHINE, 50_000),
        local: SocketAddrV4::new(METADATA_ADDRESS, 80),
        keep_alive: true,
    }
}

fn text(cloud: &impl Cloud, line: &str, fields: &[&str]) -> String {
    let response = cloud.answer(&request(line, fields));
    assert_eq!(response.status, 200, "{line}");
    String::from_utf8(response.body).unwrap()
}

/// Each request with the status that it gets.
fn statuses(cloud: &impl Cloud, cases: &[(u16, &str, &[&str])]) {
    for (status, line, fields) in cases {
        assert_eq!(cloud.answer(&request(line, fields)).status, *status, "{line} {fields:?}");
    }
}

#[test]
fn ec2_wants_a_token_that_it_gave() {
    let cloud = Ec2::new(&instance("i-0a1b2c3d4e5f60718"));
    let put = "PUT /latest/api/token";
    statuses(
        &cloud,
        &[
            (400, put, &[]),
            (400, put, &["X-aws-ec2-metadata-token-ttl-seconds: 21601"]),
            (403, put, &["X-aws-ec2-metadata-token-ttl-seconds: 60", "X-Forwarded-For: 10.0.5.9"]),
            (405, "GET /latest/api/token", &["X-aws-ec2-metadata-token-ttl-seconds: 60"]),
            (401, "GET /latest/user-data", &[]),
            (401, "GET /latest/user-data", &["X-aws-ec2-metadata-token: guessed"]),
            (405, "POST /latest/user-data", &[]),
        ],
    );
    let token = text(&cloud, put, &["X-aws-ec2-metadata-token-ttl-seconds: 21600"]);
    let field = format!("X-aws-ec2-metadata-token: {token}");
    let fields = [field.as_str()];
    assert_eq!(text(&cloud, "GET /latest/user-data", &fields), USER_DATA);
    assert_eq!(text(&cloud, "GET /2021-03-23/meta-data/public-keys/", &fields), "0=operator");
    assert_eq!(text(&cloud, "GET /latest/meta-data/network/interfaces/macs/", &fields), "52:54:00:05:05:0a/");
    let subnet = "GET /latest/meta-data/network/interfaces/macs/52:54:00:05:05:0a/subnet-ipv4-cidr-block";
    assert_eq!(text(&cloud, subnet, &fields), "10.0.5.0/24");
    let missing: &[(u16, &str, &[&str])] =
        &[(404, "GET /latest/meta-data/public-ipv4", &fields), (404, "GET /1999-01-01/user-data", &fields)];
    statuses(&cloud, missing);
    cloud.expire();
    statuses(&cloud, &[(401, "GET /latest/user-data", &fields)]);
}

#[test]
fn gce_wants_its_flavour() {
    let cloud = Gce::new(&instance("8087716956832600239"), Some("base64"));
    let flavour: &[&str] = &["Metadata-Flavor: Google"];
    statuses(
        &cloud,
        &[
            (403, "GET /computeMetadata/v1/instance/id", &[]),
            (403, "GET /computeMetadata/v1/instance/id", &["Metadata-Flavor: google"]),
            (403, "GET /computeMetadata/v1/instance/id", &["Metadata-Flavor: Google", "X-Forwarded-For: 1.2.3.4"]),
            (405, "PUT /computeMetadata/v1/instance/id", flavour),
            (404, "GET /computeMetadata/v1/instance/none", flavour),
            (404, "GET /latest/user-data", flavour),
        ],
    );
    let get = |path: &str| text(&cloud, &format!("GET /computeMetadata/v1/{path}"), flavour);
    assert_eq!(get("instance/id"), "8087716956832600239");
    assert_eq!(get("instance/attributes/user-data"), USER_DATA);
    assert_eq!(get("instance/network-interfaces/0/ip"), "10.0.5.10");
    assert_eq!(
        get("instance/attributes/?recursive=true").parse::<serde_json::Value>().unwrap()["user-data"],
        USER_DATA
    );
}

#[test]
fn azure_wants_headers_and_records_reports() {
    let cloud = Azure::new(&instance("02aab8a4-74ef-476e-8182-f6d2ba4166a6"));
    let get = "GET /metadata/instance?api-version=2021-08-01&extended=true";
    statuses(
        &cloud,
        &[
            (400, get, &[]),
            (400, get, &["Metadata: true", "X-Forwarded-For: 10.0.5.9"]),
            (400, "GET /metadata/instance", &["Metadata: true"]),
            (400, "GET /metadata/instance?api-version=2099-01-01", &["Metadata: true"]),
            (405, "POST /metadata/instance?api-version=2021-08-01", &["Metadata: true"]),
            (404, "GET /metadata/other?api-version=2021-08-01", &["Metadata: true"]),
            // The wire server is elsewhere.
            (400, "GET /machine/?comp=goalstate", &["x-ms-version: 2012-11-30"]),
        ],
    );
    assert!(text(&cloud, get, &["Metadata: true"]).contains("\"vmId\":\"02aab8a4"));

    let wire = |line: &str, fields: &[&str], body: &str| {
        let local = SocketAddrV4::new(WIRE_SERVER, 80);
        cloud.answer(&Request { local, body: body.as_bytes().to_vec(), ..request(line, fields) })
    };
    let (version, xml) = ("x-ms-version: 2012-11-30", "Content-Type: text/xml; charset=utf-8");
    assert_eq!(wire("GET /machine/?comp=goalstate", &[], "").status, 400);
    let goal = String::from_utf8(wire("GET /machine/?comp=goalstate", &[version], "").body).unwrap();
    assert!(goal.contains("<InstanceId>02aab8a4-74ef-476e-8182-f6d2ba4166a6._server-vm-0</InstanceId>"), "{goal}");
    let report = |container: &str, state: &str| {
        format!(
            "<Health><GoalStateIncarnation>1</GoalStateIncarnation><Container><ContainerId>{container}</ContainerId>\
             <RoleInstanceList><Role><InstanceId>02aab8a4-74ef-476e-8182-f6d2ba4166a6._server-vm-0</InstanceId><Health>\
             <State>{state}</State></Health></Role></RoleInstanceList></Container></Health>"
        )
    };
    let container = "c6d5526c-5ac2-4200-b6e2-56f2b70c5ab2";
    let health = "POST /machine?comp=health";
    assert_eq!(wire(health, &[version], &report(container, "Ready")).status, 400, "without a type");
    assert_eq!(wire(health, &[version, xml], &report("another", "Ready")).status, 400);
    assert_eq!(wire(health, &[version, xml], &report(container, "Fine")).status, 400);
    assert_eq!(wire("GET /machine?comp=health", &[version, xml], "").status, 405);
    assert_eq!(cloud.reports(), []);
    assert_eq!(wire(health, &[version, xml], &report(container, "Ready")).status, 200);
    assert_eq!(cloud.reports(), [HealthReport { state: "Ready".into(), description: None }]);
}

const WIRE_SERVER: Ipv4Addr = crate::services::WIRE_SERVER_ADDRESS;

#[test]
fn the_others_answer_their_paths_and_no_more() {
    let (id, uuid) = ("61234567", "83679162-1378-4288-a2d4-70e13ec132aa");
    let hetzner = Hetzner::new(&instance(id));
    assert_eq!(text(&hetzner, "GET /hetzner/v1/userdata", &[]), USER_DATA);
    assert!(text(&hetzner, "GET /hetzner/v1/metadata", &[]).contains("\ninstance-id: 61234567\n"));
    let silent = Hetzner::new(&Instance { user_data: Vec::new(), ..instance(id) });
    statuses(&silent, &[(204, "GET /hetzner/v1/userdata", &[]), (404, "GET /metadata", &[])]);

    let digitalocean = DigitalOcean::new(&instance(id));
    let document: serde_json::Value = text(&digitalocean, "GET /metadata/v1.json", &[]).parse().unwrap();
    assert_eq!(document["interfaces"]["public"][0]["ipv4"]["netmask"], "255.255.255.0");
    assert_eq!(text(&digitalocean, "GET /metadata/v1/interfaces/public/0/ipv4/", &[]), "address");
    statuses(&digitalocean, &[(405, "POST /metadata/v1.json", &[]), (404, "GET /metadata/v2.json", &[])]);

    let openstack = OpenStack::service(&instance(uuid));
    assert!(text(&openstack, "GET /openstack", &[]).ends_with("\n2018-08-27\nlatest"));
    assert_eq!(text(&openstack, "GET /openstack/2018-08-27/user_data", &[]), USER_DATA);
    statuses(&openstack, &[(404, "GET /openstack/2030-01-01/user_data", &[]), (404, "GET /openstack/latest/x", &[])]);
    assert_eq!(openstack.volume(), None);

    // Not at the services' own address.
    let elsewhere = SocketAddrV4::new(Ipv4Addr::new(10, 0, 5, 1), 80);
    let request = Request { local: elsewhere, ..request("GET /hetzner/v1/userdata", &[]) };
    assert_eq!(hetzner.answer(&request).status, 404);
}

#[test]
fn vultr_and_oracle_want_a_header() {
    let vultr = Vultr::new(&instance("7c2d5f10-45a8-4f6e-8f0c-00000000aa01"));
    let token = &["Metadata-Token: cloudinit"];
    statuses(&vultr, &[(401, "GET /v1.json", &[]), (404, "GET /v1/", token), (405, "PUT /v1.json", token)]);
    let document: serde_json::Value = text(&vultr, "GET /v1.json", token).parse().unwrap();
    assert_eq!(document["user-data"], USER_DATA);

    let oracle = Oracle::new(&instance("example0001"));
    let bearer = &["Authorization: Bearer Oracle"];
    statuses(
        &oracle,
        &[
            (401, "GET /opc/v2/instance/", &[]),
            (403, "GET /opc/v2/instance/", &["Authorization: Bearer Oracle", "X-Forwarded-For: 10.0.5.9"]),
            (404, "GET /opc/v1/instance/", bearer),
        ],
    );
    let document: serde_json::Value = text(&oracle, "GET /opc/v2/instance/", bearer).parse().unwrap();
    assert_eq!(document["metadata"]["user_data"], "I2Nsb3VkLWNvbmZpZwpydW5jbWQ6IFtdCg==");
    assert!(text(&oracle, "GET /opc/v2/vnics/", bearer).contains(r#""macAddr":"52:54:00:05:05:0A""#));
}

#[test]
fn scaleway_gives_user_data_to_root_alone() {
    let cloud = Scaleway::new(&instance("5d7c1a30-8a26-4f0e-b6f9-00000000c0de"));
    let ask = |line: &str, port| {
        let (peer, local) = (SocketAddrV4::new(MACHINE, port), SocketAddrV4::new(SCALEWAY, 80));
        cloud.answer(&Request { peer, local, ..request(line, &[]) })
    };
    assert_eq!(ask("GET /conf?format=json", 50_000).status, 200);
    assert_eq!(ask("GET /user_data/cloud-init", 50_000).status, 403);
    assert_eq!(ask("GET /user_data/cloud-init", 1023).body, USER_DATA.as_bytes());
    assert_eq!(ask("GET /vendor_data/cloud-init", 1023).status, 404);
    assert_eq!(ask("POST /conf?format=json", 50_000).status, 405);
    // Not where the others are.
    statuses(&cloud, &[(404, "GET /conf?format=json", &[])]);
}

const SCALEWAY: Ipv4Addr = crate::services::SCALEWAY_ADDRESS;

#[test]
fn akamai_wants_a_token_and_the_word_json() {
    let cloud = Akamai::new(&instance("51234567"));
    let (put, get) = ("PUT /v1/token", "GET /v1/instance");
    let token = text(&cloud, put, &["Metadata-Token-Expiry-Seconds: 300"]);
    let token = format!("Metadata-Token: {token}");
    statuses(
        &cloud,
        &[
            (400, put, &[]),
            (400, put, &["Metadata-Token-Expiry-Seconds: 0"]),
            (405, "GET /v1/token", &["Metadata-Token-Expiry-Seconds: 300"]),
            (401, get, &["Accept: application/json"]),
            (406, get, &[&token]),
            (405, "PUT /v1/instance", &[&token]),
            (404, "GET /v1/other", &[&token]),
        ],
    );
    assert!(text(&cloud, get, &[&token, "Accept: application/json"]).contains(r#""id":51234567"#));
    assert_eq!(text(&cloud, "GET /v1/user-data", &[&token]), "I2Nsb3VkLWNvbmZpZwpydW5jbWQ6IFtdCg==");
}

#[test]
fn exoscale_and_upcloud_want_nothing() {
    let exoscale = Exoscale::new(&instance("5a1f"));
    assert_eq!(text(&exoscale, "GET /1.0/user-data", &[]), USER_DATA);
    statuses(&exoscale, &[(404, "GET /2.0/user-data", &[]), (405, "PUT /1.0/user-data", &[])]);
    let upcloud = UpCloud::new(&instance("00f2a4c1-7b9d-4a51-9c3e-0123456789ab"));
    let document: serde_json::Value = text(&upcloud, "GET /metadata/v1.json", &[]).parse().unwrap();
    assert_eq!(document["user_data"], USER_DATA);
    statuses(&upcloud, &[(404, "GET /metadata/v2.json", &[])]);
}

#[test]
fn volumes_can_be_made() {
    let drive = OpenStack::drive(&instance("83679162-1378-4288-a2d4-70e13ec132aa"), VolumeFormat::Iso);
    statuses(&drive, &[(404, "GET /openstack", &[])]);
    let azure = Azure::new(&instance("02aab8a4-74ef-476e-8182-f6d2ba4166a6"));
    let proxmox = Proxmox::new(&instance("1f0c"));
    for volume in [drive.volume(), azure.volume(), proxmox.volume()].map(Option::unwrap) {
        for format in [VolumeFormat::Iso, VolumeFormat::Vfat] {
            if volume.label.len() <= 11 || format == VolumeFormat::Iso {
                Volume { format, ..volume.clone() }.image().unwrap();
            }
        }
        assert!(!format!("{volume:?}").contains("cloud-config"));
    }
    let user_data = &proxmox.volume().unwrap().files[2].1;
    assert!(user_data.ends_with(b"package_upgrade: true\nruncmd: []\n"));
}
