//! The text of `/etc/resolv.conf`.

use std::net::Ipv4Addr;

use super::dhcp::Lease;

/// More servers than this are not read by anybody (`resolv.conf(5)`, `MAXNS`).
const MOST_SERVERS: usize = 3;

/// Merges what the leases say, in their order.
#[must_use]
pub fn resolv_conf<'a>(leases: impl Iterator<Item = &'a Lease>) -> String {
    let mut servers: Vec<Ipv4Addr> = Vec::new();
    let mut domains: Vec<&str> = Vec::new();
    for lease in leases {
        for server in &lease.dns {
            if !servers.contains(server) {
                servers.push(*server);
            }
        }
        domains.extend(lease.domain.as_deref().filter(|domain| !domains.contains(domain)));
    }
    let mut text = "# Written by Steppe from the DHCP leases.\n".to_owned();
    if !domains.is_empty() {
        text += &format!("search {}\n", domains.join(" "));
    }
    for server in servers.iter().take(MOST_SERVERS) {
        text += &format!("nameserver {server}\n");
    }
    // A server that is slow to start must not cost a name five seconds at each try.
    text + "options timeout:2 attempts:3\n"
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn servers_once_and_at_most_three() {
        let lease = Lease {
            address: Ipv4Addr::new(10, 0, 0, 2),
            prefix: 24,
            server: Ipv4Addr::new(10, 0, 0, 1),
            routes: vec![],
            dns: (1..=5).chain(1..=2).map(|n| Ipv4Addr::new(10, 0, 0, n)).collect(),
            domain: Some("a.example".into()),
            hostname: None,
            ntp: vec![],
            mtu: None,
            wire_server: None,
            duration: None,
            renew: Duration::ZERO,
            rebind: Duration::ZERO,
        };
        let text = resolv_conf([&lease, &lease].into_iter());
        assert_eq!(text.matches("nameserver").count(), 3);
        assert!(text.contains("\nsearch a.example\n"));
    }
}
