//! Following a channel of updates: look, install, wait for a turn, restart, and give the turn back.
//!
//! A thread of its own does one thing after the other. What has to outlive a restart is on the state partition: the last update
//! ([`Record`]) and the turn ([`Turn`]). From these two and the channel follows what is to be done, so that it does not matter where it was
//! cut off.
//!
//! A version fails when a trial of it did that a turn was kept for: that is there from the moment when the version is whole in its slot
//! and boots next. The word of it ([`word`]) is left before the turn is given back, so that whoever has the next turn knows.

mod client;
mod nomad;
mod server;
#[cfg(test)]
mod tests;
mod turn;
mod word;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub use nomad::Local;
use nomad::{below, runs, unit};
use turn::Turns;

use super::{
    clock,
    datasource::{Get, HttpError},
    net::Shared,
    sys,
    userdata::Follow,
};
use crate::{
    facts::Role,
    notice,
    notify::{self, Message, Power},
    paths,
    update::{
        NAMED, SETTLE, WITHDRAW,
        channel::{self, Channel, Refusal},
        manifest::hex,
        record::{Outcome, Record},
        signature,
        turn::Turn,
        version::Version,
    },
    warning,
};

/// The first look comes within this time, or within the pause between two looks.
const FIRST: Duration = Duration::from_secs(60);
/// Between two looks at what goes on.
const SOON: Duration = Duration::from_secs(1);
/// Between two tries to get or to give back a turn.
const RETRY: Duration = Duration::from_secs(5);
/// In which a job of init's is seen to run, if it does.
const BEGINS: Duration = Duration::from_secs(5);
/// In which an update is installed.
const INSTALL: Duration = Duration::from_secs(3600);
/// After an installation that failed it is tried again in this time; it doubles.
const AGAIN: Duration = Duration::from_secs(60);
/// How often it doubles.
const DOUBLED: u32 = 6;
/// Between two looks whether a version that failed elsewhere is to be taken after all.
const HELD: Duration = Duration::from_secs(60);

/// What the follower says, for the status.
#[derive(Debug, Default)]
pub struct Board(Mutex<Option<String>>);

impl Board {
    /// What was said last.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says what is new, on the console and in the status.
    pub fn say(&self, shared: &Shared, mut text: String) {
        // Much of it was written by others: nodes, web servers, whoever answers for Nomad.
        text.retain(|c| !c.is_control());
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.as_ref() != Some(&text) {
            notice!("channel: {text}");
            *said = Some(text);
            drop(said);
            shared.update(|_| {});
        }
    }
}

/// What runs.
#[derive(Debug)]
pub struct Own {
    /// The image's role.
    pub role: Role,
    /// The machines that it is for.
    pub profile: String,
    /// `x86_64`.
    pub architecture: String,
    /// The image's version.
    pub version: Version,
    /// The public key of updates.
    pub key: String,
}

/// Follows a channel.
#[derive(Debug)]
pub struct Follower {
    /// What the user-data says; without it, only a turn is given back.
    pub follow: Option<Follow>,
    /// What runs.
    pub own: Own,
    /// The machine's Nomad.
    pub nomad: Local,
    /// Where it is said.
    pub board: Arc<Board>,
    /// Whom to wake when something is said.
    pub shared: Arc<Shared>,
    /// What the channel named last that is to be had.
    target: Option<Channel>,
    /// The version that the channel named last, whether it is to be had or not.
    named: Option<Version>,
    next_look: Duration,
    /// When the installation was asked for, and whether it was seen to run.
    begun: Option<(Duration, bool)>,
    /// What could not be installed, how often in a row, and until when it is not tried again.
    failed: Option<(Channel, u32, Duration)>,
    turns: Turns,
    state: PathBuf,
    restarting: bool,
}

impl Follower {
    /// Follows `follow`, or gives back what is left of an earlier update.
    #[must_use]
    pub fn new(
        follow: Option<Follow>,
        own: Own,
        nomad: Local,
        name: String,
        board: Arc<Board>,
        shared: Arc<Shared>,
    ) -> Self {
        let server = nomad.user.server;
        let turns = Turns {
            role: if server { "server" } else { "client" },
            // Servers restart one at a time, whatever their number.
            at_once: follow.as_ref().filter(|_| !server).map_or(1, |follow| follow.at_once),
            holder: name,
            seen: None,
        };
        let first = follow.as_ref().map_or(FIRST, |follow| follow.every.min(FIRST));
        let next_look = clock::now() + part(first);
        let state = below(&nomad.root, paths::STATE_DIR);
        Self {
            follow,
            own,
            nomad,
            board,
            shared,
            target: None,
            named: None,
            next_look,
            begun: None,
            failed: None,
            turns,
            state,
            restarting: false,
        }
    }

    /// Whether there is something to do.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        self.follow.is_some() || Turn::read(&self.state).is_some()
    }

    /// Runs as long as there is something to do.
    pub fn run(mut self) {
        while self.is_needed() {
            let pause = self.round();
            self.shared.wait(pause, |_| None::<()>);
        }
    }

    /// Does what is due; gives the pause before the next round.
    fn round(&mut self) -> Duration {
        if self.restarting {
            return INSTALL;
        }
        // Before the record, which a job writes before it ends.
        let job = unit(&self.nomad.root, "update");
        if [SETTLE, "bless"].iter().any(|job| runs(unit(&self.nomad.root, job).as_ref())) {
            return SOON;
        }
        let record = Record::read(&self.state);
        if let Some(record) = record.as_ref().filter(|record| record.outcome == Outcome::Trial) {
            self.say(format!("{} is on trial", record.version));
            return SOON;
        }
        let turn = Turn::read(&self.state);
        if let Some(turn) = turn.as_ref().filter(|turn| self.is_over(turn, record.as_ref())) {
            return self.give_back(turn, record.as_ref());
        }
        let Some(follow) = self.follow.clone() else { return RETRY };
        // What is being installed comes to its end, and has a turn then: the channel can take it back.
        if self.begun.is_none() && clock::now() >= self.next_look {
            self.look(&follow, record.as_ref());
            // What it names counts for a turn as well.
            return self.round();
        }
        let left = self.next_look.saturating_sub(clock::now()).max(SOON);
        let Some(channel) = self.target.clone() else {
            let Some(turn) = turn else { return left };
            return self.is_barred(&turn.version, Some(&turn), record.as_ref()).unwrap_or(HELD).min(left);
        };
        let installed = |record: &Record| record.outcome == Outcome::Installed && record.version == channel.version;
        // The record is made before the last steps that make it boot.
        if runs(job.as_ref()) || !record.as_ref().is_some_and(installed) {
            if self.begun.is_none() && !runs(job.as_ref()) {
                if let Some((_, _, until)) = self.failed.as_ref().filter(|(failed, _, _)| *failed == channel) {
                    let pause = until.saturating_sub(clock::now());
                    if !pause.is_zero() {
                        return pause.min(left);
                    }
                }
                if let Some(pause) = self.is_barred(&channel.version, None, None) {
                    return pause.min(left);
                }
            }
            return self.install(&follow, &channel, job.as_ref()).min(left);
        }
        // This node had it installed: whatever came in between counts for the turn.
        if self.begun.take().is_some() && turn.is_none() && self.keep_turn(&channel.version).is_ok() {
            return self.round();
        }
        if let Some(pause) = self.is_barred(&channel.version, turn.as_ref(), record.as_ref()) {
            return pause.min(left);
        }
        match self.take_turn(&follow, &channel.version, turn, left) {
            Ok(()) => {
                self.say(format!("{} is installed and has its turn: restarting", channel.version));
                self.restarting = true;
                self.tell(Message::Power(Power::Reboot));
                INSTALL
            }
            Err(why) => {
                self.say(format!("{} is installed and waits for its turn: {why}", channel.version));
                (RETRY + part(RETRY)).min(left)
            }
        }
    }

    /// Whether the update that a turn was for is settled, or not wanted any more.
    fn is_over(&self, turn: &Turn, record: Option<&Record>) -> bool {
        let other = self.named.as_ref().is_some_and(|version| *version != turn.version);
        !is_pending(turn, record) || other || self.follow.is_none()
    }

    /// Gives the turn back, and with it what was installed for it and did not run.
    fn give_back(&mut self, turn: &Turn, record: Option<&Record>) -> Duration {
        let pending = is_pending(turn, record);
        if pending {
            if runs(unit(&self.nomad.root, "update").as_ref()) {
                return SOON;
            }
            // It would be tried by chance, at the next restart: whoever has to answer for the rest, this goes first.
            self.tell(Message::Update(format!("update {WITHDRAW}")));
        }
        let client = self.nomad.user.client;
        // An update that was not written as it should be is no trial, and says why.
        let tried = |record: &&Record| record.version == turn.version && (record.tries > 0 || record.why.is_empty());
        let failed = record.filter(|record| record.outcome == Outcome::Failed && self.follow.is_some()).filter(tried);
        let back = if client { client::come_back(&self.nomad, turn) } else { Ok("") };
        let back = back.and_then(|news| {
            if let Some(record) = failed {
                word::leave(&self.nomad, self.turns.role, &self.turns.holder, record)?;
            }
            turn::release(&self.nomad, turn).map(|()| news)
        });
        match back {
            Ok(news) => {
                if let Err(why) = Turn::forget(&self.state) {
                    warning!("channel: failed to forget the turn: {why}");
                    return RETRY;
                }
                let told = if failed.is_some() { ", and the other nodes know that it failed" } else { "" };
                self.say(format!("the turn for {} is given back{news}{told}", turn.version));
                // Time for init to begin with the job.
                if pending { BEGINS } else { SOON }
            }
            Err(why) => {
                self.say(format!("the turn for {} is over, but not given back: waiting for {why}", turn.version));
                RETRY
            }
        }
    }

    /// Whether the version is not to be taken, as it failed elsewhere; gives the pause until that is looked at again. What is here of it
    /// goes: the turn, and with it what was installed.
    fn is_barred(&mut self, version: &Version, turn: Option<&Turn>, record: Option<&Record>) -> Option<Duration> {
        match word::about(&self.nomad, self.turns.role, version) {
            Ok(None) => None,
            Ok(Some(word)) => {
                if let Some(turn) = turn {
                    return Some(self.give_back(turn, record));
                }
                self.say(format!("{version} is held back: {word}"));
                Some(HELD)
            }
            Err(why) => {
                self.say(format!(
                    "{version} is held back, since a node could have said that it failed: waiting for {why}"
                ));
                Some(RETRY + part(RETRY))
            }
        }
    }

    /// When the next look is due: machines that were started together do not ask together.
    fn look_later(&mut self, follow: &Follow) {
        self.next_look = clock::now() + follow.every / 2 + part(follow.every);
    }

    /// Looks at the channel.
    fn look(&mut self, follow: &Follow, record: Option<&Record>) {
        self.look_later(follow);
        let news = match fetch(&follow.channel) {
            Ok((text, signature)) => self.judge(&text, &signature, record),
            // What was known before stays.
            Err(why) => return self.say(format!("the channel cannot be read: {why}")),
        };
        self.target = match news {
            Ok(channel) if channel.version == self.own.version => {
                self.say(format!("{} is what the channel has", channel.version));
                None
            }
            Ok(channel) => Some(channel),
            Err(why) => {
                self.say(why);
                None
            }
        };
    }

    fn judge(&mut self, text: &[u8], signature: &[u8], record: Option<&Record>) -> Result<Channel, String> {
        let Own { role, profile, architecture, version, key } = &self.own;
        signature::verify(key, text, &String::from_utf8_lossy(signature))
            .map_err(|why| format!("the channel is refused: {why}"))?;
        let channel = Channel::parse(text).map_err(|why| why.to_string())?;
        let news = channel.is_news(*role, profile, architecture, version, record);
        // One for other machines says nothing of this one's.
        if !matches!(news, Err(Refusal::Other { .. })) {
            self.named = Some(channel.version.clone());
        }
        news.map_err(|why| why.to_string())?;
        Ok(channel)
    }

    /// Has the update installed, and says how that went.
    fn install(&mut self, follow: &Follow, channel: &Channel, job: Option<&crate::status::UnitStatus>) -> Duration {
        let Channel { version, size, sha256, .. } = channel;
        let now = clock::now();
        match self.begun {
            // Somebody else's: it may be the same.
            None if runs(job) => return SOON,
            None => {
                let url = channel.url(&follow.channel);
                self.tell(Message::Update(format!("update {NAMED} {version} {size} {} {url}", hex(sha256))));
                self.begun = Some((now, false));
            }
            Some((at, _)) if runs(job) => {
                self.begun = Some((at, true));
                if now > at + INSTALL {
                    self.tell(Message::Stop("update".into()));
                }
            }
            Some((at, false)) if now < at + BEGINS => {}
            Some(_) => {
                let why = job.and_then(|job| job.message.as_deref()).unwrap_or("it did not start");
                let again = self.failed.take().filter(|(failed, _, _)| failed == channel);
                let times = again.map_or(0, |(_, times, _)| (times + 1).min(DOUBLED));
                let pause = AGAIN * (1 << times);
                self.say(format!("{version} is not installed: {why}; tried again in {} min", pause.as_secs() / 60));
                self.failed = Some((channel.clone(), times, now + pause));
                self.begun = None;
                return pause;
            }
        }
        self.say(format!("{version} is being installed"));
        SOON
    }

    /// Everything before the restart; else says what is awaited.
    fn take_turn(
        &mut self,
        follow: &Follow,
        version: &Version,
        turn: Option<Turn>,
        patience: Duration,
    ) -> Result<(), String> {
        let (server, client) = (self.nomad.user.server, self.nomad.user.client);
        let mut turn = turn.map_or_else(|| self.keep_turn(version), Ok)?;
        if server {
            server::tolerates(&self.nomad)?;
        }
        self.turns.hold(&self.nomad, &mut turn, &self.state, patience)?;
        if server {
            // Another may have restarted in between.
            server::tolerates(&self.nomad)?;
        }
        self.is_untold(version)?;
        if client {
            self.say(format!("{version} is installed and has its turn: draining this client"));
            let (nomad, state, turns) = (&self.nomad, &self.state, &mut self.turns);
            let alive = |turn: &mut Turn| turns.hold(nomad, turn, state, SOON);
            if !client::drain(nomad, &mut turn, state, follow.drain, alive)? {
                // Another look wants it again. The turn stays on the disk, as that of who waits.
                self.target = None;
                self.look_later(follow);
                turn::release(&self.nomad, &turn)?;
                return Err("an operator ended the drain; tried again after the next look at the channel".into());
            }
            self.is_untold(version)?;
            // From now on its time counts.
            self.turns.hold(&self.nomad, &mut turn, &self.state, SOON)?;
        }
        Ok(())
    }

    /// A turn on the disk, even before it may be had: from now on any restart tries the version.
    fn keep_turn(&self, version: &Version) -> Result<Turn, String> {
        let turn = self.turns.fresh(version)?;
        turn.write(&self.state)?;
        Ok(turn)
    }

    /// No other node said in between that the version failed there.
    fn is_untold(&self, version: &Version) -> Result<(), String> {
        word::about(&self.nomad, self.turns.role, version)?.map_or(Ok(()), Err)
    }

    fn tell(&self, message: Message) {
        if let Err(why) = notify::send(&below(&self.nomad.root, paths::NOTIFY_SOCKET), &[message]) {
            warning!("channel: failed to tell init: {why}");
        }
    }

    fn say(&self, text: String) {
        self.board.say(&self.shared, text);
    }
}

/// Whether what a turn is for boots next.
fn is_pending(turn: &Turn, record: Option<&Record>) -> bool {
    record.is_some_and(|record| record.outcome == Outcome::Installed && record.version == turn.version)
}

/// A random part of a time.
fn part(time: Duration) -> Duration {
    time * (sys::random() % 1000) / 1000
}

/// The channel file and its signature.
fn fetch(url: &str) -> Result<(Vec<u8>, Vec<u8>), HttpError> {
    let get = Get::default();
    let (path, query) = url.split_at(url.find('?').unwrap_or(url.len()));
    let one = |url: &str| {
        let body =
            get.get(url)?.ok_or_else(|| HttpError::Status { url: super::datasource::http::shown(url), status: 404 })?;
        let most = channel::MOST;
        let long = || HttpError::TooLong { url: super::datasource::http::shown(url), most: most as u64 };
        if body.len() > most { Err(long()) } else { Ok(body) }
    };
    Ok((one(url)?, one(&format!("{path}{}{query}", channel::SIGNATURE))?))
}
