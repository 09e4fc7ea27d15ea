//! Looking at the metadata again while the node runs: for what is missing after a boot without it, and for changes,
//! which are told to people and wait for the next boot.

use std::{
    hash::{BuildHasher as _, RandomState},
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use super::{Found, Steward, changes, look};
use crate::{
    node::{
        datasource::Platform,
        identity,
        net::{Shared, View},
        seed::Seed,
        userdata::Verdict,
    },
    notice, warning,
};

/// Between two looks, and up to a quarter more: machines that were started together do not ask together.
const PERIOD: Duration = Duration::from_secs(300);
/// The first pause when metadata is missing; each is twice the one before.
const MISSING: Duration = Duration::from_secs(15);
/// Between two looks, whatever happens to the disks.
const LEAST: Duration = Duration::from_secs(2);

/// Begins the finding about metadata that could not be had.
pub(super) const STALE: &str = "stale-metadata: ";
/// Begins the finding about metadata that is not what the node runs with.
const CHANGED: &str = "changed: ";

/// What the node runs with, and what is known to be newer.
#[derive(Debug)]
pub(super) struct Known {
    /// What was applied at this boot.
    applied: Found,
    /// What the next boot without metadata would use.
    remembered: Seed,
    /// What people were told last.
    told: Vec<String>,
    news: Receiver<Seed>,
}

/// What the thread looks with.
#[derive(Debug)]
struct Looker {
    root: PathBuf,
    platform: Platform,
    shared: Arc<Shared>,
    missing: bool,
    /// How things were before the last look: what happens while it lasts counts for the next one.
    seen: View,
}

impl Looker {
    /// Runs until nobody listens.
    fn run(mut self, tell: impl Fn(Seed) -> bool) {
        let mut pause = if self.missing { MISSING } else { PERIOD };
        loop {
            // A new disk may be a seed; a new address may reach one, which matters only when there is none.
            self.shared.wait(jittered(pause), |view| {
                let address = self.missing && view.changes != self.seen.changes;
                (view.devices != self.seen.devices || address).then_some(())
            });
            self.seen = self.shared.view();
            match look::look(&self.root, &self.platform, &self.shared) {
                Ok(seed) => {
                    if !tell(seed) {
                        return;
                    }
                    self.missing = false;
                    pause = PERIOD;
                }
                Err(_) => pause = (pause * 2).min(PERIOD),
            }
            thread::sleep(LEAST);
        }
    }
}

/// A pause and up to a quarter of it more.
fn jittered(pause: Duration) -> Duration {
    let random = u32::try_from(RandomState::new().hash_one(()) % 1000).unwrap_or(0);
    pause + pause * random / 4000
}

impl Steward {
    /// Begins to look again in the background.
    pub(super) fn keep_looking(&self, applied: Found) -> Known {
        let (sender, news) = mpsc::channel();
        let looker = Looker {
            root: self.root.clone(),
            platform: self.platform.clone(),
            shared: Arc::clone(&self.shared),
            missing: applied.stale,
            seen: self.shared.view(),
        };
        thread::spawn(move || looker.run(|seed| sender.send(seed).is_ok()));
        Known { remembered: applied.seed.clone(), applied, told: Vec::new(), news }
    }

    /// Takes what the background found.
    pub(super) fn take_news(&mut self, known: &mut Known) {
        if let Some(seed) = known.news.try_iter().last() {
            self.compare(known, &seed);
        }
    }

    fn compare(&mut self, known: &mut Known, seed: &Seed) {
        if std::mem::take(&mut known.applied.stale) {
            notice!("metadata is there again: {}", seed.source);
            self.find_out(STALE, None);
            self.report.update(|status| status.datasource = Some(seed.source.clone()));
        }
        let mut parts = changes::between(&known.applied.seed, seed);
        // A plan for its verdict only: a running node is not changed under its tasks. What it includes is fetched when it
        // is applied, not again and again.
        let plan = self.plan_with(seed, &mut |_| Err("fetched at the next boot".into()));
        let refused = plan.findings.iter().find(|finding| finding.verdict == Verdict::Refused && !plan.unfetched);
        if self.may_start(&plan) && !changes::between(&known.remembered, seed).is_empty() {
            match identity::remember_seed(&self.root, seed) {
                Ok(()) => known.remembered = seed.clone(),
                Err(error) => warning!("{error}"),
            }
        }
        if let Some(refused) = refused.filter(|_| !parts.is_empty()) {
            parts.push(format!("and it will be {refused}"));
        }
        if parts == known.told {
            return;
        }
        let finding = (!parts.is_empty()).then(|| {
            format!("{CHANGED}{} (from {}): applied when the machine is started again", parts.join(", "), seed.source)
        });
        match &finding {
            Some(finding) => notice!("{finding}"),
            None => notice!("the metadata is again what the node runs with"),
        }
        self.find_out(CHANGED, finding);
        known.told = parts;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_differ_and_stay_near_the_period() {
        let all: Vec<Duration> = (0..100).map(|_| jittered(PERIOD)).collect();
        assert!(all.iter().all(|pause| (PERIOD..PERIOD + PERIOD / 4).contains(pause)));
        assert!(all.iter().any(|pause| *pause != all[0]));
    }
}
