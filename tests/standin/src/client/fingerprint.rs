//! What a client finds out about its machine.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::config::Settings;
use crate::server::objects::Node;
use crate::server::port_range;
use crate::{VERSION, clock};

/// The address from which this machine would talk to the world; nothing without a route.
#[must_use]
pub(crate) fn own_address() -> Option<IpAddr> {
    // Connecting a datagram socket sends nothing, but asks the routing table. The address is one for documentation.
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}

/// The node as it registers, without its identity.
///
/// # Errors
/// The text after `Error starting agent: client setup failed: `.
pub(crate) fn node(settings: &Settings, name: &str, http: &str, alloc_dir: &Path) -> Result<Node, String> {
    let client = &settings.client;
    let denied = client.options.get("fingerprint.denylist").map_or("", String::as_str);
    let denied: Vec<&str> = denied.split(',').map(str::trim).collect();
    let mut attributes: BTreeMap<String, String> = BTreeMap::new();
    let mut put = |key: &str, value: String| drop(attributes.insert(key.to_owned(), value));
    let mut disk = 0;
    if !denied.contains(&"storage") {
        let (volume, total, free) = disk_of(alloc_dir)?;
        put("unique.storage.volume", volume);
        put("unique.storage.bytestotal", (total * 1024).to_string());
        disk = free / 1024;
    }
    let address = address(settings, http)?;
    let cores = u64::try_from(std::thread::available_parallelism().map_or(1, std::num::NonZero::get)).unwrap_or(1);
    let (model, mhz) = cpu();
    let total = if client.cpu_total_compute > 0 { client.cpu_total_compute } else { cores * mhz };
    let memory = if client.memory_total_mb > 0 { client.memory_total_mb } else { meminfo("MemTotal") / 1024 };
    let uname = rustix::system::uname();
    put("cpu.arch", "amd64".into());
    put("cpu.frequency", mhz.to_string());
    put("cpu.modelname", model);
    put("cpu.numcores", cores.to_string());
    put("cpu.totalcompute", total.to_string());
    put("cpu.usablecompute", total.saturating_sub(client.reserved.cpu).to_string());
    put("kernel.arch", uname.machine().to_string_lossy().into_owned());
    put("kernel.name", "linux".into());
    put("kernel.version", uname.release().to_string_lossy().into_owned());
    put("memory.totalbytes", (memory << 20).to_string());
    put("nomad.version", VERSION.into());
    put("nomad.stand-in", "true".into());
    put("os.name", os_release("ID"));
    put("os.version", os_release("VERSION_ID"));
    put("os.cgroups.version", if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "2" } else { "1" }.into());
    put("unique.advertise.address", http.into());
    put("unique.hostname", uname.nodename().to_string_lossy().into_owned());
    put("unique.network.ip-address", address.clone());
    let raw_exec = settings.plugin.get("raw_exec").is_some_and(|plugin| {
        matches!(&plugin.config["enabled"], Value::Bool(true))
            || plugin.config["enabled"] == "true"
            || plugin.config["enabled"] == 1
    });
    if raw_exec {
        put("driver.raw_exec", "1".into());
    }
    let now = clock::precise(clock::now());
    let driver = |detected: bool, text: &str| json!({ "Attributes": if detected { json!({ "driver.raw_exec": "true" }) } else { json!({}) }, "Detected": detected, "Healthy": detected, "HealthDescription": text, "UpdateTime": now });
    let drivers = BTreeMap::from([
        ("raw_exec".to_owned(), driver(raw_exec, if raw_exec { "Healthy" } else { "disabled" })),
        ("exec".to_owned(), driver(false, "not supported by the stand-in")),
        ("docker".to_owned(), driver(false, "not supported by the stand-in")),
    ]);
    let volumes = client
        .host_volume
        .iter()
        .map(|(name, volume)| {
            (name.clone(), json!({ "Name": name, "Path": volume["path"], "ReadOnly": volume["read_only"] == true }))
        })
        .collect();
    Ok(Node {
        name: name.to_owned(),
        datacenter: settings.datacenter.clone(),
        node_class: client.node_class.clone(),
        node_pool: client.node_pool.clone(),
        http_addr: http.to_owned(),
        attributes,
        meta: client.meta.clone(),
        drivers,
        status: "initializing".into(),
        scheduling_eligibility: if client.default_ineligible { "ineligible" } else { "eligible" }.into(),
        cpu: total.saturating_sub(client.reserved.cpu),
        memory: memory.saturating_sub(client.reserved.memory),
        disk: disk.saturating_sub(client.reserved.disk),
        ports: (client.min_dynamic_port, client.max_dynamic_port),
        reserved_ports: port_range(&client.reserved.reserved_ports),
        address,
        host_volumes: volumes,
        ..Node::default()
    })
}

fn address(settings: &Settings, http: &str) -> Result<String, String> {
    let interface = &settings.client.network_interface;
    if interface == "lo" {
        return Ok("127.0.0.1".into());
    }
    if !interface.is_empty() {
        if !Path::new("/sys/class/net").join(interface).exists() {
            return Err(format!(
                "fingerprinting failed: Error while detecting network interface {interface} during fingerprinting: route ip+net: no such network interface"
            ));
        }
        return Ok(http.rsplit_once(':').map_or(http, |(ip, _)| ip).to_owned());
    }
    own_address().map(|ip| ip.to_string()).ok_or_else(|| "fingerprinting failed: No default interface found".to_owned())
}

/// Volume, size and free space in KB of the file system of a directory, as `df` says.
fn disk_of(path: &Path) -> Result<(String, u64, u64), String> {
    let fail = |reason: String| {
        format!(
            "fingerprinting failed: failed to determine disk space for {}: failed to determine mount point for {}: {reason}",
            path.display(),
            path.display()
        )
    };
    let out = Command::new("df")
        .arg("-kP")
        .arg(path)
        .output()
        .map_err(|_| fail("exec: \"df\": executable file not found in $PATH".into()))?;
    let text = String::from_utf8_lossy(&out.stdout);
    let line = text.lines().nth(1).ok_or_else(|| fail(format!("could not parse {text:?}")))?;
    let fields: Vec<&str> = line.split_whitespace().collect();
    match fields.as_slice() {
        [volume, total, _, free, ..] => match (total.parse(), free.parse()) {
            (Ok(total), Ok(free)) => Ok(((*volume).to_owned(), total, free)),
            _ => Err(fail(format!("could not parse {line:?}"))),
        },
        _ => Err(fail(format!("could not parse {line:?}"))),
    }
}

/// A value of `/proc/meminfo`, in KB.
pub(super) fn meminfo(key: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn cpu() -> (String, u64) {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |key: &str| {
        text.lines()
            .find(|line| line.starts_with(key))
            .and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
    };
    let mhz =
        field("cpu MHz").and_then(|mhz| mhz.split('.').next()?.parse().ok()).filter(|mhz| *mhz > 100).unwrap_or(1000);
    (field("model name").unwrap_or_default(), mhz)
}

fn os_release(key: &str) -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .unwrap_or("unknown")
        .trim_matches('"')
        .to_owned()
}
