//! The state machine of RFC 8415, section 18.2, without CONFIRM and DECLINE: a link that comes back is rebound, and of
//! duplicates the kernel tells.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::{
    lease::{Lease, has_no_binding},
    message::{Kind, Message, code, write_options},
};

/// First pause before a question is repeated, and the longest, in seconds (section 7.6; the longest are shorter here,
/// because a network may be repaired within an hour).
const SEARCH: (u64, u64) = (1, 120);
const REQUEST: (u64, u64) = (1, 30);
const RENEW: (u64, u64) = (10, 600);
/// REQUESTs that stay without answer before the search starts anew.
const REQUESTS: u32 = 5;

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// An address, and other configuration.
    Stateful,
    /// Other configuration.
    Stateless,
}

/// What the caller has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send a message to all servers and relays of the link.
    Send(Vec<u8>),
    /// Use what the server gave, or use it longer.
    Configure(Lease),
    /// Stop using it, for this reason.
    Deconfigure(Lease, &'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Soliciting,
    Requesting { offer: Lease },
    Bound { lease: Lease, since: Duration },
    Renewing { lease: Lease, since: Duration },
    Rebinding { lease: Lease, since: Duration },
    Informing { held: Option<Lease> },
    Informed { lease: Lease },
}

/// A client on one interface.
#[derive(Debug)]
pub struct Client {
    mode: Mode,
    /// DUID-LL (section 11.4): the same at every boot, and on every system that runs on the machine.
    duid: Vec<u8>,
    iaid: u32,
    state: State,
    xid: u32,
    /// When the current exchange began, for the option that says how long it takes.
    began: Duration,
    /// When the last question was sent: a lease counts from there.
    asked: Duration,
    attempt: u32,
    deadline: Option<Duration>,
}

impl Client {
    /// A client that asks when it is first polled.
    #[must_use]
    pub fn new(mac: [u8; 6], mode: Mode, now: Duration, random: u32) -> Self {
        let mut duid = vec![0, 3, 0, 1];
        duid.extend(mac);
        let iaid = u32::from_be_bytes([mac[2], mac[3], mac[4], mac[5]]);
        let mut client = Self {
            mode,
            duid,
            iaid,
            state: State::Soliciting,
            xid: 0,
            began: now,
            asked: now,
            attempt: 0,
            deadline: None,
        };
        client.search(now, random);
        client
    }

    /// What it asks for.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// When to call [`Client::poll`] again; `None` when only a packet can change anything.
    #[must_use]
    pub const fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// What is in use.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Bound { lease, .. }
            | State::Renewing { lease, .. }
            | State::Rebinding { lease, .. }
            | State::Informing { held: Some(lease) }
            | State::Informed { lease } => Some(lease),
            State::Soliciting | State::Requesting { .. } | State::Informing { held: None } => None,
        }
    }

    /// The carrier was away: the machine may be on another network now, so any server is asked at once.
    pub fn carrier_returned(&mut self, now: Duration, random: u32) {
        match self.state.clone() {
            State::Bound { lease, since } | State::Renewing { lease, since } => {
                self.enter(State::Rebinding { lease, since }, now, random);
            }
            State::Rebinding { .. } => {}
            State::Informed { lease } => self.enter(State::Informing { held: Some(lease) }, now, random),
            State::Soliciting | State::Requesting { .. } | State::Informing { .. } => self.search(now, random),
        }
    }

    /// Does what is due at `now`.
    pub fn poll(&mut self, now: Duration, random: u32) -> Vec<Action> {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return vec![];
        }
        match self.state.clone() {
            State::Soliciting => vec![self.ask(Kind::Solicit, None, SEARCH, now, random)],
            State::Informing { .. } => vec![self.ask(Kind::InformationRequest, None, SEARCH, now, random)],
            State::Requesting { offer } => {
                if self.attempt >= REQUESTS {
                    self.search(now, random);
                    return self.poll(now, random);
                }
                vec![self.ask(Kind::Request, Some(&offer), REQUEST, now, random)]
            }
            State::Bound { lease, since } => {
                self.enter(State::Renewing { lease, since }, now, random);
                self.poll(now, random)
            }
            State::Informed { lease } => {
                self.enter(State::Informing { held: Some(lease) }, now, random);
                self.poll(now, random)
            }
            State::Renewing { lease, since } => {
                let rebind = lease.rebind.map(|rebind| since + rebind);
                if rebind.is_some_and(|rebind| now >= rebind) {
                    self.enter(State::Rebinding { lease, since }, now, random);
                    return self.poll(now, random);
                }
                let action = self.ask(Kind::Renew, Some(&lease), RENEW, now, random);
                self.deadline = self.deadline.into_iter().chain(rebind).min();
                vec![action]
            }
            State::Rebinding { lease, since } => {
                let end = lease.valid().map(|valid| since + valid);
                if end.is_some_and(|end| now >= end) {
                    self.search(now, random);
                    let mut actions = vec![Action::Deconfigure(lease, "it has run out")];
                    actions.extend(self.poll(now, random));
                    return actions;
                }
                let action = self.ask(Kind::Rebind, Some(&lease), RENEW, now, random);
                self.deadline = self.deadline.into_iter().chain(end).min();
                vec![action]
            }
        }
    }

    /// Takes a message from the interface.
    pub fn receive(&mut self, payload: &[u8], now: Duration, random: u32) -> Vec<Action> {
        let Some(message) = Message::parse(payload) else { return vec![] };
        if message.xid != self.xid || message.option(code::CLIENT_ID) != Some(self.duid.as_slice()) {
            return vec![];
        }
        match (message.kind, self.state.clone()) {
            (Some(Kind::Advertise), State::Soliciting) => match Lease::with_addresses(&message, self.iaid) {
                // The first one: a server is as good as another, and the boot waits.
                Some(offer) => {
                    self.enter(State::Requesting { offer }, now, random);
                    self.poll(now, random)
                }
                None => vec![],
            },
            (Some(Kind::Reply), State::Soliciting) if message.option(code::RAPID_COMMIT).is_some() => {
                self.bind(&message, None)
            }
            (Some(Kind::Reply), State::Requesting { offer }) => {
                if message.option(code::SERVER_ID) != Some(offer.server.as_slice()) {
                    return vec![];
                }
                if has_no_binding(&message, self.iaid) {
                    self.search(now, random);
                    return vec![];
                }
                self.bind(&message, None)
            }
            (Some(Kind::Reply), State::Renewing { lease, .. } | State::Rebinding { lease, .. }) => {
                if has_no_binding(&message, self.iaid) {
                    self.search(now, random);
                    return vec![Action::Deconfigure(lease, "the server does not know it any more")];
                }
                self.bind(&message, Some(lease))
            }
            (Some(Kind::Reply), State::Informing { .. }) => match Lease::without_address(&message) {
                Some(lease) => {
                    self.deadline = lease.renew.map(|renew| now + renew);
                    self.state = State::Informed { lease: lease.clone() };
                    vec![Action::Configure(lease)]
                }
                None => vec![],
            },
            _ => vec![],
        }
    }

    fn bind(&mut self, message: &Message, old: Option<Lease>) -> Vec<Action> {
        // An answer without addresses to a renewal leaves the old ones until they run out.
        let Some(lease) = Lease::with_addresses(message, self.iaid) else { return vec![] };
        let since = self.asked;
        self.deadline = lease.renew.map(|renew| since + renew);
        self.state = State::Bound { lease: lease.clone(), since };
        drop(old);
        vec![Action::Configure(lease)]
    }

    fn search(&mut self, now: Duration, random: u32) {
        let state = match self.mode {
            Mode::Stateful => State::Soliciting,
            Mode::Stateless => State::Informing { held: None },
        };
        self.enter(state, now, random);
    }

    fn enter(&mut self, state: State, now: Duration, random: u32) {
        self.state = state;
        self.xid = random & 0xff_ffff;
        self.began = now;
        self.attempt = 0;
        self.deadline = Some(now);
    }

    fn ask(&mut self, kind: Kind, lease: Option<&Lease>, pauses: (u64, u64), now: Duration, random: u32) -> Action {
        let base = Duration::from_secs((pauses.0 << self.attempt.min(10)).min(pauses.1));
        // A tenth more or less, so that machines that start together do not ask together for ever (section 15).
        let pause = base.mul_f64(0.9 + f64::from(random % 1000) / 5000.0);
        self.attempt += 1;
        self.asked = now;
        self.deadline = Some(now + pause);
        Action::Send(self.message(kind, lease, now).to_bytes())
    }

    fn message(&self, kind: Kind, lease: Option<&Lease>, now: Duration) -> Message {
        let mut message = Message::new(kind, self.xid);
        message.add(code::CLIENT_ID, self.duid.clone());
        if let Some(lease) = lease.filter(|_| matches!(kind, Kind::Request | Kind::Renew)) {
            message.add(code::SERVER_ID, lease.server.clone());
        }
        let hundredths = now.saturating_sub(self.began).as_millis() / 10;
        message.add(code::ELAPSED, u16::try_from(hundredths).unwrap_or(u16::MAX).to_be_bytes());
        let mut wanted = vec![code::DNS, code::DOMAINS];
        if kind == Kind::InformationRequest {
            wanted.push(code::REFRESH);
        } else {
            let mut ia = self.iaid.to_be_bytes().to_vec();
            ia.extend([0; 8]);
            let addresses = lease.into_iter().flat_map(|lease| &lease.addresses).map(|leased| {
                let mut value = leased.address.octets().to_vec();
                value.extend([0; 8]);
                (code::IA_ADDRESS, value)
            });
            ia.extend(write_options(&addresses.collect::<Vec<_>>()));
            message.add(code::IA_NA, ia);
        }
        if kind == Kind::Solicit {
            message.add(code::RAPID_COMMIT, []);
        }
        message.add(code::REQUESTED, wanted.iter().flat_map(|code| code.to_be_bytes()).collect::<Vec<u8>>());
        message
    }
}
