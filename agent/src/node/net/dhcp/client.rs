//! The state machine of RFC 2131, figure 5, without INIT-REBOOT.

use std::{net::Ipv4Addr, time::Duration};

use super::{
    lease::Lease,
    message::{Kind, Message, code},
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
const WANTED: [u8; 13] = [
    code::CLASSLESS_ROUTES,
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
}

impl Client {
    /// A client that sends its first DISCOVER when it is first polled.
    #[must_use]
    pub fn new(mac: [u8; 6], now: Duration, random: u32) -> Self {
        Self { mac, state: State::Selecting, xid: random, began: now, asked: now, attempt: 0, deadline: Some(now) }
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
        message
    }
}

/// Half of what is left, at least a minute (RFC 2131, 4.4.5) or a twentieth of a short lease.
fn again(end: Duration, now: Duration, lease: &Lease) -> Duration {
    let least = lease.duration.map_or(LONGEST_PAUSE, |d| (d / 20).min(Duration::from_secs(60)));
    (end.saturating_sub(now) / 2).max(least.max(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use dhcproto::{
        Decodable as _, Encodable as _,
        v4::{DhcpOption, Message, MessageType, Opcode, OptionCode},
    };
    use proptest::prelude::*;

    use super::{Action, Client, Destination, Duration, Ipv4Addr};

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const S: Duration = Duration::from_secs(1);

    fn decode(action: &Action) -> (Message, Destination) {
        let Action::Send(bytes, to) = action else { panic!("{action:?}") };
        (Message::from_bytes(bytes).unwrap(), *to)
    }

    fn answer(request: &Message, kind: MessageType, lease: u32) -> Vec<u8> {
        let mut message = Message::default();
        message
            .set_opcode(Opcode::BootReply)
            .set_xid(request.xid())
            .set_chaddr(request.chaddr())
            .set_yiaddr(Ipv4Addr::new(10, 0, 5, 10));
        message.opts_mut().insert(DhcpOption::MessageType(kind));
        message.opts_mut().insert(DhcpOption::ServerIdentifier(Ipv4Addr::new(10, 0, 5, 1)));
        message.opts_mut().insert(DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)));
        message.opts_mut().insert(DhcpOption::AddressLeaseTime(lease));
        message.to_vec().unwrap()
    }

    fn bound(lease: u32) -> Client {
        let mut client = Client::new(MAC, S, 7);
        let (discover, _) = decode(&client.poll(S, 1)[0]);
        let actions = client.receive(&answer(&discover, MessageType::Offer, lease), S, 2);
        let (request, to) = decode(&actions[0]);
        assert_eq!(to, Destination::Broadcast);
        assert!(request.opts().get(OptionCode::RequestedIpAddress).is_some());
        let actions = client.receive(&answer(&request, MessageType::Ack, lease), S, 3);
        assert!(matches!(actions.as_slice(), [Action::Configure(_)]), "{actions:?}");
        client
    }

    #[test]
    fn discovers_come_quickly_and_back_off() {
        let mut client = Client::new(MAC, S, 7);
        let mut now = S;
        let mut gaps = Vec::new();
        for _ in 0..10 {
            let (message, to) = decode(&client.poll(now, 500)[0]);
            assert_eq!((message.opts().msg_type(), to), (Some(MessageType::Discover), Destination::Broadcast));
            let next = client.deadline().unwrap();
            gaps.push((next - now).as_millis());
            now = next;
        }
        assert_eq!(gaps, [500, 1000, 2000, 4000, 8000, 16000, 32000, 64000, 64000, 64000]);
    }

    #[test]
    fn renews_with_the_server_then_asks_everyone_then_gives_up() {
        let mut client = bound(120);
        assert_eq!(client.deadline(), Some(S + 60 * S));
        let (request, to) = decode(&client.poll(S + 60 * S, 4)[0]);
        assert!(matches!(to, Destination::Server { .. }));
        assert_eq!(request.ciaddr(), Ipv4Addr::new(10, 0, 5, 10));
        assert!(request.opts().get(OptionCode::ServerIdentifier).is_none(), "RFC 2131 table 4");
        let mut seen_rebind = false;
        loop {
            let now = client.deadline().unwrap();
            let actions = client.poll(now, 5);
            if let Some(Action::Deconfigure(lease, _)) = actions.first() {
                assert_eq!((now, lease.address), (S + 120 * S, Ipv4Addr::new(10, 0, 5, 10)));
                let (message, _) = decode(&actions[1]);
                assert_eq!(message.opts().msg_type(), Some(MessageType::Discover));
                break;
            }
            seen_rebind |= matches!(decode(&actions[0]).1, Destination::BroadcastFrom(_));
        }
        assert!(seen_rebind && client.lease().is_none());
    }

    #[test]
    fn a_renewed_lease_counts_from_the_question() {
        let mut client = bound(120);
        let (request, _) = decode(&client.poll(S + 60 * S, 4)[0]);
        client.receive(&answer(&request, MessageType::Ack, 120), S + 62 * S, 6);
        assert_eq!(client.deadline(), Some(S + 120 * S));
    }

    #[test]
    fn a_refusal_takes_the_address_away_and_the_search_waits_a_second() {
        let mut client = bound(120);
        let (request, _) = decode(&client.poll(S + 60 * S, 4)[0]);
        let actions = client.receive(&answer(&request, MessageType::Nak, 0), S + 60 * S, 6);
        assert!(matches!(actions.as_slice(), [Action::Deconfigure(..)]));
        assert_eq!(client.deadline(), Some(S + 61 * S));
    }

    #[test]
    fn silence_after_an_offer_starts_the_search_anew() {
        let mut client = Client::new(MAC, S, 7);
        let (discover, _) = decode(&client.poll(S, 1)[0]);
        client.receive(&answer(&discover, MessageType::Offer, 60), S, 2);
        let mut kinds = Vec::new();
        for _ in 0..4 {
            let now = client.deadline().unwrap();
            kinds.push(decode(&client.poll(now, 9)[0]).0.opts().msg_type().unwrap());
        }
        assert_eq!(kinds[..3], [MessageType::Request; 3]);
        assert_eq!(kinds[3], MessageType::Discover);
    }

    #[test]
    fn foreign_messages_do_nothing() {
        let mut client = Client::new(MAC, S, 7);
        let (mut discover, _) = decode(&client.poll(S, 1)[0]);
        discover.set_xid(99);
        assert!(client.receive(&answer(&discover, MessageType::Offer, 60), S, 2).is_empty());
    }

    #[test]
    fn an_endless_lease_is_never_renewed() {
        assert_eq!(bound(u32::MAX).deadline(), None);
    }

    #[test]
    fn the_carrier_coming_back_asks_at_once() {
        let mut client = bound(3600);
        client.carrier_returned(10 * S, 8);
        let (request, to) = decode(&client.poll(10 * S, 8)[0]);
        assert_eq!(
            (request.opts().msg_type(), to),
            (Some(MessageType::Request), Destination::BroadcastFrom(Ipv4Addr::new(10, 0, 5, 10)))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let mut client = bound(120);
            let _ = client.receive(&bytes, 2 * S, 1);
        }

        /// Broken answers to a real question: one byte changed anywhere.
        #[test]
        fn a_flipped_byte_is_survived(place in 0_usize..300, value: u8) {
            let mut client = Client::new(MAC, S, 7);
            let (discover, _) = decode(&client.poll(S, 1)[0]);
            let mut bytes = answer(&discover, MessageType::Offer, 120);
            let length = bytes.len();
            bytes[place % length] = value;
            let _ = client.receive(&bytes, S, 2);
        }
    }
}
