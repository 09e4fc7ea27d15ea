//! Finding the seed: look, wait for something to change, look again. There is no end to it: a node without metadata
//! has nothing better to do, and goes on when it appears.

use std::time::Duration;

use super::{
    Found, Steward,
    look::{self, Missing},
    relook::STALE,
};
use crate::{
    info,
    node::{
        clock,
        datasource::{self, Detection},
        identity::{self, NoSeed},
        report::Waiting,
        seed::Seed,
    },
    notice, warning,
};

/// How long metadata may take to appear before the last good seed is used.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// On media, without and with a hint that there are any.
    pub media: [Duration; 2],
    /// On the network, which first needs an address.
    pub network: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { media: [Duration::from_secs(2), Duration::from_secs(10)], network: Duration::from_secs(60) }
    }
}

/// When a node that finds nothing says what it knows of the machine.
const DESCRIBE: Duration = Duration::from_secs(10);
/// Clouds that have networks without DHCP, and tell a machine that asks without an address which one it has.
const LINK_LOCAL_CLOUDS: [&str; 1] = ["digitalocean"];
/// How long DHCP may take there before the machine gives itself a link-local address.
const LINK_LOCAL: Duration = Duration::from_secs(5);
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
        let mut told = false;
        let platform = self.platform.describe();
        info!("{platform}");
        let (describe, mut described) = (start + DESCRIBE, false);
        let mut link_local = self.may_lack_dhcp();
        loop {
            let before = self.shared.view();
            if link_local && !before.is_online() && clock::now().saturating_sub(start) >= LINK_LOCAL {
                self.shared.want_link_local();
                link_local = false;
            }
            let what = match self.look() {
                Ok(seed) => {
                    notice!("metadata from {}", seed.source);
                    self.report.awaits(None);
                    return Found { seed, stale: false };
                }
                Err(missing) => missing,
            };
            let Missing { mut what, refused } = what;
            if let Some((platform, why)) = refused.filter(|_| !told) {
                // It will not change, and its cloud would wait for its whole deadline.
                self.announce_refused(platform, why);
                told = true;
            }
            if clock::now().saturating_sub(start) >= patience {
                match identity::last_good(&self.root, self.machine_key().as_deref()) {
                    Ok(seed) => {
                        warning!("{STALE}waited for {what}; using what {} said at an earlier boot", seed.source);
                        self.report.awaits(None);
                        return Found { seed, stale: true };
                    }
                    Err(NoSeed::OtherMachine) => {
                        what += " (this disk is a copy: what it remembers is another machine's and is not used)";
                    }
                    Err(NoSeed::Nothing) => {}
                }
            }
            waiting.tick(&what);
            if !described && clock::now() >= describe {
                notice!("{platform}");
                described = true;
            }
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
    pub(super) fn look(&self) -> Result<Seed, Missing> {
        look::look(&self.root, &self.platform, &self.shared)
    }

    /// Whether the cloud is one of those whose networks may have no DHCP.
    fn may_lack_dhcp(&self) -> bool {
        let sources = datasource::all();
        let mut known = sources.iter().filter(|source| LINK_LOCAL_CLOUDS.contains(&source.name()));
        known.any(|source| source.detect(&self.platform) == Detection::Named)
    }

    fn patience(&self) -> Duration {
        let named = |source: &dyn datasource::Datasource| source.detect(&self.platform) == Detection::Named;
        let sources = datasource::all();
        if sources.iter().any(|source| named(source.as_ref()) && !source.is_local(&self.platform)) {
            self.patience.network
        } else {
            self.patience.media[usize::from(sources.iter().any(|source| named(source.as_ref())))]
        }
    }
}
