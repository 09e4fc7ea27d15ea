//! Packets from the wire, to a DHCPv6 client in each of its states.
#![no_main]

use std::time::Duration;

use agent::node::net::dhcp6::{Action, Client, Kind, Lease, Message, Mode, code};
use libfuzzer_sys::fuzz_target;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const IAID: u32 = 1;
const NOW: Duration = Duration::from_secs(1);

fuzz_target!(|bytes: &[u8]| {
    if let Some(message) = Message::parse(bytes) {
        assert_eq!(message.to_bytes()[1..], bytes[1..]);
        let _ = (Lease::with_addresses(&message, IAID), Lease::without_address(&message));
    }
    for mode in [Mode::Stateful, Mode::Stateless] {
        let mut client = Client::new(MAC, mode, NOW, 7);
        let mut actions = client.poll(NOW, 1);
        for kind in [Kind::Advertise, Kind::Reply] {
            client.receive(bytes, NOW, 2);
            // The bytes as options of a real answer.
            let mut answer = answer(&actions, kind).to_bytes();
            answer.extend_from_slice(bytes);
            actions = client.receive(&answer, NOW, 3);
        }
        client.poll(NOW + Duration::from_secs(90), 4);
    }
});

fn answer(actions: &[Action], kind: Kind) -> Message {
    let question = actions.iter().find_map(|action| match action {
        Action::Send(bytes) => Message::parse(bytes),
        _ => None,
    });
    let mut message = Message::new(kind, question.as_ref().map_or(0, |question| question.xid));
    let id = question.as_ref().and_then(|question| question.option(code::CLIENT_ID)).unwrap_or_default();
    message.add(code::CLIENT_ID, id);
    message.add(code::SERVER_ID, [1]);
    message
}
