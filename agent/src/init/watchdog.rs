//! The machine's watchdog: hardware, or the kernel's own timer, that restarts a machine whose init hangs.
//!
//! Opened when it appears; from then on it has to be stroked. It is never closed: a machine that hangs while it shuts down is
//! restarted too.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
    time::Duration,
};

use crate::{info, notice, sys};

use super::devices::Devices;

/// Time after which a hung machine is restarted.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Time between two strokes.
const PERIOD: Duration = Duration::from_secs(15);

/// An open watchdog.
#[derive(Debug)]
pub(super) struct Watchdog {
    file: File,
    next: Duration,
}

impl Watchdog {
    /// The machine's own; on trial, where it has none, the kernel's timer.
    pub(super) fn of_machine(devices: &mut Devices, on_trial: bool) -> Option<Self> {
        let dev = Path::new("/dev");
        Self::open(dev).or_else(|| {
            let why = on_trial.then(|| devices.load("softdog"))?.err();
            if let Some(why) = why {
                info!("no watchdog: {why}");
            }
            Self::open(dev)
        })
    }

    /// Opens the first one below `dev`, if there is one.
    pub(super) fn open(dev: &Path) -> Option<Self> {
        let file = OpenOptions::new().write(true).open(dev.join("watchdog")).ok()?;
        // One that cannot be set has a timeout of its own, which is longer than the period for every known driver.
        let seconds = sys::set_watchdog(&file, TIMEOUT).unwrap_or(TIMEOUT);
        notice!("a watchdog restarts this machine when it hangs for {} s", seconds.as_secs());
        Some(Self { file, next: Duration::ZERO })
    }

    /// When the next stroke is due.
    pub(super) const fn deadline(&self) -> Duration {
        self.next
    }

    /// Strokes it when that is due.
    pub(super) fn stroke(&mut self, now: Duration) {
        if now >= self.next {
            // Any byte but `V`, which would announce that the watchdog is given up. A failed write has no remedy.
            let _ = self.file.write_all(b"\n");
            self.next = now + PERIOD;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_stroked_once_a_period() {
        let dev = tempfile::tempdir().unwrap();
        assert!(Watchdog::open(dev.path()).is_none());
        std::fs::write(dev.path().join("watchdog"), "").unwrap();
        let mut watchdog = Watchdog::open(dev.path()).unwrap();
        for seconds in [100, 101, 114, 115, 200] {
            watchdog.stroke(Duration::from_secs(seconds));
        }
        assert_eq!(std::fs::read(dev.path().join("watchdog")).unwrap(), b"\n\n\n");
        assert_eq!(watchdog.deadline(), Duration::from_secs(215));
    }
}
