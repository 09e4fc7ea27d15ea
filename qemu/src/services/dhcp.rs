//! The DHCP server (RFC 2131) that gives machines their addresses and names.

mod config;

pub use config::{DhcpConfig, DhcpMode, Lease, Route};

use crate::services::datagram::Datagram;
use crate::switch::Mac;
pub use dhcproto::v4::MessageType;
use dhcproto::v4::{DhcpOption, Message, Opcode, OptionCode, UnknownOption};
use dhcproto::{Decodable as _, Encodable as _};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The port of servers; clients have 68.
pub const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;

/// What a client asked for, for assertions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpRequest {
    /// Who.
    pub mac: Mac,
    /// What.
    pub kind: MessageType,
    /// What was answered.
    pub answer: Option<MessageType>,
    /// The name that the client says it has, option 12.
    pub hostname: Option<String>,
    /// Option 61.
    pub client_id: Option<Vec<u8>>,
}

/// The server. All methods act at once and from any thread.
#[derive(Debug)]
pub struct Dhcp {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    mode: DhcpMode,
    config: DhcpConfig,
    leases: BTreeMap<Mac, Lease>,
    log: Vec<DhcpRequest>,
}

impl Dhcp {
    /// A server that knows no machine.
    #[must_use]
    pub fn new(config: DhcpConfig) -> Self {
        let state = State { mode: DhcpMode::default(), config, leases: BTreeMap::new(), log: Vec::new() };
        Self { state: Mutex::new(state) }
    }

    /// Makes it behave or misbehave.
    pub fn set_mode(&self, mode: DhcpMode) {
        self.state().mode = mode;
    }

    /// Changes what it says from the next answer on.
    pub fn configure(&self, change: impl FnOnce(&mut DhcpConfig)) {
        change(&mut self.state().config);
    }

    /// Gives a machine an address, or another one. A client that asks for the old one is refused.
    pub fn set_lease(&self, mac: Mac, lease: Lease) {
        self.state().leases.insert(mac, lease);
    }

    /// Forgets a machine: it gets no answers any more.
    pub fn remove_lease(&self, mac: Mac) {
        self.state().leases.remove(&mac);
    }

    /// What clients asked so far.
    #[must_use]
    pub fn requests(&self) -> Vec<DhcpRequest> {
        self.state().log.clone()
    }

    /// The answer to a datagram to port 67, if there is one. `mac` is the server's.
    #[must_use]
    pub fn answer(&self, request: &Datagram, mac: Mac) -> Option<Datagram> {
        let message = Message::from_bytes(&without_strange_options(&request.payload)?).ok()?;
        let mut state = self.state();
        let answer = state.answer(&message)?;
        let client = client_mac(&message)?;
        let refused = answer.opts().msg_type() == Some(MessageType::Nak);
        // RFC 2131, section 4.1.
        let (ip, destination_mac) = if !message.ciaddr().is_unspecified() && !refused {
            (message.ciaddr(), client)
        } else if message.flags().broadcast() || refused {
            (Ipv4Addr::BROADCAST, Mac::BROADCAST)
        } else {
            (answer.yiaddr(), client)
        };
        Some(Datagram {
            source_mac: mac,
            destination_mac,
            source: SocketAddrV4::new(state.config.server, SERVER_PORT),
            destination: SocketAddrV4::new(ip, CLIENT_PORT),
            payload: answer.to_vec().ok()?,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn answer(&mut self, message: &Message) -> Option<Message> {
        let (mac, kind) = (client_mac(message)?, message.opts().msg_type()?);
        if message.opcode() != Opcode::BootRequest {
            return None;
        }
        let answer = self.decide(message, mac, kind);
        let hostname = match message.opts().get(OptionCode::Hostname) {
            Some(DhcpOption::Hostname(name)) => Some(name.clone()),
            _ => None,
        };
        let client_id = match message.opts().get(OptionCode::ClientIdentifier) {
            Some(DhcpOption::ClientIdentifier(id)) => Some(id.clone()),
            _ => None,
        };
        self.log.push(DhcpRequest { mac, kind, answer, hostname, client_id });
        Some(self.message(message, answer?, self.leases.get(&mac)?))
    }

    /// Which kind of answer, if any.
    fn decide(&self, message: &Message, mac: Mac, kind: MessageType) -> Option<MessageType> {
        let lease = self.leases.get(&mac)?;
        if self.mode == DhcpMode::Silent {
            return None;
        }
        match kind {
            MessageType::Discover => Some(MessageType::Offer),
            MessageType::Inform => Some(MessageType::Ack),
            MessageType::Request => {
                if let Some(DhcpOption::ServerIdentifier(server)) = message.opts().get(OptionCode::ServerIdentifier)
                    && *server != self.config.server
                {
                    return None;
                }
                let wanted = match message.opts().get(OptionCode::RequestedIpAddress) {
                    Some(DhcpOption::RequestedIpAddress(address)) => *address,
                    _ => message.ciaddr(),
                };
                let granted = wanted == lease.address && self.mode != DhcpMode::Refusing;
                Some(if granted { MessageType::Ack } else { MessageType::Nak })
            }
            _ => None,
        }
    }

    fn message(&self, request: &Message, kind: MessageType, lease: &Lease) -> Message {
        let config = &self.config;
        let mut answer = Message::default();
        answer.set_opcode(Opcode::BootReply).set_xid(request.xid()).set_flags(request.flags());
        answer.set_giaddr(request.giaddr()).set_chaddr(request.chaddr());
        let options = answer.opts_mut();
        options.insert(DhcpOption::MessageType(kind));
        options.insert(DhcpOption::ServerIdentifier(config.server));
        if kind == MessageType::Nak {
            options.insert(DhcpOption::Message("this address is not yours".to_owned()));
            return answer;
        }
        let inform = request.opts().msg_type() == Some(MessageType::Inform);
        if !inform {
            let seconds = u32::try_from(config.lease_time.as_secs()).unwrap_or(u32::MAX);
            options.insert(DhcpOption::AddressLeaseTime(seconds));
            options.insert(DhcpOption::Renewal(seconds / 2));
            options.insert(DhcpOption::Rebinding(seconds - seconds / 8));
        }
        for option in self.options(lease) {
            if wants(request, OptionCode::from(&option)) {
                options.insert(option);
            }
        }
        if inform {
            answer.set_ciaddr(request.ciaddr());
        } else {
            answer.set_ciaddr(request.ciaddr()).set_yiaddr(lease.address);
        }
        answer
    }

    fn options(&self, lease: &Lease) -> Vec<DhcpOption> {
        let config = &self.config;
        let mask = u32::MAX.checked_shl(32 - u32::from(config.prefix.min(32))).unwrap_or(0);
        let mut options = vec![DhcpOption::SubnetMask(Ipv4Addr::from_bits(mask))];
        options.extend(config.router.map(|router| DhcpOption::Router(vec![router])));
        if !config.dns.is_empty() {
            options.push(DhcpOption::DomainNameServer(config.dns.clone()));
        }
        options.extend(lease.hostname.clone().map(DhcpOption::Hostname));
        options.extend(config.domain.clone().map(DhcpOption::DomainName));
        options.extend(config.mtu.map(DhcpOption::InterfaceMtu));
        if !config.ntp.is_empty() {
            options.push(DhcpOption::NtpServers(config.ntp.clone()));
        }
        if !config.routes.is_empty() {
            let routes = encode_routes(&config.routes);
            options.push(DhcpOption::Unknown(UnknownOption::new(OptionCode::ClasslessStaticRoute, routes)));
        }
        let more = config.more.iter();
        options
            .extend(more.map(|(code, value)| DhcpOption::Unknown(UnknownOption::new((*code).into(), value.clone()))));
        options
    }
}

/// A message of an Ethernet client with the options alone that the server looks at.
///
/// The decoder of `dhcproto` 0.15 panics on some malformed messages: on an address length of more than 16, and (in debug builds)
/// on options such as 94 with a wrong length. None of those gets past here.
fn without_strange_options(payload: &[u8]) -> Option<Vec<u8>> {
    const FIXED_PART: usize = 240;
    const ADDRESS_LENGTH: usize = 2;
    const OPTIONS: [u8; 6] = [12, 50, 53, 54, 55, 61];
    let (fixed, mut options) = payload.split_at_checked(FIXED_PART)?;
    if fixed[ADDRESS_LENGTH] != 6 {
        return None;
    }
    let mut kept = fixed.to_vec();
    loop {
        options = match options {
            [] | [255, ..] => break,
            [0, rest @ ..] => rest,
            [code, length, rest @ ..] => {
                let (value, rest) = rest.split_at_checked(usize::from(*length))?;
                if OPTIONS.contains(code) {
                    kept.extend([*code, *length]);
                    kept.extend(value);
                }
                rest
            }
            [_] => return None,
        };
    }
    kept.push(255);
    Some(kept)
}

fn client_mac(message: &Message) -> Option<Mac> {
    message.chaddr().try_into().ok().map(Mac)
}

fn wants(request: &Message, code: OptionCode) -> bool {
    match request.opts().get(OptionCode::ParameterRequestList) {
        // By number: an option that this code encodes itself has no name in `dhcproto`.
        Some(DhcpOption::ParameterRequestList(codes)) => codes.iter().any(|wanted| u8::from(*wanted) == u8::from(code)),
        _ => true,
    }
}

/// RFC 3442: for each route the prefix length, as many bytes of the destination as it needs, and the router.
fn encode_routes(routes: &[Route]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for route in routes {
        let prefix = route.prefix.min(32);
        bytes.push(prefix);
        bytes.extend(&route.destination.octets()[..usize::from(prefix.div_ceil(8))]);
        bytes.extend(route.router.octets());
    }
    bytes
}

#[cfg(test)]
mod tests;
