//! The node's sequence: seed, plan, files, network, time, Nomad, health. It may wait; the network's loop never waits
//! for it.

mod announce;
mod apply;
mod belongings;
mod clock;
mod find;
mod include;
mod launch;
#[cfg(test)]
mod tests;
mod watch;

use std::{path::PathBuf, sync::Arc, time::Duration};

pub use announce::Announcer;

use super::{
    datasource::Platform,
    net::Shared,
    netconfig::{self, NetworkMode},
    options::{OnRefuse, Options},
    report::{Report, Waiting},
    seed::Seed,
    userdata::{Finding, Plan, Position, Verdict},
};
use crate::{error, facts::ImageFacts, info, notice, warning};

/// Pause between looks for a better seed.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Pause before what user-data includes is asked for again.
const FETCH_AGAIN: Duration = Duration::from_secs(60);

/// Everything the sequence works with.
#[derive(Debug)]
pub struct Steward {
    /// Where the file system begins.
    pub root: PathBuf,
    /// What the image says about itself.
    pub facts: ImageFacts,
    /// What is known of the machine.
    pub platform: Platform,
    /// What the command line asks.
    pub options: Options,
    /// The network and the devices.
    pub shared: Arc<Shared>,
    /// The node's voice.
    pub report: Report,
    /// What the cloud is told.
    pub announcer: Announcer,
}

/// A seed and how it was come by.
#[derive(Debug)]
struct Found {
    seed: Seed,
    /// From the last boot: the metadata could not be had at this one.
    stale: bool,
}

impl Steward {
    /// Runs for ever.
    pub fn run(mut self) -> ! {
        // From now on there is a status to read.
        self.report.update(|_| {});
        let (plan, found) = loop {
            let found = self.find();
            self.report.phase("datasource");
            let plan = self.plan(&found);
            self.report.phase("plan");
            match self.apply(&plan) {
                Ok(()) => self.report.phase("files"),
                Err(why) => {
                    self.complain(&[why], &plan, &found.seed);
                    continue;
                }
            }
            if self.may_start(&plan) {
                self.remember(&found);
                break (plan, found);
            }
            let refusals: Vec<String> = plan.refused().map(ToString::to_string).collect();
            self.complain(&refusals, &plan, &found.seed);
        };
        self.launch(&plan);
        self.watch(&plan, &found.seed)
    }

    /// Makes the plan, publishes it and says what is in it.
    fn plan(&mut self, found: &Found) -> Plan {
        let instance = found.seed.metadata.instance_id.as_deref().unwrap_or("");
        let mut plan = Plan::from_seed(&found.seed, self.facts.role, &mut |include| self.fetch(instance, include));
        self.plan_network(&found.seed, &mut plan);
        for finding in &plan.findings {
            match finding.verdict {
                Verdict::Applied => info!("{finding}"),
                Verdict::Ignored => notice!("{finding}"),
                // Said again while the node waits for something better.
                Verdict::Refused => error!("{finding}"),
            }
        }
        self.publish(&plan, found);
        plan
    }

    /// Adds what becomes of the network.
    fn plan_network(&self, seed: &Seed, plan: &mut Plan) {
        let (network, findings) = netconfig::plan(&self.platform.cmdline, seed.network.as_ref());
        plan.findings.extend(findings);
        if let NetworkMode::Plan(network) = &network
            && !network.is_dhcp_everywhere()
        {
            let message = "this version of Steppe configures interfaces by DHCP only";
            let mut finding = Finding::new(Verdict::Refused, Position::START, "", message);
            finding.file = Some("network-config".into());
            plan.findings.push(finding);
        }
        plan.network = network;
    }

    fn publish(&mut self, plan: &Plan, found: &Found) {
        let mut findings: Vec<String> =
            plan.findings.iter().filter(|f| f.verdict != Verdict::Applied).map(ToString::to_string).collect();
        if found.stale {
            findings.push("stale-metadata: the metadata of an earlier boot is used".into());
        }
        let path = self.root.join(crate::paths::PLAN.trim_start_matches('/'));
        let json = serde_json::to_vec_pretty(plan).unwrap_or_default();
        if let Err(error) = super::files::write_atomically(&path, &json, 0o600) {
            warning!("{error}");
        }
        self.report.update(|status| {
            status.instance_id.clone_from(&plan.instance_id);
            status.datasource = Some(found.seed.source.clone());
            status.findings = findings;
        });
    }

    /// Whether Nomad may be started with what the plan leaves of the user-data.
    fn may_start(&self, plan: &Plan) -> bool {
        let refused = plan.refused().count();
        if refused == 0 {
            return true;
        }
        let promise = plan.refused().any(|finding| finding.role);
        let go_on = self.options.on_refuse == OnRefuse::Continue && !promise && !plan.nomad.is_empty();
        if go_on {
            warning!("{refused} refused: going on, because of steppe.on_refuse=continue");
        }
        go_on
    }

    /// Says what is wrong every ten seconds, until another seed is there.
    fn complain(&mut self, reasons: &[String], plan: &Plan, seed: &Seed) {
        self.report.awaits(Some("user-data that can be applied"));
        self.announce_failed(seed, reasons);
        let mut waiting = Waiting::default();
        let fetch_again = super::clock::now() + FETCH_AGAIN;
        loop {
            let devices = self.shared.view().devices;
            self.shared.wait(LOOK_AGAIN, |view| (view.devices != devices).then_some(()));
            // A person who looks for this machine looks for its name.
            if self.report.status().hostname.is_none() && self.shared.view().primary().is_some() {
                self.set_hostname(&self.hostname(plan));
            }
            if waiting.due(super::clock::now()) {
                for reason in reasons {
                    error!("{reason}");
                }
                error!("Nomad is not started: correct the user-data and start the machine again");
            }
            if self.look().is_ok_and(|found| found.user_data != seed.user_data || found.metadata != seed.metadata) {
                notice!("the user-data has changed");
                self.report.awaits(None);
                return;
            }
            if plan.unfetched && super::clock::now() >= fetch_again {
                notice!("trying again to fetch what the user-data includes");
                return;
            }
        }
    }
}
