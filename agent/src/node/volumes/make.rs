//! Partition tables and file systems.

use std::{
    fs::{File, OpenOptions},
    io::{Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Machine, VolumeError, find, head, swap};
use crate::{
    init::{
        gpt::{self, Guid},
        state::{
            probe::{Content, probe},
            table::{Durable, TableError},
            tools::ToolError,
        },
    },
    node::{
        sys,
        userdata::{FileSystem, FsSetup, Slot, TableSetup},
    },
    notice,
    sys::{PartitionChange, change_partition},
};

/// Partitions begin at multiples of this, in bytes.
const ALIGN: u64 = 1 << 20;
/// Types of partitions: Linux data, swap (Discoverable Partitions Specification).
const DATA: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";
const SWAP: &str = "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f";

/// Makes the partitions of a disk, unless it has as many.
pub(super) fn table(machine: &Machine<'_>, setup: &TableSetup) -> Result<(), VolumeError> {
    let node = machine.device(&setup.device)?;
    let io = |action| VolumeError::io(action, &node);
    let mut file = exclusive(&node)?;
    let sector = sector(machine.root, &node);
    let parts = setup.layout.parts();
    if gpt::read(&mut file, sector).is_ok_and(|table| table.partitions.len() == parts.len()) {
        return Ok(());
    }
    if !setup.overwrite {
        match probe(&head(&node)?) {
            Content::Blank => {}
            content => return Err(VolumeError::Occupied { device: node, what: describe(&content) }),
        }
    }
    let size = file.seek(SeekFrom::End(0)).map_err(io("measure"))?;
    let placed = place(&parts, size, sector);
    if placed.is_empty() {
        return Err(VolumeError::Unusable { device: node, why: "it is too small for these partitions".into() });
    }
    let list: Vec<([u8; 16], [u8; 16], u64, u64)> = placed
        .iter()
        .map(|(first, last, is_swap)| {
            let kind = Guid::parse(if *is_swap { SWAP } else { DATA }).unwrap_or(Guid([0; 16]));
            (kind.0, guid(), *first, *last)
        })
        .collect();
    let wrong = |source: TableError| VolumeError::Table { device: node.clone(), source };
    let mut disk = Durable(file);
    gpt_table(&mut disk, sector, &list).map_err(wrong)?;
    for (number, (first, last, _)) in (1..).zip(&placed) {
        // The kernel may have seen the new table by itself.
        match change_partition(&disk.0, PartitionChange::Add, number, first * sector, (last - first + 1) * sector) {
            Ok(()) | Err(nix::errno::Errno::EBUSY) => {}
            Err(why) => return Err(io("tell the kernel of the partitions of")(why.into())),
        }
    }
    notice!("{}: {} partitions made", node.display(), placed.len());
    Ok(())
}

/// Opens a device that nothing else uses. A disk with a mounted partition is refused by the kernel (`EBUSY`): no name and no
/// `overwrite` may cost a machine the disk that it runs from.
pub(super) fn exclusive(node: &Path) -> Result<File, VolumeError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(nix::libc::O_EXCL);
    options.open(node).map_err(|error| match error.raw_os_error() {
        Some(nix::libc::EBUSY) => {
            VolumeError::Unusable { device: node.to_owned(), why: "it is in use: it is left as it is".into() }
        }
        _ => VolumeError::io("open for itself", node)(error),
    })
}

/// Refuses the partitions of the machine's own disk. Not all of them are in use while it runs, and it would not start again.
fn foreign(root: &Path, node: &Path) -> Result<(), VolumeError> {
    let event = root.join("sys/class/block").join(node.file_name().unwrap_or_default()).join("uevent");
    let event = std::fs::read_to_string(event).unwrap_or_default();
    match event.lines().find_map(|line| line.strip_prefix("PARTNAME=steppe-")) {
        Some(_) => Err(VolumeError::Unusable { device: node.to_owned(), why: "it is a part of Steppe itself".into() }),
        None => Ok(()),
    }
}

/// First and last sector of each part.
fn place(parts: &[(u8, bool)], size: u64, sector: u64) -> Vec<(u64, u64, bool)> {
    let align = ALIGN / sector;
    // One MiB at each end is more than the tables take.
    let usable = (size / sector).saturating_sub(2 * align) / align * align;
    let mut first = align;
    let mut placed = Vec::new();
    for (n, (share, is_swap)) in parts.iter().enumerate() {
        let end = align + usable;
        let wanted = (usable / 100).saturating_mul(u64::from(*share)) / align * align;
        let rest = n + 1 == parts.len() && parts.iter().map(|(share, _)| u32::from(*share)).sum::<u32>() == 100;
        let stop = if rest { end } else { (first + wanted).min(end) };
        if stop <= first {
            return Vec::new();
        }
        placed.push((first, stop - 1, *is_swap));
        first = stop;
    }
    placed
}

fn gpt_table(disk: &mut Durable, sector: u64, list: &[([u8; 16], [u8; 16], u64, u64)]) -> Result<(), TableError> {
    let mut new = gptman::GPT::new_from(disk, sector, guid())?;
    for (number, (kind, id, first, last)) in (1..).zip(list) {
        new[number] = gptman::GPTPartitionEntry {
            partition_type_guid: *kind,
            unique_partition_guid: *id,
            starting_lba: *first,
            ending_lba: *last,
            attribute_bits: 0,
            partition_name: "".into(),
        };
    }
    gptman::GPT::write_protective_mbr_into(disk, sector)?;
    new.write_into(disk)?;
    std::io::Write::flush(disk)?;
    Ok(())
}

/// A random GUID (RFC 9562, version 4) in a partition table's byte order.
fn guid() -> [u8; 16] {
    let mut bytes = random();
    bytes[7] = bytes[7] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

/// Random bytes, enough for a UUID.
pub(super) fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.chunks_exact_mut(4).for_each(|chunk| chunk.copy_from_slice(&sys::random().to_ne_bytes()));
    bytes
}

fn sector(root: &Path, node: &Path) -> u64 {
    let name = node.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    crate::init::disks::disk(&root.join("sys"), &name).map_or(512, |disk| disk.sector)
}

/// What a person is told is on a device.
fn describe(content: &Content) -> String {
    match content {
        Content::Blank => "nothing".into(),
        Content::Unknown => "data of an unknown kind".into(),
        Content::Ext(ext) if ext.label.is_empty() => "a file system (ext)".into(),
        Content::Ext(ext) => format!("a file system (ext) called {:?}", ext.label),
        Content::Other(name) => (*name).into(),
    }
}

/// Makes a file system, unless it is there.
pub(super) fn file_system(machine: &Machine<'_>, setup: &FsSetup) -> Result<(), VolumeError> {
    let node = match setup.slot {
        Slot::Itself => machine.device(&setup.device)?,
        Slot::Partition(number) => {
            let disk = machine.device(&setup.device)?;
            machine.await_late(&format!("partition {number} of {}", setup.device.0), || {
                Some(partition(&disk, number)).filter(|node| node.exists())
            })?
        }
        Slot::Found => {
            let disk = machine.device(&setup.device)?;
            found(machine.root, &disk, setup)
        }
    };
    foreign(machine.root, &node)?;
    let head = head(&node)?;
    let (kind, label, _) = find::identify(&head);
    let is_wanted = kind == Some(setup.file_system.as_str()) && (setup.label.is_none() || label == setup.label);
    if is_wanted {
        return Ok(());
    }
    match probe(&head) {
        Content::Blank => {}
        content if !setup.overwrite => return Err(VolumeError::Occupied { device: node, what: describe(&content) }),
        _ => {}
    }
    // Closed again before the program opens it, which refuses what is mounted as well.
    drop(exclusive(&node)?);
    if setup.file_system == FileSystem::Swap {
        return swap::header(&node, setup.label.as_deref());
    }
    const TOOL: &str = "/usr/sbin/mke2fs";
    let mut command = Command::new(TOOL);
    command.args(["-q", "-F", "-t", setup.file_system.as_str()]);
    if let Some(label) = &setup.label {
        command.args(["-L", label]);
    }
    let output = command.args(&setup.options).arg(&node).env_clear().output();
    let failed = |source| VolumeError::Tool { device: node.clone(), source };
    let output = output.map_err(|source| failed(ToolError::Run { tool: TOOL, source }))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        return Err(failed(ToolError::Failed { tool: TOOL, code: output.status.to_string(), text }));
    }
    notice!("{}: {} made", node.display(), setup.file_system.as_str());
    Ok(())
}

/// `vdb` and 1: `vdb1`; `nvme0n1` and 1: `nvme0n1p1`.
fn partition(disk: &Path, number: u32) -> PathBuf {
    let text = disk.to_string_lossy();
    let infix = if text.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
    PathBuf::from(format!("{text}{infix}{number}"))
}

/// The part of a disk that has the label and the kind, else its first partition, else the disk.
fn found(root: &Path, disk: &Path, setup: &FsSetup) -> PathBuf {
    let stem = disk.to_string_lossy().into_owned();
    let on_disk: Vec<_> =
        find::volumes(root).into_iter().filter(|volume| volume.node.to_string_lossy().starts_with(&stem)).collect();
    let fits = |v: &&find::Volume| {
        v.kind == Some(setup.file_system.as_str()) && (setup.label.is_none() || v.label == setup.label)
    };
    let by_label = on_disk.iter().find(fits);
    let first = || on_disk.iter().find(|volume| volume.number == Some(1));
    by_label.or_else(first).map_or_else(|| disk.to_owned(), |volume| volume.node.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fill_the_disk_and_do_not_overlap() {
        let placed = place(&[(33, false), (33, true), (34, false)], 1 << 30, 512);
        assert_eq!(placed.len(), 3);
        assert_eq!(placed[0].0, 2048);
        assert!(placed.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0 && pair[0].0 % 2048 == 0));
        assert_eq!(placed[2].1, (1 << 30) / 512 - 2048 - 1);
        assert_eq!(place(&[(50, false)], 1 << 30, 512).len(), 1);
        assert!(place(&[(50, false), (50, false)], 2 << 20, 512).is_empty());
    }

    #[test]
    fn the_machines_own_partitions_are_no_volumes() {
        let root = tempfile::tempdir().unwrap();
        for (name, event) in [("vda1", "PARTN=1\nPARTNAME=steppe-esp\n"), ("vdb1", "PARTN=1\nPARTNAME=data\n")] {
            let dir = root.path().join("sys/class/block").join(name);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("uevent"), event).unwrap();
        }
        let judge = |node: &str| foreign(root.path(), Path::new(node)).map_err(|error| error.to_string());
        assert_eq!(judge("/dev/vda1"), Err("/dev/vda1: it is a part of Steppe itself".into()));
        assert_eq!((judge("/dev/vdb1"), judge("/dev/vdc")), (Ok(()), Ok(())));
    }

    #[test]
    fn partitions_of_names_that_end_with_a_digit() {
        assert_eq!(partition(Path::new("/dev/vdb"), 1), Path::new("/dev/vdb1"));
        assert_eq!(partition(Path::new("/dev/nvme0n1"), 2), Path::new("/dev/nvme0n1p2"));
    }

    #[test]
    fn a_table_is_made_that_is_read_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(64 << 20).unwrap();
        let mut disk = Durable(OpenOptions::new().read(true).write(true).open(file.path()).unwrap());
        let kind = Guid::parse(DATA).unwrap().0;
        gpt_table(&mut disk, 512, &[(kind, guid(), 2048, 40959), (kind, guid(), 40960, 100_000)]).unwrap();
        let table = gpt::read(&mut disk.0, 512).unwrap();
        assert_eq!(table.partitions.iter().map(|p| (p.number, p.first)).collect::<Vec<_>>(), [(1, 2048), (2, 40960)]);
        assert_ne!(table.partitions[0].guid, table.partitions[1].guid);
    }
}
