//! A boot on trial: it is blessed when Nomad is healthy, or it ends.
//!
//! The boot entry of a new system has a counter ([`crate::slots`]). Under UEFI systemd-boot says so in an EFI variable; under BIOS syslinux
//! puts a word on the kernel's command line. A boot that is not blessed in time is ended here; one that hangs, by a watchdog; one that
//! panics, by the kernel. The boot loader then does the rest.

use std::{fs, io, path::Path, time::Duration};

use nix::mount::{MsFlags, mount};

use crate::{
    cmdline::Cmdline,
    error, info, notice, paths,
    slots::{config, entry::Entry},
    update::{
        place,
        record::{Outcome, Record},
    },
};

use super::{devices::Devices, fallback};

/// Time that a system on trial has, from the start of the kernel.
const LIMIT: Duration = Duration::from_secs(600);
/// The argument of the kernel's command line with another limit, in seconds.
const LIMIT_ARGUMENT: &str = "steppe.trial";
/// Is there when UEFI booted the machine.
const EFI: &str = "/sys/firmware/efi";
/// Where the kernel shows the firmware's variables.
const EFIVARS: &str = "/sys/firmware/efi/efivars";
/// The entry that was booted, as long as it has a counter (systemd, "Boot Loader Interface").
const COUNT_PATH: &str = "LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// A trial that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trial {
    /// When it has failed, as a time since the kernel started.
    pub(super) deadline: Duration,
    /// Whether a boot loader is known to count it. Another one would start this slot for ever.
    pub(super) is_counted: bool,
}

/// Whether this boot is on trial.
pub(super) fn is_on(cmdline: &Cmdline) -> bool {
    // The boot loader may not have been able to count, or the kernel to ask the firmware: the name of the entry says it all the same.
    // Under BIOS it does not: there the word counts alone, and what is booted without it was blessed, if not to the end.
    cmdline.has(config::TRIAL)
        || is_counted().unwrap_or(false)
        || (Path::new(EFI).exists() && fallback::is_own_on_trial())
}

/// When a boot on trial ends that does not get further, as a time since the kernel started.
pub(super) fn end(cmdline: &Cmdline) -> Option<Duration> {
    is_on(cmdline).then(|| limit(cmdline))
}

/// [`end`] for the initramfs stage. The firmware's variables, which it shows for this, stay there for the root's stage. Where they cannot
/// be read, nothing tells a trial from a proven system, and it counts as a trial: without a root the machine is of no use to anybody, and
/// only a restart lets a boot loader count.
pub(super) fn early_end(cmdline: &Cmdline, devices: &mut Devices) -> Option<Duration> {
    let mut shown = || show_variables(devices).and_then(|()| is_counted());
    let on_trial = cmdline.has(config::TRIAL)
        || shown().unwrap_or_else(|why| {
            info!("a boot that finds no root counts as one on trial: failed to read the firmware's variables: {why}");
            true
        });
    on_trial.then(|| limit(cmdline))
}

/// Begins a trial. Remembers that it was made on the state partition.
pub(super) fn begin(cmdline: &Cmdline) -> Trial {
    let deadline = limit(cmdline);
    notice!("this system is on trial: unless it is blessed within {} s, the other slot boots", deadline.as_secs());
    count(Path::new(paths::STATE_DIR));
    let is_counted = cmdline.has(config::TRIAL) || is_counted().unwrap_or(false);
    Trial { deadline, is_counted }
}

/// Does what the start of the boot could not, when the state partition appears late: remembers the try, when it is `on_trial`. True when
/// something is to be settled.
pub(super) fn resume(on_trial: bool) -> bool {
    if on_trial {
        count(Path::new(paths::STATE_DIR));
    }
    !on_trial && is_unsettled()
}

/// Whether the last update did not end in a trial that was blessed, or the other slot is lost, in a boot that is not on trial.
pub(super) fn is_unsettled() -> bool {
    Record::read(Path::new(paths::STATE_DIR)).is_some_and(|record| record.outcome.is_open())
        || fallback::is_other_lost()
}

/// Remembers that the try was made.
fn count(dir: &Path) {
    if let Some(record) = ours(dir) {
        let record = Record { outcome: Outcome::Trial, tries: record.tries + 1, why: String::new(), ..record };
        remember(&record, dir);
    }
}

/// Keeps what went wrong for the system that runs next.
pub(super) fn failed(why: &str) {
    error!("the trial failed: {why}");
    let dir = Path::new(paths::STATE_DIR);
    if let Some(record) = ours(dir) {
        remember(&Record { why: why.to_owned(), ..record }, dir);
    }
}

/// Keeps what the kernel said when it died, should that have been in a trial that ended without another word.
pub(super) fn died(why: &str) {
    let dir = Path::new(paths::STATE_DIR);
    let silent =
        |record: &Record| record.why.is_empty() && matches!(record.outcome, Outcome::Installed | Outcome::Trial);
    if let Some(record) = Record::read(dir).filter(silent) {
        remember(&Record { why: why.to_owned(), ..record }, dir);
    }
}

/// Keeps why this system gives way to the other one, though it may be proven. When the record is of the other slot, that one's boot says it.
pub(super) fn lost(why: &str) {
    let dir = Path::new(paths::STATE_DIR);
    if let Some(record) = ours(dir) {
        let tries = if record.outcome == Outcome::Good { 0 } else { record.tries };
        remember(&Record { outcome: Outcome::Failed, tries, why: why.to_owned(), ..record }, dir);
    }
}

/// The record, when it is of the slot that runs: a state that was full, or is new, may know of another update only.
fn ours(dir: &Path) -> Option<Record> {
    let running = place::running(Path::new("/sys"))?;
    Record::read(dir).filter(|record| record.slot == running)
}

fn remember(record: &Record, dir: &Path) {
    if let Err(why) = record.write(dir) {
        info!("failed to remember the trial: {why}");
    }
}

fn limit(cmdline: &Cmdline) -> Duration {
    cmdline.value(LIMIT_ARGUMENT).and_then(|value| value.parse().ok()).map_or(LIMIT, Duration::from_secs)
}

/// Mounts the firmware's variables, where there are some.
fn show_variables(devices: &mut Devices) -> io::Result<()> {
    if !Path::new(EFIVARS).exists() {
        return Ok(());
    }
    devices.load("efivarfs").map_err(io::Error::other)?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("efivarfs"), EFIVARS, Some("efivarfs"), flags, None::<&str>)?)
}

/// Whether systemd-boot started an entry with a counter.
fn is_counted() -> io::Result<bool> {
    match fs::read(Path::new(EFIVARS).join(COUNT_PATH)) {
        Ok(variable) => Ok(entry_of(&variable).is_some_and(|entry| entry.is_on_trial())),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(why) => Err(why),
    }
}

/// The entry in the bytes of the variable: attributes of four bytes, and a path of the ESP in UTF-16.
fn entry_of(variable: &[u8]) -> Option<Entry> {
    let units = variable.get(4..)?.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let path: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    Entry::parse(String::from_utf16_lossy(&path).rsplit(['\\', '/']).next()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variable(path: &str) -> Vec<u8> {
        let text = path.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
        [6, 0, 0, 0].into_iter().chain(text).collect()
    }

    #[test]
    fn the_booted_entry_is_read_from_the_variable() {
        let entry = entry_of(&variable("\\EFI\\Linux\\steppe-0000000002-b+2-1.efi")).unwrap();
        assert!(entry.is_on_trial());
        assert!(entry_of(&variable("\\EFI\\Linux\\other+2.efi")).is_none());
        assert!(entry_of(&[6, 0]).is_none());
    }

    #[test]
    fn the_limit_may_be_given() {
        assert_eq!(limit(&Cmdline::parse("steppe.on-trial")), Duration::from_secs(600), "as SPECIFICATION.md has it");
        assert_eq!(limit(&Cmdline::parse("steppe.trial=90 steppe.on-trial")), Duration::from_secs(90));
        assert_eq!(limit(&Cmdline::parse("steppe.trial=soon")), LIMIT);
    }

    proptest! {
        #[test]
        fn any_variable_is_an_entry_or_not(bytes: Vec<u8>) {
            let _ = entry_of(&bytes);
        }
    }
}
