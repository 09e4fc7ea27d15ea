//! Asking servers, and setting the clock.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _, UdpSocket},
    time::{Duration, SystemTime},
};

use nix::{
    sys::time::TimeSpec,
    time::{ClockId, clock_settime},
};

use super::sntp;
use crate::node::{clock, sys, userdata::Ntp};

const PORT: u16 = 123;
/// Time for one server's answer.
const ONE: Duration = Duration::from_secs(2);
/// A smaller error is left alone: stepping the clock is worse.
const TOLERATED: Duration = Duration::from_millis(500);
/// Asked when neither user-data nor DHCP name a server.
const DEFAULT: &str = "pool.ntp.org";

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The server that answered.
    pub server: String,
    /// The time at the moment of the answer's arrival.
    pub time: SystemTime,
    /// When it arrived ([`clock::now`]).
    pub at: Duration,
}

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Servers {
    /// Nobody: switched off, or there is no way to find anybody.
    None,
    /// Somebody named them, so that they can be expected to answer.
    Named(Vec<String>),
    /// Nobody named any: a public pool, which a machine without the Internet asks in vain.
    Public(Vec<String>),
}

/// What user-data says, else what DHCP says, else a public pool, which is a name and needs a resolver.
#[must_use]
pub fn servers(ntp: &Ntp, dhcp: &[Ipv4Addr], resolver: bool) -> Servers {
    if !ntp.enabled {
        Servers::None
    } else if !ntp.servers.is_empty() {
        Servers::Named(ntp.servers.clone())
    } else if !dhcp.is_empty() {
        Servers::Named(dhcp.iter().map(ToString::to_string).collect())
    } else if resolver {
        Servers::Public(vec![DEFAULT.to_owned()])
    } else {
        Servers::None
    }
}

/// Asks one server after the other until one answers or `limit` has passed.
///
/// # Errors
/// With what went wrong last.
pub fn ask(servers: &[String], port: Option<u16>, limit: Duration) -> Result<Answer, String> {
    let end = clock::now() + limit;
    let mut last = "no server is known".to_owned();
    for server in servers {
        let left = end.saturating_sub(clock::now());
        if left.is_zero() {
            break;
        }
        match ask_one(server, port.unwrap_or(PORT), left.min(ONE)) {
            Ok(answer) => return Ok(answer),
            Err(why) => last = format!("{server}: {why}"),
        }
    }
    Err(last)
}

fn ask_one(server: &str, port: u16, limit: Duration) -> Result<Answer, String> {
    let end = clock::now() + limit;
    let address = resolve(server, port, limit)?;
    let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let text = |error: io::Error| error.to_string();
    let socket = UdpSocket::bind(local).map_err(text)?;
    socket.connect(address).map_err(text)?;
    let sent = (u64::from(sys::random()) << 32) | u64::from(sys::random());
    let asked = clock::now();
    socket.send(&sntp::request(sent)).map_err(text)?;
    let mut buffer = [0; 512];
    loop {
        let left = end.saturating_sub(clock::now());
        if left.is_zero() {
            return Err("no answer".into());
        }
        socket.set_read_timeout(Some(left)).map_err(text)?;
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err("no answer".into()),
            Err(error) => return Err(text(error)),
        };
        let at = clock::now();
        match sntp::parse(&buffer[..length], sent) {
            // Half of the way there and back has passed since the server looked at its clock.
            Ok(time) => return Ok(Answer { server: server.to_owned(), time: time + (at - asked) / 2, at }),
            Err(sntp::SntpError::Foreign) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// The system's resolver has no limit of its own that would suit a boot, so it is asked in a thread that may stay
/// behind for some seconds.
fn resolve(server: &str, port: u16, limit: Duration) -> Result<SocketAddr, String> {
    if let Ok(ip) = server.trim_matches(['[', ']']).parse() {
        return Ok(SocketAddr::new(ip, port));
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    let name = server.to_owned();
    std::thread::spawn(move || {
        let found = (name.as_str(), port).to_socket_addrs().map(|mut all| all.next());
        let _ = sender.send(found);
    });
    match receiver.recv_timeout(limit) {
        Ok(Ok(Some(address))) => Ok(address),
        Ok(Ok(None)) => Err("the name has no address".into()),
        Ok(Err(error)) => Err(format!("failed to resolve the name: {error}")),
        Err(_) => Err("the name is not resolved in time".into()),
    }
}

/// Sets the clock when it is off by more than half a second; says by how much it was off, in seconds, when it did.
/// Never sets it to before `epoch`.
///
/// # Errors
/// When the kernel refuses.
pub fn set(answer: &Answer, epoch: SystemTime) -> Result<Option<f64>, String> {
    let time = answer.time + clock::now().saturating_sub(answer.at);
    if time < epoch {
        return Err(format!("{} says a time before this image was made", answer.server));
    }
    let Some(off) = offset(time, SystemTime::now()) else { return Ok(None) };
    let unix = time.duration_since(SystemTime::UNIX_EPOCH).map_err(|e| e.to_string())?;
    clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from_duration(unix)).map_err(|e| e.to_string())?;
    Ok(Some(off))
}

/// How far ahead `right` is, in seconds, when that is worth a step.
fn offset(right: SystemTime, ours: SystemTime) -> Option<f64> {
    let off = match right.duration_since(ours) {
        Ok(ahead) => (ahead, ahead.as_secs_f64()),
        Err(behind) => (behind.duration(), -behind.duration().as_secs_f64()),
    };
    (off.0 > TOLERATED).then_some(off.1)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    /// Answers one question with the time 2^31 s after 1900 and a half.
    fn server() -> u16 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut question = [0; 48];
            let (_, from) = socket.recv_from(&mut question).unwrap();
            let mut answer = [0; 48];
            answer[0] = 0x24;
            answer[1] = 1;
            answer[24..32].copy_from_slice(&question[40..48]);
            answer[40..44].copy_from_slice(&0xee00_0000_u32.to_be_bytes());
            // A forged one first: it must be passed over.
            socket.send_to(&[0x24; 48], from).unwrap();
            socket.send_to(&answer, from).unwrap();
        });
        port
    }

    #[test]
    fn a_real_question_gets_a_real_answer() {
        let answer = ask(&["127.0.0.1".into()], Some(server()), Duration::from_secs(5)).unwrap();
        let unix = answer.time.duration_since(UNIX_EPOCH).unwrap().as_secs();
        let want = 0xee00_0000 - 2_208_988_800;
        assert!((want..want + 3).contains(&unix), "{unix}");
    }

    #[test]
    fn silence_is_bounded() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let start = clock::now();
        assert!(ask(&["127.0.0.1".into()], Some(port), Duration::from_millis(300)).unwrap_err().contains("no answer"));
        assert!(clock::now() - start < Duration::from_secs(3));
    }

    #[test]
    fn whom_to_ask() {
        let dhcp = [Ipv4Addr::new(10, 0, 0, 1)];
        let named = Ntp { enabled: true, servers: vec!["a".into()] };
        assert_eq!(servers(&named, &dhcp, true), Servers::Named(vec!["a".into()]));
        assert_eq!(servers(&Ntp::default(), &dhcp, true), Servers::Named(vec!["10.0.0.1".into()]));
        assert_eq!(servers(&Ntp::default(), &[], true), Servers::Public(vec![DEFAULT.into()]));
        assert_eq!(servers(&Ntp::default(), &[], false), Servers::None);
        assert_eq!(servers(&Ntp { enabled: false, ..named }, &dhcp, true), Servers::None);
    }

    #[test]
    fn small_errors_are_left_alone() {
        let t = UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(offset(t, t + Duration::from_millis(400)), None);
        assert_eq!(offset(t, t + Duration::from_secs(2)), Some(-2.0));
        assert_eq!(offset(t + Duration::from_secs(2), t), Some(2.0));
    }
}
