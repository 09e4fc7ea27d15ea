//! The time server (SNTP, RFC 4330), which can tell a wrong time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// The port.
pub const PORT: u16 = 123;

/// Seconds from 1900, where NTP's time begins, to 1970.
const EPOCH_OFFSET: i128 = 2_208_988_800;

/// How the server behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NtpMode {
    /// As it should.
    #[default]
    Answering,
    /// As if it did not exist.
    Silent,
    /// It says that its own clock is not set (leap indicator 3, stratum 0): clients must not believe it.
    Unsynchronised,
}

/// The server. All methods act at once and from any thread.
#[derive(Debug, Default)]
pub struct Ntp {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    mode: NtpMode,
    ahead: Duration,
    behind: Duration,
    requests: u64,
}

impl Ntp {
    /// Makes it behave or misbehave.
    pub fn set_mode(&self, mode: NtpMode) {
        self.state().mode = mode;
    }

    /// Makes it tell a time that is ahead of the host's.
    pub fn set_ahead(&self, ahead: Duration) {
        let mut state = self.state();
        (state.ahead, state.behind) = (ahead, Duration::ZERO);
    }

    /// Makes it tell a time that is behind the host's.
    pub fn set_behind(&self, behind: Duration) {
        let mut state = self.state();
        (state.ahead, state.behind) = (Duration::ZERO, behind);
    }

    /// How often it was asked.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.state().requests
    }

    /// The answer to a request at the host's time `now`, if there is one.
    #[must_use]
    pub fn answer(&self, request: &[u8], now: SystemTime) -> Option<[u8; 48]> {
        let (request, _) = request.split_first_chunk::<48>()?;
        let (version, mode) = ((request[0] >> 3) & 7, request[0] & 7);
        if mode != 3 || !(1..=4).contains(&version) {
            return None;
        }
        let mut state = self.state();
        state.requests += 1;
        let (leap, stratum) = match state.mode {
            NtpMode::Silent => return None,
            NtpMode::Answering => (0, 2),
            NtpMode::Unsynchronised => (3, 0),
        };
        let now = timestamp(now, &state);
        let mut answer = [0; 48];
        // Poll as asked, precision of 2^-20 s, reference "LOCL", and all four times: last set, as sent by the client, received, sent.
        answer[..4].copy_from_slice(&[leap << 6 | version << 3 | 4, stratum, request[2], 0xec]);
        answer[12..16].copy_from_slice(b"LOCL");
        answer[16..24].copy_from_slice(&now);
        answer[24..32].copy_from_slice(&request[40..48]);
        answer[32..40].copy_from_slice(&now);
        answer[40..48].copy_from_slice(&now);
        Some(answer)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 32 bits of seconds (they wrap in 2036) and 32 bits of fraction.
fn timestamp(now: SystemTime, state: &State) -> [u8; 8] {
    let nanoseconds = |duration: Duration| i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
    let since_1970 = match now.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => nanoseconds(after),
        Err(before) => -nanoseconds(before.duration()),
    };
    let total = since_1970 + EPOCH_OFFSET * 1_000_000_000 + nanoseconds(state.ahead) - nanoseconds(state.behind);
    let seconds = total.div_euclid(1_000_000_000).rem_euclid(1 << 32);
    let fraction = (total.rem_euclid(1_000_000_000) << 32) / 1_000_000_000;
    // Both are below 2^32, so that this loses nothing.
    u64::try_from(seconds << 32 | fraction).unwrap_or_default().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, prop_assert, proptest};

    fn request() -> [u8; 48] {
        let mut request = [0; 48];
        request[0] = 4 << 3 | 3;
        request[2] = 6;
        request[40..48].copy_from_slice(b"sent-at!");
        request
    }

    /// Half a second past 2023-11-14 22:13:20.
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_500)
    }

    #[test]
    fn the_answer_has_the_time_and_what_the_client_sent() {
        let ntp = Ntp::default();
        let answer = ntp.answer(&request(), now()).unwrap();
        assert_eq!(answer[..4], [0x24, 2, 6, 0xec]);
        assert_eq!(&answer[24..32], b"sent-at!");
        let expected = [&3_908_988_800_u32.to_be_bytes()[..], &[0x80, 0, 0, 0]].concat();
        assert_eq!(answer[40..48], expected);
        ntp.set_ahead(Duration::from_secs(100));
        assert_eq!(ntp.answer(&request(), now()).unwrap()[40..44], 3_908_988_900_u32.to_be_bytes());
        ntp.set_behind(Duration::from_secs(100));
        assert_eq!(ntp.answer(&request(), now()).unwrap()[40..44], 3_908_988_700_u32.to_be_bytes());
        assert_eq!(ntp.requests(), 3);
    }

    #[test]
    fn it_can_misbehave_and_answers_clients_only() {
        let ntp = Ntp::default();
        ntp.set_mode(NtpMode::Unsynchronised);
        assert_eq!(ntp.answer(&request(), now()).unwrap()[..2], [0xe4, 0]);
        ntp.set_mode(NtpMode::Silent);
        assert_eq!(ntp.answer(&request(), now()), None);
        ntp.set_mode(NtpMode::Answering);
        let mut server = request();
        server[0] = 4 << 3 | 4;
        assert_eq!(ntp.answer(&server, now()), None);
        assert_eq!(ntp.answer(&request()[..47], now()), None);
    }

    proptest! {
        #[test]
        fn no_request_panics(request in prop::collection::vec(any::<u8>(), 0..64), seconds: u32, ahead: u64) {
            let ntp = Ntp::default();
            ntp.set_ahead(Duration::from_millis(ahead));
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into());
            prop_assert!(ntp.answer(&request, now).is_none_or(|answer| answer[0] & 7 == 4));
        }
    }
}
