//! A machine in each cloud of which `vm_metadata` has none, all at once: each finds its cloud by what the firmware says or by
//! what the hypervisor attaches, asks as that cloud wants to be asked, and becomes a server.

use std::{net::Ipv4Addr, process::ExitCode, sync::Arc, time::Duration};

use agent::facts::Role;
use anyhow::{Context as _, ensure};
use qemu::{
    MachineSpec,
    services::{
        SCALEWAY_ADDRESS,
        metadata::{Akamai, Cloud, Exoscale, Instance, Oracle, Scaleway, UpCloud, Vultr, install_each},
    },
    volume::SeedMedium,
};
use tests::{
    cluster::{Cluster, LONE_SERVER_DATA, leads, machine},
    suite,
};

/// Enough for all machines to come up beside each other.
const BOOT: Duration = Duration::from_secs(60);
/// The host's part of the address of the first machine; the others follow.
const FIRST: u8 = 100;

fn main() -> ExitCode {
    suite::run(
        start,
        &[("each_cloud_is_found_and_asked_as_it_wants_to_be", ready), ("scaleway_is_asked_by_root", root)],
    )
}

/// A cloud with a service: its name, which is that of its machine and of the datasource, and where it is asked.
struct Service {
    name: &'static str,
    cloud: Arc<dyn Cloud>,
    at: &'static str,
}

fn services() -> Vec<Service> {
    fn new<C: Cloud>(number: u8, name: &'static str, id: &str, make: fn(&Instance) -> C) -> Service {
        let instance = Instance::new(id, name, address(number), LONE_SERVER_DATA);
        Service { name, cloud: Arc::new(make(&instance)), at: "http://169.254.169.254" }
    }
    vec![
        new(0, "akamai", "51234567", Akamai::new),
        new(1, "exoscale", "1a2b3c4d-0000-4000-8000-00000000e505", Exoscale::new),
        new(2, "oracle", "antheljtexample0001", Oracle::new),
        Service { at: "http://169.254.42.42", ..new(3, "scaleway", UUID, Scaleway::new) },
        new(4, "upcloud", "00f2a4c1-7b9d-4a51-9c3e-0123456789ab", UpCloud::new),
        new(5, "vultr", "7c2d5f10-45a8-4f6e-8f0c-00000000aa01", Vultr::new),
    ]
}

const UUID: &str = "5d7c1a30-8a26-4f0e-b6f9-00000000c0de";

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 5, FIRST + number)
}

/// Those without a service, each with the source that its metadata comes from.
fn without_service() -> anyhow::Result<Vec<(MachineSpec, &'static str)>> {
    // QEMU itself hands over files, by a device of its firmware.
    let mut fw_cfg = machine("fwcfg", Role::Server, "")?.medium(SeedMedium::None);
    for (name, text) in [("meta-data", "local-hostname: fwcfg\n"), ("user-data", LONE_SERVER_DATA)] {
        // A comma in an argument of QEMU's is written twice.
        let text = text.replace(',', ",,");
        fw_cfg.extra.extend(["-fw_cfg".into(), format!("name=opt/org.steppe/{name},string={text}").into()]);
    }
    // Incus and LXD have a port for their own agent, and attach a seed volume to a machine that has none.
    let mut incus = machine("incus", Role::Server, "")?.medium(SeedMedium::Iso).user_data(LONE_SERVER_DATA);
    let port = "virtserialport,chardev=agent,name=org.linuxcontainers.lxd";
    for pair in [["-device", "virtio-serial-pci"], ["-chardev", "null,id=agent"], ["-device", port]] {
        incus.extra.extend(pair.map(Into::into));
    }
    incus = incus.meta_data("instance-id: incus\nlocal-hostname: incus\ncloud-name: lxd\n");
    Ok(vec![(fw_cfg, "qemu (fw_cfg opt/org.steppe"), (incus, "nocloud (")])
}

fn start() -> anyhow::Result<Cluster> {
    let services = services();
    let mut specs = Vec::new();
    for Service { name, cloud, .. } in &services {
        specs.push(machine(name, Role::Server, "")?.of_cloud(cloud.as_ref()));
    }
    specs.extend(without_service()?.into_iter().map(|(spec, _)| spec));
    let clouds = services.into_iter().enumerate().map(|(number, service)| (address(number as u8), service.cloud));
    Cluster::prepare(specs, |lab| install_each(clouds.collect(), lab.services()))
}

fn ready(cluster: &mut Cluster) -> anyhow::Result<()> {
    let with =
        services().into_iter().map(|service| (service.name.to_owned(), format!("{0} ({1}", service.name, service.at)));
    let without = without_service()?.into_iter().map(|(spec, source)| (spec.name, source.to_owned()));
    for (number, (name, source)) in with.chain(without).enumerate() {
        let line = cluster.wait_console(&name, "READY role=server", cluster.limit(BOOT))?;
        ensure!(line.contains(&format!("name={name} address={} ", address(number as u8))), "{line}");
        let lines = cluster.console_lines(&name);
        let from = lines.iter().find(|line| line.contains("metadata from ")).context("no metadata")?;
        ensure!(from.contains(&format!("metadata from {source}")), "{from}");
        leads(cluster, &name)?;
    }
    Ok(())
}

/// The user-data is for those alone who ask from a low port.
fn root(cluster: &mut Cluster) -> anyhow::Result<()> {
    let records = cluster.lab().services().site().requests();
    let mut secret = records.iter().filter(|record| record.request.path == "/user_data/cloud-init");
    let asked = secret.next().context("nobody asked")?;
    ensure!(*asked.request.local.ip() == SCALEWAY_ADDRESS && asked.status == Some(200), "{:?}", asked.status);
    ensure!(asked.request.peer.port() < 1024, "asked from {}", asked.request.peer);
    Ok(())
}
