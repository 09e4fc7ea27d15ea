//! Writing everything out, when the disk that should take it may be the reason why the machine ends.

use std::{sync::mpsc, thread, time::Duration};

use nix::unistd::sync;

use crate::error;

/// Time for data that is not written yet. A dead disk must not keep the machine from ending.
const LIMIT: Duration = Duration::from_secs(10);

/// Writes out what is not on the disks yet, but does not wait for longer than they may take.
pub(super) fn bounded() {
    if !within(LIMIT, sync) {
        error!("the disks do not answer; going on without them");
    }
}

/// Runs `work` beside this thread; false when it is not done after `limit`. It is left to itself then: a call that the
/// kernel does not finish cannot be ended.
fn within(limit: Duration, work: impl FnOnce() + Send + 'static) -> bool {
    let (done, finished) = mpsc::channel();
    let work = move || {
        work();
        // Nobody listens any more when it took too long.
        let _ = done.send(());
    };
    thread::Builder::new().name("sync".into()).spawn(work).is_ok() && finished.recv_timeout(limit).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_does_not_end_is_left_alone() {
        let (release, held) = mpsc::channel::<()>();
        assert!(!within(Duration::from_millis(20), move || {
            let _ = held.recv();
        }));
        drop(release);
        assert!(within(Duration::from_secs(60), || {}));
    }
}
