//! Holding a client's start back until the servers can take it.
//!
//! A client that registers before there is a leader and a keyring is refused and tries again only after 15 to 30 s
//! (contract 105). The servers say when they are ready: `/.well-known/jwks.json` holds a key (contract 121).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use super::api::{Answer, Api};
use crate::node::clock;

/// Nomad's HTTP port.
const HTTP_PORT: u16 = 4646;
/// How long a server that is there but has no leader may take to say so (contract 6: 5 s).
const ANSWER: Duration = Duration::from_secs(7);
/// Pause between two questions to one server.
const PAUSE: Duration = Duration::from_millis(300);

/// How the wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// A server is ready to register clients, after this long.
    Open(Duration),
    /// None said so in time.
    TimedOut,
    /// There is no server whose name the configuration holds (`provider=aws ...`).
    Unknown,
}

/// `host` or `host:port` of the configuration as the address of the HTTP interface; `None` for what is no address.
#[must_use]
pub fn http_authority(server: &str, port: Option<u16>) -> Option<String> {
    let server = server.trim();
    if server.is_empty() || server.contains(['=', ' ', '/', '{', '$']) {
        return None;
    }
    let port = port.unwrap_or(HTTP_PORT);
    let host = match server.strip_prefix('[') {
        Some(rest) => format!("[{}]", rest.split(']').next()?),
        None if server.matches(':').count() > 1 => format!("[{server}]"),
        None => server.split(':').next()?.to_owned(),
    };
    Some(format!("{host}:{port}"))
}

/// Asks all servers at the same time, again and again, until one holds a key or `limit` has passed. `tick` is called
/// about every second with the time that has passed.
pub fn wait(servers: &[String], port: Option<u16>, limit: Duration, mut tick: impl FnMut(Duration)) -> Gate {
    let authorities: Vec<String> = servers.iter().filter_map(|server| http_authority(server, port)).collect();
    if authorities.is_empty() {
        return Gate::Unknown;
    }
    let start = clock::now();
    let (sender, receiver) = mpsc::channel();
    let over = Arc::new(AtomicBool::new(false));
    for authority in authorities {
        let (sender, over) = (sender.clone(), Arc::clone(&over));
        // They end by themselves, at the latest one answer after the wait is over.
        thread::spawn(move || {
            let api = Api::new(&authority, ANSWER);
            while !over.load(Ordering::Relaxed) {
                if api.get("/.well-known/jwks.json").is_some_and(|answer| has_key(&answer)) {
                    let _ = sender.send(());
                    return;
                }
                thread::sleep(PAUSE);
            }
        });
    }
    let gate = loop {
        let passed = clock::now().saturating_sub(start);
        let Some(left) = limit.checked_sub(passed).filter(|left| !left.is_zero()) else { break Gate::TimedOut };
        match receiver.recv_timeout(left.min(Duration::from_secs(1))) {
            Ok(()) => break Gate::Open(clock::now().saturating_sub(start)),
            Err(_) => tick(clock::now().saturating_sub(start)),
        }
    };
    over.store(true, Ordering::Relaxed);
    gate
}

/// `{"keys":[]}` is a leader without a keyring.
fn has_key(answer: &Answer) -> bool {
    answer.json().is_some_and(|json| json["keys"].as_array().is_some_and(|keys| !keys.is_empty()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::node::testing::serve;

    const KEY: &str = r#"{"keys":[{"kid":"a"}]}"#;

    #[test]
    fn addresses_as_they_stand_in_configurations() {
        let authority = |server| http_authority(server, None);
        assert_eq!(authority("server-vm-0:4647").as_deref(), Some("server-vm-0:4646"));
        assert_eq!(authority("10.0.0.1").as_deref(), Some("10.0.0.1:4646"));
        assert_eq!(authority("[fd00::1]:4647").as_deref(), Some("[fd00::1]:4646"));
        assert_eq!(authority("fd00::1").as_deref(), Some("[fd00::1]:4646"));
        assert_eq!(http_authority("a", Some(5646)).as_deref(), Some("a:5646"));
        for other in ["provider=aws tag_key=x", "exec=list", "{{ GetPrivateIP }}", ""] {
            assert_eq!(authority(other), None, "{other}");
        }
    }

    /// Without the wait for a key, a client would be started at the first answer.
    #[test]
    fn the_gate_opens_with_the_key_and_not_before() {
        let calls = AtomicUsize::new(0);
        let server = serve(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
            0 => (500, "No cluster leader".into()),
            1 => (200, r#"{"keys":[]}"#.into()),
            _ => (200, KEY.into()),
        });
        let port = server.address().port();
        let gate = wait(&["127.0.0.1:4647".into()], Some(port), Duration::from_secs(30), |_| {});
        assert!(matches!(gate, Gate::Open(_)), "{gate:?}");
        assert_eq!(server.requests(), 3);
    }

    #[test]
    fn one_silent_server_does_not_hold_up_another() {
        let silent = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        // The same port on another address of loopback.
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{KEY}", KEY.len());
        });
        let servers = ["127.0.0.2".to_owned(), "127.0.0.1".to_owned()];
        let gate = wait(&servers, Some(port), Duration::from_secs(30), |_| {});
        assert!(matches!(gate, Gate::Open(after) if after < Duration::from_secs(5)), "{gate:?}");
    }

    #[test]
    fn the_wait_is_bounded() {
        let server = serve(|_| (500, "No cluster leader".into()));
        let port = server.address().port();
        assert_eq!(wait(&["127.0.0.1".into()], Some(port), Duration::from_millis(700), |_| {}), Gate::TimedOut);
        assert_eq!(wait(&["provider=aws x=y".into()], None, Duration::from_secs(9), |_| {}), Gate::Unknown);
    }
}
