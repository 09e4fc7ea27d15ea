//! The first stage: PID 1 in the initramfs, until the root is found and entered.

use std::{convert::Infallible, ffi::CString, fs, io, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use nix::{
    mount::MsFlags,
    sys::{
        statfs::{TMPFS_MAGIC, statfs},
        utsname::uname,
    },
    unistd::{chdir, chroot, execve},
};

use crate::{cmdline::Cmdline, error, paths};

use super::{
    devices::Devices,
    mounts::{self, Kernel},
    rootfs, stay,
    timeline::Timeline,
    trial, watchdog,
};

/// Whether `/` is still the kernel's own memory file system.
pub(super) fn is_initramfs() -> bool {
    // `RAMFS_MAGIC` of `linux/magic.h`, which nix does not name.
    statfs("/").is_ok_and(|fs| fs.filesystem_type() == TMPFS_MAGIC || fs.filesystem_type().0 == 0x8584_58f6)
}

/// Runs the stage; it ends in the root's init or stays and says why.
pub(super) fn run() -> ! {
    let mut trial = None;
    let Err(why) = enter_root(&mut trial);
    stay::or_fall_back(&why, trial)
}

#[derive(Debug, thiserror::Error)]
enum EarlyError {
    #[error(transparent)]
    Mount(#[from] mounts::MountError),
    #[error(transparent)]
    Root(#[from] rootfs::RootError),
    #[error("failed to make the directory {path}: {source}")]
    Directory { path: &'static str, source: io::Error },
    #[error("failed to switch to the root: {step}: {source}")]
    Switch { step: &'static str, source: nix::Error },
}

/// Leaves in `trial` when a boot on trial ends.
fn enter_root(trial: &mut Option<Duration>) -> Result<Infallible, EarlyError> {
    mounts::setup_at(Path::new("/"), mounts::BASE, &mut Kernel)?;
    let mut timeline = Timeline::default();
    timeline.mark("initramfs");
    let cmdline = Cmdline::parse(&fs::read_to_string("/proc/cmdline").unwrap_or_default());
    let release = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let mut devices = Devices::begin(&release);
    watchdog::arm(&mut devices);
    *trial = trial::early_end(&cmdline, &mut devices);
    timeline.mark("modules");
    // Wrong words on the command line are told before anything is waited for.
    let spec = rootfs::spec(&cmdline, Path::new(paths::EMBEDDED_ROOT).exists())?;
    fs::create_dir_all(paths::SYSROOT).map_err(|source| EarlyError::Directory { path: paths::SYSROOT, source })?;
    rootfs::mount(&spec, &mut devices, *trial, Path::new(paths::SYSROOT))?;
    timeline.hand_over();
    drop(devices);
    switch()
}

/// Makes the mounted root the root of everything and starts its init in this process.
fn switch() -> Result<Infallible, EarlyError> {
    let failed = |step| move |source| EarlyError::Switch { step, source };
    lend_agent().map_err(failed("bind the agent into it"))?;
    for entry in mounts::BASE {
        let target = Path::new(paths::SYSROOT).join(entry.target.trim_start_matches('/'));
        nix::mount::mount(Some(entry.target), &target, None::<&str>, MsFlags::MS_MOVE, None::<&str>)
            .map_err(failed("move the mounts"))?;
    }
    free(Path::new("/"), Path::new(paths::INIT));
    chdir(paths::SYSROOT).map_err(failed("enter it"))?;
    nix::mount::mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>).map_err(failed("move it"))?;
    chroot(".").and_then(|()| chdir("/")).map_err(failed("change the root directory"))?;
    let environment: Vec<CString> =
        watchdog::hand_over().and_then(|text| CString::new(text).ok()).into_iter().collect();
    execve(c"/sbin/init", &[c"/sbin/init"], &environment).map_err(failed("start /sbin/init"))
}

/// Makes this very program, which is in memory already, the agent of the root. Read-only, as all of the root is.
fn lend_agent() -> nix::Result<()> {
    let target = Path::new(paths::SYSROOT).join(paths::AGENT.trim_start_matches('/'));
    nix::mount::mount(Some(paths::INIT), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NODEV;
    nix::mount::mount(None::<&str>, &target, None::<&str>, flags, None::<&str>)
}

/// Deletes what the initramfs holds but one file, so that its memory is free. Other file systems are left alone.
fn free(root: &Path, kept: &Path) {
    let Ok(device) = fs::metadata(root).map(|meta| meta.dev()) else { return };
    if let Err(why) = remove_below(root, device, kept) {
        error!("failed to free the initramfs: {why}");
    }
}

fn remove_below(dir: &Path, device: u64, kept: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let meta = fs::symlink_metadata(&path)?;
        if meta.dev() != device || path == kept {
            continue;
        }
        if meta.is_dir() {
            remove_below(&path, device, kept)?;
            // A directory that holds a mount point stays.
            let _ = fs::remove_dir(&path);
        } else {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freeing_leaves_the_agent_and_other_file_systems_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/c"), "x").unwrap();
        let device = fs::metadata(dir.path()).unwrap().dev();
        let kept = dir.path().join("init");
        fs::write(&kept, "agent").unwrap();
        remove_below(dir.path(), device + 1, &kept).unwrap();
        assert!(dir.path().join("a/b/c").exists());
        remove_below(dir.path(), device, &kept).unwrap();
        assert!(kept.exists() && !dir.path().join("a").exists());
    }
}
