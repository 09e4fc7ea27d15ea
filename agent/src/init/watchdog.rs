//! The machine's watchdog: hardware, or the kernel's own timer, that restarts a machine whose init hangs.
//!
//! The initramfs stage opens it, as soon as its driver is there, and the root's stage goes on with it: from then on it has to be
//! stroked. What is not covered is what comes before: the kernel, and init until it has loaded the first modules.
//! It is never closed: a machine that hangs while it shuts down is restarted too.
//!
//! Where there is no hardware, the kernel's timer (`softdog`) serves during the boot, and on trial until the system is blessed. Not
//! for ever: a host that keeps a virtual machine from running for a minute, for a snapshot say, would find it restarted.

use std::{
    env,
    fs::{File, OpenOptions},
    io::Write as _,
    os::fd::AsRawFd as _,
    path::Path,
    sync::{
        Mutex,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::{info, notice, sys};

use super::devices::Devices;

/// Time after which a hung machine is restarted.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Time between two strokes.
const PERIOD: Duration = Duration::from_secs(15);
/// Time that programs may take which init has to wait for: a check of a large file system.
const BUSY: Duration = Duration::from_secs(3600);
/// The variable of the environment with the descriptor that the initramfs stage leaves open.
const HANDED: &str = "STEPPE_WATCHDOG";

/// That of the machine. A device can be opened once, and whoever waits in init has to stroke it.
static MACHINE: Mutex<Option<Watchdog>> = Mutex::new(None);

/// An open watchdog.
#[derive(Debug)]
struct Watchdog {
    file: File,
    /// Whether it is the kernel's timer.
    soft: bool,
    next: Duration,
}

/// Opens the machine's own, or else the kernel's timer.
pub(super) fn arm(devices: &mut Devices) {
    let dev = Path::new("/dev");
    let opened = Watchdog::open(dev, false).or_else(|| {
        if let Err(why) = devices.load("softdog") {
            info!("no watchdog: {why}");
        }
        Watchdog::open(dev, true)
    });
    with(|machine| *machine = opened);
    stroke(sys::boottime());
}

/// Leaves it open for the program that this process becomes; gives what that has to find in its environment.
pub(super) fn hand_over() -> Option<String> {
    with(|machine| {
        let Watchdog { file, soft, .. } = machine.as_ref()?;
        fcntl(file, FcntlArg::F_SETFD(FdFlag::empty())).ok()?;
        Some(format!("{HANDED}={} {soft}", file.as_raw_fd()))
    })
}

/// Goes on with what the initramfs stage left, or opens what only this stage has a driver for.
pub(super) fn adopt() {
    let handed = env::var(HANDED).ok().and_then(|text| {
        let (descriptor, soft) = text.split_once(' ')?;
        let file = sys::inherited(descriptor.parse().ok()?)?;
        Some(Watchdog { file, soft: soft == "true", next: Duration::ZERO })
    });
    let dev = Path::new("/dev");
    let own = match &handed {
        Some(handed) if !handed.soft => None,
        _ => Watchdog::open(dev, false),
    };
    let left = if own.is_some() { handed.and_then(Watchdog::put_away) } else { handed };
    with(|machine| *machine = own.or(left));
    stroke(sys::boottime());
}

/// The system has proven itself, or is not on trial: the kernel's timer has done its work.
pub(super) fn proven() {
    with(|machine| *machine = machine.take().and_then(|own| if own.soft { own.put_away() } else { Some(own) }));
}

/// When the next stroke is due.
pub(super) fn deadline() -> Option<Duration> {
    with(|machine| machine.as_ref().map(|own| own.next))
}

/// Strokes it when that is due. Whatever waits in init for longer than a few seconds calls this.
pub(super) fn stroke(now: Duration) {
    with(|machine| machine.as_mut().map(|own| own.stroke(now)));
}

/// Does what may take long, such as a check of a file system, and has the watchdog stroked meanwhile, for an hour at most.
pub(super) fn while_busy<T>(work: impl FnOnce() -> T) -> T {
    let (done, wait) = mpsc::channel::<()>();
    let end = sys::boottime() + BUSY;
    let helper = thread::Builder::new().name("watchdog".into()).spawn(move || {
        while wait.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) && sys::boottime() < end {
            stroke(sys::boottime());
        }
    });
    let result = work();
    drop(done);
    if let Ok(helper) = helper {
        let _ = helper.join();
    }
    result
}

fn with<T>(what: impl FnOnce(&mut Option<Watchdog>) -> T) -> T {
    what(&mut MACHINE.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

impl Watchdog {
    /// Opens the first one below `dev` that is free.
    fn open(dev: &Path, soft: bool) -> Option<Self> {
        let names = ["watchdog", "watchdog1"];
        let file = names.iter().find_map(|name| OpenOptions::new().write(true).open(dev.join(name)).ok())?;
        // One that cannot be set has a timeout of its own, which is longer than the period for every known driver.
        let seconds = sys::set_watchdog(&file, TIMEOUT).unwrap_or(TIMEOUT);
        let which = if soft { "the kernel's timer" } else { "a watchdog" };
        notice!("{which} restarts this machine when it hangs for {} s", seconds.as_secs());
        Some(Self { file, soft, next: Duration::ZERO })
    }

    fn stroke(&mut self, now: Duration) {
        if now >= self.next {
            // Any byte but `V`, which would announce that the watchdog is given up. A failed write has no remedy.
            let _ = self.file.write_all(b"\n");
            self.next = now + PERIOD;
        }
    }

    /// Stops it. One that cannot be stopped is stroked on.
    fn put_away(self) -> Option<Self> {
        sys::stop_watchdog(&self.file).is_err().then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_stroked_once_a_period() {
        let dev = tempfile::tempdir().unwrap();
        assert!(Watchdog::open(dev.path(), false).is_none());
        std::fs::write(dev.path().join("watchdog1"), "").unwrap();
        let mut watchdog = Watchdog::open(dev.path(), true).unwrap();
        for seconds in [100, 101, 114, 115, 200] {
            watchdog.stroke(Duration::from_secs(seconds));
        }
        assert_eq!(std::fs::read(dev.path().join("watchdog1")).unwrap(), b"\n\n\n");
        assert_eq!(watchdog.next, Duration::from_secs(215));
        // What cannot be stopped has to be stroked on.
        assert!(watchdog.put_away().is_some());
    }

    #[test]
    fn work_that_takes_long_gives_its_result() {
        assert_eq!(while_busy(|| 7), 7);
    }
}
