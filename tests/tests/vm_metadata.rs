//! Machines in the clouds that the harness speaks for: each finds its cloud by what the firmware says or by a volume, takes
//! what it is told, and configures its network as it is told.

use std::{net::Ipv4Addr, process::ExitCode, sync::Arc, time::Duration};

use agent::facts::Role;
use anyhow::{Context as _, ensure};
use qemu::{
    MachineSpec,
    lab::NicLease,
    services::{
        HttpFault, Response, WIRE_SERVER_ADDRESS,
        metadata::{Azure, Cloud, DigitalOcean, Ec2, Gce, Hetzner, Instance, OpenStack, Proxmox, install},
    },
    volume::{SeedMedium, VolumeFormat},
};
use tests::{
    cluster::{CLIENT_DATA, Cluster, LONE_SERVER_DATA, leads, machine},
    suite, terraform, wait,
};

/// Enough for one machine to come up.
const BOOT: Duration = Duration::from_secs(25);
/// The machine of nearly every test, and the address that its name has in a lab.
const NAME: &str = "server-vm-0";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 5, 10);
const UUID: &str = "83679162-1378-4288-a2d4-70e13ec132aa";

fn main() -> ExitCode {
    suite::run(
        || Ok(()),
        &[
            ("a_configuration_drive_is_found_by_its_label", config_drive),
            ("a_machine_of_openstack_asks_its_service_and_not_a_volume_that_somebody_attached", openstack),
            ("a_machine_of_ec2_reboots_without_its_service", ec2),
            ("a_machine_of_google_takes_what_terraform_packed", gce),
            ("a_machine_of_azure_takes_custom_data_and_reports_that_it_is_ready", azure),
            ("a_machine_of_azure_reports_what_it_refused", azure_refuses),
            ("a_machine_of_hetzner_waits_for_a_service_that_is_late", hetzner_late),
            ("a_machine_of_digitalocean_needs_no_dhcp", digitalocean),
            ("a_machine_of_proxmox_has_the_name_and_the_address_from_its_volume", proxmox),
            ("a_static_network_of_version_2_renames_interfaces", static_v2),
            ("an_interface_is_found_by_the_name_that_udev_would_give_it", udev_name),
            ("the_second_interface_is_enough_when_the_first_has_no_dhcp", second_interface),
            ("a_vlan_on_a_bond_survives_a_pulled_cable", vlan_on_a_bond),
            ("a_copy_of_a_clients_disk_becomes_a_client_of_its_own", cloned_client),
        ],
    )
}

fn instance(id: &str) -> Instance {
    Instance::new(id, NAME, ADDRESS, LONE_SERVER_DATA)
}

/// A machine in a cloud, without any hint on its command line.
fn start<C: Cloud>(cloud: &Arc<C>) -> anyhow::Result<Cluster> {
    Cluster::prepare([machine(NAME, Role::Server, "")?.of_cloud(cloud.as_ref())], |lab| install(cloud, lab.services()))
}

/// Waits until the machine is ready, with the name and the address that it was given and with metadata from a source.
fn ready_from(cluster: &Cluster, source: &str) -> anyhow::Result<()> {
    let line = cluster.wait_console(NAME, "READY role=server", cluster.limit(BOOT))?;
    ensure!(line.contains(&format!("name={NAME} address={ADDRESS} ")), "{line}");
    let lines = cluster.console_lines(NAME);
    let from = lines.iter().find(|line| line.contains("metadata from ")).context("no metadata")?;
    ensure!(from.contains(&format!("metadata from {source}")), "{from}");
    leads(cluster, NAME)
}

fn config_drive((): &mut ()) -> anyhow::Result<()> {
    let drive = Arc::new(OpenStack::drive(&instance(UUID), VolumeFormat::Iso));
    // As Nutanix and others attach it, whose firmware says nothing. The address is on the drive.
    let mut spec = machine(NAME, Role::Server, "")?.of_cloud(drive.as_ref()).nics([NicLease::Nothing]);
    spec.smbios = qemu::vm::Smbios::default();
    let cluster = Cluster::start([spec])?;
    ready_from(&cluster, "configdrive (")
}

fn openstack((): &mut ()) -> anyhow::Result<()> {
    let cloud = Arc::new(OpenStack::service(&instance(UUID)));
    let spec = machine(NAME, Role::Server, "")?.of_cloud(cloud.as_ref());
    let mallory = "instance-id: i-mallory\nlocal-hostname: mallory\n";
    let spec = spec.medium(SeedMedium::Vfat).meta_data(mallory).user_data(CLIENT_DATA);
    let cluster = Cluster::prepare([spec], |lab| install(&cloud, lab.services()))?;
    ready_from(&cluster, "openstack (http://169.254.169.254")
}

/// A reboot without the service uses what an earlier boot was told, and says so.
fn ec2((): &mut ()) -> anyhow::Result<()> {
    let cluster = start(&Arc::new(Ec2::new(&instance("i-0a1b2c3d4e5f60718"))))?;
    ready_from(&cluster, "aws (http://169.254.169.254")?;
    let site = cluster.lab().services().site();
    ensure!(site.count("/latest/api/token") > 0, "no token was asked for");

    site.fail("/latest", HttpFault::Instead(Response::status(503)), None);
    let mark = cluster.mark(NAME);
    cluster.lab().machine(NAME).vm()?.reset()?;
    // It waits a minute for its cloud.
    let limit = Duration::from_secs(60) + cluster.limit(BOOT);
    cluster.wait_console_after(NAME, mark, "stale-metadata", limit)?;
    cluster.wait_console_after(NAME, mark, &format!("READY role=server name={NAME}"), cluster.limit(BOOT))?;
    let status = cluster.console_command(NAME, "status")?;
    ensure!(status.contains("stale-metadata"), "{status}");
    Ok(())
}

fn gce((): &mut ()) -> anyhow::Result<()> {
    let packed = terraform::cloudinit_config(&[
        ("text/cloud-config", "#cloud-config\ntimezone: UTC\n"),
        ("text/cloud-config", LONE_SERVER_DATA),
    ])?;
    let instance = Instance::new("8087716956832600239", NAME, ADDRESS, packed);
    let cluster = start(&Arc::new(Gce::new(&instance, Some("base64"))))?;
    ready_from(&cluster, "gce (")
}

const AZURE_ID: &str = "02aab8a4-74ef-476e-8182-f6d2ba4166a6";

fn azure((): &mut ()) -> anyhow::Result<()> {
    let cloud = Arc::new(Azure::new(&instance(AZURE_ID)));
    let cluster = start(&cloud)?;
    ready_from(&cluster, "azure (")?;
    let report =
        wait::until("a report", cluster.limit(BOOT), || cloud.reports().pop().ok_or_else(|| "none".to_owned()))?;
    ensure!(report.state == "Ready" && cloud.reports().len() == 1, "{:?}", cloud.reports());
    let records = cluster.lab().services().site().requests();
    let to_wire = records.iter().filter(|record| *record.request.local.ip() == WIRE_SERVER_ADDRESS);
    ensure!(to_wire.clone().count() >= 2 && to_wire.clone().all(|r| r.status == Some(200)), "the wire server refused");
    Ok(())
}

fn azure_refuses((): &mut ()) -> anyhow::Result<()> {
    let cloud = Arc::new(Azure::new(&Instance::new(AZURE_ID, NAME, ADDRESS, CLIENT_DATA)));
    let cluster = start(&cloud)?;
    cluster.wait_console(NAME, "Nomad is not started", cluster.limit(BOOT))?;
    let report =
        wait::until("a report", cluster.limit(BOOT), || cloud.reports().pop().ok_or_else(|| "none".to_owned()))?;
    let why = report.description.context("no description")?;
    ensure!(report.state == "NotReady" && why.contains("client"), "{}: {why}", report.state);
    Ok(())
}

/// Only the wall clock makes a service late: until the machine has waited a while and said so, nobody answers.
fn hetzner_late((): &mut ()) -> anyhow::Result<()> {
    let cloud = Arc::new(Hetzner::new(&instance("61234567")));
    let spec = machine(NAME, Role::Server, "")?.of_cloud(cloud.as_ref());
    let cluster = Cluster::prepare([spec], |lab| {
        install(&cloud, lab.services());
        lab.services().site().fail("/hetzner", HttpFault::Instead(Response::status(404)), None);
    })?;
    let line = cluster.wait_console(NAME, "waiting for", cluster.limit(BOOT))?;
    ensure!(line.contains("404"), "{line}");
    let mark = cluster.mark(NAME);
    let minute = qemu::Deadline::after(Duration::from_secs(60));
    let early = cluster.lab().machine(NAME).console().wait_after(mark, "metadata from", &minute);
    ensure!(early.is_err(), "{early:?}");
    cluster.lab().services().site().heal();
    ready_from(&cluster, "hetzner (")
}

fn digitalocean((): &mut ()) -> anyhow::Result<()> {
    let cloud = Arc::new(DigitalOcean::new(&instance("409871234")));
    let spec = machine(NAME, Role::Server, "")?.of_cloud(cloud.as_ref()).nics([NicLease::Nothing]);
    let cluster = Cluster::prepare([spec], |lab| install(&cloud, lab.services()))?;
    ready_from(&cluster, "digitalocean (")?;
    let first = cluster.lab().services().site().requests().into_iter().next().context("no request")?;
    ensure!(first.request.peer.ip().is_link_local(), "asked from {}", first.request.peer);
    Ok(())
}

fn proxmox((): &mut ()) -> anyhow::Result<()> {
    let cloud = Arc::new(Proxmox::new(&instance("5ca1ab1e0ff1ce")));
    let spec = machine(NAME, Role::Server, "")?.of_cloud(cloud.as_ref()).nics([NicLease::Nothing]);
    let cluster = Cluster::start([spec])?;
    ready_from(&cluster, "nocloud (")
}

/// A lone server whose volume has this network configuration.
fn configured(network: &str) -> anyhow::Result<MachineSpec> {
    let spec = machine(NAME, Role::Server, "")?.user_data(LONE_SERVER_DATA).network_config(network);
    // DHCP does not give it a name.
    Ok(spec.meta_data(format!("instance-id: i-configured\nlocal-hostname: {NAME}\n")))
}

const STATIC_V2: &str = r#"
network:
  version: 2
  ethernets:
    inside:
      match: {macaddress: "52:54:00:05:05:0a"}
      set-name: eth1
      addresses: [10.0.5.10/24]
      routes: [{to: default, via: 10.0.5.1}]
      nameservers: {search: [steppe.test], addresses: [10.0.5.1]}
    outside:
      match: {macaddress: "52:54:01:05:05:0a"}
      set-name: eth0
      addresses: [192.0.2.7/24]
      mtu: 1400
"#;

/// The two swap their names, and neither has DHCP.
fn static_v2((): &mut ()) -> anyhow::Result<()> {
    let cluster = Cluster::start([configured(STATIC_V2)?.nics([NicLease::Nothing; 2])])?;
    ready_from(&cluster, "nocloud (")?;
    let status = cluster.console_command(NAME, "status")?;
    for (name, address) in [("eth1 ", "10.0.5.10"), ("eth0 ", "192.0.2.7")] {
        let line = status.lines().find(|line| line.contains("address") && line.contains(name));
        ensure!(line.is_some_and(|line| line.contains(address)), "{name} has not {address}:\n{status}");
    }
    Ok(())
}

/// As images with udev have it, where this kernel says `eth0`.
fn udev_name((): &mut ()) -> anyhow::Result<()> {
    let network = "version: 2\nethernets: {lan: {match: {name: 'enp0s*'}, set-name: lan0, dhcp4: true}}\n";
    let cluster = Cluster::start([configured(network)?])?;
    ready_from(&cluster, "nocloud (")?;
    let status = cluster.console_command(NAME, "status")?;
    ensure!(status.contains("lan0 10.0.5.10"), "{status}");
    Ok(())
}

fn second_interface((): &mut ()) -> anyhow::Result<()> {
    let spec = machine(NAME, Role::Server, "")?.user_data(LONE_SERVER_DATA).medium(SeedMedium::Http);
    let cluster = Cluster::start([spec.nics([NicLease::Nothing, NicLease::Machine])])?;
    ready_from(&cluster, "nocloud (")
}

const BOND: &str = r#"
version: 2
ethernets:
  first: {match: {macaddress: "52:54:00:05:05:0a"}}
  second: {match: {macaddress: "52:54:01:05:05:0a"}}
bonds:
  bond0:
    interfaces: [first, second]
    parameters: {mode: active-backup, mii-monitor-interval: 100, primary: first}
vlans:
  bond0.7:
    id: 7
    link: bond0
    addresses: [10.0.5.10/24]
    routes: [{to: default, via: 10.0.5.1}]
    nameservers: {addresses: [10.0.5.1]}
"#;

/// The services are on the VLAN alone, so that all that reaches the machine does so through it.
fn vlan_on_a_bond((): &mut ()) -> anyhow::Result<()> {
    let cluster = Cluster::prepare([configured(BOND)?.nics([NicLease::Nothing; 2])], |lab| {
        if let Err(why) = lab.switch().set_vlan("services", Some(7)) {
            panic!("{why}");
        }
    })?;
    ready_from(&cluster, "nocloud (")?;
    let sent = || cluster.lab().switch().counters(&format!("{NAME}.1")).map(|counters| counters.frames_in);
    let before = sent()?;
    cluster.lab().machine(NAME).vm()?.set_carrier(0, false)?;
    leads(&cluster, NAME)?;
    ensure!(sent()? > before, "nothing came from the second interface");
    Ok(())
}

/// A client's Nomad is set aside in a copy, and a new one joins beside the original.
fn cloned_client((): &mut ()) -> anyhow::Result<()> {
    let (original, copy) = ("client-vm-0", "client-vm-1");
    let mut specs = vec![machine(NAME, Role::Server, "")?.user_data(LONE_SERVER_DATA)];
    for (number, name) in [original, copy].into_iter().enumerate() {
        let data = CLIENT_DATA
            .replace(r#""server-vm-0:4647", "server-vm-1:4647", "server-vm-2:4647""#, r#""server-vm-0:4647""#);
        let mut spec = machine(name, Role::Client, "")?.user_data(data);
        spec.smbios.uuid = Some(format!("5e7e0000-0000-4000-8000-00000000000{number}"));
        spec.autostart = name == original;
        specs.push(spec);
    }
    let cluster = Cluster::start(specs)?;
    cluster.wait_console(original, "READY role=client", cluster.limit(2 * BOOT))?;
    cluster.power_button(original)?;
    let disk = |name: &str| cluster.lab().machine(name).disk();
    std::fs::copy(disk(original), disk(copy))?;
    cluster.power_on(original)?;
    cluster.power_on(copy)?;
    let line = cluster.wait_console(copy, "this disk is a copy", cluster.limit(BOOT))?;
    ensure!(line.contains("the Nomad data of the other machine is in"), "{line}");
    cluster.wait_console(copy, "READY role=client", cluster.limit(2 * BOOT))?;
    wait::until("two clients", cluster.limit(BOOT), || {
        let nodes = cluster.nomad(NAME, "node status").map_err(|why| why.to_string())?;
        let ready = |name: &str| nodes.lines().any(|line| line.contains(name) && line.contains("ready"));
        if ready(original) && ready(copy) { Ok(()) } else { Err(nodes) }
    })
}
