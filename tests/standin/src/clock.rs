//! The wall clock for people and for the API; never for measuring.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds of a second, as the API counts.
pub(crate) const SECOND: i64 = 1_000_000_000;

/// Unix time in nanoseconds.
#[must_use]
pub(crate) fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()).unwrap_or(i64::MAX)
}

/// A duration in nanoseconds.
#[must_use]
pub(crate) fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// `2026-11-22T21:01:18.267Z`, now.
#[must_use]
pub(crate) fn millis() -> String {
    let now = now();
    let text = rfc3339(now);
    format!("{}.{:03}Z", text.trim_end_matches('Z'), now.rem_euclid(SECOND) / 1_000_000)
}

/// `2026-11-22T21:01:18Z`
#[must_use]
pub(crate) fn rfc3339(nanos: i64) -> String {
    let (year, month, day, hour, minute, second) = parts(nanos);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `2026-11-22T21:01:18.321367766Z`
#[must_use]
pub(crate) fn precise(nanos: i64) -> String {
    format!("{}.{:09}Z", rfc3339(nanos).trim_end_matches('Z'), nanos.rem_euclid(SECOND))
}

/// `Sun, 22 Nov 2026 21:11:26 GMT`, now.
#[must_use]
pub(crate) fn http_date() -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let now = now();
    let (year, month, day, hour, minute, second) = parts(now);
    let pick =
        |list: &[&'static str], at: i64| usize::try_from(at).ok().and_then(|at| list.get(at).copied()).unwrap_or("");
    let weekday = pick(&DAYS, now.div_euclid(SECOND * 86400).rem_euclid(7));
    format!("{weekday}, {day:02} {} {year} {hour:02}:{minute:02}:{second:02} GMT", pick(&MONTHS, month - 1))
}

/// Year, month, day, hour, minute, second in UTC, by the civil-from-days algorithm.
fn parts(nanos: i64) -> (i64, i64, i64, i64, i64, i64) {
    let seconds = nanos.div_euclid(SECOND);
    let (days, rest) = (seconds.div_euclid(86400), seconds.rem_euclid(86400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day, rest / 3600, rest / 60 % 60, rest % 60)
}

/// Unix nanoseconds of `2026-11-22T21:01:18Z`, fractions ignored.
#[must_use]
pub(crate) fn parse(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range).and_then(|part| part.parse::<i64>().ok());
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    let days = era * 146_097 + of_era - 719_468;
    Some((days * 86400 + hour * 3600 + minute * 60 + second) * SECOND)
}

#[cfg(test)]
mod tests {
    use super::{SECOND, parse, rfc3339};

    #[test]
    fn dates_go_there_and_back() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_795_381_252 * SECOND), "2026-11-22T21:00:52Z");
        for seconds in [0, 951_782_400, 1_709_164_800, 1_795_381_252, 4_102_444_799] {
            assert_eq!(parse(&rfc3339(seconds * SECOND)), Some(seconds * SECOND));
        }
    }
}
