//! Finding the root file system.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{errno::Errno, mount::MsFlags};

use crate::{cmdline::Cmdline, error, notice, paths, sys};

use super::{
    devices::Devices,
    disks, fallback,
    gpt::{self, Guid},
    mend,
    modules::ModuleError,
    stay,
    verity::{self, RootHash, VerityError},
    watchdog,
};

/// Time that a disk has to appear before the message becomes an error.
const DEADLINE: Duration = Duration::from_secs(30);

/// Time after which a root that does not appear gives way to the other slot's, if that has one.
const GIVE_WAY: Duration = Duration::from_secs(60);

/// Where the root is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootSpec {
    /// A file in the initramfs (netboot).
    Embedded,
    /// A partition and one with its hashes, found and verified by the root hash.
    Verity(RootHash),
    /// A partition, by its GUID.
    Partition(Guid),
    /// A device node.
    Device(PathBuf),
}

/// Why there is no root.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Nothing says where it is.
    #[error(
        "the kernel command line has neither roothash= nor root= and the initramfs has no {path}: use roothash=<64 digits>",
        path = paths::EMBEDDED_ROOT
    )]
    Missing,
    /// Not a form that is known.
    #[error("root={0} on the kernel command line is not understood: use root=PARTUUID=<guid> or root=/dev/<name>")]
    Unknown(String),
    /// Not a root hash.
    #[error(
        "roothash={0} on the kernel command line is not a SHA-256: use roothash= and the 64 digits that the image's manifest has"
    )]
    Hash(String),
    /// It is not there, and another system is.
    #[error("there is no sign of {0}")]
    Absent(String),
    /// The root cannot be verified.
    #[error(transparent)]
    Verity(#[from] VerityError),
    /// Its first blocks are not those that were built.
    #[error(
        "the root is not the one that was built: it does not come out at roothash=; write this slot of the disk anew, or start the other one"
    )]
    Corrupted,
    /// A module that the root needs.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// The loop device failed.
    #[error("failed to set up a loop device for {path}: {step}: {source}", path = paths::EMBEDDED_ROOT)]
    Loop {
        /// What was tried.
        step: &'static str,
        /// Why.
        source: Errno,
    },
    /// The file system cannot be mounted.
    #[error("failed to mount {device} as squashfs: {source}")]
    Mount {
        /// The device.
        device: PathBuf,
        /// Why.
        source: Errno,
    },
}

/// What the command line asks for. A root inside the initramfs wins: it came with this very kernel.
///
/// # Errors
/// When there is no root or its form is not known.
pub fn spec(cmdline: &Cmdline, embedded: bool) -> Result<RootSpec, RootError> {
    if embedded {
        return Ok(RootSpec::Embedded);
    }
    if let Some(value) = cmdline.value("roothash") {
        return RootHash::parse(value).map(RootSpec::Verity).ok_or_else(|| RootError::Hash(value.to_owned()));
    }
    let value = cmdline.value("root").filter(|value| !value.is_empty()).ok_or(RootError::Missing)?;
    let guid = value.strip_prefix("PARTUUID=").and_then(Guid::parse);
    let device = value.strip_prefix("/dev/").filter(|rest| !rest.is_empty()).map(|_| PathBuf::from(value));
    guid.map(RootSpec::Partition).or(device.map(RootSpec::Device)).ok_or_else(|| RootError::Unknown(value.to_owned()))
}

/// Mounts the root read-only on `target`; waits for its device and says so, for as long as it takes unless there is another
/// system, or the boot is on trial and that ends (`trial`, a time since the kernel started).
pub(super) fn mount(
    spec: &RootSpec,
    devices: &mut Devices,
    trial: Option<Duration>,
    target: &Path,
) -> Result<(), RootError> {
    let partition = |devices: &mut Devices, what: &str, guid: Guid| {
        wait(devices, trial, &format!("the {what} partition PARTUUID={guid}"), &mut || find(guid))
    };
    let device = match spec {
        RootSpec::Embedded => {
            devices.load("loop")?;
            loop_device()?
        }
        RootSpec::Verity(root_hash) => {
            devices.load("dm-verity")?;
            let data = partition(devices, "root", root_hash.data)?;
            let hashes = partition(devices, "hash", root_hash.hashes)?;
            let device = verity::open(&data, &hashes, root_hash)?;
            notice!("the root is {}, verified by {}", data.display(), hashes.display());
            device
        }
        RootSpec::Partition(guid) => partition(devices, "root", *guid)?,
        RootSpec::Device(path) => wait(devices, trial, &format!("the root device {}", path.display()), &mut || {
            path.exists().then(|| path.clone())
        })?,
    };
    nix::mount::mount(Some(&device), target, Some("squashfs"), MsFlags::MS_RDONLY | MsFlags::MS_NODEV, None::<&str>)
        .map_err(
            |source| if verity::is_corrupted() { RootError::Corrupted } else { RootError::Mount { device, source } },
        )
}

fn wait(
    devices: &mut Devices,
    trial: Option<Duration>,
    what: &str,
    find: &mut dyn FnMut() -> Option<PathBuf>,
) -> Result<PathBuf, RootError> {
    let start = sys::boottime();
    let mut next_message = stay::REPEAT;
    loop {
        if let Some(found) = find() {
            return Ok(found);
        }
        let now = sys::boottime();
        let waited = now - start;
        let failed = trial.is_some_and(|end| now >= end);
        if failed || waited >= next_message {
            let text = format!("{what} ({} s); {}", waited.as_secs(), disks::describe(Path::new("/sys")));
            if waited < DEADLINE {
                notice!("waiting for {text}");
            } else {
                error!("still no sign of {text}");
            }
            if failed || (waited >= GIVE_WAY && fallback::is_there()) {
                return Err(RootError::Absent(what.to_owned()));
            }
            next_message += stay::REPEAT;
        }
        watchdog::stroke(sys::boottime());
        let next = trial.map_or(start + next_message, |end| end.min(start + next_message));
        devices.wait_for("block", next.saturating_sub(now));
    }
}

/// The node of a partition: as the kernel names it, else from the disks' own tables.
fn find(guid: Guid) -> Option<PathBuf> {
    let sys = Path::new("/sys");
    disks::by_partuuid(sys, &guid.to_string()).or_else(|| {
        disks::list(sys).iter().find_map(|disk| {
            let table = disk.table().ok()?;
            let number = number_of(&table, guid)?;
            Some(mend::partition(disk, &table, number)).filter(|node| node.exists())
        })
    })
}

fn number_of(table: &gpt::Table, guid: Guid) -> Option<u32> {
    table.partitions.iter().find(|partition| partition.guid == guid).map(|partition| partition.number)
}

fn loop_device() -> Result<PathBuf, RootError> {
    let failed = |step| move |source| RootError::Loop { step, source };
    let io = |step| {
        move |why: std::io::Error| RootError::Loop { step, source: Errno::from_raw(why.raw_os_error().unwrap_or(0)) }
    };
    let backing = File::open(paths::EMBEDDED_ROOT).map_err(io("open the file"))?;
    let control =
        File::options().read(true).write(true).open("/dev/loop-control").map_err(io("open /dev/loop-control"))?;
    let number = sys::free_loop_device(&control).map_err(failed("find a free device"))?;
    let path = PathBuf::from(format!("/dev/loop{number}"));
    let device = File::open(&path).map_err(io("open the device"))?;
    sys::configure_loop(&device, &backing).map_err(failed("attach the file"))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_root() {
        let guid = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
        let of = |text: &str| spec(&Cmdline::parse(text), false);
        assert_eq!(of(&format!("root=PARTUUID={guid}")).unwrap(), RootSpec::Partition(Guid::parse(guid).unwrap()));
        assert_eq!(of("root=/dev/vda2").unwrap(), RootSpec::Device("/dev/vda2".into()));
        let hash = "598f3a882d4f8fb852b02bcc23437e51480d4d2bbb1e239125eb3b042ce21385";
        let verified = of(&format!("root=/dev/vda2 roothash={hash}")).unwrap();
        assert_eq!(verified, RootSpec::Verity(RootHash::parse(hash).unwrap()), "what is verified wins");
        assert_eq!(spec(&Cmdline::parse("root=/dev/vda2"), true).unwrap(), RootSpec::Embedded);
    }

    #[test]
    fn a_wrong_or_missing_root_says_what_to_write() {
        for (text, part) in [
            ("quiet", "has neither roothash= nor root="),
            ("root=", "has neither roothash= nor root="),
            ("roothash=123 root=/dev/vda2", "roothash=123 on the kernel command line is not a SHA-256"),
            ("root=PARTUUID=1", "root=PARTUUID=1 on the kernel command line is not understood"),
            ("root=LABEL=x", "root=LABEL=x on the kernel command line is not understood"),
            ("root=/dev/", "root=/dev/ on the kernel command line is not understood"),
        ] {
            let why = spec(&Cmdline::parse(text), false).unwrap_err().to_string();
            assert!(why.contains(part) && why.contains("use root"), "{why}");
        }
    }
}
