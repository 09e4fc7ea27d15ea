//! Writing everything out, when the disk that should take it may be the reason why the machine ends.
//!
//! A dead disk must not keep the machine from ending, and a slow one must not lose what it is given: what counts is not how long the
//! writing takes, but whether less is left all the time.

use std::{
    fs,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use nix::unistd::sync;

use crate::{error, notice, sys};

use super::{stay::REPEAT, watchdog};

/// How long the disks may take nothing of what is left.
pub(super) const LIMIT: Duration = Duration::from_secs(15);
/// How long the writing may take in all.
const LONGEST: Duration = Duration::from_secs(600);
/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Begins to write out what is not on the disks yet; waits for nothing.
pub(super) fn begin() {
    // What fails here is done at the end.
    let _ = thread::Builder::new().name("sync".into()).spawn(sync);
}

/// Writes out what is not on the disks yet, and waits as long as they take it.
pub(super) fn bounded() {
    if !within(LIMIT, sync) {
        error!("the disks do not answer; going on without them");
    }
}

/// Runs `work` beside this thread; false when it is not done and the disks took nothing for `limit`. It is left to itself then: a
/// call that the kernel does not finish cannot be ended.
fn within(limit: Duration, work: impl FnOnce() + Send + 'static) -> bool {
    let (done, finished) = mpsc::channel::<()>();
    let work = move || {
        work();
        drop(done);
    };
    thread::Builder::new().name("sync".into()).spawn(work).is_ok()
        && watch(limit, |time| finished.recv_timeout(time) != Err(RecvTimeoutError::Timeout))
}

/// Looks how much is left, and has the machine's watchdog know that init lives, until `done`, which waits for the given time at most,
/// says so. False when the disks took nothing for `limit`, or need too long.
pub(super) fn watch(limit: Duration, done: impl Fn(Duration) -> bool) -> bool {
    let begin = sys::boottime();
    let (mut progress, mut said) = (Progress::begin(begin), begin);
    while !done(LOOK.min(limit)) {
        let now = sys::boottime();
        watchdog::stroke(now);
        let left = unwritten(&fs::read_to_string("/proc/meminfo").unwrap_or_default());
        if progress.stalled(left, now, limit) || now - begin >= LONGEST {
            return false;
        }
        if now >= said + REPEAT {
            notice!("{left} kB are still to be written");
            said = now;
        }
    }
    true
}

/// What is not on the disks yet, in kB, from `/proc/meminfo` (`proc_meminfo(5)`).
fn unwritten(meminfo: &str) -> u64 {
    let value = |line: &str| {
        let value = line.strip_prefix("Dirty:").or_else(|| line.strip_prefix("Writeback:"))?;
        value.split_whitespace().next()?.parse::<u64>().ok()
    };
    meminfo.lines().filter_map(value).fold(0, u64::saturating_add)
}

/// How the writing goes.
#[derive(Debug)]
struct Progress {
    left: u64,
    /// When it was less than before.
    fell: Duration,
}

impl Progress {
    fn begin(now: Duration) -> Self {
        Self { left: 0, fell: now }
    }

    /// So much is left at `now`: true when it has not become less for `limit`.
    fn stalled(&mut self, left: u64, now: Duration, limit: Duration) -> bool {
        if left < self.left {
            self.fell = now;
        }
        self.left = left;
        now.saturating_sub(self.fell) >= limit
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn work_that_does_not_end_is_left_alone() {
        let (release, held) = mpsc::channel::<()>();
        assert!(!within(Duration::ZERO, move || {
            let _ = held.recv();
        }));
        drop(release);
        assert!(within(Duration::from_secs(60), || {}));
    }

    #[test]
    fn what_is_left_is_dirty_or_on_its_way() {
        let text =
            "MemTotal: 2014112 kB\nDirty:              1200 kB\nWriteback:            34 kB\nWritebackTmp: 5 kB\n";
        assert_eq!(unwritten(text), 1234);
        assert_eq!(unwritten("Dirty:\nDirty: x\nWriteback: 18446744073709551615 kB\nDirty: 1"), u64::MAX);
    }

    /// The second at which the disks are given up, one sample a second from the first on.
    fn given_up(samples: impl IntoIterator<Item = u64>) -> Option<u64> {
        let mut progress = Progress::begin(Duration::ZERO);
        let mut seconds = samples.into_iter().zip(1..);
        seconds.find_map(|(left, at)| progress.stalled(left, Duration::from_secs(at), LIMIT).then_some(at))
    }

    #[test]
    fn slow_disks_are_waited_for_and_dead_ones_are_not() {
        // 4 GB at 20 MB/s.
        assert_eq!(given_up((0..200).map(|at| 4_000_000 - at * 20_000)), None);
        assert_eq!(given_up([4_000_000; 60]), Some(15));
        // Nothing is left, and the call does not return.
        assert_eq!(given_up([0; 60]), Some(15));
        // One that dies on its way.
        assert_eq!(given_up([900, 800, 700, 600].into_iter().chain([600; 60])), Some(4 + 15));
        // More is written meanwhile: by the logs, and by file systems that are unmounted.
        assert_eq!(given_up((0..10).flat_map(|_| [0, 10, 20, 30, 30, 30, 30, 30, 30, 30, 30, 30])), None);
    }

    proptest! {
        #[test]
        fn any_text_has_a_number(text: String) {
            unwritten(&text);
        }

        #[test]
        fn only_what_took_nothing_for_the_limit_is_given_up(runs in proptest::collection::vec((0_u64..4, 1_usize..20), 0..8)) {
            let samples: Vec<u64> = runs.into_iter().flat_map(|(left, times)| vec![left; times]).collect();
            let seconds = 1..=samples.len();
            let falls = seconds.skip(1).filter(|at| samples[at - 1] < samples[at - 2]);
            let falls: Vec<usize> = [0].into_iter().chain(falls).collect();
            let quiet = |from: &usize| from + 15 <= samples.len() && !falls.iter().any(|at| (from + 1..=from + 15).contains(at));
            let expected = falls.iter().copied().find(|from| quiet(from)).map(|from| from as u64 + 15);
            prop_assert_eq!(given_up(samples), expected);
        }
    }
}
