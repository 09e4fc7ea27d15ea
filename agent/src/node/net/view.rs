//! What the node knows of the network and the devices.

use std::net::IpAddr;

use super::dhcp::Lease;

/// An address that packets can be sent from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Name of its interface.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// Length of its network's prefix.
    pub prefix: u8,
    /// The machine that knows the way to everywhere else, when the interface has a default route of this family that
    /// leads over one.
    pub gateway: Option<IpAddr>,
    /// The metric of that default route; `None` without one.
    pub metric: Option<u32>,
}

impl Address {
    /// Whether it means anything on this link only.
    #[must_use]
    pub fn is_link_local(&self) -> bool {
        match self.address {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        }
    }
}

/// The network and the devices, as last seen.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Addresses of the machine's interfaces, in the order of these; those that mean something on their link only last.
    pub addresses: Vec<Address>,
    /// Interfaces with a DHCP lease, in the order of their numbers, with what may be used of each.
    pub leases: Vec<(String, Lease)>,
    /// Ethernet interfaces, with whether each has a carrier.
    pub links: Vec<(String, bool)>,
    /// What the interfaces still lack that something may wait for: `a DHCP lease on eth1`.
    pub awaited: Vec<String>,
    /// What went wrong, with the interface: `eth1: no such interface`.
    pub notes: Vec<String>,
    /// Name servers, whoever named them, as `/etc/resolv.conf` has them.
    pub name_servers: Vec<String>,
    /// How many of the orders of [`super::Shared::apply`] were carried out.
    pub applied: u64,
    /// Hardware address of the first interface.
    pub first_mac: Option<[u8; 6]>,
    /// Grows with every block device that comes, changes or goes.
    pub devices: u64,
    /// Grows with every change of the addresses and of what came with them.
    pub changes: u64,
}

impl View {
    /// The address that the node speaks from. One with a default route is preferred, then IPv4, then the lower metric,
    /// then the order of the interfaces.
    #[must_use]
    pub fn primary(&self) -> Option<&Address> {
        let global = self.addresses.iter().filter(|address| !address.is_link_local());
        global.min_by_key(|address| (address.metric.is_none(), address.address.is_ipv6(), address.metric))
    }

    /// Whether there is any address to ask 169.254.169.254 from: one that means something on its link is enough.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.primary().is_some() || self.addresses.iter().any(|address| address.address.is_ipv4())
    }

    /// Whether no interface lacks anything that may yet come: then [`View::primary`] does not depend on which server
    /// answered first.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.awaited.is_empty()
    }

    /// All addresses that mean something beyond their link.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().filter(|address| !address.is_link_local()).map(|address| address.address)
    }

    /// The lease of the interface that the node speaks from.
    #[must_use]
    pub fn primary_lease(&self) -> Option<&Lease> {
        let primary = &self.primary()?.interface;
        self.leases.iter().find(|(name, _)| name == primary).map(|(_, lease)| lease)
    }

    /// What an address is waited for on, for people.
    #[must_use]
    pub fn describe_wait(&self) -> String {
        match (self.awaited.as_slice(), self.links.as_slice()) {
            ([], []) => "a network interface".into(),
            ([], links) => {
                let carrier = links.iter().any(|(_, carrier)| *carrier);
                let names: Vec<&str> = links.iter().map(|(name, _)| name.as_str()).collect();
                format!("{} on {}", if carrier { "an address" } else { "a carrier" }, names.join(", "))
            }
            (awaited, _) => awaited.join(", "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(interface: &str, address: &str, metric: Option<u32>) -> Address {
        Address { interface: interface.into(), address: address.parse().unwrap(), prefix: 24, gateway: None, metric }
    }

    fn primary(addresses: &[Address]) -> Option<String> {
        let view = View { addresses: addresses.to_vec(), ..View::default() };
        view.primary().map(|address| address.address.to_string())
    }

    #[test]
    fn the_address_that_the_node_speaks_from() {
        let six = address("eth0", "2001:db8::5", Some(1024));
        let four = address("eth0", "10.0.0.2", None);
        let local = address("eth0", "169.254.3.4", None);
        assert_eq!(primary(std::slice::from_ref(&local)), None);
        let only = |address: &Address| View { addresses: vec![address.clone()], ..View::default() };
        assert!(only(&local).is_online() && !only(&address("eth0", "fe80::1", None)).is_online());
        assert_eq!(primary(&[local.clone(), address("eth0", "fe80::1", Some(1024))]), None);
        assert_eq!(primary(&[four.clone(), local]).as_deref(), Some("10.0.0.2"));
        assert_eq!(primary(&[four.clone(), six.clone()]).as_deref(), Some("2001:db8::5"), "it knows the way out");
        let out = address("eth1", "10.0.1.2", Some(200));
        assert_eq!(primary(&[four, six, out.clone()]).as_deref(), Some("10.0.1.2"));
        let better = address("eth2", "10.0.2.2", Some(100));
        assert_eq!(primary(&[out.clone(), better]).as_deref(), Some("10.0.2.2"), "the lower metric");
        let second = address("eth2", "10.0.2.2", Some(200));
        assert_eq!(primary(&[out, second]).as_deref(), Some("10.0.1.2"), "the first interface");
    }

    #[test]
    fn the_wait_is_described() {
        let mut view = View::default();
        assert_eq!(view.describe_wait(), "a network interface");
        view.links = vec![("eth0".into(), false), ("eth1".into(), false)];
        assert_eq!(view.describe_wait(), "a carrier on eth0, eth1");
        view.links[1].1 = true;
        assert_eq!(view.describe_wait(), "an address on eth0, eth1");
        view.awaited = vec!["a DHCP lease on eth1".into()];
        assert_eq!(view.describe_wait(), "a DHCP lease on eth1");
        assert!(!view.is_settled());
    }
}
