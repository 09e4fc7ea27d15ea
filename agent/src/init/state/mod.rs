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
pub mod table;
pub mod tools;

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sys::stat::{major, minor},
};

use crate::{
    cmdline::Cmdline,
    info, notice, paths,
    sys::{self, PartitionChange},
    warning,
};

use super::{
    disks::{self, Disk},
    gpt::{Guid, Partition, Table},
    system,
    timeline::seconds,
    uevent::Listener,
};
use probe::{Content, UNFINISHED_LABEL};
use table::Durable;
use tools::Check;

/// Time that a disk with room has to appear.
const PATIENCE: Duration = Duration::from_secs(10);
/// A first boot makes a partition only when no disk has appeared for this long: the real one may be just behind.
const QUIET: Duration = Duration::from_millis(100);

/// Why the node has no state partition.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    #[error(
        "there is no state partition and no room for one ({0}): add a blank disk or enlarge the root's, or boot with steppe.state=tmpfs"
    )]
    NoRoom(String),
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

/// A state partition and the disk it lies on.
#[derive(Debug)]
struct Found {
    disk: Disk,
    table: Table,
    partition: Partition,
}

/// Brings `/state` up. When that fails, the directories still work, in memory, so that the node can be reached and can
/// say what is wrong; the error says why, and Nomad must not be started.
pub(super) fn bring_up(cmdline: &Cmdline) -> Result<(), StateError> {
    if cmdline.value("steppe.state") == Some("tmpfs") {
        notice!("state in memory: the command line says steppe.state=tmpfs; nothing outlives this boot");
        return in_memory();
    }
    let result = on_disk();
    if result.is_err()
        && let Err(why) = in_memory()
    {
        warning!("{why}");
    }
    result
}

fn in_memory() -> Result<(), StateError> {
    mount(Some("tmpfs"), paths::STATE, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=0755"))
        .map_err(|source| StateError::Mount { device: "tmpfs".into(), source })?;
    finish()
}

fn finish() -> Result<(), StateError> {
    layout::make(Path::new(paths::STATE)).map_err(StateError::Layout)?;
    layout::bind().map_err(|(name, source)| StateError::Bind { name, source })
}

fn on_disk() -> Result<(), StateError> {
    let mut found = find_or_create()?;
    let device = found.disk.partition_node(found.partition.number);
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
    mount(Some(device), paths::STATE, Some("ext4"), MsFlags::MS_NOATIME | MsFlags::MS_NOSUID, Some("errors=remount-ro"))
        .map_err(|source| StateError::Mount { device: device.to_owned(), source })
}

/// The first bytes of a device; fewer when it is smaller.
fn read_head(device: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(device)?.take(probe::WINDOW as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// Looks for the state partition; makes one when there is none. Disks may appear while it looks.
fn find_or_create() -> Result<Found, StateError> {
    let listener = Listener::open().map_err(|why| warning!("disks that appear later are not seen: {why}")).ok();
    let end = sys::boottime() + PATIENCE;
    let mut told = false;
    loop {
        if let Some(found) = find() {
            return Ok(found);
        }
        let another = listener.as_ref().is_some_and(|listener| listener.wait_for("block", QUIET));
        if another {
            continue;
        }
        if let Some(found) = create()? {
            return Ok(found);
        }
        let left = end.saturating_sub(sys::boottime());
        if !told {
            notice!("no state partition and no room for one; waiting up to {} s for a disk", left.as_secs());
            told = true;
        }
        let waited = listener.as_ref().is_some_and(|listener| !left.is_zero() && listener.wait_for("block", left));
        if !waited {
            return Err(StateError::NoRoom(disks::describe(Path::new("/sys"))));
        }
    }
}

fn find() -> Option<Found> {
    let all = disks::list(Path::new("/sys")).into_iter().filter_map(|disk| {
        let table = disk.table().ok()?;
        let partition = state_partition(&table)?.clone();
        Some(Found { disk, table, partition })
    });
    let mut all: Vec<Found> = all.collect();
    if all.len() > 1 {
        let names: Vec<&str> = all.iter().map(|found| found.disk.name.as_str()).collect();
        warning!("more than one disk has a state partition: {}", names.join(", "));
    }
    let root = root_disk();
    let at = all.iter().position(|found| root.as_ref() == Some(&found.disk)).unwrap_or(0);
    (at < all.len()).then(|| all.swap_remove(at))
}

fn state_partition(table: &Table) -> Option<&Partition> {
    let type_guid = Guid::parse(paths::STATE_TYPE_GUID);
    table.partitions.iter().find(|p| Some(p.type_guid) == type_guid && p.name == paths::STATE_LABEL)
}

/// The disk that the root file system is on; none when it came with the initramfs.
fn root_disk() -> Option<Disk> {
    let device = fs::metadata("/").ok()?.dev();
    disks::of_device(Path::new("/sys"), major(device), minor(device))
}

/// Makes the partition: on the root's disk when that has room, else on a disk that holds nothing at all. `None` when
/// there is neither.
fn create() -> Result<Option<Found>, StateError> {
    if let Some(disk) = root_disk().filter(|disk| !disk.read_only) {
        match create_on(&disk) {
            Err(StateError::Create { source: table::TableError::NoRoom, .. }) => {}
            other => return other.map(Some),
        }
    }
    let blank = disks::list(Path::new("/sys"))
        .into_iter()
        .find(|disk| !disk.read_only && disk.size >= table::SMALLEST + (4 << 20) && is_blank(disk).unwrap_or(false));
    let Some(disk) = blank else { return Ok(None) };
    let failed = |source| StateError::Create { disk: disk.name.clone(), source };
    let mut file = open(&disk)?;
    let guid = system::random().map(Guid).map_err(|why| failed(why.into()))?;
    notice!("the disk {} ({}) is blank: using it for the state", disk.name, disks::human(disk.size));
    table::initialise(&mut file, disk.sector, guid).map_err(failed)?;
    create_on(&disk).map(Some)
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

/// Whether a disk holds nothing: no partitions, and only zero bytes at its start and its end.
fn is_blank(disk: &Disk) -> io::Result<bool> {
    const EDGE: u64 = 1 << 20;
    let mut file = File::open(disk.node())?;
    for at in [SeekFrom::Start(0), SeekFrom::End(-(1 << 20))] {
        file.seek(at)?;
        let mut bytes = Vec::new();
        (&file).take(EDGE).read_to_end(&mut bytes)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
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
