//! The machine that a cloud knows.

use crate::lab::station;
use crate::services::ServicesConfig;
use crate::switch::Mac;
use std::fmt;
use std::net::Ipv4Addr;

/// What a cloud knows of a machine. Shows nothing of the user-data.
#[derive(Clone)]
pub struct Instance {
    /// The cloud's name for it, in the form that the cloud has.
    pub id: String,
    /// The name that its owner gave it.
    pub hostname: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its network interface.
    pub mac: Mac,
    /// What its owner tells it.
    pub user_data: Vec<u8>,
    /// Its network: router, length of the prefix, name servers, domain.
    pub network: ServicesConfig,
}

impl Instance {
    /// A machine of a lab's network, with the interface that the lab gives a machine with that address.
    #[must_use]
    pub fn new(id: &str, hostname: &str, address: Ipv4Addr, user_data: impl Into<Vec<u8>>) -> Self {
        Self {
            id: id.to_owned(),
            hostname: hostname.to_owned(),
            address,
            mac: station(address),
            user_data: user_data.into(),
            network: ServicesConfig::default(),
        }
    }

    /// The network's mask.
    pub(super) fn netmask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(self.network.prefix.min(32))).unwrap_or(0))
    }

    /// User-data for documents that hold text alone.
    pub(super) fn user_data_text(&self) -> String {
        String::from_utf8_lossy(&self.user_data).into_owned()
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("id", &self.id).field("hostname", &self.hostname).finish_non_exhaustive()
    }
}
