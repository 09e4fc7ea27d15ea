//! Addresses, prefixes and masks as configurations write them.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use super::Cidr;

/// Not an address with a prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// No address.
    #[error("{0:?} is not an IP address")]
    Address(String),
    /// No length of a prefix, and no mask.
    #[error("{0:?} is not a prefix length or a netmask for {1}")]
    Prefix(String, IpAddr),
}

impl Cidr {
    /// The default route's destination in the family of `like`.
    #[must_use]
    pub fn everything(like: IpAddr) -> Self {
        match like {
            IpAddr::V4(_) => Self { address: Ipv4Addr::UNSPECIFIED.into(), prefix: 0 },
            IpAddr::V6(_) => Self { address: Ipv6Addr::UNSPECIFIED.into(), prefix: 0 },
        }
    }

    /// The address alone: prefix 32 or 128.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self { address, prefix: bits(address) }
    }

    /// Whether an address lies in this network.
    #[must_use]
    pub fn contains(self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let shift = 32 - u32::from(self.prefix.min(32));
                (a.to_bits() ^ b.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let shift = 128 - u32::from(self.prefix.min(128));
                (a.to_bits() ^ b.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// The same network with the bits behind the prefix cleared, as the kernel wants destinations of routes.
    #[must_use]
    pub fn network(self) -> Self {
        let address = match self.address {
            IpAddr::V4(a) => {
                let shift = 32 - u32::from(self.prefix.min(32));
                Ipv4Addr::from_bits(a.to_bits() & u32::MAX.checked_shl(shift).unwrap_or(0)).into()
            }
            IpAddr::V6(a) => {
                let shift = 128 - u32::from(self.prefix.min(128));
                Ipv6Addr::from_bits(a.to_bits() & u128::MAX.checked_shl(shift).unwrap_or(0)).into()
            }
        };
        Self { address, ..self }
    }

    /// An address with a prefix length or a mask that is written elsewhere.
    ///
    /// # Errors
    /// When `mask` is neither.
    pub fn with_mask(address: IpAddr, mask: &str) -> Result<Self, CidrError> {
        let wrong = || CidrError::Prefix(short(mask), address);
        let digits = !mask.is_empty() && mask.len() <= 3 && mask.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = if digits {
            mask.parse().ok()
        } else {
            match (address, mask.parse()) {
                (IpAddr::V4(_), Ok(IpAddr::V4(mask))) => {
                    ones(mask.to_bits().leading_ones(), mask.to_bits().count_ones())
                }
                (IpAddr::V6(_), Ok(IpAddr::V6(mask))) => {
                    ones(mask.to_bits().leading_ones(), mask.to_bits().count_ones())
                }
                _ => None,
            }
        };
        let prefix = prefix.filter(|prefix| *prefix <= bits(address)).ok_or_else(wrong)?;
        Ok(Self { address, prefix })
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    /// `10.0.0.2/24`, `10.0.0.2/255.255.255.0`, `2001:db8::2/64`; without a slash the address alone.
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, mask) = match text.split_once('/') {
            Some((address, mask)) => (address, Some(mask)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| CidrError::Address(short(address)))?;
        match mask {
            Some(mask) => Self::with_mask(address, mask.trim()),
            None => Ok(Self::host(address)),
        }
    }
}

/// Bits of an address.
fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// A mask's length, when its ones stand together at its front.
fn ones(leading: u32, all: u32) -> Option<u8> {
    (leading == all).then_some(leading).and_then(|n| u8::try_from(n).ok())
}

/// The start of what somebody wrote, for a message.
pub(super) fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prefixes_and_masks() {
        let cidr = |text: &str| text.parse::<Cidr>().map(|cidr| cidr.to_string()).map_err(|error| error.to_string());
        assert_eq!(cidr("10.0.0.2/24"), Ok("10.0.0.2/24".into()));
        assert_eq!(cidr("10.0.0.2/255.255.254.0"), Ok("10.0.0.2/23".into()));
        assert_eq!(cidr("10.0.0.2"), Ok("10.0.0.2/32".into()));
        assert_eq!(cidr("2001:db8::2/ffff:ffff::"), Ok("2001:db8::2/32".into()));
        assert_eq!(cidr("10.0.0/24"), Err("\"10.0.0\" is not an IP address".into()));
        for text in
            ["10.0.0.2/33", "10.0.0.2/255.0.255.0", "10.0.0.2/", "10.0.0.2/+1", "fe80::/129", "fe80::/255.0.0.0"]
        {
            assert!(cidr(text).is_err(), "{text}");
        }
        assert_eq!("10.1.2.3/8".parse::<Cidr>().unwrap().network().to_string(), "10.0.0.0/8");
        assert_eq!("fe80::1/0".parse::<Cidr>().unwrap().network().to_string(), "::/0");
    }

    #[test]
    fn networks_contain_their_addresses() {
        let net: Cidr = "10.0.0.2/24".parse().unwrap();
        assert!(net.contains("10.0.0.255".parse().unwrap()));
        assert!(!net.contains("10.0.1.0".parse().unwrap()));
        assert!(!net.contains("fe80::1".parse().unwrap()));
        assert!(Cidr::everything(net.address).contains("1.2.3.4".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: String) {
            let _ = text.parse::<Cidr>();
        }

        #[test]
        fn what_is_printed_is_read(address: IpAddr, prefix in 0_u8..=128) {
            let cidr = Cidr { address, prefix: prefix.min(bits(address)) };
            prop_assert_eq!(cidr.to_string().parse(), Ok(cidr));
            prop_assert!(cidr.contains(address) && cidr.network().contains(address));
        }
    }
}
