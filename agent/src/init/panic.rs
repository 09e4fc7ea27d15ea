//! What happens when PID 1 has a bug: it says so, saves what it can, and the machine starts anew.
//!
//! Without this hook the kernel would report "Attempted to kill init" and nothing about the cause.

use std::{fs::OpenOptions, io::Write as _, panic, thread, time::Duration};

use nix::sys::reboot::{RebootMode, reboot};

use crate::{cmdline::Cmdline, error, sys};

use super::{flush, watchdog};

/// Time between the message and the restart, for a person or a log collector to read it.
const PAUSE: Duration = Duration::from_secs(10);

/// Installs the hook. The first thing PID 1 does.
pub(super) fn install() {
    panic::set_hook(Box::new(|info| {
        let text = format!("init has a bug and cannot go on: {info}");
        error!("{text}");
        if let Ok(mut console) = OpenOptions::new().write(true).open("/dev/console") {
            let _ = writeln!(console, "\r\nsteppe: {text}\r");
        }
        flush::bounded();
        let stays = std::fs::read_to_string("/proc/cmdline").is_ok_and(|text| stays(&Cmdline::parse(&text)));
        if stays {
            error!("staying as it is, because the kernel command line says panic=0");
            loop {
                watchdog::stroke(sys::boottime());
                thread::sleep(PAUSE);
            }
        }
        error!("restarting in {} s", PAUSE.as_secs());
        thread::sleep(PAUSE);
        flush::bounded();
        let _ = reboot(RebootMode::RB_AUTOBOOT);
    }));
}

/// Whether the machine stays for a person to look at: `panic=0`, as for the kernel's own panics.
fn stays(cmdline: &Cmdline) -> bool {
    cmdline.value("panic") == Some("0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_panic_zero_stays() {
        assert!(stays(&Cmdline::parse("panic=10 panic=0")));
        assert!(!stays(&Cmdline::parse("panic=10")));
        assert!(!stays(&Cmdline::parse("quiet")));
    }
}
