//! Whether it is Nomad that listens, from `/proc`. A task could take Nomad's port while Nomad is away, and must not be
//! given what is meant for Nomad.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

/// State of a listening socket in `/proc/net/tcp` (`TCP_LISTEN`).
const LISTEN: &str = "0A";

/// Whether every socket that would take a connection to `address` is one of process `pid`. `root` is where the file
/// system begins.
#[must_use]
pub fn listens(root: &Path, pid: i32, address: SocketAddr) -> bool {
    let process = root.join(format!("proc/{pid}"));
    let inodes: Vec<u64> = ["tcp", "tcp6"]
        .iter()
        .flat_map(|table| {
            let text = fs::read_to_string(process.join("net").join(table)).unwrap_or_default();
            text.lines().filter_map(|line| listener(line, address)).collect::<Vec<_>>()
        })
        .collect();
    if inodes.is_empty() {
        return false;
    }
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let own: BTreeSet<u64> =
        descriptors.filter_map(|entry| inode(fs::read_link(entry.path()).ok()?.to_str()?)).collect();
    inodes.iter().all(|inode| own.contains(inode))
}

/// `socket:[123]`.
fn inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The inode of a line that is a listener on the port of `address`, there or at all addresses.
fn listener(line: &str, address: SocketAddr) -> Option<u64> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, state) = (fields.next()?, fields.nth(1)?);
    let (ip, port) = local.split_once(':')?;
    let ip = ip_of(ip)?;
    let takes = ip == address.ip() || ip.is_unspecified();
    let listens = state == LISTEN && u16::from_str_radix(port, 16) == Ok(address.port());
    // sl local rem st queues timer retransmit uid timeout inode
    (takes && listens).then(|| fields.nth(5)?.parse().ok()).flatten()
}

/// Words of 32 bits in the machine's byte order, which is little-endian on everything that Nomad is made for.
fn ip_of(hex: &str) -> Option<IpAddr> {
    let mut bytes = [0; 16];
    if !matches!(hex.len(), 8 | 32) || !hex.is_ascii() {
        return None;
    }
    for (word, to) in (0..hex.len() / 8).zip(bytes.chunks_exact_mut(4)) {
        to.copy_from_slice(&u32::from_str_radix(&hex[word * 8..word * 8 + 8], 16).ok()?.to_le_bytes());
    }
    if hex.len() == 8 {
        return Some(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into());
    }
    Some(Ipv6Addr::from(bytes).to_canonical())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_process_owns_what_it_listens_on_and_nothing_else() {
        let me = i32::try_from(std::process::id()).unwrap();
        for text in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(text) else { continue };
            let port = listener.local_addr().unwrap().port();
            let to = if text.contains("::1") { "[::1]" } else { "127.0.0.1" };
            let address = format!("{to}:{port}").parse().unwrap();
            assert!(listens(Path::new("/"), me, address), "{text}");
            assert!(!listens(Path::new("/"), 1, address), "{text}: another process");
            drop(listener);
            assert!(!listens(Path::new("/"), me, address), "{text}: nobody");
        }
    }

    #[test]
    fn lines_of_the_kernel() {
        let line =
            "   0: 0100007F:1226 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 x";
        assert_eq!(listener(line, "127.0.0.1:4646".parse().unwrap()), Some(4711));
        assert_eq!(listener(line, "127.0.0.2:4646".parse().unwrap()), None);
        assert_eq!(listener(line, "127.0.0.1:4647".parse().unwrap()), None);
        assert_eq!(listener(&line.replace(" 0A ", " 01 "), "127.0.0.1:4646".parse().unwrap()), None);
        let mapped = "0000000000000000FFFF00000100007F";
        assert_eq!(ip_of(mapped), Some(Ipv4Addr::LOCALHOST.into()));
    }

    proptest! {
        #[test]
        fn any_line_reads(line: String) {
            let _ = listener(&line, "127.0.0.1:4646".parse().unwrap());
            let _ = ip_of(&line);
        }
    }
}
