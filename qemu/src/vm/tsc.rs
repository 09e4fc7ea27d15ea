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

/// Why the guest's clock cannot be trusted.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum TscError {
    #[error("the kernel printed no `tsc: Detected ... MHz processor` line")]
    NoLine,
    #[error("the guest believes in {guest_mhz} MHz, but the processor has {host_mhz:.3}: its clock runs wrong")]
    Wrong { guest_mhz: f64, host_mhz: f64 },
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

/// What to append to a guest kernel's command line, `tsc_early_khz=2600000` for instance.
#[must_use]
pub fn tsc_argument() -> String {
    format!("tsc_early_khz={}", host_tsc_khz())
}

/// Checks what the guest believes its processor's frequency to be, from its console after `mark`.
///
/// # Errors
/// When it is off by more than 2 %, or the kernel did not say (`loglevel` below 6 or `quiet`).
pub fn check_clock(console: &Console, mark: Mark) -> Result<(), TscError> {
    let lines = console.lines_after(mark);
    // The last one: the kernel may state a refined value later.
    let guest_mhz = lines.iter().filter_map(|line| detected_mhz(&line.text)).next_back().ok_or(TscError::NoLine)?;
    #[allow(clippy::cast_precision_loss, reason = "a frequency in kHz is far below 2^52")]
    let host_mhz = host_tsc_khz() as f64 / 1000.0;
    if (guest_mhz / host_mhz - 1.0).abs() > TOLERANCE {
        return Err(TscError::Wrong { guest_mhz, host_mhz });
    }
    Ok(())
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
        assert!(matches!(check_clock(&console, Mark::default()), Err(TscError::NoLine)));
        let mut say = |mhz: u64| {
            let mark = console.mark();
            guest.write_all(format!("tsc: Detected {mhz}.000 MHz processor\n").as_bytes()).unwrap();
            console.wait_after(mark, "MHz", &crate::Deadline::seconds(10)).unwrap();
            check_clock(&console, mark)
        };
        assert!(say(host_tsc_khz() / 1000).is_ok());
        assert!(matches!(say(host_tsc_khz() / 16_000), Err(TscError::Wrong { .. })));
    }

    #[test]
    fn the_host_measures_the_same_twice() {
        let (first, second) = (host_tsc_khz(), measure(Duration::from_millis(50)));
        assert!(first.abs_diff(second) * 20 < first, "{first} kHz, then {second} kHz");
    }
}
