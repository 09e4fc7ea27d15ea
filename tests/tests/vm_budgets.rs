//! The budgets of SPECIFICATION.md that do not depend on the clock: asked of the image, and of a running node.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, process::ExitCode, time::Duration};

use agent::facts::Role;
use anyhow::{Context as _, ensure};
use builder::{
    embedded,
    manifest::{Kind, Manifest},
    modules::ModuleLists,
};
use object::Object as _;
use tests::{
    cluster::{Cluster, LONE_SERVER_DATA, machine},
    images::Image,
    suite,
};

const NAME: &str = "server-vm-0";
const CLIENT: &str = "client-vm-0";
const MB: u64 = 1_000_000;
/// Bytes of an image that are not its kernel, Nomad or libc.
const BESIDE_NOMAD: u64 = 8_700_000;
/// Size of an image with the real Nomad, in thousandths of these three.
const WITH_NOMAD_PERMILLE: u64 = 1235;
/// Memory of the smallest machine that does its work, in MiB.
const SMALLEST: u32 = 192;

fn main() -> ExitCode {
    suite::run(
        || {
            let server = machine(NAME, Role::Server, "")?.user_data(LONE_SERVER_DATA).memory_mib(SMALLEST);
            let client = machine(CLIENT, Role::Client, "")?.memory_mib(SMALLEST);
            Cluster::start([server, client])
        },
        &[
            ("a_server_and_an_idle_client_get_ready_in_192_mib", smallest_guest),
            ("the_agent_binary_is_small_and_static", agent_binary),
            ("an_image_without_nomad_is_small", image_without_nomad),
            ("an_image_with_nomad_is_little_more_than_its_parts", image_with_nomad),
            ("every_file_is_little_more_than_what_is_in_it", every_file),
            ("the_drivers_of_every_named_cloud_are_in_the_image", drivers),
            ("the_root_has_few_files_no_shell_and_nothing_set_uid", files_in_the_root),
            ("an_idle_server_runs_three_processes_in_little_memory", processes),
            ("nothing_listens_but_nomad", listeners),
        ],
    )
}

fn smallest_guest(cluster: &mut Cluster) -> anyhow::Result<()> {
    let limit = cluster.limit(Duration::from_secs(30));
    cluster.wait_console(NAME, "READY role=server", limit)?;
    cluster.wait_console(CLIENT, "READY role=client", limit)?;
    // Neither has driven the kernel to kill anything; the harness holds that for a fault of its own accord.
    cluster.lab().check_health()?;
    Ok(())
}

fn images() -> anyhow::Result<[Image; 2]> {
    Ok([Image::find(Role::Server)?, Image::find(Role::Client)?])
}

fn manifest_file<'a>(manifest: &'a Manifest, path: &str) -> anyhow::Result<&'a builder::tree::FileRecord> {
    manifest
        .initramfs
        .iter()
        .find(|file| file.path.trim_start_matches('/') == path)
        .with_context(|| format!("no {path}"))
}

fn agent_binary(_: &mut Cluster) -> anyhow::Result<()> {
    for image in images()? {
        let size = manifest_file(image.manifest(), "init")?.size;
        ensure!(size <= 2_500_000, "the agent has {size} bytes");
    }
    let path = std::env::var_os("STEPPE_AGENT").context("STEPPE_AGENT is not set")?;
    let bytes = fs::read(Path::new(&path))?;
    let file = object::File::parse(bytes.as_slice())?;
    ensure!(file.section_by_name(".interp").is_none(), "the agent asks for a loader: it is not static");
    Ok(())
}

fn image_without_nomad(_: &mut Cluster) -> anyhow::Result<()> {
    for image in images()? {
        let size = image.manifest().parts.without_nomad();
        ensure!(size <= 24 * MB, "{} bytes: {:?}", size, image.manifest().parts);
        // The parts are what the builder says; the files are what there is.
        let files: u64 = [Kind::Kernel, Kind::Initrd]
            .iter()
            .map(|kind| Ok(fs::metadata(image.path(*kind)?)?.len()))
            .sum::<anyhow::Result<u64>>()?;
        let parts = image.manifest().parts;
        ensure!(files == parts.kernel + parts.initramfs, "{files} bytes of files, {parts:?}");
    }
    Ok(())
}

/// The image against its kernel, Nomad and libc, each compressed alone and as a whole. What is more than them: blocks that
/// can be read one by one, the agent, drivers, the tools for the state, certificates, time zones.
fn image_with_nomad(_: &mut Cluster) -> anyhow::Result<()> {
    let image = Image::find(Role::Server)?;
    let parts = image.manifest().parts;
    let all = parts.kernel + parts.initramfs + parts.root;
    let mut alone = compressed(fs::File::open(image.path(Kind::Kernel)?)?)?;
    for path in ["usr/bin/nomad", "usr/lib/x86_64-linux-gnu/libc.so.6"] {
        alone += compressed(tests::images::root_file(&image, path)?.as_slice())?;
    }
    let more = all.saturating_sub(alone);
    ensure!(more <= BESIDE_NOMAD, "the image has {all} bytes, {more} more than its parts");
    // Beside the stand-in, which is a tenth of Nomad, everything else is large.
    let share = all * 1000 / alone;
    ensure!(
        image.manifest().standin || share <= WITH_NOMAD_PERMILLE,
        "{all} bytes, the parts {alone}: {share} permille"
    );
    Ok(())
}

/// The files that `make image` leaves, against what they consist of, in bytes more. What the formats of disks add is in the builder's
/// `tests/formats`.
fn every_file(_: &mut Cluster) -> anyhow::Result<()> {
    for image in images()? {
        let parts = image.manifest().parts;
        let boots = parts.kernel + parts.initramfs;
        for (kinds, content, budget) in [
            (&[Kind::Uki][..], boots, 120_000),
            (&[Kind::Kernel, Kind::NetbootInitrd], boots + parts.root, 10_000),
            // A table of the FAT volume for UEFI, and room in it.
            (&[Kind::Iso], boots + parts.root, 4 * MB),
            // Kernel and initramfs twice, the hash tree, the boot loaders.
            (&[Kind::Raw], 2 * boots + parts.root, MB),
        ] {
            // Beside the stand-in there is less than the smallest volume of that kind has room for.
            if image.manifest().standin && kinds == [Kind::Iso] {
                continue;
            }
            let sizes = kinds.iter().map(|kind| {
                let data = fs::metadata(image.path(*kind)?)?;
                Ok(data.len().min(data.blocks() * 512))
            });
            let size = sizes.sum::<anyhow::Result<u64>>()?;
            ensure!(size <= content + budget, "{kinds:?}: {size} bytes for {content}");
        }
    }
    Ok(())
}

/// How many bytes zstd -19 makes of what there is to read.
fn compressed(from: impl std::io::Read) -> anyhow::Result<u64> {
    Ok(zstd::encode_all(from, 19)?.len() as u64)
}

/// Drivers that an image promises to have as modules: to reach a disk with the root, and after that.
const DRIVERS_OF_DISKS: [&str; 11] = [
    "virtio_blk",
    "virtio_scsi",
    "hv_vmbus",
    "hv_storvsc",
    "pci_hyperv",
    "xen_blkfront",
    "vmw_pvscsi",
    "ahci",
    "ata_piix",
    "sd_mod",
    "sha256_ssse3",
];
const DRIVERS_OF_THE_ROOT: [&str; 22] = [
    "virtio_net",
    "virtio_rng",
    "virtio_balloon",
    "ena",
    "gve",
    "hv_netvsc",
    "hv_utils",
    "pci_hyperv",
    "mlx5_core",
    "mana",
    "xen_netfront",
    "vmxnet3",
    "virtio_blk",
    "virtio_scsi",
    "sr_mod",
    "qemu_fw_cfg",
    "8021q",
    "bonding",
    "bridge",
    "isofs",
    "udf",
    "vfat",
];

/// What is built into the kernel counts too (NVMe, virtio_pci): the builder refuses a list with a name that is neither.
fn drivers(_: &mut Cluster) -> anyhow::Result<()> {
    for image in images()? {
        let manifest = image.manifest();
        for (files, promised) in
            [(&manifest.initramfs, &DRIVERS_OF_DISKS[..]), (&manifest.files, &DRIVERS_OF_THE_ROOT[..])]
        {
            let names: Vec<String> = files.iter().filter_map(|file| module_name(&file.path)).collect();
            let missing: Vec<_> = promised.iter().filter(|name| !names.iter().any(|n| n == *name)).collect();
            ensure!(missing.is_empty(), "the {} image lacks {missing:?}", manifest.role);
        }
        let lists = ModuleLists::parse("cloud", embedded::module_list("cloud").context("no list")?)?;
        ensure!(lists.initramfs.devices.iter().any(|name| name == "nvme"), "NVMe is not asked for");
    }
    Ok(())
}

/// `/usr/lib/modules/6.12/kernel/drivers/net/xen-netfront.ko` as `xen_netfront`.
fn module_name(path: &str) -> Option<String> {
    Some(path.rsplit('/').next()?.strip_suffix(".ko")?.replace('-', "_"))
}

/// Names that an interpreter or a shell would have.
const INTERPRETERS: [&str; 12] =
    ["sh", "bash", "dash", "ash", "busybox", "perl", "python", "python3", "awk", "lua", "env", "systemd"];

fn files_in_the_root(_: &mut Cluster) -> anyhow::Result<()> {
    for image in images()? {
        let files = tests::images::root_listing(&image)?;
        ensure!(files.len() <= 400, "{} files in the root", files.len());
        for file in &files {
            ensure!(file.mode & 0o6000 == 0, "{} is set-uid or set-gid", file.path);
            let name = file.path.rsplit('/').next().unwrap_or_default();
            ensure!(file.mode & 0o111 == 0 || !INTERPRETERS.contains(&name), "{} is an interpreter", file.path);
        }
    }
    Ok(())
}

/// Lines of a table on the console: words by column.
fn table(cluster: &Cluster, command: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let text = cluster.console_command(NAME, command)?;
    let rows = text.lines().skip(1).filter(|line| !line.contains("steppe") && !line.starts_with('['));
    Ok(rows.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect())
}

fn processes(cluster: &mut Cluster) -> anyhow::Result<()> {
    // PID  PARENT  UID  RESIDENT-KIB  NAME  ROLE
    let rows = table(cluster, "ps")?;
    let of = |role: &str| rows.iter().filter(|row| row.last().is_some_and(|last| last == role)).collect::<Vec<_>>();
    ensure!(of("init").len() == 1 && of("node").len() == 1 && of("nomad").len() == 1, "{rows:?}");
    // The console that answers is the fourth; an image starts none by itself.
    ensure!(rows.len() == 4 && of("console").len() == 1, "{rows:?}");
    let resident = |role: &str| -> anyhow::Result<u64> { Ok(of(role)[0][3].parse()?) };
    let (init, node) = (resident("init")?, resident("node")?);
    ensure!(init <= 2048, "init has {init} KiB resident");
    ensure!(init + node <= 6144, "init and node have {} KiB resident", init + node);
    ensure!(of("nomad")[0][2] == "990", "a server's Nomad runs as the user nomad: {rows:?}");
    Ok(())
}

fn listeners(cluster: &mut Cluster) -> anyhow::Result<()> {
    // PROTOCOL  PORT  ADDRESS
    let rows = table(cluster, "ports")?;
    let ports: Vec<String> = rows.iter().map(|row| format!("{} {}", row[0].trim_end_matches('6'), row[1])).collect();
    for wanted in ["tcp 4646", "tcp 4647", "tcp 4648", "udp 4648"] {
        ensure!(ports.iter().any(|port| port == wanted), "no {wanted} in {ports:?}");
    }
    let others: Vec<_> = ports.iter().filter(|port| !port.contains(" 464")).collect();
    ensure!(others.iter().all(|port| *port == "udp 68"), "{others:?}");
    Ok(())
}
