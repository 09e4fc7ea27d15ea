//! The state partition: everything that outlives a boot.
//!
//! It is found by its type and name in the partition tables of all disks, made at the first boot, checked at every
//! other, grown when its disk grew. It is formatted only when it holds nothing that is recognised, not even the
//! [`backup`] of a superblock, or a file system whose making was interrupted, which its label tells:
//! [`probe::UNFINISHED_LABEL`] is replaced by the final label, in one journalled write, after everything else is in
//! place.

pub mod backup;
mod layout;
pub mod probe;
mod search;
pub mod table;
pub mod tools;

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
};

use crate::{
    cmdline::Cmdline,
    info, notice, paths,
    sys::{self, PartitionChange},
    warning,
};

use super::{
    devices::Devices,
    disks::{self, Disk},
    gpt::{Guid, Partition},
    mend, mounts, system,
    timeline::seconds,
};
use probe::{Content, UNFINISHED_LABEL};
use search::Found;
use table::Durable;
use tools::Check;

/// Time that a disk with room has to appear.
const PATIENCE: Duration = Duration::from_secs(10);
/// A first boot makes a partition only when no disk has appeared for this long: the real one may be just behind.
const QUIET: Duration = Duration::from_millis(100);
/// A blank disk that is not the root's is used only when no disk has appeared for this long: nothing but its emptiness
/// says that it is meant, and the one with the state may be slower.
const BLANK_QUIET: Duration = Duration::from_secs(3);
/// Looks of one late attempt, each of which ends early when a disk appears.
const ATTEMPTS: usize = 5;
/// Time between two attempts.
const RETRY: Duration = Duration::from_secs(1);

/// Why the node has no state partition.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    #[error(
        "there is no state partition and no room for one ({0}): add a blank disk or enlarge the root's, or boot with steppe.state=tmpfs"
    )]
    NoRoom(String),
    #[error("the disk {disk} may hold the state but cannot be read: {source}")]
    Unreadable { disk: String, source: io::Error },
    #[error(
        "more than one disk has a state partition and none of them is the root's ({0}): none is used; remove all but one"
    )]
    Several(String),
    #[error("failed to make the state partition on {disk}: {source}")]
    Create { disk: String, source: table::TableError },
    #[error("failed to open {path}: {source}")]
    Open { path: PathBuf, source: io::Error },
    #[error("failed to tell the kernel about partition {number} of {disk}: {source}")]
    Kernel { disk: String, number: u32, source: Errno },
    #[error("the state partition {device} holds {content}: it is not formatted; remove the partition or its content")]
    NotOurs { device: PathBuf, content: &'static str },
    #[error("the state partition {device} is not used: {why} ({text})")]
    Broken { device: PathBuf, why: &'static str, text: String },
    #[error(
        "the state partition {device} is not used: its superblock is damaged, but a backup of it is there; it is not formatted; repair it from another system: e2fsck -b {block} -B {block_size} {device}"
    )]
    Superblock { device: PathBuf, block: u64, block_size: u64 },
    #[error(transparent)]
    Tool(#[from] tools::ToolError),
    #[error("failed to mount {device} on {path}: {source}", path = paths::STATE)]
    Mount { device: PathBuf, source: Errno },
    #[error("failed to make the directories of the state partition: {0}")]
    Layout(io::Error),
    #[error("failed to name the file system on {device}: {source}")]
    Label { device: PathBuf, source: Errno },
    #[error("failed to bind {path} of the state partition over /{name}: {source}", path = paths::STATE)]
    Bind { name: &'static str, source: Errno },
}

/// Brings `/state` up. When that fails, the directories still work, in memory, so that the node can be reached and can
/// say what is wrong; the error says why, and Nomad must not be started.
pub(super) fn bring_up(cmdline: &Cmdline, devices: &mut Devices) -> Result<(), StateError> {
    if cmdline.value("steppe.state") == Some("tmpfs") {
        notice!("state in memory: the command line says steppe.state=tmpfs; nothing outlives this boot");
        return in_memory();
    }
    let result = on_disk(devices);
    if result.is_err()
        && let Err(why) = in_memory()
    {
        warning!("{why}");
    }
    result
}

/// Tries again, when a disk appeared after [`bring_up`] had given up. Until the state partition is mounted nothing changes;
/// then it lies over what was in memory, so whoever has files open below `/var` and the like has to be started anew.
pub(super) fn try_again(devices: &mut Devices) -> Result<(), StateError> {
    let mut found = attempt(devices)?;
    for _ in 0..ATTEMPTS {
        if found.is_none() {
            found = attempt(devices)?;
        }
    }
    let before = layout::devices();
    let result = use_found(found.ok_or_else(no_room)?);
    if result.is_err() {
        layout::uncover(&before);
    }
    result
}

fn in_memory() -> Result<(), StateError> {
    mount(Some("tmpfs"), paths::STATE, Some("tmpfs"), mounts::written(Path::new("/")), Some("mode=0755"))
        .map_err(|source| StateError::Mount { device: "tmpfs".into(), source })?;
    finish()
}

fn finish() -> Result<(), StateError> {
    layout::make(Path::new(paths::STATE)).map_err(StateError::Layout)?;
    layout::bind().map_err(|(name, source)| StateError::Bind { name, source })
}

fn on_disk(devices: &mut Devices) -> Result<(), StateError> {
    use_found(find_or_create(devices)?)
}

/// Checks or makes the file system and puts it in its places.
fn use_found(mut found: Found) -> Result<(), StateError> {
    let device = mend::partition(&found.disk, &found.table, found.partition.number);
    let content = read_head(&device).map(|head| probe::probe(&head));
    let content = content.map_err(|source| StateError::Open { path: device.clone(), source })?;
    match content {
        Content::Other(content) => return Err(StateError::NotOurs { device, content }),
        Content::Ext(ext) if ext.label != UNFINISHED_LABEL => {
            check(&device, ext.clean)?;
            grow_partition(&mut found)?;
            mount_on_state(&device)?;
            grow_file_system(&found, &ext);
            return finish();
        }
        Content::Ext(_) => notice!("the file system on {} was never finished: making it anew", device.display()),
        Content::Blank | Content::Unknown => refuse_damaged(&device)?,
    }
    let size = disks::human((found.partition.last - found.partition.first + 1) * found.disk.sector);
    notice!("formatting the state partition {} ({size})", device.display());
    tools::format(&device)?;
    mount_on_state(&device)?;
    finish()?;
    let label = |source| StateError::Label { device: device.clone(), source };
    let root = File::open(paths::STATE).map_err(|source| StateError::Open { path: paths::STATE.into(), source })?;
    // First everything else, then the name that says so.
    nix::unistd::syncfs(&root).map_err(label)?;
    sys::set_label(&root, paths::STATE_LABEL).map_err(label)?;
    nix::unistd::syncfs(&root).map_err(label)
}

/// Refuses a partition that only looks new, because its superblock is damaged.
fn refuse_damaged(device: &Path) -> Result<(), StateError> {
    let found = File::open(device).and_then(|mut file| backup::find(&mut file));
    match found.map_err(|source| StateError::Open { path: device.to_owned(), source })? {
        Some((place, ext)) if ext.label != UNFINISHED_LABEL => {
            Err(StateError::Superblock { device: device.to_owned(), block: place.block, block_size: place.block_size })
        }
        _ => Ok(()),
    }
}

fn check(device: &Path, clean: bool) -> Result<(), StateError> {
    if !clean {
        notice!("the state partition {} was not unmounted in order: checking it", device.display());
    }
    let begin = sys::boottime();
    let (verdict, text) = tools::check(device)?;
    match verdict {
        Check::Broken(why) => return Err(StateError::Broken { device: device.to_owned(), why, text }),
        Check::Repaired => notice!("the state partition {} was repaired: {text}", device.display()),
        Check::Clean if !clean => notice!("the state partition {} is sound: {text}", device.display()),
        Check::Clean => {}
    }
    info!("checked {} in {}", device.display(), seconds(sys::boottime() - begin));
    Ok(())
}

fn mount_on_state(device: &Path) -> Result<(), StateError> {
    let flags = MsFlags::MS_NOATIME | mounts::written(Path::new("/"));
    mount(Some(device), paths::STATE, Some("ext4"), flags, Some("errors=remount-ro"))
        .map_err(|source| StateError::Mount { device: device.to_owned(), source })
}

/// The first bytes of a device; fewer when it is smaller.
fn read_head(device: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(device)?.take(probe::WINDOW as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// Looks for the state partition; makes one when there is none. Disks may appear while it looks.
fn find_or_create(devices: &mut Devices) -> Result<Found, StateError> {
    let end = sys::boottime() + PATIENCE;
    let mut told = false;
    loop {
        let left = end.saturating_sub(sys::boottime());
        let why = match attempt(devices) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) if !left.is_zero() => continue,
            Ok(None) => return Err(no_room()),
            Err(why @ (StateError::NoRoom(_) | StateError::Unreadable { .. })) if !left.is_zero() => why,
            Err(why) => return Err(why),
        };
        if !told {
            notice!("waiting up to {} s for a disk: {why}", left.as_secs());
            told = true;
        }
        // A disk that could not be read is read again; nothing tells when it can be.
        quiet(devices, left.min(RETRY));
    }
}

fn no_room() -> StateError {
    StateError::NoRoom(disks::describe(Path::new("/sys")))
}

/// Looks once; `None` when a disk appeared meanwhile.
fn attempt(devices: &mut Devices) -> Result<Option<Found>, StateError> {
    if let Some(found) = search::state()? {
        return Ok(Some(found));
    }
    if !quiet(devices, QUIET) {
        return Ok(None);
    }
    if let Some(found) = create_beside_root()? {
        return Ok(Some(found));
    }
    if search::blank_disk()?.is_none() {
        return Err(no_room());
    }
    if !quiet(devices, BLANK_QUIET) {
        return Ok(None);
    }
    // That was a long time: what was true before it is looked at again.
    if let Some(found) = search::state()? {
        return Ok(Some(found));
    }
    let disk = search::blank_disk()?.ok_or_else(no_room)?;
    claim(&disk).map(Some)
}

/// Waits for `time` or until a disk appears; true when none did.
fn quiet(devices: &mut Devices, time: Duration) -> bool {
    !devices.wait_for("block", time)
}

/// Makes the partition on the root's disk; `None` when there is no such disk or no room on it.
fn create_beside_root() -> Result<Option<Found>, StateError> {
    let Some(disk) = search::root_disk().filter(|disk| !disk.read_only) else { return Ok(None) };
    match create_on(&disk) {
        Err(StateError::Create { source: table::TableError::NoRoom, .. }) => Ok(None),
        other => other.map(Some),
    }
}

/// Makes the partition on a disk that holds nothing at all.
fn claim(disk: &Disk) -> Result<Found, StateError> {
    let failed = |source| StateError::Create { disk: disk.name.clone(), source };
    let mut file = open(disk)?;
    let guid = system::random().map(Guid).map_err(|why| failed(why.into()))?;
    notice!("the disk {} ({}) is blank: using it for the state", disk.name, disks::human(disk.size));
    table::initialise(&mut file, disk.sector, guid).map_err(failed)?;
    create_on(disk)
}

fn open(disk: &Disk) -> Result<Durable, StateError> {
    let path = disk.node();
    let file = File::options().read(true).write(true).open(&path);
    file.map(Durable).map_err(|source| StateError::Open { path, source })
}

fn create_on(disk: &Disk) -> Result<Found, StateError> {
    let failed = |source| StateError::Create { disk: disk.name.clone(), source };
    let mut file = open(disk)?;
    let guid = system::random().map(Guid).map_err(|why| failed(why.into()))?;
    let partition = table::add_state(&mut file, disk.sector, guid).map_err(failed)?;
    tell_kernel(disk, &file.0, PartitionChange::Add, &partition)?;
    notice!("made the state partition {}", disk.partition_node(partition.number).display());
    let table = super::gpt::read(&mut file, disk.sector).map_err(|why| failed(why.into()))?;
    Ok(Found { disk: disk.clone(), table, partition })
}

fn tell_kernel(disk: &Disk, file: &File, change: PartitionChange, partition: &Partition) -> Result<(), StateError> {
    let (start, length) = (partition.first * disk.sector, (partition.last - partition.first + 1) * disk.sector);
    sys::change_partition(file, change, partition.number, start, length).map_err(|source| StateError::Kernel {
        disk: disk.name.clone(),
        number: partition.number,
        source,
    })
}

/// Extends the partition when the space behind it became free: the disk was enlarged.
fn grow_partition(found: &mut Found) -> Result<(), StateError> {
    let sectors = found.disk.size / found.disk.sector;
    let Some(last) = table::new_end(&found.table, &found.partition, sectors) else { return Ok(()) };
    let mut file = open(&found.disk)?;
    table::extend(&mut file, found.disk.sector, found.partition.number, last)
        .map_err(|source| StateError::Create { disk: found.disk.name.clone(), source })?;
    found.partition.last = last;
    tell_kernel(&found.disk, &file.0, PartitionChange::Resize, &found.partition)
}

/// Grows the mounted file system to its partition. A failure costs the new space and nothing else.
fn grow_file_system(found: &Found, ext: &probe::Ext) {
    let bytes = (found.partition.last - found.partition.first + 1) * found.disk.sector;
    let blocks = bytes / ext.block_size;
    // Below a mebibyte there is nothing to win.
    if blocks <= ext.blocks + (1 << 20) / ext.block_size {
        return;
    }
    let (old, new) = (disks::human(ext.blocks.saturating_mul(ext.block_size)), disks::human(bytes));
    match File::open(paths::STATE).map_err(|_| Errno::ENOENT).and_then(|dir| sys::resize_ext4(&dir, blocks)) {
        Ok(()) => notice!("the state partition grew from {old} to {new}"),
        Err(why) => warning!("failed to grow the state partition from {old} to {new}: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn a_partition_without_its_superblock_is_refused_unless_nobody_ever_used_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(16 << 20).unwrap();
        refuse_damaged(file.path()).unwrap();
        let at = 8193 * 1024;
        file.as_file().write_all_at(&[0x53, 0xef], at + 56).unwrap();
        file.as_file().write_all_at(b"steppe-state", at + 120).unwrap();
        let why = refuse_damaged(file.path()).unwrap_err().to_string();
        let repair = format!("e2fsck -b 8193 -B 1024 {}", file.path().display());
        assert!(why.contains("it is not formatted") && why.ends_with(&repair), "{why}");
        file.as_file().write_all_at(b"steppe-new\0\0", at + 120).unwrap();
        refuse_damaged(file.path()).unwrap();
    }
}
