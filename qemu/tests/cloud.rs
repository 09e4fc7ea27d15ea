//! The services end to end, through the switch, without any machine: frames by hand, and a second stack in the role of a guest.

use qemu::services::http::Response;
use qemu::services::{Datagram, HttpFault, Services, ServicesConfig};
use qemu::switch::{Fault, FrameDecoder, Mac, Switch, Traffic, encode_frame};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 5, 10);
const SERVICES: Ipv4Addr = Ipv4Addr::new(10, 0, 5, 1);

/// A network with its services, and a guest that is such a stack too: its forwards are a guest's own connections, what it exposes are a
/// guest's servers.
struct Network {
    guest: Services,
    services: Services,
    switch: Switch,
}

fn network() -> Network {
    let switch = Switch::start(1).unwrap();
    let services = Services::start(&switch, ServicesConfig::default()).unwrap();
    let guest =
        ServicesConfig { name: "guest".into(), mac: Mac::of_machine(10), address: GUEST, ..ServicesConfig::default() };
    Network { guest: Services::start(&switch, guest).unwrap(), services, switch }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = connect(address);
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A server that sends back all that it gets and only then ends: a half-closed connection must carry the rest.
fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let (mut stream, mut bytes) = (stream.unwrap(), Vec::new());
                stream.read_to_end(&mut bytes).unwrap();
                stream.write_all(&bytes).unwrap();
            });
        }
    });
    address
}

#[test]
fn a_guest_fetches_files_and_sees_faults() {
    let network = network();
    let site = network.services.site();
    site.put("/seed/user-data", "#cloud-config\n");
    let web = network.guest.forward(SocketAddrV4::new(SERVICES, 80)).unwrap();
    assert!(get(web, "/seed/user-data").unwrap().ends_with("\r\n\r\n#cloud-config\n"));
    site.fail("/seed", HttpFault::Instead(Response::status(503)), Some(1));
    assert!(get(web, "/seed/user-data").unwrap().starts_with("HTTP/1.1 503"));
    site.fail("/seed", HttpFault::CutOff(5), Some(1));
    assert!(get(web, "/seed/user-data").unwrap().ends_with("\r\n\r\n#clou"));
    let peers: Vec<Ipv4Addr> = site.requests().iter().map(|record| *record.request.peer.ip()).collect();
    assert_eq!(peers, [GUEST; 3]);
    network.services.close(80);
    let refused = get(web, "/").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionReset, "{refused}");
}

#[test]
fn forwards_carry_many_connections_and_half_closed_ones() {
    let network = network();
    network.guest.expose_host(4646, echo_server());
    let api = network.services.forward(SocketAddrV4::new(GUEST, 4646)).unwrap();
    let threads: Vec<_> = (0..40_u8)
        .map(|number| {
            std::thread::spawn(move || {
                let mut stream = connect(api);
                let sent = vec![number; 200_000 + usize::from(number)];
                stream.write_all(&sent).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut received = Vec::new();
                stream.read_to_end(&mut received).unwrap();
                assert!(received == sent, "connection {number} got {} of {} bytes", received.len(), sent.len());
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn connections_survive_a_lossy_network() {
    let network = network();
    network.guest.expose_host(4646, echo_server());
    let api = network.services.forward(SocketAddrV4::new(GUEST, 4646)).unwrap();
    let loss = network.switch.add_fault(Fault::drop().traffic(Traffic::Tcp(4646)).frames(9..=10));
    network.switch.add_fault(Fault::duplicate().traffic(Traffic::Tcp(4646)).probability(0.1));
    let mut stream = connect(api);
    let sent: Vec<u8> = (0..60_000_u32).map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1]).collect();
    stream.write_all(&sent).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    assert!(received == sent, "got {} of {} bytes", received.len(), sent.len());
    assert!(network.switch.remove_fault(loss).unwrap().applied == 2);
}

#[test]
fn a_partition_stops_a_forward_until_it_heals() {
    let network = network();
    network.guest.expose_host(4646, echo_server());
    let api = network.services.forward(SocketAddrV4::new(GUEST, 4646)).unwrap();
    network.switch.partition("guest", "services").unwrap();
    let mut stream = connect(api);
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut received = Vec::new();
    let error = stream.read_to_end(&mut received).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    network.switch.heal("guest", "services").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.read_to_end(&mut received).unwrap();
    assert_eq!(received, b"hello");
    network.services.unforward(SocketAddrV4::new(GUEST, 4646));
    let closed =
        qemu::Deadline::seconds(10).poll(Duration::from_millis(5), || TcpStream::connect(api).is_err().then_some(()));
    assert_eq!(closed, Some(()));
}

#[test]
fn a_guest_reaches_a_port_of_this_host_when_asked_to() {
    let network = network();
    network.services.expose_host(9000, echo_server());
    let door = network.guest.forward(SocketAddrV4::new(SERVICES, 9000)).unwrap();
    let mut stream = connect(door);
    stream.write_all(b"knock").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "knock");
}

/// A station that sends and receives frames by hand.
struct Station {
    stream: UnixStream,
    decoder: FrameDecoder,
}

impl Station {
    fn on(switch: &Switch) -> Self {
        let (stream, theirs) = UnixStream::pair().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        switch.attach("station", theirs).unwrap();
        Self { stream, decoder: FrameDecoder::default() }
    }

    fn send(&mut self, frame: &[u8]) {
        let mut bytes = Vec::new();
        encode_frame(frame, &mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    /// The first frame of which `select` makes something.
    fn receive<T>(&mut self, mut select: impl FnMut(&[u8]) -> Option<T>) -> T {
        let mut buffer = [0; 4096];
        loop {
            while let Some(frame) = self.decoder.next_frame().unwrap() {
                if let Some(found) = select(frame) {
                    return found;
                }
            }
            let count = self.stream.read(&mut buffer).unwrap();
            assert_ne!(count, 0, "the switch closed the port");
            self.decoder.push(&buffer[..count]);
        }
    }

    /// Sends a datagram to the services and gives the answer.
    fn ask(&mut self, port: u16, payload: Vec<u8>) -> Datagram {
        let services = ServicesConfig::default();
        let datagram = Datagram {
            source_mac: Mac::of_machine(77),
            destination_mac: services.mac,
            source: "10.0.5.77:5000".parse().unwrap(),
            destination: SocketAddrV4::new(SERVICES, port),
            payload,
        };
        self.send(&datagram.to_frame().unwrap());
        self.receive(|frame| Datagram::from_frame(frame).filter(|answer| answer.destination.port() == 5000))
    }
}

#[test]
fn arp_names_and_time_are_answered() {
    let switch = Switch::start(1).unwrap();
    let services = Services::start(&switch, ServicesConfig::default()).unwrap();
    let mut station = Station::on(&switch);

    // Who has 10.0.5.1? Tell 10.0.5.77.
    let own = Mac::of_machine(77).0;
    let request = [
        &Mac::BROADCAST.0[..],
        &own,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        &own,
        &[10, 0, 5, 77],
        &[0; 6],
        &SERVICES.octets(),
    ];
    station.send(&request.concat());
    let answer = station.receive(|frame| (frame[12..14] == [8, 6]).then(|| frame[22..32].to_vec()));
    assert_eq!(answer, [&services.config().mac.0[..], &SERVICES.octets()].concat());

    services.dns().set("server-vm-0", [GUEST]);
    let query = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x0bserver-vm-0\0\0\x01\0\x01";
    let answer = station.ask(53, query.to_vec());
    assert_eq!(answer.source, SocketAddrV4::new(SERVICES, 53));
    assert_eq!((&answer.payload[..2], &answer.payload[answer.payload.len() - 4..]), (&query[..2], &GUEST.octets()[..]));

    let mut request = vec![0; 48];
    request[0] = 0x23;
    assert_eq!(station.ask(123, request).payload[0], 0x24);
    assert_eq!(services.ntp().requests(), 1);
}
