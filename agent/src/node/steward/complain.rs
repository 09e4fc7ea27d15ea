//! A node whose Nomad may not start: it says why, and watches for what would change that.

use std::time::Duration;

use super::{Steward, changes};
use crate::{
    error,
    node::{clock, report::Waiting, seed::Seed, userdata::Plan},
    notice,
};

/// First pause between looks for a better seed.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Longest pause: a metadata service that is asked for days must not mind.
const LONGEST_LOOK: Duration = Duration::from_secs(30);
/// First pause before what failed is tried again, and the longest.
const RETRY: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(300)];

/// Pause before what user-data includes is asked for again.
const FETCH_AGAIN: Duration = Duration::from_secs(60);

/// Why Nomad is not started.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The user-data was refused; each reason.
    Refused(Vec<String>),
    /// What it asks for could not be done.
    Failed(String),
    /// The disk is a copy of another machine's.
    Copied(String),
}

impl Trouble {
    fn reasons(&self) -> &[String] {
        match self {
            Self::Refused(reasons) => reasons,
            Self::Failed(why) | Self::Copied(why) => std::slice::from_ref(why),
        }
    }

    const fn awaits(&self) -> &'static str {
        match self {
            Self::Refused(_) | Self::Failed(_) => "user-data that can be applied",
            Self::Copied(_) => {
                "a decision about this copy of another machine's disk (steppe.clone=reset or keep, or `steppe: {clone: ...}` in its user-data)"
            }
        }
    }

    const fn advice(&self) -> &'static str {
        match self {
            Self::Refused(_) => "Nomad is not started: correct the user-data and start the machine again",
            Self::Failed(_) => "Nomad is not started: what failed is tried again, and so is changed user-data",
            Self::Copied(_) => "Nomad is not started: nothing on the disk was changed",
        }
    }
}

/// Pauses between attempts, each twice the one before.
#[derive(Debug, Clone)]
pub(super) struct Retry {
    next: Duration,
    longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { next: RETRY[0], longest: RETRY[1] }
    }
}

impl Retry {
    fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }
}

impl Steward {
    /// Applies the plan, again and again with growing pauses when that fails; false when another seed is there.
    pub(super) fn apply_patiently(&mut self, plan: &Plan, seed: &Seed) -> bool {
        let mut retry = Retry::default();
        let mut told = None;
        while let Err(why) = self.apply(plan) {
            let trouble = Trouble::Failed(why);
            if told.as_deref() != Some(trouble.reasons()) {
                self.announce_failed(seed, trouble.reasons());
                told = Some(trouble.reasons().to_vec());
            }
            if self.dwell(&trouble, plan, seed, Some(retry.pause())) {
                return false;
            }
        }
        self.report.awaits(None);
        true
    }

    /// Says what is wrong every ten seconds, until another seed is there.
    pub(super) fn complain(&mut self, trouble: &Trouble, plan: &Plan, seed: &Seed) {
        self.announce_failed(seed, trouble.reasons());
        // What could not be fetched may be there later.
        let limit = plan.unfetched.then_some(FETCH_AGAIN);
        while !self.dwell(trouble, plan, seed, limit) {
            if limit.is_some() {
                notice!("trying again to fetch what the user-data includes");
                return;
            }
        }
    }

    /// Complains until another seed is there (true) or the time is over.
    fn dwell(&mut self, trouble: &Trouble, plan: &Plan, seed: &Seed, limit: Option<Duration>) -> bool {
        self.report.awaits(Some(trouble.awaits()));
        let end = limit.map(|limit| clock::now() + limit);
        let mut waiting = Waiting::default();
        if end.is_some() {
            // The first time at once: the attempt may be the last for minutes.
            self.say(trouble);
        }
        let mut look = clock::now() + LOOK_AGAIN;
        let mut pause = LOOK_AGAIN;
        loop {
            let devices = self.shared.view().devices;
            let now = clock::now();
            let next = [Some(look), end].into_iter().flatten().min().unwrap_or(look).saturating_sub(now);
            let appeared = self.shared.wait(next.min(LOOK_AGAIN), |view| (view.devices != devices).then_some(()));
            // A person who looks for this machine looks for its name.
            if self.report.status().hostname.is_none() && self.shared.view().primary().is_some() {
                self.set_hostname(&self.hostname(plan));
            }
            if waiting.due(clock::now()) {
                self.say(trouble);
            }
            if appeared.is_some() || clock::now() >= look {
                if self.look().is_ok_and(|found| !changes::between(seed, &found).is_empty()) {
                    notice!("the user-data has changed");
                    self.report.awaits(None);
                    return true;
                }
                pause = (pause * 2).min(LONGEST_LOOK);
                look = clock::now() + pause;
            }
            if end.is_some_and(|end| clock::now() >= end) {
                return false;
            }
        }
    }

    fn say(&self, trouble: &Trouble) {
        for reason in trouble.reasons() {
            error!("{reason}");
        }
        error!("{}", trouble.advice());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_get_rarer_and_do_not_end() {
        let mut retry = Retry::default();
        let pauses: Vec<u64> = (0..9).map(|_| retry.pause().as_secs()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
    }
}
