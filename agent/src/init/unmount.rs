//! Taking the file systems with data out of use before the machine ends.

use std::{fs, path::Path};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::sync,
};

use crate::{sys, warning};

use super::mountinfo::{self, Mount, lies_below};

/// Rounds of unmounting: a mount may be kept busy by one that only goes in the same round.
const ROUNDS: usize = 3;

/// What has to be unmounted, the latest first: everything that lies on a disk but the root, and whatever is mounted on
/// top of it (Nomad's `secrets` directories, bind mounts of tasks).
#[must_use]
pub fn plan(mounts: &[Mount]) -> Vec<&Mount> {
    let on_disk = |mount: &&Mount| mount.target != "/" && mount.source.starts_with("/dev/");
    let below: Vec<&str> = mounts.iter().filter(on_disk).map(|mount| mount.target.as_str()).chain(["/state"]).collect();
    let wanted = |mount: &&Mount| mount.target != "/" && below.iter().any(|dir| lies_below(&mount.target, dir));
    mounts.iter().filter(wanted).rev().collect()
}

/// Files and devices that memory is moved out to (`/proc/swaps`).
fn swaps(text: &str) -> impl Iterator<Item = &str> {
    text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).filter(|path| path.starts_with('/'))
}

/// Unmounts what can be unmounted and makes the rest read-only. Returns the targets that stayed.
pub(super) fn all() -> Vec<String> {
    // First of all, in case what follows does not come to its end.
    sync();
    // A swap file keeps its file system busy.
    for path in swaps(&fs::read_to_string("/proc/swaps").unwrap_or_default()) {
        if let Err(why) = sys::swap_off(path) {
            warning!("failed to take {path} out of use: {why}");
        }
    }
    for _ in 0..ROUNDS {
        let mounts = current();
        let plan = plan(&mounts);
        if plan.is_empty() {
            return Vec::new();
        }
        for mount in plan {
            // Busy ones have their next round.
            let _ = umount2(Path::new(&mount.target), MntFlags::UMOUNT_NOFOLLOW);
        }
    }
    let mounts = current();
    let left = plan(&mounts);
    for mount in left.iter().filter(|mount| mount.source.starts_with("/dev/")) {
        if let Err(why) = remount_read_only(&mount.target) {
            warning!("failed to make {} read-only: {why}", mount.target);
        }
    }
    sync();
    left.into_iter().map(|mount| mount.target.clone()).collect()
}

fn current() -> Vec<Mount> {
    mountinfo::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

fn remount_read_only(target: &str) -> Result<(), Errno> {
    mount(None::<&str>, target, None::<&str>, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, None::<&str>)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_space_by_its_path() {
        let text = "Filename\t\tType\t\tSize\tUsed\tPriority\n/var/swap.img file 1 0 -2\n/dev/vdb2 partition 1 0 -3\n";
        assert_eq!(swaps(text).collect::<Vec<_>>(), ["/var/swap.img", "/dev/vdb2"]);
        assert_eq!(swaps("").count(), 0);
    }

    #[test]
    fn the_latest_first_and_nothing_of_the_system() {
        let text = "\
22 1 254:2 / / ro - squashfs /dev/vda2 ro
23 22 0:20 / /run rw - tmpfs tmpfs rw
25 22 254:3 / /state rw - ext4 /dev/vda3 rw
26 22 254:3 /var /var rw - ext4 /dev/vda3 rw
27 26 0:40 / /var/lib/nomad/alloc/x/secrets rw - tmpfs tmpfs rw
28 26 0:41 / /variety rw - tmpfs tmpfs rw
";
        let mounts = mountinfo::parse(text);
        let targets: Vec<&str> = plan(&mounts).iter().map(|mount| mount.target.as_str()).collect();
        assert_eq!(targets, ["/var/lib/nomad/alloc/x/secrets", "/var", "/state"]);
    }

    #[test]
    fn a_state_in_memory_goes_too() {
        let mounts =
            mountinfo::parse("22 1 0:1 / / ro - squashfs /dev/loop0 ro\n25 22 0:9 / /state rw - tmpfs tmpfs rw\n");
        assert_eq!(plan(&mounts).len(), 1);
    }
}
