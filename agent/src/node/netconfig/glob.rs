//! Patterns of names, as `match` of netplan has them: `fnmatch(3)` without locale.

/// Whether all of `text` fits `pattern`: `*` stands for any run of characters, `?` for one, `[a-c]` for one of a set
/// and `[!a-c]` or `[^a-c]` for one outside of it; a backslash takes the meaning from the character behind it. A `[`
/// that nothing closes means itself.
///
/// Only the last `*` is ever tried again, so the time is at most the product of both lengths.
#[must_use]
pub fn fits(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Behind the last star, and the first character that it does not cover yet.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&'*') {
            p += 1;
            star = Some((p, t));
        } else if let Some(next) = text.get(t).and_then(|c| one(&pattern, p, *c)) {
            p = next;
            t += 1;
        } else if let Some((behind, covered)) = star {
            p = behind;
            t = covered + 1;
            star = Some((p, t));
        } else {
            return false;
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

/// Whether a text has a meaning as a pattern beyond itself.
#[must_use]
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// Where the pattern goes on when `c` fits what stands at `p`.
fn one(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match *pattern.get(p)? {
        '?' => Some(p + 1),
        '\\' if p + 1 < pattern.len() => (pattern.get(p + 1) == Some(&c)).then_some(p + 2),
        '[' => match set(pattern, p + 1, c) {
            Some((fits, next)) => fits.then_some(next),
            None => (c == '[').then_some(p + 1),
        },
        other => (other == c).then_some(p + 1),
    }
}

/// Whether `c` is in the set whose inside starts at `p`, and where the pattern goes on; `None` when nothing closes it.
fn set(pattern: &[char], mut p: usize, c: char) -> Option<(bool, usize)> {
    let negated = matches!(pattern.get(p), Some('!' | '^'));
    p += usize::from(negated);
    let first = p;
    let mut found = false;
    loop {
        let low = *pattern.get(p)?;
        if low == ']' && p > first {
            return Some((found != negated, p + 1));
        }
        let high = pattern.get(p + 2).copied().filter(|high| pattern.get(p + 1) == Some(&'-') && *high != ']');
        found |= (low..=high.unwrap_or(low)).contains(&c);
        p += if high.is_some() { 3 } else { 1 };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_marks_and_sets() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("en*", "ens3", true),
            ("en*", "eth0", false),
            ("e*s?", "enp1s0", true),
            ("e*s?", "enp1s10", false),
            ("eth[0-3]", "eth2", true),
            ("eth[0-3]", "eth4", false),
            ("eth[!0-3]", "eth4", true),
            ("eth[^4]", "eth4", false),
            ("[]a]", "]", true),
            ("[a-]", "-", true),
            ("eth[0", "eth[0", true),
            (r"e\*", "e*", true),
            (r"e\*", "eth", false),
            ("", "", true),
            ("", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = "a*".repeat(2000) + "b";
        assert!(!fits(&pattern, &"a".repeat(4000)));
    }

    /// What a pattern means, without regard for time.
    fn slow(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => (0..=text.len()).any(|n| slow(rest, &text[n..])),
            (Some(('?', rest)), Some((_, others))) => slow(rest, others),
            (Some((a, rest)), Some((b, others))) => a == b && slow(rest, others),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn any_pattern_is_tried(pattern: String, text: String) {
            let _ = fits(&pattern, &text);
        }

        #[test]
        fn plain_text_fits_itself_only(a in "[a-z0-9]{0,8}", b in "[a-z0-9]{0,8}") {
            prop_assert!(fits(&a, &a));
            prop_assert_eq!(fits(&a, &b), a == b);
        }

        #[test]
        fn stars_and_marks_mean_what_they_say(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(fits(&pattern, &text), slow(&p, &t));
        }
    }
}
