//! Packets from the wire, to a client in each of its states.
#![no_main]

use std::time::Duration;

use agent::node::net::dhcp::{Action, Client, Kind, Lease, Message, code, frame};
use libfuzzer_sys::fuzz_target;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const NOW: Duration = Duration::from_secs(1);

fuzz_target!(|bytes: &[u8]| {
    let _ = frame::unwrap(bytes);
    if let Some(message) = Message::parse(bytes) {
        let _ = Lease::from_message(&message);
        assert_eq!(Message::parse(&message.to_bytes()).map(|m| m.xid), Some(message.xid));
    }
    let mut client = Client::new(MAC, NOW, 7);
    let actions = client.poll(NOW, 1);
    receive(&mut client, &actions, bytes);
    let offer = answer(&actions, Kind::Offer);
    let actions = client.receive(&offer, NOW, 2);
    receive(&mut client, &actions, bytes);
    let ack = answer(&actions, Kind::Ack);
    client.receive(&ack, NOW, 3);
    receive(&mut client, &actions, bytes);
    client.poll(NOW + Duration::from_secs(61), 4);
});

/// Gives the client the bytes as they are, and as an answer to its question.
fn receive(client: &mut Client, actions: &[Action], bytes: &[u8]) {
    client.receive(bytes, NOW, 5);
    let mut reply = answer(actions, Kind::Offer);
    reply.truncate(240);
    reply.extend_from_slice(bytes);
    let mut copy = Client::new(MAC, NOW, 7);
    copy.poll(NOW, 1);
    copy.receive(&reply, NOW, 6);
}

fn answer(actions: &[Action], kind: Kind) -> Vec<u8> {
    let question = actions.iter().find_map(|action| match action {
        Action::Send(bytes, _) => Message::parse(bytes),
        _ => None,
    });
    let mut message = Message::new(kind, question.map_or(0, |q| q.xid), MAC);
    message.reply = true;
    message.yiaddr = [10, 0, 5, 10].into();
    message.set(code::SERVER_ID, [10, 0, 5, 1]);
    message.set(code::LEASE_TIME, 120_u32.to_be_bytes());
    message.to_bytes()
}
