//! The small things a Unix system is expected to have, each in a few lines.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::{
    sys::{
        resource::{RLIM_INFINITY, Resource, setrlimit},
        socket::{AddressFamily, SockFlag, SockType, socket},
        stat::{Mode, umask},
        time::TimeSpec,
    },
    time::{ClockId, clock_settime},
};

use crate::{notice, sys, warning};

/// Names that programs expect in `/dev`, and what they lead to.
const DEV_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Open files of init and of what it starts, unless a unit says otherwise.
const NOFILE: u64 = 65_536;

/// Makes the links in `/dev`. The kernel's own `ptmx` node leads to another devpts than the one that is mounted.
pub(super) fn link_devices(dev: &Path) -> io::Result<()> {
    for (name, target) in DEV_LINKS {
        let path = dev.join(name);
        match fs::remove_file(&path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
            _ => symlink(target, &path)?,
        }
    }
    Ok(())
}

/// Turns every controller on for the children of the root control group, one by one: a kernel without one of them is no
/// reason to go without the others.
pub(super) fn enable_controllers(cgroup: &Path) -> io::Result<()> {
    for controller in fs::read_to_string(cgroup.join("cgroup.controllers"))?.split_whitespace() {
        if let Err(why) = fs::write(cgroup.join("cgroup.subtree_control"), format!("+{controller}")) {
            warning!("failed to enable the cgroup controller {controller}: {why}");
        }
    }
    Ok(())
}

/// Puts init into a control group of its own, so that the root group holds no process and its numbers are the machine's.
pub(super) fn leave_root_group(group: &Path) -> io::Result<()> {
    fs::create_dir_all(group)?;
    fs::write(group.join("cgroup.procs"), "1")
}

/// Brings the loopback interface up; the kernel gives it its addresses by itself.
pub(super) fn loopback_up() -> nix::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    sys::interface_up(socket, "lo")
}

/// Limits and the file mode mask that everything on the node starts with.
pub(super) fn limits() {
    umask(Mode::from_bits_truncate(0o022));
    let limits = [
        (Resource::RLIMIT_NOFILE, NOFILE),
        (Resource::RLIMIT_CORE, 0),
        // The kernel's default follows the memory; Nomad's tasks are limited by their control groups instead.
        (Resource::RLIMIT_NPROC, RLIM_INFINITY),
    ];
    for (resource, limit) in limits {
        if let Err(why) = setrlimit(resource, limit, limit) {
            warning!("failed to set the limit {resource:?} to {limit}: {why}");
        }
    }
}

/// Sets the clock to the image's time when it stands before it: a machine without a working clock must not believe that
/// every certificate lies in the future.
pub(super) fn clock_not_before(epoch: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    if now.as_secs() >= epoch {
        return;
    }
    let target = TimeSpec::from_duration(Duration::from_secs(epoch));
    match clock_settime(ClockId::CLOCK_REALTIME, target) {
        Ok(()) => notice!("the clock stood before the image was built: set to the image's time"),
        Err(why) => warning!("failed to set the clock: {why}"),
    }
}

/// A machine id in the form of `machine-id(5)`, kept on the state partition so that it survives a reboot.
pub(crate) fn machine_id(kept: &Path, etc: &Path) -> io::Result<()> {
    let id = match fs::read_to_string(kept) {
        Ok(text) if is_machine_id(text.trim()) => text.trim().to_owned(),
        _ => {
            let id = new_machine_id(random()?);
            let part = kept.with_extension("part");
            fs::write(&part, format!("{id}\n"))?;
            File::open(&part)?.sync_all()?;
            fs::rename(&part, kept)?;
            id
        }
    };
    let path = etc.join("machine-id");
    fs::write(&path, format!("{id}\n"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o444))
}

fn is_machine_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) && text.bytes().any(|b| b != b'0')
}

/// The id is also a valid version 4 UUID, which some readers ask for.
fn new_machine_id(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sixteen random bytes from the kernel.
pub(super) fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_id_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        machine_id(&kept, dir.path()).unwrap();
        let first = fs::read_to_string(dir.path().join("machine-id")).unwrap();
        assert!(is_machine_id(first.trim()), "{first}");
        fs::remove_file(dir.path().join("machine-id")).unwrap();
        machine_id(&kept, dir.path()).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("machine-id")).unwrap(), first);
        fs::remove_file(dir.path().join("machine-id")).unwrap();
        fs::write(&kept, "cut of").unwrap();
        machine_id(&kept, dir.path()).unwrap();
        assert_ne!(fs::read_to_string(dir.path().join("machine-id")).unwrap(), first);
    }

    #[test]
    fn new_ids_are_version_four() {
        assert_eq!(new_machine_id([0xff; 16]), "ffffffffffff4fffbfffffffffffffff");
    }

    #[test]
    fn links_replace_what_is_there() {
        let dev = tempfile::tempdir().unwrap();
        fs::write(dev.path().join("ptmx"), "").unwrap();
        link_devices(dev.path()).unwrap();
        link_devices(dev.path()).unwrap();
        assert_eq!(fs::read_link(dev.path().join("ptmx")).unwrap(), Path::new("pts/ptmx"));
        assert_eq!(fs::read_link(dev.path().join("fd")).unwrap(), Path::new("/proc/self/fd"));
    }

    #[test]
    fn every_controller_is_asked_for() {
        let cgroup = tempfile::tempdir().unwrap();
        fs::write(cgroup.path().join("cgroup.controllers"), "cpuset cpu pids\n").unwrap();
        enable_controllers(cgroup.path()).unwrap();
        // A plain file keeps the last write.
        assert_eq!(fs::read_to_string(cgroup.path().join("cgroup.subtree_control")).unwrap(), "+pids");
    }
}
