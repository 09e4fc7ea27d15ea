//! The packets of SNTP (RFC 4330), and what they say about the clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds from 1900, where NTP begins, to 1970.
const ERA: u64 = 2_208_988_800;
/// Seconds that 32 bits hold.
const ERA_LENGTH: u64 = 1 << 32;
/// Length of a packet without extensions, in bytes.
pub const LENGTH: usize = 48;

/// Why an answer is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SntpError {
    /// Too short, or not from a server.
    #[error("not an answer of a time server")]
    NotAnAnswer,
    /// Not to the question that was asked.
    #[error("an answer to another question")]
    Foreign,
    /// The server says that it does not know the time.
    #[error("the server's clock is not synchronised")]
    Unsynchronised,
    /// The server wants to be left alone; its code.
    #[error("the server refuses: {0}")]
    KissOfDeath(String),
}

/// A question. `sent` only comes back in the answer, so it need not be a time: a random number hides the clock and
/// cannot be guessed.
#[must_use]
pub fn request(sent: u64) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    // No warning, version 4, client.
    packet[0] = 0b00_100_011;
    packet[40..].copy_from_slice(&sent.to_be_bytes());
    packet
}

/// The server's time, at the moment when it answered.
///
/// # Errors
/// When one of the checks of RFC 4330, section 5, fails.
pub fn parse(packet: &[u8], sent: u64) -> Result<SystemTime, SntpError> {
    let field = |at: usize| -> Option<u64> { Some(u64::from_be_bytes(packet.get(at..at + 8)?.try_into().ok()?)) };
    let (Some(originate), Some(transmit)) = (field(24), field(40)) else { return Err(SntpError::NotAnAnswer) };
    let (leap, version, mode) = (packet[0] >> 6, packet[0] >> 3 & 7, packet[0] & 7);
    if !(1..=4).contains(&version) || mode != 4 {
        return Err(SntpError::NotAnAnswer);
    }
    if originate != sent {
        return Err(SntpError::Foreign);
    }
    match packet[1] {
        0 => Err(SntpError::KissOfDeath(
            packet[12..16].iter().filter(|b| b.is_ascii_graphic()).map(|b| char::from(*b)).collect(),
        )),
        1..=15 if leap != 3 && transmit != 0 => Ok(time(transmit)),
        _ => Err(SntpError::Unsynchronised),
    }
}

/// From NTP's 32 bits of seconds and 32 of fraction. Values with the highest bit clear are of the era after 2036;
/// the two years before 1970 that are left become 1970.
fn time(stamp: u64) -> SystemTime {
    let seconds = stamp >> 32;
    let seconds = if seconds & 0x8000_0000 == 0 { seconds + ERA_LENGTH } else { seconds };
    let nanos = ((stamp & 0xffff_ffff) * 1_000_000_000) >> 32;
    UNIX_EPOCH + Duration::from_secs(seconds.saturating_sub(ERA)) + Duration::from_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(sent: u64, transmit: u64) -> [u8; LENGTH] {
        let mut packet = request(transmit);
        packet[0] = 0b00_100_100;
        packet[1] = 2;
        packet[24..32].copy_from_slice(&sent.to_be_bytes());
        packet
    }

    #[test]
    fn times_on_both_sides_of_2036() {
        let unix = |stamp| time(stamp).duration_since(UNIX_EPOCH).unwrap();
        assert_eq!(unix(ERA << 32), Duration::ZERO);
        assert_eq!(unix((0xffff_ffff_u64 << 32) | 0x8000_0000), Duration::new(0xffff_ffff - ERA, 500_000_000));
        assert_eq!(unix(0).as_secs(), ERA_LENGTH - ERA);
    }

    #[test]
    fn answers_are_checked() {
        let good = answer(7, 0xee00_0000_0000_0000);
        assert!(parse(&good, 7).is_ok());
        assert_eq!(parse(&good, 8), Err(SntpError::Foreign));
        assert_eq!(parse(&good[..47], 7), Err(SntpError::NotAnAnswer));
        assert_eq!(parse(&request(7), 7), Err(SntpError::NotAnAnswer), "our own question is no answer");
        let mut packet = good;
        packet[0] |= 0xc0;
        assert_eq!(parse(&packet, 7), Err(SntpError::Unsynchronised));
        let mut packet = good;
        packet[1] = 0;
        packet[12..16].copy_from_slice(b"RATE");
        assert_eq!(parse(&packet, 7), Err(SntpError::KissOfDeath("RATE".into())));
        let mut packet = good;
        packet[1] = 16;
        assert_eq!(parse(&packet, 7), Err(SntpError::Unsynchronised));
        assert_eq!(parse(&answer(7, 0), 7), Err(SntpError::Unsynchronised));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes: Vec<u8>, sent: u64) {
            let _ = parse(&bytes, sent);
        }

        #[test]
        fn any_stamp_is_a_time(stamp: u64) {
            let _ = time(stamp);
        }
    }
}
