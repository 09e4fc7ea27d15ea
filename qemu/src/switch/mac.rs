//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// To everybody.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The address of a virtual machine by number, in the range that QEMU uses.
    #[must_use]
    pub fn of_machine(number: u16) -> Self {
        let [high, low] = number.to_be_bytes();
        Self([0x52, 0x54, 0x00, 0x05, high, low])
    }

    /// Whether it names a group of stations, everybody included.
    #[must_use]
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an Ethernet address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to read the Ethernet address {0:?}: six hexadecimal bytes with colons are needed")]
pub struct MacError(String);

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let error = || MacError(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
                .ok_or_else(error)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() { Err(error()) } else { Ok(Self(bytes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let mac = Mac::of_machine(0x0102);
        assert_eq!(mac.to_string(), "52:54:00:05:01:02");
        assert_eq!("52:54:00:05:01:02".parse(), Ok(mac));
        for wrong in ["", "52:54:00:05:01", "52:54:00:05:01:02:03", "52:54:00:05:01:+2", "5254.0005.0102"] {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
        }
        assert!(Mac::BROADCAST.is_group() && !mac.is_group());
    }
}
