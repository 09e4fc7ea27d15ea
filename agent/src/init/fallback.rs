//! The other slot, for a boot that cannot go on, or a root that turns out not to be the one that was built.
//!
//! A trial needs none of this: boot loaders count. But a slot that is proven is started for ever, so something has to say that it is lost,
//! and PID 1 is what is left when the root cannot be read: it lies in memory as a whole.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use nix::libc;

use crate::{
    cmdline::Cmdline,
    slots::{Slot, choice, entry::Entry},
    update::{
        fat::{
            FatError,
            fall_back::{self, FallBackError, Plan},
        },
        place::{self, Place, PlaceError},
    },
};

use super::disks::{self, Disk};

/// Why the other slot does not boot.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoFallback {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    FallBack(#[from] FallBackError),
    #[error("the partition of slot {0} holds no root")]
    NoRoot(Slot),
}

/// Whether there is another system that may be started.
pub(super) fn is_there() -> bool {
    find().is_ok_and(|(disk, place)| plan(&disk, &place).is_ok())
}

/// Whether the other slot is marked as one whose root could not be read.
pub(super) fn is_other_lost() -> bool {
    entries().is_some_and(|(running, list)| list.iter().any(|entry| entry.slot != running && entry.is_lost()))
}

/// Whether the entry of the slot that runs has a counter.
pub(super) fn is_own_on_trial() -> bool {
    let own = entries().and_then(|(running, list)| choice::of(&list, running));
    own.is_some_and(|entry| entry.is_on_trial())
}

/// The slot that runs, and all boot entries.
fn entries() -> Option<(Slot, Vec<Entry>)> {
    let (disk, place) = find().ok()?;
    let mut esp = File::open(disk.partition_node(place.esp.number)).ok()?;
    let entries = fall_back::entries(&mut esp, place::size(&place.esp, place.sector)).ok()?;
    Some((place.running, entries))
}

/// Has the boot loader start the other slot from the next boot on; gives it.
///
/// # Errors
/// When there is none that is proven. Nothing is changed then.
pub(super) fn switch() -> Result<Slot, NoFallback> {
    let (disk, place) = find()?;
    let (mut esp, plan) = plan(&disk, &place)?;
    plan.write(&mut esp).map_err(FallBackError::from)?;
    esp.sync_all().map_err(disk_failed)?;
    Ok(place.running.other())
}

/// The disk of the root, and what is on it. Before the root is mounted, the first one with the partition that the command line names: that
/// is the one which is mounted.
fn find() -> Result<(Disk, Place), PlaceError> {
    let sys = Path::new("/sys");
    let cmdline = Cmdline::parse(&fs::read_to_string("/proc/cmdline").unwrap_or_default());
    place::find(sys, &cmdline).or_else(|why| {
        let guid = place::root_guid(&cmdline).ok_or(PlaceError::NoDisk)?;
        let on = |disk: Disk| place::on(&disk.table().ok()?, guid).ok().map(|place| (disk, place));
        disks::list(sys).into_iter().find_map(on).ok_or(why)
    })
}

/// The ESP, which nobody has mounted, and what to write into it.
fn plan(disk: &Disk, place: &Place) -> Result<(File, Plan), NoFallback> {
    let slot = place.running.other();
    let mut magic = [0; 4];
    let read = File::open(disk.partition_node(place.root.number)).and_then(|mut file| file.read_exact(&mut magic));
    if read.is_err() || magic != *b"hsqs" {
        return Err(NoFallback::NoRoot(slot));
    }
    let node = disk.partition_node(place.esp.number);
    let esp = File::options().read(true).write(true).custom_flags(libc::O_EXCL).open(node);
    let mut esp = esp.map_err(disk_failed)?;
    let plan = fall_back::plan(&mut esp, place::size(&place.esp, place.sector), place.running)?;
    Ok((esp, plan))
}

fn disk_failed(why: io::Error) -> FallBackError {
    FatError::from(why).into()
}
