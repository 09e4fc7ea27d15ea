//! Attributes of messages (`struct rtattr`, `rtnetlink(7)`), as the kernel sends them.
//!
//! The library reads every attribute that the kernel knows; only the few that somebody here asks for are read instead.

use std::net::IpAddr;

use netlink_packet_core::{NLA_HEADER_SIZE, NlasIterator};

/// Number and value of each attribute, up to the first that does not fit.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(|attribute| {
        let attribute = attribute.ok()?;
        let (kind, length) = (attribute.kind(), usize::from(attribute.length()));
        Some((kind, attribute.into_inner().get(NLA_HEADER_SIZE..length)?))
    })
}

/// The value of the first attribute of a number.
pub(super) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A number in the machine's order.
pub(super) fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.get(..4)?.try_into().ok()?))
}

/// A name, which the kernel ends with a zero.
pub(super) fn text(value: &[u8]) -> Option<&str> {
    str::from_utf8(value.split(|byte| *byte == 0).next()?).ok()
}

/// An address, of the family that its length tells.
pub(super) fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attributes_end_where_one_does_not_fit() {
        let bytes = [5, 0, 3, 0, b'a', 0, 0, 0, 8, 0, 4, 0x80, 1, 0, 0, 0, 9, 0, 1, 0, 7];
        let found: Vec<_> = attributes(&bytes).collect();
        assert_eq!(found, [(3, &b"a"[..]), (4, &[1, 0, 0, 0])]);
        assert_eq!(attribute(&bytes, 4).and_then(number), Some(u32::from_ne_bytes([1, 0, 0, 0])));
        assert_eq!(attribute(&bytes, 1), None);
    }

    #[test]
    fn values_of_other_lengths_are_none() {
        assert_eq!(text(b"eth0\0"), Some("eth0"));
        assert_eq!(address(&[10, 0, 0, 1]), Some([10, 0, 0, 1].into()));
        assert_eq!((number(&[1, 2, 3]), address(&[1, 2, 3]), text(&[0xff])), (None, None, None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            for (_, value) in attributes(&bytes) {
                let _ = (number(value), text(value), address(value), attributes(value).count());
            }
        }
    }
}
