//! The state machine of RFC 2131, figure 5, without INIT-REBOOT.

#[cfg(test)]
mod tests;

use std::{net::Ipv4Addr, time::Duration};

use super::{
    lease::Lease,
    message::{Kind, Message},
    options::code,
};

/// First pause before a message is sent again; RFC 2131 says 4 s, which a boot notices.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(64);
/// REQUESTs that stay without answer before the search starts anew.
const REQUESTS: u32 = 4;
/// Pause after a refusal, so that a server that refuses everything is not flooded.
const AFTER_NAK: Duration = Duration::from_secs(1);

/// The largest message that the client takes: what fits an Ethernet frame, without the headers.
const MAX_SIZE: u16 = 1500 - 28;

/// What servers are asked for. RFC 3442 wants 121 in front of 3.
const WANTED: [u8; 14] = [
    code::CLASSLESS_ROUTES,
    code::OLD_CLASSLESS_ROUTES,
    code::SUBNET_MASK,
    code::ROUTER,
    code::DNS,
    code::HOST_NAME,
    code::DOMAIN_NAME,
    code::MTU,
    code::NTP,
    code::LEASE_TIME,
    code::SERVER_ID,
    code::RENEWAL,
    code::REBINDING,
    code::WIRE_SERVER,
];

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// Everyone on the link, from no address.
    Broadcast,
    /// Everyone on the link, from the address in use.
    BroadcastFrom(Ipv4Addr),
    /// The server that gave the lease, from the address in use.
    Server {
        /// The address in use.
        from: Ipv4Addr,
        /// The server.
        to: Ipv4Addr,
    },
}

/// What the caller has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send a DHCP message.
    Send(Vec<u8>, Destination),
    /// Use the address, or use it longer.
    Configure(Lease),
    /// Stop using the address, for this reason.
    Deconfigure(Lease, &'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Selecting,
    Requesting { offer: Lease },
    Bound { lease: Lease, since: Duration },
    Renewing { lease: Lease, since: Duration },
    Rebinding { lease: Lease, since: Duration },
}

/// A client on one interface.
#[derive(Debug)]
pub struct Client {
    mac: [u8; 6],
    state: State,
    xid: u32,
    /// When the current exchange began, for the field `secs`.
    began: Duration,
    /// When the last REQUEST was sent: a lease counts from there.
    asked: Duration,
    attempt: u32,
    deadline: Option<Duration>,
    /// What the machine is called, once that is known.
    host_name: Option<String>,
}

impl Client {
    /// A client that sends its first DISCOVER when it is first polled.
    #[must_use]
    pub fn new(mac: [u8; 6], now: Duration, random: u32) -> Self {
        let deadline = Some(now);
        Self {
            mac,
            state: State::Selecting,
            xid: random,
            began: now,
            asked: now,
            attempt: 0,
            deadline,
            host_name: None,
        }
    }

    /// Tells servers the machine's name from now on; one that gave a lease already is told by a renewal.
    pub fn set_host_name(&mut self, name: &str, now: Duration, random: u32) {
        // An option holds 255 bytes; a name that long is nobody's.
        if self.host_name.as_deref() == Some(name) || name.is_empty() || name.len() > 253 {
            return;
        }
        self.host_name = Some(name.to_owned());
        if let State::Bound { lease, since } = &self.state {
            self.state = State::Renewing { lease: lease.clone(), since: *since };
            self.start(now, now, random);
        }
    }

    /// When to call [`Client::poll`] again; `None` when only a packet can change anything.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// The lease in use.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Bound { lease, .. } | State::Renewing { lease, .. } | State::Rebinding { lease, .. } => Some(lease),
            State::Selecting | State::Requesting { .. } => None,
        }
    }

    /// The carrier was away: the machine may be on another network now, so any server is asked at once.
    pub fn carrier_returned(&mut self, now: Duration, random: u32) {
        if let State::Bound { lease, since } | State::Renewing { lease, since } = &self.state {
            self.state = State::Rebinding { lease: lease.clone(), since: *since };
            self.start(now, now, random);
        } else if self.lease().is_none() {
            self.search(now, now, random);
        }
    }

    /// Does what is due at `now`.
    pub fn poll(&mut self, now: Duration, random: u32) -> Vec<Action> {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return vec![];
        }
        match self.state.clone() {
            State::Selecting => {
                let pause = self.pause(random);
                self.attempt += 1;
                self.deadline = Some(now + pause);
                vec![Action::Send(self.message(Kind::Discover, now, None).to_bytes(), Destination::Broadcast)]
            }
            State::Requesting { offer } => {
                if self.attempt >= REQUESTS {
                    self.search(now, now, random);
                    return self.poll(now, random);
                }
                self.request(now, random, &offer)
            }
            State::Bound { lease, since } => {
                self.state = State::Renewing { lease, since };
                self.start(now, now, random);
                self.poll(now, random)
            }
            State::Renewing { lease, since } => {
                if now >= since + lease.rebind {
                    self.state = State::Rebinding { lease, since };
                    self.start(now, now, random);
                    return self.poll(now, random);
                }
                self.deadline = Some((now + again(since + lease.rebind, now, &lease)).min(since + lease.rebind));
                let to = Destination::Server { from: lease.address, to: lease.server };
                self.asked = now;
                vec![Action::Send(self.message(Kind::Request, now, Some(lease.address)).to_bytes(), to)]
            }
            State::Rebinding { lease, since } => {
                let end = lease.duration.map(|duration| since + duration);
                if end.is_some_and(|end| now >= end) {
                    self.search(now, now, random);
                    let mut actions = vec![Action::Deconfigure(lease, "it has run out")];
                    actions.extend(self.poll(now, random));
                    return actions;
                }
                let pause = again(end.unwrap_or(now + LONGEST_PAUSE * 2), now, &lease);
                self.deadline = Some(end.map_or(now + pause, |end| end.min(now + pause)));
                self.asked = now;
                let to = Destination::BroadcastFrom(lease.address);
                vec![Action::Send(self.message(Kind::Request, now, Some(lease.address)).to_bytes(), to)]
            }
        }
    }

    /// Takes a message from the interface.
    pub fn receive(&mut self, payload: &[u8], now: Duration, random: u32) -> Vec<Action> {
        let Some(message) = Message::parse(payload) else { return vec![] };
        let mine = message.reply && message.xid == self.xid && message.mac == self.mac;
        if !mine {
            return vec![];
        }
        match (message.kind(), self.state.clone()) {
            (Some(Kind::Offer), State::Selecting) => match Lease::from_message(&message) {
                Some(offer) => {
                    self.attempt = 0;
                    self.state = State::Requesting { offer: offer.clone() };
                    self.request(now, random, &offer)
                }
                None => vec![],
            },
            (Some(Kind::Ack), State::Requesting { offer }) => self.bind(&message, now, random, Some(&offer), None),
            (Some(Kind::Ack), State::Renewing { lease, .. } | State::Rebinding { lease, .. }) => {
                self.bind(&message, now, random, None, Some(lease))
            }
            (Some(Kind::Nak), State::Requesting { .. }) => {
                self.search(now, now + AFTER_NAK, random);
                vec![]
            }
            (Some(Kind::Nak), State::Renewing { lease, .. } | State::Rebinding { lease, .. }) => {
                self.search(now, now + AFTER_NAK, random);
                vec![Action::Deconfigure(lease, "the server has refused to renew it")]
            }
            _ => vec![],
        }
    }

    fn bind(
        &mut self,
        message: &Message,
        now: Duration,
        random: u32,
        offer: Option<&Lease>,
        old: Option<Lease>,
    ) -> Vec<Action> {
        let Some(lease) = Lease::from_message(message) else { return vec![] };
        if offer.is_some_and(|offer| offer.server != lease.server) {
            return vec![];
        }
        let since = self.asked.min(now);
        self.deadline = lease.duration.map(|_| since + lease.renew);
        self.state = State::Bound { lease: lease.clone(), since };
        self.xid = random;
        let mut actions = Vec::new();
        if let Some(old) = old.filter(|old| old.address != lease.address) {
            actions.push(Action::Deconfigure(old, "the server has given another"));
        }
        actions.push(Action::Configure(lease));
        actions
    }

    fn search(&mut self, now: Duration, first: Duration, random: u32) {
        self.state = State::Selecting;
        self.start(now, first, random);
    }

    fn start(&mut self, now: Duration, first: Duration, random: u32) {
        self.xid = random;
        self.began = now;
        self.attempt = 0;
        self.deadline = Some(first);
    }

    fn request(&mut self, now: Duration, random: u32, offer: &Lease) -> Vec<Action> {
        self.deadline = Some(now + self.pause(random));
        self.attempt += 1;
        self.asked = now;
        let mut message = self.message(Kind::Request, now, None);
        message.set(code::REQUESTED_ADDRESS, offer.address.octets());
        message.set(code::SERVER_ID, offer.server.octets());
        vec![Action::Send(message.to_bytes(), Destination::Broadcast)]
    }

    /// 0.5 s, 1 s, 2 s ... 64 s, each a tenth more or less.
    fn pause(&self, random: u32) -> Duration {
        let base = FIRST_PAUSE.saturating_mul(1 << self.attempt.min(10)).min(LONGEST_PAUSE);
        base.mul_f64(0.9 + f64::from(random % 1000) / 5000.0)
    }

    fn message(&self, kind: Kind, now: Duration, address: Option<Ipv4Addr>) -> Message {
        let mut message = Message::new(kind, self.xid, self.mac);
        message.secs = u16::try_from(now.saturating_sub(self.began).as_secs()).unwrap_or(u16::MAX);
        message.ciaddr = address.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let mut id = vec![1];
        id.extend_from_slice(&self.mac);
        message.set(code::CLIENT_ID, id);
        message.set(code::MAX_SIZE, MAX_SIZE.to_be_bytes());
        message.set(code::PARAMETERS, WANTED);
        if let Some(name) = &self.host_name {
            message.set(code::HOST_NAME, name.as_bytes());
        }
        message
    }
}

/// Half of what is left, at least a minute (RFC 2131, 4.4.5) or a twentieth of a short lease.
fn again(end: Duration, now: Duration, lease: &Lease) -> Duration {
    let least = lease.duration.map_or(LONGEST_PAUSE, |d| (d / 20).min(Duration::from_secs(60)));
    (end.saturating_sub(now) / 2).max(least.max(Duration::from_secs(1)))
}
