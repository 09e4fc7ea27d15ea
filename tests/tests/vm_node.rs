//! Single machines: how they boot, what they refuse, what they wait for.

use std::{
    env, fs,
    process::{Command, ExitCode},
    time::Duration,
};

use agent::{
    facts::Role,
    init::{gpt::Guid, state::table},
    paths,
    slots::Slot,
    update::record::{self, Outcome, Record},
};
use anyhow::{Context as _, ensure};
use builder::manifest::Kind;
use qemu::{
    BootFiles, MachineSpec,
    lab::Lab,
    services::DhcpMode,
    vm::DiskFormat,
    volume::{self, Seed, SeedMedium},
};
use serde_json::json;
use tests::{
    cluster::{CLIENT_DATA, Cluster, LONE_SERVER_DATA, SERVER_DATA, leads, machine},
    esp::Esp,
    images::Image,
    suite, wait,
};

/// Enough for one machine to come up.
const BOOT: Duration = Duration::from_secs(25);

fn main() -> ExitCode {
    suite::run(
        || Ok(()),
        &[
            ("a_server_image_refuses_a_client_configuration", server_refuses_client),
            ("a_client_image_refuses_a_server_configuration", client_refuses_server),
            ("broken_user_data_is_named_by_line_and_a_fixed_seed_heals_it", broken_user_data),
            ("the_disk_boots_through_uefi_firmware_from_an_iso_seed", boots_by_uefi),
            ("the_netboot_pair_boots_with_its_state_on_a_blank_disk", boots_by_netboot),
            ("a_node_without_any_disk_keeps_its_state_in_memory_when_it_is_told_to", state_in_memory),
            ("without_metadata_a_node_waits_and_goes_on_when_it_appears", waits_for_metadata),
            ("without_any_source_a_node_waits_and_goes_on_when_a_volume_is_plugged_in", waits_for_a_volume),
            ("a_state_disk_that_is_plugged_in_late_is_used_without_a_reboot", waits_for_a_state_disk),
            ("a_state_that_comes_late_still_says_how_the_last_update_went", settles_with_a_late_state),
            ("without_metadata_at_a_reboot_the_last_good_is_used_and_refreshed", metadata_gone_on_reboot),
            ("a_copy_of_a_servers_disk_does_not_join_as_the_original", cloned_server),
            ("without_dhcp_a_node_waits_and_goes_on_when_it_answers", waits_for_dhcp),
            ("a_client_waits_for_names_and_goes_on_when_they_appear", waits_for_names),
            ("state_survives_a_power_loss_at_first_boot_and_the_reset_button", state_survives),
        ],
    )
}

fn lone_server(name: &str, more: &str) -> anyhow::Result<MachineSpec> {
    Ok(machine(name, Role::Server, more)?.user_data(LONE_SERVER_DATA))
}

fn refuses(name: &str, role: Role, data: &str, named: &str) -> anyhow::Result<()> {
    let cluster = Cluster::start([machine(name, role, "")?.user_data(data)])?;
    let line = cluster.wait_console(name, "refused: ", cluster.limit(BOOT))?;
    ensure!(line.contains(named) && line.contains(role.as_str()), "{line}");
    // The node is alive, has its name and says what it thinks of itself; Nomad was never started.
    cluster.wait_console(name, "Nomad is not started", cluster.limit(BOOT))?;
    let status = cluster.console_command(name, "status")?;
    ensure!(status.contains("refused"), "{status}");
    let processes = cluster.console_command(name, "ps")?;
    ensure!(processes.contains("agent") && !processes.contains("nomad"), "Nomad runs:\n{processes}");
    Ok(())
}

fn server_refuses_client((): &mut ()) -> anyhow::Result<()> {
    refuses("server-vm-0", Role::Server, CLIENT_DATA, "/etc/nomad.d/client.hcl:1")
}

fn client_refuses_server((): &mut ()) -> anyhow::Result<()> {
    refuses("client-vm-0", Role::Client, SERVER_DATA, "/etc/nomad.d/server.hcl:1")
}

/// Each seed with what the console must say about it: line and column of the user-data, or of the file that it writes.
const BROKEN: [(&str, &str); 3] = [
    ("#cloud-config\nhostname: a\nwrite_files: [\n", "user-data:"),
    ("#!/bin/sh\necho hello\n", "user-data:1:1: a script"),
    (
        "#cloud-config\nwrite_files:\n- path: /etc/nomad.d/s.hcl\n  content: |\n    server {\n      enabled = true\n",
        "/etc/nomad.d/s.hcl:",
    ),
];

fn broken_user_data((): &mut ()) -> anyhow::Result<()> {
    let name = "server-vm-0";
    let seed = |data: &str| Seed {
        meta_data: Some(b"instance-id: i-broken\n".to_vec()),
        user_data: Some(data.as_bytes().to_vec()),
        ..Seed::default()
    };
    let spec = lone_server(name, "")?.user_data(BROKEN[0].0).medium(SeedMedium::Http);
    let cluster = Cluster::start([spec])?;
    let machine = cluster.lab().machine(name);
    let mut mark = qemu::vm::Mark::default();
    for (data, named) in BROKEN {
        let line = cluster.wait_console_after(name, mark, "refused: ", cluster.limit(BOOT))?;
        ensure!(line.contains(named), "{data:?} is refused as {line:?}, without {named:?}");
        let next =
            BROKEN.iter().skip_while(|(other, _)| *other != data).nth(1).map_or(LONE_SERVER_DATA, |(next, _)| next);
        cluster.lab().reseed(name, seed(next));
        mark = machine.console().mark();
        machine.vm()?.ctrl_alt_del()?;
        cluster.wait_console_after(name, mark, "shutdown: rebooting", cluster.limit(BOOT))?;
        mark = machine.console().mark();
    }
    cluster.wait_console_after(name, mark, "READY role=server", cluster.limit(BOOT))?;
    Ok(())
}

fn boots_by_uefi((): &mut ()) -> anyhow::Result<()> {
    let name = "server-vm-0";
    let spec = MachineSpec::new(name, Image::find(Role::Server)?.uefi()?);
    let spec = spec.user_data(LONE_SERVER_DATA).medium(SeedMedium::Iso);
    let cluster = Cluster::start([spec])?;
    cluster.wait_console(name, "READY role=server", cluster.limit(2 * BOOT))?;
    leads(&cluster, name)
}

fn boots_by_netboot((): &mut ()) -> anyhow::Result<()> {
    let name = "server-vm-0";
    let mut spec = MachineSpec::new(name, Image::find(Role::Server)?.netboot("")?).user_data(LONE_SERVER_DATA);
    spec.blank_disk = Some(2 << 30);
    spec.memory_mib = 512;
    let cluster = Cluster::start([spec])?;
    cluster.wait_console(name, "READY role=server", cluster.limit(BOOT))?;
    let id = server_id(&cluster, name)?;
    let mark = cluster.mark(name);
    cluster.pull_the_plug(name)?;
    cluster.power_on(name)?;
    cluster.wait_console_after(name, mark, "READY role=server", cluster.limit(BOOT))?;
    ensure!(server_id(&cluster, name)? == id, "the blank disk did not keep the server's identity");
    Ok(())
}

fn state_in_memory((): &mut ()) -> anyhow::Result<()> {
    let name = "server-vm-0";
    let boot = Image::find(Role::Server)?.netboot("steppe.state=tmpfs")?;
    let mut spec = MachineSpec::new(name, boot).user_data(LONE_SERVER_DATA);
    spec.memory_mib = 512;
    let cluster = Cluster::start([spec])?;
    cluster.wait_console(name, "state in memory", cluster.limit(BOOT))?;
    cluster.wait_console(name, "READY role=server", cluster.limit(BOOT))?;
    let mounts = cluster.console_command(name, "mounts")?;
    let state = mounts.lines().find(|line| line.split_whitespace().any(|word| word == "/state"));
    ensure!(state.is_some_and(|line| line.contains("tmpfs")), "{mounts}");
    Ok(())
}

fn server_id(cluster: &Cluster, name: &str) -> anyhow::Result<String> {
    let limit = cluster.limit(BOOT);
    wait::until("one raft peer", limit, || match cluster.api(name).raft_peers()?.as_slice() {
        [(_, id, _)] => Ok(id.clone()),
        other => Err(format!("{other:?}")),
    })
}

fn waits_for_metadata((): &mut ()) -> anyhow::Result<()> {
    let name = "server-vm-0";
    let url = "http://10.0.5.1/late/";
    let spec = lone_server(name, &format!("ds=nocloud;s={url}"))?.medium(SeedMedium::None);
    let cluster = Cluster::start([spec])?;
    let line = cluster.wait_console(name, "waiting for", cluster.limit(BOOT))?;
    ensure!(line.contains("seed files") && line.contains(url), "{line}");
    let site = cluster.lab().services().site();
    site.put("/late/user-data", LONE_SERVER_DATA);
    site.put("/late/meta-data", "instance-id: i-late\nlocal-hostname: late\n");
    let line = cluster.wait_console(name, "READY role=server", cluster.limit(BOOT))?;
    ensure!(line.contains("name=late"), "{line}");
    Ok(())
}

fn waits_for_a_volume((): &mut ()) -> anyhow::Result<()> {
    let name = "server-vm-0";
    let mut spec = lone_server(name, "")?.medium(SeedMedium::None);
    // A slot into which a drive can be plugged while the machine runs.
    spec.extra = ["-device", "pcie-root-port,id=socket,chassis=9"].map(Into::into).to_vec();
    let cluster = Cluster::start([spec])?;
    let line = cluster.wait_console(name, "waiting for", cluster.limit(BOOT))?;
    ensure!(line.contains("cidata"), "{line}");

    let seed = cluster.lab().directory().join("late.img");
    let files: [(&str, &[u8]); 2] =
        [("meta-data", b"instance-id: i-plug\n"), ("user-data", LONE_SERVER_DATA.as_bytes())];
    volume::save(&seed, volume::vfat(volume::LABEL, &files))?;
    plug(&cluster, name, &seed, true)?;
    cluster.wait_console(name, "READY role=server", cluster.limit(BOOT))?;
    Ok(())
}

/// Without the second look, Nomad would be held back until somebody presses the reset button.
fn waits_for_a_state_disk((): &mut ()) -> anyhow::Result<()> {
    let name = "server-vm-0";
    let mut spec = MachineSpec::new(name, Image::find(Role::Server)?.netboot("")?).user_data(LONE_SERVER_DATA);
    spec.memory_mib = 512;
    spec.extra = ["-device", "pcie-root-port,id=socket,chassis=9"].map(Into::into).to_vec();
    let cluster = Cluster::start([spec])?;
    let line = cluster.wait_console(name, "nomad is not started", cluster.limit(2 * BOOT))?;
    ensure!(line.contains("no state partition"), "{line}");

    let disk = cluster.lab().directory().join("state.img");
    std::fs::File::create(&disk)?.set_len(2 << 30)?;
    plug(&cluster, name, &disk, false)?;
    cluster.wait_console(name, "the state partition is there", cluster.limit(BOOT))?;
    cluster.wait_console(name, "READY role=server", cluster.limit(BOOT))?;
    server_id(&cluster, name)?;
    Ok(())
}

/// A trial failed, the old system boots, and the disk with the state is slower than that.
fn settles_with_a_late_state((): &mut ()) -> anyhow::Result<()> {
    let name = "server-vm-0";
    let folder = tempfile::tempdir()?;
    let image = Image::find(Role::Server)?.path(Kind::Raw)?;
    let (esp, _) = Esp::told_of_the_clock(&image, &folder.path().join("disk.raw"))?;
    // No room for a state beside the root.
    run(Command::new("sgdisk").args(["-n", "0:0:0"]).arg(esp.disk()))?;
    let mut spec = MachineSpec::new(name, BootFiles::bios(esp.disk(), DiskFormat::Raw)).user_data(LONE_SERVER_DATA);
    spec.extra = ["-device", "pcie-root-port,id=socket,chassis=9"].map(Into::into).to_vec();
    let cluster = Cluster::start([spec])?;
    cluster.wait_console(name, "nomad is not started", cluster.limit(2 * BOOT))?;

    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("steppe"))?;
    let record = Record { outcome: Outcome::Trial, tries: 1, ..Record::new("2.0".parse()?, Slot::B) };
    fs::write(tree.join("steppe").join(record::FILE), record.to_string())?;
    let disk = cluster.lab().directory().join("state.img");
    let mut file = fs::File::options().read(true).write(true).create_new(true).open(&disk)?;
    file.set_len(256 << 20)?;
    table::initialise(&mut file, 512, Guid([1; 16]))?;
    let partition = table::add_state(&mut file, 512, Guid([2; 16]))?;
    let options = format!("offset={}", partition.first * 512);
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-L", paths::STATE_LABEL, "-E", &options, "-d"]);
    run(make.arg(tree).arg(&disk).arg(format!("{}k", (partition.last + 1 - partition.first) / 2)))?;
    plug(&cluster, name, &disk, false)?;
    let line =
        cluster.wait_console(name, "the update failed, and the machine fell back to slot a", cluster.limit(BOOT))?;
    ensure!(line.contains("2.0 in slot b: failed after 1 try"), "{line}");
    cluster.wait_console(name, "READY role=server", cluster.limit(BOOT))?;
    Ok(())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let path = format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default());
    let output = command.env("PATH", path).output().with_context(|| format!("failed to run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Plugs a disk into the slot `socket` of a machine that runs.
fn plug(cluster: &Cluster, name: &str, file: &std::path::Path, read_only: bool) -> anyhow::Result<()> {
    let vm = cluster.lab().machine(name).vm()?;
    let file = json!({ "driver": "file", "filename": file.to_string_lossy() });
    let node = json!({ "driver": "raw", "node-name": "late", "read-only": read_only, "file": file });
    vm.qmp().execute("blockdev-add", &node)?;
    let device = json!({ "driver": "virtio-blk-pci", "drive": "late", "bus": "socket", "id": "late" });
    vm.qmp().execute("device_add", &device)?;
    Ok(())
}

fn metadata_gone_on_reboot((): &mut ()) -> anyhow::Result<()> {
    let name = "server-vm-0";
    let url = "http://10.0.5.1/seed/";
    let spec = lone_server(name, &format!("ds=nocloud;s={url}"))?.medium(SeedMedium::None);
    let put = |cluster: &Cluster, host: &str| {
        let site = cluster.lab().services().site();
        site.put("/seed/user-data", LONE_SERVER_DATA);
        site.put("/seed/meta-data", &*format!("instance-id: i-1\nlocal-hostname: {host}\n"));
    };
    let cluster = Cluster::start([spec])?;
    put(&cluster, "first");
    cluster.wait_console(name, "READY role=server name=first", cluster.limit(2 * BOOT))?;
    let id = server_id(&cluster, name)?;

    let mark = cluster.mark(name);
    for file in ["user-data", "meta-data"] {
        cluster.lab().services().site().remove(&format!("/seed/{file}"));
    }
    cluster.lab().machine(name).vm()?.reset()?;
    // The node waits a minute for a source on the network first.
    cluster.wait_console_after(name, mark, "stale-metadata", cluster.limit(4 * BOOT))?;
    cluster.wait_console_after(name, mark, "READY role=server name=first", cluster.limit(2 * BOOT))?;
    ensure!(server_id(&cluster, name)? == id, "another server id without metadata");
    put(&cluster, "second");
    cluster.wait_console_after(name, mark, "metadata is there again", cluster.limit(4 * BOOT))?;
    let line = cluster.wait_console_after(name, mark, "changed: ", cluster.limit(BOOT))?;
    ensure!(line.contains("the host name (first -> second)"), "{line}");
    Ok(())
}

/// A disk with another instance id in another machine: with the ids of the original it would be a second one of it.
fn cloned_server((): &mut ()) -> anyhow::Result<()> {
    let (original, copy) = ("server-vm-0", "server-vm-1");
    let mut specs = [lone_server(original, "")?, lone_server(copy, "")?];
    for (n, spec) in specs.iter_mut().enumerate() {
        spec.smbios.uuid = Some(format!("5e7e0000-0000-4000-8000-00000000000{n}"));
        spec.autostart = n == 0;
    }
    let cluster = Cluster::start(specs)?;
    cluster.wait_console(original, "READY role=server", cluster.limit(BOOT))?;
    cluster.pull_the_plug(original)?;
    let disk = |name: &str| cluster.lab().machine(name).disk();
    std::fs::copy(disk(original), disk(copy))?;
    cluster.power_on(copy)?;
    let line = cluster.wait_console(copy, "this disk is a copy", cluster.limit(BOOT))?;
    ensure!(line.contains("steppe.clone=reset") && line.contains("i-server-vm-1"), "{line}");
    let status = cluster.console_command(copy, "status")?;
    ensure!(status.contains("steppe.clone=reset or keep"), "{status}");
    let processes = cluster.console_command(copy, "ps")?;
    ensure!(!processes.contains("nomad"), "Nomad runs:\n{processes}");
    Ok(())
}

fn waits_for_dhcp((): &mut ()) -> anyhow::Result<()> {
    let name = "server-vm-0";
    let cluster =
        Cluster::prepare([lone_server(name, "")?], |lab: &Lab| lab.services().dhcp().set_mode(DhcpMode::Silent))?;
    let line = cluster.wait_console(name, "waiting for", cluster.limit(BOOT))?;
    ensure!(line.contains("DHCP") && line.contains("eth0"), "{line}");
    cluster.lab().services().dhcp().set_mode(DhcpMode::Answering);
    cluster.wait_console(name, "READY role=server", cluster.limit(BOOT))?;
    Ok(())
}

fn waits_for_names((): &mut ()) -> anyhow::Result<()> {
    let (server, client) = ("server-vm-0", "client-vm-0");
    let specs = [lone_server(server, "")?, machine(client, Role::Client, "")?];
    let cluster = Cluster::prepare(specs, |lab| lab.services().dns().clear())?;
    let line = cluster.wait_console(client, "waiting for", cluster.limit(BOOT))?;
    ensure!(line.contains("server-vm-0"), "{line}");
    cluster.lab().services().dns().set(server, [cluster.lab().machine(server).address()]);
    cluster.wait_console(client, "READY role=client", cluster.limit(2 * BOOT))?;
    Ok(())
}

/// The plug is pulled when the state partition has just been made, and later; the reset button is pressed. The server stays
/// who it is once it has been someone.
fn state_survives((): &mut ()) -> anyhow::Result<()> {
    let name = "server-vm-0";
    let cluster = Cluster::start([lone_server(name, "")?])?;
    cluster.wait_console(name, "phase state at", cluster.limit(BOOT))?;
    cluster.pull_the_plug(name)?;
    let mark = cluster.mark(name);
    cluster.power_on(name)?;
    cluster.wait_console_after(name, mark, "READY role=server", cluster.limit(BOOT))?;
    let id = server_id(&cluster, name)?;
    let mark = cluster.mark(name);
    cluster.lab().machine(name).vm()?.reset()?;
    cluster.wait_console_after(name, mark, "READY role=server", cluster.limit(BOOT))?;
    ensure!(server_id(&cluster, name)? == id, "another server id after the reset button");
    Ok(())
}
