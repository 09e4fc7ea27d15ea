//! What Proxmox VE and LXD put on the volumes that they attach: plain NoCloud and ConfigDrive volumes, with contents that
//! nobody who uses them wrote and that must never keep a node from starting.

use agent::{
    cmdline::Cmdline,
    facts::Role,
    node::{
        netconfig::{self, Interface, NetworkConfig, NetworkMode},
        seed::{Metadata, Seed},
        userdata::{Plan, Verdict},
    },
};

/// As Proxmox makes it of the settings of a virtual machine: keys for users and packages, which mean nothing here.
const PROXMOX_USER_DATA: &str = "\
#cloud-config
hostname: server-vm-0
manage_etc_hosts: true
fqdn: server-vm-0.example.net
user: ops
password: $5$salt$hash
ssh_authorized_keys:
  - ssh-ed25519 AAAAproxmox ops@example
chpasswd:
  expire: False
users:
  - default
package_upgrade: true
";

/// Version 1, as it is on the volume of the type `nocloud`: two interfaces, one server for names behind them.
const PROXMOX_NETWORK: &str = "\
version: 1
config:
    - type: physical
      name: eth0
      mac_address: 'bc:24:11:00:00:01'
      subnets:
      - type: static
        address: '192.0.2.10'
        netmask: '255.255.255.0'
        gateway: '192.0.2.1'
      - type: static6
        address: '2001:db8::10/64'
        gateway: '2001:db8::1'
    - type: physical
      name: eth1
      mac_address: 'bc:24:11:00:00:02'
      subnets:
      - type: dhcp4
    - type: nameserver
      address:
      - '192.0.2.53'
      search:
      - 'example.net'
";

/// The same machine on the volume of the type `configdrive2`: two stanzas for one interface, and lines of old names.
const PROXMOX_INTERFACES: &str = "\
auto lo
iface lo inet loopback

auto eth0
iface eth0 inet static
        address 192.0.2.10
        netmask 255.255.255.0
        gateway 192.0.2.1
iface eth0 inet6 static
        address 2001:db8::10/64
        gateway 2001:db8::1
        dns_nameservers 192.0.2.53
        dns_search example.net

auto eth1
iface eth1 inet dhcp

";

/// What people add to it where the user-data is made for them: `cicustom: vendor=...`, `cloud-init.vendor-data`.
const VENDOR_DATA: &str = "\
#cloud-config
write_files:
  - path: /etc/nomad.d/server.hcl
    content: |
      server {
        enabled = true
        bootstrap_expect = 3
      }
";

fn seed(user_data: &str, metadata: Metadata) -> Seed {
    Seed {
        platform: "nocloud".into(),
        metadata,
        user_data: user_data.into(),
        vendor_data: vec![VENDOR_DATA.into()],
        ..Seed::default()
    }
}

fn plan(seed: &Seed) -> Plan {
    let plan = Plan::from_seed(seed, Role::Server, &mut |_| panic!("there is nothing to fetch"));
    let refused: Vec<String> =
        plan.findings.iter().filter(|f| f.verdict == Verdict::Refused).map(ToString::to_string).collect();
    assert_eq!(refused, [""; 0]);
    plan
}

fn network(text: &str) -> Vec<Interface> {
    let config = NetworkConfig::Text(text.into());
    let (mode, findings) = netconfig::plan(&Cmdline::default(), Some(&config));
    let wrong: Vec<String> =
        findings.iter().filter(|f| f.verdict != Verdict::Applied).map(ToString::to_string).collect();
    assert_eq!(wrong, [""; 0]);
    match mode {
        NetworkMode::Plan(plan) => plan.interfaces,
        other => panic!("{other:?}"),
    }
}

#[test]
fn proxmox_user_data_is_taken_as_it_is() {
    // The instance id is all that its meta-data has.
    let metadata =
        Metadata { instance_id: Some("2f5ad9f3a2d3b0c6f2f1f8d27b1d7f0f9f7f3c55".into()), ..Metadata::default() };
    let plan = plan(&seed(PROXMOX_USER_DATA, metadata));
    assert_eq!(plan.hostname.as_deref(), Some("server-vm-0"));
    assert_eq!(plan.fqdn.as_deref(), Some("server-vm-0.example.net"));
    let shown = serde_json::to_string(&plan).unwrap();
    assert!(!shown.contains("$5$salt"), "a password is shown: {shown}");
    assert_eq!(plan.files.len(), 1, "the vendor's file is there");
}

#[test]
fn both_of_proxmox_volumes_give_the_same_addresses() {
    let addresses = |interfaces: &[Interface]| -> Vec<(Vec<String>, Vec<String>, bool)> {
        let hardware = interfaces.iter().filter(|nic| nic.id != "lo");
        hardware
            .map(|nic| {
                let routes = nic.routes.iter().map(|r| format!("{} via {}", r.to, r.via.unwrap())).collect();
                (nic.addresses.iter().map(ToString::to_string).collect(), routes, nic.dhcp4.is_some())
            })
            .collect()
    };
    let nocloud = network(PROXMOX_NETWORK);
    let expected = [
        (
            vec!["192.0.2.10/24".to_owned(), "2001:db8::10/64".into()],
            vec!["0.0.0.0/0 via 192.0.2.1".to_owned(), "::/0 via 2001:db8::1".into()],
            false,
        ),
        (vec![], vec![], true),
    ];
    assert_eq!(addresses(&nocloud), expected);
    assert_eq!(nocloud[0].select.mac, Some("bc:24:11:00:00:01".parse().unwrap()));
    assert_eq!(addresses(&network(PROXMOX_INTERFACES)), expected);
}

#[test]
fn lxd_gives_empty_documents_for_what_nobody_set() {
    let metadata = Metadata {
        instance_id: Some("server-vm-0".into()),
        local_hostname: Some("server-vm-0".into()),
        ..Metadata::default()
    };
    let plan = plan(&seed("#cloud-config\n{}\n", metadata));
    assert_eq!(plan.hostname.as_deref(), Some("server-vm-0"));
    assert_eq!(plan.files.len(), 1);
}
