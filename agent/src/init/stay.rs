//! When the boot cannot go on: say why, again and again, and keep the machine as it is until a person ends it.
//!
//! A machine that restarts by itself in this state would loop for ever and take its last words with it. So it does that only when
//! the disk's other slot holds a proven system, which boots then, or when the boot is on trial: the boot loader counts those, so that
//! it ends at its limit here too.

use std::{fmt::Display, os::fd::AsFd as _, path::Path, thread, time::Duration};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};

use crate::{error, notice, notify::Power, sys};

use super::{
    button::{self, Button},
    fallback, flush,
    manager::{Request, wish},
    shutdown,
    timeline::seconds,
    watchdog,
};

/// Time between two messages.
pub(super) const REPEAT: Duration = Duration::from_secs(10);

/// Time that the last words stay on the console when there is another system to fall back to.
const FALL_BACK: Duration = Duration::from_secs(10);

/// The signals that end the machine here, as they do in the loop of PID 1.
const SIGNALS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGPWR];

/// The boot cannot go on. Never returns: the machine restarts into the other slot, when that is proven, or at the end of its trial
/// (a time since the kernel started), or stays.
pub(super) fn or_fall_back(why: &dyn Display, trial: Option<Duration>) -> ! {
    let slot = fallback::switch().map_err(|no| notice!("there is no other system to start: {no}")).ok();
    let text = slot.map(|slot| format!("slot {slot} boots from now on"));
    let end = text.as_deref().map(|text| (sys::boottime() + FALL_BACK, text));
    forever(why, end.or_else(|| trial.map(|at| (at, "the trial failed"))))
}

/// Never returns. Without a time at which the machine restarts, and why, only a person can help, who may still use the power button or
/// Ctrl-Alt-Del.
pub(super) fn forever(why: &dyn Display, end: Option<(Duration, &str)>) -> ! {
    let signals = listen().map_err(|why| error!("failed to listen to signals: {why}")).ok();
    let mut buttons = Vec::new();
    let mut next = sys::boottime();
    loop {
        if sys::boottime() >= next {
            error!("the boot cannot go on ({}): {why}", seconds(sys::boottime()));
            next += REPEAT;
        }
        if let Some((_, why)) = end.filter(|(end, _)| sys::boottime() >= *end) {
            notice!("rebooting: {why}");
            finish(Power::Reboot);
        }
        watchdog::stroke(sys::boottime());
        // Devices may have appeared since the last look.
        button::scan(Path::new("/sys"), Path::new("/dev"), &mut buttons);
        let next_end = end.map_or(next, |(end, _)| next.min(end));
        let left = next_end.saturating_sub(sys::boottime());
        let asked = match &signals {
            Some(signals) => wait(signals, &mut buttons, left),
            None => {
                thread::sleep(left);
                None
            }
        };
        if let Some(request) = asked {
            notice!("ending the machine (asked by {})", request.by);
            finish(request.power);
        }
    }
}

fn finish(power: Power) {
    flush::bounded();
    let Err(why) = shutdown::end(shutdown::mode(power));
    error!("failed to end the machine: {why}");
}

fn listen() -> nix::Result<SignalFd> {
    let set: SigSet = SIGNALS.into_iter().collect();
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// Waits until somebody asks for the end of the machine, for `limit` at most.
fn wait(signals: &SignalFd, buttons: &mut Vec<Button>, limit: Duration) -> Option<Request> {
    let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    fds.extend(buttons.iter().map(|button| PollFd::new(button.fd(), PollFlags::POLLIN)));
    // One millisecond more, so that the rest below a millisecond does not become a busy loop.
    let timeout = PollTimeout::try_from(limit + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
    let _ = poll(&mut fds, timeout);
    drop(fds);
    while let Ok(Some(info)) = signals.read_signal() {
        if let Some(request) = wish(info.ssi_signo) {
            return Some(request);
        }
    }
    button::any_pressed(buttons, |_| true).then(Request::by_button)
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::raise;

    use super::*;

    #[test]
    fn the_machine_can_still_be_ended() {
        let signals = listen().unwrap();
        assert_eq!(wait(&signals, &mut Vec::new(), Duration::ZERO), None);
        for (signal, power) in [(Signal::SIGINT, Power::Reboot), (Signal::SIGTERM, Power::Off)] {
            raise(signal).unwrap();
            let request = wait(&signals, &mut Vec::new(), Duration::from_secs(60)).unwrap();
            assert_eq!(request.power, power, "{signal}");
        }
    }
}
