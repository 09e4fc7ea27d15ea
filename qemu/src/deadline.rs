//! Points in time by which something must have happened, stretched on slow machines.

use std::time::{Duration, Instant};

/// Variable that multiplies every deadline once more, for machines slower than the ones this was measured on.
pub const SCALE_VARIABLE: &str = "STEPPE_TIME_SCALE";

/// How much longer things take than on a quiet host with KVM.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeScale(f64);

impl TimeScale {
    /// No stretching.
    pub const ONE: Self = Self(1.0);

    /// A factor; anything that is not a number of at least 0.1 counts as 1.
    #[must_use]
    pub fn new(factor: f64) -> Self {
        if factor.is_finite() && factor >= 0.1 { Self(factor) } else { Self::ONE }
    }

    /// This scale times the value of `STEPPE_TIME_SCALE`, if that is set to a number.
    #[must_use]
    pub fn with_environment(self) -> Self {
        let extra = std::env::var(SCALE_VARIABLE).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1.0);
        Self::new(self.0 * Self::new(extra).0)
    }

    /// The factor itself.
    #[must_use]
    pub fn factor(self) -> f64 {
        self.0
    }

    /// `base` stretched.
    #[must_use]
    pub fn stretch(self, base: Duration) -> Duration {
        base.mul_f64(self.0)
    }

    /// The deadline that is `base`, stretched, from now.
    #[must_use]
    pub fn deadline(self, base: Duration) -> Deadline {
        Deadline::after(self.stretch(base))
    }
}

/// A point on the monotonic clock, with the time that was allowed to reach it (for messages).
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    end: Instant,
    allowed: Duration,
}

impl Deadline {
    /// The point `allowed` from now. Not stretched; see [`TimeScale::deadline`].
    #[must_use]
    pub fn after(allowed: Duration) -> Self {
        Self { end: Instant::now() + allowed, allowed }
    }

    /// [`Deadline::after`] in whole seconds.
    #[must_use]
    pub fn seconds(allowed: u64) -> Self {
        Self::after(Duration::from_secs(allowed))
    }

    /// What is left; zero when it has passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    #[must_use]
    pub fn expired(&self) -> bool {
        self.remaining().is_zero()
    }

    /// The time there was in all.
    #[must_use]
    pub fn allowed(&self) -> Duration {
        self.allowed
    }

    /// Calls `attempt` until it gives a value or the deadline passes, with `pause` between two calls.
    ///
    /// For things that cannot be waited for, such as an HTTP API that has no blocking query for them.
    pub fn poll<T>(&self, pause: Duration, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
        loop {
            if let Some(value) = attempt() {
                return Some(value);
            }
            if self.expired() {
                return None;
            }
            std::thread::sleep(pause.min(self.remaining()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_stretches_and_ignores_nonsense() {
        assert_eq!(TimeScale::new(4.0).stretch(Duration::from_secs(45)), Duration::from_secs(180));
        for nonsense in [f64::NAN, f64::INFINITY, 0.0, -3.0] {
            assert_eq!(TimeScale::new(nonsense), TimeScale::ONE);
        }
    }

    #[test]
    fn polling_makes_a_last_attempt_and_then_gives_up() {
        let mut calls = 0;
        let outcome: Option<()> = Deadline::after(Duration::ZERO).poll(Duration::from_secs(60), || {
            calls += 1;
            None
        });
        assert_eq!((outcome, calls), (None, 1));
        assert_eq!(Deadline::seconds(60).poll(Duration::from_secs(60), || Some(7)), Some(7));
    }
}
