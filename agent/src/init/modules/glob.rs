//! Patterns of module aliases, as the kernel's build writes them (`scripts/mod/file2alias.c`).

/// Whether all of `text` matches `pattern`: `*` stands for any bytes, `?` for one, `[a-f0]` for one of a set, `[!a]` for
/// one outside of it. A `[` that nothing closes, or that closes at once, stands for itself. The rules and the single place
/// to go back to are those of the kernel's own matcher (`lib/glob.c`): time is at worst the product of both lengths.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // After the last `*`: where the pattern goes on, and how much of the text the star has taken.
    let mut back: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            back = Some((p, t));
            continue;
        }
        let Some(&byte) = text.get(t) else {
            // A later start for the star would leave even less text.
            return p == pattern.len();
        };
        if let Some(length) = one(&pattern[p..], byte) {
            p += length;
            t += 1;
        } else if let Some((after, taken)) = back {
            (p, t) = (after, taken + 1);
            back = Some((after, t));
        } else {
            return false;
        }
    }
}

/// How many bytes of the pattern's beginning stand for this byte of the text; nothing when they do not.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    let first = *pattern.first()?;
    if first == b'?' {
        return Some(1);
    }
    match set(pattern) {
        Some((members, inverted, length)) => (contains(members, byte) != inverted).then_some(length),
        None => (first == byte).then_some(1),
    }
}

/// The set at the beginning of a pattern: its members, whether they are excluded, and its length with both brackets.
fn set(pattern: &[u8]) -> Option<(&[u8], bool, usize)> {
    let inside = pattern.strip_prefix(b"[")?;
    let (members, inverted) = inside.strip_prefix(b"!").map_or((inside, false), |rest| (rest, true));
    // The first member may be a closing bracket.
    let end = members.iter().skip(1).position(|byte| *byte == b']')? + 1;
    Some((&members[..end], inverted, pattern.len() - members.len() + end + 1))
}

fn contains(mut members: &[u8], byte: u8) -> bool {
    loop {
        let (hit, rest) = match members {
            [] => return false,
            [from, b'-', to, rest @ ..] => ((*from..=*to).contains(&byte), rest),
            [single, rest @ ..] => (*single == byte, rest),
        };
        if hit {
            return true;
        }
        members = rest;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is(pattern: &str, text: &str) -> bool {
        matches(pattern.as_bytes(), text.as_bytes())
    }

    #[test]
    fn aliases_of_real_modules() {
        assert!(is("pci:v00001D0Fd0000EC20sv*sd*bc*sc*i*", "pci:v00001D0Fd0000EC20sv00001D0Fsd0000EC20bc02sc00i00"));
        assert!(!is("pci:v00001D0Fd0000EC20sv*sd*bc*sc*i*", "pci:v00001D0Fd0000EC21sv00001D0Fsd0000EC20bc02sc00i00"));
        assert!(is("pci:v*d*sv*sd*bc01sc06i01*", "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01"));
        assert!(is("virtio:d00000001v*", "virtio:d00000001v00001AF4"));
        assert!(is("scsi:t-0x05*", "scsi:t-0x05"));
        assert!(is("acpi*:VMBUS:*", "acpi:VMBUS:"));
        assert!(!is("xen:vif", "xen:vifx") && is("xen:vif", "xen:vif"));
    }

    #[test]
    fn sets_and_what_is_none() {
        assert!(is("a[0-9A-F]c", "aBc") && !is("a[0-9A-F]c", "abc") && is("a[!b]c", "axc") && !is("a[!b]c", "abc"));
        assert!(is("[]a]", "]") && is("[", "[") && is("[]", "[]") && is("[a", "[a") && is("[a-]", "-"));
        assert!(is("", "") && is("*", "") && !is("?", "") && !is("", "a"));
    }

    /// What the same pattern without sets means, said as simply as can be.
    fn plain(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|taken| plain(rest, &text[taken..])),
            ([b'?', rest @ ..], [_, text @ ..]) => plain(rest, text),
            ([first, rest @ ..], [byte, text @ ..]) => first == byte && plain(rest, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_matched(pattern: Vec<u8>, text: Vec<u8>) {
            let _ = matches(&pattern, &text);
        }

        #[test]
        fn stars_mean_what_they_say(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            prop_assert_eq!(is(&pattern, &text), plain(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn a_text_matches_itself_and_what_is_cut_out_of_it(text in "[a-z:0-9]{0,40}", from: prop::sample::Index, to: prop::sample::Index) {
            let (from, to) = (from.index(text.len() + 1), to.index(text.len() + 1));
            let (from, to) = (from.min(to), from.max(to));
            prop_assert!(is(&text, &text));
            let starred = format!("{}*{}", &text[..from], &text[to..]);
            prop_assert!(is(&starred, &text), "{}", starred);
        }
    }
}
