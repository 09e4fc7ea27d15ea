//! Swap space: its header (`union swap_header`, `include/linux/swap.h`), a file of it, and switching it on.

use std::{
    fs::{self, OpenOptions},
    io::{Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use nix::fcntl::{FallocateFlags, fallocate};

use super::{Machine, VolumeError, find, head};
use crate::{
    node::{sys, userdata::Swap},
    notice,
};

const PAGE: u64 = 4096;
/// Less than this is not worth a file.
const LEAST: u64 = 1 << 20;

/// The first page of swap space of so many bytes.
fn page(bytes: u64, label: Option<&str>) -> Vec<u8> {
    let mut page = vec![0; 4096];
    let last = u32::try_from(bytes / PAGE).unwrap_or(u32::MAX).saturating_sub(1);
    page[1024..1028].copy_from_slice(&1_u32.to_le_bytes());
    page[1028..1032].copy_from_slice(&last.to_le_bytes());
    page[1036..1052].copy_from_slice(&super::make::random());
    let label = label.unwrap_or("").as_bytes();
    let label = &label[..label.len().min(15)];
    page[1052..1052 + label.len()].copy_from_slice(label);
    page[4086..].copy_from_slice(b"SWAPSPACE2");
    page
}

/// Makes a device swap space.
pub(super) fn header(node: &Path, label: Option<&str>) -> Result<(), VolumeError> {
    let io = |action| VolumeError::io(action, node);
    let mut file = super::make::exclusive(node)?;
    let size = file.seek(SeekFrom::End(0)).map_err(io("measure"))?;
    file.seek(SeekFrom::Start(0)).map_err(io("write"))?;
    file.write_all(&page(size, label)).and_then(|()| file.sync_all()).map_err(io("write"))?;
    notice!("{}: swap made", node.display());
    Ok(())
}

/// Makes the swap file, unless it is there, and switches it on.
pub(super) fn file(machine: &Machine<'_>, swap: &Swap) -> Result<(), VolumeError> {
    let place = machine.root.join(swap.path.trim_start_matches('/'));
    let io = |action| VolumeError::io(action, &place);
    if !head(&place).is_ok_and(|head| find::identify(&head).0 == Some("swap")) {
        let dir = place.parent().unwrap_or(machine.root);
        fs::create_dir_all(dir).map_err(io("make room for"))?;
        let room = nix::sys::statvfs::statvfs(dir).map_err(|why| io("measure")(why.into()))?;
        let free = room.blocks_available().saturating_mul(room.fragment_size());
        let bytes = swap.bytes(memory(machine.root), free);
        if bytes < LEAST {
            return Err(VolumeError::Unusable { device: place, why: "there is no room for it".into() });
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&place)
            .map_err(io("create"))?;
        let length = i64::try_from(bytes).unwrap_or(i64::MAX);
        let made = fallocate(&file, FallocateFlags::empty(), 0, length).map_err(std::io::Error::from);
        let made = made.and_then(|()| file.write_all(&page(bytes, None))).and_then(|()| file.sync_all());
        if let Err(why) = made {
            let _ = fs::remove_file(&place);
            return Err(io("write")(why));
        }
    }
    on(&place)
}

/// Switches swap space on; it may be on.
pub(super) fn on(node: &Path) -> Result<(), VolumeError> {
    match sys::swap_on(node) {
        Ok(()) => {
            notice!("swap on {}", node.display());
            Ok(())
        }
        Err(why) if why.raw_os_error() == Some(nix::errno::Errno::EBUSY as i32) => Ok(()),
        Err(why) => Err(VolumeError::io("switch on", node)(why)),
    }
}

/// Bytes of memory.
fn memory(root: &Path) -> u64 {
    let text = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_known_again() {
        let page = page(1 << 30, Some("memory"));
        let (kind, label, uuid) = find::identify(&page);
        assert_eq!((kind, label.as_deref(), uuid.is_some()), (Some("swap"), Some("memory"), true));
        assert_eq!(page[1028..1032], ((1_u32 << 18) - 1).to_le_bytes());
    }
}
