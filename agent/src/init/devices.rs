//! Devices as they appear: the kernel's events, and the modules that they ask for.

use std::{
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{sys, warning};

use super::{
    modules::{Loader, ModuleError},
    uevent::{Listener, Uevent},
};

/// What a stage knows of the machine's devices. Whoever reads the events through it gets their drivers loaded.
#[derive(Debug)]
pub(super) struct Devices {
    listener: Option<Listener>,
    loader: Loader,
    sys: PathBuf,
    /// The last block of the root of which the kernel said that it is corrupted ([`Uevent::corrupted`]).
    pub(super) corrupted: Option<String>,
}

impl Devices {
    /// Listens, and then loads the modules of the file system at `/`: those that every machine gets, and those for the
    /// devices that are there. What appears later has an event.
    pub(super) fn begin(release: &str) -> Self {
        let listener = Listener::open().map_err(|why| warning!("devices that appear later are not seen: {why}")).ok();
        let mut devices =
            Self { listener, loader: Loader::new(Path::new("/"), release), sys: "/sys".into(), corrupted: None };
        if let Err(why) = devices.loader.always().and_then(|_| devices.settle()) {
            warning!("failed to load the modules: {why}");
        }
        devices
    }

    /// None, and no events.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { listener: None, loader: Loader::new(Path::new("/none"), ""), sys: "/none".into(), corrupted: None }
    }

    /// Loads drivers until no new devices appear: the driver of a bus finds further ones, and the kernel says so before the
    /// loading of that driver returns. Those that take longer have their events read later.
    fn settle(&mut self) -> Result<(), ModuleError> {
        while self.loader.present(&self.sys)? > 0 && self.listener.is_none() {}
        while !self.drain().is_empty() {}
        Ok(())
    }

    /// Loads a module that the image offers by name.
    ///
    /// # Errors
    /// When the image does not offer it, or the kernel refuses it.
    pub(super) fn load(&mut self, module: &str) -> Result<(), ModuleError> {
        self.loader.named(module)
    }

    /// The descriptor of the events, for a poll loop.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(Listener::fd)
    }

    /// The events that arrived; the drivers of new devices are loaded before they are given back.
    pub(super) fn drain(&mut self) -> Vec<Uevent> {
        let events = self.listener.as_ref().map(Listener::drain).unwrap_or_default();
        self.loader.events(&self.sys, &events);
        let corrupted = events.iter().rev().find_map(|event| event.corrupted.clone());
        self.corrupted = corrupted.or(self.corrupted.take());
        events
    }

    /// Waits until an event of the subsystem arrives, or until the time is over; true when one arrived.
    pub(super) fn wait_for(&mut self, subsystem: &str, limit: Duration) -> bool {
        let end = sys::boottime() + limit;
        loop {
            let left = end.saturating_sub(sys::boottime());
            match self.fd() {
                Some(fd) => {
                    // One millisecond more, so that the rest below a millisecond does not become a busy loop.
                    let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
                    let _ = poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout);
                }
                None => thread::sleep(left),
            }
            if self.drain().iter().any(|event| event.subsystem == subsystem || event.is_overrun()) {
                return true;
            }
            if left.is_zero() {
                return false;
            }
        }
    }
}
