//! The node's sequence: seed, plan, files, network, time, Nomad, health. It may wait; the network's loop never waits
//! for it.

mod announce;
mod apply;
mod belongings;
mod changes;
mod clock;
mod commands;
mod complain;
mod find;
mod finish;
mod follow;
mod include;
mod launch;
mod look;
mod readdress;
mod recognise;
mod relook;
mod system;
#[cfg(test)]
mod tests;
mod watch;

use std::{path::PathBuf, sync::Arc, time::Duration};

pub use announce::Announcer;
use complain::Trouble;
pub use find::Patience;

use super::{
    datasource::Platform,
    net::{Resolver, Shared},
    netconfig::{self, NetworkMode},
    options::{OnRefuse, Options},
    report::Report,
    seed::Seed,
    userdata::{Fetch, Plan, Verdict},
};
use crate::{error, facts::ImageFacts, info, notice, warning};

/// How long the first carrying out of a network configuration may take before the sequence goes on.
const NETWORK: Duration = Duration::from_secs(10);

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
    /// How long metadata may take.
    pub patience: Patience,
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
            let mut plan = self.plan(&found);
            self.report.phase("plan");
            self.apply_network(&plan);
            let good = self.may_start(&plan);
            // Before any file is written: one of them may belong into the data directory of a Nomad that is new here.
            if good && let Err(why) = self.recognise(&plan, &found) {
                self.complain(&Trouble::Copied(why), &plan, &found.seed);
                continue;
            }
            self.fetch_files(&mut plan);
            if !self.apply_patiently(&plan, &found.seed) {
                continue;
            }
            self.report.phase("files");
            let mut refused: Vec<String> = plan.refused().map(ToString::to_string).collect();
            if good {
                match self.run_commands(&mut plan, &found.seed.metadata) {
                    Ok(()) => {
                        self.remember(&found);
                        break (plan, found);
                    }
                    Err(reasons) => refused = reasons,
                }
            }
            self.complain(&Trouble::Refused(refused), &plan, &found.seed);
        };
        match plan.refused().count() {
            0 => {}
            refused => warning!("{refused} refused: going on, because of steppe.on_refuse=continue"),
        }
        self.launch(&plan);
        self.watch(&plan, found)
    }

    /// Makes the plan, publishes it and says what is in it.
    fn plan(&mut self, found: &Found) -> Plan {
        let plan = self.plan_of(&found.seed);
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

    /// The plan of a seed; what it includes is fetched.
    fn plan_of(&self, seed: &Seed) -> Plan {
        let instance = seed.metadata.instance_id.as_deref().unwrap_or("");
        self.plan_with(seed, &mut |include| self.fetch(instance, include))
    }

    fn plan_with(&self, seed: &Seed, fetch: &mut Fetch<'_>) -> Plan {
        let mut plan = Plan::from_seed(seed, self.facts.role, fetch);
        self.plan_network(seed, &mut plan);
        plan
    }

    /// Adds what becomes of the network.
    fn plan_network(&self, seed: &Seed, plan: &mut Plan) {
        let (network, findings) = netconfig::plan(&self.platform.cmdline, seed.network.as_ref());
        plan.findings.extend(findings);
        plan.network = network;
    }

    /// Has the network carry out its part, also of a plan with which Nomad may not start: somebody may want to reach the
    /// machine all the more then.
    fn apply_network(&mut self, plan: &Plan) {
        if let Some(fixed) = &plan.resolver {
            // Through the same gate as what comes from the network: no word may begin another line.
            let mut resolver = Resolver { options: (!fixed.options.is_empty()).then(Vec::new), ..Resolver::default() };
            fixed.nameservers.iter().for_each(|server| resolver.server(*server, ""));
            fixed.search.iter().for_each(|domain| resolver.domain(domain));
            let plain = |word: &&String| !word.contains(char::is_whitespace);
            resolver.options.iter_mut().for_each(|options| options.extend(fixed.options.iter().filter(plain).cloned()));
            resolver.sortlist.extend(fixed.sortlist.iter().filter(plain).cloned());
            self.shared.fix_resolver(resolver);
        }
        let order = self.shared.apply(plan.network.clone());
        if plan.network == NetworkMode::Fallback {
            return;
        }
        if self.shared.wait(NETWORK, |view| (view.applied >= order).then_some(())).is_none() {
            warning!("the network configuration is not carried out after {} s: going on", NETWORK.as_secs());
        }
        self.report_addresses();
    }

    fn publish(&mut self, plan: &Plan, found: &Found) {
        let mut findings: Vec<String> =
            plan.findings.iter().filter(|f| f.verdict != Verdict::Applied).map(ToString::to_string).collect();
        if found.stale {
            findings.push(format!("{}the metadata of an earlier boot is used", relook::STALE));
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
        if plan.refused().count() == 0 {
            return true;
        }
        let promise = plan.refused().any(|finding| finding.role);
        self.options.on_refuse == OnRefuse::Continue && !promise && !plan.nomad.is_empty()
    }
}
