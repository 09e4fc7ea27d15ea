use super::*;
use dhcproto::v4::Flags;
use proptest::prelude::{any, prop, proptest};
use std::time::Duration;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 5, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 5, 10);

fn server() -> Dhcp {
    let dhcp = Dhcp::new(DhcpConfig {
        server: SERVER,
        prefix: 24,
        router: Some(SERVER),
        dns: vec![SERVER],
        domain: Some("steppe.test".into()),
        more: vec![(245, vec![168, 63, 129, 16])],
        mtu: Some(1400),
        ntp: vec![SERVER],
        lease_time: Duration::from_secs(600),
        routes: vec![
            Route { destination: Ipv4Addr::new(169, 254, 169, 254), prefix: 32, router: SERVER },
            Route { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, router: SERVER },
        ],
    });
    dhcp.set_lease(Mac::of_machine(1), Lease { address: ADDRESS, hostname: Some("server-vm-0".into()) });
    dhcp
}

fn ask(dhcp: &Dhcp, kind: MessageType, change: impl FnOnce(&mut Message)) -> Option<(Datagram, Message)> {
    let mut message = Message::default();
    message.set_chaddr(&Mac::of_machine(1).0).set_xid(7);
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    change(&mut message);
    let request = Datagram {
        source_mac: Mac::of_machine(1),
        destination_mac: Mac::BROADCAST,
        source: "0.0.0.0:68".parse().unwrap(),
        destination: "255.255.255.255:67".parse().unwrap(),
        payload: message.to_vec().unwrap(),
    };
    let answer = dhcp.answer(&request, Mac::of_machine(9))?;
    let message = Message::from_bytes(&answer.payload).unwrap();
    Some((answer, message))
}

fn request(address: Ipv4Addr) -> impl FnOnce(&mut Message) {
    move |message| drop(message.opts_mut().insert(DhcpOption::RequestedIpAddress(address)))
}

#[test]
fn a_machine_gets_its_lease_with_every_option() {
    let dhcp = server();
    let (datagram, offer) = ask(&dhcp, MessageType::Discover, |_| ()).unwrap();
    assert_eq!(datagram.destination, "10.0.5.10:68".parse().unwrap());
    assert_eq!((datagram.destination_mac, datagram.source_mac), (Mac::of_machine(1), Mac::of_machine(9)));
    assert_eq!((offer.opts().msg_type(), offer.yiaddr(), offer.xid()), (Some(MessageType::Offer), ADDRESS, 7));
    let (_, ack) = ask(&dhcp, MessageType::Request, request(ADDRESS)).unwrap();
    assert_eq!(ack.opts().msg_type(), Some(MessageType::Ack));
    for option in [
        DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
        DhcpOption::Router(vec![SERVER]),
        DhcpOption::DomainNameServer(vec![SERVER]),
        DhcpOption::Hostname("server-vm-0".into()),
        DhcpOption::DomainName("steppe.test".into()),
        DhcpOption::InterfaceMtu(1400),
        DhcpOption::NtpServers(vec![SERVER]),
        DhcpOption::AddressLeaseTime(600),
        DhcpOption::Renewal(300),
        DhcpOption::Rebinding(525),
        DhcpOption::ServerIdentifier(SERVER),
        DhcpOption::Unknown(UnknownOption::new(245.into(), vec![168, 63, 129, 16])),
    ] {
        assert_eq!(ack.opts().get(OptionCode::from(&option)), Some(&option));
    }
    let Some(DhcpOption::ClasslessStaticRoute(routes)) = ack.opts().get(OptionCode::ClasslessStaticRoute) else {
        panic!("no routes in {ack:?}")
    };
    let routes: Vec<String> = routes.iter().map(|(net, router)| format!("{net} {router}")).collect();
    assert_eq!(routes, ["169.254.169.254/32 10.0.5.1", "0.0.0.0/0 10.0.5.1"]);
}

#[test]
fn only_what_was_asked_for_is_sent_and_broadcast_when_asked_for() {
    let (datagram, offer) = ask(&server(), MessageType::Discover, |message| {
        message.set_flags(Flags::default().set_broadcast());
        message
            .opts_mut()
            .insert(DhcpOption::ParameterRequestList(vec![OptionCode::SubnetMask, OptionCode::ClasslessStaticRoute]));
    })
    .unwrap();
    assert_eq!(datagram.destination, "255.255.255.255:68".parse().unwrap());
    assert_eq!(datagram.destination_mac, Mac::BROADCAST);
    assert!(offer.opts().get(OptionCode::SubnetMask).is_some() && offer.opts().get(OptionCode::Router).is_none());
    assert!(offer.opts().get(OptionCode::AddressLeaseTime).is_some());
    assert!(offer.opts().get(OptionCode::ClasslessStaticRoute).is_some());
}

#[test]
fn a_renewal_is_answered_to_its_address_and_a_changed_lease_is_refused() {
    let dhcp = server();
    let renew = |message: &mut Message| {
        message.set_ciaddr(ADDRESS);
    };
    let (datagram, ack) = ask(&dhcp, MessageType::Request, renew).unwrap();
    assert_eq!((ack.opts().msg_type(), datagram.destination.ip()), (Some(MessageType::Ack), &ADDRESS));
    dhcp.set_lease(Mac::of_machine(1), Lease { address: Ipv4Addr::new(10, 0, 5, 99), hostname: None });
    let (datagram, nak) = ask(&dhcp, MessageType::Request, renew).unwrap();
    assert_eq!((nak.opts().msg_type(), datagram.destination_mac), (Some(MessageType::Nak), Mac::BROADCAST));
}

#[test]
fn it_can_misbehave_and_ignores_strangers() {
    let dhcp = server();
    dhcp.set_mode(DhcpMode::Silent);
    assert!(ask(&dhcp, MessageType::Discover, |_| ()).is_none());
    dhcp.set_mode(DhcpMode::Refusing);
    assert!(ask(&dhcp, MessageType::Discover, |_| ()).is_some());
    let (_, nak) = ask(&dhcp, MessageType::Request, request(ADDRESS)).unwrap();
    assert_eq!(nak.opts().msg_type(), Some(MessageType::Nak));
    dhcp.set_mode(DhcpMode::Answering);
    let other = |message: &mut Message| drop(message.opts_mut().insert(DhcpOption::ServerIdentifier(ADDRESS)));
    assert!(ask(&dhcp, MessageType::Request, other).is_none());
    dhcp.remove_lease(Mac::of_machine(1));
    assert!(ask(&dhcp, MessageType::Discover, |_| ()).is_none());
    let kinds: Vec<_> = dhcp.requests().into_iter().map(|request| (request.kind, request.answer)).collect();
    assert_eq!(kinds[0], (MessageType::Discover, None));
    assert_eq!(kinds[2], (MessageType::Request, Some(MessageType::Nak)));
    assert_eq!(kinds.len(), 5);
}

proptest! {
    #[test]
    fn no_request_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let dhcp = server();
        let send = |payload: Vec<u8>| {
            let datagram = Datagram {
                source_mac: Mac::of_machine(1),
                destination_mac: Mac::BROADCAST,
                source: "0.0.0.0:68".parse().unwrap(),
                destination: "255.255.255.255:67".parse().unwrap(),
                payload,
            };
            let _ = dhcp.answer(&datagram, Mac::of_machine(9));
        };
        send(bytes.clone());
        // The same with a valid fixed part, so that the options are reached.
        let mut message = Message::default();
        message.set_chaddr(&Mac::of_machine(1).0);
        let mut whole = message.to_vec().unwrap();
        whole.truncate(240);
        whole.append(&mut bytes);
        send(whole);
    }
}
