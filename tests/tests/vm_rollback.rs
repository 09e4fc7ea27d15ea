//! Bad updates, which end in the system from before, and power cuts in the middle of good ones.

use std::{
    env,
    hash::{BuildHasher as _, RandomState},
    path::Path,
    process::{Command, ExitCode},
    thread,
    time::Instant,
};

use agent::{facts::Role, slots::Slot};
use anyhow::{Context as _, anyhow, ensure};
use builder::disk::Partition;
use qemu::{MachineSpec, vm::Mark};
use tests::{
    cluster::{leads, with_error_store},
    esp::Esp,
    node::{BOOT, INSTALL, INSTALLED, Node},
    suite,
    update::{NEW, OLD, Updates},
};

const NAME: &str = "server-vm-0";

fn main() -> ExitCode {
    suite::run(
        || Updates::make(Role::Server),
        &[
            ("bios_and_uefi_fall_back_from_bad_updates_and_say_why", bad_updates),
            ("a_new_agent_that_hangs_is_ended_by_the_watchdog_under_both_firmwares", hangs),
            ("power_cuts_at_any_moment_of_an_update_leave_a_whole_system", power_cuts),
        ],
    )
}

fn bad_updates(updates: &mut Updates) -> anyhow::Result<()> {
    let updates = &*updates;
    side_by_side([
        ("bad, by UEFI", &|| bad(updates, updates.uefi(NAME), "uefi", 3)),
        ("bad, by BIOS", &|| bad(updates, updates.bios(NAME), "bios", 1)),
        ("damaged, by UEFI", &|| damaged(updates, updates.uefi(NAME), "uefi-damaged.update", false)),
        ("damaged, by BIOS", &|| damaged(updates, updates.bios(NAME), "bios-damaged.update", true)),
    ])
}

/// An agent that hangs, in machines of their own: that takes its minute.
fn hangs(updates: &mut Updates) -> anyhow::Result<()> {
    let updates = &*updates;
    side_by_side([
        ("by UEFI", &|| hang(updates, updates.uefi(NAME), "uefi", 3)),
        ("by BIOS", &|| hang(updates, updates.bios(NAME), "bios", 1)),
    ])
}

/// The watchdog, here the kernel's own timer, ends a new agent that hangs.
fn hang(updates: &Updates, spec: MachineSpec, firmware: &str, tries: u32) -> anyhow::Result<()> {
    let store = tempfile::tempdir()?;
    // A machine with a place for last words says what they were.
    let (spec, why) = if tries == 1 {
        (
            with_error_store(spec, &store.path().join("erst")),
            "Kernel panic - not syncing: Software Watchdog Timer expired",
        )
    } else {
        (spec, "without a word")
    };
    let lone = Node::lone(spec)?;
    lone.machine().console().allow("Kernel panic - not syncing");
    let mark = lone.begin(updates.hanging(&format!("{firmware}-hangs.update"))?)?;
    lone.installed(mark)?;
    let armed = "the kernel's timer restarts this machine when it hangs for 60 s";
    let mark = all_tries_but_one(&lone, lone.reboot()?, tries, armed)?;
    lone.wait(mark, armed, BOOT)?;
    lone.wait(mark, "softdog: Initiating panic", 4 * BOOT)?;
    lone.falls_back(mark, why, &after(tries))
}

fn after(tries: u32) -> String {
    if tries == 1 { "1 try".to_owned() } else { format!("{tries} tries") }
}

/// Bad updates of a machine whose boot loader gives each this many tries.
fn bad(updates: &Updates, spec: MachineSpec, firmware: &str, tries: u32) -> anyhow::Result<()> {
    let lone = Node::lone(spec)?;
    // Each machine has files of its own.
    let file = format!("{firmware}.update");
    lone.machine().console().allow("Kernel panic - not syncing");
    let after = after(tries);

    if tries == 1 {
        // Not for this machine: nothing happens at all.
        let mark = lone.begin(updates.file(&file, |manifest| manifest.role = Role::Client)?)?;
        lone.wait(mark, "update failed: the update is for role client", INSTALL)?;
    }

    // A kernel that panics: it has no first program, and no root that it could find by itself.
    lone.install(updates.file(&file, |manifest| manifest.cmdline += " rdinit=/none")?)?;
    let mark = all_tries_but_one(&lone, lone.reboot()?, tries, "Kernel panic - not syncing")?;
    lone.wait(mark, "Kernel panic - not syncing", 2 * BOOT)?;
    lone.falls_back(mark, "without a word", &after)?;

    // A kernel without the driver of this disk: its initramfs finds no root, and no slot to which it could fall back.
    let blind = " module_blacklist=virtio_blk steppe.trial=20";
    lone.install(updates.file(&file, |manifest| manifest.cmdline += blind)?)?;
    let mark = all_tries_but_one(&lone, lone.reboot()?, tries, "phase initramfs")?;
    lone.wait(mark, "there is no sign of the root partition", 3 * BOOT)?;
    lone.falls_back(mark, "without a word", &after)?;

    // Nomad never gets as far as being healthy.
    lone.install(updates.file(&file, |manifest| manifest.cmdline += " steppe.platform=ec2 steppe.trial=20")?)?;
    let mark = all_tries_but_one(&lone, lone.reboot()?, tries, "phase initramfs")?;
    lone.wait(mark, "the trial failed: not blessed within 20 s", 3 * BOOT)?;
    lone.falls_back(mark, "not blessed within 20 s; node", &after)
}

/// A root with wrong bytes, on trial and when it is proven; the latter at its first block (`early`), or while it runs.
fn damaged(updates: &Updates, spec: MachineSpec, file: &str, early: bool) -> anyhow::Result<()> {
    let lone = Node::lone(spec)?;
    // In the block that is read first. Nothing is tried again.
    lone.install(updates.file(file, |_| {})?)?;
    lone.power_off()?;
    let root = slot_b(updates)?;
    damage(&lone, &[root.start + 11])?;
    let mark = lone.mark();
    lone.cluster.power_on(NAME)?;
    lone.wait(mark, "the boot cannot go on", 2 * BOOT)?;
    lone.falls_back(mark, "its root could not be read", "1 try")?;

    lone.install(updates.file(file, |_| {})?)?;
    let mark = lone.reboot()?;
    lone.wait(mark, "slot b is blessed", 4 * BOOT)?;
    lone.power_off()?;
    let root = slot_b(updates)?;
    let places = if early { vec![root.start + 11] } else { (8..32).map(|n| root.start + root.used / 64 * n).collect() };
    damage(&lone, &places)?;
    let mark = lone.mark();
    lone.cluster.power_on(NAME)?;
    lone.wait(mark, "slot a boots from now on", 3 * BOOT)?;
    ensure!(!lone.said_after(mark, "READY"), "it got ready all the same");
    let why = if early { "its root could not be read" } else { "of its root is corrupted" };
    let line = lone.wait(mark, "the update failed, and the machine fell back to slot a", 3 * BOOT)?;
    ensure!(line.contains(&format!("{NEW} in slot b: failed: ")) && line.contains(why), "{line}");
    lone.ready(mark)?;
    lone.says(&[&format!("version    {OLD} in slot a"), &format!("{NEW} in slot b: failed: "), why])?;
    // Nobody goes there before it is written anew.
    let mark = lone.mark();
    lone.type_in("rollback")?;
    lone.wait(mark, "rollback failed: the root in slot b could not be read", BOOT)?;
    leads(&lone.cluster, NAME)?;
    lone.install(updates.file(file, |_| {})?)?;
    let mark = lone.reboot()?;
    lone.wait(mark, "slot b is blessed", 4 * BOOT)?;
    lone.says(&[&format!("version    {NEW} in slot b"), &format!("{NEW} in slot b: good")])?;
    lone.power_off()?;
    let flat = tempfile::tempdir()?;
    Esp::of_machine(&lone.machine().disk(), &flat.path().join("flat.raw"))?.check_file_system()
}

/// Where an update goes, and how much of slot a is used.
fn slot_b(updates: &Updates) -> anyhow::Result<Partition> {
    let named = |slot: Slot| {
        let partitions = &updates.manifest().partitions;
        partitions.iter().find(|partition| partition.name == slot.root_label()).context("no such slot")
    };
    Ok(Partition { used: named(Slot::A)?.used, ..named(Slot::B)?.clone() })
}

/// Ends the tries of an entry at a line, as a person at the reset button would, until one is left.
fn all_tries_but_one(lone: &Node, mut mark: Mark, tries: u32, line: &str) -> anyhow::Result<Mark> {
    for _ in 1..tries {
        lone.wait(mark, line, 2 * BOOT)?;
        mark = lone.mark();
        lone.machine().vm()?.reset()?;
    }
    Ok(mark)
}

/// Writes wrong bytes onto the disk of a machine that is off. Where a squashfs has the time at which it was made, it is the highest one.
fn damage(lone: &Node, places: &[u64]) -> anyhow::Result<()> {
    let mut command = Command::new("qemu-io");
    command.args(["-f", "qcow2"]);
    for place in places {
        command.args(["-c", &format!("write -P 238 {place} 1")]);
    }
    let output = command.arg(lone.machine().disk()).output().context("failed to run qemu-io (package qemu-utils)")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && said.matches("wrote 1/1 bytes").count() == places.len(),
        "qemu-io: {said}{output:?}"
    );
    Ok(())
}

/// The power fails at any moment of an update, many times in a row: what boots is one system or the other, and whole, and the next
/// update works.
fn power_cuts(updates: &mut Updates) -> anyhow::Result<()> {
    let updates = &*updates;
    let cuts: u32 = if env::var("STEPPE_SLOW").is_ok_and(|value| value == "1") { 20 } else { 2 };
    let seed = env::var("STEPPE_SEED").ok().map_or_else(|| Ok(RandomState::new().hash_one(0)), |text| text.parse())?;
    println!("{cuts} power cuts by each firmware: STEPPE_SEED={seed}");
    let file = updates.file("it.update", |_| {})?;
    side_by_side([
        ("by UEFI", &|| cut(updates.uefi(NAME), "uefi", &file, mixed(seed, 0), cuts)),
        ("by BIOS", &|| cut(updates.bios(NAME), "bios", &file, mixed(seed, 1), cuts)),
    ])
}

fn cut(spec: MachineSpec, firmware: &str, file: &Path, seed: u64, cuts: u32) -> anyhow::Result<()> {
    let lone = Node::lone(spec)?;
    // From the first byte that the machine asks for to the line that says that the update is there.
    let begin = || {
        let mark = lone.begin(file)?;
        lone.wait(mark, "it.update is read", BOOT)?;
        anyhow::Ok((mark, Instant::now()))
    };
    let (mark, start) = begin()?;
    lone.installed(mark)?;
    let mut whole = start.elapsed();
    let mut interrupted = 0;
    for cut in 0..cuts {
        // One in each piece of the time, anywhere in it.
        let within = f64::from(u32::try_from(mixed(seed, cut) >> 32)?) / f64::from(u32::MAX);
        let moment = whole.mul_f64((f64::from(cut) + within) / f64::from(cuts));
        let (begun, start) = begin()?;
        thread::sleep(moment.saturating_sub(start.elapsed()));
        let mark = lone.cut_power()?;
        let ended = lone.said_after(begun, INSTALLED);
        interrupted += u32::from(!ended);
        lone.ready(mark)?;
        let tried = lone.said_after(mark, "this system is on trial");
        println!(
            "{firmware}: cut {cut} after {} ms of {}, {}: {}",
            moment.as_millis(),
            whole.as_millis(),
            if ended { "when all was there" } else { "in the middle" },
            if tried { "the new system" } else { "the old system" }
        );
        ensure!(tried || !ended, "the update was there, and is gone");
        if ended {
            // The first one took longer than they do now.
            whole = moment;
        }
        leads(&lone.cluster, NAME)?;
        if tried {
            lone.wait(mark, "slot b is blessed", 2 * BOOT)?;
            lone.roll_back()?;
        }
        lone.says(&[&format!("version    {OLD} in slot a")])?;
    }
    println!("{firmware}: {interrupted} of {cuts} cuts were in the middle of an update");
    ensure!(interrupted > 0, "every update had ended before the power failed");

    lone.install(file)?;
    lone.power_off()?;
    let flat = tempfile::tempdir()?;
    Esp::of_machine(&lone.machine().disk(), &flat.path().join("flat.raw"))?.check_file_system()?;
    let mark = lone.mark();
    lone.cluster.power_on(NAME)?;
    lone.wait(mark, "slot b is blessed", 3 * BOOT)?;
    lone.says(&[&format!("version    {NEW} in slot b")])
}

/// What is done with one machine, and its name.
type Story<'a> = (&'static str, &'a (dyn Fn() -> anyhow::Result<()> + Sync));

/// Several machines at a time: most of it is waiting.
fn side_by_side<const N: usize>(stories: [Story<'_>; N]) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let threads = stories.map(|(name, story)| (name, scope.spawn(story)));
        let ends = threads.map(|(name, thread)| thread.join().map_err(|_| anyhow!("panic")).flatten().context(name));
        ends.into_iter().collect()
    })
}

/// A number that follows from the seed (the finalizer of `SplitMix64`).
fn mixed(seed: u64, number: u32) -> u64 {
    let state = seed.wrapping_add(u64::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ state >> 31
}
