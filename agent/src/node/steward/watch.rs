//! Watching Nomad for as long as the machine lives.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use super::{Found, Steward, readdress::Follower};
use crate::{
    info,
    node::{
        clock,
        follow::Board,
        net::View,
        nomad::{
            api::Api,
            cli::Cli,
            durable,
            endpoint::Endpoint,
            guard::Guard,
            health::{self, Health, Patience, Proof, Subject},
            owner, secret,
        },
        report::Waiting,
        seed::Seed,
        userdata::Plan,
    },
    notice,
    notify::Message,
    paths,
    status::{InitStatus, UnitState, UnitStatus},
    warning,
};

/// Pause between looks until Nomad is well for the first time.
const EAGER: Duration = Duration::from_millis(500);
/// Pause between looks afterwards.
const CALM: Duration = Duration::from_secs(5);
/// The same where a question costs a process ([`Cli`]).
const EAGER_TLS: Duration = Duration::from_secs(2);
/// The same.
const CALM_TLS: Duration = Duration::from_secs(60);
/// Longer than a server without a leader needs to say so (contract 6).
const ANSWER: Duration = Duration::from_secs(7);
/// How long Nomad may call itself starting: its `start_timeout` of 5 min, and a minute to stop and start again.
const STARTING: Duration = Duration::from_secs(6 * 60);
/// Begins the finding about what was not proven of Nomad's health.
const UNPROVEN: &str = "health: ";
/// Between two looks at the clock.
const CLOCK: Duration = Duration::from_secs(3600);

impl Steward {
    /// Runs for ever.
    pub(super) fn watch(&mut self, plan: &Plan, found: Found) -> ! {
        // Who the machine is; the user-data is not needed any more.
        let who = Seed {
            platform: found.seed.platform.clone(),
            source: found.seed.source.clone(),
            metadata: found.seed.metadata.clone(),
            ..Seed::default()
        };
        let mut known = self.keep_looking(found);
        let endpoint = Endpoint::of(&plan.nomad);
        let mut guard = plan
            .nomad
            .server
            .then(|| Guard::new(&plan.nomad.join, plan.nomad.bootstrap_expect, clock::now()))
            .flatten();
        let mut patience = Patience::default();
        let mut waiting = Waiting::default();
        let mut clock_due = clock::now() + CLOCK;
        let mut was_well = None;
        let mut starting_since = None;
        let mut flushed = false;
        let mut follower = Follower::default();
        let (board, mut follows) = (Arc::new(Board::default()), false);
        loop {
            let own: Vec<IpAddr> = self.shared.view().addresses().collect();
            let address = endpoint.resolve(&own);
            let api = self.api(plan, address);
            let unit = self.nomad_unit();
            let mut health = match unit.as_ref().and_then(down) {
                Some(what) => Health::Awaits { what, restart_helps: false },
                None => self.look_at_nomad(plan, &api, address, &own, endpoint.is_known(), unit.as_ref()),
            };
            if starts(unit.as_ref(), &mut starting_since, clock::now()) {
                health = health.without_restart();
            }
            if !flushed && self.nomad_unit().is_some_and(|unit| unit.state == UnitState::Ready) {
                // It has written who it is by the time that it says `READY=1`.
                flushed = true;
                self.flush_state(plan);
            }
            self.tell(plan, &who, &health, was_well);
            match &health {
                Health::Well { .. } => waiting = Waiting::default(),
                Health::Awaits { what, .. } => waiting.tick(what),
            }
            was_well = Some(health.is_well());
            if !follows && health.is_well() {
                follows = true;
                self.begin_to_follow(plan, &board);
            }
            let update = board.text();
            self.report.update(|status| status.update.clone_from(&update));
            if patience.judge(&health, clock::now()) {
                warning!("Nomad is up but not well: starting it anew");
                self.report.tell(&[Message::Restart("nomad".into())]);
            }
            match guard.as_mut().and_then(|guard| guard.step(&api, clock::now())) {
                Some(attempt) if attempt.early => notice!("{}", attempt.line),
                Some(attempt) => info!("{}", attempt.line),
                None => {}
            }
            if clock::now() >= clock_due {
                clock_due = clock::now() + CLOCK;
                self.check_clock(plan);
            }
            self.take_news(&mut known);
            self.follow_address(plan, &mut follower);
            let pause = match (self.report.status().ready_at_ms.is_none(), plan.nomad.http_tls) {
                (true, false) => EAGER,
                (false, false) => CALM,
                (true, true) => EAGER_TLS,
                (false, true) => CALM_TLS,
            };
            let changes = self.shared.view().changes;
            let news = |view: &View| view.changes != changes || board.text() != update;
            if self.shared.wait(pause, |view| news(view).then_some(())).is_some() {
                self.report_addresses();
            }
        }
    }

    fn api(&self, plan: &Plan, address: SocketAddr) -> Api {
        if plan.nomad.http_tls {
            Api::tls(Cli::new(self.below_root(paths::NOMAD), &address.to_string(), &plan.nomad, ANSWER))
        } else {
            Api::new(&address.to_string(), ANSWER)
        }
    }

    fn look_at_nomad(
        &self,
        plan: &Plan,
        api: &Api,
        address: SocketAddr,
        own: &[IpAddr],
        known: bool,
        unit: Option<&UnitStatus>,
    ) -> Health {
        let is_nomads = || unit.and_then(|u| u.pid).is_some_and(|pid| owner::listens(&self.root, pid, address));
        health::look(&Subject {
            api,
            user: &plan.nomad,
            own,
            known,
            node: &|| is_nomads().then(|| secret::of_node(self.places(plan).client())).flatten(),
            process: &|| unit.is_some_and(|unit| unit.state == UnitState::Ready) && is_nomads(),
        })
    }

    /// What init says of Nomad.
    fn nomad_unit(&self) -> Option<UnitStatus> {
        let text = fs::read(self.root.join(paths::INIT_STATUS.trim_start_matches('/'))).ok()?;
        let status: InitStatus = serde_json::from_slice(&text).ok()?;
        status.units.into_iter().find(|unit| unit.name == "nomad")
    }

    /// Says what changed.
    fn tell(&mut self, plan: &Plan, who: &Seed, health: &Health, was_well: Option<bool>) {
        match health {
            Health::Well { leader, proof } => {
                self.report.awaits(None);
                self.find_out(UNPROVEN, proof.lacks().map(|what| format!("{UNPROVEN}{what}")));
                let leader = leader.clone();
                self.report.update(|status| {
                    status.healthy = true;
                    status.leader = leader;
                });
                let first = self.report.status().ready_at_ms.is_none();
                if first {
                    self.ready(plan, who, *proof);
                } else if was_well == Some(false) {
                    notice!("Nomad is well again");
                }
                if first || was_well != Some(true) {
                    self.report.tell(&[Message::Status("healthy".into())]);
                }
            }
            Health::Awaits { what, .. } => {
                if was_well == Some(true) {
                    warning!("Nomad is not well: it awaits {what}");
                }
                self.report.awaits(Some(what));
                self.report.update(|status| {
                    status.healthy = false;
                    status.leader = None;
                });
            }
        }
    }

    /// What Nomad wrote so far has to outlive a power cut.
    fn flush_state(&self, plan: &Plan) {
        let places = self.places(plan);
        // Which may be on volumes of their own.
        for dir in [self.below_root(paths::STATE).as_path(), &places.data_dir, places.server(), places.client()] {
            if let Err(why) = durable::flush(dir) {
                warning!("failed to flush {}: {why}", dir.display());
            }
        }
    }

    /// The line that the whole boot is for; once.
    fn ready(&mut self, plan: &Plan, who: &Seed, proof: Proof) {
        self.flush_state(plan);
        let now = clock::now();
        self.report.tell(&[Message::Phase("healthy".into()), Message::Ready]);
        let address = self.shared.view().primary().map(|primary| primary.address.to_string());
        let name = self.report.status().hostname.clone().unwrap_or_else(|| self.hostname(plan));
        notice!(
            "READY role={} name={name} address={} nomad={} seconds={:.2}{}",
            self.facts.role,
            address.as_deref().unwrap_or("none"),
            self.facts.nomad.version,
            now.as_secs_f64(),
            // Only where it is less than what READY means otherwise.
            if proof == Proof::Role { String::new() } else { format!(" health={}", proof.word()) }
        );
        self.report.update(|status| status.ready_at_ms = Some(u64::try_from(now.as_millis()).unwrap_or(u64::MAX)));
        // What only the boot needed does not stay in memory.
        if let Err(why) = crate::sys::release_code() {
            info!("failed to release the code of the boot: {why}");
        }
        self.announce_ready(&who.platform);
        self.finish(plan, &who.metadata, &who.source);
    }
}

/// What is awaited of a Nomad that does not run: then there is nobody to ask, and starting it is init's business.
fn down(nomad: &UnitStatus) -> Option<String> {
    let last = nomad.last_exit.as_deref().unwrap_or("it did not start");
    match nomad.state {
        UnitState::BackOff | UnitState::Degraded => Some(format!("Nomad to stay up ({last})")),
        UnitState::Stopped | UnitState::Stopping => Some("Nomad to be started again (it was asked to stop)".into()),
        UnitState::Waiting | UnitState::Starting | UnitState::Ready => None,
    }
}

/// Whether Nomad is on its way up, for no longer than that may take; `since` is kept from look to look.
fn starts(nomad: Option<&UnitStatus>, since: &mut Option<Duration>, now: Duration) -> bool {
    if nomad.is_none_or(|unit| unit.state != UnitState::Starting) {
        *since = None;
        return false;
    }
    now.saturating_sub(*since.get_or_insert(now)) < STARTING
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(state: UnitState) -> UnitStatus {
        UnitStatus { name: "nomad".into(), state, pid: None, restarts: 0, last_exit: None, message: None }
    }

    #[test]
    fn a_start_has_its_time_and_no_more() {
        let s = Duration::from_secs;
        let (starting, ready) = (unit(UnitState::Starting), unit(UnitState::Ready));
        let mut since = None;
        assert!(starts(Some(&starting), &mut since, s(10)));
        assert!(starts(Some(&starting), &mut since, s(10 + 359)));
        assert!(!starts(Some(&starting), &mut since, s(10 + 360)));
        assert!(!starts(Some(&ready), &mut since, s(400)));
        assert!(starts(Some(&starting), &mut since, s(401)), "a new start has its own time");
        assert!(!starts(None, &mut since, s(402)));
        assert!(down(&unit(UnitState::BackOff)).is_some() && down(&starting).is_none());
    }
}
