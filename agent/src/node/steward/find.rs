//! Finding the seed: look, wait for something to change, look again. There is no end to it: a node without metadata
//! has nothing better to do, and goes on when it appears.

use std::time::Duration;

use super::{Found, Steward};
use crate::{
    node::{
        clock,
        datasource::{self, Detection, Look, Outcome},
        identity::{self, Identity},
        report::Waiting,
        seed::Seed,
    },
    notice, warning,
};

/// How long media may take to appear before the last good seed is used: without and with a hint that there are any.
const MEDIA: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];
/// The same for a source on the network, which first needs an address.
const NETWORK: Duration = Duration::from_secs(60);
/// First pause between looks when nothing changes.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Steward {
    /// Waits for a seed.
    pub(super) fn find(&mut self) -> Found {
        let start = clock::now();
        let patience = self.patience();
        let mut waiting = Waiting::default();
        let mut pause = FIRST_PAUSE;
        let mut said = String::new();
        loop {
            let before = self.shared.view();
            let what = match self.look() {
                Ok(seed) => {
                    notice!("metadata from {}", seed.source);
                    self.report.awaits(None);
                    return Found { seed, stale: false };
                }
                Err(what) => what,
            };
            if clock::now().saturating_sub(start) >= patience
                && let Some(seed) = identity::last_good(&self.root)
            {
                warning!("stale-metadata: nothing but {what}; using what {} said at an earlier boot", seed.source);
                self.report.awaits(None);
                return Found { seed, stale: true };
            }
            waiting.tick(&what);
            if said != what {
                self.report.awaits(Some(&what));
                said.clone_from(&what);
            }
            let changed = self.shared.wait(pause, |view| {
                let new = view.devices != before.devices || view.changes != before.changes;
                new.then_some(())
            });
            pause = if changed.is_some() { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        }
    }

    /// Asks every datasource that may be the right one, once. The error says what is waited for.
    pub(super) fn look(&self) -> Result<Seed, String> {
        let online = self.shared.view().primary().is_some();
        let look = Look { root: &self.root, platform: &self.platform, online };
        let mut sources = datasource::all();
        sources.sort_by_key(|source| std::cmp::Reverse(source.detect(&self.platform)));
        let mut reasons = Vec::new();
        for source in sources.iter().filter(|source| source.detect(&self.platform) != Detection::Absent) {
            match source.look(&look) {
                Outcome::Found(seed) => return Ok(*seed),
                Outcome::Nothing(what) => reasons.push(what),
                Outcome::Failed(why) => reasons.push(format!("{} metadata that can be read: {why}", source.name())),
            }
        }
        Err(reasons.join(", or "))
    }

    fn patience(&self) -> Duration {
        let named = |source: &dyn datasource::Datasource| source.detect(&self.platform) == Detection::Named;
        let sources = datasource::all();
        if sources.iter().any(|source| named(source.as_ref()) && !source.is_local(&self.platform)) {
            NETWORK
        } else {
            MEDIA[usize::from(sources.iter().any(|source| named(source.as_ref())))]
        }
    }

    /// Keeps a seed that was good, for a boot without metadata, and says when the machine has another identity.
    pub(super) fn remember(&self, found: &Found) {
        if found.stale {
            return;
        }
        let view = self.shared.view();
        let mac = view.first_mac.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":"));
        let now = Identity {
            instance_id: found.seed.metadata.instance_id.clone(),
            machine_key: self.platform.dmi.machine_key().map(str::to_owned).or(mac),
            source: found.seed.source.clone(),
        };
        if let Some(before) = identity::identity(&self.root).filter(|before| before.instance_id != now.instance_id) {
            let id = |identity: &Identity| identity.instance_id.clone().unwrap_or_else(|| "none".into());
            notice!("the instance id was {} and is {}: state is kept", id(&before), id(&now));
        }
        if let Err(error) = identity::remember(&self.root, &now, &found.seed) {
            warning!("{error}");
        }
    }
}
