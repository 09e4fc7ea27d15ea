//! The text of `/etc/resolv.conf`.

use std::net::{IpAddr, Ipv6Addr};

/// More servers than this are not read by anybody (`resolv.conf(5)`, `MAXNS`).
const MOST_SERVERS: usize = 3;

/// Name servers and search domains, each once, in the order in which they were named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolver {
    /// Servers; one that means something on a link only with the link's name (`fe80::1%eth0`).
    pub servers: Vec<String>,
    /// Domains.
    pub domains: Vec<String>,
    /// `options`; none: what suits a node.
    pub options: Option<Vec<String>>,
    /// `sortlist`.
    pub sortlist: Vec<String>,
}

impl Resolver {
    /// Adds a server.
    pub fn server(&mut self, server: IpAddr, interface: &str) {
        let text = match server {
            IpAddr::V6(ip) if Ipv6Addr::is_unicast_link_local(&ip) => format!("{ip}%{interface}"),
            ip => ip.to_string(),
        };
        if !server.is_unspecified() && !self.servers.contains(&text) {
            self.servers.push(text);
        }
    }

    /// Adds a domain.
    pub fn domain(&mut self, domain: &str) {
        // White space would end the line or begin another domain.
        let fits = !domain.is_empty() && domain.chars().all(|c| !c.is_whitespace() && !c.is_control());
        if fits && !self.domains.iter().any(|known| known == domain) {
            self.domains.push(domain.to_owned());
        }
    }

    /// The file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = "# Written by Steppe from the network configuration and the DHCP leases.\n".to_owned();
        if !self.domains.is_empty() {
            text += &format!("search {}\n", self.domains.join(" "));
        }
        for server in self.servers.iter().take(MOST_SERVERS) {
            text += &format!("nameserver {server}\n");
        }
        if !self.sortlist.is_empty() {
            text += &format!("sortlist {}\n", self.sortlist.join(" "));
        }
        // A server that is slow to start must not cost a name five seconds at each try.
        let options = self.options.as_ref().map_or("timeout:2 attempts:3".to_owned(), |options| options.join(" "));
        if options.is_empty() { text } else { text + &format!("options {options}\n") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_once_and_at_most_three() {
        let mut resolver = Resolver::default();
        for n in (1..=5).chain(1..=2) {
            resolver.server(IpAddr::from([10, 0, 0, n]), "eth0");
        }
        for domain in ["a.example", "a.example", "b.example\nnameserver 6.6.6.6", ""] {
            resolver.domain(domain);
        }
        let text = resolver.text();
        assert_eq!((resolver.servers.len(), text.matches("nameserver").count()), (5, 3));
        assert!(text.contains("\nsearch a.example\n"));
    }

    #[test]
    fn what_a_person_fixes_is_all_there_is() {
        let resolver = Resolver {
            servers: vec!["10.0.0.2".into()],
            domains: vec![],
            options: Some(vec!["rotate".into(), "timeout:1".into()]),
            sortlist: vec!["10.0.0.0/8".into()],
        };
        let text = resolver.text();
        assert!(text.ends_with("\nnameserver 10.0.0.2\nsortlist 10.0.0.0/8\noptions rotate timeout:1\n"), "{text}");
    }

    #[test]
    fn a_server_of_the_link_has_the_links_name() {
        let mut resolver = Resolver::default();
        resolver.server("fe80::1".parse().unwrap(), "eth1");
        resolver.server("::".parse().unwrap(), "eth1");
        assert_eq!(resolver.servers, ["fe80::1%eth1"]);
    }
}
