//! The boot's timeline: when each phase was reached.
//!
//! The initramfs stage leaves its part in a file on `/run`, which moves along into the root.

use std::{fs, path::PathBuf, time::Duration};

use crate::{notice, paths, status::Mark, sys};

/// Marks that are kept at most; what follows is only printed. A phase that is reported in a loop must not fill memory.
const MAX_MARKS: usize = 64;

/// The phases so far.
#[derive(Debug, Default)]
pub(super) struct Timeline(Vec<Mark>);

fn handover() -> PathBuf {
    PathBuf::from(paths::RUN_DIR).join("timeline.json")
}

impl Timeline {
    /// Takes over what the initramfs stage left.
    pub(super) fn resume() -> Self {
        let text = fs::read(handover()).unwrap_or_default();
        let _ = fs::remove_file(handover());
        Self(serde_json::from_slice(&text).unwrap_or_default())
    }

    /// Leaves the marks to the next stage.
    pub(super) fn hand_over(&self) {
        let text = serde_json::to_vec(&self.0).unwrap_or_default();
        let _ = fs::create_dir_all(paths::RUN_DIR).and_then(|()| fs::write(handover(), text));
    }

    /// Marks a phase as reached now and says so.
    pub(super) fn mark(&mut self, phase: &str) {
        let at = sys::boottime();
        notice!("phase {phase} at {}", seconds(at));
        if self.0.len() < MAX_MARKS {
            let at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
            self.0.push(Mark { phase: phase.to_owned(), at_ms });
        }
    }

    /// The marks.
    pub(super) fn marks(&self) -> &[Mark] {
        &self.0
    }
}

/// A time or duration for people: `2.31 s`.
#[must_use]
pub fn seconds(time: Duration) -> String {
    format!("{}.{:02} s", time.as_secs(), time.subsec_millis() / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_digits() {
        assert_eq!(seconds(Duration::from_millis(2_319)), "2.31 s");
        assert_eq!(seconds(Duration::from_millis(60_050)), "60.05 s");
    }

    #[test]
    fn marks_are_bounded() {
        let mut timeline = Timeline::default();
        (0..100).for_each(|i| timeline.mark(&format!("p{i}")));
        assert_eq!(timeline.marks().len(), MAX_MARKS);
        assert_eq!(timeline.marks()[0].phase, "p0");
    }
}
