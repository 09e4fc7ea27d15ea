//! What the DHCP server says.

use std::net::Ipv4Addr;
use std::time::Duration;

/// What a machine gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its name, option 12.
    pub hostname: Option<String>,
}

/// A route of option 121: destination, prefix length, and router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network that it leads to.
    pub destination: Ipv4Addr,
    /// How many bits of it count, at most 32.
    pub prefix: u8,
    /// The next hop.
    pub router: Ipv4Addr,
}

/// How the server behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DhcpMode {
    /// As it should.
    #[default]
    Answering,
    /// As if it did not exist.
    Silent,
    /// It offers, but refuses every request.
    Refusing,
}

/// What the server says to all machines. An option that is `None` or empty is not sent, and where the client lists what it wants
/// (option 55), nothing that it did not ask for.
#[derive(Clone, Debug)]
pub struct DhcpConfig {
    /// Itself, option 54 and the source of its answers.
    pub server: Ipv4Addr,
    /// Length of the network's prefix, option 1.
    pub prefix: u8,
    /// Option 3.
    pub router: Option<Ipv4Addr>,
    /// Option 6.
    pub dns: Vec<Ipv4Addr>,
    /// Option 15.
    pub domain: Option<String>,
    /// Option 26.
    pub mtu: Option<u16>,
    /// Option 42.
    pub ntp: Vec<Ipv4Addr>,
    /// Option 51, in whole seconds; half of it is the renewal time and 7/8 the rebinding time.
    pub lease_time: Duration,
    /// Option 121. A client that understands it ignores option 3 then (RFC 3442), so it has the default route too.
    pub routes: Vec<Route>,
    /// Further options by number, that of Azure's wire server (245) for instance.
    pub more: Vec<(u8, Vec<u8>)>,
}
