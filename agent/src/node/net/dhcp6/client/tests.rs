//! The client against messages that another implementation writes and reads.

use std::net::Ipv6Addr;

use dhcproto::{
    Decodable as _, Encodable as _,
    v6::{DhcpOption, DhcpOptions, IAAddr, IANA, Message, MessageType, OptionCode, Status, StatusCode},
};
use proptest::prelude::*;

use super::{Action, Client, Duration, Mode};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const S: Duration = Duration::from_secs(1);
const ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x10);

fn decode(action: &Action) -> Message {
    let Action::Send(bytes) = action else { panic!("{action:?}") };
    Message::from_bytes(bytes).unwrap()
}

fn client_id(question: &Message) -> DhcpOption {
    question.opts().get(OptionCode::ClientId).unwrap().clone()
}

fn iaid(question: &Message) -> u32 {
    match question.opts().get(OptionCode::IANA) {
        Some(DhcpOption::IANA(ia)) => ia.id,
        other => panic!("{other:?}"),
    }
}

fn answer(question: &Message, kind: MessageType, valid: u32, status: Option<Status>) -> Vec<u8> {
    let mut message = Message::new_with_id(kind, question.xid());
    let mut inner = DhcpOptions::new();
    match status {
        Some(status) => inner.insert(DhcpOption::StatusCode(StatusCode { status, msg: String::new() })),
        None => {
            let address = IAAddr { addr: ADDRESS, preferred_life: valid, valid_life: valid, opts: DhcpOptions::new() };
            inner.insert(DhcpOption::IAAddr(address));
        }
    }
    let opts = message.opts_mut();
    opts.insert(client_id(question));
    opts.insert(DhcpOption::ServerId(vec![0, 3, 0, 1, 9, 9]));
    opts.insert(DhcpOption::DomainNameServers(vec![Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x53)]));
    opts.insert(DhcpOption::IANA(IANA { id: iaid(question), t1: 0, t2: 0, opts: inner }));
    message.to_vec().unwrap()
}

fn bound(valid: u32) -> Client {
    let mut client = Client::new(MAC, Mode::Stateful, S, 7);
    let solicit = decode(&client.poll(S, 1)[0]);
    assert_eq!(solicit.msg_type(), MessageType::Solicit);
    let actions = client.receive(&answer(&solicit, MessageType::Advertise, valid, None), S, 2);
    let request = decode(&actions[0]);
    assert_eq!(request.msg_type(), MessageType::Request);
    assert!(request.opts().get(OptionCode::ServerId).is_some());
    let actions = client.receive(&answer(&request, MessageType::Reply, valid, None), S, 3);
    let [Action::Configure(lease)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!((lease.addresses[0].address, lease.dns.len()), (ADDRESS, 1));
    client
}

#[test]
fn solicits_back_off() {
    let mut client = Client::new(MAC, Mode::Stateful, S, 7);
    let (mut now, mut gaps) = (S, Vec::new());
    for _ in 0..9 {
        assert_eq!(decode(&client.poll(now, 500)[0]).msg_type(), MessageType::Solicit);
        let next = client.deadline().unwrap();
        gaps.push((next - now).as_secs());
        now = next;
    }
    assert_eq!(gaps, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
}

#[test]
fn renews_with_the_server_then_asks_everyone_then_gives_up() {
    let mut client = bound(100);
    assert_eq!(client.deadline(), Some(51 * S), "half of the preferred time");
    let renew = decode(&client.poll(51 * S, 4)[0]);
    assert_eq!(renew.msg_type(), MessageType::Renew);
    assert!(renew.opts().get(OptionCode::ServerId).is_some());
    let mut rebound = false;
    loop {
        let now = client.deadline().unwrap();
        let actions = client.poll(now, 5);
        if let Some(Action::Deconfigure(lease, _)) = actions.first() {
            assert_eq!((now, lease.addresses[0].address), (101 * S, ADDRESS));
            assert_eq!(decode(&actions[1]).msg_type(), MessageType::Solicit);
            break;
        }
        let message = decode(&actions[0]);
        if message.msg_type() == MessageType::Rebind {
            rebound = true;
            assert!(message.opts().get(OptionCode::ServerId).is_none());
            assert!(now >= 81 * S);
        }
    }
    assert!(rebound && client.lease().is_none());
}

#[test]
fn a_renewed_lease_counts_from_the_question() {
    let mut client = bound(100);
    let renew = decode(&client.poll(51 * S, 4)[0]);
    client.receive(&answer(&renew, MessageType::Reply, 200, None), 53 * S, 5);
    assert_eq!(client.deadline(), Some(151 * S));
}

#[test]
fn a_server_that_has_forgotten_the_address_takes_it_away() {
    let mut client = bound(100);
    let renew = decode(&client.poll(51 * S, 4)[0]);
    let actions = client.receive(&answer(&renew, MessageType::Reply, 0, Some(Status::NoBinding)), 51 * S, 5);
    assert!(matches!(actions.as_slice(), [Action::Deconfigure(..)]), "{actions:?}");
    assert_eq!(decode(&client.poll(51 * S, 6)[0]).msg_type(), MessageType::Solicit);
}

#[test]
fn an_offer_without_an_address_is_none() {
    let mut client = Client::new(MAC, Mode::Stateful, S, 7);
    let solicit = decode(&client.poll(S, 1)[0]);
    let none = answer(&solicit, MessageType::Advertise, 0, Some(Status::NoAddrsAvail));
    assert!(client.receive(&none, S, 2).is_empty());
    let mut strange = solicit.clone();
    strange.set_xid_num(9);
    assert!(client.receive(&answer(&strange, MessageType::Advertise, 100, None), S, 2).is_empty());
}

#[test]
fn rapid_commit_saves_a_question() {
    let mut client = Client::new(MAC, Mode::Stateful, S, 7);
    let solicit = decode(&client.poll(S, 1)[0]);
    assert!(solicit.opts().get(OptionCode::RapidCommit).is_some());
    let mut reply = Message::from_bytes(&answer(&solicit, MessageType::Reply, 100, None)).unwrap();
    assert!(client.receive(&reply.to_vec().unwrap(), S, 2).is_empty(), "not without the option");
    reply.opts_mut().insert(DhcpOption::RapidCommit);
    assert!(matches!(client.receive(&reply.to_vec().unwrap(), S, 2).as_slice(), [Action::Configure(_)]));
}

#[test]
fn a_client_without_state_asks_for_the_rest() {
    let mut client = Client::new(MAC, Mode::Stateless, S, 7);
    let question = decode(&client.poll(S, 1)[0]);
    assert_eq!(question.msg_type(), MessageType::InformationRequest);
    assert!(question.opts().get(OptionCode::IANA).is_none());
    let mut reply = Message::new_with_id(MessageType::Reply, question.xid());
    reply.opts_mut().insert(client_id(&question));
    reply.opts_mut().insert(DhcpOption::ServerId(vec![1, 2]));
    reply.opts_mut().insert(DhcpOption::DomainNameServers(vec![ADDRESS]));
    let actions = client.receive(&reply.to_vec().unwrap(), S, 2);
    let [Action::Configure(lease)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!((lease.dns.as_slice(), lease.addresses.len()), ([ADDRESS].as_slice(), 0));
    assert_eq!(client.deadline(), Some(S + 86_400 * S));
    assert_eq!(decode(&client.poll(S + 86_400 * S, 3)[0]).msg_type(), MessageType::InformationRequest);
    assert!(client.lease().is_some(), "what is known stays known");
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes: Vec<u8>) {
        let _ = bound(100).receive(&bytes, 2 * S, 1);
    }

    /// Broken answers to a real question: one byte changed anywhere.
    #[test]
    fn a_flipped_byte_is_survived(place: usize, value: u8) {
        let mut client = Client::new(MAC, Mode::Stateful, S, 7);
        let solicit = decode(&client.poll(S, 1)[0]);
        let mut bytes = answer(&solicit, MessageType::Advertise, 120, None);
        let length = bytes.len();
        bytes[place % length] = value;
        let _ = client.receive(&bytes, S, 2);
    }
}
