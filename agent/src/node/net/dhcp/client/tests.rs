//! The client against messages that another implementation writes and reads.

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
fn a_name_that_becomes_known_renews_the_lease() {
    let mut client = bound(120);
    client.set_host_name("server-vm-0", 5 * S, 9);
    let (request, to) = decode(&client.poll(5 * S, 9)[0]);
    assert!(matches!(to, Destination::Server { .. }), "{to:?}");
    assert_eq!(request.opts().get(OptionCode::Hostname), Some(&DhcpOption::Hostname("server-vm-0".into())));
    client.receive(&answer(&request, MessageType::Ack, 120), 5 * S, 10);
    assert_eq!(client.deadline(), Some(65 * S));
    client.set_host_name("server-vm-0", 6 * S, 11);
    assert_eq!(client.deadline(), Some(65 * S), "it is told once");
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
