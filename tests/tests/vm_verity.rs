//! The verified root: a node runs from it, and not one block of it that is not the one that was built is ever read.

use std::{fs::File, os::unix::fs::FileExt as _, path::Path, process::Command, process::ExitCode, time::Duration};

use agent::{facts::Role, slots::Slot};
use anyhow::{Context as _, ensure};
use builder::{
    disk::Partition,
    manifest::{Kind, Manifest},
};
use qemu::MachineSpec;
use tests::{
    cluster::{Cluster, LONE_SERVER_DATA, machine},
    images::Image,
    suite,
};

/// Enough for one machine to come up.
const BOOT: Duration = Duration::from_secs(25);
const NAME: &str = "server-vm-0";
/// Bytes of a block that has a hash.
const BLOCK: u64 = 4096;

fn main() -> ExitCode {
    suite::run(
        || Ok(()),
        &[
            ("a_node_runs_from_a_verified_root", runs_verified),
            ("a_flipped_byte_of_the_root_is_a_reboot_and_never_read", flipped_data),
            ("a_root_that_cannot_be_verified_stays_with_its_reason_when_no_other_system_is_proven", damaged_hashes),
        ],
    )
}

fn lone_server() -> anyhow::Result<MachineSpec> {
    Ok(machine(NAME, Role::Server, "")?.user_data(LONE_SERVER_DATA))
}

fn runs_verified((): &mut ()) -> anyhow::Result<()> {
    let cluster = Cluster::start([lone_server()?])?;
    cluster.wait_console(NAME, "READY role=server", cluster.limit(BOOT))?;
    let lines = cluster.console_lines(NAME);
    let root = lines.iter().find(|line| line.contains("the root is /dev/vda2, verified by /dev/vda3"));
    ensure!(root.is_some(), "no word of the verified root in:\n{}", lines.join("\n"));
    // The disk is found below the verified device: the state lies beside the root, not on some blank disk.
    ensure!(lines.iter().any(|line| line.contains("made the state partition /dev/vda6")), "{}", lines.join("\n"));
    Ok(())
}

fn flipped_data((): &mut ()) -> anyhow::Result<()> {
    let image = Image::find(Role::Server)?;
    let root = partition(image.manifest(), Slot::A.root_label())?;
    let cluster = Cluster::start([lone_server()?.powered_off()])?;
    let disk = cluster.lab().machine(NAME).disk();
    // One byte in each of many blocks of the files, so that the boot reads at least one of them soon; none of the tables at the end.
    let places: Vec<u64> = (8..56).map(|n| root.start + root.used / 64 / BLOCK * BLOCK * n + 17 * n).collect();
    for place in &places {
        flip(&disk, &image, *place)?;
    }
    cluster.power_on(NAME)?;
    let line = cluster.wait_console(NAME, "is corrupted", cluster.limit(BOOT))?;
    ensure!(line.contains("device-mapper: verity") && line.contains("data block"), "{line}");
    let line = cluster.wait_console(NAME, "of its root is corrupted: this machine restarts", cluster.limit(BOOT))?;
    ensure!(line.contains(" block "), "{line}");
    // There is nothing to fall back to, which is said.
    cluster.wait_console(NAME, "there is no other system to start: the partition of slot b", cluster.limit(BOOT))?;
    let mark = cluster.mark(NAME);
    cluster.wait_console_after(NAME, mark, "phase initramfs", cluster.limit(BOOT))?;
    ensure!(!cluster.console_lines(NAME).iter().any(|line| line.contains("READY")), "the node got ready all the same");

    // With its own bytes back it is the root that it was.
    cluster.pull_the_plug(NAME)?;
    for place in &places {
        restore(&disk, &image, *place)?;
    }
    let mark = cluster.mark(NAME);
    cluster.power_on(NAME)?;
    cluster.wait_console_after(NAME, mark, "READY role=server", cluster.limit(BOOT))?;
    Ok(())
}

fn damaged_hashes((): &mut ()) -> anyhow::Result<()> {
    let image = Image::find(Role::Server)?;
    let hashes = partition(image.manifest(), Slot::A.verity_label())?;
    let cluster = Cluster::start([lone_server()?.powered_off()])?;
    let disk = cluster.lab().machine(NAME).disk();
    flip(&disk, &image, hashes.start)?;
    cluster.power_on(NAME)?;
    let line = cluster.wait_console(NAME, "the boot cannot go on", cluster.limit(BOOT))?;
    ensure!(!cluster.console_lines(NAME).iter().any(|line| line.contains("phase root")), "a root was mounted");
    ensure!(line.contains("/dev/vda3 is not the hash tree of this root") && line.contains("other one"), "{line}");
    // The tree itself: the superblock is sound, the first hash that is read does not come out at the root hash. What is in the other
    // slot begins as a root does, and has no entry.
    cluster.pull_the_plug(NAME)?;
    restore(&disk, &image, hashes.start)?;
    flip(&disk, &image, hashes.start + BLOCK)?;
    let other = partition(image.manifest(), Slot::B.root_label())?.start;
    for (place, byte) in (other..).zip(*b"hsqs") {
        write(&disk, place, byte)?;
    }
    let mark = cluster.mark(NAME);
    cluster.power_on(NAME)?;
    let line = cluster.wait_console_after(NAME, mark, "is corrupted", cluster.limit(BOOT))?;
    ensure!(line.contains("metadata block"), "{line}");
    cluster.wait_console_after(NAME, mark, "no other system to start: slot b is empty", cluster.limit(BOOT))?;
    // Said again and again, and no restart comes between.
    for _ in 0..2 {
        let said = cluster.mark(NAME);
        let line = cluster.wait_console_after(NAME, said, "the boot cannot go on", cluster.limit(BOOT))?;
        ensure!(line.contains("the root is not the one that was built: it does not come out at roothash="), "{line}");
    }
    let lines = cluster.lab().machine(NAME).console().lines_after(mark);
    let boots = lines.iter().filter(|line| line.text.contains("phase initramfs")).count();
    ensure!(boots == 1, "{boots} boots");
    Ok(())
}

fn partition<'a>(manifest: &'a Manifest, name: &str) -> anyhow::Result<&'a Partition> {
    let found = manifest.partitions.iter().find(|partition| partition.name == name);
    found.with_context(|| format!("the manifest has no partition {name}"))
}

/// Makes a byte of a machine's disk another one than the image's.
fn flip(disk: &Path, image: &Image, place: u64) -> anyhow::Result<()> {
    write(disk, place, !byte(image, place)?)
}

/// Gives a machine's disk the image's byte.
fn restore(disk: &Path, image: &Image, place: u64) -> anyhow::Result<()> {
    write(disk, place, byte(image, place)?)
}

fn byte(image: &Image, place: u64) -> anyhow::Result<u8> {
    let mut byte = [0];
    File::open(image.path(Kind::Raw)?)?.read_exact_at(&mut byte, place)?;
    Ok(byte[0])
}

fn write(disk: &Path, place: u64, byte: u8) -> anyhow::Result<()> {
    let command = format!("write -q -P {byte} {place} 1");
    let output = Command::new("qemu-io").args(["-f", "qcow2", "-c", &command]).arg(disk).output();
    let output = output.context("failed to run qemu-io (package qemu-utils)")?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.trim().is_empty(), "qemu-io {command}: {said}");
    Ok(())
}
