//! What YAML 1.1 makes of a plain scalar, as PyYAML's resolver has it.

/// The type of a scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `~`, `null`, or nothing.
    Null,
    /// `true`, `yes`, `on` and their opposites.
    Bool(bool),
    /// Decimal, octal (`0640`), hexadecimal, binary, sexagesimal (`22:22`).
    Int(i64),
    /// A floating-point number, or an integer that does not fit.
    Real,
    /// A date or a time stamp.
    Timestamp,
    /// Text.
    Str,
    /// `<<`, which as a key takes over what is in another map.
    Merge,
    /// Text in base64 that was tagged `!!binary`.
    Binary,
}

/// Resolves a plain scalar.
#[must_use]
pub fn resolve(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Kind::Bool(true),
        "<<" => return Kind::Merge,
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Kind::Bool(false),
        _ => {}
    }
    if let Some(kind) = integer(text) {
        kind
    } else if is_float(text) {
        Kind::Real
    } else if is_timestamp(text) {
        Kind::Timestamp
    } else {
        Kind::Str
    }
}

/// `[-+]?0b[01_]+`, `[-+]?0[0-7_]+`, `[-+]?(0|[1-9][0-9_]*)`, `[-+]?0x[0-9a-fA-F_]+`, `[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+`.
fn integer(text: &str) -> Option<Kind> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = if digits == "0" {
        Some(0)
    } else if let Some(rest) = digits.strip_prefix("0b") {
        radix(rest, 2)?
    } else if let Some(rest) = digits.strip_prefix("0x") {
        radix(rest, 16)?
    } else if let Some(rest) = digits.strip_prefix('0') {
        radix(rest, 8)?
    } else if digits.contains(':') {
        sexagesimal(digits)?
    } else {
        starts_with_1_to_9(digits).then_some(())?;
        radix(digits, 10)?
    };
    let signed = magnitude.map(|value: i64| if negative { -value } else { value });
    Some(signed.map_or(Kind::Real, Kind::Int))
}

fn starts_with_1_to_9(digits: &str) -> bool {
    matches!(digits.as_bytes().first(), Some(b'1'..=b'9'))
}

/// Outer `None`: not a number of this radix. Inner `None`: does not fit.
#[expect(clippy::option_option, reason = "the two kinds of no are told apart by the only caller")]
fn radix(digits: &str, radix: u32) -> Option<Option<i64>> {
    if digits.is_empty() || !digits.chars().all(|c| c == '_' || c.is_digit(radix)) {
        return None;
    }
    let mut value = Some(0_i64);
    for digit in digits.chars().filter_map(|c| c.to_digit(radix)) {
        value = value.and_then(|v| v.checked_mul(i64::from(radix))).and_then(|v| v.checked_add(i64::from(digit)));
    }
    Some(value)
}

#[expect(clippy::option_option, reason = "as for radix")]
fn sexagesimal(digits: &str) -> Option<Option<i64>> {
    let mut groups = digits.split(':');
    let first = groups.next()?;
    starts_with_1_to_9(first).then_some(())?;
    let mut value = radix(first, 10)?;
    for group in groups {
        let number: i64 = sixty(group)?;
        value = value.and_then(|v| v.checked_mul(60)).and_then(|v| v.checked_add(number));
    }
    Some(value)
}

/// `[0-5]?[0-9]`.
fn sixty(group: &str) -> Option<i64> {
    let plain = matches!(group.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']);
    plain.then(|| group.parse().ok()).flatten()
}

fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let Some((whole, rest)) = unsigned.split_once('.') else { return false };
    let digits = |s: &str| s.chars().all(|c| c == '_' || c.is_ascii_digit());
    if whole.contains(':') {
        let mut groups = whole.split(':');
        let first = groups.next().unwrap_or("");
        return first.starts_with(|c: char| c.is_ascii_digit())
            && digits(first)
            && groups.all(|group| sixty(group).is_some())
            && digits(rest);
    }
    let (fraction, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    let exponent_fits = exponent.is_none_or(|e| {
        e.strip_prefix(['-', '+']).is_some_and(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit()))
    });
    let whole_fits = if whole.is_empty() {
        // PyYAML has no sign in front of a bare point, and wants a digit behind it.
        unsigned.len() == text.len() && fraction.starts_with(|c: char| c.is_ascii_digit())
    } else {
        whole.starts_with(|c: char| c.is_ascii_digit()) && digits(whole)
    };
    whole_fits && digits(fraction) && exponent_fits
}

/// `YYYY-MM-DD`, or a date with one or two digits each followed by a time.
fn is_timestamp(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(rest)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let number =
        |s: &str, min: usize, max: usize| (min..=max).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
    if !number(year, 4, 4) {
        return false;
    }
    if number(month, 2, 2) && number(rest, 2, 2) {
        return true;
    }
    let Some(split) = rest.find(['T', 't', ' ', '\t']) else { return false };
    let (day, time) = (&rest[..split], rest[split + 1..].trim_start());
    let mut fields = time.splitn(3, ':');
    let (Some(hour), Some(minute), Some(second)) = (fields.next(), fields.next(), fields.next()) else { return false };
    number(month, 1, 2)
        && number(day, 1, 2)
        && number(hour, 1, 2)
        && number(minute, 2, 2)
        && second.get(..2).is_some_and(|s| number(s, 2, 2))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each was observed with PyYAML.
    #[test]
    fn plain_scalars_mean_what_pyyaml_says() {
        for (text, kind) in [
            ("0640", Kind::Int(416)),
            ("0o640", Kind::Str),
            ("08", Kind::Str),
            ("yes", Kind::Bool(true)),
            ("Off", Kind::Bool(false)),
            ("y", Kind::Str),
            ("52:54:00:12:34:56", Kind::Int(41_135_085_296)),
            ("22:22", Kind::Int(1342)),
            ("00:11:22:33:44:55", Kind::Str),
            ("1_000", Kind::Int(1000)),
            ("12e03", Kind::Str),
            ("1.5", Kind::Real),
            ("1.5e+3", Kind::Real),
            ("1.5e3", Kind::Str),
            (".5", Kind::Real),
            ("10.0.0.1", Kind::Str),
            ("2001-12-14", Kind::Timestamp),
            ("2001-12-14T21:59:43.10-05:00", Kind::Timestamp),
            ("0b11", Kind::Int(3)),
            ("-0x1F", Kind::Int(-31)),
            ("~", Kind::Null),
            ("", Kind::Null),
            ("99999999999999999999", Kind::Real),
            ("-", Kind::Str),
            ("1:", Kind::Str),
            ("<<", Kind::Merge),
            ("1_000:30", Kind::Int(60_030)),
            ("190:20:30", Kind::Int(685_230)),
            ("190:60", Kind::Str),
            ("0:30", Kind::Str),
            ("190:20:30.15", Kind::Real),
            ("0_640", Kind::Int(416)),
            ("1_000.5", Kind::Real),
            ("_1", Kind::Str),
            ("+.inf", Kind::Real),
            (".nan", Kind::Real),
            ("2001-1-1", Kind::Str),
            ("2001-1-1 1:02:03", Kind::Timestamp),
            ("n", Kind::Str),
            ("NULL", Kind::Null),
            ("nUll", Kind::Str),
        ] {
            assert_eq!(resolve(text), kind, "{text}");
        }
    }

    proptest! {
        #[test]
        fn anything_resolves(text: String) {
            let _ = resolve(&text);
        }

        #[test]
        fn octal_is_octal(value in 1_i64..0o7777) {
            prop_assert_eq!(resolve(&format!("0{value:o}")), Kind::Int(value));
        }
    }
}
