//! The name server: the machines' names, and nothing else.

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The port.
pub const PORT: u16 = 53;

/// How long answers may be kept, in seconds: not at all, tests change names under the machines.
const TIME_TO_LIVE: u32 = 0;

/// How the server behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsMode {
    /// As it should.
    #[default]
    Answering,
    /// As if it did not exist.
    Silent,
    /// It says that it cannot answer (SERVFAIL).
    Failing,
}

/// The server. Names are known both short and with its domain; unknown ones do not exist (NXDOMAIN); known ones have no other records
/// than `A`. All methods act at once and from any thread.
#[derive(Debug)]
pub struct Dns {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    mode: DnsMode,
    domain: String,
    names: BTreeMap<String, Vec<Ipv4Addr>>,
    log: Vec<String>,
}

impl Dns {
    /// A server that knows no names yet.
    #[must_use]
    pub fn new(domain: &str) -> Self {
        let domain = domain.trim_matches('.').to_ascii_lowercase();
        Self { state: Mutex::new(State { mode: DnsMode::default(), domain, names: BTreeMap::new(), log: Vec::new() }) }
    }

    /// Makes it behave or misbehave.
    pub fn set_mode(&self, mode: DnsMode) {
        self.state().mode = mode;
    }

    /// Gives a name its addresses, in place of those that it had.
    pub fn set(&self, name: &str, addresses: impl IntoIterator<Item = Ipv4Addr>) {
        self.state().names.insert(name.to_ascii_lowercase(), addresses.into_iter().collect());
    }

    /// Takes a name away.
    pub fn remove(&self, name: &str) {
        self.state().names.remove(&name.to_ascii_lowercase());
    }

    /// Takes all names away.
    pub fn clear(&self) {
        self.state().names.clear();
    }

    /// What was asked so far, as `A server-vm-0.`, in order.
    #[must_use]
    pub fn queries(&self) -> Vec<String> {
        self.state().log.clone()
    }

    /// The answer to a query, if there is one.
    #[must_use]
    pub fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let Ok(query) = Message::from_vec(query) else {
            // An identifier and the flags are enough to say that the rest makes no sense; to an answer nothing is said.
            let (id, flags) = (query.first_chunk::<2>()?, query.get(2)?);
            let error = Message::error_msg(u16::from_be_bytes(*id), OpCode::Query, ResponseCode::FormErr);
            return if query.len() >= 12 && flags & 0x80 == 0 { error.to_vec().ok() } else { None };
        };
        if query.metadata.message_type != MessageType::Query {
            return None;
        }
        self.state().answer(&query)?.to_vec().ok()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn answer(&mut self, query: &Message) -> Option<Message> {
        let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
        answer.metadata.recursion_desired = query.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.queries.clone_from(&query.queries);
        let [question] = query.queries.as_slice() else {
            answer.metadata.response_code = ResponseCode::FormErr;
            return Some(answer);
        };
        self.log.push(format!("{} {}", question.query_type(), question.name()));
        if self.mode == DnsMode::Silent {
            return None;
        }
        let addresses = self.lookup(&question.name().to_ascii());
        answer.metadata.response_code = match (self.mode, query.metadata.op_code, &addresses) {
            (DnsMode::Failing, ..) => ResponseCode::ServFail,
            (_, OpCode::Query, Some(_)) => ResponseCode::NoError,
            (_, OpCode::Query, None) => ResponseCode::NXDomain,
            _ => ResponseCode::NotImp,
        };
        let asked =
            matches!(question.query_type(), RecordType::A | RecordType::ANY) && question.query_class() == DNSClass::IN;
        if answer.metadata.response_code == ResponseCode::NoError && asked {
            let record = |address| Record::from_rdata(question.name().clone(), TIME_TO_LIVE, RData::A(A(address)));
            answer.answers = addresses.unwrap_or_default().into_iter().map(record).collect();
        }
        Some(answer)
    }

    /// The addresses of a name; with or without the domain and the root's dot.
    fn lookup(&self, name: &str) -> Option<Vec<Ipv4Addr>> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let short = name.strip_suffix(&self.domain).and_then(|rest| rest.strip_suffix('.'));
        [Some(name.as_str()), short].into_iter().flatten().find_map(|name| self.names.get(name)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Query;
    use hickory_proto::rr::Name;
    use proptest::prelude::{any, prop, proptest};

    fn ask(dns: &Dns, name: &str, kind: RecordType) -> Option<(ResponseCode, Vec<Ipv4Addr>)> {
        let mut query = Message::new(77, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        let answer = Message::from_vec(&dns.answer(&query.to_vec().unwrap())?).unwrap();
        assert_eq!((answer.metadata.id, answer.metadata.message_type), (77, MessageType::Response));
        assert_eq!(answer.queries, query.queries);
        let addresses = answer.answers.iter().filter_map(|record| match &record.data {
            RData::A(A(address)) => Some(*address),
            _ => None,
        });
        Some((answer.metadata.response_code, addresses.collect()))
    }

    #[test]
    fn names_appear_change_and_go() {
        let dns = Dns::new("steppe.test");
        let address = Ipv4Addr::new(10, 0, 5, 10);
        assert_eq!(ask(&dns, "server-vm-0.", RecordType::A), Some((ResponseCode::NXDomain, vec![])));
        dns.set("server-vm-0", [address]);
        for name in ["server-vm-0.", "SERVER-vm-0.steppe.test.", "server-vm-0.Steppe.Test."] {
            assert_eq!(ask(&dns, name, RecordType::A), Some((ResponseCode::NoError, vec![address])), "{name}");
        }
        assert_eq!(ask(&dns, "server-vm-0.", RecordType::AAAA), Some((ResponseCode::NoError, vec![])));
        assert_eq!(ask(&dns, "server-vm-0.example.org.", RecordType::A), Some((ResponseCode::NXDomain, vec![])));
        dns.remove("server-vm-0");
        assert_eq!(ask(&dns, "server-vm-0.", RecordType::A), Some((ResponseCode::NXDomain, vec![])));
        assert_eq!(dns.queries()[4], "AAAA server-vm-0.");
    }

    #[test]
    fn it_can_misbehave() {
        let dns = Dns::new("steppe.test");
        dns.set_mode(DnsMode::Silent);
        assert_eq!(ask(&dns, "a.", RecordType::A), None);
        dns.set_mode(DnsMode::Failing);
        assert_eq!(ask(&dns, "a.", RecordType::A), Some((ResponseCode::ServFail, vec![])));
    }

    #[test]
    fn nonsense_is_answered_as_such_and_answers_are_not_answered() {
        let dns = Dns::new("steppe.test");
        let nonsense = [0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 63];
        let answer = Message::from_vec(&dns.answer(&nonsense).unwrap()).unwrap();
        assert_eq!((answer.metadata.id, answer.metadata.response_code), (9, ResponseCode::FormErr));
        assert_eq!(dns.answer(&[0, 9, 0]), None);
        let response = Message::response(1, OpCode::Query).to_vec().unwrap();
        assert_eq!(dns.answer(&response), None);
    }

    proptest! {
        #[test]
        fn no_query_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let dns = Dns::new("steppe.test");
            let _ = dns.answer(&bytes);
            let mut query = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            query.append(&mut bytes);
            let _ = dns.answer(&query);
        }
    }
}
