//! The guest's clock: a starved machine may measure its processor's frequency wrong and then runs several times too fast.
//!
//! The kernel measures the time stamp counter against an emulated timer early in the boot. Under TCG on a busy host that goes wrong now
//! and then; telling it the frequency (`tsc_early_khz=`) avoids that, and the line in which it states what it believes tells whether
//! it worked.

use crate::vm::console::{Console, Mark};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How far the guest's belief may be from the truth, as a fraction.
const TOLERANCE: f64 = 0.02;

/// How much faster than the host's clock the guest's time stamps may advance; a wrong frequency makes them several times faster.
const FAST: f64 = 1.33;

/// Why the guest's clock cannot be trusted.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum TscError {
    #[error("the guest believes in {guest_mhz} MHz, but the processor has {host_mhz:.3}: its clock runs wrong")]
    WrongFrequency { guest_mhz: f64, host_mhz: f64 },
    #[error("{guest:.1} s passed in the guest while {host:.1} s passed outside: its clock runs fast")]
    Fast { guest: f64, host: f64 },
}

/// The frequency of this processor's time stamp counter in kHz, measured once against the monotonic clock.
#[must_use]
pub fn host_tsc_khz() -> u64 {
    static MEASURED: OnceLock<u64> = OnceLock::new();
    *MEASURED.get_or_init(|| {
        // Preemption between reading the counter and the clock spoils a measurement; the middle one of five is good.
        let mut measurements: Vec<u64> = (0..5).map(|_| measure(Duration::from_millis(20))).collect();
        measurements.sort_unstable();
        measurements[2]
    })
}

fn measure(interval: Duration) -> u64 {
    let (start, counter) = (Instant::now(), crate::sys::time_stamp_counter());
    std::thread::sleep(interval);
    let (elapsed, ticks) = (start.elapsed(), crate::sys::time_stamp_counter().wrapping_sub(counter));
    u64::try_from(u128::from(ticks) * 1_000_000 / elapsed.as_nanos()).unwrap_or(u64::MAX)
}

/// What to append to the command line of an emulated guest's kernel: the frequency of its counter, and that the timer works. The
/// kernel counts ticks during a short busy loop to find that out, and panics when a busy host delivers too few.
#[must_use]
pub fn clock_arguments() -> String {
    format!("tsc_early_khz={} no_timer_check", host_tsc_khz())
}

/// Checks the guest's clock from its console after `mark`: what it says of its processor's frequency (at `loglevel=7`), and how its
/// time stamps advance against the host's clock.
///
/// # Errors
/// When the frequency is off by more than 2 %, or the guest's time runs faster than the host's by more than a third. Nothing is wrong
/// with a clock of which there is too little to see.
pub fn check_clock(console: &Console, mark: Mark) -> Result<(), TscError> {
    let lines = console.lines_after(mark);
    #[allow(clippy::cast_precision_loss, reason = "a frequency in kHz is far below 2^52")]
    let host_mhz = host_tsc_khz() as f64 / 1000.0;
    // The last one: the kernel may state a refined value later.
    if let Some(guest_mhz) = lines.iter().filter_map(|line| detected_mhz(&line.text)).next_back()
        && (guest_mhz / host_mhz - 1.0).abs() > TOLERANCE
    {
        return Err(TscError::WrongFrequency { guest_mhz, host_mhz });
    }
    let stamps = lines.iter().filter_map(|line| Some((guest_seconds(&line.text)?, line.at.as_secs_f64())));
    match fastest(stamps) {
        Some((guest, host)) if guest > host * FAST => Err(TscError::Fast { guest, host }),
        _ => Ok(()),
    }
}

/// The longest stretch of one boot, in seconds of the guest and of the host, of the boot in which the guest's time ran fastest.
///
/// A stretch begins a second after the boot's first line: the first lines were kept in the guest until the console was there.
fn fastest(stamps: impl Iterator<Item = (f64, f64)>) -> Option<(f64, f64)> {
    let mut boots: Vec<BootClock> = Vec::new();
    for stamp in stamps {
        match boots.last_mut() {
            Some(boot) if stamp.0 >= boot.end.0 => boot.advance(stamp),
            _ => boots.push(BootClock { first: stamp.0, begin: stamp, end: stamp }),
        }
    }
    let stretches = boots.iter().map(|boot| (boot.end.0 - boot.begin.0, boot.end.1 - boot.begin.1));
    let long = stretches.filter(|(guest, _)| *guest >= 2.0);
    long.max_by(|one, other| (one.0 * other.1).total_cmp(&(other.0 * one.1)))
}

/// Pairs of guest and host seconds of one boot: where a stretch begins, and its end so far.
struct BootClock {
    first: f64,
    begin: (f64, f64),
    end: (f64, f64),
}

impl BootClock {
    fn advance(&mut self, stamp: (f64, f64)) {
        if self.begin.0 < self.first + 1.0 {
            self.begin = stamp;
        }
        self.end = stamp;
    }
}

/// The time stamp of a kernel message, `[    1.380232] text`.
fn guest_seconds(line: &str) -> Option<f64> {
    let (stamp, _) = line.strip_prefix('[')?.split_once("] ")?;
    stamp.contains('.').then(|| stamp.trim().parse().ok())?
}

/// The number in `tsc: Detected 2595.124 MHz processor` or `tsc: Refined TSC clocksource calibration: 2595.099 MHz`.
fn detected_mhz(line: &str) -> Option<f64> {
    let rest =
        line.split_once("tsc: Detected ").or_else(|| line.split_once("tsc: Refined TSC clocksource calibration: "))?.1;
    rest.split_once(" MHz")?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_its_belief_in_two_ways() {
        assert_eq!(detected_mhz("[    0.000000] tsc: Detected 2595.124 MHz processor"), Some(2595.124));
        assert_eq!(detected_mhz("[    1.9] tsc: Refined TSC clocksource calibration: 2600.001 MHz"), Some(2600.001));
        for other in ["tsc: Fast TSC calibration using PIT", "tsc: Detected x MHz processor", "tsc: Detected 12"] {
            assert_eq!(detected_mhz(other), None);
        }
    }

    #[test]
    fn a_wrong_belief_is_found() {
        use std::io::Write as _;
        let console = Console::new("vm", None);
        let (ours, mut guest) = std::os::unix::net::UnixStream::pair().unwrap();
        console.attach(ours).unwrap();
        assert!(check_clock(&console, Mark::default()).is_ok());
        let mut say = |mhz: u64| {
            let mark = console.mark();
            guest.write_all(format!("tsc: Detected {mhz}.000 MHz processor\n").as_bytes()).unwrap();
            console.wait_after(mark, "MHz", &crate::Deadline::seconds(10)).unwrap();
            check_clock(&console, mark)
        };
        assert!(say(host_tsc_khz() / 1000).is_ok());
        assert!(matches!(say(host_tsc_khz() / 16_000), Err(TscError::WrongFrequency { .. })));
    }

    #[test]
    fn time_stamps_show_a_clock_that_runs_fast() {
        assert_eq!(guest_seconds("[    1.380232] audit: type=2000"), Some(1.380_232));
        for other in ["[1] x", "1.38] x", "[ 1.x] y", "GUEST ready"] {
            assert_eq!(guest_seconds(other), None);
        }
        // The first lines come at once; then ten seconds pass inside and outside.
        let good = [(0.0, 5.0), (0.3, 5.0), (1.4, 6.1), (11.4, 16.1)];
        assert_eq!(fastest(good.into_iter()), Some((10.0, 10.000_000_000_000_002)));
        // A second boot runs fast.
        let bad = [(0.0, 20.0), (2.0, 20.5), (12.0, 22.5)];
        assert_eq!(fastest(good.into_iter().chain(bad)), Some((10.0, 2.0)));
        assert_eq!(fastest([(0.0, 0.0), (1.5, 1.0), (2.0, 1.1)].into_iter()), None);
    }

    #[test]
    fn the_host_measures_the_same_twice() {
        let (first, second) = (host_tsc_khz(), measure(Duration::from_millis(50)));
        assert!(first.abs_diff(second) * 20 < first, "{first} kHz, then {second} kHz");
    }
}
