//! What runs and what listens on this machine, from `/proc`: there is no `ps` and no `ss` in an image.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

/// A process that is not a thread of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Parent's process id.
    pub parent: u32,
    /// User it runs as.
    pub uid: u32,
    /// Resident memory in KiB.
    pub resident_kib: u64,
    /// Capabilities that it and its children can ever have, a bit each (`CapBnd` of `proc_pid_status(5)`).
    pub bounding: u64,
    /// Whether no program that it runs can give it rights (`NoNewPrivs`).
    pub no_new_privs: bool,
    /// Whether a filter takes system calls from it (`Seccomp`).
    pub filtered: bool,
    /// Name, at most 15 bytes, as the kernel keeps it.
    pub name: String,
}

/// A socket that waits for strangers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// `tcp`, `udp`, `tcp6` or `udp6`.
    pub protocol: &'static str,
    /// Port.
    pub port: u16,
    /// Address it is bound to; all zeros for any.
    pub address: IpAddr,
}

/// All processes but the kernel's threads, by pid. One that ends meanwhile is left out.
///
/// # Errors
/// When `/proc` below `root` cannot be listed.
pub fn processes(root: &Path) -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join("proc"))? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
        found.extend(parse_status(pid, &status));
    }
    found.sort_by_key(|process| process.pid);
    Ok(found)
}

/// Everything that listens, sorted. A table that the kernel does not have is empty.
#[must_use]
pub fn listeners(root: &Path) -> Vec<Listener> {
    let mut found: Vec<_> = ["tcp", "udp", "tcp6", "udp6"]
        .into_iter()
        .flat_map(|protocol| {
            let table = fs::read_to_string(root.join("proc/net").join(protocol)).unwrap_or_default();
            table.lines().filter_map(|line| parse_socket(protocol, line)).collect::<Vec<_>>()
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

/// `/proc/PID/status`; `None` for threads of the kernel and zombies, which have no memory.
fn parse_status(pid: u32, text: &str) -> Option<Process> {
    let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim);
    let number = |key: &str| field(key)?.split_whitespace().next()?.parse::<u64>().ok();
    Some(Process {
        pid,
        parent: u32::try_from(number("PPid")?).ok()?,
        uid: u32::try_from(number("Uid")?).ok()?,
        resident_kib: number("VmRSS")?,
        bounding: field("CapBnd").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(u64::MAX),
        no_new_privs: number("NoNewPrivs") == Some(1),
        filtered: number("Seccomp") == Some(2),
        name: field("Name")?.to_owned(),
    })
}

/// A line of `/proc/net/{tcp,udp}{,6}` (`proc_net_tcp(5)`): TCP in state LISTEN (0A), UDP without a peer (07).
fn parse_socket(protocol: &'static str, line: &str) -> Option<Listener> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, _remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    let waits = if protocol.starts_with("tcp") { "0A" } else { "07" };
    if state != waits {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    Some(Listener { protocol, port: u16::from_str_radix(port, 16).ok()?, address: parse_address(address)? })
}

/// Words of 32 bits in the machine's byte order, each as eight hexadecimal digits.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let words: Vec<[u8; 4]> = (0..hex.len())
        .step_by(8)
        .map(|at| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes()))
        .collect::<Option<_>>()?;
    match words.as_slice() {
        [v4] => Some(Ipv4Addr::from(*v4).into()),
        [a, b, c, d] => {
            let bytes: [u8; 16] = [*a, *b, *c, *d].concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn this_process_is_found() {
        let me = std::process::id();
        let all = processes(Path::new("/")).unwrap();
        let found = all.iter().find(|process| process.pid == me).unwrap();
        assert!(found.resident_kib > 0 && found.parent > 0, "{found:?}");
    }

    #[test]
    fn sockets_of_this_process_are_found() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let all = listeners(Path::new("/"));
        let address = tcp.local_addr().unwrap();
        let wanted = Listener { protocol: "tcp", port: address.port(), address: address.ip() };
        assert!(all.contains(&wanted), "{wanted:?} in {all:?}");
        let address = udp.local_addr().unwrap();
        let wanted = Listener { protocol: "udp", port: address.port(), address: address.ip() };
        assert!(all.contains(&wanted), "{wanted:?} in {all:?}");
    }

    #[test]
    fn kernel_threads_are_left_out() {
        assert_eq!(parse_status(2, "Name:\tkthreadd\nPPid:\t0\nUid:\t0\t0\t0\t0\n"), None);
        let status = "Name:\tnomad\nPPid:\t1\nUid:\t990\t990\t990\t990\nVmRSS:\t  85120 kB\n\
                      CapBnd:\t0000000000000a00\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        let (resident_kib, bounding, name) = (85120, 0xa00, "nomad".into());
        let nomad =
            Process { pid: 9, parent: 1, uid: 990, resident_kib, bounding, no_new_privs: true, filtered: true, name };
        assert_eq!(parse_status(9, status), Some(nomad));
    }

    #[test]
    fn connections_are_no_listeners() {
        let line = "   1: 0100007F:1226 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 1 1";
        assert_eq!(parse_socket("tcp", line), None);
        let line = line.replace(" 01 ", " 0A ");
        assert_eq!(parse_socket("tcp", &line).map(|l| l.port), Some(4646));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text: String) {
            let _ = parse_status(1, &text);
            let _ = parse_socket("tcp6", &text);
            let _ = parse_address(&text);
        }
    }
}
